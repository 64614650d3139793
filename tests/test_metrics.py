"""Figures of pictures, on pictures whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from test_statistics import picture

from ortist.engine import Engine, InputError
from ortist.engine.metrics import border, chroma_noise, gram_error, self_similarity, weave

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(11)
GRAY = RANDOM.integers(0, 256, (96, 128, 1), np.uint8).repeat(3, axis=2)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu", 2)


def test_a_picture_keeps_itself_and_is_like_itself(engine: Engine) -> None:
    pixels = picture(64, 96, 0)
    found = engine.compare(pixels, pixels, pixels)
    assert found.content == pytest.approx(1, abs=1e-5)
    assert list(found.match) == ["conv3_2", "conv4_3"]
    assert list(found.match.values()) == pytest.approx([1, 1], abs=1e-5)
    assert found.gram_error == pytest.approx(0, abs=1e-9)


def test_content_and_style_are_told_apart(engine: Engine) -> None:
    content, style = picture(64, 96, 0), 255 - picture(64, 96, 1) // 3
    kept, painted = (engine.compare(pixels, content, style) for pixels in (content, style))
    assert kept.content > 0.99 > painted.content
    assert kept.gram_error > 0.01 > painted.gram_error
    assert all(kept.match[layer] < painted.match[layer] for layer in kept.match)


def test_content_and_styles_may_have_any_size(engine: Engine) -> None:
    pixels = picture(40, 56, 0)
    found = engine.compare(pixels, picture(80, 100, 0), [picture(33, 71, 1), picture(64, 64, 2)])
    assert -1 <= found.content <= 1
    assert all(0 < value < 1 for value in found.match.values())


def test_several_styles_are_matched_and_averaged(engine: Engine) -> None:
    pixels, other = picture(40, 56, 0), picture(40, 56, 1)
    found = engine.compare(pixels, pixels, [other, pixels])
    assert list(found.match.values()) == pytest.approx([1, 1], abs=0.05)
    assert 0 < found.gram_error < engine.compare(pixels, pixels, other).gram_error


def test_pictures_may_have_no_more_pixels_than_asked_for(engine: Engine) -> None:
    pixels, large = picture(40, 56, 0), picture(40, 57, 0)
    assert engine.compare(pixels, pixels, pixels, max_pixels=40 * 56).content > 0.99
    with pytest.raises(InputError, match=r"content image has 2280 pixels .* at most 2240"):
        engine.compare(pixels, large, pixels, max_pixels=40 * 56)
    with pytest.raises(InputError, match="max_pixels is None"):
        engine.compare(pixels, pixels, pixels, max_pixels=None)


def test_pictures_that_cannot_be_used_are_named(engine: Engine) -> None:
    small, fine = np.zeros((8, 8, 3), np.uint8), picture(40, 56, 0)
    for pictures, name in (
        ((small, fine, fine), "image"),
        ((fine, small, fine), "content image"),
        ((fine, fine, [fine, small]), "style image"),
        ((fine, fine, []), "no style image"),
    ):
        with pytest.raises(InputError, match=name):
            engine.compare(*pictures)


def test_self_similarity_is_the_correlation_of_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are more pairs than are taken at once."""
    monkeypatch.setattr("ortist.engine.metrics.PAIRS", 300 * 400)
    first = RANDOM.normal(size=(1100, 5)).astype(np.float32)
    second = first + RANDOM.normal(size=first.shape).astype(np.float32)
    cosines = []
    for rows in (first, second):
        centered = (rows - rows.mean(axis=0)).astype(np.float64)
        units = centered / np.linalg.norm(centered, axis=1, keepdims=True)
        cosines.append((units @ units.T).ravel())
    expected = np.corrcoef(*cosines)[0, 1]
    assert self_similarity(first, second) == pytest.approx(expected, abs=1e-5)


def test_gram_errors_are_relative() -> None:
    features = RANDOM.normal(size=(50, 4)).astype(np.float32)
    assert gram_error(features, [features]) == 0
    assert gram_error(np.sqrt(np.float32(2)) * features, [features]) == pytest.approx(1, rel=1e-4)


def test_gray_has_no_chroma_noise() -> None:
    assert chroma_noise(GRAY) == pytest.approx(0, abs=1e-9)
    tinted = GRAY // 2 + np.array([0, 0, 60], np.uint8)
    assert chroma_noise(tinted) == pytest.approx(0, abs=1e-9)
    speckled = np.full((96, 128, 3), 100, np.uint8)
    speckled[::3, ::3, 2] += 90  # one pixel of each 3×3, whose Cb differs by 45 from the others'
    deviation = 90 * 0.5 * np.sqrt(1 / 9 - 1 / 81)
    red = 90 * -0.0813 * np.sqrt(1 / 9 - 1 / 81)
    expected = np.sqrt((deviation**2 + red**2) / 2)
    assert chroma_noise(speckled) == pytest.approx(expected, rel=0.03)


def test_noise_has_no_weave_but_a_grid_has() -> None:
    assert weave(GRAY) == pytest.approx(1, abs=0.25)
    woven = GRAY // 4
    woven[::3] += 60
    woven[:, ::3] += 60
    assert weave(woven) > 5
    slanted = GRAY // 4 + 60 * (np.add.outer(np.arange(96), np.arange(128)) % 4 < 2)[..., None]
    assert weave(slanted.astype(np.uint8)) < 0.5


def test_a_rim_has_a_contrast_of_its_own() -> None:
    assert border(GRAY) == pytest.approx(1, abs=0.05)
    rimmed = GRAY // 4
    rimmed[:2] = rimmed[-2:] = rimmed[:, :2] = rimmed[:, -2:] = 255
    assert border(rimmed) > 3


@pytest.mark.parametrize(
    "pixels", [np.full((40, 48, 3), 9, np.uint8), GRAY[:16, :16], GRAY[:16, :90]]
)
def test_figures_of_poor_pictures_are_finite(engine: Engine, pixels: Pixels) -> None:
    found = engine.compare(pixels, pixels, pixels)
    figures = [found.content, found.gram_error, found.chroma_noise, found.weave, found.border]
    assert np.isfinite([*figures, *found.match.values()]).all()

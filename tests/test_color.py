"""Colors: what of them comes from the content and what from the style."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ortist.engine import Engine, Options
from ortist.engine.canvas import Canvas
from ortist.engine.color import gray, gray_slope, luma, matched_luma, recolored, with_chroma
from ortist.engine.images import resize_image, to_image, to_tensor
from ortist.engine.storage import BLOCK, IN_MEMORY, Storage

RANDOM = np.random.default_rng(0)
CONTENT = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
STYLE = RANDOM.integers(40, 220, (30, 40, 3), np.uint8) // np.array([1, 2, 3], np.uint8)
OPTIONS = Options(size=48, steps=5, optimizer="lbfgs", init="content", statistic="w2")
Tensor = NDArray[np.float32]


def chroma(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return R - G and B - G of (H, W, 3)."""
    colors = picture.astype(np.float64)
    return colors[..., [0, 2]] - colors[..., 1:2]


def moments(
    picture: Tensor, weights: NDArray[np.float64] | None = None
) -> list[NDArray[np.float64]]:
    colors = picture.reshape(3, -1).astype(np.float64)
    covariance = np.cov(colors, aweights=weights, bias=True)
    return [np.average(colors, axis=1, weights=weights), covariance]


@pytest.mark.parametrize("color", ["luminance", "after"])
def test_chroma_stays_that_of_the_content(color: str) -> None:
    engine = Engine("cpu", 2)
    result = engine.stylize(CONTENT, STYLE, Options(**{**vars(OPTIONS), "color": color}))
    content = resize_image(CONTENT, 48, 36)
    assert not np.array_equal(result.image, content)
    # The same is added to red, green and blue, and then each is rounded.
    assert np.abs(chroma(result.image) - chroma(content)).max() <= 1
    floats = result.pixels[0].transpose(1, 2, 0)
    np.testing.assert_allclose(chroma(floats), chroma(content), atol=1e-4)
    assert floats.min() >= 0
    assert floats.max() <= 255


def test_luma_that_leads_out_of_the_range_is_cut_off() -> None:
    colored = to_tensor(np.array([[[250, 10, 100], [128, 128, 128]]], np.uint8))
    white = np.full_like(colored, 255)
    found = with_chroma(white, colored)
    np.testing.assert_allclose(found[0, :, 0].T, [[255, 15, 105], [255, 255, 255]], atol=1e-4)


def test_the_network_sees_gray_where_only_luma_is_painted() -> None:
    canvas = Canvas(to_tensor(CONTENT), "luminance")
    point = to_tensor(resize_image(STYLE, 32, 24))
    seen = canvas.seen(point)
    np.testing.assert_array_equal(seen, np.repeat(luma(point), 3, axis=1))
    # The adjoint: <seen(p), g> = <p, pulled(g)>, for all p and g.
    gradient = RANDOM.normal(size=point.shape).astype(np.float32)
    product = np.sum(seen.astype(np.float64) * gradient)
    assert np.sum(point.astype(np.float64) * canvas.pulled(gradient)) == pytest.approx(product)


@pytest.mark.parametrize("storage", [IN_MEMORY, Storage(mapped=True)])
def test_bands_of_a_canvas_are_those_of_the_formula(storage: Storage) -> None:
    content, point = RANDOM.uniform(0, 255, (2, 1, 3, 230, 300)).astype(np.float32)
    mask = RANDOM.uniform(0, 1, (230, 300)).astype(np.float32)
    assert mask.size > BLOCK
    canvas = Canvas(content, "luminance", mask, storage)
    seen = gray(content) + mask * (gray(point) - gray(content))
    np.testing.assert_array_equal(canvas.seen(point), seen)
    np.testing.assert_array_equal(canvas.pulled(point), gray_slope(point * mask))
    np.testing.assert_array_equal(
        canvas.picture(point), with_chroma(np.clip(seen, 0, 255), content)
    )


def test_a_canvas_that_changes_nothing_gives_back_the_same_array() -> None:
    point = to_tensor(CONTENT)
    for canvas in (Canvas(), Canvas(point, "match")):
        assert canvas.seen(point) is canvas.pulled(point) is canvas.picture(point) is point
    assert Canvas(point, "after").seen(point) is point


@pytest.mark.parametrize("masked", [False, True])
def test_matched_colors_have_the_mean_and_covariance_of_the_content(masked: bool) -> None:
    style, content = to_tensor(STYLE), to_tensor(CONTENT)
    masks: tuple[Tensor | None, Tensor | None] = (None, None)
    if masked:
        masks = tuple(
            RANDOM.uniform(0, 1, picture.shape[2:]).astype(np.float32)
            for picture in (style, content)
        )
    found = recolored(style, content, masks)
    weights = [None if mask is None else mask.reshape(-1).astype(np.float64) for mask in masks]
    for own, wanted in zip(moments(found, weights[0]), moments(content, weights[1]), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_of_all_such_maps_it_is_that_by_symmetric_roots() -> None:
    style, content = to_tensor(STYLE), to_tensor(CONTENT)
    found = recolored(style, content, (None, None))
    before, after = (
        (one - one.mean(axis=(2, 3), keepdims=True)).reshape(3, -1) for one in (style, found)
    )
    matrix = np.linalg.lstsq(before.T, after.T, rcond=None)[0].T

    def root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(values)) @ vectors.T

    expected = root(moments(content)[1]) @ np.linalg.inv(root(moments(style)[1]))
    np.testing.assert_allclose(matrix, expected, rtol=1e-3, atol=1e-4)


def test_a_gray_style_gets_no_color_from_rounding() -> None:
    found = recolored(gray(to_tensor(STYLE)), to_tensor(CONTENT), (None, None))
    assert np.isfinite(found).all()
    assert np.linalg.matrix_rank(moments(found)[1], tol=1e-2) == 1
    flat = np.full((1, 3, 8, 8), 90, np.float32)
    mean = to_tensor(CONTENT).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(
        recolored(flat, to_tensor(CONTENT), (None, None))[0, :, 3, 4], mean, rtol=1e-5
    )


def test_gray_styles_get_the_contrast_of_the_content() -> None:
    style, content = gray(to_tensor(STYLE)), gray(to_tensor(CONTENT))
    found = matched_luma(style, content, (None, None))
    assert found.mean() == pytest.approx(content.mean(), rel=1e-5)
    assert found.std() == pytest.approx(content.std(), rel=1e-5)


def test_matched_colors_are_what_is_painted() -> None:
    """A green photograph painted in a red style stays green."""
    content = np.zeros((24, 32, 3), np.uint8)
    content[..., 1] = RANDOM.integers(60, 200, (24, 32))
    style = np.zeros((24, 32, 3), np.uint8)
    style[..., 0] = RANDOM.integers(0, 255, (24, 32))
    options = Options(**{**vars(OPTIONS), "steps": 12, "beta": 1000.0})
    means = {
        color: to_image(
            Engine("cpu", 2)
            .stylize(content, style, Options(**{**vars(options), "color": color}))
            .pixels
        ).mean(axis=(0, 1))
        for color in ("style", "match")
    }
    assert means["match"][1] > means["match"][0] + 40
    assert means["style"][0] > means["match"][0] + 20


def test_the_noise_of_a_gray_style_stays_noise() -> None:
    """As a JPEG of an engraving has it."""
    noisy = gray(to_tensor(STYLE)) + RANDOM.normal(0, 0.6, (1, 3, 30, 40)).astype(np.float32)
    found = recolored(noisy, to_tensor(CONTENT), (None, None))
    colors = (found - found.mean(axis=(2, 3), keepdims=True))[0].reshape(3, -1)
    values = np.linalg.eigvalsh(np.cov(colors))
    assert values[:2].max() < 0.01 * values[2]

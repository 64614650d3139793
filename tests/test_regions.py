"""Regions with styles of their own, what stays as it is, and protected content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_reference import TorchObjective, shipped_weights

from ortist.cli.sources import parse_regions
from ortist.engine import Engine, InputError, Options, Region, find_recipe
from ortist.engine.guides import REACHES, at_layer
from ortist.engine.images import resize_image, to_tensor
from ortist.engine.objective import weighted_parts
from ortist.engine.pictures import read_pictures
from ortist.engine.scene import Area, Division, Scene, Style
from ortist.engine.targets import Measuring, Statistics, as_arrays, settle_targets
from ortist.engine.targets import measured as measure_whole
from ortist.export.costs.term import Part

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]
RANDOM = np.random.default_rng(0)


def picture(height: int, width: int, seed: int) -> Pixels:
    """Return blobs in random colors."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return resize_image(coarse, width, height)


CONTENT, STYLE, OTHER, IMAGE = (picture(72, 96, seed) for seed in range(4))
RIGHT = np.zeros((72, 96, 3), np.uint8)
RIGHT[:, 40:] = 255
SOFT = np.repeat(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], 72, 0).repeat(3, 2)
GRAM = Options(
    size=96,
    steps=6,
    optimizer="lbfgs",
    init="content",
    style_layers={"conv1_1": 0.5, "conv2_1": 0.2, "conv3_1": 0.3},
    content_layers=("conv2_2",),
    tv=5.0,
)
W2 = replace(GRAM, statistic="w2")
NEIGHBORS = find_recipe("standard").with_options(size=96, steps=6, scales=1)
OPTIONS = {"gram": GRAM, "w2": W2, "neighbors": NEIGHBORS}


def scene(regions: Sequence[Region], options: Options, protect: Pixels | None = None) -> Scene:
    return read_pictures(CONTENT, STYLE, options, regions, protect).at(96, 72)


def test_costs_and_gradient_are_those_of_autograd() -> None:
    """Gram matrices by weighted positions, in float64, of two regions that overlap, and a rest."""
    regions = [Region(RIGHT, OTHER), Region(SOFT, IMAGE, RIGHT)]
    options = replace(GRAM, guides="average")
    here = scene(regions, options)
    found = Engine("cpu", 2)._objective(here, options).evaluate(to_tensor(IMAGE))

    torch_objective = TorchObjective(
        shipped_weights(), to_tensor(CONTENT), [(to_tensor(STYLE), 1.0)], options
    )

    def gram(activation: torch.Tensor, layer: str, mask: Tensor | None) -> torch.Tensor:
        rows = activation.flatten(2)[0]
        if mask is None:
            return rows @ rows.T / rows.shape[1]
        weights = torch.tensor(at_layer(mask, layer, "average")).double().flatten()
        return (rows * weights / weights.sum()) @ rows.T

    image = torch.tensor(to_tensor(IMAGE)).double().requires_grad_()
    activations = torch_objective._activations(image)
    total, plain = torch_objective.costs(image)
    total = total - sum(
        options.beta * weight * plain[f"style/{layer}"]
        for layer, weight in options.style_layers.items()
    )
    expected = {}
    for area in here.areas:
        assert area.mask is not None
        (style,) = area.styles
        measured = torch_objective._activations(torch.tensor(style.pixels).double())
        cost = torch.zeros(())
        for layer, weight in options.style_layers.items():
            own = gram(activations[layer], layer, area.mask)
            wanted = gram(measured[layer], layer, style.mask)
            cost = cost + weight * (own - wanted).square().mean() / 4
        expected[area.name] = cost.item()
        total = total + options.beta * float(area.mask.mean()) * cost
    (slope,) = torch.autograd.grad(total, image)
    assert list(expected) == ["rest", "1", "2"]
    assert found.costs.regions == pytest.approx(expected, rel=1e-5)
    assert found.costs.total == pytest.approx(total.item(), rel=1e-5)
    error = found.gradient - slope.numpy()
    assert np.median(np.abs(error)) <= 1e-5 * slope.std().item()
    assert np.linalg.norm(error) <= 1e-2 * np.linalg.norm(slope)


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_a_region_over_all_is_the_plain_cost_to_rounding(statistic: str, kernel: str) -> None:
    """By graphs that weight positions, all the same."""
    options = OPTIONS[statistic]
    whole = scene([], options)
    everywhere = np.ones((72, 96), np.float32)
    (area,) = whole.areas
    style = replace(area.styles[0], mask=np.ones(area.styles[0].pixels.shape[2:], np.float32))
    guided = replace(whole, areas=[Area("1", [style], everywhere)], division=Division({"1": 1.0}))
    engine = Engine("cpu", 2, kernel=kernel)
    plain, found = (
        engine._objective(one, options).evaluate(to_tensor(IMAGE)) for one in (whole, guided)
    )
    assert found.costs.total == pytest.approx(plain.costs.total, rel=1e-5)
    assert found.costs.style_layers == pytest.approx(plain.costs.style_layers, rel=1e-4)
    error = np.linalg.norm(found.gradient - plain.gradient)
    # Distances are small differences of large traces.
    assert error <= {"gram": 1e-5, "w2": 1e-3}[statistic] * np.linalg.norm(plain.gradient)


@pytest.mark.parametrize("statistic", OPTIONS)
def test_a_white_mask_paints_what_no_region_does(statistic: str) -> None:
    engine, options = Engine("cpu", 2), OPTIONS[statistic]
    plain = engine.stylize(CONTENT, OTHER, options)
    white = np.full((18, 24, 3), 255, np.uint8)
    region = engine.stylize(CONTENT, STYLE, options, regions=[Region(white, OTHER)])
    np.testing.assert_array_equal(region.pixels, plain.pixels)


@pytest.mark.parametrize("statistic", OPTIONS)
@pytest.mark.parametrize("reach", REACHES)
def test_each_region_takes_its_style(statistic: str, reach: str) -> None:
    """A blue and a red style: each side of the picture gets its color."""
    blue, red = (np.zeros((72, 96, 3), np.uint8) for _ in range(2))
    blue[..., 2], red[..., 0] = STYLE[..., 0], OTHER[..., 1]
    strength = {"gram": {"beta": 1000.0, "steps": 30}}.get(statistic, {"steps": 15})
    options = replace(OPTIONS[statistic], alpha=0.1, guides=reach, **strength)
    result = Engine("cpu", 2).stylize(CONTENT, blue, options, regions=[Region(RIGHT, red)])
    left, right = result.image[:, :36].mean(axis=(0, 1)), result.image[:, 44:].mean(axis=(0, 1))
    assert left[2] > left[0] + 30
    assert right[0] > right[2] + 30
    first, last = result.history[0].regions, result.history[-1].regions
    assert list(first) == ["rest", "1"]
    assert all(last[name] < first[name] / 2 for name in first)


def test_pieces_compute_what_the_fused_graph_does() -> None:
    here = scene([Region(SOFT, OTHER, RIGHT)], W2, protect=RIGHT)
    fused, pieces = (
        Engine("cpu", 2, kernel="winograd", pieces=pieces)
        ._objective(here, W2)
        .evaluate(to_tensor(IMAGE))
        for pieces in (False, True)
    )
    assert pieces.costs.total == pytest.approx(fused.costs.total, rel=1e-5)
    error = np.linalg.norm(pieces.gradient - fused.gradient)
    assert error <= 1e-3 * np.linalg.norm(fused.gradient)


@pytest.mark.parametrize("statistic", OPTIONS)
def test_what_has_no_style_stays_exactly(statistic: str) -> None:
    engine, options = Engine("cpu", 2), OPTIONS[statistic]
    for styles, region in (([], Region(RIGHT, OTHER)), (OTHER, Region(255 - RIGHT))):
        run = engine.iterate(CONTENT, styles, options, regions=[region])
        for step in run:
            np.testing.assert_array_equal(step.image()[:, :40], CONTENT[:, :40])
        assert np.abs(step.image()[:, 41:].astype(int) - CONTENT[:, 41:]).mean() > 5


def test_soft_edges_blend_with_what_stays() -> None:
    run = Engine("cpu", 2).iterate(CONTENT, [], W2, regions=[Region(SOFT, OTHER)])
    *_, last = run
    changed = np.abs(last.pixels - to_tensor(CONTENT)).mean(axis=(0, 1, 2))
    assert (changed[:4] < 6).all()
    assert changed[-24:].mean() > 3 * changed[:24].mean()


def test_the_gradient_is_that_of_what_is_seen() -> None:
    """Of J by the point that is moved, by central differences along random directions."""
    options = replace(W2, color="luminance")
    objective = Engine("cpu", 2)._objective(scene([Region(SOFT)], options), options)
    point = to_tensor(IMAGE)
    gradient = objective.evaluate(point).gradient.astype(np.float64)
    direction = gradient / np.abs(gradient).max()
    step = 0.25
    values = [
        objective.evaluate(point + np.float32(sign * step) * direction.astype(np.float32)).value
        for sign in (1, -1)
    ]
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(np.sum(gradient * direction), rel=0.02)


def targets_of(here: Scene, options: Options) -> Tensor:
    """Return the neighbor targets as columns, (C, h, w)."""
    engine = Engine("cpu", 1)
    parts = [weighted.part for weighted in weighted_parts(options, here.division)]
    choice = engine._graphs.choices(here.pixels, options, parts).plain
    measuring = Measuring(
        partial(measure_whole, engine._graphs.get("measure", choice, here.pixels))
    )
    found = as_arrays(settle_targets(measuring, parts, here, options))
    finer = [found[f"target/neighbors/image/{layer}"][0] for layer in ("conv1_1", "conv3_1")]
    return np.concatenate(finer)


def test_matches_are_looked_for_in_the_style_of_the_region() -> None:
    # All columns of a style are the matches of its own.
    style = read_pictures(OTHER, OTHER, NEIGHBORS).at(96, 72)
    own = targets_of(replace(style, content=style.styles[0].pixels), NEIGHBORS)
    columns = {tuple(column) for column in own.reshape(len(own), -1).T}
    found = targets_of(scene([Region(RIGHT, OTHER)], NEIGHBORS), NEIGHBORS)
    left, right = (half.reshape(len(own), -1).T for half in (found[..., :10], found[..., 10:]))
    assert all(tuple(column) in columns for column in right)
    assert not any(tuple(column) in columns for column in left)


def test_protected_content_is_its_own_target_and_counts_more() -> None:
    free = targets_of(scene([], NEIGHBORS), NEIGHBORS)
    # All matches of the content among its own columns are these.
    whole = replace(NEIGHBORS, style_crop=0.0)
    own = targets_of(read_pictures(CONTENT, CONTENT, whole).at(96, 72), whole)
    options = replace(NEIGHBORS, protection=4.0)
    kept = targets_of(scene([], options, protect=RIGHT), options)
    mean = 1 + 3 * np.mean(RIGHT[..., 0] > 0)
    left, right = slice(0, 10), slice(10, None)
    tolerance = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(kept[:, :, left] * mean, free[:, :, left], **tolerance)
    np.testing.assert_allclose(kept[:, :, right] * mean / 4, own[:, :, right], **tolerance)


@pytest.mark.parametrize(
    "options", [replace(GRAM, alpha=1e4), NEIGHBORS], ids=["content", "neighbors"]
)
def test_protection_keeps_the_content(options: Options) -> None:
    engine, options = Engine("cpu", 2), replace(options, steps=12, protection=20.0)
    free = engine.stylize(CONTENT, OTHER, options)
    kept = engine.stylize(CONTENT, OTHER, options, protect=RIGHT)

    def distance(image: Pixels) -> list[float]:
        off = np.abs(image.astype(float) - CONTENT)
        return [off[:, :36].mean(), off[:, 44:].mean()]

    left, right = np.divide(distance(kept.image), distance(free.image))
    assert right < 0.8
    assert left > right


def test_a_weight_of_1_protects_nothing() -> None:
    engine, options = Engine("cpu", 2), replace(GRAM, protection=1.0)
    plain, guided = (
        engine._objective(scene([], options, protect), options).evaluate(to_tensor(IMAGE))
        for protect in (None, RIGHT)
    )
    assert guided.costs.content == pytest.approx(plain.costs.content, rel=1e-5)
    error = np.linalg.norm(guided.gradient - plain.gradient)
    assert error <= 1e-5 * np.linalg.norm(plain.gradient)


def test_masks_divide_every_pixel_among_all_areas() -> None:
    regions = [Region(RIGHT, OTHER), Region(SOFT, IMAGE), Region(255 - RIGHT)]
    pictures = read_pictures(CONTENT, STYLE, GRAM, regions)
    for width, height in ((96, 72), (48, 36), (25, 19)):
        masks = [area.mask for area in pictures.at(width, height).areas]
        np.testing.assert_allclose(sum(masks), 1, atol=1e-5)
    names = [area.name for area in pictures.areas]
    assert names == ["1", "2", "3"]  # no rest is left
    assert sum(pictures.division.shares.values()) == pytest.approx(
        1 - float(pictures.areas[2].mask.mean())
    )


def test_a_region_that_deep_layers_do_not_see_is_no_trouble() -> None:
    """A few pixels: nothing of it is left after poolings, or at small scales."""
    small = np.zeros((72, 96, 3), np.uint8)
    small[71, 95] = 255
    options = replace(NEIGHBORS, steps=6, scales=2)
    for recipe in (options, replace(GRAM, scales=2)):
        result = Engine("cpu", 2).stylize(CONTENT, STYLE, recipe, regions=[Region(small, OTHER)])
        assert np.isfinite(result.pixels).all()
        assert np.isfinite(result.history[-1].total)


def test_a_run_with_regions_is_kept_and_restored() -> None:
    regions = [Region(SOFT, OTHER)]
    options = replace(NEIGHBORS, steps=8, scales=2, color="after")
    run = Engine("cpu", 1).iterate(CONTENT, [], options, regions=regions, protect=RIGHT)
    for _ in range(5):
        next(run)
    state = run.state()
    expected = [step.pixels for step in run][-1]
    resumed = Engine("cpu", 1).iterate(CONTENT, [], options, regions=regions, protect=RIGHT)
    resumed.restore(state)
    found = [step.pixels for step in resumed][-1]
    np.testing.assert_array_equal(found, expected)


def test_styles_have_sizes_of_their_own() -> None:
    options = replace(GRAM, style_scale=[0.5, 1.0, 2.0])
    found = read_pictures(CONTENT, [STYLE, OTHER], options, [Region(RIGHT, IMAGE)]).at(96, 72)
    widths = [style.pixels.shape[3] for style in found.styles]
    assert widths == [48, 96, 192]
    one = read_pictures(CONTENT, [STYLE, OTHER], replace(GRAM, style_scale=2)).at(96, 72)
    assert [style.pixels.shape[3] for style in one.styles] == [192, 192]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style": []}, "no style image given"),
        ({"style": [], "regions": [Region(RIGHT)]}, "nothing is painted"),
        ({"regions": Region(RIGHT, OTHER)}, "regions is Region.*, accepted is a sequence"),
        ({"regions": ["mask.png"]}, "regions is .*, accepted is a sequence of Region"),
        ({"regions": [Region("none.png", OTHER)]}, "mask of region 1 'none.png' does not exist"),
        ({"regions": [Region(0 * RIGHT, OTHER)]}, "mask of region 1 is black all over"),
        ({"regions": [Region(RIGHT, "none.png")]}, "style image 'none.png' does not exist"),
        ({"regions": [Region(RIGHT, OTHER, 0 * RIGHT)]}, "mask of a style is black"),
        ({"regions": [Region(RIGHT[:, :20], OTHER)]}, "mask of region 1 has 20x72 pixels"),
        ({"protect": "none.png"}, "mask to protect 'none.png' does not exist"),
        (
            {"regions": [Region(255 - 0 * RIGHT)]},
            "nothing is painted: no area with a style is left",
        ),
        (
            {"options": replace(GRAM, style_scale=[1.0, 2.0, 3.0])},
            "style_scale has 3 scales for 1 style images",
        ),
    ],
)
def test_what_cannot_be_is_one_line(arguments: dict[str, object], message: str) -> None:
    given = {"content": CONTENT, "style": STYLE, "options": GRAM, **arguments}
    with pytest.raises(InputError, match=message):
        Engine("cpu", 1).plan(**given)


def test_regions_are_read_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name.jpg").touch()
    (tmp_path / "C:dir").touch()
    entries = ["m.png=s.jpg", "m.png=s.jpg:t.png", "m.png=", "m.png=odd:name.jpg", "a=b=c.jpg"]
    assert parse_regions(entries) == [
        Region("m.png", "s.jpg"),
        Region("m.png", "s.jpg", "t.png"),
        Region("m.png"),
        Region("m.png", "odd:name.jpg"),
        Region("a", "b=c.jpg"),
    ]
    assert parse_regions(["m.png=C:s.jpg"]) == [Region("m.png", "C:s.jpg")]
    assert parse_regions(["m.png=C:dir:odd:name.jpg"]) == [Region("m.png", "C:dir", "odd:name.jpg")]
    for entry in ("m.png", "=s.jpg", ""):
        with pytest.raises(InputError, match=f"--region is '{entry}', accepted is MASK=STYLE"):
            parse_regions([entry])


def test_styles_that_come_again_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    original = Measuring._of_style

    def counting(self: Measuring, parts: Sequence[Part], style: Style) -> Statistics:
        measured.append(style.pixels.shape)
        return original(self, parts, style)

    monkeypatch.setattr(Measuring, "_of_style", counting)
    options = replace(NEIGHBORS, scales=2)
    forgetful, keeping = Engine("cpu", 1), Engine("cpu", 1, kept_styles=4)
    for content in (CONTENT, IMAGE):
        expected = forgetful.stylize(content, STYLE, options)
        count = len(measured)
        found = keeping.stylize(content, STYLE, options)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        # At the first time at both scales, then not at all.
        assert len(measured) - count == (2 if content is CONTENT else 0)
    keeping.stylize(CONTENT, OTHER, options)
    assert len(measured) - count == 2
    with pytest.raises(InputError, match="kept_styles is -1"):
        Engine("cpu", 1, kept_styles=-1)

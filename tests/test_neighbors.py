"""The neighbors term: what is matched with what, and the cost and gradient that follow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_statistics import picture, torch_activations
from threadpoolctl import threadpool_limits
from torch.nn import functional

from ortist.engine import Engine, InputError, Options
from ortist.engine.images import resize_tensor, to_tensor
from ortist.engine.numbers import computing
from ortist.engine.objective import weighted_parts
from ortist.engine.scales import Scale
from ortist.engine.scene import Area, Scene, Style
from ortist.engine.storage import IN_MEMORY, Storage
from ortist.engine.targets import PAINTED, Measuring, as_arrays, mixed, settle_targets
from ortist.engine.targets import measured as measure_whole
from ortist.export.costs.neighbors import (
    COARSEST,
    DIRECTIONS,
    LAYERS,
    PLACES,
    TRANSPORTED,
    Neighbors,
    _columns,
    _regular,
    _sides,
    best_matches,
    spread,
    transport,
    units,
)
from ortist.export.costs.term import Lookup, Matched, Protected
from ortist.models.errors import CanceledError

Pixels = NDArray[np.uint8]
Tensor = NDArray[np.float32]
NEIGHBORS = Options(content_cost="neighbors", alpha=1, beta=0, style_layers=["conv1_1"])
PARTS = [weighted.part for weighted in weighted_parts(NEIGHBORS)]
RANDOM = np.random.default_rng(4)


def measured(pixels: Pixels) -> dict[str, NDArray[np.float32]]:
    """Return the parts of hypercolumns as the engine measures them."""
    found = measuring(Engine("cpu", 1)).of(PARTS[:1], to_tensor(pixels))
    return PARTS[0].own(found)


def all_columns(parts: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return _columns(parts, np.arange(np.prod(_sides(parts))))


def measuring(engine: Engine) -> Measuring:
    choice = engine._graphs.choices(10_000, NEIGHBORS, PARTS).plain
    return Measuring(partial(measure_whole, engine._graphs.get("measure", choice, 10_000)))


def whole(targets: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return targets as one tensor (1, 960, h, w)."""
    *finer, a, b, c, d = targets.values()
    coarse = np.empty((1, 512, 2 * a.shape[2], 2 * a.shape[3]), np.float32)
    for (row, column), part in zip(PLACES, (a, b, c, d), strict=True):
        coarse[:, :, row::2, column::2] = part
    return np.concatenate([*finer, coarse], axis=1)


def statistics(
    height: int, width: int, seed: int, storage: Storage = IN_MEMORY
) -> dict[str, Tensor]:
    """Return parts of hypercolumns on a grid, at random."""
    random, parts = np.random.default_rng(seed), {}
    for layer, channels in LAYERS.items():
        halves = 2 if layer == COARSEST else 1
        part = storage.empty((1, channels, height // halves, width // halves))
        random.standard_normal(part.shape, np.float32, part)
        parts[layer] = np.maximum(part, 0, out=part)
    return parts


def dense_matches(sought: Tensor, found: Tensor) -> Tensor:
    """Return, for each column (C, P) that is sought, the best match, as a unit, of all found."""
    covariances = [np.cov(columns, bias=True) for columns in (sought, found)]
    sums = [one * len(each.T) for one, each in zip(covariances, (sought, found), strict=True)]
    directions = np.linalg.eigh(sums[0] + sums[1])[1][:, -DIRECTIONS:]
    a, s = (_regular(directions.T @ one @ directions) for one in covariances)
    kept = (1 - TRANSPORTED) * np.sqrt(np.trace(s) / np.trace(a)) * np.eye(DIRECTIONS)
    rows = [(each.T - each.mean(axis=1)) @ directions for each in (sought, found)]
    best, _ = best_matches(rows[0] @ (kept + TRANSPORTED * transport(a, s)), rows[1])
    return units(found, axis=0)[:, best]


def hypercolumns(image: torch.Tensor) -> torch.Tensor:
    """Return hypercolumns (1, 960, h, w) in the element type of the image."""
    layers = torch_activations(image, Options(), last="conv4_1")
    coarse = layers["conv4_1"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    pooled = [
        functional.avg_pool2d(layers["conv1_1"], 4),
        functional.avg_pool2d(layers["conv2_1"], 2),
        layers["conv3_1"],
        coarse,
    ]
    height, width = coarse.shape[2:]
    return torch.cat([layer[:, :, :height, :width] / layer.shape[1] for layer in pooled], dim=1)


@pytest.mark.parametrize("kernel", ["direct", "winograd"])
@pytest.mark.parametrize("size", [(43, 57), (40, 48), (16, 31)])
def test_cost_and_gradient_are_those_of_autograd(size: tuple[int, int], kernel: str) -> None:
    content, style, image = (picture(*size, seed) for seed in range(3))
    engine = Engine("cpu", 2, kernel=kernel)
    scene = Scene.whole(content, [style])
    targets = as_arrays(settle_targets(measuring(engine), PARTS, scene, NEIGHBORS))
    target = whole({name: value for name, value in targets.items() if "neighbors" in name})
    pixels = torch.tensor(to_tensor(image)).double().requires_grad_()
    expected = 1 - functional.cosine_similarity(
        hypercolumns(pixels), torch.tensor(target).double(), dim=1
    )
    (slope,) = torch.autograd.grad(expected.mean(), pixels)
    found = engine._objective(scene, NEIGHBORS).evaluate(to_tensor(image))
    assert found.costs.content == pytest.approx(expected.mean().item(), rel=3e-6)
    assert found.costs.content_layers == {"image": found.costs.content}
    error = found.gradient - slope.numpy()
    assert np.median(np.abs(error)) <= 5e-6 * slope.std().item()
    assert np.linalg.norm(error) <= 1e-2 * np.linalg.norm(slope)


@pytest.mark.parametrize("size", [(43, 57), (16, 16)])
def test_columns_are_on_a_grid_of_a_quarter(size: tuple[int, int]) -> None:
    pixels = picture(*size, 5)
    found = all_columns(measured(pixels))
    assert found.shape == (sum(LAYERS.values()), (size[0] // 8 * 2) * (size[1] // 8 * 2))
    expected = hypercolumns(torch.tensor(to_tensor(pixels)).double())
    np.testing.assert_allclose(found, expected[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_a_picture_is_its_own_best_match() -> None:
    parts = measured(picture(80, 96, 6))
    target = whole(Neighbors().match(parts, [parts])).reshape(sum(LAYERS.values()), -1)
    np.testing.assert_allclose((target**2).sum(axis=0), 1, rtol=1e-5)
    columns = all_columns(parts)
    cosines = (target * columns).sum(axis=0) / np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)


def test_targets_are_columns_of_styles_that_count() -> None:
    """A style of weight 0 is not among those that are matched."""
    content, first, second = (picture(40, 48, seed) for seed in (7, 8, 9))

    def targets(styles: list[tuple[float, Pixels]]) -> Any:
        engine = Engine("cpu", 1)
        own = [Style(to_tensor(style), share) for share, style in styles]
        scene = Scene(to_tensor(content), [Area("", own)])
        found = as_arrays(settle_targets(measuring(engine), PARTS, scene, NEIGHBORS))
        target = whole({name: value for name, value in found.items() if "neighbors" in name})
        return target.reshape(target.shape[1], -1).T

    alone, both = targets([(1.0, first)]), targets([(0.5, first), (0.5, second)])
    np.testing.assert_array_equal(targets([(1.0, first), (0.0, second)]), alone)
    units = []
    for style in (first, second):
        rows = all_columns(measured(style)).T
        units.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    sources = [(both @ unit.T).max(axis=1) > 1 - 1e-5 for unit in units]
    assert (sources[0] | sources[1]).all()
    assert sources[0].any()
    assert sources[1].any()


def test_transport_maps_one_covariance_to_the_other() -> None:
    a, s = (np.cov(RANDOM.normal(size=(6, 40))) for _ in range(2))
    found = transport(a, s)
    np.testing.assert_allclose(found @ a @ found, s, atol=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(transport(a, a), np.eye(6), atol=1e-10)


def test_all_rows_are_matched_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ortist.export.costs.neighbors.PAIRS", 2**20)
    sought, found = RANDOM.normal(size=(2100, 9)), RANDOM.normal(size=(1500, 9))
    best, cosines = best_matches(sought, found)
    expected = (sought @ found.T) / np.outer(*(np.linalg.norm(x, axis=1) for x in (sought, found)))
    np.testing.assert_array_equal(best, expected.argmax(axis=1))
    np.testing.assert_allclose(cosines, expected.max(axis=1))


def test_of_large_styles_the_candidates_are_spread() -> None:
    np.testing.assert_array_equal(spread(5, 9), range(5))
    np.testing.assert_array_equal(spread(10, 4), [0, 2, 5, 7])
    parts = measured(picture(80, 96, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ortist.export.costs.neighbors.CANDIDATES", 50)
        target = whole(Neighbors().match(parts, [parts])).reshape(sum(LAYERS.values()), -1)
    assert len(np.unique(target, axis=1).T) <= 50


def pooled(mask: Tensor) -> Tensor:
    """Return what each column has of a mask, (P,)."""
    height, width = (side // 4 for side in mask.shape)
    shares = mask[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3))
    return np.ravel(shares)


def divided(storage: Storage = IN_MEMORY) -> tuple[dict[str, Tensor], list[Matched], Protected]:
    """Return arguments of match_areas: what is sought on a grid of 24x30, and three areas.

    The first has two styles, one of them masked, the second one style, the third none. At the
    bottom the content is protected.
    """
    query, first, second, content = (
        statistics(*sides, seed, storage)
        for seed, sides in enumerate([(24, 30), (20, 22), (12, 16), (24, 30)])
    )
    top, left = np.zeros((2, 97, 122), np.float32)
    top[:41], left[:, :50] = 1, 1
    style_mask = np.random.default_rng(9).random((83, 90), np.float32)
    areas = [
        Matched((1 - top) * left, [first, second], [style_mask, None]),
        Matched((1 - top) * (1 - left), [second], [None]),
        Matched(top, [], []),
    ]
    protect = np.zeros((97, 122), np.float32)
    protect[60:] = np.linspace(0, 1, 122)
    return query, areas, Protected(content, protect, 5.0)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Decompositions take seconds where NumPy's threads wait for others."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="module")
def targets() -> Mapping[str, Any]:
    """Those of :func:`divided`."""
    with computing(2):
        return Neighbors().match_areas(*divided())


def as_matrix(targets: Mapping[str, Lookup]) -> Tensor:
    """Return targets as a matrix (960, P)."""
    return whole(targets).reshape(sum(LAYERS.values()), -1)


@pytest.mark.usefixtures("_one_thread")
def test_matches_are_those_of_all_columns_at_once() -> None:
    query, styles = statistics(40, 34, 1), [statistics(22, 26, 2), statistics(10, 12, 3)]
    found = np.concatenate([all_columns(style) for style in styles], axis=1)
    expected = dense_matches(all_columns(query), found)
    np.testing.assert_allclose(as_matrix(Neighbors().match(query, styles)), expected, atol=1e-6)


@pytest.mark.usefixtures("_one_thread")
def test_targets_of_areas_are_those_of_all_columns_at_once(targets: Mapping[str, Any]) -> None:
    query, areas, protected = divided()
    shares = [pooled(area.mask) for area in areas]
    owners, kept = np.argmax(shares, axis=0), pooled(protected.mask)
    style_shares = pooled(areas[0].style_masks[0])
    first, second = (all_columns(style) for style in areas[0].styles)
    columns = all_columns(query)
    allowed = first[:, style_shares[: len(first.T)] >= style_shares.max() / 2]
    expected = np.zeros_like(columns)
    expected[:, owners == 0] = dense_matches(
        columns[:, owners == 0], np.concatenate([allowed, second], axis=1)
    )
    expected[:, owners == 1] = dense_matches(columns[:, owners == 1], second)
    weights = 1 + 4 * kept
    kept[owners == 2] = 1
    expected += kept * (units(all_columns(protected.content), axis=0) - expected)
    expected = units(expected, axis=0) * weights / weights.mean()
    np.testing.assert_allclose(as_matrix(targets), expected, atol=3e-6)


@pytest.mark.usefixtures("_one_thread")
def test_areas_may_all_be_without_styles() -> None:
    query, content = statistics(8, 10, 1), statistics(8, 10, 2)
    targets = Neighbors().match_areas(query, [Matched(None, [], [])], Protected(content))
    expected = units(all_columns(content), axis=0)
    np.testing.assert_allclose(as_matrix(targets), expected, atol=1e-6)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("block", [50, 333])
def test_targets_do_not_depend_on_blocks(
    block: int, targets: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ortist.export.costs.neighbors.BLOCK", block)
    found = Neighbors().match_areas(*divided())
    for name, lookup in targets.items():
        np.testing.assert_array_equal(found[name].places, lookup.places)
        np.testing.assert_allclose(found[name].columns, lookup.columns, rtol=1e-5, atol=1e-7)


def test_targets_do_not_depend_on_threads_nor_on_where_arrays_are(
    targets: Mapping[str, Any],
) -> None:
    mapped = Storage(mapped=True)
    for threads, storage in ((1, mapped), (3, IN_MEMORY)):
        with computing(threads, storage=storage):
            found = Neighbors().match_areas(*divided(storage))
        for name, lookup in targets.items():
            np.testing.assert_array_equal(found[name], lookup)


@pytest.mark.usefixtures("_one_thread")
def test_windows_of_lookups_are_those_of_arrays(targets: Mapping[str, Any]) -> None:
    plain = Neighbors().match(statistics(8, 10, 1), [statistics(6, 4, 2)])
    for name, lookup in [*targets.items(), *plain.items()]:
        array = np.asarray(lookup, np.float32)
        assert array.shape == lookup.shape == (1, LAYERS[name.partition(":")[0]], *array.shape[2:])
        assert array.dtype == lookup.dtype == np.float32
        for rows, columns in (
            (slice(None), slice(None)),
            (slice(2, 7), slice(3, 11)),
            (slice(4, 40), slice(-5, None)),
            (slice(3, 3), slice(0, 2)),
        ):
            window = lookup[..., rows, columns]
            np.testing.assert_array_equal(window, array[..., rows, columns])
            assert window.dtype == np.float32
            assert window.flags.c_contiguous
    # What columns there are is common to all, and where they are.
    assert len({id(lookup.places) for lookup in list(targets.values())[:3]}) == 1
    with pytest.raises(ValueError, match="copy"):
        targets["conv1_1"].__array__(copy=False)


@pytest.mark.usefixtures("_one_thread")
def test_memory_does_not_grow_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All columns of what is sought would take 123 MB, and the targets as much again."""
    for name, value in {"BLOCK": 2**9, "CANDIDATES": 2**9, "PAIRS": 2**16}.items():
        monkeypatch.setattr(f"ortist.export.costs.neighbors.{name}", value)
    query, style = statistics(160, 200, 1), statistics(40, 40, 2)
    tracemalloc.start()
    try:
        targets = Neighbors().match(query, [style])
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert targets["conv1_1"].places.shape == (160, 200)
    assert held < 5e6
    assert peak < 60e6


def test_the_search_for_matches_can_be_canceled() -> None:
    query, areas, protected = divided()
    asked = count()
    with computing(2, lambda: next(asked) >= 0), pytest.raises(CanceledError):
        Neighbors().match(query, areas[0].styles)
    for most in (2, 5, 8):
        asked = count(1)
        with (
            computing(2, lambda most=most, asked=asked: next(asked) > most),
            pytest.raises(CanceledError),
        ):
            Neighbors().match_areas(query, areas, protected)


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_of_one_color_are_painted(value: int) -> None:
    flat, full = np.full((32, 40, 3), value, np.uint8), picture(32, 40, 1)
    for content, style in ((flat, full), (full, flat), (flat, flat)):
        options = Options(
            content_cost="neighbors", statistic="w2", normalize=True, width=40, steps=3, scales=2
        )
        result = Engine("cpu", 1).stylize(content, style, options)
        assert np.isfinite(result.pixels).all()


def test_what_is_matched_later_has_a_share_of_what_was_painted() -> None:
    content = picture(32, 40, 1)
    before = Scale(20, 16, 1)
    own = resize_tensor(resize_tensor(to_tensor(content), 20, 16), 40, 32)
    np.testing.assert_allclose(
        mixed(to_tensor(content), own, before), to_tensor(content), atol=1e-4
    )
    np.testing.assert_allclose(
        mixed(to_tensor(content), own + 8, before), to_tensor(content) + 8 * PAINTED, atol=1e-4
    )


def test_content_layers_are_of_the_other_content_cost() -> None:
    with pytest.raises(InputError, match="content_layers is for content, but content_cost is"):
        Options(content_cost="neighbors", content_layers=["conv3_1"])

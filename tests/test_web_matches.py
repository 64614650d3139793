"""What the browser computes between measuring and comparing is what NumPy computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from javascript import JavaScriptError, call
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ortist.engine import Engine, Options
from ortist.engine.images import resize_tensor
from ortist.engine.objective import weighted_parts
from ortist.engine.targets import Measuring, _mean, as_arrays
from ortist.engine.targets import measured as measure_whole
from ortist.export.costs import gaussian, neighbors
from ortist.export.costs.gaussian import Gaussian
from ortist.export.costs.neighbors import COARSEST, PLACES, Neighbors

Matrix = NDArray[np.float64]
Tensor = NDArray[np.float32]
Statistics = Mapping[str, Tensor]
Picture = tuple[int, int, int]
EPSILON = np.finfo(np.float64).eps
RANDOM = np.random.default_rng(7)
DRIVER, SETTLE = "tests/web/matches.js", "web/settle.js"
NEIGHBORS = Options(content_cost="neighbors", alpha=1, beta=0, style_layers=["conv1_1"])
PART = weighted_parts(NEIGHBORS)[0].part
MATCHING = (
    *("LAYERS", "COARSEST", "PLACES", "DIRECTIONS", "TRANSPORTED", "_RIDGE"),
    *("CANDIDATES", "BLOCK", "PAIRS", "_EPSILON"),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep NumPy's threads from waiting for one another where other work has the cores."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def constants(module: Any, *names: str) -> dict[str, Any]:
    """Return constants of a module as JavaScript takes them."""
    return {name.lstrip("_").lower(): getattr(module, name) for name in names}


matching = partial(constants, neighbors, *MATCHING)
settling = partial(constants, gaussian, "NOISE", "_LEAST_NOISE", "DIRECTIONS")


def symmetric(values: Sequence[float] | Matrix) -> Matrix:
    """Return a matrix with these eigenvalues."""
    vectors = np.linalg.qr(RANDOM.standard_normal((len(values), len(values))))[0]
    matrix = (vectors * np.asarray(values)) @ vectors.T
    return (matrix + matrix.T) / 2


@cache
def measuring() -> Measuring:
    graphs = Engine("cpu", 1)._graphs
    choice = graphs.choices(10_000, NEIGHBORS, [PART]).plain
    return Measuring(partial(measure_whole, graphs.get("measure", choice, 10_000)))


@cache
def picture(height: int, width: int, seed: int) -> Statistics:
    """Return what is measured of a smooth picture for matches."""
    colors = np.random.default_rng(seed).uniform(-100, 120, (1, 3, height // 9, width // 9))
    pixels = resize_tensor(colors.astype(np.float32), width, height)
    return PART.own(measuring().of([PART], pixels))


def all_columns(statistics: Statistics) -> Tensor:
    return neighbors._columns(statistics, np.arange(np.prod(neighbors._sides(statistics))))


def wilkinson(blocks: int) -> Matrix:
    """Return blocks that are all but apart, with eigenvalues that are all but equal."""
    diagonal = np.tile(np.abs(np.arange(-10.0, 11)), blocks)
    beside = np.ones(len(diagonal) - 1)
    beside[20::21] = 1e-9
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[-3.0]]),
        np.array([[2.0, -1], [-1, 2]]),
        np.array([[1.0, 0], [0, 1]]),
        symmetric(RANDOM.uniform(-1, 1, 37)),
        symmetric(np.concatenate([np.ones(256), 0.3 + 5 * EPSILON * np.arange(256)])),
        symmetric(10.0 ** -np.linspace(0, 20, 90)),
        symmetric([1.0] * 30 + [2.0] * 31 + [0.0] * 40),
        1e200 * symmetric(RANDOM.uniform(1, 2, 9)),
        1e-200 * symmetric(RANDOM.uniform(1, 2, 9)),
        np.zeros((50, 50)),
        np.ones((50, 50)),
        np.eye(50),
        wilkinson(6),
        np.array(
            [[0, 2e-9, 0, 0], [2e-9, -2e19, -1e10, 0], [0, -1e10, 300, -3e3], [0, 0, -3e3, 0]]
        ),
    ],
)
def test_decompositions(matrix: Matrix) -> None:
    found = call(DRIVER, "decompose", matrix)
    values, rows = found["values"], found["vectors"]
    expected = np.linalg.eigvalsh(matrix)
    size = np.abs(expected).max() or 1
    np.testing.assert_allclose(values / size, expected / size, atol=1e-13)
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(matrix)), atol=1e-14)
    np.testing.assert_allclose(matrix / size @ rows.T, rows.T * (values / size), atol=1e-13)


def test_vectors_of_close_values_are_orthogonal() -> None:
    # Few of these tell whether what little is left of a vector is made orthogonal again.
    for _ in range(40):
        rows = call(DRIVER, "decompose", symmetric(5 * EPSILON * np.arange(60) - 1))["vectors"]
        np.testing.assert_allclose(rows @ rows.T, np.eye(60), atol=1e-14)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_matrices_that_are_not_finite(value: float) -> None:
    matrix = np.eye(5)
    matrix[3, 2] = matrix[2, 3] = value
    with pytest.raises(JavaScriptError, match="not finite"):
        call(DRIVER, "decompose", matrix)


@pytest.mark.parametrize(
    ("matrix", "count"),
    [
        (symmetric(RANDOM.uniform(0, 1, 70)), 1),
        (symmetric(np.exp(-np.arange(100.0) / 3)), 30),
        (symmetric([3.0] * 13 + [1.0] * 20), 13),
    ],
    ids=["even", "steep", "repeated"],
)
def test_strongest_directions(matrix: Matrix, count: int) -> None:
    check_directions(matrix, count)


def test_strongest_directions_of_a_picture() -> None:
    columns = all_columns(picture(96, 120, 0))
    check_directions(neighbors._moments([columns]).covariance, neighbors.DIRECTIONS)


def check_directions(matrix: Matrix, count: int) -> None:
    rows = call(DRIVER, "mostOf", matrix, count)
    values, vectors = np.linalg.eigh(matrix)
    expected = vectors[:, -count:] @ vectors[:, -count:].T
    # The nearer the next eigenvalue is, the less is known of the space.
    known = 1e-14 * values[-1] / (values[-count] - values[-count - 1])
    assert known < 1e-6
    assert rows.shape == (count, len(matrix))
    np.testing.assert_allclose(rows.T @ rows, expected, atol=10 * known + 1e-13)
    strengths = ((rows @ matrix) * rows).sum(axis=1)
    np.testing.assert_allclose(strengths, values[-count:], atol=1e-13 * values[-1])


@pytest.mark.parametrize("exponent", [0.5, -0.5, 2])
def test_powers(exponent: float) -> None:
    matrix = symmetric(RANDOM.uniform(0.1, 3, 41))
    expected = neighbors.power(matrix, exponent)
    np.testing.assert_allclose(call(DRIVER, "raised", matrix, exponent), expected, atol=1e-12)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (3, 5, 2), (7, 20, 9), (40, 33, 4)])
def test_products(m: int, k: int, n: int) -> None:
    a, b = RANDOM.standard_normal((m, k)), RANDOM.standard_normal((n, k))
    np.testing.assert_allclose(call(DRIVER, "rowProducts", a, b), a @ b.T, atol=1e-13)
    np.testing.assert_array_equal(call(DRIVER, "turned", a), a.T)


def moments(channels: int, positions: int, random: np.random.Generator) -> Statistics:
    """Return statistics of w2 of activations, a third of whose channels never fire."""
    mixture = random.standard_normal((channels, channels)) * np.exp(-np.arange(channels) / 9)
    activations = np.maximum(mixture @ random.standard_normal((channels, positions)), 0)
    activations[::3] = 0
    second, mean = activations @ activations.T / positions, activations.mean(axis=1, keepdims=True)
    return {"second": second.astype(np.float32), "mean": mean.astype(np.float32)}


@pytest.mark.parametrize(
    "statistics",
    [
        moments(1, 9, RANDOM),
        moments(64, 400, RANDOM),
        moments(512, 300, RANDOM),
        {"second": np.zeros((5, 5), np.float32), "mean": np.zeros((5, 1), np.float32)},
        # Rounding may leave less than the square of the mean.
        {"second": np.full((5, 5), 0.999, np.float32), "mean": np.ones((5, 1), np.float32)},
    ],
    ids=["single", "few", "many", "dead", "constant"],
)
@pytest.mark.parametrize("directions", [3, 384])
def test_gaussians(statistics: Statistics, directions: int) -> None:
    expected = Gaussian(directions).settle(statistics)
    found = call(SETTLE, "settle", "w2", statistics, {**settling(), "directions": directions})
    assert found.keys() == expected.keys()
    assert all(found[name].shape == part.shape for name, part in expected.items())
    assert all(part.dtype == np.float32 for part in found.values())
    np.testing.assert_array_equal(found["mean"], expected["mean"])
    np.testing.assert_allclose(found["rest"], expected["rest"], rtol=1e-5)
    roots = [part["root"].astype(np.float64) for part in (found, expected)]
    strengths = (roots[1] ** 2).sum(axis=0)
    tolerance = 1e-6 * strengths.max()
    np.testing.assert_allclose(roots[0].T @ roots[0], np.diag(strengths), atol=tolerance)
    # Signs are free, and so are directions that have nothing but noise.
    noise = max(gaussian.NOISE * np.trace(statistics["second"]), gaussian._LEAST_NOISE)
    signal = np.maximum(1 - noise / strengths, 0)
    covariances = [root * signal @ root.T for root in roots]
    np.testing.assert_allclose(*covariances, atol=tolerance)


@pytest.mark.parametrize("term", ["content", "gram"])
def test_statistics_that_are_targets(term: str) -> None:
    statistics = {"some": RANDOM.standard_normal((3, 4), np.float32)}
    found = call(SETTLE, "settle", term, statistics, settling())
    np.testing.assert_array_equal(found["some"], statistics["some"])


@pytest.mark.parametrize("term", ["neighbors", "toString"])
def test_terms_without_settled_targets(term: str) -> None:
    with pytest.raises(JavaScriptError, match=f"term {term}"):
        call(SETTLE, "settle", term, {}, settling())


@pytest.mark.parametrize("shares", [[1.0], [0.7, 0.3], [0.1, 0.2, 0.7]])
def test_means(shares: list[float]) -> None:
    statistics = [moments(6, 20, RANDOM) for _ in shares]
    expected = _mean(statistics, shares)
    found = call(SETTLE, "mean", statistics, shares)
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        np.testing.assert_array_equal(found[name], part)


def whole(targets: Statistics) -> Tensor:
    """Return targets as columns, (960, P)."""
    *finer, a, b, c, d = targets.values()
    _, channels, height, width = a.shape
    coarse = np.empty((1, channels, 2 * height, 2 * width), np.float32)
    for (row, column), part in zip(PLACES, (a, b, c, d), strict=True):
        coarse[:, :, row::2, column::2] = part
    columns = np.concatenate([*finer, coarse], axis=1)
    return columns.reshape(columns.shape[1], -1)


def shortfalls(query: Statistics, styles: Sequence[Statistics], columns: Tensor) -> Tensor:
    """Return by how much the cosines of these matches, (960, P), are below the largest there are.

    Cosines are those by which matches are chosen, of all candidates.
    """
    positions = neighbors._candidates(neighbors.Matched(None, styles, [None] * len(styles)))
    found = np.empty((len(columns), sum(map(len, positions))), np.float32)
    neighbors._fill(found, styles, positions)
    sought = all_columns(query)
    source, target = neighbors._moments([sought]), neighbors._moments([found])
    directions, moved = neighbors._comparable(source, target)
    rows = neighbors.units(neighbors._projected(sought, source.mean, directions) @ moved)
    others = neighbors.units(neighbors._projected(found, target.mean, directions))
    cosines = rows @ others.T
    likeness = columns.T @ neighbors.units(found, axis=0)
    np.testing.assert_allclose(likeness.max(axis=1), 1, atol=1e-5)
    chosen = likeness.argmax(axis=1)
    return cosines.max(axis=1) - cosines[np.arange(len(chosen)), chosen]


@pytest.mark.parametrize(
    ("query", "styles"),
    [
        ((59, 77, 1), [(97, 66, 2)]),
        ((48, 64, 4), [(97, 66, 2), (41, 90, 3)]),
        # There are fewer positions than directions.
        ((24, 24, 6), [(16, 27, 7)]),
    ],
)
def test_matches(query: Picture, styles: Sequence[Picture]) -> None:
    check_matches(picture(*query), [picture(*style) for style in styles])


def test_matches_where_blocks_are_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "CANDIDATES", 301)
    monkeypatch.setattr(neighbors, "BLOCK", 100)
    monkeypatch.setattr(neighbors, "PAIRS", 301 * 32 + 5)
    check_matches(picture(48, 64, 4), [picture(41, 90, 3), picture(75, 75, 5)])


def test_matches_of_what_is_not_finite() -> None:
    query = {name: part.copy() for name, part in picture(48, 64, 4).items()}
    query["conv1_1"][0, 3, 2, 4] = np.nan
    query["conv3_1"][0, :, 5] = np.inf
    query[COARSEST][0, 7, 1, 1] = -np.inf
    check_matches(query, [picture(97, 66, 2)])


def check_matches(query: Statistics, styles: Sequence[Statistics]) -> None:
    expected = as_arrays(Neighbors().match(query, styles))
    found = call(DRIVER, "matched", query, styles, matching())
    assert list(found) == list(expected)
    assert all(found[name].shape == part.shape for name, part in expected.items())
    assert all(part.dtype == np.float32 for part in found.values())
    columns = whole(found)
    np.testing.assert_allclose(shortfalls(query, styles, columns), 0, atol=1e-5)
    differences = np.abs(columns - whole(expected)).max(axis=0)
    assert (differences < 1e-6).mean() >= 0.995


def test_matches_are_canceled_between_products() -> None:
    query, style = picture(24, 24, 6), picture(16, 27, 7)
    assert call(DRIVER, "canceled", query, [style], matching(), 2) == ["AbortError", 2]

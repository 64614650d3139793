"""What the workers of a cluster do: they hold graphs and pieces, and evaluate tiles.

Workers of Dask import this module, and so does its scheduler, which sees what is sent to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from distributed import Worker, WorkerPlugin, get_worker
from numpy.typing import NDArray

from ortist.engine.artifacts import Weights
from ortist.engine.cluster import RESOURCE
from ortist.engine.graphs import Blueprint
from ortist.engine.optimizer import Tensor
from ortist.engine.record import installed_versions
from ortist.engine.sessions import Device
from ortist.engine.tiling import Bench, Measured, Piece
from ortist.export.costs.term import Part
from ortist.models.errors import DeviceError

IDLE_SECONDS = 900.0
"""After which a worker gives memory back: whoever asked may have been killed, and tells nobody."""


class Stock(WorkerPlugin):
    """The weights, which all graphs on a worker share.

    Args:
        weights: as they were verified.
    """

    idempotent = True

    def __init__(self, weights: Weights) -> None:
        self.weights = weights


@dataclass(frozen=True)
class Tools:
    """What tiles of one picture are evaluated with.

    Attributes:
        stock: name of the plugin with the weights.
        provider: of ONNX Runtime.
        threads: of each session; the bytes depend on them.
        measure: what the graph that measures tiles is loaded from.
        pullback: likewise that which carries derivatives on to them; None if none does.
        compare: likewise that which compares what is local; None if nothing is.
        parts: what J is the sum of.
        shared: by the names of targets, what of them is the same for all tiles.
        versions: of what pictures are computed with, by package.
    """

    stock: str
    provider: str
    threads: int
    measure: Blueprint
    pullback: Blueprint | None
    compare: Blueprint | None
    parts: tuple[Part, ...]
    shared: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=installed_versions)

    def bench(self, weights: Weights) -> Bench:
        """Load all graphs.

        Raises:
            DeviceError: if this process has other versions, or not that provider.
            ArtifactError: if a graph cannot be loaded.
        """
        found = installed_versions()
        for package in ("ortist", "onnxruntime"):
            if found[package] != self.versions[package]:
                raise DeviceError(
                    f"a worker has {package} {found[package]}, accepted is"
                    f" {self.versions[package]}, as where the run is"
                )
        device = Device(self.provider, self.threads)
        pullback, compare = (
            None if blueprint is None else blueprint.load(device, weights)
            for blueprint in (self.pullback, self.compare)
        )
        return Bench(self.measure.load(device, weights), pullback, compare, self.parts)


class Slopes:
    """What is the same for all tiles of an evaluation that are pulled back.

    Args:
        number: of the evaluation.
        values: dJ/dstatistics by the names of the statistics.
        weights: of the costs of parts that are local, in order.
    """

    def __init__(
        self, number: int, values: Mapping[str, Tensor], weights: NDArray[np.float64]
    ) -> None:
        self.number, self.values, self.weights = number, values, weights


_NO_SLOPES = Slopes(0, {}, np.zeros(0))


@dataclass(frozen=True)
class Order:
    """What a worker is asked to do with a tile.

    Attributes:
        station: name of the plugin that does it.
        index: number of the tile.
        pixels: of its crop.
        piece: the tile with what does not change, None if the worker has it.
        evaluation: number of the slopes that are wanted, 0 for none.
        slopes: these, None if the worker has them.
        forget: numbers of tiles whose pieces other workers have now.
        parts: what is looked at, where it is not all.
    """

    station: str
    index: int
    pixels: Tensor
    piece: Piece | None
    evaluation: int = 0
    slopes: Slopes | None = None
    forget: Sequence[int] = ()
    parts: Sequence[Part] = ()


class Station(WorkerPlugin):
    """Evaluates the tiles of a picture in one size, on a worker.

    Args:
        tools: by which.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pieces: dict[int, Piece] = {}
        self._slopes = _NO_SLOPES
        self._weights: Weights | None = None
        self._bench: Bench | None = None
        self._problem: Exception | None = None
        self._used = 0.0
        self._idling: asyncio.Task[None] | None = None

    async def setup(self, worker: Worker) -> None:
        """Load the graphs, while the worker goes on to answer."""
        if not worker.state.total_resources.get(RESOURCE):
            return
        stock: Any = worker.plugins[self._tools.stock]
        self._weights = stock.weights
        self._idling = asyncio.create_task(self._idle())
        try:
            await asyncio.to_thread(self.bench)
        except Exception as error:
            # Who joins later has nobody to tell: its first task does.
            self._problem = error
            raise

    def teardown(self, worker: Worker) -> None:
        """Let go of everything."""
        if self._idling is not None:
            self._idling.cancel()

    def bench(self) -> Bench:
        """Return what evaluates tiles; raises what prevented it."""
        self._used = time.monotonic()
        if self._problem is not None:
            raise self._problem
        if self._bench is None:
            assert self._weights is not None
            self._bench = self._tools.bench(self._weights)
        return self._bench

    async def _idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 10)
            if time.monotonic() - self._used > IDLE_SECONDS:
                # Who asks again sends pieces again, and the graphs are loaded again.
                self._bench, self._slopes = None, _NO_SLOPES
                self._pieces.clear()

    def piece(self, order: Order) -> Piece | None:
        """Return the piece of an order, None if it is not here."""
        for index in order.forget:
            self._pieces.pop(index, None)
        if order.piece is not None:
            self._pieces[order.index] = with_shared(order.piece, self._tools.shared)
        return self._pieces.get(order.index)

    def slopes(self, order: Order) -> Slopes | None:
        """Return the slopes of an order, None if they are not here."""
        if order.slopes is not None:
            self._slopes = order.slopes
        return self._slopes if self._slopes.number == order.evaluation else None


def look(order: Order) -> dict[str, Tensor]:
    """Return what some parts measure of a tile's core, on a worker; it keeps no pieces."""
    assert order.piece is not None
    return _station(order).bench().look(order.parts, order.piece, order.pixels)


def measure(order: Order) -> Measured | None:
    """Return what a tile adds, on a worker; None if it misses the piece."""
    station = _station(order)
    piece = station.piece(order)
    return None if piece is None else station.bench().measure(piece, order.pixels)


def pull_back(order: Order) -> Tensor | None:
    """Return dJ/dpixels of a tile's core, on a worker; None if it misses piece or slopes."""
    station = _station(order)
    piece, slopes = station.piece(order), station.slopes(order)
    if piece is None or slopes is None:
        return None
    return station.bench().pull_back(piece, order.pixels, slopes.values, slopes.weights)


def _station(order: Order) -> Station:
    station = get_worker().plugins[order.station]
    assert isinstance(station, Station)
    return station


def shared_of(constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of targets, by their names, all tiles have in common: ``columns`` of lookups."""
    return {name: value.columns for name, value in constants.items() if hasattr(value, "columns")}


def without_shared(piece: Piece) -> Piece:
    """Return a piece without what all have in common, so that it is sent once per worker."""
    return _with_columns(piece, dict.fromkeys(shared_of(piece.targets)))


def with_shared(piece: Piece, shared: Mapping[str, Any]) -> Piece:
    """Return a piece with what all have in common."""
    return _with_columns(piece, shared)


def _with_columns(piece: Piece, columns: Mapping[str, Any]) -> Piece:
    changed = {
        name: replace(piece.targets[name], columns=value)  # type: ignore[type-var]
        for name, value in columns.items()
        if name in piece.targets
    }
    return replace(piece, targets={**piece.targets, **changed}) if changed else piece

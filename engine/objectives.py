"""J made ready for what is painted in one size: graphs loaded, targets measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from ortist.engine.artifacts import Choice
from ortist.engine.background import in_background
from ortist.engine.cluster import Cluster
from ortist.engine.evaluators import Fused, Pieces
from ortist.engine.graphs import Choices, Graphs
from ortist.engine.objective import Evaluate, Objective, weighted_parts
from ortist.engine.optimizer import Tensor
from ortist.engine.options import Options
from ortist.engine.scene import Division, Scene
from ortist.engine.sessions import Ending, Graph
from ortist.engine.storage import IN_MEMORY
from ortist.engine.targets import Measure, Measuring, Memory, as_arrays, measured, settle_targets
from ortist.engine.tiling import (
    Alone,
    Bench,
    Piece,
    Tiled,
    TilePieces,
    Tiling,
    Workers,
    look_alone,
    measured_in_tiles,
)
from ortist.export.costs.term import Part, Target, divided
from ortist.models.keys import Kind

T = TypeVar("T")
FUSED: tuple[Kind, ...] = ("gradient",)
PIECES: tuple[Kind, ...] = ("compare", "pullback")
TILES: tuple[Kind, ...] = ("measure_tile", "pullback_tile")
"""The graphs that a run needs beside those that measure, by how it evaluates J."""


class Objectives:
    """Makes J ready.

    Args:
        graphs: by which it is evaluated.
        pieces: whether whole pictures are evaluated in pieces, not by one graph.
        styles: what is known of styles.
        cluster: evaluates tiles; this process by default.
    """

    def __init__(
        self, graphs: Graphs, pieces: bool, styles: Memory | None, cluster: Cluster | None = None
    ) -> None:
        self._graphs, self._styles, self._cluster = graphs, styles, cluster
        self._kinds = PIECES if pieces else FUSED

    def find(
        self, pixels: int, options: Options, division: Division, tiling: Tiling | None
    ) -> None:
        """Make sure that all graphs are there that a picture of so many pixels needs.

        And that there is a cluster, if it is asked for and tiles are to be evaluated.
        """
        if self._cluster is not None and tiling is not None:
            self._cluster.connect()
        parts = [weighted.part for weighted in weighted_parts(options, division)]
        choices = self._graphs.choices(pixels, options, parts)
        for kind, choice in self._needed(choices, tiling):
            self._graphs.find(kind, choice)

    def _needed(self, choices: Choices, tiling: Tiling | None) -> Iterator[tuple[Kind, Choice]]:
        if tiling is None:
            yield "measure", choices.plain
            yield from ((kind, choices.j) for kind in self._kinds)
            return
        yield "measure_tile", choices.plain
        yield from ((kind, choices.j) for kind in TILES)
        yield from (("compare", _only(choices.j, own)) for own in divided(choices.j.parts) if own)

    def make(
        self,
        scene: Scene,
        options: Options,
        ending: Ending | None = None,
        query: Tensor | None = None,
        tiling: Tiling | None = None,
    ) -> Objective:
        """Return J for a scene.

        Args:
            scene: content and styles in the size to paint.
            options: how.
            ending: ends evaluations, and the search for matches.
            query: what styles are matched with, float32 (1, 3, H, W); the content by default.
            tiling: how the picture is evaluated in tiles; as a whole by default.
        """
        ending = ending or self._graphs.device.new_ending()
        weighted = weighted_parts(options, scene.division)
        choices = self._graphs.choices(scene.pixels, options, [one.part for one in weighted])
        way: _Whole | _InTiles
        if tiling is None:
            way = _Whole(self._graphs, choices, scene, ending, self._kinds)
        elif self._cluster is not None:
            way = _OnCluster(self._graphs, choices, scene, ending, tiling, self._cluster)
        else:
            way = _InTiles(self._graphs, choices, scene, ending, tiling)
        loading = in_background(way.load)
        guided = choices.masked.parts and any(style.mask is not None for style in scene.styles)
        measuring = Measuring(
            way.measure(choices.plain),
            way.measure(choices.masked) if guided else None,
            options.guides,
            self._styles,
            (choices.plain, tiling),
            self._graphs.device.threads,
            lambda: ending.requested,
            IN_MEMORY if tiling is None else tiling.storage,
        )
        constants = settle_targets(measuring, choices.j.parts, scene, options, query)
        loading.result()
        return Objective(way.evaluate(constants), weighted, options, scene.canvas)


class _Whole:
    """Evaluates a picture as a whole."""

    def __init__(
        self,
        graphs: Graphs,
        choices: Choices,
        scene: Scene,
        ending: Ending,
        kinds: Sequence[Kind],
    ) -> None:
        self._choices, self._kinds, self._scene = choices, kinds, scene
        pictures = [scene.content, *(style.pixels for style in scene.styles)]
        largest = max(picture.shape[2] * picture.shape[3] for picture in pictures)
        self._get = partial(graphs.get, ending=ending)
        self._largest = largest

    def load(self) -> None:
        """Load what it is evaluated by."""
        self._loaded = [
            self._get(kind, self._choices.j, self._scene.pixels) for kind in self._kinds
        ]

    def measure(self, choice: Choice) -> Measure:
        """Return what measures pictures."""
        return partial(measured, self._get("measure", choice, self._largest))

    def evaluate(self, constants: Mapping[str, Target]) -> Evaluate:
        """Return what evaluates J."""
        like, constants = self._scene.content, as_arrays(constants)
        if self._kinds == FUSED:
            return Fused(self._loaded[0], constants, like)
        measure = self._get("measure", self._choices.j, self._scene.pixels)
        compare, pullback = self._loaded
        return Pieces(measure, compare, pullback, constants, like)


class _InTiles:
    """Evaluates a picture in tiles."""

    def __init__(
        self,
        graphs: Graphs,
        choices: Choices,
        scene: Scene,
        ending: Ending,
        tiling: Tiling,
    ) -> None:
        self._choices, self._scene, self._tiling = choices, scene, tiling
        self._get = partial(graphs.get, ending=ending)
        self._near, self._far = divided(choices.j.parts)

    def load(self) -> None:
        """Load what it is evaluated by."""
        self._bench = Bench(*self._made(self._get), self._choices.j.parts)
        self._load_compare()

    def _made(self, make: Callable[[Kind, Choice, int], T]) -> tuple[T, T, T | None]:
        """Return what is made of the graphs that a bench takes."""
        pixels, j = self._tiling.crop_pixels, self._choices.j
        measure, pullback = (make(kind, j, pixels) for kind in TILES)
        compare = make("compare", _only(j, self._near), pixels) if self._near else None
        return measure, pullback, compare

    def _load_compare(self) -> None:
        # Variation is always among these.
        far = _only(self._choices.j, self._far)
        self._compare: Graph = self._get("compare", far, self._tiling.crop_pixels)

    def measure(self, choice: Choice) -> Measure:
        """Return what measures pictures."""
        graph = self._get("measure_tile", choice, self._tiling.crop_pixels)
        look = look_alone(Bench(graph, None, None, choice.parts))
        return partial(measured_in_tiles, look, tiling=self._tiling)

    def evaluate(self, constants: Mapping[str, Target]) -> Evaluate:
        """Return what evaluates J."""
        like, parts = self._scene.content, self._choices.j.parts
        tiles = self._tiling.tiles(like)
        pieces = TilePieces(tiles, like.shape[2:], parts, constants)
        workers = self._workers(pieces, constants)
        return Tiled(workers, self._compare, parts, constants, tiles, self._tiling.storage)

    def _workers(self, pieces: Sequence[Piece], constants: Mapping[str, Target]) -> Workers:
        return Alone(self._bench, pieces)


class _OnCluster(_InTiles):
    """Evaluates a picture in tiles, on the workers of a cluster."""

    def __init__(
        self,
        graphs: Graphs,
        choices: Choices,
        scene: Scene,
        ending: Ending,
        tiling: Tiling,
        cluster: Cluster,
    ) -> None:
        super().__init__(graphs, choices, scene, ending, tiling)
        self._graphs, self._ending, self._cluster = graphs, ending, cluster

    def load(self) -> None:
        """Load what statistics are compared by; all else is loaded by the workers."""
        self._load_compare()

    def measure(self, choice: Choice) -> Measure:
        """Return what measures pictures."""
        graph = self._graphs.blueprint("measure_tile", choice, self._tiling.crop_pixels)
        post = self._cluster.post(self._graphs, (graph, None, None), choice.parts, {})
        return partial(
            measured_in_tiles, self._cluster.look(post, self._canceled), tiling=self._tiling
        )

    def _canceled(self) -> bool:
        return self._ending.requested

    def _workers(self, pieces: Sequence[Piece], constants: Mapping[str, Target]) -> Workers:
        blueprints = self._made(self._graphs.blueprint)
        post = self._cluster.post(self._graphs, blueprints, self._choices.j.parts, constants)
        return self._cluster.crew(post, pieces, self._canceled)


def _only(choice: Choice, parts: Sequence[Part]) -> Choice:
    """Return a choice of some of its parts."""
    key = choice.key
    return Choice.of(key.pooling, parts, key.block, rescaled=key.rescaled)

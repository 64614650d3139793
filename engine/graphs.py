"""The graphs that an engine runs: found, loaded when needed, and kept if they are small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ortist.engine.artifacts import Artifacts, Choice, Weights
from ortist.engine.kept import Kept
from ortist.engine.options import Options
from ortist.engine.sessions import Device, Ending, Graph
from ortist.engine.targets import masked_parts
from ortist.export.costs.term import Part
from ortist.models.interface import Interface
from ortist.models.keys import Kind
from ortist.models.winograd import WINOGRAD_BLOCK

KERNELS = ("auto", "direct", "winograd")
WINOGRAD_MIN_PIXELS = 128 * 128
"""Below, transforming the kernels takes longer than the faster steps save."""
MAX_GRAPHS = 8
"""Graphs kept ready."""
SMALL_PIXELS = 128 * 128
"""Graphs for larger pictures are not kept for the next one.

They hold memory for as long as they live, a gigabyte at a million pixels; loading one again takes a
tenth of a second.
"""


@dataclass(frozen=True)
class Blueprint:
    """What a graph is loaded from, in this process or another.

    Attributes:
        model: serialized.
        expected: what is relied on.
        block: the block size that it is made for.
        label: what messages call it.
        as_written: see :meth:`Device.load`.
        pixels: of the largest picture that it will run on.
    """

    model: bytes
    expected: Interface
    block: int
    label: str
    as_written: bool
    pixels: int

    def load(self, device: Device, weights: Weights) -> Graph:
        """Load it; raises as :meth:`Device.load`."""
        return device.load(
            self.model,
            weights.files,
            self.expected,
            lambda names: weights.transformed_kernels(names, self.block),
            label=self.label,
            as_written=self.as_written,
            pixels=self.pixels,
        )


class Choices(NamedTuple):
    """What the graphs of a run are made for.

    Attributes:
        j: those that J is evaluated by.
        plain: that by which content and styles are measured.
        masked: that by which styles are measured that count in part.
    """

    j: Choice
    plain: Choice
    masked: Choice


class Graphs:
    """Finds and loads graphs; safe to use from several threads at once.

    Args:
        device: where they run.
        artifacts: where they come from.
        kernel: one of :data:`KERNELS`.
        optimized: kinds that run so often that it pays to optimize them.
    """

    def __init__(
        self, device: Device, artifacts: Artifacts, kernel: str, optimized: Sequence[Kind]
    ) -> None:
        self.device = device
        self._artifacts, self._kernel, self._optimized = artifacts, kernel, optimized
        # For where derived ones cannot be kept in files.
        self._models = lru_cache(MAX_GRAPHS)(artifacts.graph)
        self._kept: Kept[tuple[Kind, Choice], Graph] = Kept(MAX_GRAPHS)

    def choices(self, pixels: int, options: Options, parts: Sequence[Part]) -> Choices:
        """Return what graphs a picture of so many pixels is painted with."""
        block, plain = self.block(pixels), dict.fromkeys(part.plain for part in parts)
        return Choices(
            *(
                Choice.of(options.pooling, own, block, rescaled=options.rescaled)
                for own in (parts, list(plain), masked_parts(parts))
            )
        )

    def block(self, pixels: int) -> int:
        """Return the block size for a picture of so many pixels, 0 for plain convolutions."""
        if self._kernel == "auto":
            worth_it = self.device.is_cpu and pixels >= WINOGRAD_MIN_PIXELS
            return WINOGRAD_BLOCK if worth_it else 0
        return WINOGRAD_BLOCK if self._kernel == "winograd" else 0

    def find(self, kind: Kind, choice: Choice) -> None:
        """Make sure that a graph is there; raises as :meth:`Artifacts.graph`."""
        self._models(kind, choice.of_kind(kind))

    def get(
        self,
        kind: Kind,
        choice: Choice,
        pixels: int,
        ending: Ending | None = None,
    ) -> Graph:
        """Return a graph for pictures of so many pixels; small ones share the last ones used.

        Args:
            kind: of the graph.
            choice: what it is made for.
            pixels: of the largest picture that it will run on.
            ending: ends its evaluations.
        """
        if pixels > SMALL_PIXELS:
            graph = self.load(kind, choice, pixels)
        else:
            key = kind, choice.of_kind(kind)
            graph = self._kept.get(key, lambda: self.load(kind, choice, pixels))
        return graph if ending is None else graph.within(ending)

    def load(self, kind: Kind, choice: Choice, pixels: int) -> Graph:
        """Load a graph anew."""
        return self.blueprint(kind, choice, pixels).load(self.device, self.weights())

    def weights(self) -> Weights:
        """Return the weights of all graphs; raises as :meth:`Artifacts.weights`."""
        return self._artifacts.weights()

    def blueprint(self, kind: Kind, choice: Choice, pixels: int) -> Blueprint:
        """Return what a graph for pictures of so many pixels is loaded from."""
        choice = choice.of_kind(kind)
        return Blueprint(
            self._models(kind, choice),
            choice.interface(kind),
            choice.key.block,
            self._artifacts.origin(kind, choice),
            # What runs just a few times is not worth the time of optimizing it, nor is comparing,
            # which gets no faster.
            choice.key.block > 0 or kind not in self._optimized,
            # Those that are kept serve all small pictures.
            max(pixels, SMALL_PIXELS),
        )

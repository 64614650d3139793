"""The engine: from a content picture, a style and options to a painted picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ortist.engine.artifacts import Artifacts, Choice
from ortist.engine.evaluators import Fused, Pieces
from ortist.engine.images import ImageSource, read_image, to_tensor
from ortist.engine.kept import Kept
from ortist.engine.memory import check_memory, checked_limit
from ortist.engine.metrics import Activations, Metrics, measure
from ortist.engine.objective import Evaluate, Objective, matches, weighted_parts
from ortist.engine.optimizer import Tensor
from ortist.engine.options import OPTIONS, Options
from ortist.engine.pace import PROBE_STEPS, Effort
from ortist.engine.peaks import peak_bytes
from ortist.engine.pictures import (
    Pictures,
    Region,
    Styles,
    as_list,
    read_pictures,
)
from ortist.engine.plan import Plan
from ortist.engine.record import Record, inputs_of, installed_versions, option_values
from ortist.engine.results import Result, Step
from ortist.engine.run import Run
from ortist.engine.scales import Scale
from ortist.engine.scene import Pixels, Scene
from ortist.engine.sessions import Device, Graph
from ortist.engine.starts import read_start, starting_picture
from ortist.engine.targets import (
    Measuring,
    Memory,
    masked_parts,
    mixed,
    settle_targets,
)
from ortist.engine.values import Whole, check_choice, check_layers
from ortist.export.costs.term import Part
from ortist.models.errors import CanceledError, InputError, shown
from ortist.models.keys import Kind
from ortist.models.layers import IMAGE, POOLINGS
from ortist.models.winograd import WINOGRAD_BLOCK

if TYPE_CHECKING:
    import onnxruntime

T = TypeVar("T")
KERNELS = ("auto", "direct", "winograd")
WINOGRAD_MIN_PIXELS = 128 * 128
"""Below, transforming the kernels takes longer than the faster steps save."""
FUSED: tuple[Kind, ...] = ("gradient",)
PIECES: tuple[Kind, ...] = ("compare", "pullback")
"""The graphs that a run needs beside those that measure, by how it evaluates J."""
MAX_GRAPHS = 8
"""Graphs kept ready."""
_PATIENCE = 0.05
"""Seconds between two looks at whether a run was canceled."""
PACE = (
    "optimizer",
    "content_cost",
    "content_layers",
    "style_layers",
    "pooling",
    "rescaled",
    "statistic",
    "terms",
)
"""Options by which evaluations in one size take more or less time."""
SMALL_PIXELS = 128 * 128
"""Graphs for larger pictures are not kept for the next one.

They hold memory for as long as they live, a gigabyte at a million pixels; loading one again takes a
tenth of a second.
"""


class _Choices(NamedTuple):
    """What the graphs of a run are made for.

    Attributes:
        j: those that J is evaluated by.
        plain: that by which content and styles are measured.
        masked: that by which styles are measured that count in part.
    """

    j: Choice
    plain: Choice
    masked: Choice


class Engine:
    """Paints pictures; one engine serves any number of threads at once.

    Graphs are loaded at the first use of a choice of layers and pooling; the last few are kept, but
    those for large pictures hold so much memory that they go with their run.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or the name of an onnxruntime provider.
        threads: CPU threads per run; all physical cores by default.
        models: folder made by ``ortist export``; the shipped VGG-19 by default.
        kernel: how convolutions are computed: ``"winograd"`` (fewer products, a faster graph on
            CPUs), ``"direct"`` (the provider's own), or ``"auto"``, the better one.
        pieces: whether J and its gradient are computed by three graphs that meet at the statistics,
            in place of one; the same to rounding, but slower.
        kept_styles: how many styles, in one size each, to keep the targets of for runs to come; at
            a million pixels one may take 150 MB.
        memory: most bytes that a run may take, as :attr:`Plan.peak_bytes` tells it; by default what
            the machine can give when it starts, see :mod:`ortist.engine.memory`.

    Raises:
        DeviceError: if the device cannot be used here.
        InputError: for an unknown kernel, a number of styles that is none, or a limit that is no
            number above 0.
        ArtifactError: if the models folder has no readable manifest.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: int | None = None,
        models: str | Path | None = None,
        kernel: str = "auto",
        pieces: bool = False,
        kept_styles: int = 0,
        memory: float | None = None,
    ) -> None:
        check_choice("kernel", kernel, KERNELS)
        self._kernel = kernel
        self._memory = checked_limit(memory)
        self._kinds = PIECES if pieces else FUSED
        self._optimized: tuple[Kind, ...] = ("measure", "pullback") if pieces else FUSED
        self._device = Device(device, threads)
        self._artifacts = Artifacts(Path(models) if models is not None else None)
        # For where derived ones cannot be kept in files.
        self._models = lru_cache(MAX_GRAPHS)(self._artifacts.graph)
        self._graphs: Kept[tuple[Kind, Choice], Graph] = Kept(MAX_GRAPHS)
        kept_styles = Whole(0).accepted("kept_styles", kept_styles)
        self._styles: Memory | None = Kept(kept_styles) if kept_styles else None

    @property
    def provider(self) -> str:
        """Name of the onnxruntime execution provider in use."""
        return self._device.provider

    def stylize(
        self,
        content: ImageSource,
        style: Styles,
        options: Options | None = None,
        on_step: Callable[[Step], object] | None = None,
        *,
        regions: Sequence[Region] = (),
        protect: ImageSource | None = None,
    ) -> Result:
        """Paint ``content`` in the style of ``style``.

        Args:
            content: path, binary file object, Pillow image, or uint8 array (H, W, 3) in RGB.
            style: the same, or a sequence of them, which are blended.
            options: what to paint and how; defaults as in :class:`Options`.
            on_step: called after each step; an exception it raises ends the run.
            regions: parts of the picture with styles of their own. ``style`` is for the rest, which
                stays as it is if that is an empty sequence.
            protect: a picture, white where the content counts more, by ``protection``.

        Raises:
            InputError: for a picture or option that cannot be used.
            ArtifactError: if a model file is missing or corrupt.
            NonFiniteCostError: if the cost stops being finite; carries the last good picture.
        """
        run = self.iterate(content, style, options, regions=regions, protect=protect)
        for step in run:
            if on_step is not None:
                on_step(step)
        return Result(run.picture, tuple(run.history), run.seconds)

    def iterate(
        self,
        content: ImageSource,
        style: Styles,
        options: Options | None = None,
        *,
        regions: Sequence[Region] = (),
        protect: ImageSource | None = None,
    ) -> Run:
        """Return an iterator over the steps of a run; to stop early, stop iterating.

        Arguments and errors are those of :meth:`stylize`. Pictures are read, and errors in them
        raised, before this returns, and all graphs that the run needs are found.
        """
        return self.plan(content, style, options, regions=regions, protect=protect).run()

    def plan(
        self,
        content: ImageSource,
        style: Styles,
        options: Options | None = None,
        *,
        regions: Sequence[Region] = (),
        protect: ImageSource | None = None,
    ) -> Plan:
        """Return what a run will do, and take; its ``run()`` is what :meth:`iterate` returns."""
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise InputError(
                f"options is {shown(options)}, accepted are Options, as with_options() of a recipe"
                " returns"
            )
        options = read_start(options)
        pictures = read_pictures(content, style, options, regions, protect)
        scales = pictures.scales(options)
        peak = peak_bytes(scales, pictures.style_pixels, options, self._block, pictures.division)
        return Plan(
            scales,
            options,
            peak,
            _run=lambda: self._run(pictures, scales, options, peak),
            _probe=lambda width, height: self._seconds_at(width, height, options),
            _effort=Effort(
                pictures.style_areas,
                len(weighted_parts(options, pictures.division)),
                pictures.division.guided,
                self._device.threads,
            ),
        )

    def record(
        self,
        content: ImageSource,
        style: Styles,
        options: Options | None = None,
        *,
        regions: Sequence[Region] = (),
        protect: ImageSource | None = None,
    ) -> Record:
        """Return what a run of these is made of and with; pictures need not be readable as such.

        Raises:
            InputError: for a picture whose bytes cannot be read, or terms of one's own.
        """
        options = Options() if options is None else options
        return Record(
            inputs=inputs_of(
                content, as_list(style, empty=bool(regions)), options, regions, protect
            ),
            options=option_values(options),
            versions=installed_versions(),
            provider=self.provider,
            threads=self._device.threads,
            kernel=self._kernel,
            pieces=self._kinds == PIECES,
            models=self._artifacts.digest,
        )

    def _seconds_at(self, width: int, height: int, options: Options) -> float:
        """Return how long an evaluation in this size takes now."""
        noises = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
        same = {name: getattr(options, name) for name in PACE}
        small = Options(
            width=width, height=height, steps=PROBE_STEPS, scales=1, init="content", **same
        )
        steps = [step.seconds for step in self.iterate(noises[0], noises[1], small)]
        # The first evaluation has memory to get.
        return median(steps[1:] or steps)

    def _run(
        self, pictures: Pictures, scales: tuple[Scale, ...], options: Options, peak: int
    ) -> Run:
        if self._device.is_cpu or self._memory is not None:
            # What a GPU takes of the machine's memory was not measured.
            check_memory(peak, self._memory, scales[-1].width, scales[-1].height)
        parts = [weighted.part for weighted in weighted_parts(options, pictures.division)]
        for scale in scales:
            choices = self._choices(scale.pixels, options, parts)
            kinds = [(kind, choices.j) for kind in self._kinds]
            for kind, choice in (("measure", choices.plain), *kinds):
                self._models(kind, choice.of_kind(kind))
        run_options = self._device.new_run()
        # Each size is asked for several times, one after the other.
        at = lru_cache(1)(lambda scale: pictures.at(scale.width, scale.height))

        def objective_at(index: int, painted: Tensor | None) -> Objective:
            scene = at(scales[index])
            query = None
            if painted is not None and matches(options):
                query = mixed(scene.content, painted, scales[index - 1])
            work = _in_background(lambda: self._objective(scene, options, run_options, query))
            return _awaited(work, lambda: run_options.terminate)

        return Run(
            scales,
            objective_at,
            lambda index: at(scales[index]).canvas,
            starting_picture(at(scales[0]), options, self._artifacts.mean),
            len(parts),
            options,
            lambda: setattr(run_options, "terminate", True),
        )

    def activations(
        self,
        image: ImageSource,
        layers: Sequence[str],
        pooling: str = Options.pooling,
        max_pixels: int = Options.max_pixels,
    ) -> dict[str, NDArray[np.float32]]:
        """Return VGG-19 activations after ReLU, float32 (1, C, H', W'), of a picture by layer.

        Raises:
            InputError: for a picture that cannot be used or has more than ``max_pixels``, an
                unknown layer or pooling.
        """
        check_layers("layers", layers)
        check_choice("pooling", pooling, POOLINGS)
        pixels = read_image(image, max_pixels=OPTIONS["max_pixels"].accepted(max_pixels))
        return self._activations([pixels], pooling)(pixels, layers)

    def compare(
        self,
        picture: ImageSource,
        content: ImageSource,
        style: Styles,
        max_pixels: int = Options.max_pixels,
    ) -> Metrics:
        """Return figures by which a picture is judged beside its content and its style.

        Content and styles are brought to the picture's size and area.

        Raises:
            InputError: for a picture that cannot be used, or has more than ``max_pixels``.
        """
        max_pixels = OPTIONS["max_pixels"].accepted(max_pixels)

        def read(source: ImageSource, name: str) -> Pixels:
            return read_image(source, name=name, max_pixels=max_pixels)

        painted, photo = read(picture, "image"), read(content, "content image")
        styles = [read(source, "style image") for source in as_list(style)]
        # Content and styles are brought to the picture's size before they are measured.
        return measure(painted, photo, styles, self._activations([painted], Options.pooling))

    def _activations(self, pictures: Sequence[Pixels], pooling: str) -> Activations:
        """Return what gives the activations of pictures of such sizes by one graph."""
        largest = max(pixels.shape[0] * pixels.shape[1] for pixels in pictures)
        graph = self._graph("features", Choice.of(pooling), largest)
        return lambda pixels, layers: graph.run(layers, {IMAGE: to_tensor(pixels)})

    def _objective(
        self,
        scene: Scene,
        options: Options,
        run_options: onnxruntime.RunOptions | None = None,
        query: Tensor | None = None,
    ) -> Objective:
        weighted = weighted_parts(options, scene.division)
        parts = [one.part for one in weighted]
        choices = self._choices(scene.pixels, options, parts)
        canvas, styles = scene.content, [style.pixels for style in scene.styles]

        def graph(kind: Kind, choice: Choice, *pictures: Tensor) -> Graph:
            largest = max(picture.shape[2] * picture.shape[3] for picture in pictures)
            found = self._graph(kind, choice, largest)
            return found.within(run_options or self._device.new_run())

        loading = _in_background(lambda: [graph(k, choices.j, canvas) for k in self._kinds])
        plain = graph("measure", choices.plain, canvas, *styles)
        masked = None
        if any(style.mask is not None for style in scene.styles):
            masked = graph("measure", choices.masked, *styles)
        ending = run_options or self._device.new_run()
        measuring = Measuring(
            plain,
            masked,
            options.guides,
            self._styles,
            choices.plain,
            self._device.threads,
            lambda: ending.terminate,
        )
        constants = settle_targets(measuring, parts, scene, options, query)
        evaluate: Evaluate
        graphs = loading.result()
        if self._kinds == FUSED:
            evaluate = Fused(graphs[0], constants, canvas)
        else:
            same = choices.plain == choices.j
            measure = plain if same else graph("measure", choices.j, canvas)
            evaluate = Pieces(measure, graphs[0], graphs[1], constants, canvas)
        return Objective(evaluate, weighted, options, scene.canvas)

    def _choices(self, pixels: int, options: Options, parts: Sequence[Part]) -> _Choices:
        """Return what graphs a picture of so many pixels is painted with."""
        block, plain = self._block(pixels), dict.fromkeys(part.plain for part in parts)
        return _Choices(
            *(
                Choice.of(options.pooling, own, block, rescaled=options.rescaled)
                for own in (parts, list(plain), masked_parts(parts))
            )
        )

    def _block(self, pixels: int) -> int:
        """Return the block size for a picture of so many pixels, 0 for plain convolutions."""
        if self._kernel == "auto":
            worth_it = self._device.is_cpu and pixels >= WINOGRAD_MIN_PIXELS
            return WINOGRAD_BLOCK if worth_it else 0
        return WINOGRAD_BLOCK if self._kernel == "winograd" else 0

    def _graph(self, kind: Kind, choice: Choice, pixels: int) -> Graph:
        """Return a graph for pictures of so many pixels; small ones share the last ones used."""
        choice = choice.of_kind(kind)
        if pixels > SMALL_PIXELS:
            return self._load(kind, choice, pixels)
        return self._graphs.get((kind, choice), lambda: self._load(kind, choice, SMALL_PIXELS))

    def _load(self, kind: Kind, choice: Choice, pixels: int) -> Graph:
        return self._device.load(
            self._models(kind, choice),
            self._artifacts.weights(),
            choice.interface(kind),
            lambda names: self._artifacts.transformed_kernels(names, choice.key.block),
            label=self._artifacts.origin(kind, choice),
            # What runs just a few times is not worth the time of optimizing it, nor is comparing,
            # which gets no faster.
            as_written=choice.key.block > 0 or kind not in self._optimized,
            pixels=pixels,
        )


def _in_background(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread of its own and return what it will return."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # Not an executor: those stop when the main thread ends, though others still paint.
    threading.Thread(target=run).start()
    return future


def _awaited(work: Future[T], canceled: Callable[[], bool]) -> T:
    """Return what is worked on; where that is canceled, do not wait for what cannot be."""
    while True:
        try:
            return work.result(timeout=_PATIENCE)
        except TimeoutError:
            if work.done():  # it is an error of the work itself
                raise
            if canceled():
                raise CanceledError("the run was canceled") from None

"""The engine: from a content picture, a style and options to a painted picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ortist.engine.artifacts import Artifacts, Choice
from ortist.engine.background import awaited, in_background
from ortist.engine.cluster import TILE, Cluster, Where
from ortist.engine.graphs import KERNELS, Graphs
from ortist.engine.images import ImageSource, read_image, to_tensor
from ortist.engine.kept import Kept
from ortist.engine.memory import available_bytes, check_memory, checked_limit
from ortist.engine.metrics import Activations, Metrics, measure
from ortist.engine.objective import Objective, matches, weighted_parts
from ortist.engine.objectives import FUSED, Objectives
from ortist.engine.optimizer import Tensor
from ortist.engine.options import OPTIONS, Options
from ortist.engine.pace import PROBE_STEPS, Effort
from ortist.engine.peaks import fitting_tile, peak_bytes
from ortist.engine.pictures import Pictures, Region, Styles, as_list, read_pictures
from ortist.engine.plan import Plan
from ortist.engine.record import Record, inputs_of, installed_versions, option_values
from ortist.engine.results import Result, Step
from ortist.engine.run import Run
from ortist.engine.scales import Scale, in_tiles
from ortist.engine.scene import Division, Pixels, Scene
from ortist.engine.sessions import Device
from ortist.engine.starts import read_start, starting_picture
from ortist.engine.targets import Memory, mixed
from ortist.engine.tiles import checked_side, halo_of
from ortist.engine.tiling import Tiling
from ortist.engine.values import Whole, check_choice, check_layers
from ortist.models.errors import InputError, shown
from ortist.models.layers import IMAGE, POOLINGS

T = TypeVar("T")
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
            the machine can give when it is planned, see :mod:`ortist.engine.memory`. Pictures that
            take more are painted in tiles, which takes twice the time and gives the same.
        tile: most rows and columns of a tile, a multiple of 64, 0 for none; by default the largest
            that the memory allows, if it does not allow all of the picture.
        cluster: who evaluates tiles, in place of this process: ``"local"``, processes on this
            machine; a scheduler of Dask, as ``"tls://host:8786"`` or a scheduler file; or a client
            of ``distributed``. ``tile`` is then 512 by default, ``threads`` is of each worker and 1
            by default, and pictures are the same as without.

    Raises:
        DeviceError: if the device cannot be used here.
        InputError: for an unknown kernel, a number of styles that is none, a limit that is no
            number above 0, a tile that cannot be, or a cluster that is none.
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
        tile: int | None = None,
        cluster: Where | None = None,
    ) -> None:
        check_choice("kernel", kernel, KERNELS)
        self._kernel = kernel
        self._memory = checked_limit(memory)
        if cluster is not None:
            tile, threads = TILE if tile is None else tile, threads or 1
            if tile == 0:
                raise InputError("cluster evaluates tiles, but tile is 0")
        self._tile = None if tile is None else checked_side(tile)
        self._pieces = pieces
        self._device = Device(device, threads)
        self._artifacts = Artifacts(Path(models) if models is not None else None)
        optimized = ("measure", "pullback") if pieces else FUSED
        self._graphs = Graphs(self._device, self._artifacts, kernel, optimized)
        kept_styles = Whole(0).accepted("kept_styles", kept_styles)
        styles: Memory | None = Kept(kept_styles) if kept_styles else None
        workers = None if cluster is None else Cluster(cluster, self._device.threads)
        self._objectives = Objectives(self._graphs, pieces, styles, workers)

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
        scales, peak = self._cut(pictures, options)
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
            pieces=self._pieces,
            tile=self._tile or 0,
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

    def _cut(self, pictures: Pictures, options: Options) -> tuple[tuple[Scale, ...], int]:
        """Return the scales, in tiles where the memory asks for it, and the bytes they take."""
        whole, halo = pictures.scales(options), self._halo(options, pictures.division)

        def peak(tile: int) -> int:
            block, division = self._graphs.block, pictures.division
            scales = in_tiles(whole, tile, halo)
            return peak_bytes(scales, pictures.style_pixels, options, block, division, halo)

        tile = self._tile
        if tile is None:
            tile = fitting_tile(self._limit, peak)
        return in_tiles(whole, tile, halo), peak(tile)

    def _halo(self, options: Options, division: Division) -> int:
        return halo_of(weighted.part for weighted in weighted_parts(options, division))

    @property
    def _limit(self) -> float:
        """Most bytes that a run may take now."""
        if self._memory is not None:
            return self._memory
        # What a GPU takes of the machine's memory was not measured.
        return available_bytes() if self._device.is_cpu else math.inf

    def _run(
        self, pictures: Pictures, scales: tuple[Scale, ...], options: Options, peak: int
    ) -> Run:
        if self._device.is_cpu or self._memory is not None:
            check_memory(peak, self._memory, scales[-1].width, scales[-1].height)
        division, halo = pictures.division, self._halo(options, pictures.division)
        tilings = [
            Tiling(scale.tile, halo, scale.storage) if scale.tile else None for scale in scales
        ]
        for scale, tiling in zip(scales, tilings, strict=True):
            self._objectives.find(scale.pixels, options, division, tiling)
        ending = self._device.new_ending()
        # Each size is asked for several times, one after the other.
        at = lru_cache(1)(lambda scale: pictures.at(scale.width, scale.height, scale.storage))

        def objective_at(index: int, painted: Tensor | None) -> Objective:
            scene = at(scales[index])
            query = None
            if painted is not None and matches(options):
                query = mixed(scene.content, painted, scales[index - 1], scales[index].storage)
            more = ending, query, tilings[index]
            work = in_background(lambda: self._objectives.make(scene, options, *more))
            return awaited(work, lambda: ending.requested)

        return Run(
            scales,
            objective_at,
            lambda index: at(scales[index]).canvas,
            starting_picture(at(scales[0]), options, self._artifacts.mean, scales[0].storage),
            len(weighted_parts(options, pictures.division)),
            options,
            ending.request,
            lambda index: scales[index].storage,
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
        graph = self._graphs.get("features", Choice.of(pooling), largest)
        return lambda pixels, layers: graph.run(layers, {IMAGE: to_tensor(pixels)})

    def _objective(self, scene: Scene, options: Options, tiling: Tiling | None = None) -> Objective:
        """Return J for a scene."""
        return self._objectives.make(scene, options, tiling=tiling)

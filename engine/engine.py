"""The engine: from a content picture, a style and options to a painted picture."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ortist.engine.artifacts import Artifacts
from ortist.engine.errors import InputError
from ortist.engine.images import ImageSource, read_image, to_tensor
from ortist.engine.objective import Objective
from ortist.engine.optimiser import Tensor
from ortist.engine.options import Options, check_choice, check_layers
from ortist.engine.painting import paint
from ortist.engine.pictures import Pixels, Styles, read_pictures
from ortist.engine.results import Costs, Result, Step
from ortist.engine.scales import Scale
from ortist.engine.sessions import Device, Graph
from ortist.engine.starts import starting_picture
from ortist.engine.statistics import graph_targets
from ortist.engine.winograd import WINOGRAD_TILE
from ortist.models.interface import interface
from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import POOLINGS

KERNELS = ("auto", "direct", "winograd")
WINOGRAD_MIN_PIXELS = 128 * 128
"""Below, transforming the kernels takes longer than the faster steps save."""
RUN_KINDS: tuple[Kind, ...] = ("targets", "gradient")
"""The graphs that a run needs."""
MAX_GRAPHS = 8
"""Graphs kept ready."""
SMALL_PIXELS = 128 * 128
"""Graphs for larger pictures are not kept for the next one.

They hold memory for as long as they live, a gigabyte at a million pixels; loading one again takes a
tenth of a second.
"""
LARGE_PIXELS = 512 * 512
"""Above, saving a tenth of the memory is worth a quarter of a second of loading."""


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

    Raises:
        DeviceError: if the device cannot be used here.
        InputError: for an unknown kernel.
        ArtifactError: if the models folder has no readable manifest.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: int | None = None,
        models: str | Path | None = None,
        kernel: str = "auto",
    ) -> None:
        check_choice("kernel", kernel, KERNELS)
        self._kernel = kernel
        self._device = Device(device, threads)
        self._artifacts = Artifacts(Path(models) if models is not None else None)
        # For where derived ones cannot be kept in files.
        self._models = lru_cache(MAX_GRAPHS)(self._artifacts.graph)
        self._graphs: OrderedDict[tuple[Kind, GraphKey], Future[Graph]] = OrderedDict()
        self._lock = threading.Lock()

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
    ) -> Result:
        """Paint ``content`` in the style of ``style``.

        Args:
            content: path, binary file object, Pillow image, or uint8 array (H, W, 3) in RGB.
            style: the same, or a sequence of them, which are blended.
            options: what to paint and how; defaults as in :class:`Options`.
            on_step: called after each step; an exception it raises ends the run.

        Raises:
            InputError: for a picture or option that cannot be used.
            ArtifactError: if a model file is missing or corrupt.
            NonFiniteCostError: if the cost stops being finite; carries the last good picture.
        """
        history: list[Costs] = []
        seconds = 0.0
        for step in self.iterate(content, style, options):
            history.append(_costs_of(step))
            seconds += step.seconds
            if on_step is not None:
                on_step(step)
        return Result(step.image(), tuple(history), seconds)

    def iterate(
        self, content: ImageSource, style: Styles, options: Options | None = None
    ) -> Iterator[Step]:
        """Return an iterator over the steps of a run; to stop early, stop iterating.

        Arguments and errors are those of :meth:`stylize`. Pictures are read, and errors in them
        raised, before this returns, and all graphs that the run needs are found.
        """
        options = options or Options()
        pictures = read_pictures(content, style, options)
        scales = pictures.scales(options)
        for scale in scales:
            for kind in RUN_KINDS:
                self._models(kind, self._key(scale.width * scale.height, options))
        canvas, styles = pictures.at(scales[0].width, scales[0].height)
        start = starting_picture(canvas, styles, options, self._artifacts.mean)
        # The objective of a large scale has its memory until nothing refers to it.
        ready = [self._objective(canvas, styles, options)]

        def objective_at(scale: Scale) -> Objective:
            if ready:
                return ready.pop()
            return self._objective(*pictures.at(scale.width, scale.height), options)

        return paint(scales, objective_at, start, options)

    def activations(
        self, image: ImageSource, layers: Sequence[str], pooling: str = Options.pooling
    ) -> dict[str, NDArray[np.float32]]:
        """Return VGG-19 activations after ReLU, float32 (1, C, H', W'), of a picture by layer.

        Raises:
            InputError: for a picture that cannot be used, an unknown layer or pooling.
        """
        check_layers("layers", layers)
        check_choice("pooling", pooling, POOLINGS)
        pixels = read_image(image)
        graph = self._graph("features", GraphKey.of(pooling, (), ()), [pixels])
        return graph.run(layers, {"image": to_tensor(pixels)})

    def _objective(self, canvas: Pixels, styles: list[Pixels], options: Options) -> Objective:
        key = self._key(canvas.shape[0] * canvas.shape[1], options)
        content = {"image": to_tensor(canvas)}
        loading: Future[Graph] = Future()

        def load() -> None:
            try:
                loading.set_result(self._graph("gradient", key, [canvas]))
            except BaseException as error:
                loading.set_exception(error)

        # Not an executor: those stop when the main thread ends, though others still paint.
        threading.Thread(target=load).start()
        targets = self._targets(key, canvas, styles, options)
        graph = loading.result()
        return Objective(graph, {**targets, **graph.layout(content)}, options)

    def _targets(
        self,
        key: GraphKey,
        canvas: Pixels,
        styles: list[Pixels],
        options: Options,
    ) -> dict[str, Tensor]:
        """Return the content of the canvas and the style of all styles together."""
        weights = _normalised(options.style_weights, len(styles))
        graph = self._graph("targets", key, [canvas, *styles])

        def measured(pixels: Pixels, names: Sequence[str]) -> dict[str, Tensor]:
            image = {"image": to_tensor(pixels)}
            return graph.run(names, {**image, **graph.layout(image)})

        targets = measured(canvas, [f"content/{layer}" for layer in key.content_layers])
        for weight, pixels in zip(weights, styles, strict=True):
            grams = measured(pixels, [f"style/{layer}" for layer in key.style_layers])
            for name, gram in grams.items():
                targets[name] = targets.get(name, np.float32(0)) + weight * gram
        return graph_targets(key.statistic, targets)

    def _key(self, pixels: int, options: Options) -> GraphKey:
        """Return what graphs a picture of so many pixels is painted with."""
        return GraphKey.of(
            options.pooling,
            options.content_layers,
            options.style_layers,
            self._tile(pixels),
            statistic=options.statistic,
            rescaled=options.rescaled,
        )

    def _tile(self, pixels: int) -> int:
        """Return the tile size for a picture of so many pixels, 0 for plain convolutions."""
        if self._kernel == "auto":
            worth_it = self._device.is_cpu and pixels >= WINOGRAD_MIN_PIXELS
            return WINOGRAD_TILE if worth_it else 0
        return WINOGRAD_TILE if self._kernel == "winograd" else 0

    def _graph(self, kind: Kind, key: GraphKey, pictures: Sequence[Pixels]) -> Graph:
        """Return a graph to run on these pictures; small ones share the last graphs used."""
        largest = max(pixels.shape[0] * pixels.shape[1] for pixels in pictures)
        if largest > SMALL_PIXELS:
            return self._load(kind, key, sparing=largest > LARGE_PIXELS)
        with self._lock:
            known = self._graphs.get((kind, key))
            graph = self._graphs[kind, key] = known or Future()
            self._graphs.move_to_end((kind, key))
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        if known is None:
            try:
                graph.set_result(self._load(kind, key))
            except BaseException as error:
                # Who waits for it gets the error; who comes later tries again.
                with self._lock:
                    self._graphs.pop((kind, key), None)
                graph.set_exception(error)
        return graph.result()

    def _load(self, kind: Kind, key: GraphKey, sparing: bool = False) -> Graph:
        return self._device.load(
            self._models(kind, key),
            self._artifacts.weights(),
            interface(kind, key),
            lambda names: self._artifacts.transformed_kernels(names, key.tile),
            label=self._artifacts.origin(kind, key),
            # What runs just a few times is not worth the time of optimising it.
            as_written=key.tile > 0 or kind != "gradient",
            sparing=sparing,
        )


def _normalised(weights: Sequence[float] | None, count: int) -> NDArray[np.float32]:
    """Return one weight per style, of sum 1."""
    if weights is None:
        weights = [1.0] * count
    if len(weights) != count:
        raise InputError(f"style_weights has {len(weights)} weights for {count} style images")
    return (np.array(weights, np.float64) / sum(weights)).astype(np.float32)


def _costs_of(step: Step) -> Costs:
    return Costs(**{name: getattr(step, name) for name in Costs.__dataclass_fields__})

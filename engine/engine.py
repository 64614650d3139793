"""The engine: from a content picture, a style and options to a painted picture."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ortist.engine.adam import Adam
from ortist.engine.artifacts import Artifacts, GraphKey, Kind
from ortist.engine.errors import InputError, NonFiniteCostError
from ortist.engine.images import (
    ImageSource,
    check_size,
    fit_area,
    fit_size,
    read_image,
    resize_image,
    to_image,
    to_tensor,
)
from ortist.engine.layers import POOLINGS
from ortist.engine.objective import Objective
from ortist.engine.options import INITS, Options, check_layers
from ortist.engine.results import Costs, Result, Step
from ortist.engine.sessions import Device, Graph, Tensor
from ortist.engine.winograd import WINOGRAD_TILE

KERNELS = ("auto", "direct", "winograd")
WINOGRAD_MIN_PIXELS = 128 * 128
"""Below, transforming the kernels takes longer than the faster steps save."""
MAX_GRAPHS = 8
"""Graphs kept ready."""
SMALL_PIXELS = 256 * 256
"""Graphs that run once per picture are kept for the next one only if it has no more than this.

Loading them again takes a tenth of a second; on large pictures they hold a gigabyte.
"""
Styles = ImageSource | Sequence[ImageSource]
NOISE_RANGE = 20.0
"""The noise start draws from uniform(-20, 20), as the reference notebook."""


class Engine:
    """Paints pictures; one engine serves any number of threads at once.

    Graphs are loaded at the first use of a choice of layers and pooling; the last few are kept.

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
        if kernel not in KERNELS:
            raise InputError(f"kernel is {kernel!r}, accepted are {', '.join(KERNELS)}")
        self._kernel = kernel
        self._device = Device(device, threads)
        self._artifacts = Artifacts(Path(models) if models is not None else None)
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
        raised, before this returns.
        """
        options = options or Options()
        canvas, styles = self._read(content, style, options)
        start = self._start(canvas, options)
        objective = self._objective(canvas, styles, options)
        return _optimise(objective, start, options)

    def activations(
        self, image: ImageSource, layers: Sequence[str], pooling: str = Options.pooling
    ) -> dict[str, NDArray[np.float32]]:
        """Return VGG-19 activations after ReLU, float32 (1, C, H', W'), of a picture by layer.

        Raises:
            InputError: for a picture that cannot be used, an unknown layer or pooling.
        """
        check_layers("layers", layers)
        if pooling not in POOLINGS:
            raise InputError(f"pooling is {pooling!r}, accepted are {', '.join(POOLINGS)}")
        pixels = read_image(image)
        with self._once("features", GraphKey.of(pooling, (), ()), pixels) as graph:
            return graph.run(layers, {"image": to_tensor(pixels)})

    def _read(
        self, content: ImageSource, style: Styles, options: Options
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """Return the content in the size to paint, and the styles in theirs, uint8 (H, W, 3)."""
        limit = options.max_pixels
        source = read_image(content, name="content image", max_pixels=limit)
        width, height = fit_size(
            source.shape[1],
            source.shape[0],
            size=options.size,
            to_width=options.width,
            to_height=options.height,
            max_pixels=limit,
        )
        styles = []
        for picture in _as_list(style):
            pixels = read_image(picture, name="style image", max_pixels=limit)
            area = width * height * options.style_scale**2
            size = fit_area(pixels.shape[1], pixels.shape[0], area)
            check_size(*size, "scaled style image", limit)
            styles.append(resize_image(pixels, *size))
        return resize_image(source, width, height), styles

    def _start(self, canvas: NDArray[np.uint8], options: Options) -> Tensor:
        """Return the picture that the optimisation starts from, float32 (1, 3, H, W)."""
        content = to_tensor(canvas)
        if not isinstance(options.init, str) or options.init not in INITS:
            pixels = read_image(options.init, name="init image", max_pixels=options.max_pixels)
            return to_tensor(resize_image(pixels, canvas.shape[1], canvas.shape[0]))
        if options.init == "content":
            return content
        mean = np.array(self._artifacts.mean, np.float32).reshape(1, 3, 1, 1)
        if options.init == "blank":
            return np.broadcast_to(mean, content.shape).copy()
        generator = np.random.default_rng(options.seed)
        noise = generator.uniform(-NOISE_RANGE, NOISE_RANGE, content.shape).astype(np.float32)
        ratio = np.float32(options.noise_ratio)
        # The notebook mixes mean-subtracted pixels; zero noise is the mean colour.
        return ratio * (noise + mean) + (1 - ratio) * content

    def _objective(
        self, canvas: NDArray[np.uint8], styles: list[NDArray[np.uint8]], options: Options
    ) -> Objective:
        tile = self._tile(canvas.shape[0] * canvas.shape[1])
        key = GraphKey.of(options.pooling, options.content_layers, options.style_layers, tile)
        content = {"image": to_tensor(canvas)}
        with ThreadPoolExecutor(1) as background:
            loading = background.submit(self._graph, "gradient", key)
            targets = self._targets(key, canvas, styles, options)
            graph = loading.result()
        return Objective(graph, {**targets, **graph.layout(content)}, options)

    def _targets(
        self,
        key: GraphKey,
        canvas: NDArray[np.uint8],
        styles: list[NDArray[np.uint8]],
        options: Options,
    ) -> dict[str, Tensor]:
        """Return the content of the canvas and the style of all styles together."""
        weights = _normalised(options.style_weights, len(styles))
        largest = max([canvas, *styles], key=lambda pixels: pixels.size)
        with self._once("targets", key, largest) as measure:

            def measured(pixels: NDArray[np.uint8], names: Sequence[str]) -> dict[str, Tensor]:
                image = {"image": to_tensor(pixels)}
                return measure.run(names, {**image, **measure.layout(image)})

            targets = measured(canvas, [f"content/{layer}" for layer in key.content_layers])
            for weight, pixels in zip(weights, styles, strict=True):
                grams = measured(pixels, [f"style/{layer}" for layer in key.style_layers])
                for name, gram in grams.items():
                    targets[name] = targets.get(name, np.float32(0)) + weight * gram
        return targets

    def _tile(self, pixels: int) -> int:
        """Return the tile size for a picture of so many pixels, 0 for plain convolutions."""
        if self._kernel == "auto":
            worth_it = self._device.is_cpu and pixels >= WINOGRAD_MIN_PIXELS
            return WINOGRAD_TILE if worth_it else 0
        return WINOGRAD_TILE if self._kernel == "winograd" else 0

    @contextmanager
    def _once(self, kind: Kind, key: GraphKey, largest: NDArray[np.uint8]) -> Iterator[Graph]:
        """Give a graph to run on pictures of at most that size; drop it then if that is large."""
        try:
            yield self._graph(kind, key)
        finally:
            if largest.shape[0] * largest.shape[1] > SMALL_PIXELS:
                self._drop(kind, key)

    def _graph(self, kind: Kind, key: GraphKey) -> Graph:
        """Return a graph, loaded unless it is among the last ones used."""
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
                self._drop(kind, key)
                graph.set_exception(error)
        return graph.result()

    def _drop(self, kind: Kind, key: GraphKey) -> None:
        with self._lock:
            self._graphs.pop((kind, key), None)

    def _load(self, kind: Kind, key: GraphKey) -> Graph:
        return self._device.load(
            self._artifacts.graph(kind, key),
            self._artifacts.weights_folder(),
            lambda names: self._artifacts.transformed_kernels(names, key.tile),
            in_order=key.tile > 0,
        )


def _optimise(objective: Objective, start: Tensor, options: Options) -> Iterator[Step]:
    adam = Adam(options.learning_rate)
    pixels = last_good = start
    history: list[Costs] = []
    elapsed = 0.0
    for iteration in range(1, options.steps + 1):
        begin = time.perf_counter()
        evaluation = objective.evaluate(pixels)
        costs = evaluation.costs
        if math.isfinite(costs.total):
            last_good = pixels
            history.append(costs)
        pixels = adam.step(pixels, evaluation.gradient)
        # The picture too: the last one is not evaluated, and a bad gradient makes a bad picture.
        if not (math.isfinite(costs.total) and np.isfinite(pixels).all()):
            finite = math.isfinite(costs.total)
            subject = "a pixel is not finite after" if finite else f"the cost is {costs.total} at"
            raise NonFiniteCostError(
                f"{subject} step {iteration}; the picture is that of step "
                f"{max(len(history) - 1, 0)}: try a smaller learning rate or smaller weights",
                Result(to_image(last_good), tuple(history), elapsed),
            )
        seconds = time.perf_counter() - begin
        elapsed += seconds
        yield Step(**vars(costs), iteration=iteration, seconds=seconds, pixels=pixels)


def _as_list(style: Styles) -> list[ImageSource]:
    if isinstance(style, Sequence) and not isinstance(style, str | bytes):
        if not style:
            raise InputError("no style image given")
        return list(style)
    return [style]


def _normalised(weights: Sequence[float] | None, count: int) -> NDArray[np.float32]:
    """Return one weight per style, of sum 1."""
    if weights is None:
        weights = [1.0] * count
    if len(weights) != count:
        raise InputError(f"style_weights has {len(weights)} weights for {count} style images")
    return (np.array(weights, np.float64) / sum(weights)).astype(np.float32)


def _costs_of(step: Step) -> Costs:
    return Costs(**{name: getattr(step, name) for name in Costs.__dataclass_fields__})

"""The one place that builds ONNX Runtime sessions and knows devices."""

from __future__ import annotations

import copy
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ortist.engine.optimizer import Tensor
from ortist.models.blocks import Map, is_map, layout
from ortist.models.errors import (
    ArtifactError,
    CanceledError,
    DeviceError,
    OrtistError,
    printable,
    shown,
)
from ortist.models.interface import COSTS_KEY, GRADIENT, Interface, Shape, Shapes
from ortist.models.layers import IMAGE
from ortist.models.winograd import transformed_layer

if TYPE_CHECKING:
    import onnxruntime

DEVICES = ("auto", "cpu", "cuda")
MAX_THREADS = 1024
OLDEST_RUNTIME = "1.24"
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDER_OPTIONS = {_CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}
"""TF32 has 10 bits of mantissa; an exhaustive search would be done again for every size."""
_MEMORY = {_CUDA: "cuda"}
"""Where providers that do not compute in the memory of the CPU have what they compute with."""
Placed: TypeAlias = "onnxruntime.OrtValue"
_IDENTITY = (
    b'\x08\n\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)
"""An ONNX model, y = x, to try a provider with."""
_WARNING, _FATAL = 2, 4  # severities of the runtime's log
FEW_PIXELS = 2**17
"""Up to here, time without transposing kernels is worth an eighth of the memory."""
MANY_PIXELS = 2**18
"""Above, saving a tenth of the memory is worth a quarter of a second of loading."""
_log = logging.getLogger(__name__)


class Ending:
    """Ends evaluations that are under way, at their next node, when it is asked to.

    Args:
        plain: options of evaluations.
        last: options of those after which the session is to keep no memory.
    """

    def __init__(self, plain: onnxruntime.RunOptions, last: onnxruntime.RunOptions) -> None:
        self._plain, self._last = plain, last
        last.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        for options in (plain, last):
            options.only_execute_path_to_fetches = True

    def request(self) -> None:
        """End them; any thread may call this."""
        self._plain.terminate = self._last.terminate = True

    @property
    def requested(self) -> bool:
        """Whether they are to end."""
        return bool(self._plain.terminate)

    def options(self, last: bool) -> onnxruntime.RunOptions:
        """Return the runtime's options for an evaluation."""
        return self._last if last else self._plain


class Graph:
    """A graph ready to run; safe to use from several threads at once.

    It keeps the memory of the largest run for the next one, until it is dropped.

    Args:
        session: runs the graph.
        expected: what it was found to state.
        constants: inputs that are the same at every run.
        device: where it runs.
        label: what messages call the graph.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        expected: Interface,
        constants: Mapping[str, Tensor],
        device: Device,
        label: str,
    ) -> None:
        self._session = session
        self._shapes = expected.outputs
        self._device = device
        self._constants = self.placed(constants)
        self._label = label
        self._ending = device.new_ending()
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.inputs = [value.name for value in session.get_inputs()]
        self.outputs = [value.name for value in session.get_outputs()]

    def layout(self, images: Mapping[str, Tensor]) -> dict[str, Map]:
        """Return the inputs that follow from the size of the images; plain graphs have none."""
        return layout(self.inputs, images)

    def within(self, ending: Ending) -> Graph:
        """Return the same graph, whose evaluations end when ``ending`` says so."""
        graph = copy.copy(self)
        graph._ending = ending
        return graph

    def placed(self, feeds: Mapping[str, Map]) -> dict[str, Placed]:
        """Return inputs for several runs, put where the graph runs once and for all."""
        return {name: self._device.place(value) for name, value in feeds.items()}

    def run(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Map | Placed],
        last: bool = False,
    ) -> dict[str, Tensor]:
        """Return the named outputs, computing only what they need.

        Args:
            outputs: by name.
            feeds: inputs by name.
            last: whether other graphs need the memory next, so that none of it is kept.

        Raises:
            CanceledError: if it is ended.
            OrtistError: if it fails, for example for want of memory.
            ArtifactError: if what comes has another shape than the graph states, or than that of
                the picture that it is the gradient by.
        """
        if not outputs:
            return {}
        arrays = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        given = {**self._constants, **feeds, **self.placed(arrays)}
        try:
            how = self._ending.options(last and self._device.is_cpu)
            values = self._session.run_with_ort_values(list(outputs), given, how)
        except Exception as error:  # the runtime's exceptions have no common base but this
            if self._ending.requested:
                raise CanceledError("the run was canceled") from error
            raise OrtistError(f"onnxruntime cannot run {self._label}: {error}") from error
        # As they come they keep all memory of the session alive.
        found = {name: value.numpy().copy() for name, value in zip(outputs, values, strict=True)}
        for name, value in found.items():
            gradient = name == GRADIENT
            shape = arrays[IMAGE].shape if gradient else self._shapes.get(name, value.shape)
            if not _fits(value.shape, shape):
                what = f"{name} has the shape {list(value.shape)}, expected {list(shape)}"
                raise ArtifactError(f"{self._label} is not what it should be: {what}")
        return found


class Device:
    """Where graphs run.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"auto"`` (CUDA if it can be used, else the CPU), or the
            name of an execution provider of the installed onnxruntime.
        threads: threads per session; all physical cores by default.

    Raises:
        DeviceError: if the device is unknown or cannot be used here; the message says what is
            missing.
    """

    def __init__(self, name: str = "auto", threads: int | None = None) -> None:
        if threads is not None and not (type(threads) is int and 1 <= threads <= MAX_THREADS):
            raise DeviceError(
                f"threads is {shown(threads)}, accepted are whole numbers from 1 to {MAX_THREADS}"
            )
        self._runtime = import_runtime()
        _check_version(self._runtime)
        self.threads = threads or physical_cores()
        """Threads per session. Never the runtime's own choice: the bytes depend on them."""
        self.provider = _provider(name, self._runtime.get_available_providers())
        """Name of the execution provider in use."""
        if not self.is_cpu:
            try:
                self._try_provider()
            except DeviceError as error:
                if name != "auto":
                    raise
                _log.warning("%s; using the CPU", error)
                self.provider = _CPU

    @property
    def is_cpu(self) -> bool:
        """Whether graphs run on the CPU provider."""
        return self.provider == _CPU

    def load(
        self,
        model: bytes,
        files: Mapping[str, bytes],
        expected: Interface,
        constants: Callable[[Sequence[str]], Mapping[str, Tensor]],
        *,
        label: str,
        as_written: bool,
        pixels: int,
    ) -> Graph:
        """Return a serialized model ready to run.

        Args:
            model: ONNX model.
            files: its external data, by the name of the file that it gives.
            expected: what is relied on.
            constants: returns, of the graph's inputs, those that are the same at every run.
            label: what messages call the graph.
            as_written: whether to run the nodes as they are, and are ordered, in the file, but for
                basic optimizations; such a graph loads faster.
            pixels: of the largest picture that it will run on.

        Raises:
            ArtifactError: if the model cannot be loaded, or is not what is expected.
        """
        options = self._options(as_written, pixels)
        # So the runtime opens no file, neither these again nor, in branches of a graph, any other:
        # it looks for those in a folder that cannot be.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", f"{os.devnull}/none"
        )
        options.add_external_initializers_from_files_in_memory(
            list(files), list(files.values()), [len(data) for data in files.values()]
        )
        try:
            session = self._session(model, options)
        except Exception as error:  # the runtime's exceptions have no common base but this
            raise ArtifactError(
                f"onnxruntime cannot load {label} on {self.provider}: {error}"
            ) from error
        try:
            _check_interface(session, expected)
        except ValueError as error:
            raise ArtifactError(f"{label} is not what it should be: {error}") from error
        names = [value.name for value in session.get_inputs()]
        return Graph(session, expected, constants(names), self, label)

    def place(self, array: Map) -> Placed:
        """Return an array where graphs run: a copy, but on the CPU the array itself."""
        kind = _MEMORY.get(self.provider, "cpu")
        return self._runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), kind)

    def new_ending(self) -> Ending:
        """Return what can end evaluations."""
        return Ending(self._runtime.RunOptions(), self._runtime.RunOptions())

    def _try_provider(self) -> None:
        """Raise DeviceError unless the provider starts."""
        found = _preload_cuda(self._runtime) if self.provider == _CUDA else ""
        # Its complaints have many lines; what matters of them is in ours.
        self._runtime.set_default_logger_severity(_FATAL)
        try:
            session = self._session(_IDENTITY, self._options(as_written=False, pixels=1))
        except Exception as error:  # the runtime's exceptions have no common base but this
            raise DeviceError(f"{self.provider} did not start: {error}") from error
        finally:
            self._runtime.set_default_logger_severity(_WARNING)
        if self.provider not in session.get_providers():
            reason = found or "its libraries or its hardware are not found"
            raise DeviceError(f"{self.provider} did not start: {reason}")

    def _session(
        self, model: bytes, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        chosen = (self.provider, _PROVIDER_OPTIONS.get(self.provider, {}))
        providers = [chosen] if self.is_cpu else [chosen, (_CPU, {})]
        # The runtime's own way to fall back prints.
        return self._runtime.InferenceSession(
            model, options, providers=providers, enable_fallback=0
        )

    def _options(self, as_written: bool, pixels: int) -> onnxruntime.SessionOptions:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        if self.threads > (os.cpu_count() or 1):
            # Threads that wait for one another without rest would keep those from running.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Twice the peak memory for no gain in speed: sizes change from run to run.
        options.enable_mem_pattern = False
        # Finding what can take the place of what takes time in the square of the number of nodes.
        options.enable_mem_reuse = pixels > MANY_PIXELS
        if as_written:
            levels = self._runtime.GraphOptimizationLevel
            options.execution_order = self._runtime.ExecutionOrder.PRIORITY_BASED
            # Fused nodes are new, hence late in that order, and much waits for them. So there are
            # none but products that take a factor transposed, where memory is no concern (and, in
            # graphs without a backward half that could wait, convolutions with ReLU).
            fusing = pixels <= FEW_PIXELS
            options.graph_optimization_level = (
                levels.ORT_ENABLE_EXTENDED if fusing else levels.ORT_ENABLE_BASIC
            )
            options.add_session_config_entry(
                "optimization.disable_specified_optimizers",
                "MatMulAddFusion;GemmActivationFusion",
            )
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        return options


def physical_cores() -> int:
    """Return how many cores this process may use; where that is not told, all that are seen."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    cores = set()
    for number in usable:
        topology = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
        try:
            names = ("physical_package_id", "core_id")
            cores.add(tuple((topology / name).read_text() for name in names))
        except OSError:
            return len(usable)
    return len(cores)


def _check_interface(session: onnxruntime.InferenceSession, expected: Interface) -> None:
    """Raise ValueError unless a graph has what is expected, and asks for no more."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    _check_tensors("input", inputs, expected.inputs)
    _check_tensors("input", inputs, expected.integers, "int64")
    _check_tensors("output", outputs, expected.outputs)
    known = {*expected.inputs, *expected.integers}
    for name in (value.name for value in inputs if value.name not in known):
        lowered = expected.block and (is_map(name, expected.block) or transformed_layer(name))
        if not (lowered or name.startswith(expected.more_inputs)):
            raise ValueError(f"input {shown(name)} is unknown")
    for name in (value.name for value in outputs if value.name not in expected.outputs):
        if not name.startswith(expected.more_outputs):
            raise ValueError(f"output {shown(name)} is unknown")
    costs = session.get_modelmeta().custom_metadata_map.get(COSTS_KEY, "")
    if tuple(costs.split()) != expected.costs:
        raise ValueError(f"{COSTS_KEY} is {shown(costs)}, expected {' '.join(expected.costs)}")


def _check_tensors(what: str, found: Sequence[Any], expected: Shapes, kind: str = "float") -> None:
    """Raise ValueError unless there are tensors of these names, shapes and kind of elements."""
    values = {value.name: value for value in found}
    for name, shape in expected.items():
        if name not in values:
            raise ValueError(f"{what} {name} is missing")
        value = values[name]
        if value.type != f"tensor({kind})" or not _fits(value.shape, shape):
            actual = f"{value.type} {shown(value.shape)}"
            raise ValueError(f"{what} {name} is {actual}, expected tensor({kind}) {list(shape)}")


def _fits(shape: Sequence[int | str | None], expected: Shape) -> bool:
    """Tell whether one shape may be the other: sizes may be open in both."""
    return len(shape) == len(expected) and all(
        size == other
        for size, other in zip(shape, expected, strict=True)
        if isinstance(size, int) and isinstance(other, int)
    )


def import_runtime() -> Any:
    """Return the onnxruntime module, told to send nothing.

    It would report to its maker over the network, from 10 seconds after its import on, and keep an
    identifier of the machine among the user's files. The variable, read at the import, prevents
    all of that. Where onnxruntime was imported before, the function is what there is: it prevents
    reports of what runs from then on, though not that of the import.

    Raises:
        DeviceError: if it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            "onnxruntime is not installed: pip install 'ortist[cpu]' or 'ortist[gpu]'"
        ) from error
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def _check_version(runtime: Any) -> None:
    """Raise DeviceError for a runtime that cannot take the verified weights from memory."""
    if not hasattr(runtime.SessionOptions, "add_external_initializers_from_files_in_memory"):
        raise DeviceError(
            f"onnxruntime {runtime.__version__} is too old, accepted is {OLDEST_RUNTIME} or newer: "
            "pip install --upgrade 'ortist[cpu]' or 'ortist[gpu]'"
        )


def _provider(device: str, available: list[str]) -> str:
    """Return the execution provider for ``device``."""
    if not isinstance(device, str):
        raise DeviceError(f"device is {shown(device)}, accepted are {', '.join(DEVICES)}")
    if device == "cpu":
        return _CPU
    if device == "auto":
        if _CUDA not in available:
            _log.info("onnxruntime has no CUDA provider; using the CPU")
            return _CPU
        return _CUDA
    if device == "cuda" and _CUDA not in available:
        raise DeviceError(
            f"the installed onnxruntime has no {_CUDA} (it has {', '.join(available)}): "
            "pip uninstall onnxruntime, then pip install 'ortist[gpu]'"
        )
    provider = _CUDA if device == "cuda" else device
    if provider not in available:
        accepted = ", ".join((*DEVICES, *available))
        raise DeviceError(f"unknown device {shown(device)}, accepted are {accepted}")
    return provider


def _preload_cuda(runtime: Any) -> str:
    """Load CUDA from where pip installed it; return what is missing, as one line."""
    if not hasattr(runtime, "preload_dlls"):
        return ""
    with redirect_stdout(io.StringIO()) as printed:
        runtime.preload_dlls()
    return printable(printed.getvalue()).rstrip(".")

"""The one place that builds ONNX Runtime sessions and knows devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.errors import ArtifactError, DeviceError
from ortist.engine.winograd import TRANSFORMED_SUFFIX

if TYPE_CHECKING:
    import onnxruntime

DEVICES = ("auto", "cpu", "cuda")
MAX_THREADS = 1024
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Tensor = NDArray[np.float32]
_log = logging.getLogger(__name__)


class Graph:
    """A graph ready to run; safe to use from several threads at once.

    Args:
        session: runs the graph.
        constants: inputs that are the same at every run.
        run_options: onnxruntime's options for every run.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        constants: Mapping[str, Tensor],
        run_options: onnxruntime.RunOptions,
    ) -> None:
        self._session = session
        self._constants = constants
        self._run_options = run_options
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the named outputs, computing only what they need."""
        if not outputs:
            return {}
        feeds = {**self._constants, **feeds}
        values = self._session.run(list(outputs), feeds, self._run_options)
        return dict(zip(outputs, values, strict=True))


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
                f"threads is {threads}, accepted are whole numbers from 1 to {MAX_THREADS}"
            )
        self._runtime = _import_runtime()
        self._threads = threads or 0
        self._may_fall_back = name == "auto"
        self.provider = _provider(name, self._runtime.get_available_providers())
        """Name of the execution provider in use."""

    @property
    def is_cpu(self) -> bool:
        """Whether graphs run on the CPU provider."""
        return self.provider == _CPU

    def load(
        self,
        model: bytes,
        weights_folder: Path,
        kernels: Callable[[Sequence[str]], Mapping[str, Tensor]],
        *,
        in_order: bool,
        once: bool,
    ) -> Graph:
        """Return a serialised model ready to run.

        Args:
            model: ONNX model.
            weights_folder: folder of its external data.
            kernels: returns transformed kernels, for the inputs of a lowered graph that take them.
            in_order: whether to run the nodes as they are ordered in the file.
            once: whether memory is given back after a run, or kept for the next one.

        Raises:
            ArtifactError: if the model cannot be loaded.
            DeviceError: if the provider that was asked for did not start.
        """
        session = self._session(model, weights_folder, in_order)
        if self.provider not in session.get_providers():
            reason = f"{self.provider} did not start: its libraries (CUDA, cuDNN) are not found"
            if not self._may_fall_back:
                raise DeviceError(reason)
            _log.warning("%s; using the CPU", reason)
            self.provider = _CPU
        names = [value.name for value in session.get_inputs()]
        transformed = [name for name in names if name.endswith(TRANSFORMED_SUFFIX)]
        run_options = self._runtime.RunOptions()
        run_options.only_execute_path_to_fetches = True
        if once and self.is_cpu:
            run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return Graph(session, kernels(transformed), run_options)

    def _session(
        self, model: bytes, weights_folder: Path, in_order: bool
    ) -> onnxruntime.InferenceSession:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Twice the peak memory for no gain in speed: sizes change from run to run.
        options.enable_mem_pattern = False
        if in_order:
            options.execution_order = self._runtime.ExecutionOrder.PRIORITY_BASED
            # Beyond the basic level, nodes are fused to new ones that come late in that order.
            options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights_folder)
        )
        try:
            return self._runtime.InferenceSession(
                model, options, providers=list(dict.fromkeys([self.provider, _CPU]))
            )
        except Exception as error:  # the runtime's exceptions have no common base but this
            raise ArtifactError(f"onnxruntime cannot load a graph: {_one_line(error)}") from error


def _import_runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            "onnxruntime is not installed: pip install 'ortist[cpu]' or 'ortist[gpu]'"
        ) from error
    return onnxruntime


def _provider(device: str, available: list[str]) -> str:
    """Return the execution provider for ``device``."""
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
        raise DeviceError(f"unknown device {device!r}, accepted are {accepted}")
    return provider


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""The one place that builds ONNX Runtime sessions and knows devices."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortist.engine.errors import ArtifactError, DeviceError

if TYPE_CHECKING:
    import onnxruntime

DEVICES = ("auto", "cpu", "cuda")
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_log = logging.getLogger(__name__)


class SessionFactory:
    """Builds sessions for one device.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"auto"`` (CUDA if it can be used, else the CPU), or the
            name of an execution provider of the installed onnxruntime.
        threads: threads per session; all physical cores by default.

    Raises:
        DeviceError: if the device is unknown or cannot be used here; the message says what is
            missing.
    """

    def __init__(self, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise DeviceError(f"threads is {threads}, accepted are numbers from 1")
        self._runtime = _import_runtime()
        self._threads = threads or 0
        self._may_fall_back = device == "auto"
        available = self._runtime.get_available_providers()
        self.provider = _provider(device, available)

    def create(self, model: bytes, weights_folder: Path) -> onnxruntime.InferenceSession:
        """Return a session for a serialised model whose weights lie in ``weights_folder``.

        Raises:
            ArtifactError: if the model cannot be loaded.
            DeviceError: if the provider that was asked for did not start.
        """
        session = self._create(model, weights_folder)
        if self.provider not in session.get_providers():
            reason = f"{self.provider} did not start: its libraries (CUDA, cuDNN) are not found"
            if not self._may_fall_back:
                raise DeviceError(reason)
            _log.warning("%s; using the CPU", reason)
            self.provider = _CPU
        return session

    def _create(self, model: bytes, weights_folder: Path) -> onnxruntime.InferenceSession:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Twice the peak memory for no gain in speed: sizes change from run to run.
        options.enable_mem_pattern = False
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

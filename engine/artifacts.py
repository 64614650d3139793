"""Finding, checking and, where there is none, deriving the graphs that the engine runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ortist.engine.errors import ArtifactError
from ortist.engine.layers import LAYERS
from ortist.engine.winograd import TRANSFORMED_SUFFIX, transform_kernel

if TYPE_CHECKING:
    from onnx import ModelProto

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
COSTS_KEY = "ortist.costs"
"""Metadata entry of a gradient graph: the names of its costs, in order, between spaces."""

Kind = Literal["features", "targets", "gradient"]
_UNSTATED: dict[str, Any] = {"statistic": "gram", "rescaled": False}
"""What a graph is made for if its manifest, written before there was a choice, does not say."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphKey:
    """What a targets or gradient graph is made for.

    Attributes:
        pooling: one of :data:`~ortist.engine.layers.POOLINGS`.
        content_layers: in network order.
        style_layers: in network order.
        tile: 4 or 6 for Winograd convolutions with tiles of that size, 0 for plain ones.
        statistic: what of a style layer is compared, one of
            :data:`~ortist.engine.statistics.STATISTICS`.
        rescaled: whether pooling keeps the size that activations have with max pooling.
    """

    pooling: str
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    tile: int = 0
    statistic: str = "gram"
    rescaled: bool = False

    @classmethod
    def of(
        cls,
        pooling: str,
        content: Iterable[str],
        style: Iterable[str],
        tile: int = 0,
        *,
        statistic: str = "gram",
        rescaled: bool = False,
    ) -> GraphKey:
        """Make a key of layer names in any order; equal graphs have equal keys."""
        ordered = [tuple(sorted(set(names), key=LAYERS.index)) for names in (content, style)]
        # Max pooling is what others are rescaled to.
        rescaled = rescaled and pooling != "max"
        return cls(pooling, ordered[0], ordered[1], tile, statistic, rescaled)


class Artifacts:
    """The files of a models folder, each verified against the manifest before it is used.

    Args:
        folder: folder made by ``ortist export``; the one shipped with the package by default.

    Raises:
        ArtifactError: if the manifest is missing, damaged or of another format.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # Absolute, so that files are found wherever the process goes later.
        self.folder = (folder or Path(str(resources.files("ortist.models")))).absolute()
        self.manifest = _read_manifest(self.folder / MANIFEST)
        self._lock = threading.Lock()
        self._blob: NDArray[np.uint8] | None = None
        self._transformed: dict[tuple[str, int], NDArray[np.float32]] = {}

    @property
    def mean(self) -> tuple[float, float, float]:
        """RGB colour, 0..255, that the network subtracts from its input."""
        red, green, blue = self.manifest["mean"]
        return red, green, blue

    def weights_folder(self) -> Path:
        """Return the folder of the weights file, which all graphs refer to, once it is verified.

        Raises:
            ArtifactError: if the file is missing or its checksum is wrong.
        """
        self._weights()
        return self.folder

    def transformed_kernels(
        self, inputs: Sequence[str], tile: int
    ) -> dict[str, NDArray[np.float32]]:
        """Return those inputs of a lowered graph that are Winograd transforms of kernels.

        Each, float32 (n², C, K), is computed once and then shared; callers must not write to it.

        Raises:
            ArtifactError: if the weights file is missing or its checksum is wrong.
        """
        blob, tensors = self._weights(), self.manifest["weights"]["tensors"]
        transformed = [name for name in inputs if name.endswith(TRANSFORMED_SUFFIX)]
        with self._lock:
            for name in transformed:
                if (name, tile) not in self._transformed:
                    kernel = _kernel(blob, tensors, name.removesuffix(TRANSFORMED_SUFFIX))
                    self._transformed[name, tile] = transform_kernel(kernel, tile)
            return {name: self._transformed[name, tile] for name in transformed}

    def _weights(self) -> NDArray[np.uint8]:
        """Return the weights file, verified once."""
        with self._lock:
            if self._blob is None:
                self._read(self.manifest["weights"])
                path = self.folder / str(self.manifest["weights"]["file"])
                self._blob = np.memmap(path, np.uint8, "r")
            return self._blob

    def features(self, pooling: str, rescaled: bool = False) -> bytes:
        """Return the features graph with all layers as outputs.

        With L2 pooling, and rescaled, it is derived from a shipped one.

        Raises:
            ArtifactError: if there is none to derive it from, or that is missing or corrupt.
        """
        shipped = "average" if pooling == "l2" else pooling
        entry = self._find("features", pooling=shipped)
        if entry is None:
            raise ArtifactError(f"{self.folder / MANIFEST} lists no features graph of {shipped!r}")
        features = self._read(entry)
        if (pooling, rescaled) == (shipped, False):
            return features

        def derive(model: ModelProto) -> ModelProto:
            from ortist.export.pooling import repool

            return repool(model, pooling, rescaled)

        return _derived("features", features, [pooling, rescaled], derive)

    def graph(self, kind: Kind, key: GraphKey) -> bytes:
        """Return a graph for ``key``: shipped, from the cache, or derived now and then cached.

        Features graphs are those of all layers; only the pooling of ``key`` counts.

        Raises:
            ArtifactError: if a shipped file is missing or corrupt.
        """
        if kind == "features":
            return self.features(key.pooling, key.rescaled)
        entry = self._find(kind, **json.loads(json.dumps(asdict(key))))
        if entry is not None:
            return self._read(entry)

        def derive(model: ModelProto) -> ModelProto:
            from ortist.export.graphs import DERIVATIONS

            return DERIVATIONS[kind](model, key)

        return _derived(kind, self.features(key.pooling, key.rescaled), asdict(key), derive)

    def verify(self) -> list[tuple[str, str, bool]]:
        """Return name, expected sha256 and whether it is intact for every file of the manifest."""
        entries = [self.manifest["weights"], *self.manifest["graphs"]]
        return [(entry["file"], entry["sha256"], self._is_intact(entry)) for entry in entries]

    def _find(self, kind: Kind, **wanted: Any) -> dict[str, Any] | None:
        for listed in self.manifest["graphs"]:
            entry = {**_UNSTATED, **listed}
            if entry["kind"] == kind and all(entry[name] == wanted[name] for name in wanted):
                return entry
        return None

    def _read(self, entry: dict[str, Any]) -> bytes:
        path = self.folder / str(entry["file"])
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != entry["sha256"]:
            raise ArtifactError(f"{path} is corrupt: sha256 {actual}, expected {entry['sha256']}")
        return data

    def _is_intact(self, entry: dict[str, Any]) -> bool:
        try:
            self._read(entry)
        except ArtifactError:
            return False
        return True


def _derived(
    kind: Kind, features: bytes, choice: object, derive: Callable[[ModelProto], ModelProto]
) -> bytes:
    """Return what ``derive`` makes of a features graph for a choice, from the cache if it is there.

    Derivations import onnx, which is needed only where no ready graph is found.
    """
    recipe = json.dumps([hashlib.sha256(features).hexdigest(), _code(), kind, choice])
    name = f"{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:32]}"
    cached = _from_cache(name)
    if cached is not None:
        return cached
    import onnx

    model = derive(onnx.load_model_from_string(features))
    data: bytes = model.SerializeToString(deterministic=True)
    _to_cache(name, data)
    return data


def _kernel(
    blob: NDArray[np.uint8], tensors: dict[str, dict[str, Any]], name: str
) -> NDArray[np.float32]:
    """Return a kernel (K, C, 3, 3), decoded if it is stored as codes into a codebook."""

    def stored(tensor: str) -> NDArray[Any]:
        entry = tensors[tensor]
        dtype, shape = np.dtype(entry["dtype"]).newbyteorder("<"), entry["shape"]
        data = blob[entry["offset"] :][: dtype.itemsize * math.prod(shape)]
        values: NDArray[Any] = data.view(dtype).reshape(shape)
        return values

    if name in tensors:
        return stored(name)
    layer = name.rpartition("/")[0]
    kernel: NDArray[np.float32] = stored(f"{layer}/codebook")[stored(f"{layer}/codes")]
    return kernel


def cache_directory() -> Path:
    """Return the user's folder for derived graphs; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ortist", appauthor=False))


def _from_cache(name: str) -> bytes | None:
    """Return the cached file, whose name ends in the checksum of its content, if it is intact."""
    for path in cache_directory().glob(f"{name}-*.onnx"):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if path.stem == f"{name}-{hashlib.sha256(data).hexdigest()}":
            return data
        _log.warning("ignoring corrupt cache file %s", path)
    return None


def _to_cache(name: str, data: bytes) -> None:
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}-{hashlib.sha256(data).hexdigest()}.onnx", data)
    except OSError as error:
        _log.warning("cannot keep a derived graph in %s: %s", folder, error.strerror)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, replacing what is there; raises OSError."""
    scratch = path.with_name(f"{secrets.token_hex(8)}.tmp")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def _code() -> str:
    """Return a checksum of the code that derives graphs: other code, other cache files."""
    files = [file for file in resources.files("ortist.export").iterdir() if file.name[-3:] == ".py"]
    engine = ("layers.py", "statistics.py", "tiles.py", "winograd.py")
    files += [resources.files("ortist.engine") / name for name in engine]
    parts = [file.read_bytes() for file in sorted(files, key=lambda file: file.name)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is corrupt: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != MANIFEST_FORMAT:
        raise ArtifactError(f"{path} has format {found}, this version reads {MANIFEST_FORMAT}")
    try:
        _check_manifest(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is corrupt: {error!r}") from error
    return manifest


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Look up everything that is used, which raises what lookups raise."""
    _, _, _ = map(float, manifest["mean"])
    _ = manifest["weights"]["tensors"]
    for entry in (manifest["weights"], *manifest["graphs"]):
        _ = entry["file"], entry["sha256"]
    for entry in manifest["graphs"]:
        parts = GraphKey.__dataclass_fields__ if entry["kind"] != "features" else ("pooling",)
        _ = [entry[part] for part in parts if part not in _UNSTATED]

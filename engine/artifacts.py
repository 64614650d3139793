"""Finding, checking and, where there is none, deriving the graphs that the engine runs."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ortist.export.costs import TERMS
from ortist.export.costs.term import Part
from ortist.models.errors import ArtifactError
from ortist.models.files import read_regular, reason, write_whole
from ortist.models.interface import Interface, interface
from ortist.models.keys import GraphKey, Kind
from ortist.models.layers import channels_of
from ortist.models.manifest import MANIFEST, File, GraphFile, WeightsFile, read_file, read_manifest
from ortist.models.versions import installed_version
from ortist.models.weights import kernel
from ortist.models.winograd import transform_kernel, transformed_layer

if TYPE_CHECKING:
    from onnx import ModelProto

_SOURCES = ("ortist.engine", "ortist.export", "ortist.models")
"""Packages whose code says what a derived graph is."""
MAX_CACHED_BYTES = 100_000_000
"""Of a derived graph, which has some hundred kB: weights are in a file of their own."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What a graph is made for.

    Attributes:
        key: by which manifests and caches know it.
        parts: what J is the sum of, as ``key`` names it.
    """

    key: GraphKey
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(
        cls, pooling: str, parts: Sequence[Part] = (), block: int = 0, *, rescaled: bool = False
    ) -> Choice:
        """Make a choice; equal graphs have equal choices."""
        names = (part.name for part in parts)
        return cls(GraphKey.of(pooling, names, block, rescaled=rescaled), tuple(parts))

    def of_kind(self, kind: Kind) -> Choice:
        """Return what of it a graph of a kind is made for; equal graphs have equal choices."""
        return Choice(self.key.of_kind(kind), self.parts if kind != "features" else ())

    def interface(self, kind: Kind) -> Interface:
        """Return what can be relied on of its graph of a kind."""
        # Graphs with terms from outside come from no file, and need not have all that these state.
        stated = {
            part: part.term.statistic_shapes(channels_of(part.layer))
            for part in self.parts
            if TERMS.get(part.term.name) is part.term
        }
        return interface(
            kind,
            self.key,
            {part.name: shapes for part, shapes in stated.items()},
            {part.name: part.term.target_shapes(shapes) for part, shapes in stated.items()},
            {part.roots for part in self.parts if part.guide},
            {part.name for part in self.parts if part.term.local},
        )

    @property
    def is_named(self) -> bool:
        """Whether its names say what it is: all terms are those of the package."""
        return all(TERMS.get(part.term.name) is part.term for part in self.parts)


class Weights:
    """The weights of all graphs, and kernels made of them; may be sent to other processes.

    Args:
        entry: of their file, in the manifest.
        data: content of the file.
    """

    def __init__(self, entry: WeightsFile, data: bytes) -> None:
        self.entry, self._data = entry, data
        self._lock = threading.Lock()
        self._transformed: dict[tuple[str, int], NDArray[np.float32]] = {}

    def __reduce__(self) -> tuple[type[Weights], tuple[WeightsFile, bytes]]:
        """Pickle without what is made of them, which is larger."""
        return type(self), (self.entry, self._data)

    @property
    def files(self) -> dict[str, bytes]:
        """The content of the file, by the name that graphs call it."""
        return {self.entry.file: self._data}

    def transformed_kernels(
        self, inputs: Sequence[str], block: int
    ) -> dict[str, NDArray[np.float32]]:
        """Return those inputs of a lowered graph that are Winograd transforms of kernels.

        Each, float32 (n², C, K), is computed once and then shared; callers must not write to it.
        """
        found = {name: transformed_layer(name) for name in inputs}
        layers = {name: layer for name, layer in found.items() if layer is not None}
        with self._lock:
            for name, layer in layers.items():
                if (name, block) not in self._transformed:
                    values = kernel(self._data, self.entry.tensors, layer)
                    self._transformed[name, block] = transform_kernel(values, block)
            return {name: self._transformed[name, block] for name in layers}


class Artifacts:
    """The files of a models folder, each verified against the manifest before it is used.

    Args:
        folder: folder made by ``ortist export``; the one shipped with the package by default.

    Raises:
        ArtifactError: if the manifest is missing, damaged or of another format.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = _absolute(folder or Path(str(resources.files("ortist.models"))))
        self.manifest = read_manifest(self.folder)
        self._lock = threading.Lock()
        self._weights: Weights | None = None

    @property
    def mean(self) -> tuple[float, float, float]:
        """RGB color, 0..255, that the network subtracts from its input."""
        return self.manifest.mean

    @cached_property
    def digest(self) -> str:
        """The sha256 of the manifest, which has those of all files."""
        return _digest(self.manifest.to_json().encode())

    def weights(self) -> Weights:
        """Return the weights, verified.

        They are read once. Graphs are loaded with what was verified, whatever happens to the file.

        Raises:
            ArtifactError: if the file is missing or its checksum is wrong.
        """
        entry = self.manifest.weights
        with self._lock:
            if self._weights is None:
                self._weights = Weights(entry, self.read(entry))
            return self._weights

    def features(self, pooling: str, rescaled: bool = False) -> bytes:
        """Return the features graph with all layers as outputs.

        One that is not shipped, with L2 pooling or rescaled, is derived from one that is.

        Raises:
            ArtifactError: if there is none to derive it from, or that is missing or corrupt.
        """
        entry = self._find("features", GraphKey.of(pooling, rescaled=rescaled))
        if entry is not None:
            return self.read(entry)
        shipped = "average" if pooling == "l2" else pooling
        entry = self._find("features", GraphKey(shipped))
        if entry is None:
            raise ArtifactError(f"{self.folder / MANIFEST} lists no features graph of {shipped!r}")
        features = self.read(entry)

        def derive(model: ModelProto) -> ModelProto:
            from ortist.export.pooling import repool

            return repool(model, pooling, rescaled)

        return _derived("features", features, [pooling, rescaled], derive)

    def graph(self, kind: Kind, choice: Choice) -> bytes:
        """Return a graph: shipped, from the cache, or derived now and then cached.

        Graphs with terms from outside are neither looked for nor kept.

        Raises:
            ArtifactError: if a shipped file is missing or corrupt.
        """
        choice = choice.of_kind(kind)
        key = choice.key
        if kind == "features":
            return self.features(key.pooling, key.rescaled)
        entry = self._listed(kind, choice)
        if entry is not None:
            return self.read(entry)

        def derive(model: ModelProto) -> ModelProto:
            from ortist.export.graphs import derive

            return derive(kind, model, choice.parts, key.block)

        features = self.features(key.pooling, key.rescaled)
        return _derived(kind, features, asdict(key), derive, keep=choice.is_named)

    def origin(self, kind: Kind, choice: Choice) -> str:
        """Say where :meth:`graph` finds a graph."""
        entry = self._listed(kind, choice)
        return str(self.folder / entry.file) if entry else f"a derived {kind} graph"

    def verify(self) -> list[tuple[str, str, bool]]:
        """Return name, expected sha256 and whether it is intact for every file of the manifest."""
        entries = [self.manifest.weights, *self.manifest.graphs]
        return [(entry.file, entry.sha256, self._is_intact(entry)) for entry in entries]

    def _listed(self, kind: Kind, choice: Choice) -> GraphFile | None:
        """Return the file that the manifest has for a choice, if that is all that names say."""
        choice = choice.of_kind(kind)
        return self._find(kind, choice.key) if choice.is_named else None

    def _find(self, kind: Kind, key: GraphKey) -> GraphFile | None:
        wanted = (kind, key)
        return next(
            (graph for graph in self.manifest.graphs if (graph.kind, graph.key) == wanted), None
        )

    def read(self, entry: File) -> bytes:
        """Return the content of a file of the manifest; ArtifactError unless it is what it says."""
        path = self.folder / entry.file
        data = read_file(path, entry.bytes)
        actual = _digest(data)
        if actual != entry.sha256:
            raise ArtifactError(f"{path} is corrupt: sha256 {actual}, expected {entry.sha256}")
        if len(data) != entry.bytes:
            raise ArtifactError(f"{path} is corrupt: {len(data)} bytes, expected {entry.bytes}")
        return data

    def _is_intact(self, entry: File) -> bool:
        try:
            self.read(entry)
        except ArtifactError:
            return False
        return True


def _absolute(folder: Path) -> Path:
    """Return the folder so that its files are found wherever the process goes later."""
    try:
        return folder.absolute()
    except OSError as error:  # the working directory is gone
        raise ArtifactError(f"cannot read {folder}: {reason(error)}") from error


def _derived(
    kind: Kind,
    features: bytes,
    choice: object,
    derive: Callable[[ModelProto], ModelProto],
    *,
    keep: bool = True,
) -> bytes:
    """Return what ``derive`` makes of a features graph for a choice, from the cache if it is there.

    What is not to be kept is not looked for there. Derivations import onnx, which is needed only
    where no ready graph is found.
    """
    # onnx is not imported for its version; of a nightly build, with another name, it is null.
    code = [_code(), installed_version("onnx")]
    recipe = json.dumps([_digest(features), *code, kind, choice]).encode()
    folder = cache_directory() if keep else None
    cached = folder and _from_cache(folder, kind, recipe)
    if cached:
        return cached
    import onnx

    model = derive(onnx.load_model_from_string(features))
    data: bytes = model.SerializeToString(deterministic=True)
    if folder:
        _to_cache(folder, kind, recipe, data)
    elif keep:
        _log.info("cannot keep a derived graph: there is no home or cache directory")
    return data


def cache_directory() -> Path | None:
    """Return the user's folder for derived graphs, which need not exist; None if there is none.

    There is none without a home directory, nor if it is given relative to wherever the process is.
    """
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("ortist", appauthor=False))
    except RuntimeError:  # of newer versions; others leave ~ as it is
        return None
    return folder if folder.is_absolute() else None


def _from_cache(folder: Path, kind: Kind, recipe: bytes) -> bytes | None:
    """Return what was derived by a recipe, if it is there and intact."""
    try:
        for path in folder.glob(f"{kind}-{_digest(recipe)[:32]}-*.onnx"):
            data = read_regular(path, MAX_CACHED_BYTES)
            if path.name == _cache_name(kind, recipe, data):
                return data
            _log.warning("ignoring corrupt cache file %s", path)
    except OSError as error:
        _log.debug("cannot look for derived graphs in %s: %s", folder, reason(error))
    return None


def _to_cache(folder: Path, kind: Kind, recipe: bytes, data: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _cache_name(kind, recipe, data), data)
    except OSError as error:
        _log.info("cannot keep a derived graph in %s: %s", folder, reason(error))


def _cache_name(kind: Kind, recipe: bytes, data: bytes) -> str:
    """Return a name that no file has but the one with this content derived by this recipe."""
    content = _digest(recipe + b"\0" + data)
    return f"{kind}-{_digest(recipe)[:32]}-{content}.onnx"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _code() -> str:
    """Return a checksum of the code that derives graphs: other code, other cache files."""
    files = [
        (f"{package}/{file.as_posix()}", file.read_bytes())
        for package in _SOURCES
        for file in Path(str(resources.files(package))).rglob("*.py")
    ]
    return _digest(repr(sorted((name, _digest(data)) for name, data in files)).encode())

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# The tests import onnxruntime themselves, without ortist's precautions; it reads this then.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep derived graphs out of the cache of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def web_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the runtime in JavaScript paints with."""
    # Here, since onnx takes a while, and most files of tests do without these.
    from ortist.engine.artifacts import Artifacts
    from ortist.web.site import artifact_files

    folder = tmp_path_factory.mktemp("web")
    for name, content in artifact_files(Artifacts()):
        (folder / name).write_bytes(content)
    return folder

"""What the engine does without; each test runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
"""

OTHERS = {"torch", "onnx", "onnxscript", "typer", "rich", "click", "scipy", "h5py", "platformdirs"}
OTHERS |= {"dask", "distributed"}

STYLIZE = """
import numpy as np
from ortist.engine import Engine, Options

random = np.random.default_rng(0)
content, style = random.integers(0, 256, (2, 16, 20, 3), np.uint8)
result = Engine("cpu", threads=1).stylize(content, style, Options(size=20, steps=2))
assert result.image.shape == (16, 20, 3)
assert result.history[1].total < result.history[0].total
"""


def python(code: str, blocked: set[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new process that cannot import the packages ``blocked``."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK.format(blocked=blocked) + code],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


def test_importing_the_engine_imports_little(tmp_path: Path) -> None:
    code = "import ortist.engine; print(*{name.partition('.')[0] for name in sys.modules})"
    run = python(code, OTHERS, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert not OTHERS & set(run.stdout.split())
    assert {"numpy", "PIL", "ortist"} <= set(run.stdout.split())


def test_stylizing_needs_no_more_than_numpy_pillow_and_onnxruntime(tmp_path: Path) -> None:
    run = python(STYLIZE, OTHERS, tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_the_engine_says_what_to_install(tmp_path: Path) -> None:
    code = """
from ortist.engine import DeviceError, Engine

try:
    Engine()
except DeviceError as error:
    print(error)
"""
    run = python(code, {"onnxruntime"}, tmp_path)
    expected = "onnxruntime is not installed: pip install 'ortist[cpu]' or 'ortist[gpu]'\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")


def test_the_format_of_the_artifacts_needs_nothing_of_ours(tmp_path: Path) -> None:
    code = """
import pkgutil, sys
import ortist.models

names = [module.name for module in pkgutil.iter_modules(ortist.models.__path__)]
for name in names:
    __import__(f"ortist.models.{name}")
print(len(names) > 3, *{name for name in sys.modules if name.startswith("ortist.")}, sep="\\n")
"""
    run = python(code, OTHERS | {"PIL", "onnxruntime"}, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    enough, *imported = run.stdout.split()
    assert enough == "True"
    assert {name.split(".")[1] for name in imported} == {"models"}


@pytest.mark.parametrize("package", ["differentiate", "costs", "graphs"])
def test_differentiation_needs_no_torch(package: str, tmp_path: Path) -> None:
    run = python(f"import ortist.export.{package}", {"torch", "scipy", "typer"}, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")

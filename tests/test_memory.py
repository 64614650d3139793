"""Limits of memory: how they are written, found and held."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortist.cli import main
from ortist.engine import Engine, InputError, Options
from ortist.engine.memory import available_bytes, parse_bytes

EXAMPLES = Path(__file__).parents[1] / "examples"
PIXELS = np.zeros((48, 64, 3), np.uint8)
OPTIONS = Options(size=64, steps=2)
MEMINFO = "MemTotal: 9000000 kB\nMemAvailable:    2000000 kB\nSwapFree: 1000000 kB\nHuge: x\n"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2e9),
        ("1.5 GiB", 1.5 * 2**30),
        ("800mb", 8e8),
        ("512KiB", 2**19),
        ("123", 123),
        ("7B", 7),
        ("none", math.inf),
    ],
)
def test_sizes_have_units(text: str, size: float) -> None:
    assert parse_bytes("--memory", text) == size


@pytest.mark.parametrize("text", ["", "0", "GB", "-1GB", "2 XB", "1e9", "2GB more", "inf", "１"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--memory is '.*', accepted are sizes above 0"):
        parse_bytes("--memory", text)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_anything_told_there_is_no_limit(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) == math.inf


def test_what_is_free_of_memory_and_swap(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"})
    assert available_bytes(root) == 3_000_000 * 1024


@pytest.mark.parametrize(
    ("group", "folder"), [("/a/b", "a/b"), ("/a/b", "a"), ("/a/b", ""), ("/../host", "")]
)
def test_what_a_limit_of_version_2_leaves(tmp_path: Path, group: str, folder: str) -> None:
    """Of the own group, or of one above it; what files take can be taken from them."""
    base = f"sys/fs/cgroup/{folder}"
    root = tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": f"0::{group}\n",
            f"{base}/memory.max": "1000000000\n",
            f"{base}/memory.current": "700000000\n",
            f"{base}/memory.stat": "anon 400000000\ninactive_file 200000000\nactive_file 100000000",
        },
    )
    assert available_bytes(root) == 600_000_000
    (root / base / "memory.max").write_text("max\n")
    assert available_bytes(root) == 3_000_000 * 1024


def test_what_a_limit_of_version_1_leaves(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/memory/a"
    root = tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "5:cpu:/x\n4:cpuset,memory:/a\n0::/\nnonsense\n",
            f"{base}/memory.limit_in_bytes": "1000000000\n",
            f"{base}/memory.usage_in_bytes": "1200000000\n",
            f"{base}/memory.stat": "inactive_file 9\ntotal_inactive_file 100000000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert available_bytes(root) == 0
    (root / base / "memory.usage_in_bytes").write_text("300000000")
    assert available_bytes(root) == 800_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is told")
def test_this_machine_has_memory() -> None:
    assert 1e8 < available_bytes() < 1e15


def test_a_run_that_takes_more_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for path in Path(sys.modules["ortist.models"].__path__[0]).iterdir():
        if path.name == "manifest.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    plan = Engine("cpu", 1, models=tmp_path, memory=1e8).plan(PIXELS, PIXELS, OPTIONS)
    peak = f"{plan.peak_bytes / 1e9:.2f}"
    expected = (
        rf"^64x48 pixels take some {peak} GB of memory, accepted are 0\.10 GB: take a smaller"
    )
    with pytest.raises(InputError, match=expected):
        plan.run()


def test_a_run_within_the_limit_is_painted() -> None:
    plan = Engine("cpu", 1).plan(PIXELS, PIXELS, OPTIONS)
    for memory in (plan.peak_bytes, math.inf, 10**400):
        engine = Engine("cpu", 1, memory=memory)
        assert len(engine.stylize(PIXELS, PIXELS, OPTIONS).history) == 2
    with pytest.raises(InputError, match=r"GB of memory, accepted are"):
        Engine("cpu", 1, memory=plan.peak_bytes - 1).stylize(PIXELS, PIXELS, OPTIONS)


def test_without_a_limit_what_no_machine_has_is_refused() -> None:
    options = Options(size=200_000, steps=1, max_pixels=10**12)
    plan = Engine("cpu", 1).plan(PIXELS, PIXELS, options)
    with pytest.raises(InputError, match=r"^200000x150000 pixels take some .* GB of memory, there"):
        plan.run()


@pytest.mark.parametrize("memory", [0, -1, True, "2GB", float("nan"), np.ones(2)])
def test_limits_are_numbers_above_0(memory: Any) -> None:
    with pytest.raises(InputError, match=r"accepted are numbers of bytes above 0$"):
        Engine("cpu", memory=memory)


def test_the_command_has_a_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [str(EXAMPLES / "content.jpg"), str(EXAMPLES / "style.jpg")]
    for limit, message in (("100MB", "accepted are 0.10 GB"), ("much", "--memory is 'much'")):
        with pytest.raises(SystemExit) as caught:
            main(["stylize", *pictures, "-o", "out.png", "--size", "64", "--memory", limit])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

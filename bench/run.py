"""Compares ortist with PyTorch and with pastiche: seconds per evaluation, memory, start-up, errors.

Usage: run.py [--full] [--size WxH]... [--rounds N] [--threads N] [--output FOLDER]

Contenders take turns, each time in a new process; the table shows medians and the spread over all
rounds. Writes bench.json and bench.png to the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BENCH = Path(__file__).parent
KEPT = "torch nhwc, memory kept"
CONTENDERS = (
    "ortist winograd",
    "ortist winograd6",
    "ortist direct",
    "torch nchw",
    "torch nhwc",
    KEPT,
    "torch nchw compiled",
    "torch nhwc compiled",
    "torch nhwc bf16",
    "torch nhwc bf16 compiled",
)
EXACT = "torch nchw float64"
"""What gradients are compared with."""
# glibc gives large blocks back to the system at once and gets them again, zeroed, page by page.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
QUICK_SIZES = ((256, 256), (400, 300))
FULL_SIZES = ((256, 256), (400, 300), (512, 512), (1024, 768), (2048, 1536))
MOST_PIXELS = {"torch": 1024 * 1024}
"""Contenders that need too much memory for larger pictures than this are left out there."""


def measure(
    contender: str, size: tuple[int, int], evaluations: int, threads: int
) -> dict[str, Any]:
    """Run one contender once; its ``gradient`` is that at a picture, float (1, 3, H, W)."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if contender == KEPT:
        environment |= KEEP_MEMORY
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/gradient.npy"
        arguments = [contender.split(",")[0], *map(str, (*size, evaluations, threads)), file]
        command = [sys.executable, str(BENCH / "worker.py"), *arguments]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return {**json.loads(done.stdout), "gradient": np.load(file)}


def compare(
    size: tuple[int, int], rounds: int, evaluations: int, threads: int
) -> list[dict[str, Any]]:
    """Let all contenders take turns at one size and return a row for each."""
    results: dict[str, list[dict[str, Any]]] = {}
    exact = measure(EXACT, size, 1, threads)["gradient"] if can_run(EXACT, size) else None
    for _ in range(rounds):
        for contender in CONTENDERS:
            if can_run(contender, size):
                found = measure(contender, size, evaluations, threads)
                results.setdefault(contender, []).append(found)
    rows = []
    for contender, found in results.items():
        seconds = [value for one in found for value in one["seconds"]]
        rows.append(
            {
                "contender": contender,
                "width": size[0],
                "height": size[1],
                "seconds": statistics.median(seconds),
                "fastest": min(seconds),
                "slowest": max(seconds),
                "first": statistics.median(one["first"] for one in found),
                "peak_mb": max(one["peak_mb"] for one in found),
                "error": None if exact is None else distance(found[0]["gradient"], exact),
            }
        )
    return rows


def can_run(contender: str, size: tuple[int, int]) -> bool:
    """Tell whether there is memory enough and, to compile, a compiler."""
    if "compiled" in contender and not shutil.which("g++"):
        return False
    return size[0] * size[1] <= MOST_PIXELS.get(contender.split()[0], 2**40)


def distance(gradient: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    """Return the relative L2 distance of gradients."""
    return float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))


def whole_tools(size: int, iterations: int, threads: int, folder: Path) -> dict[str, float]:
    """Return the seconds of pastiche and of ortist for as many iterations, start to exit."""
    examples = BENCH.parent / "examples"
    content, style = (str(examples / f"{name}.jpg") for name in ("content", "style"))
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    commands = {
        "pastiche": [
            *(str(scripts / "pastiche"), "--device", "cpu", "--no-verbose"),
            *("--optimizer", "adam", "--pooling", "avg"),
            *("--num-steps", str(iterations), "--size", str(size)),
            *("--content", content, "--styles", style, "--output", str(folder / "pastiche.png")),
        ],
        "ortist": [
            *(str(scripts / "ortist"), "stylize", content, style, "--quiet", "--force"),
            *("--steps", str(iterations), "--scales", "1", "--size", str(size)),
            *("--threads", str(threads)),
            *("--output", str(folder / "ortist.png")),
        ],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(3):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table.

    Ratios are to the fastest of PyTorch in float32, the one that keeps its memory left out.
    """
    lines = [
        "| size | contender | s/evaluation (range) | PyTorch/it | µs/pixel | first after | peak"
        " | error of the gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plain = [n for n in CONTENDERS if n.startswith("torch") and "bf16" not in n and n != KEPT]
    for row in rows:
        same = [r for r in rows if (r["width"], r["height"]) == (row["width"], row["height"])]
        others = [r["seconds"] for r in same if r["contender"] in plain]
        ratio = f"{min(others) / row['seconds']:.2f}" if others else ""
        per_pixel = row["seconds"] / (row["width"] * row["height"]) * 1e6
        lines.append(
            f"| {row['width']}x{row['height']} | {row['contender']} "
            f"| {row['seconds']:.3f} ({row['fastest']:.3f}-{row['slowest']:.3f}) | {ratio} "
            f"| {per_pixel:.2f} | {row['first']:.2f} s | {row['peak_mb']:.0f} MB "
            + ("| |" if row["error"] is None else f"| {row['error']:.1e} |")
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds per pixel over the size."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for contender in CONTENDERS:
        own = [row for row in rows if row["contender"] == contender]
        pixels = [row["width"] * row["height"] for row in own]
        axes.plot(
            pixels,
            [row["seconds"] / count * 1e6 for row, count in zip(own, pixels, strict=True)],
            marker="o",
            label=contender,
        )
    axes.set(xscale="log", ylim=(0, None), xlabel="pixels", ylabel="µs per pixel and evaluation")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more sizes and rounds")
    parser.add_argument("--size", type=_size, action="append", help="WxH, in place of the usual")
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    # Graphs that are not shipped are derived once, before any clock runs.
    measure("ortist winograd6", (64, 64), 1, arguments.threads)
    sizes = arguments.size or (FULL_SIZES if arguments.full else QUICK_SIZES)
    rounds = arguments.rounds or (3 if arguments.full else 2)
    rows = []
    for size in sizes:
        evaluations = 6 if size[0] * size[1] < 500_000 else 4 if size[0] * size[1] < 10**6 else 2
        rows += compare(size, rounds, evaluations, arguments.threads)
        print(f"{size[0]}x{size[1]} done", file=sys.stderr)
    print(table(rows))
    tools = whole_tools(400, 20, arguments.threads, arguments.output)
    facts = {
        "machine": platform.machine(),
        "processor": processor(),
        "threads": arguments.threads,
        "versions": {name: version(name) for name in ("ortist", "onnxruntime", "torch", "numpy")},
    }
    report = {"facts": facts, "rows": rows, "whole_tools": tools}
    (arguments.output / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(rows, arguments.output / "bench.png")
    print(json.dumps(facts))
    print("20 iterations at 400 pixels, start to exit:", tools)


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()


if __name__ == "__main__":
    main()

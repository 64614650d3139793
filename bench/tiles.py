"""Measures tiles: time and memory by size, time beside that of the whole, workers of a cluster.

Usage: tiles.py [--part sizes|overhead|scaling|estimate]... [--output FOLDER] ...

Each measurement is a process of its own, see tile_worker.py; evaluations after the first count.
Parts that were measured before stay in the output folder's tiles.json, from which tiles.md and the
plots are made.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from run import BENCH, processor

from ortist.engine.memory import parse_bytes
from ortist.engine.tiles import Tile, cut

Row = dict[str, Any]
PARTS = ("sizes", "overhead", "scaling", "estimate")
LARGE = (12288, 8192)
"""Width and height of 100 megapixels, for the estimate."""
MACHINES, CORES = (8, 64), 8
LINKS = (1, 10)
"""Gbit/s of the client's link."""
ASSUMPTIONS = f"""\
Not measured but estimated: {LARGE[0]}x{LARGE[1]} pixels, machines with {CORES} cores as that
measured, a worker with one thread for each core.

- Computing goes by the pixels of crops, as fast as one process with one thread, times the
  efficiency of the most workers measured, with client and scheduler on the same machine.
- The slowest machine has ceil(tiles / machines), its slowest core ceil(that / {CORES}), of the
  largest crop.
- Sent over the client's link, by formula: each crop's pixels twice, each tile's statistics in
  float64, their derivatives once to each worker, the gradient. Left out: what is sent once in a
  run, or again to another worker, packing, TLS, and the client's adding up.
- The optimizer is one thread of the client, as slow for a pixel as its slowest step measured; from
  eleven evaluations on it remembers as much as it ever does.
- In all: the longer one of computing and sending, which overlap, and the optimizer.
"""


def measure(case: Mapping[str, Any]) -> Row | None:
    """Return what a process of its own finds; None, and a line that says why, if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(case["threads"])}
    command = [sys.executable, str(BENCH / "tile_worker.py"), json.dumps(case)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    what = " ".join(f"{name}={value}" for name, value in case.items())
    if done.returncode:
        print(f"left out: {what}: {done.stderr.splitlines()[-1:]}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{what}: {found.get('seconds', 'no tiles')}", file=sys.stderr)
    return {**case, **found} if "seconds" in found else None


def in_turns(cases: Mapping[str, Row], rounds: int) -> list[Row]:
    """Measure cases by turns, every second time in reverse; return a row for each.

    A case that fails once is left out. ``ratio`` is the median over all rounds of the time relative
    to that of the first case, None without that.
    """
    found: dict[str, list[Row]] = {name: [] for name in cases}
    for index in range(rounds):
        for name in list(found)[:: -1 if index % 2 else 1]:
            one = measure(cases[name])
            if one is None:
                del found[name]
            else:
                found[name].append({**one, "name": name})
    base = found.get(next(iter(cases)))
    return [summary(ones, base) for ones in found.values()]


def summary(ones: Sequence[Row], base: Sequence[Row] | None) -> Row:
    """Return one row for all measurements of a case."""
    own, others = ([median(one["seconds"]) for one in some] for some in (ones, base or ()))
    every = [seconds for one in ones for seconds in one["seconds"]]
    tiles = tiles_of(ones[0])
    return {
        **ones[0],
        "megapixels": ones[0]["width"] * ones[0]["height"] / 1e6,
        "tiles": len(tiles),
        "crop_megapixels": sum(tile.crop.pixels for tile in tiles) / 1e6,
        "seconds": median(every),
        "fastest": min(every),
        "slowest": max(every),
        "ratio": median(map(truediv, own, others)) if others else None,
        "optimizer": max(max(one["optimizer"]) for one in ones),
        "peak": max(one["peak"] for one in ones),
        "loopback": median(one["loopback"] for one in ones),
        "traffic": traffic(tiles, ones[0]["statistics"], ones[0]["workers"]),
    }


def tiles_of(row: Row) -> Sequence[Tile]:
    """Return the tiles of a row's picture, none if it is painted whole."""
    return cut(row["height"], row["width"], row["tile"], row["halo"]) if row["tile"] else ()


def traffic(tiles: Sequence[Tile], statistics: int, workers: int) -> dict[str, int]:
    """Return the bytes of an evaluation that go over the client's link; see :data:`ASSUMPTIONS`.

    Args:
        tiles: of the picture.
        statistics: how many numbers are measured of a tile.
        workers: how many there are, 0 for no cluster.
    """
    if not workers:
        return {}
    pixel = 3 * np.dtype(np.float32).itemsize
    return {
        "crops": 2 * pixel * sum(tile.crop.pixels for tile in tiles),
        "statistics": len(tiles) * statistics * np.dtype(np.float64).itemsize,
        "slopes": min(workers, len(tiles)) * statistics * np.dtype(np.float32).itemsize,
        "gradient": pixel * sum(tile.core.pixels for tile in tiles),
    }


def estimate(row: Row, efficiency: float, optimizer: float, machines: int) -> Row:
    """Return what an evaluation of 100 megapixels takes; see :data:`ASSUMPTIONS`.

    Args:
        row: one process with one thread, in tiles.
        efficiency: of workers, 1 if n of them are n times as fast.
        optimizer: its seconds for a megapixel.
        machines: how many there are.
    """
    width, height = LARGE
    tiles = tiles_of({**row, "width": width, "height": height})
    most = math.ceil(len(tiles) / machines)
    each = row["seconds"] / row["crop_megapixels"] / efficiency
    computing = math.ceil(most / CORES) * max(tile.crop.pixels for tile in tiles) / 1e6 * each
    sent = sum(traffic(tiles, row["statistics"], machines * CORES).values())
    own = optimizer * width * height / 1e6
    found = {
        **{name: row[name] for name in ("recipe", "tile")},
        "machines": machines,
        "tiles": len(tiles),
        "tiles/machine": most,
        "s/MP of crops and core": f"{each:.3f}",
        "computing s": f"{computing:.1f}",
        "sent GB": f"{sent / 1e9:.2f}",
        "optimizer s": f"{own:.1f}",
    }
    for link in LINKS:
        sending = sent * 8 / (link * 1e9)
        found[f"sending s at {link} Gbit/s"] = f"{sending:.1f}"
        found[f"in all s at {link} Gbit/s"] = f"{max(computing, sending) + own:.1f}"
    return found


def estimates(report: Mapping[str, Any]) -> list[Row]:
    """Return estimates by recipe and number of machines, from what was measured of scaling."""
    measured = [row for part in report.values() for row in part["rows"] if row.get("tile")]
    rows = []
    for recipe in dict.fromkeys(row["recipe"] for row in measured):
        same = [row for row in measured if row["recipe"] == recipe]
        alone = [row for row in same if row["name"] == "1 thread"]
        most = max(same, key=lambda row: row["workers"])
        if alone and most["workers"]:
            efficiency = alone[0]["seconds"] / most["seconds"] / most["workers"]
            optimizer = max(row["optimizer"] / row["megapixels"] for row in same)
            rows += [estimate(alone[0], efficiency, optimizer, number) for number in MACHINES]
    return rows


def size_of(megapixels: float) -> dict[str, int]:
    """Return width and height, 3:2."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    return {"width": round(1.5 * height), "height": height}


def by_size(arguments: argparse.Namespace, case: Row) -> Iterable[Row]:
    """Measure sizes in the tiles that the memory asks for."""
    memory = parse_bytes("--memory", arguments.memory)
    for megapixels in arguments.sizes:
        one = {**case, **size_of(megapixels), "memory": memory}
        yield from in_turns({arguments.memory: one}, 1)


def overhead(arguments: argparse.Namespace, case: Row) -> Iterable[Row]:
    """Measure tiles beside the whole."""
    for megapixels in arguments.overhead_sizes:
        one = {**case, **size_of(megapixels)}
        cases = {str(side or "whole"): {**one, "tile": side} for side in (0, *arguments.tiles)}
        yield from in_turns(cases, arguments.rounds)


def scaling(arguments: argparse.Namespace, case: Row) -> Iterable[Row]:
    """Measure workers of a cluster beside one process."""
    one = {**case, **size_of(arguments.scaling_size), "tile": arguments.scaling_tile}
    cases = {"1 thread": {**one, "threads": 1}, "2 threads": {**one, "threads": 2}}
    for workers in arguments.workers:
        cases[f"workers: {workers}"] = {**one, "threads": 1, "workers": workers}
    return in_turns(cases, arguments.rounds)


MEASURED = {"sizes": by_size, "overhead": overhead, "scaling": scaling}
PLOTS: dict[str, Any] = {
    "sizes": (
        "megapixels",
        ("seconds", "seconds per evaluation", 1),
        ("peak", "peak memory, GB (dashed: predicted)", 1e9),
    ),
    "overhead": ("tile", ("ratio", "time, relative to the whole's", 1)),
    "scaling": ("workers", ("seconds", "seconds per evaluation", 1)),
}
"""What is drawn over what, and in which unit."""


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(map(str, row.values())) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def shown(row: Row, part: str) -> Row:
    """Return what the table shows of a row."""
    seconds, pixels = row["seconds"], row["megapixels"]
    found = {
        "recipe": row["recipe"],
        "size": f"{row['width']}x{row['height']}",
        "case": row["name"],
        "tile": row["tile"] or "",
        "tiles": row["tiles"] or "",
        "s/evaluation (range)": f"{seconds:.2f} ({row['fastest']:.2f}-{row['slowest']:.2f})",
        "s/MP": f"{seconds / pixels:.2f}",
    }
    if part == "scaling":
        found["speed"] = f"{1 / row['ratio']:.2f}" if row["ratio"] else ""
        sent, measured = sum(row["traffic"].values()), row["loopback"] / 2
        found["MB sent, by formula"] = f"{sent / 1e6:.1f}" if sent else ""
        # From client to scheduler and from there to workers, or back: all of it goes twice.
        found["half of the loopback's MB"] = f"{measured / 1e6:.1f}" if sent else ""
    if part == "overhead":
        found["times the whole's"] = f"{row['ratio']:.2f}" if row["ratio"] else ""
        found["pixels of crops / pixels"] = f"{row['crop_megapixels'] / pixels or 1:.2f}"
    peaks = [f"{peak / 1e9:.2f}" for peak in (row["peak"], *row["worker_peaks"])]
    found["peak GB, client and workers" if part == "scaling" else "peak GB"] = ", ".join(peaks)
    if part != "scaling":
        found["predicted GB"] = f"{row['predicted'] / 1e9:.2f}"
    return {**found, "first after s": f"{row['first']:.1f}"}


def plot(report: Mapping[str, Any], folder: Path) -> None:
    """Draw what was measured, a file for each part."""
    for part, (x, *values) in PLOTS.items():
        rows = report.get(part, {"rows": []})["rows"]
        lines: dict[str, list[Row]] = {}
        for row in rows:
            size = f", {row['megapixels']:.1f} MP" if part != "sizes" else ""
            # What is not on a cluster is beside it, at 0 workers.
            if row[x] or row["name"] == "1 thread":
                lines.setdefault(row["recipe"] + size, []).append(row)
        if not lines:
            continue
        figure, axes = plt.subplots(1, len(values), figsize=(5 * len(values), 4), squeeze=False)
        for axis, (name, label, unit) in zip(axes[0], values, strict=True):
            for line, own in lines.items():
                at = [row[x] for row in own]
                # Without the whole there is no ratio.
                found = [math.nan if row[name] is None else row[name] / unit for row in own]
                (drawn,) = axis.plot(at, found, marker="o", label=line)
                if name == "peak":
                    predicted = [row["predicted"] / unit for row in own]
                    axis.plot(at, predicted, "--", color=drawn.get_color())
            axis.set(xlabel=x, ylabel=label)
            axis.set_ylim(bottom=0)
            axis.legend()
        figure.savefig(folder / f"tiles-{part}.png", dpi=120, bbox_inches="tight")
        plt.close(figure)


def blobs(path: Path, seed: int) -> Path:
    """Write a picture of smooth noise, which runs enlarge, and return its path."""
    noise = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).resize((1536, 1024), Image.Resampling.BICUBIC).save(path)
    return path


def write(report: dict[str, Any], folder: Path) -> None:
    """Write results, tables and plots."""
    report.pop("estimate", None)  # the old one
    report["estimate"] = {"rows": estimates(report)}
    (folder / "tiles.json").write_text(json.dumps(report, indent=2) + "\n")
    texts = []
    for part in PARTS:
        rows = report.get(part, {}).get("rows")
        if rows and part == "estimate":
            texts.append(f"## {part}\n\n{ASSUMPTIONS}\n{table(rows)}")
        elif rows:
            measured = table([shown(row, part) for row in rows])
            texts.append(f"## {part}\n\n{report[part]['facts']}\n\n{measured}")
    (folder / "tiles.md").write_text("\n".join(texts))
    plot(report, folder)


def facts() -> dict[str, Any]:
    """Return what figures depend on beside the cases."""
    versions = {name: version(name) for name in ("ortist", "onnxruntime", "numpy")}
    return {"processor": processor(), "cores": os.cpu_count(), "versions": versions}


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--part", choices=PARTS, action="append", help="all by default")
    add("--output", type=Path, default=Path("out/bench"))
    add("--content", type=Path, help="a picture; noise by default")
    add("--style", type=Path, help="likewise")
    add("--recipes", nargs="+", default=["gram", "standard"])
    add("--threads", type=int, default=2, help="of sizes and overhead")
    add("--steps", type=int, default=4, help="evaluations of a process, the first included")
    add("--rounds", type=int, default=3, help="turns of overhead and scaling")
    add("--memory", default="8GB", help="by which sizes have their tiles")
    add("--sizes", type=float, nargs="+", default=[3, 6, 12, 24], help="megapixels")
    add("--overhead-sizes", type=float, nargs="+", default=[1.5, 3])
    add("--tiles", type=int, nargs="+", default=[256, 512, 768, 1024, 1536], help="of overhead")
    add("--scaling-size", type=float, default=3, help="megapixels")
    add("--scaling-tile", type=int, default=512)
    add("--workers", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = read_arguments()
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        name: str(getattr(arguments, name) or blobs(folder / f"noise-{name}.png", seed))
        for seed, name in enumerate(("content", "style"))
    }
    case = {**pictures, "steps": arguments.steps, "threads": arguments.threads}
    case |= {"tile": None, "memory": None, "workers": 0}
    known = folder / "tiles.json"
    report = json.loads(known.read_text()) if known.exists() else {}
    for part in arguments.part or PARTS:
        if part in MEASURED:
            rows: list[Row] = []
            for recipe in arguments.recipes:
                rows += MEASURED[part](arguments, {**case, "recipe": recipe})
            report[part] = {"facts": facts(), "rows": rows}
        write(report, folder)
    print((folder / "tiles.md").read_text())


if __name__ == "__main__":
    main()

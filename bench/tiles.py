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
from pathlib import Path
from statistics import median
from typing import Any

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
An estimate, not a measurement: {LARGE[0]}x{LARGE[1]} pixels on machines with {CORES} cores as the
one measured, a worker with one thread for each core.

- Time goes by the pixels of crops, and is that of one process with one thread, divided by the
  efficiency of the largest number of workers measured. There client, scheduler and workers shared
  the cores of one machine; {CORES} workers share the memory of a machine as well as these did.
- Tiles are whole: the slowest machine has ceil(tiles / machines), the slowest core of it
  ceil(that / {CORES}), all as large as the largest crop.
- Bytes are by formula, over the client's link (with the scheduler on its machine): of each crop the
  pixels twice, of each tile its statistics in float64, to each worker the derivatives by these
  once, and the gradient once. What is sent once in a run is left out, and so are packing, TLS and
  adding up statistics at the client.
- The optimizer runs at the client, one thread, as slow for a pixel as its slowest step measured;
  it remembers up to ten pairs of pictures, fewer where there were fewer evaluations.
- Total: the longer one of computing and sending, which overlap, and the optimizer.
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


def in_turns(cases: Mapping[str, Mapping[str, Any]], rounds: int) -> dict[str, Row]:
    """Measure cases by turns, every second time in reverse; return a row for each.

    Each has medians, and ``ratio``: the median of its time relative to that of the first case in
    the same round, None without that. A case that fails once is left out.
    """
    found: dict[str, list[Row]] = {name: [] for name in cases}
    for index in range(rounds):
        for name in list(found)[:: -1 if index % 2 else 1]:
            one = measure(cases[name])
            if one is None:
                del found[name]
            else:
                found[name].append(one)
    seconds = {name: [median(one["seconds"]) for one in ones] for name, ones in found.items()}
    base = seconds.get(next(iter(cases)), [math.nan] * rounds)
    return {name: summary(name, ones, seconds[name], base) for name, ones in found.items()}


def summary(name: str, ones: Sequence[Row], own: Sequence[float], base: Sequence[float]) -> Row:
    """Return one row for all measurements of a case."""
    ratio = median(one / other for one, other in zip(own, base, strict=True))
    row = {
        **ones[0],
        "name": name,
        "megapixels": ones[0]["width"] * ones[0]["height"] / 1e6,
        "seconds": median(own),
        "fastest": min(min(one["seconds"]) for one in ones),
        "slowest": max(max(one["seconds"]) for one in ones),
        "optimizer": max(max(one["optimizer"]) for one in ones),
        "loopback": median(one["loopback"] for one in ones),
        "peak": max(one["peak"] for one in ones),
        "ratio": None if math.isnan(ratio) else ratio,
    }
    tiles = tiles_of(row)
    megapixels = sum(tile.crop.height * tile.crop.width for tile in tiles) / 1e6
    sent = traffic(tiles, row["statistics"], row["workers"])
    return {**row, "tiles": len(tiles), "crop_megapixels": megapixels, "traffic": sent}


def tiles_of(row: Row) -> Sequence[Tile]:
    """Return the tiles of a row's picture, none if it is painted whole."""
    return cut(row["height"], row["width"], row["tile"], row["halo"]) if row["tile"] else ()


def traffic(tiles: Sequence[Tile], statistics: int, workers: int) -> dict[str, int]:
    """Return the bytes of an evaluation that go over the client's link, by what they are.

    By formula, of what is the same for all evaluations nothing: see :data:`ASSUMPTIONS`.

    Args:
        tiles: of the picture.
        statistics: how many numbers are measured of a tile.
        workers: how many there are, 0 for no cluster.
    """
    if not workers:
        return {}
    pixel = 3 * np.dtype(np.float32).itemsize
    return {
        "crops": 2 * pixel * sum(tile.crop.height * tile.crop.width for tile in tiles),
        "statistics": len(tiles) * statistics * np.dtype(np.float64).itemsize,
        "slopes": min(workers, len(tiles)) * statistics * np.dtype(np.float32).itemsize,
        "gradient": pixel * sum(tile.core.height * tile.core.width for tile in tiles),
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
    largest = max(tile.crop.height * tile.crop.width for tile in tiles) / 1e6
    each = row["seconds"] / row["crop_megapixels"] / efficiency
    computing = math.ceil(most / CORES) * largest * each
    sent = sum(traffic(tiles, row["statistics"], machines * CORES).values())
    sending = {link: sent * 8 / (link * 1e9) for link in LINKS}
    own = optimizer * width * height / 1e6
    return {
        "recipe": row["recipe"],
        "machines": machines,
        "tile": row["tile"],
        "tiles": len(tiles),
        "tiles/machine": most,
        "s/MP of crops and core": round(each, 3),
        "computing s": round(computing, 1),
        "sent GB": round(sent / 1e9, 2),
        **{f"sending s at {link} Gbit/s": round(sending[link], 1) for link in LINKS},
        "optimizer s": round(own, 1),
        **{
            f"s/evaluation at {n} Gbit/s": round(max(computing, sending[n]) + own, 1) for n in LINKS
        },
    }


def estimates(report: Mapping[str, Any]) -> list[Row]:
    """Return estimates by recipe and number of machines, from what was measured of scaling."""
    measured = [row for part in PARTS[:-1] if part in report for row in report[part]["rows"]]
    rows = []
    for alone in report.get("scaling", {"rows": []})["rows"]:
        same = [row for row in measured if row["recipe"] == alone["recipe"]]
        # The picture of others is in memory, not in files.
        optimizer = max(row["optimizer"] / row["megapixels"] for row in same if row["tile"])
        crew = [row for row in report["scaling"]["rows"] if row in same and row["workers"]]
        if alone["name"] == "1 thread" and crew:
            largest = max(crew, key=lambda row: row["workers"])
            efficiency = alone["seconds"] / largest["seconds"] / largest["workers"]
            rows += [estimate(alone, efficiency, optimizer, number) for number in MACHINES]
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
        yield from in_turns({f"{megapixels:g} MP": one}, 1).values()


def overhead(arguments: argparse.Namespace, case: Row) -> Iterable[Row]:
    """Measure tiles beside the whole."""
    for megapixels in arguments.overhead_sizes:
        one = {**case, **size_of(megapixels)}
        cases = {str(side or "whole"): {**one, "tile": side} for side in (0, *arguments.tiles)}
        yield from in_turns(cases, arguments.rounds).values()


def scaling(arguments: argparse.Namespace, case: Row) -> Iterable[Row]:
    """Measure workers of a cluster beside one process."""
    one = {**case, **size_of(arguments.scaling_size), "tile": arguments.scaling_tile}
    cases = {"1 thread": {**one, "threads": 1}, "2 threads": {**one, "threads": 2}}
    for workers in arguments.workers:
        cases[f"workers: {workers}"] = {**one, "threads": 1, "workers": workers}
    return in_turns(cases, arguments.rounds).values()


MEASURED = {"sizes": by_size, "overhead": overhead, "scaling": scaling}


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
    import matplotlib.pyplot as plt

    def draw(part: str, x: str, labels: Sequence[tuple[str, str, float]]) -> None:
        rows = [row for row in report.get(part, {"rows": []})["rows"] if row["ratio"] and row[x]]
        figure, axes = plt.subplots(1, len(labels), figsize=(5 * len(labels), 4), squeeze=False)
        for axis, (y, label, unit) in zip(axes[0], labels, strict=True):
            for line in dict.fromkeys(line_of(row, part) for row in rows):
                own = [row for row in rows if line_of(row, part) == line]
                values = [row[y] / unit for row in own]
                axis.plot([row[x] for row in own], values, marker="o", label=line)
                if y == "peak":
                    values = [row["predicted"] / unit for row in own]
                    axis.plot([row[x] for row in own], values, "--", label=f"{line}, predicted")
            axis.set(xlabel=x, ylabel=label, ylim=(0, None))
            axis.legend()
        if rows:
            figure.savefig(folder / f"tiles-{part}.png", dpi=120, bbox_inches="tight")
        plt.close(figure)

    seconds = ("seconds", "seconds per evaluation", 1.0)
    draw("sizes", "megapixels", [seconds, ("peak", "peak memory, GB", 1e9)])
    draw("overhead", "tile", [("ratio", "time, relative to the whole's", 1.0)])
    draw("scaling", "workers", [seconds])


def line_of(row: Row, part: str) -> str:
    """Return which line of a plot a row is on."""
    return f"{row['recipe']}, {row['megapixels']:.1f} MP" if part == "overhead" else row["recipe"]


def blobs(path: Path, seed: int) -> Path:
    """Write a picture of smooth noise, which runs enlarge, and return its path."""
    noise = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).resize((1536, 1024), Image.Resampling.BICUBIC).save(path)
    return path


def write(report: dict[str, Any], folder: Path) -> None:
    """Write results, tables and plots."""
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

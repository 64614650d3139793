"""Seconds per evaluation by onnxruntime-web, in Node, beside the same graphs by onnxruntime.

Usage: web.py [--sizes 256x192,512x384] [--threads 1,2] [--rounds N] [--runs N]

Each measurement is a process of its own; the two take turns, and the medians of all runs of all
rounds count, the first of each process aside. Node has the same engine as Chromium.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ortist.engine import Engine, Options, find_recipe
from ortist.engine.artifacts import Artifacts
from ortist.engine.options import options_schema
from ortist.engine.scene import Scene
from ortist.engine.values import json_value
from ortist.models.winograd import WINOGRAD_BLOCK
from ortist.web.site import artifact_files

RECIPES = {"gram": "notebook", "w2": "loose", "standard": "standard"}
Case = dict[str, Any]


def options_of(recipe: str) -> Options:
    return find_recipe(RECIPES[recipe]).with_options()


def native(case: Case) -> Case:
    """Return what a process of Python finds."""
    begin = time.perf_counter()
    kernel = "winograd" if case["block"] else "direct"
    engine = Engine(device="cpu", threads=case["threads"], kernel=kernel)
    generator = np.random.default_rng(0)
    shape = case["height"], case["width"], 3
    content, style = (generator.integers(0, 256, shape, np.uint8) for _ in range(2))
    objective = engine._objective(Scene.whole(content, [style]), options_of(case["recipe"]))
    ready = time.perf_counter() - begin
    seconds = []
    for _ in range(case["runs"] + 1):
        image = generator.uniform(0, 255, (1, 3, *shape[:2])).astype(np.float32)
        start = time.perf_counter()
        objective.evaluate(image)
        seconds.append(time.perf_counter() - start)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ready": ready, "seconds": seconds[1:], "bytes": peak}


def measured(command: list[str], case: Case) -> Case:
    done = subprocess.run(command, input=json.dumps(case) + "\n", text=True, stdout=subprocess.PIPE)
    if done.returncode or not done.stdout:
        return {"ready": float("nan"), "seconds": [float("nan")], "bytes": float("nan")}
    found: Case = json.loads(done.stdout)
    return found


def row(case: Case, rounds: int) -> str:
    """Return a line of the table."""
    commands = {
        "native": [sys.executable, __file__, "--native"],
        "web": ["node", str(Path(__file__).with_name("web.js"))],
    }
    found: dict[str, list[Case]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(measured(command, case))
    seconds = {
        name: statistics.median(one for part in parts for one in part["seconds"])
        for name, parts in found.items()
    }
    ready = statistics.median(part["ready"] for part in found["web"])
    peaks = {name: max(part["bytes"] for part in parts) / 1e9 for name, parts in found.items()}
    kernel = "winograd" if case["block"] else "direct"
    size = f"{case['width']}x{case['height']}"
    return (
        f"{case['recipe']:9} {size:>9} {case['threads']:2} {kernel:9}"
        f" {seconds['native']:7.2f} {seconds['web']:7.2f} {seconds['web'] / seconds['native']:6.2f}"
        f" {ready:6.1f} {peaks['native']:7.2f} {peaks['web']:7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--recipes", default="gram,standard")
    parser.add_argument("--sizes", default="256x192,512x384")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.native:
        print(json.dumps(native(json.loads(sys.stdin.readline()))))
        return
    sizes = [tuple(map(int, size.split("x"))) for size in chosen.sizes.split(",")]
    threads = [int(count) for count in chosen.threads.split(",")]
    print("recipe         size thr kernel     native s  web s  ratio ready s  native GB  web GB")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in artifact_files(Artifacts()):
            (Path(folder) / name).write_bytes(content)
        for recipe, (width, height), count, block in product(
            chosen.recipes.split(","), sizes, threads, (0, WINOGRAD_BLOCK)
        ):
            options = options_of(recipe)
            told = {
                name: json_value(getattr(options, name)) for name in options_schema()["properties"]
            }
            case = {
                "folder": folder,
                "recipe": recipe,
                "options": told,
                "width": width,
                "height": height,
                "threads": count,
                "block": block,
                "runs": chosen.runs,
            }
            print(row(case, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()

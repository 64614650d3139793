"""One contender of the benchmark, in a process of its own; prints its figures as JSON.

Usage: worker.py CONTENDER WIDTH HEIGHT EVALUATIONS THREADS
"""

from __future__ import annotations

import time

_STARTED = time.time()

import json  # noqa: E402 (the clock starts before anything is imported)
import resource  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

import ortist.engine.engine  # noqa: E402
from ortist.engine import Engine, Options  # noqa: E402
from ortist.engine.images import read_image, resize_image, to_tensor  # noqa: E402

ROOT = Path(__file__).parent.parent


def pictures(width: int, height: int) -> list[np.ndarray]:
    """Return content and style in the size of the benchmark."""
    names = ("content.jpg", "style.jpg")
    return [resize_image(read_image(ROOT / "examples" / name), width, height) for name in names]


def ours(kernel: str, width: int, height: int, steps: int, threads: int) -> list[float]:
    """Return the seconds of each step, through the public interface."""
    content, style = pictures(width, height)
    options = Options(width=width, height=height, steps=steps, scales=1)
    if kernel == "winograd6":  # a block size that the product does not offer
        kernel, ortist.engine.engine.WINOGRAD_BLOCK = "winograd", 6
    run = Engine("cpu", threads, kernel=kernel).iterate(content, style, options)
    return timed(lambda: next(run), steps)


def torch_eager(layout: str, width: int, height: int, steps: int, threads: int) -> list[float]:
    """Return the seconds of each evaluation of the same cost by PyTorch's autograd."""
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    from torch_reference import TorchObjective, shipped_weights

    torch.set_num_threads(threads)
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    content, style = (to_tensor(picture) for picture in pictures(width, height))
    objective = TorchObjective(
        shipped_weights(),
        content,
        [(style, 1.0)],
        Options(),
        dtype=torch.float32,
        memory_format=formats[layout],
    )
    return timed(lambda: objective.evaluate(content), steps)


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Return the seconds of each call; the first is the time since the process started."""
    seconds = []
    for index in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.time() - _STARTED if index == 0 else time.perf_counter() - begin)
    return seconds


def main() -> None:
    """Measure one contender."""
    contender, *numbers = sys.argv[1:]
    width, height, steps, threads = map(int, numbers)
    library, _, variant = contender.partition(" ")
    measure = {"ortist": ours, "torch": torch_eager}[library]
    first, *rest = measure(variant.split()[0], width, height, steps, threads)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"first": first, "seconds": rest, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()

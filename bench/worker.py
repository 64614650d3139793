"""One contender of the benchmark, in a process of its own; prints its figures as JSON.

Usage: worker.py CONTENDER WIDTH HEIGHT EVALUATIONS THREADS GRADIENT

CONTENDER is ``ortist`` with a kernel, or ``torch`` with a memory layout and any of ``float64``,
``bf16`` and ``compiled``. GRADIENT is the .npy file that dJ/dimage at one picture goes to.
"""

from __future__ import annotations

import time

_STARTED = time.time()

import contextlib  # noqa: E402 (the clock starts before anything is imported)
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import ortist.engine.engine  # noqa: E402
from ortist.engine import Engine, Options  # noqa: E402
from ortist.engine.images import read_image, resize_image, to_tensor  # noqa: E402
from ortist.engine.scene import Scene  # noqa: E402

ROOT = Path(__file__).parent.parent
Gradient = NDArray[np.floating]
Evaluate = Callable[[Gradient], Gradient]
"""Returns dJ/dimage at an image, float32 (1, 3, H, W)."""


def pictures(width: int, height: int) -> list[np.ndarray]:
    """Return content and style in the size of the benchmark."""
    names = ("content.jpg", "style.jpg")
    return [resize_image(read_image(ROOT / "examples" / name), width, height) for name in names]


def ours(variant: list[str], width: int, height: int, threads: int) -> Evaluate:
    """Return how ortist evaluates J."""
    (kernel,) = variant
    content, style = pictures(width, height)
    if kernel == "winograd6":  # a block size that the product does not offer
        kernel, ortist.engine.engine.WINOGRAD_BLOCK = "winograd", 6
    scene = Scene.whole(content, [style])
    objective = Engine("cpu", threads, kernel=kernel)._objective(scene, Options())
    return lambda picture: objective.evaluate(picture).gradient


def torch_autograd(variant: list[str], width: int, height: int, threads: int) -> Evaluate:
    """Return how PyTorch's autograd evaluates the same."""
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    from torch_reference import TorchObjective, shipped_weights

    torch.set_num_threads(threads)
    layout, *rest = variant
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    content, style = (to_tensor(picture) for picture in pictures(width, height))
    objective = TorchObjective(
        shipped_weights(),
        content,
        [(style, 1.0)],
        Options(),
        dtype=torch.float64 if "float64" in rest else torch.float32,
        memory_format=formats[layout],
    )
    if "compiled" in rest:
        objective.costs = torch.compile(objective.costs)  # type: ignore[method-assign]
    half = torch.autocast("cpu", torch.bfloat16) if "bf16" in rest else contextlib.nullcontext()

    def evaluate(picture: Gradient) -> Gradient:
        with half:
            return objective.evaluate(picture.astype(np.float32)).gradient

    return evaluate


def main() -> None:
    """Measure one contender."""
    contender, *numbers, gradient = sys.argv[1:]
    width, height, evaluations, threads = map(int, numbers)
    library, *variant = contender.split()
    evaluate = {"ortist": ours, "torch": torch_autograd}[library](variant, width, height, threads)
    picture = to_tensor(pictures(width, height)[0])
    # Not the content itself, where the content cost has no derivative.
    picture = picture + np.random.default_rng(0).normal(0, 16, picture.shape).astype(np.float32)
    np.save(gradient, evaluate(picture))
    first = time.time() - _STARTED
    seconds = []
    for _ in range(evaluations - 1):
        begin = time.perf_counter()
        evaluate(picture)
        seconds.append(time.perf_counter() - begin)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"first": first, "seconds": seconds, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()

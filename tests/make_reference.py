"""Writes data/vgg_gradient.npz: J's costs and gradient by PyTorch in float64, default options.

Run it with ``python tests/make_reference.py`` after a change of the shipped weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_reference import TorchObjective, shipped_weights

from ortist.engine.images import read_image, resize_image, to_tensor
from ortist.engine.options import Options
from ortist.export.vgg19 import POOLINGS

EXAMPLES = Path(__file__).parent.parent / "examples"
REFERENCE = Path(__file__).parent / "data" / "vgg_gradient.npz"
SIZES = {(53, 37): (45, 61), (64, 48): (64, 48)}
"""Width and height of the picture: those of the style."""


def main() -> None:
    weights = shipped_weights()
    arrays: dict[str, NDArray[Any]] = {}
    for (width, height), style_size in SIZES.items():
        case = f"{width}x{height}"
        content = resize_image(read_image(EXAMPLES / "content.jpg"), width, height)
        style = resize_image(read_image(EXAMPLES / "style.jpg"), *style_size)
        noise = np.random.default_rng(width).uniform(-40, 40, content.shape)
        image = np.clip(0.5 * content + 0.5 * 128 + noise, 0, 255).astype(np.uint8)
        arrays |= {f"{case}/content": content, f"{case}/style": style, f"{case}/image": image}
        for pooling in POOLINGS:
            objective = TorchObjective(
                weights, to_tensor(content), [(to_tensor(style), 1.0)], Options(pooling=pooling)
            )
            evaluation = objective.evaluate(to_tensor(image))
            arrays[f"{case}/{pooling}/gradient"] = evaluation.gradient.astype(np.float32)
            for name, cost in {**evaluation.costs, "total": evaluation.total}.items():
                arrays[f"{case}/{pooling}/{name}"] = np.array(cost)
    np.savez_compressed(REFERENCE, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()

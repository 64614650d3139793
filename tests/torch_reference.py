"""J and its gradient by PyTorch autograd, independent of the graphs that it is compared with."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch.nn import functional

from ortist.engine.options import Options
from ortist.engine.values import layer_weights
from ortist.export.weights import ConvWeights, VGG19Weights
from ortist.models.layers import LAYERS


@dataclass(frozen=True)
class Evaluation:
    """Unweighted costs by the names that the graphs give them, J, and dJ/dimage (1, 3, H, W)."""

    costs: Mapping[str, float]
    total: float
    gradient: NDArray[np.float64]


@functools.cache
def shipped_weights() -> VGG19Weights:
    """Return what models/vgg19.weights holds, at the places that the features graph names."""
    folder = Path(str(resources.files("ortist.models")))
    manifest = json.loads((folder / "manifest.json").read_text())
    model = onnx.load(folder / "vgg19-average-features.onnx")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = {
        layer: ConvWeights(
            bias=tensors[f"{layer}/bias"],
            codes=tensors[f"{layer}/codes"],
            codebook=tensors[f"{layer}/codebook"],
        )
        for layer in LAYERS
    }
    red, green, blue = manifest["mean"]
    source = manifest["source"]
    return VGG19Weights(layers, (red, green, blue), source["name"], source["sha256"])


class TorchObjective:
    """The function that :class:`ortist.engine.objective.Objective` computes.

    Args:
        weights: of the network.
        content: float (1, 3, H, W), RGB, 0..255.
        styles: the same, of any sizes, each with its share in the blend.
        options: the weights, layers and pooling; the rest is not looked at.
        dtype: to compute in.
        memory_format: of images, activations and kernels.
    """

    def __init__(
        self,
        weights: VGG19Weights,
        content: NDArray[np.float32],
        styles: list[tuple[NDArray[np.float32], float]],
        options: Options,
        *,
        dtype: torch.dtype = torch.float64,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._dtype, self._memory_format = dtype, memory_format
        self._mean = torch.tensor(weights.mean, dtype=dtype).reshape(1, 3, 1, 1)
        self._options = options
        self._content_layers = layer_weights(options.content_layers)
        self._style_layers = layer_weights(options.style_layers)
        wanted = {*self._content_layers, *self._style_layers}
        self._convolutions: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, layer in weights.layers.items():
            self._convolutions[name] = self._image(layer.decoded()), self._vector(layer.bias)
            if wanted <= self._convolutions.keys():
                break
        with torch.no_grad():
            self._content = self._activations(self._image(content))
            measured = [(self._activations(self._image(style)), share) for style, share in styles]
            self._grams = {
                layer: sum(
                    (share * _gram(activations[layer]) for activations, share in measured),
                    start=torch.zeros(()),
                )
                for layer in self._style_layers
            }

    def evaluate(self, pixels: NDArray[np.float32]) -> Evaluation:
        """Return costs and gradient at ``pixels``, float32 (1, 3, H, W), RGB, 0..255."""
        image = self._image(pixels).requires_grad_()
        total, costs = self.costs(image)
        (gradient,) = torch.autograd.grad(total, image)
        values = {name: cost.item() for name, cost in costs.items()}
        return Evaluation(values, total.item(), gradient.numpy())

    def costs(self, image: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return J and the unweighted costs by name at an image (1, 3, H, W)."""
        activations = self._activations(image)
        costs: dict[str, torch.Tensor] = {}
        total = torch.zeros(())
        for layer, weight in self._content_layers.items():
            cost = (activations[layer] - self._content[layer]).square().mean() / 4
            total = total + self._options.alpha * weight * cost
            costs[f"content/{layer}"] = cost
        for layer, weight in self._style_layers.items():
            cost = (_gram(activations[layer]) - self._grams[layer]).square().mean() / 4
            total = total + self._options.beta * weight * cost
            costs[f"style/{layer}"] = cost
        variation = image.diff(dim=2).square().mean() + image.diff(dim=3).square().mean()
        costs["total_variation"] = variation
        return total + self._options.tv * variation, costs

    def _image(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype).to(memory_format=self._memory_format)

    def _vector(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype)

    def _activations(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        pool = (
            functional.avg_pool2d if self._options.pooling == "average" else functional.max_pool2d
        )
        activation = image - self._mean
        activations: dict[str, torch.Tensor] = {}
        for name, (kernel, bias) in self._convolutions.items():
            if name.endswith("_1") and name != "conv1_1":
                activation = pool(activation, 2)
            activation = functional.conv2d(activation, kernel, bias, padding=1).relu()
            activations[name] = activation
        return activations


def _gram(activation: torch.Tensor) -> torch.Tensor:
    """Return A·Aᵀ/(H·W), (C, C), of an activation (1, C, H, W)."""
    rows = activation.flatten(2)[0]
    return rows @ rows.T / rows.shape[1]

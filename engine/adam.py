"""The Adam optimiser (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]


class Adam:
    """Adam with bias correction; keeps two moments of the shape of what it optimises.

    Args:
        learning_rate: step size, in units of what is optimised.
        beta1: decay of the mean of the gradient.
        beta2: decay of the mean of its square.
        epsilon: added to the root of the second moment.
    """

    def __init__(
        self,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._learning_rate = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._steps = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, values: Tensor, gradient: Tensor) -> Tensor:
        """Return the values after one step; the arguments (float32, equal shapes) are kept.

        Where float32 overflows, the values returned are not finite, at the latest a step later.
        """
        # Overflow shows in the values returned; a warning would add nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._step(values, gradient)

    def _step(self, values: Tensor, gradient: Tensor) -> Tensor:
        if self._mean is None or self._square is None:
            self._mean, self._square = np.zeros_like(values), np.zeros_like(values)
        self._steps += 1
        self._mean += (1 - self._beta1) * (gradient - self._mean)
        self._square += (1 - self._beta2) * (gradient * gradient - self._square)
        # With m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) the step is -lr·m̂/(√v̂ + ε).
        scale = self._learning_rate / (1 - self._beta1**self._steps)
        root = np.sqrt(self._square / np.float32(1 - self._beta2**self._steps))
        root += np.float32(self._epsilon)
        moved: Tensor = values - np.float32(scale) * self._mean / root
        return moved

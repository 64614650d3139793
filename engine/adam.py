"""The Adam optimizer (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1)."""

from __future__ import annotations

import numpy as np

from ortist.engine.optimizer import State, Tensor, in_size
from ortist.engine.storage import IN_MEMORY, Storage, blocks

BETA1 = 0.9
"""Decay of the mean of the gradient."""
BETA2 = 0.999
"""Decay of the mean of its square."""
EPSILON = 1e-8
"""Added to the root of the second moment."""


class Adam:
    """Adam with bias correction, and the mean of its iterates.

    Args:
        start: float32 (1, 3, H, W); kept as it is.
        learning_rate: step size, in units of what is optimized; may be changed between steps.
        averaging: decay of the exponential mean of the iterates that is the result; with 0 it is
            the last iterate. Divided by 1 - averagingᵗ, as Adam's moments are, the mean does not
            remember the start.
        beta1: see :data:`BETA1`.
        beta2: see :data:`BETA2`.
        epsilon: see :data:`EPSILON`.
        storage: where to keep what is of the picture's size.
    """

    accepted = True
    done = False

    def __init__(
        self,
        start: Tensor,
        learning_rate: float,
        averaging: float = 0.0,
        beta1: float = BETA1,
        beta2: float = BETA2,
        epsilon: float = EPSILON,
        storage: Storage = IN_MEMORY,
    ) -> None:
        self.point: Tensor = storage.kept(start)
        self.learning_rate = learning_rate
        self._averaging = averaging
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._steps = 0
        self._storage = storage
        self._mean, self._square = storage.zeros(start.shape), storage.zeros(start.shape)
        self._average = storage.zeros(start.shape) if averaging else None
        self._picture: Tensor | None = None  # as asked for since the last step

    @property
    def picture(self) -> Tensor:
        """The mean of the iterates, or the last one."""
        if self._average is None or not self._steps:
            return self.point
        if self._picture is None:
            self._picture = self._storage.empty(self.point.shape)
            weight = np.float32(1 - self._averaging**self._steps)
            for seen, average in blocks(self._picture, self._average):
                np.divide(average, weight, out=seen)
        return self._picture

    def step(self, value: float, gradient: Tensor) -> bool:
        """Move ``point`` by one step; ``value`` is only looked at for being finite.

        Where float32 overflows, ``point`` is not finite, at the latest a step later.
        """
        moved: Tensor = self._storage.empty(self.point.shape)
        self._steps += 1
        self._picture = None
        finite = bool(np.isfinite(value))
        # Overflow shows in the result; a warning would add nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            for new, old, slope, mean, square in blocks(
                moved, self.point, gradient, self._mean, self._square
            ):
                np.subtract(old, self._change(slope, mean, square), out=new)
                finite &= bool(np.isfinite(new).all())
            if self._average is not None:
                for average, new in blocks(self._average, moved):
                    average += np.float32(1 - self._averaging) * (new - average)
        self.point = moved
        return finite

    def state(self) -> State:
        """Return the iterate, the moments, the mean of the iterates and the number of steps."""
        copied = {"mean": self._mean, "square": self._square}
        if self._average is not None:
            copied["average"] = self._average
        copies = {name: self._storage.copy(array) for name, array in copied.items()}
        return {"point": self.point, "steps": np.array(self._steps)} | copies

    def restore(self, state: State, storage: Storage = IN_MEMORY) -> None:
        """Go on from a state of Adam with the same averaging."""
        self._storage, self._picture = storage, None
        self.point, self._steps = storage.kept(state["point"]), int(state["steps"])
        if self._steps < 0:
            raise ValueError(f"steps is {self._steps}")
        self._mean, self._square = storage.copy(state["mean"]), storage.copy(state["square"])
        self._average = storage.copy(state["average"]) if self._averaging else None

    def resize(self, width: int, height: int, storage: Storage = IN_MEMORY) -> None:
        """Go on with a picture of another size: its moments are enlarged as it is.

        Costs are means over positions, so a pixel's derivative goes down with their number.
        """
        ratio = np.float32(self.point.size / (3 * width * height))
        self._storage, self._picture = storage, None
        self.point = in_size(self.point, width, height, storage)
        self._mean = in_size(self._mean, width, height, storage)
        # Bilinear weights are positive, unlike cubic ones: a square must not get negative.
        self._square = in_size(self._square, width, height, storage, linear=True)
        for mean, square in blocks(self._mean, self._square):
            mean *= ratio
            np.multiply(np.maximum(square, 0), ratio**2, out=square)
        if self._average is not None:
            self._average = in_size(self._average, width, height, storage)

    def _change(self, gradient: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        """Return what a block is lowered by, and move its moments."""
        mean += (1 - self._beta1) * (gradient - mean)
        square += (1 - self._beta2) * (gradient * gradient - square)
        # With m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) the step is -lr·m̂/(√v̂ + ε).
        scale = self.learning_rate / (1 - self._beta1**self._steps)
        root = np.sqrt(square / np.float32(1 - self._beta2**self._steps))
        root += np.float32(self._epsilon)
        change: Tensor = np.float32(scale) * mean / root
        return change

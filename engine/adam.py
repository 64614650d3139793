"""The Adam optimizer (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1)."""

from __future__ import annotations

import numpy as np

from ortist.engine.images import resize_tensor
from ortist.engine.optimizer import State, Tensor

_BLOCK = 1 << 15
"""Elements worked on at a time, few enough to stay in a core's cache between operations."""


class Adam:
    """Adam with bias correction, and the mean of its iterates.

    Args:
        start: float32 (1, 3, H, W); kept as it is.
        learning_rate: step size, in units of what is optimized; may be changed between steps.
        averaging: decay of the exponential mean of the iterates that is the result; with 0 it is
            the last iterate. Divided by 1 - averagingᵗ, as Adam's moments are, the mean does not
            remember the start.
        beta1: decay of the mean of the gradient.
        beta2: decay of the mean of its square.
        epsilon: added to the root of the second moment.
    """

    accepted = True
    done = False

    def __init__(
        self,
        start: Tensor,
        learning_rate: float,
        averaging: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.point = start
        self.learning_rate = learning_rate
        self._averaging = averaging
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._steps = 0
        self._mean, self._square = np.zeros_like(start), np.zeros_like(start)
        self._average = np.zeros_like(start) if averaging else None

    @property
    def picture(self) -> Tensor:
        """The mean of the iterates, or the last one."""
        if self._average is None or not self._steps:
            return self.point
        return self._average / np.float32(1 - self._averaging**self._steps)

    def step(self, value: float, gradient: Tensor) -> bool:
        """Move ``point`` by one step; ``value`` is only looked at for being finite.

        Where float32 overflows, ``point`` is not finite, at the latest a step later.
        """
        moved = np.empty_like(self.point)
        self._steps += 1
        old, new, slope = self.point.reshape(-1), moved.reshape(-1), gradient.reshape(-1)
        # Overflow shows in the result; a warning would add nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            for begin in range(0, old.size, _BLOCK):
                part = slice(begin, begin + _BLOCK)
                new[part] = self._moved(part, old[part], slope[part])
            if self._average is not None:
                self._average += np.float32(1 - self._averaging) * (moved - self._average)
        self.point = moved
        return bool(np.isfinite(value) and np.isfinite(moved).all())

    def state(self) -> State:
        """Return the iterate, the moments, the mean of the iterates and the number of steps."""
        kept = {"point": self.point, "steps": np.array(self._steps)}
        kept |= {"mean": self._mean.copy(), "square": self._square.copy()}
        return kept if self._average is None else kept | {"average": self._average.copy()}

    def restore(self, state: State) -> None:
        """Go on from a state of Adam with the same averaging."""
        self.point, self._steps = state["point"], int(state["steps"])
        if self._steps < 0:
            raise ValueError(f"steps is {self._steps}")
        self._mean, self._square = state["mean"].copy(), state["square"].copy()
        self._average = state["average"].copy() if self._averaging else None

    def _moved(self, part: slice, values: Tensor, gradient: Tensor) -> Tensor:
        mean, square = self._mean.reshape(-1)[part], self._square.reshape(-1)[part]
        mean += (1 - self._beta1) * (gradient - mean)
        square += (1 - self._beta2) * (gradient * gradient - square)
        # With m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) the step is -lr·m̂/(√v̂ + ε).
        scale = self.learning_rate / (1 - self._beta1**self._steps)
        root = np.sqrt(square / np.float32(1 - self._beta2**self._steps))
        root += np.float32(self._epsilon)
        moved: Tensor = values - np.float32(scale) * mean / root
        return moved

    def resize(self, width: int, height: int) -> None:
        """Go on with a picture of another size: its moments are enlarged as it is.

        Costs are means over positions, so a pixel's derivative goes down with their number.
        """
        ratio = np.float32(self.point.size / (3 * width * height))
        self.point = resize_tensor(self.point, width, height)
        self._mean = resize_tensor(self._mean, width, height) * ratio
        # Bilinear weights are positive, unlike cubic ones: a square must not get negative.
        square = resize_tensor(self._square, width, height, linear=True)
        self._square = np.maximum(square, 0) * ratio**2
        if self._average is not None:
            self._average = resize_tensor(self._average, width, height)

"""The limited-memory BFGS method (Liu & Nocedal 1989), within the range of pixel values."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from ortist.engine.images import resize_tensor
from ortist.engine.optimizer import State, Tensor
from ortist.engine.preconditioner import Preconditioner

LOWEST, HIGHEST = np.float32(0), np.float32(255)
HISTORY = 10
"""Pairs of steps and changes of the gradient that are remembered."""
FIRST_STEP = 4.0
"""Mean change of a pixel in a step along the gradient, when nothing is known of the curvature."""
SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises which a step must reach (Armijo's condition)."""
MOST_TRIALS = 8
"""Shorter and shorter steps tried before the memory is dropped, and then before giving up."""

_FIRST = ("point", "_best", "_unit", "_promised", "_value", "accepted", "done")
_LATER = ("_gradient", "_direction", "_trials", "_length")
"""Attributes that make up a state, and those that it has from the first evaluation on."""
_PAIR = ("moved", "change", "inverse")


class LBFGS:
    """L-BFGS with projection to 0..255, a preconditioner and a backtracking line search.

    Points where the function is not finite or has not decreased enough are never accepted. Nearly
    every evaluation is an accepted step, since the full step is tried first.

    Args:
        start: float32 (1, 3, H, W); kept as it is.
    """

    learning_rate = 0.0  # steps find their own length
    point: Tensor
    _best: Tensor
    _value: float
    _promised: float

    def __init__(self, start: Tensor) -> None:
        self._restart(np.clip(start, LOWEST, HIGHEST))

    @property
    def picture(self) -> Tensor:
        """The last accepted point, which has the lowest value so far."""
        return self._best

    def step(self, value: float, gradient: Tensor) -> bool:
        """Accept ``point`` or not, and move it: on, or back towards the last accepted one."""
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        if self._gradient is None:
            self._unit = _power_of_two(float(np.abs(gradient).max())) if finite else 1.0
        value, gradient = value / self._unit, gradient / np.float32(self._unit)
        sufficient = self._value + SUFFICIENT * self._promised
        self.accepted = finite and (self._gradient is None or value <= sufficient)
        if self.accepted:
            if self._gradient is not None:
                self._remember(self.point - self._best, gradient - self._gradient)
            self._accept(value, gradient)
        elif self._gradient is None:
            return False
        else:
            self._shorten(value)
        return True

    def resize(self, width: int, height: int) -> None:
        """Go on with a picture of another size; what is known of the curvature is dropped."""
        self._restart(np.clip(resize_tensor(self._best, width, height), LOWEST, HIGHEST))

    def state(self) -> State:
        """Return points, what is known of the function, and where the line search is."""
        pairs = {
            f"{index}/{part}": np.asarray(value)
            for index, pair in enumerate(self._pairs)
            for part, value in zip(_PAIR, pair, strict=True)
        }
        held = _FIRST if self._gradient is None else (*_FIRST, *_LATER)
        return {name: np.asarray(getattr(self, name)) for name in held} | pairs

    def restore(self, state: State) -> None:
        """Go on from a state of L-BFGS."""
        self._restart(state["_best"])
        for name in (*_FIRST, *(_LATER if "_gradient" in state else ())):
            value = state[name]
            if not value.ndim and value.dtype.kind not in "bif":
                raise TypeError(f"{name} is {value}")
            setattr(self, name, value if value.ndim else value.item())
        if not self._unit > 0:
            raise ValueError(f"_unit is {self._unit}")
        while (pair := f"{len(self._pairs)}/") + _PAIR[0] in state:
            moved, change, inverse = (state[pair + part] for part in _PAIR)
            self._pairs.append((moved, change, inverse.item()))

    def _restart(self, start: Tensor) -> None:
        self.accepted = False
        self.done = False
        self.point = self._best = start
        self._unit = 1.0  # of values and gradients, so that no product of two leaves the floats
        self._promised = 0.0
        self._preconditioner = Preconditioner(*start.shape[2:])
        self._value = math.inf
        self._gradient: Tensor | None = None
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)

    def _accept(self, value: float, gradient: Tensor) -> None:
        self._best, self._value, self._gradient = self.point, value, gradient
        self._trials = 0
        self._length = 1.0
        self._direction = self._descent(gradient)
        self._try()

    def _remember(self, moved: Tensor, change: Tensor) -> None:
        curvature = _dot(moved, change)
        # Without positive curvature the approximated Hessian would not stay positive definite.
        if curvature > 1e-8 * math.sqrt(_dot(moved, moved) * _dot(change, change)):
            self._pairs.append((moved, change, 1 / curvature))

    def _descent(self, gradient: Tensor) -> Tensor:
        """Return a direction of descent that does not leave the range where the point is at it."""
        blocked = ((self._best <= LOWEST) & (gradient > 0)) | (
            (self._best >= HIGHEST) & (gradient < 0)
        )
        free = np.where(blocked, np.float32(0), gradient)
        direction = np.where(blocked, np.float32(0), self._newton(free))
        if self._pairs and _dot(direction, gradient) >= 0:
            self._pairs.clear()
            direction = self._newton(free)
        return direction

    def _newton(self, gradient: Tensor) -> Tensor:
        """Return -H·gradient with the approximated inverse Hessian: the two-loop recursion."""
        if not self._pairs:
            direction = self._preconditioner.apply(gradient)
            size = float(np.abs(direction).mean(dtype=np.float64))
            return direction * np.float32(-FIRST_STEP / size if size else 0)
        rest = -gradient
        shares = []
        for moved, change, inverse in reversed(self._pairs):
            share = inverse * _dot(moved, rest)
            shares.append(share)
            rest -= np.float32(share) * change
        moved, change, inverse = self._pairs[-1]
        scale = 1 / (inverse * _dot(change, self._preconditioner.apply(change)))
        rest = self._preconditioner.apply(rest) * np.float32(scale)
        for (moved, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            rest += np.float32(share - inverse * _dot(change, rest)) * moved
        return rest

    def _try(self) -> None:
        """Propose the point at the present length along the direction."""
        assert self._gradient is not None
        ahead = self._best + np.float32(self._length) * self._direction
        self.point = np.clip(ahead, LOWEST, HIGHEST)
        self._promised = _dot(self._gradient, self.point - self._best)
        if not self._promised < 0:
            # What the range cuts off can turn a long step uphill, but not a short one.
            self._shorten(math.inf)

    def _shorten(self, value: float) -> None:
        self._trials += 1
        if self._trials > MOST_TRIALS:
            self._give_up_direction()
            return
        # The minimum of the parabola through the value and slope here and the value there.
        excess = value - self._value - self._promised
        best = -self._promised / (2 * excess) if math.isfinite(value) and excess > 0 else 0.0
        self._length *= min(max(best, 0.1), 0.5)
        self._try()

    def _give_up_direction(self) -> None:
        """Start again with the gradient alone; if it was that already, nothing is left to do."""
        assert self._gradient is not None
        if not self._pairs:
            self.done = True
            self.point = self._best
            return
        self._pairs.clear()
        self.point = self._best
        self._accept(self._value, self._gradient)


def _power_of_two(value: float) -> float:
    """Return the power of two above a number, within the range of float32; 1 for 0."""
    return 2.0 ** min(max(math.frexp(value)[1], -120), 120) if value else 1.0


def _dot(first: Tensor, second: Tensor) -> float:
    return float(np.dot(first.reshape(-1), second.reshape(-1)))

"""The limited-memory BFGS method (Liu & Nocedal 1989), within the range of pixel values."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from ortist.engine.optimizer import State, Tensor, in_size
from ortist.engine.preconditioner import Preconditioner
from ortist.engine.storage import IN_MEMORY, Storage, blocks

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

    Arrays that it keeps are not written to any more once they are made.

    Args:
        start: float32 (1, 3, H, W); kept as it is.
        storage: where to keep what is of the picture's size.
    """

    learning_rate = 0.0  # steps find their own length
    point: Tensor
    _best: Tensor
    _value: float
    _promised: float

    def __init__(self, start: Tensor, storage: Storage = IN_MEMORY) -> None:
        self._restart(_within_range(start, storage), storage)

    @property
    def picture(self) -> Tensor:
        """The last accepted point, which has the lowest value so far."""
        return self._best

    def step(self, value: float, gradient: Tensor) -> bool:
        """Accept ``point`` or not, and move it: on, or back towards the last accepted one."""
        largest = _largest(gradient)
        finite = math.isfinite(value) and math.isfinite(largest)
        if self._gradient is None:
            self._unit = _power_of_two(largest) if finite else 1.0
        value /= self._unit
        sufficient = self._value + SUFFICIENT * self._promised
        self.accepted = finite and (self._gradient is None or value <= sufficient)
        if self.accepted:
            scaled = self._scaled(gradient, 1 / self._unit)
            if self._gradient is not None:
                self._remember(
                    self._difference(self.point, self._best),
                    self._difference(scaled, self._gradient),
                )
            self._accept(value, scaled)
        elif self._gradient is None:
            return False
        else:
            self._shorten(value)
        return True

    def resize(self, width: int, height: int, storage: Storage = IN_MEMORY) -> None:
        """Go on with a picture of another size; what is known of the curvature is dropped."""
        self._forget()
        resized = in_size(self._best, width, height, storage)
        self._restart(_within_range(resized, storage), storage)

    def state(self) -> State:
        """Return points, what is known of the function, and where the line search is."""
        pairs = {
            f"{index}/{part}": np.asarray(value)
            for index, pair in enumerate(self._pairs)
            for part, value in zip(_PAIR, pair, strict=True)
        }
        held = _FIRST if self._gradient is None else (*_FIRST, *_LATER)
        return {name: np.asarray(getattr(self, name)) for name in held} | pairs

    def restore(self, state: State, storage: Storage = IN_MEMORY) -> None:
        """Go on from a state of L-BFGS."""
        self._restart(storage.kept(state["_best"]), storage)
        for name in (*_FIRST, *(_LATER if "_gradient" in state else ())):
            value = state[name]
            if not value.ndim and value.dtype.kind not in "bif":
                raise TypeError(f"{name} is {value}")
            if name != "_best":
                setattr(self, name, storage.kept(value) if value.ndim else value.item())
        if not self._unit > 0:
            raise ValueError(f"_unit is {self._unit}")
        while (pair := f"{len(self._pairs)}/") + _PAIR[0] in state:
            moved, change, inverse = (state[pair + part] for part in _PAIR)
            self._pairs.append((storage.kept(moved), storage.kept(change), inverse.item()))

    def _restart(self, start: Tensor, storage: Storage) -> None:
        self._storage = storage
        self._best = start
        self._forget()
        height, width = start.shape[2:]
        self._preconditioner = Preconditioner(height, width, storage)

    def _forget(self) -> None:
        """Be at the best point with nothing known of the function."""
        self.accepted = False
        self.done = False
        self.point = self._best
        self._unit = 1.0  # of values and gradients, so that no product of two leaves the floats
        self._promised = 0.0
        self._value = math.inf
        self._gradient: Tensor | None = None
        self._direction: Tensor | None = None
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)

    def _accept(self, value: float, gradient: Tensor) -> None:
        self._best, self._value, self._gradient = self.point, value, gradient
        self._trials = 0
        self._length = 1.0
        self._direction = None  # its memory may be that of the next
        self._direction = self._descent(gradient)
        self._try()

    def _remember(self, moved: Tensor, change: Tensor) -> None:
        curvature = _dot(moved, change)
        # Without positive curvature the approximated Hessian would not stay positive definite.
        if curvature > 1e-8 * math.sqrt(_dot(moved, moved) * _dot(change, change)):
            self._pairs.append((moved, change, 1 / curvature))

    def _descent(self, gradient: Tensor) -> Tensor:
        """Return a direction of descent that does not leave the range where the point is at it."""
        direction = self._scaled(gradient, -1)
        self._stay_inside(direction, gradient)
        self._newton(direction)
        slope = self._stay_inside(direction, gradient)
        if self._pairs and slope >= 0:
            self._pairs.clear()
            return self._descent(gradient)
        return direction

    def _stay_inside(self, direction: Tensor, gradient: Tensor) -> float:
        """Set to 0 what descends out of the range where the point is at it; return the slope."""
        slope = 0.0
        for ahead, place, rise in blocks(direction, self._best, gradient):
            blocked = ((place <= LOWEST) & (rise > 0)) | ((place >= HIGHEST) & (rise < 0))
            np.copyto(ahead, 0, where=blocked)
            slope += _product(ahead, rise)
        return slope

    def _newton(self, rest: Tensor) -> None:
        """Multiply by the approximated inverse Hessian, in place: the two-loop recursion."""
        if not self._pairs:
            self._preconditioner.apply(rest)
            size = _mean_size(rest)
            _scale(rest, FIRST_STEP / size if size else 0)
            return
        shares = []
        for moved, change, inverse in reversed(self._pairs):
            share = inverse * _dot(moved, rest)
            shares.append(share)
            _add(rest, -share, change)
        _, change, inverse = self._pairs[-1]
        self._preconditioner.apply(rest)
        _scale(rest, 1 / (inverse * self._preconditioner.square(change)))
        for (moved, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            _add(rest, share - inverse * _dot(change, rest), moved)

    def _try(self) -> None:
        """Propose the point at the present length along the direction."""
        assert self._gradient is not None
        assert self._direction is not None
        self.point = self._storage.empty(self._best.shape)
        self._promised = 0.0
        for new, old, ahead, rise in blocks(
            self.point, self._best, self._direction, self._gradient
        ):
            np.clip(old + np.float32(self._length) * ahead, LOWEST, HIGHEST, out=new)
            self._promised += _product(rise, new - old)
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

    def _scaled(self, array: Tensor, factor: float) -> Tensor:
        scaled: Tensor = self._storage.empty(array.shape)
        for new, old in blocks(scaled, array):
            np.multiply(old, np.float32(factor), out=new)
        return scaled

    def _difference(self, first: Tensor, second: Tensor) -> Tensor:
        difference: Tensor = self._storage.empty(first.shape)
        for new, one, other in blocks(difference, first, second):
            np.subtract(one, other, out=new)
        return difference


def _within_range(picture: Tensor, storage: Storage) -> Tensor:
    """Return a picture within the range of pixel values, itself if it is."""
    if all(block.min() >= LOWEST and block.max() <= HIGHEST for (block,) in blocks(picture)):
        return storage.kept(picture)
    clipped: Tensor = storage.empty(picture.shape)
    for new, old in blocks(clipped, picture):
        np.clip(old, LOWEST, HIGHEST, out=new)
    return clipped


def _power_of_two(value: float) -> float:
    """Return the power of two above a number, within the range of float32; 1 for 0."""
    return 2.0 ** min(max(math.frexp(value)[1], -120), 120) if value else 1.0


def _largest(array: Tensor) -> float:
    """Return the largest absolute value; NaN if there is one."""
    return float(np.max([max(-block.min(), block.max()) for (block,) in blocks(array)]))


def _mean_size(array: Tensor) -> float:
    total = sum(float(np.abs(block).sum(dtype=np.float64)) for (block,) in blocks(array))
    return total / array.size


def _dot(first: Tensor, second: Tensor) -> float:
    return sum(_product(one, other) for one, other in blocks(first, second))


def _product(first: Tensor, second: Tensor) -> float:
    """Return the dot product of blocks; unlike that of BLAS, it is the same with any threads."""
    return float(np.einsum("i,i->", first, second))


def _scale(array: Tensor, factor: float) -> None:
    for (block,) in blocks(array):
        block *= np.float32(factor)


def _add(array: Tensor, factor: float, other: Tensor) -> None:
    for block, added in blocks(array, other):
        block += np.float32(factor) * added

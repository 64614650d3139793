"""What all optimizers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ortist.engine.images import resize_tensor
from ortist.engine.storage import IN_MEMORY, Storage

Tensor = NDArray[np.float32]
State: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays by name, numbers and texts as arrays without dimensions: what ``np.savez`` takes."""


def part_of(state: State, prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names have the prefix, by their names without."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def in_size(
    picture: Tensor, width: int, height: int, storage: Storage, linear: bool = False
) -> Tensor:
    """Return a picture in another size, an array of its own."""
    resized = resize_tensor(picture, width, height, linear, storage)
    return storage.copy(picture) if resized is picture else resized


class Optimizer(Protocol):
    """Minimizes a function of a picture, one evaluation at a time.

    What it keeps of the picture's size is where a storage makes arrays, and takes no memory between
    calls if that is in files. Where it is does not change what comes out.

    Attributes:
        point: where the function is to be evaluated next, float32 (1, 3, H, W); never written to,
            as ``picture``, so that both stay what they were after further steps.
        learning_rate: step size in units of pixel values, for optimizers that have one.
        accepted: whether the point evaluated last was taken; else ``picture`` is still the one
            before.
        done: whether no further step would lower the function.
    """

    point: Tensor
    learning_rate: float
    accepted: bool
    done: bool

    @property
    def picture(self) -> Tensor:
        """The best result so far, shaped as ``point``."""

    def step(self, value: float, gradient: Tensor) -> bool:
        """Take the value and the gradient at ``point``, and move ``point``.

        Returns:
            False if there is no finite point to go on from.
        """

    def resize(self, width: int, height: int, storage: Storage = IN_MEMORY) -> None:
        """Go on with a picture of another size, kept in ``storage``."""

    def state(self) -> State:
        """Return all that later steps depend on; arrays that are not written to any more."""

    def restore(self, state: State, storage: Storage = IN_MEMORY) -> None:
        """Go on from a state, kept in ``storage``, whatever the size of its picture.

        Raises:
            KeyError, TypeError, ValueError: if it is none of this kind.
        """

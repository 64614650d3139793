"""Why a graph cannot be differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ortist.models.errors import OrtistError

_NAMED = 5


@dataclass(frozen=True)
class Obstacle:
    """What stands in the way of a derivative."""

    op_type: str
    """The operator, with its domain in front if it is not ONNX's own."""
    node: str
    """The name of the node, that of its first output if it has none."""
    tensor: str
    """The input of the node at which the derivative ends."""
    reason: str

    def __str__(self) -> str:
        return f"{self.op_type} node {self.node!r}, input {self.tensor!r}: {self.reason}"


class DifferentiationError(OrtistError):
    """The graph cannot be differentiated; the message names operator, node and tensor.

    Attributes:
        obstacles: all that stands in the way, of which the message names the first; empty if
            names, types or opset are what is wrong.
    """

    def __init__(self, message: str, obstacles: Sequence[Obstacle] = ()) -> None:
        super().__init__(message)
        self.obstacles = tuple(obstacles)

    @classmethod
    def of(cls, obstacles: Sequence[Obstacle]) -> DifferentiationError:
        """Return the error that some obstacles make."""
        named = [str(obstacle) for obstacle in obstacles[:_NAMED]]
        if len(obstacles) > _NAMED:
            named.append(f"and {len(obstacles) - _NAMED} more")
        return cls("; ".join(named), obstacles)

"""A plot of the costs of a run."""

from __future__ import annotations

import io
import logging
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ortist.cli.outputs.file import OutputFile
from ortist.engine import InputError, Step
from ortist.engine.images import written_whole
from ortist.engine.optimizer import State
from ortist.engine.results import Painting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COSTS = ("total", "content", "style")


class Plot(OutputFile):
    """Total, content and style cost over the evaluations of a run."""

    name = "plot"
    flag = "--plot"
    about = "Plot the costs."
    extensions = (".png", ".svg", ".pdf")

    def __init__(self, path: Path, steps: int, force: bool) -> None:
        super().__init__(path, steps, force)
        self._costs = {name: array("d") for name in _COSTS}
        self._changes: list[int] = []
        self._scale = 1

    def check(self) -> None:
        """Raise InputError unless the plot can be drawn and written."""
        super().check()
        # It would tell that it cannot keep its list of fonts, which takes nothing from a plot.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        try:
            import matplotlib.figure  # noqa: F401 (whether it is there)
        except ImportError:
            raise InputError(
                "--plot needs matplotlib, which is not installed: pip install 'ortist[plot]'"
            ) from None
        except Exception as error:  # of whatever kind: it reads files and variables of the user
            message = f"--plot needs matplotlib, which cannot be imported: {error}"
            raise InputError(message) from error

    def step(self, step: Step) -> None:
        """Take in the costs of a step."""
        for name, values in self._costs.items():
            values.append(getattr(step, name))
        if step.scale != self._scale:
            self._scale = step.scale
            self._changes.append(step.iteration)

    def state(self) -> State:
        """Return all costs so far, and where scales began."""
        costs = {name: np.array(values) for name, values in self._costs.items()}
        return {**costs, "changes": np.array(self._changes, np.int64)}

    def restore(self, state: State, iteration: int) -> None:
        """Take in the costs of the steps before."""
        for name, values in self._costs.items():
            if state[name].shape != (iteration,):
                raise ValueError(f"the plot has {list(state[name].shape)} values of {name}")
            values.extend(state[name].astype(float).tolist())
        self._changes = state["changes"].astype(int).ravel().tolist()
        self._scale = len(self._changes) + 1

    def finish(self, painting: Painting) -> None:
        """Draw the plot of the steps so far.

        Raises:
            InputError: if the plot cannot be drawn or the file cannot be written.
        """
        try:
            plot = _drawn(self._costs, self._changes, self._path.suffix[1:].lower())
        except Exception as error:  # of whatever kind, as at the import
            message = str(error) or type(error).__name__
            raise InputError(f"plot '{self._path}' cannot be drawn: {message}") from error
        with written_whole(self._path) as stream:
            stream.write(plot)


def _drawn(costs: dict[str, array[float]], changes: Sequence[int], file_format: str) -> bytes:
    """Return the plot as a file, without the user's settings: they may ask for LaTeX."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        draw_costs(costs, changes).savefig(stream, format=file_format, dpi=150)
    return stream.getvalue()


def draw_costs(costs: dict[str, array[float]], changes: Sequence[int]) -> Figure:
    """Return a plot of costs, and of the evaluations that were the first of their scale."""
    # Not pyplot, which would keep the figure and look for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="evaluation", ylabel="cost")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log", nonpositive="mask")
    for name, values in costs.items():
        # Without any positive value there is nothing to draw, and matplotlib warns.
        if any(value > 0 for value in values):
            marker = "." if len(values) == 1 else None
            axes.plot(range(1, len(values) + 1), values, label=name, marker=marker)
    for evaluation in changes:
        axes.axvline(evaluation - 0.5, color="gray", linewidth=0.5)
    if axes.get_lines():
        axes.legend()
    return figure

"""What a run shows while it goes on: lines of costs, and a bar where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ortist.engine import Step


@contextmanager
def progress_bar(steps: int, quiet: bool) -> Iterator[Callable[[Step], None]]:
    """Show a bar with costs and time left on stderr, if that is a terminal.

    Yields the function to call with each step.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        # Lines on the same terminal go above the bar; a pipe must get them untouched.
        redirect_stdout=sys.stdout.isatty(),
    )
    task = bar.add_task("getting ready", total=steps)
    with bar:
        yield lambda step: bar.update(
            task,
            completed=step.iteration,
            description=f"J {step.total:.2e}  content {step.content:.2e}  style {step.style:.2e}",
        )


def print_costs(step: Step) -> None:
    """Print the iteration and its total, content and style cost as one line on stdout."""
    # Not typer.echo: it would write past the bar's redirection and into the bar.
    sys.stdout.write(
        f"Iteration {step.iteration}: total cost = {step.total:.6g},"
        f" content cost = {step.content:.6g}, style cost = {step.style:.6g}\n"
    )
    sys.stdout.flush()

"""Running a plan and writing what comes of it, whatever ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer

from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs import Outputs
from ortist.cli.outputs.checkpoint import CheckpointFile
from ortist.cli.progress import Progress, describe_plan, progress_bar
from ortist.cli.streams import print_error, print_line
from ortist.engine import InputError, NonFiniteCostError, Plan, Run, Step
from ortist.engine.follow import follow


def paint(
    plan: Plan,
    outputs: Outputs,
    print_every: int,
    quiet: bool,
    prepare: Callable[[Run], object] = lambda run: None,
) -> None:
    """Run all steps and write all files, which were checked.

    Args:
        plan: of the run.
        outputs: its files.
        print_every: steps between lines of costs, 0 for none.
        quiet: whether nothing is shown but errors.
        prepare: called with the run before its first step.

    Raises:
        Interrupted: after a signal, with what there is written.
        typer.Exit: with code 1, if the cost stopped being finite.
    """
    started = time.perf_counter()
    last = _paint(plan, outputs, print_every, quiet, prepare)
    if not quiet:
        width, height = plan.size
        print_line(
            f"{outputs.picture.path}: {width}x{height} pixels, J = {last.total:.6g},"
            f" {last.iteration} steps, {time.perf_counter() - started:.1f} s"
        )


def _paint(
    plan: Plan,
    outputs: Outputs,
    print_every: int,
    quiet: bool,
    prepare: Callable[[Run], object],
) -> Step:
    """Run all steps and write all files; return the last step."""
    path, checkpoint = outputs.picture.path, outputs.checkpoint
    text = f"the picture is {path}"
    try:
        with progress_bar(plan.evaluations, quiet) as show:
            if not quiet:
                print_line(describe_plan(plan))
            run = plan.run()
            prepare(run)
            _begin(run, checkpoint)
            step = _follow(run, outputs, Progress(plan, show, print_every, quiet))
            if interrupts.requested:
                text = (
                    f"interrupted after {step.iteration} of {plan.evaluations} steps;"
                    f" the picture so far is {path}"
                )
                if checkpoint is not None and not run.done:
                    text += _hint(checkpoint)
            _finish(outputs, step, text)
    except NonFiniteCostError as error:
        print_error(f"error: {error}; the last good picture is {path}")
        outputs.finish(error.result)
        if checkpoint is not None:
            checkpoint.remove()  # it leads to the same
        raise typer.Exit(1) from None
    if checkpoint is not None and run.done:
        checkpoint.remove()
    if interrupts.requested:
        raise Interrupted(text)
    return step


def _begin(run: Run, checkpoint: CheckpointFile | None) -> None:
    """Tell who is to know of a run before its first step."""
    if checkpoint is not None:
        checkpoint.begin(run)
        interrupts.promise("the picture", _hint(checkpoint))
    interrupts.cancel_with(run.cancel)


def _hint(checkpoint: CheckpointFile) -> str:
    return f"; ortist resume {checkpoint.path} goes on"


def _finish(outputs: Outputs, step: Step, text: str) -> None:
    """Write what takes longer than the picture; if that fails, say ``text`` of the picture."""
    try:
        outputs.finish(step)
    except InputError:
        print_error(text)
        raise


def _follow(run: Run, outputs: Outputs, progress: Progress) -> Step:
    """Tell all of the steps until the end or a signal; return the last one."""
    try:
        return follow(run, [*outputs.observers, progress], lambda: interrupts.requested)
    except NonFiniteCostError:
        raise
    except Exception:  # of whatever kind: the memory, a full disk
        if interrupts.written:
            print_error(f"the picture so far is {outputs.picture.path}")
        raise

"""``ortist stylize``: paint one picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs import Outputs
from ortist.cli.outputs.checkpoint import SECONDS, CheckpointFile
from ortist.cli.outputs.file import OutputFile
from ortist.cli.parameters import (
    DeviceName,
    Force,
    Kernel,
    MaxMemory,
    ModelsFolder,
    Quiet,
    Threads,
    output_option,
    takes_options_and_files,
)
from ortist.cli.progress import Progress, describe_plan, progress_bar
from ortist.cli.regions import parse_regions
from ortist.cli.settings import Settings, pictures_of
from ortist.cli.streams import print_error, print_line
from ortist.engine import InputError, NonFiniteCostError, Plan, Run, Step
from ortist.engine.engine import KERNELS
from ortist.engine.follow import follow
from ortist.engine.images import OUTPUT_EXTENSIONS
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES, find_recipe


@takes_options_and_files
def stylize(
    *,
    content: Annotated[
        Path, typer.Argument(metavar="CONTENT", readable=False, help="The picture to paint.")
    ],
    style: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="STYLE",
            readable=False,
            help="The picture whose style to take; several are blended. Without one, what is in no"
            " region stays as it is.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        output_option("-o", "--output", help=f"The painting ({', '.join(OUTPUT_EXTENSIONS)})."),
    ],
    force: Force = False,
    quality: Annotated[
        int | None,
        output_option(metavar="N", help="1..100, of JPEG, WebP and AVIF.", show_default="95"),
    ] = None,
    bits: Annotated[
        int, output_option(metavar="8|16", help="Bits of a channel; 16 in PNG and TIFF.")
    ] = 8,
    keep_alpha: Annotated[
        bool,
        output_option(
            "--keep-alpha", help="Keep CONTENT's transparency, in PNG, WebP, TIFF or AVIF."
        ),
    ] = False,
    save_every: Annotated[
        int,
        output_option(min=0, metavar="N", help="Keep every Nth picture beside it: out-0020.png."),
    ] = 0,
    files: Mapping[type[OutputFile], Path],
    print_every: Annotated[
        int,
        output_option(min=0, metavar="N", help="Print the costs of every Nth step; 0 for none."),
    ] = 20,
    checkpoint: Annotated[
        Path | None,
        output_option(metavar="FILE", help="Keep the run there while it goes on: ortist resume."),
    ] = None,
    checkpoint_every: Annotated[
        int,
        output_option(
            min=0,
            metavar="N",
            help="Steps between checkpoints.",
            show_default=f"every {SECONDS:g} s",
        ),
    ] = 0,
    quiet: Quiet = False,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MASK=STYLE[:STYLE_MASK]",
            rich_help_panel="Regions",
            help="Paint where a mask is white in a style of its own, or leave it as it is with"
            " MASK=; a mask of the style says what of it counts. Repeatable.",
        ),
    ] = None,
    protect: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK",
            readable=False,
            rich_help_panel="Regions",
            help="Keep more of the content where this picture is white; see --protection.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            rich_help_panel="Recipe",
            help=f"Where options that are not given come from: {', '.join(RECIPES)}, or a TOML"
            " file; see ortist recipes.",
        ),
    ] = DEFAULT_RECIPE,
    chosen: Mapping[str, Any],
    device: DeviceName = "auto",
    threads: Threads = None,
    kernel: Kernel = KERNELS[0],
    models: ModelsFolder = None,
    max_memory: MaxMemory = None,
) -> None:
    """Paint CONTENT in the style of STYLE.

    Ctrl-C stops early and keeps the picture so far.
    """
    interrupts.promise("the picture")
    options = find_recipe(recipe).with_options(**chosen)
    settings = Settings(
        content=content,
        styles=tuple(style or ()),
        regions=tuple(parse_regions(region or [])),
        protect=protect,
        pictures=pictures_of(options),
        output=output,
        bits=bits,
        quality=quality,
        keep_alpha=keep_alpha,
        save_every=save_every,
        files=files,
        print_every=print_every,
        checkpoint_every=checkpoint_every,
        device=device,
        threads=threads,
        kernel=kernel,
        models=models,
        max_memory=max_memory,
    )
    engine = settings.engine()
    plan = settings.plan(engine, options)
    outputs = settings.outputs(options, force, checkpoint, engine)
    outputs.check(plan.size, settings.inputs())
    paint(plan, outputs, print_every, quiet)


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

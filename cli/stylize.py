"""``ortist stylize``: paint one picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs import Outputs
from ortist.cli.outputs.file import OutputFile
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.parameters import (
    DeviceName,
    Force,
    Kernel,
    ModelsFolder,
    Quiet,
    Threads,
    output_option,
    takes_options_and_files,
)
from ortist.cli.progress import Progress, describe_plan, progress_bar
from ortist.cli.regions import parse_regions, region_files
from ortist.cli.streams import print_error, print_line
from ortist.engine import Encoding, Engine, InputError, NonFiniteCostError, Plan, Run, Step
from ortist.engine.engine import KERNELS
from ortist.engine.follow import follow
from ortist.engine.images import OUTPUT_EXTENSIONS, check_holds, read_alpha
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
) -> None:
    """Paint CONTENT in the style of STYLE.

    Ctrl-C stops early and keeps the picture so far.
    """
    interrupts.promise("the picture")
    options = find_recipe(recipe).with_options(**chosen)
    encoding = Encoding(bits=bits, quality=quality)
    if keep_alpha:
        check_holds(output, "alpha")
        alpha = read_alpha(content, name="content image", max_pixels=options.max_pixels)
        encoding = replace(encoding, alpha=alpha)
    picture = PictureFile(
        output, every=save_every, steps=options.steps, force=force, encoding=encoding
    )
    outputs = Outputs(picture, [kind(path, options.steps, force) for kind, path in files.items()])
    started = time.perf_counter()
    regions, styles = parse_regions(region or []), style or []
    engine = Engine(device, threads, models, kernel)
    plan = engine.plan(content, styles, options, regions=regions, protect=protect)
    inputs = [content, *styles, *region_files(regions), *([protect] if protect else [])]
    outputs.check(plan.size, [("an input", path) for path in inputs])
    last = _paint(plan, outputs, print_every, quiet)
    if not quiet:
        width, height = plan.size
        print_line(
            f"{output}: {width}x{height} pixels, J = {last.total:.6g}, {last.iteration} steps,"
            f" {time.perf_counter() - started:.1f} s"
        )


def _paint(plan: Plan, outputs: Outputs, print_every: int, quiet: bool) -> Step:
    """Run all steps and write all files; return the last step."""
    path = outputs.picture.path
    text = f"the picture is {path}"
    try:
        with progress_bar(plan.evaluations, quiet) as show:
            if not quiet:
                print_line(describe_plan(plan))
            run = plan.run()
            interrupts.cancel_with(run.cancel)
            step = _follow(run, outputs, Progress(plan, show, print_every, quiet))
            if interrupts.requested:
                text = (
                    f"interrupted after {step.iteration} of {plan.evaluations} steps;"
                    f" the picture so far is {path}"
                )
            _finish(outputs, step, text)
    except NonFiniteCostError as error:
        print_error(f"error: {error}; the last good picture is {path}")
        outputs.finish(error.result)
        raise typer.Exit(1) from None
    if interrupts.requested:
        raise Interrupted(text)
    return step


def _finish(outputs: Outputs, step: Step, text: str) -> None:
    """Write what takes longer than the picture; if that fails, say ``text`` of the picture."""
    try:
        outputs.finish(step)
    except InputError:
        print_error(text)
        raise


def _follow(run: Run, outputs: Outputs, progress: Progress) -> Step:
    """Tell all of the steps until the end or a signal; return the last one."""
    observers = (outputs.picture, *outputs.files, progress)
    try:
        return follow(run, observers, lambda: interrupts.requested)
    except NonFiniteCostError:
        raise
    except Exception:  # of whatever kind: the memory, a full disk
        if interrupts.written:
            print_error(f"the picture so far is {outputs.picture.path}")
        raise

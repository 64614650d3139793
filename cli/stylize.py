"""``ortist stylize``: paint one picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ortist.cli.inits import read_init
from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs import Log, Pictures, check_distinct
from ortist.cli.parameters import (
    DeviceName,
    Force,
    Kernel,
    ModelsFolder,
    Quiet,
    Threads,
    output_option,
    takes_options,
)
from ortist.cli.plot import EXTENSIONS as PLOT_EXTENSIONS
from ortist.cli.plot import Plot
from ortist.cli.progress import Estimate, describe_plan, print_costs, progress_bar
from ortist.cli.streams import print_error, print_line
from ortist.cli.timelapse import EXTENSIONS as TIMELAPSE_EXTENSIONS
from ortist.cli.timelapse import Timelapse
from ortist.engine import Engine, InputError, NonFiniteCostError, Options, Step
from ortist.engine.engine import KERNELS
from ortist.engine.images import OUTPUT_EXTENSIONS, write_image
from ortist.engine.pictures import read_pictures
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES, find_recipe
from ortist.engine.scales import Scale

WORTH_TELLING = 5.0
"""Seconds from which on a run is announced to take so long."""


@takes_options
def stylize(
    *,
    content: Annotated[
        Path, typer.Argument(metavar="CONTENT", readable=False, help="The picture to paint.")
    ],
    style: Annotated[
        list[Path],
        typer.Argument(
            metavar="STYLE",
            readable=False,
            help="The picture whose style to take; several are blended.",
        ),
    ],
    output: Annotated[
        Path,
        output_option("-o", "--output", help=f"The painting ({', '.join(OUTPUT_EXTENSIONS)})."),
    ],
    force: Force = False,
    save_every: Annotated[
        int,
        output_option(min=0, metavar="N", help="Keep every Nth picture beside it: out-0020.png."),
    ] = 0,
    log: Annotated[
        Path | None,
        output_option(metavar="FILE", help="Write costs as JSON lines, one per step."),
    ] = None,
    plot: Annotated[
        Path | None,
        output_option(metavar="FILE", help=f"Plot the costs ({', '.join(PLOT_EXTENSIONS)})."),
    ] = None,
    timelapse: Annotated[
        Path | None,
        output_option(
            metavar="FILE",
            help=f"Animate the picture on its way ({', '.join(TIMELAPSE_EXTENSIONS)}).",
        ),
    ] = None,
    print_every: Annotated[
        int,
        output_option(min=0, metavar="N", help="Print the costs of every Nth step; 0 for none."),
    ] = 20,
    quiet: Quiet = False,
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
    reports = _Reports(
        pictures=Pictures(path=output, every=save_every, steps=options.steps, force=force),
        log=Log(log, force),
        plot=Plot(plot, force),
        timelapse=Timelapse(timelapse, options.steps, force),
        print_every=0 if quiet else print_every,
        quiet=quiet,
    )
    _stylize(content, style, options, reports, partial(Engine, device, threads, models, kernel))


@dataclass(frozen=True, kw_only=True)
class _Reports:
    """What is written and shown of a run."""

    pictures: Pictures
    log: Log
    plot: Plot
    timelapse: Timelapse
    print_every: int
    quiet: bool

    def check(self, size: tuple[int, int]) -> None:
        """Raise InputError unless all files can be written, each in a place of its own."""
        self.pictures.check(size)
        files = self.log, self.plot, self.timelapse
        for file in files:
            file.check()
        outputs = (file.outputs() for file in (self.pictures, *files))
        check_distinct(chain.from_iterable(outputs))

    def add(self, step: Step) -> None:
        """Take in a step."""
        self.log.write(step)
        self.pictures.save(step)
        self.plot.add(step)
        self.timelapse.add(step)

    def finish(self, image: NDArray[np.uint8], message: str = "") -> None:
        """Write the picture, say so on stderr if there is a message, then what takes longer."""
        self.save(image)
        if message:
            print_error(message)
        try:
            self.plot.write()
        except InputError:
            self.timelapse.write(image)
            raise
        self.timelapse.write(image)

    def save(self, image: NDArray[np.uint8]) -> None:
        """Write the picture, whatever signals come."""
        interrupts.defer()
        write_image(image, self.pictures.path)
        interrupts.wrote(self.pictures.path)


def _stylize(
    content: Path,
    styles: list[Path],
    options: Options,
    reports: _Reports,
    make_engine: Callable[[], Engine],
) -> None:
    started = time.perf_counter()
    options = replace(options, init=read_init(options.init, options.max_pixels))
    pictures = read_pictures(content, styles, options)
    size = pictures.width, pictures.height
    scales = pictures.scales(options)
    reports.check(size)

    def start() -> Iterator[Step]:
        run = make_engine().iterate(pictures.content, pictures.styles, options)
        interrupts.cancel_with(run.cancel)
        return run

    last = _paint(start, reports, scales)
    if not reports.quiet:
        print_line(
            f"{reports.pictures.path}: {size[0]}x{size[1]} pixels, J = {last.total:.6g},"
            f" {last.iteration} steps, {time.perf_counter() - started:.1f} s"
        )


def _paint(start: Callable[[], Iterator[Step]], reports: _Reports, scales: Sequence[Scale]) -> Step:
    """Run all steps and write the picture; return the last step."""
    pictures = reports.pictures
    try:
        with progress_bar(pictures.steps, reports.quiet) as show, reports.log:
            steps = start()
            if not reports.quiet:
                print_line(describe_plan(scales))
            first = next(steps)
            # Before, there was nothing to keep, and a signal ended the run at once.
            interrupts.defer()
            step = _follow(chain([first], steps), reports, Estimate(scales), show)
            reports.finish(step.image())
    except NonFiniteCostError as error:
        message = f"error: {error}; the last good picture is {pictures.path}"
        reports.finish(error.result.image, message)
        raise typer.Exit(1) from None
    if interrupts.requested:
        raise Interrupted(
            f"interrupted after {step.iteration} of {pictures.steps} steps;"
            f" the picture so far is {pictures.path}"
        )
    return step


def _follow(
    steps: Iterator[Step],
    reports: _Reports,
    estimate: Estimate,
    show: Callable[[Step], None],
) -> Step:
    """Report the steps until the end or a signal; return the last one.

    Whatever goes wrong on the way, the picture so far is written.
    """
    try:
        for step in steps:
            show(step)
            seconds = estimate.after(step)
            if seconds > WORTH_TELLING and not reports.quiet:
                print_line(f"about {seconds:.0f} s in all")
            reports.add(step)
            if reports.print_every and step.iteration % reports.print_every == 0:
                print_costs(step)
            if interrupts.requested:
                break
    except NonFiniteCostError:
        raise  # it has the picture
    except Exception:  # of whatever kind: the memory, a full disk
        reports.save(step.image())
        print_error(f"the picture so far is {reports.pictures.path}")
        raise
    return step

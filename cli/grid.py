"""``ortist grid``: a contact sheet of pictures in several styles, recipes and options."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from ortist.cli.cells import Job, Setting, paint_cells, plan_cells
from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs.file import check_distinct
from ortist.cli.parameters import (
    DeviceName,
    Force,
    Kernel,
    MaxMemory,
    ModelsFolder,
    Quiet,
    Threads,
    memory_limit,
    output_option,
)
from ortist.cli.sheet import Sheet
from ortist.cli.streams import print_error, print_line
from ortist.cli.vary import parse_value, parse_variations
from ortist.engine import Engine, InputError
from ortist.engine.graphs import KERNELS
from ortist.engine.images import (
    MAX_PIXELS,
    MIN_SIDE,
    OUTPUT_EXTENSIONS,
    check_output,
    write_image,
)
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES, find_recipe
from ortist.engine.starts import read_start

_LARGEST_CELL = 10_000


def grid(
    content: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONTENT", readable=False, help="The pictures to paint, one per row."
        ),
    ],
    style: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", readable=False, help="A picture whose style to take; repeatable."
        ),
    ],
    output: Annotated[
        Path,
        output_option("-o", "--output", help=f"The sheet ({', '.join(OUTPUT_EXTENSIONS)})."),
    ],
    force: Force = False,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help=f"As in stylize ({', '.join(RECIPES)} or a TOML file); repeatable.",
            show_default=DEFAULT_RECIPE,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Paint with each value of an option, as in steps=30,100; repeatable.",
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Longer side of each painting in pixels.")] = 256,
    cell: Annotated[
        int | None,
        typer.Option(
            min=MIN_SIDE,
            max=_LARGEST_CELL,
            help="Longer side of each picture on the sheet.",
            show_default="--size",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write the figures of ortist compare below each.")
    ] = False,
    quiet: Quiet = False,
    device: DeviceName = "auto",
    threads: Threads = None,
    kernel: Kernel = KERNELS[0],
    models: ModelsFolder = None,
    max_memory: MaxMemory = None,
) -> None:
    """Paint every CONTENT in every style, and lay the pictures out on one labeled sheet.

    Several recipes, or values of an option, get a column each. Ctrl-C keeps what is done.
    """
    interrupts.promise("the sheet")
    started = time.perf_counter()
    settings = _settings(recipe or [DEFAULT_RECIPE], parse_variations(vary or []), size)
    rows, jobs = plan_cells(
        content, style, settings, min(cell or size, _LARGEST_CELL), compared=compare
    )
    sheet = Sheet(rows)
    _check_size(sheet)
    check_output(output, force, sheet.size)
    check_distinct([*(("an input", path) for path in (*content, *style)), ("the sheet", output)])
    engine = Engine(device, threads, models, kernel, memory=memory_limit(max_memory))
    _paint(jobs, engine, sheet, output, quiet)
    if not quiet:
        width, height = sheet.size
        print_line(
            f"{output}: {len(jobs)} paintings on {width}x{height} pixels,"
            f" {time.perf_counter() - started:.1f} s"
        )


def _settings(
    recipes: Sequence[str], variations: Sequence[dict[str, str]], size: int
) -> list[Setting]:
    """Return what to paint each picture with: every recipe with every variation."""
    settings = []
    for name, texts in product(recipes, variations):
        values = {option: parse_value(option, text) for option, text in texts.items()}
        options = find_recipe(name).with_options(**{"size": size, **values})
        # A cell has one style, whatever a recipe says of several.
        options = replace(read_start(options), style_weights=None)
        labels = [f"{option}={text}" for option, text in texts.items()]
        settings.append(Setting(options, (*([name] if len(recipes) > 1 else []), *labels)))
    return settings


def _check_size(sheet: Sheet) -> None:
    width, height = sheet.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"the sheet would have {width}x{height} pixels, at most {MAX_PIXELS} are accepted:"
            " take fewer pictures or a smaller --cell"
        )


def _paint(jobs: Sequence[Job], engine: Engine, sheet: Sheet, output: Path, quiet: bool) -> None:
    """Paint all cells and write the sheet, with what is done if something ends this early."""
    failures: list[str] = []
    try:
        paint_cells(jobs, engine, quiet, failures)
    except Exception:  # a model, the memory
        if any(job.cell.image is not None for job in jobs):
            _write(sheet, output, failures)
            print_error(f"the paintings so far are on {output}")
        raise
    _write(sheet, output, failures)
    if interrupts.requested:
        raise Interrupted(f"interrupted; the paintings so far are on {output}")
    if failures:
        raise typer.Exit(1)


def _write(sheet: Sheet, output: Path, failures: Sequence[str]) -> None:
    """Write the sheet, and tell of the cells whose cost stopped being finite."""
    interrupts.defer()
    write_image(sheet.draw(), output)
    interrupts.wrote(output)
    for failure in failures:
        print_error(f"error: {failure}; the last good picture is on {output}")

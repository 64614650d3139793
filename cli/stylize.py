"""``ortist stylize``: paint one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.interrupt import interrupts
from ortist.cli.like import Earlier
from ortist.cli.outputs.file import OutputFile
from ortist.cli.painting import paint
from ortist.cli.parameters import (
    Bits,
    ClusterName,
    DeviceName,
    Force,
    Kernel,
    Memory,
    Metadata,
    ModelsFolder,
    Quality,
    Quiet,
    Threads,
    Tile,
    output_option,
    takes_options_and_files,
)
from ortist.cli.settings import Settings, pictures_of
from ortist.cli.sources import Sources, parse_regions
from ortist.cli.streams import print_line
from ortist.engine import InputError
from ortist.engine.checkpoint import SECONDS
from ortist.engine.graphs import KERNELS
from ortist.engine.images import OUTPUT_EXTENSIONS
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES, find_recipe


@takes_options_and_files
def stylize(
    *,
    content: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONTENT", readable=False, help="The picture to paint.", show_default=False
        ),
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="STYLE",
            readable=False,
            help="The picture whose style to take; several are blended. With regions there need be"
            " none: then what is in no region stays as it is.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        output_option("-o", "--output", help=f"The painting ({', '.join(OUTPUT_EXTENSIONS)})."),
    ],
    force: Force = False,
    quality: Quality = None,
    bits: Bits = 8,
    keep_alpha: Annotated[
        bool,
        output_option(
            "--keep-alpha", help="Keep CONTENT's transparency, in PNG, WebP, TIFF or AVIF."
        ),
    ] = False,
    metadata: Metadata = True,
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
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            rich_help_panel="Recipe",
            help=f"Where options that are not given come from: {', '.join(RECIPES)}, or a TOML"
            " file; see ortist recipes.",
            show_default=DEFAULT_RECIPE,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            rich_help_panel="Recipe",
            help="In place of a recipe, an earlier painting: what is not given, pictures too, is as"
            " it says it was.",
        ),
    ] = None,
    chosen: Mapping[str, Any],
    device: DeviceName = "auto",
    threads: Threads = None,
    kernel: Kernel = KERNELS[0],
    models: ModelsFolder = None,
    memory: Memory = None,
    tile: Tile = None,
    cluster: ClusterName = None,
) -> None:
    """Paint CONTENT in the style of STYLE.

    Ctrl-C stops early and keeps the picture so far.
    """
    interrupts.promise("the picture")
    if checkpoint_every and checkpoint is None:
        raise InputError("--checkpoint-every says how often, but there is no --checkpoint")
    styles, regions = tuple(style or ()), tuple(parse_regions(region or []))
    earlier = None if like is None else _earlier(like, recipe)
    if earlier is not None:
        sources = earlier.sources(content, styles, regions, protect)
        options = earlier.options(chosen)
        threads = threads or earlier.record.threads
        kernel = earlier.record.kernel if kernel == KERNELS[0] else kernel
        tile = tile if tile is not None else earlier.record.tile or None
    elif content is not None:
        sources = Sources(content=content, styles=styles, regions=regions, protect=protect)
        options = find_recipe(recipe or DEFAULT_RECIPE).with_options(**chosen)
    else:
        raise InputError("no content image given")
    settings = Settings(
        sources=sources,
        pictures=pictures_of(options),
        output=output,
        bits=bits,
        quality=quality,
        keep_alpha=keep_alpha,
        metadata=metadata,
        save_every=save_every,
        files=files,
        print_every=print_every,
        checkpoint_every=checkpoint_every,
        device=device,
        threads=threads,
        kernel=kernel,
        models=models,
        memory=memory,
        tile=tile,
        cluster=cluster,
    )
    engine = settings.engine()
    plan = sources.plan(engine, options)
    record = replace(sources.record(engine, options), tile=plan.tile)
    outputs = settings.outputs(options, force, checkpoint, record)
    inputs = settings.inputs() if like is None else [*settings.inputs(), ("an input", like)]
    outputs.check(plan.size, inputs)
    if earlier is not None and not quiet:
        for line in earlier.differences(record, options.steps):
            print_line(f"unlike {like}: {line}")
    paint(plan, outputs, print_every, quiet)


def _earlier(like: Path, recipe: str | None) -> Earlier:
    if recipe is not None:
        raise InputError("--like and --recipe both say where options come from, accepted is one")
    return Earlier.read(like)

"""``ortist batch``: many pictures, each content in each style or as a list says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.interrupt import Interrupted, interrupts
from ortist.cli.outputs.file import check_distinct
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
    Tile,
    memory_limit,
    output_option,
    takes_options_and_files,
)
from ortist.cli.progress import pictures_bar
from ortist.cli.settings import silence_dask
from ortist.cli.streams import print_error, print_line
from ortist.engine import Encoding, InputError
from ortist.engine.batch import Batch, Outcome, report
from ortist.engine.graphs import KERNELS
from ortist.engine.images import OUTPUT_EXTENSIONS, check_writable, written_whole
from ortist.engine.jobs import Job, checked_extension, find_pictures, pair_jobs
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES, find_recipe
from ortist.engine.sessions import physical_cores
from ortist.engine.workers import Setup
from ortist.engine.worklist import read_worklist
from ortist.models.files import open_regular

REPORT = "report.json"
_MARK = '{\n  "ortist batch": 1,\n'
"""What reports begin with: no other file is replaced by one."""


@takes_options_and_files
def batch(
    *,
    content: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONTENTS", help="Pictures to paint: files, folders, or quoted patterns."
        ),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STYLES", help="Pictures whose style to take, one each: likewise; repeatable."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="In place of both, a list (.csv, .jsonl) with content, style, output and options.",
        ),
    ] = None,
    output: Annotated[
        Path, output_option("-o", "--output", metavar="DIR", help="The folder of the paintings.")
    ],
    file_format: Annotated[
        str,
        output_option(
            "--format", metavar="|".join(known[1:] for known in OUTPUT_EXTENSIONS), help="Of files."
        ),
    ] = "png",
    quality: Quality = None,
    bits: Bits = 8,
    metadata: Metadata = True,
    force: Force = False,
    report_file: Annotated[
        Path | None,
        output_option(
            "--report", metavar="FILE", help="What became of each.", show_default=f"DIR/{REPORT}"
        ),
    ] = None,
    dry_run: Annotated[
        bool, output_option("--dry-run", help="Only say what would be painted.")
    ] = False,
    quiet: Quiet = False,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            rich_help_panel="Recipe",
            help=f"As in stylize: {', '.join(RECIPES)} or a TOML file.",
        ),
    ] = DEFAULT_RECIPE,
    chosen: Mapping[str, Any],
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel="Machine",
            help="Pictures painted at once, as far as there is memory.",
            show_default="cores / threads",
        ),
    ] = None,
    device: DeviceName = "auto",
    threads: Annotated[
        int,
        typer.Option(min=1, rich_help_panel="Machine", help="CPU threads of each picture."),
    ] = 1,
    kernel: Kernel = KERNELS[0],
    models: ModelsFolder = None,
    memory: Memory = None,
    tile: Tile = None,
    cluster: ClusterName = None,
) -> None:
    """Paint every one of CONTENTS in every one of STYLES, several at once.

    What is done is not painted again, unless inputs or options have changed; Ctrl-C, or anything
    else that ends it, costs no more than the pictures under way. A picture that fails does not stop
    the others.
    """
    extension = checked_extension(file_format)
    listed = _jobs(content or [], style or [], manifest, chosen, recipe, extension)
    setup = Setup(device, threads, models, kernel, memory_limit(memory), tile, cluster)
    if cluster is not None:
        silence_dask()
    encoding = Encoding(bits=bits, quality=quality)
    many = Batch(listed, output, setup, encoding=encoding, metadata=metadata, force=force)
    if dry_run:
        for outcome in many.plan():
            print_line(_told(outcome))
        return
    place = report_file or output / REPORT
    inputs = {path: ("an input", path) for job in listed for path in (job.content, *job.styles)}
    check_distinct([*inputs.values(), ("the report", place)])
    usual = len(listed) if cluster else max(1, physical_cores() // threads)
    outcomes = _paint(many, jobs or usual, place, force, quiet)
    _finish(outcomes, output, quiet)


def _jobs(
    contents: Sequence[str],
    styles: Sequence[str],
    manifest: Path | None,
    chosen: Mapping[str, Any],
    recipe: str,
    extension: str,
) -> list[Job]:
    """Return what is to be painted."""
    if manifest is not None:
        if contents or styles:
            raise InputError("--manifest says all pictures, accepted are no CONTENTS and --style")
        return read_worklist(manifest, chosen, recipe, extension)
    if not contents or not styles:
        raise InputError("accepted are CONTENTS and --style, or --manifest")
    options = find_recipe(recipe).with_options(**chosen)
    return pair_jobs(
        find_pictures("content", contents), find_pictures("style", styles), options, extension
    )


def _paint(many: Batch, workers: int, place: Path, force: bool, quiet: bool) -> list[Outcome]:
    """Paint all, or until a signal, and write the report."""
    begin, total = time.perf_counter(), len(many.jobs)
    if os.path.realpath(place.parent) != os.path.realpath(many.folder):
        check_writable(place, force or _is_report(place))
    elif place.exists() and not _is_report(place) and not force:
        check_writable(place)
    told = 0
    with pictures_bar(total, quiet) as show:

        def tell(outcome: Outcome) -> None:
            nonlocal told
            told += 1
            line = f"{told}/{total} {_told(outcome)}"
            if outcome.status == "failed":
                print_error(line)
            elif not quiet:
                print_line(line)

        interrupts.defer()
        outcomes = many.paint(workers, tell=tell, show=show, stop=lambda: interrupts.requested)
    facts = {"ortist batch": 1, "seconds": round(time.perf_counter() - begin, 3)}
    text = json.dumps(facts | report(outcomes), indent=2) + "\n"
    with written_whole(place) as stream:
        stream.write(text.encode())
    return outcomes


def _finish(outcomes: Sequence[Outcome], folder: Path, quiet: bool) -> None:
    """Say how many there are, and end with the exit code for it."""
    there = sum(outcome.status in ("done", "skipped") for outcome in outcomes)
    summary = f"{there} of {len(outcomes)} pictures are in {folder}"
    if interrupts.requested:
        raise Interrupted(f"interrupted; {summary}; the same command goes on")
    if not quiet:
        print_line(summary)
    if not there:
        raise typer.Exit(2)
    if there < len(outcomes):
        raise typer.Exit(1)


def _told(outcome: Outcome) -> str:
    """Return what a line says of a picture."""
    said = {
        "done": f"done, {outcome.seconds:.1f} s",
        "skipped": "skipped, it was done before",
        "failed": f"failed: {outcome.reason}",
        "open": f"{outcome.job.content} in the style of {', '.join(map(str, outcome.job.styles))}",
    }
    return f"{outcome.job.output}: {said[outcome.status]}"


def _is_report(path: Path) -> bool:
    """Whether a file there is a report, which another one may replace."""
    try:
        with open_regular(path) as stream:
            return stream.read(len(_MARK)) == _MARK.encode()
    except (OSError, ValueError):
        return False

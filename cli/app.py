"""The command line as a whole: its commands, its version, and what becomes of errors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from ortist.cli.batch import batch
from ortist.cli.compare import compare
from ortist.cli.export import export
from ortist.cli.gradient import gradient
from ortist.cli.grid import grid
from ortist.cli.info import info
from ortist.cli.interrupt import interrupts
from ortist.cli.recipes import recipes
from ortist.cli.resume import resume
from ortist.cli.serve import serve
from ortist.cli.streams import print_error, print_line
from ortist.cli.stylize import stylize
from ortist.cli.web import web
from ortist.engine import OrtistError
from ortist.models.versions import installed_version

app = typer.Typer(
    name="ortist",
    help="Paint a photograph in the style of a painting, on ONNX Runtime.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(stylize)
app.command()(resume)
app.command()(batch)
app.command()(grid)
app.command()(compare)
app.command()(serve)
app.command()(web)
app.command()(recipes)
app.command()(info)
app.command()(export)
app.command()(gradient)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``arguments`` (the process's own if None) and exit.

    The exit code is 0 for success, 1 for a cost that became non-finite or a corrupt artifact, 2
    for anything that cannot be used as given. ``ortist.cli.run`` adds 130 after a signal.
    """
    interrupts.begin()
    # Pillow warns about harmless oddities in metadata; what matters reaches us as an error.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        app(arguments, prog_name="ortist")
    except OrtistError as error:
        _fail(str(error))
    except MemoryError:
        _fail("not enough memory")


def _fail(message: str) -> NoReturn:
    interrupts.check()
    print_error(f"error: {message}")
    sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"ortist {installed_version('ortist')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass

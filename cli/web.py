"""``ortist web``: write a page that paints in the browser."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from ortist.cli.interrupt import interrupts
from ortist.cli.parameters import Force, ModelsFolder
from ortist.cli.streams import print_line
from ortist.engine import InputError
from ortist.models.files import reason, write_whole


def web(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the page.")],
    runtime: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Where npm installed onnxruntime-web, which the page computes with."
        ),
    ] = Path("node_modules"),
    models: ModelsFolder = None,
    force: Force = False,
) -> None:
    """Write a page of static files that paints in the browser; no picture leaves it.

    Any server of files will do. Browsers compute with several threads where it sends the two
    headers that DIR/_headers has.
    """
    from ortist.engine.artifacts import Artifacts
    from ortist.web.site import site_files

    page = Path(str(resources.files("ortist.serve"))) / "page"
    total = 0
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is no folder")
        if not force and folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; --force writes the page there all the same")
        for name, content in site_files(page, runtime, Artifacts(models)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, content)
            total += len(content)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {reason(error)}") from error
    interrupts.wrote(folder)
    print_line(f"{folder}: a page of {total / 1e6:.0f} MB")

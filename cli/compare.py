"""``ortist compare``: figures of painted pictures beside their content and style."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.parameters import DeviceName, ModelsFolder, Threads
from ortist.cli.streams import print_json
from ortist.engine import Engine
from ortist.engine.images import MAX_PIXELS, MIN_SIDE

_ABOUT = {
    "content": "how far the content is kept: correlation of self-similarities, 1 at best",
    "match": "how far all is like something in the style: mean cosine to the best match at"
    " conv3_2 and conv4_3, 1 at best",
    "gram_error": "difference of Gram matrices from the style's, relative, 0 at best",
    "chroma_noise": "deviation of the chroma from its mean over 3x3 pixels, in pixel values",
    "weave": "power of periods of 2 to 4 pixels along the axes over that in other directions",
    "border": "contrast over 8 pixels at the border over that of the whole; 1 is no rim",
}
"""What the figures say, in the order of the table."""


def compare(
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="PICTURE", readable=False, help="The pictures to judge."),
    ],
    content: Annotated[
        Path,
        typer.Option(metavar="FILE", readable=False, help="The content that they were painted of."),
    ],
    style: Annotated[
        list[Path],
        typer.Option(metavar="FILE", readable=False, help="The style; repeatable."),
    ],
    max_pixels: Annotated[
        int, typer.Option(min=MIN_SIDE**2, help="Most pixels accepted for any picture.")
    ] = MAX_PIXELS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceName = "auto",
    threads: Threads = None,
    models: ModelsFolder = None,
) -> None:
    """Measure how far pictures keep the content, are like the style, and are clean."""
    engine = Engine(device, threads, models)
    rows = [
        {"picture": str(picture)} | asdict(engine.compare(picture, content, style, max_pixels))
        for picture in pictures
    ]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("picture", no_wrap=True)
    for name in _ABOUT:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for row in rows:
        match = " ".join(f"{value:.3f}" for value in row["match"].values())
        figures = row | {"match": match}
        table.add_row(row["picture"], *(_shown(figures[name]) for name in _ABOUT))
    console = Console(highlight=False, markup=False)
    # Of a line that is wider than the terminal all is shown, of a column that is cut not.
    anything = console.options.update(width=10_000)
    console.width = max(console.width, console.measure(table, options=anything).maximum)
    console.print(table)
    console.print()
    for name, about in _ABOUT.items():
        console.print(f"{name.replace('_', ' ')}: {about}", soft_wrap=True)
    console.print("Figures of pictures compare only if these are of one size.", soft_wrap=True)


def _shown(figure: Any) -> str:
    return f"{figure:.3f}" if isinstance(figure, float) else str(figure)

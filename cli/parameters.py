"""Parameters that several commands have, those of all options among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ortist.cli.outputs import FILES
from ortist.cli.outputs.file import OutputFile
from ortist.engine.graphs import KERNELS
from ortist.engine.memory import parse_bytes
from ortist.engine.options import OPTIONS, Option
from ortist.engine.recipes import DEFAULT_RECIPE, find_recipe
from ortist.engine.values import YesNo

# What cannot be read is told by what reads it, in one line and without the usage.
output_option = partial(typer.Option, readable=False, rich_help_panel="Output")
_machine = partial(typer.Option, readable=False, rich_help_panel="Machine")

Force = Annotated[bool, output_option("-f", "--force", help="Replace existing files.")]
Quiet = Annotated[bool, output_option("-q", "--quiet", help="Show nothing but errors.")]
Quality = Annotated[
    int | None,
    output_option(
        "--quality", metavar="N", help="1..100, of JPEG, WebP and AVIF.", show_default="95"
    ),
]
Bits = Annotated[
    int, output_option("--bits", metavar="8|16", help="Bits of a channel; 16 in PNG and TIFF.")
]
Metadata = Annotated[
    bool,
    output_option("--metadata/--no-metadata", help="Say in the file how it was made, for --like."),
]
DeviceName = Annotated[
    str, _machine("--device", help="auto, cpu, cuda, or the name of an ONNX Runtime provider.")
]
Threads = Annotated[
    int | None, _machine("--threads", min=1, help="CPU threads.", show_default="all cores")
]
Kernel = Annotated[
    str,
    _machine("--kernel", metavar="|".join(KERNELS), help="How convolutions are computed."),
]
Memory = Annotated[
    str | None,
    _machine(
        "--memory",
        metavar="SIZE",
        help="What a run may take, as in 4GB; what takes more is painted in tiles. auto is what"
        " there is, none no limit.",
        show_default="auto",
    ),
]
Tile = Annotated[
    int | None,
    _machine(
        "--tile",
        metavar="N",
        help="Most rows and columns of a tile, a multiple of 64; 0 to paint without.",
        show_default="as the memory asks",
    ),
]
ClusterName = Annotated[
    str | None,
    _machine(
        "--cluster",
        metavar="local|ADDRESS|FILE",
        help="Processes here or workers of Dask: local, its scheduler as tls://host:8786, or a"
        " scheduler file.",
        show_default=False,
    ),
]
ModelsFolder = Annotated[
    Path | None,
    _machine(
        "--models", metavar="DIR", help="Models made by ortist export.", show_default="as shipped"
    ),
]


def memory_limit(text: str | None) -> float | None:
    """Return the bytes that ``--memory`` says; None for what there is."""
    if text is None or text.strip().lower() == "auto":
        return None
    return parse_bytes("--memory", text)


def takes_options_and_files(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of all options and output files.

    They take the place of its parameters ``chosen``, where it gets the values of the options that
    were given, by name, and ``files``, if it has that, where it gets the paths, by class.
    """

    def run(**values: Any) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        chosen = {name: _value(OPTIONS[name], given[name]) for name in _OPTIONS if name in given}
        files = {kind: given[name] for name, kind in _FILES.items() if name in given}
        ours = {"chosen": chosen, "files": files}
        for name in values.keys() - _OPTIONS.keys() - _FILES.keys():
            ours[name] = values[name]
        command(**{name: value for name, value in ours.items() if name in own.parameters})

    own = signature(command, eval_str=True)
    parameters = list(_with_options_and_files(own.parameters.values()))
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _with_options_and_files(own: Iterable[Parameter]) -> Iterator[Parameter]:
    more = {"chosen": _OPTIONS, "files": {name: _path(kind) for name, kind in _FILES.items()}}
    for parameter in own:
        for name, annotation in more.get(parameter.name, {}).items():
            yield Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        if parameter.name not in more:
            yield parameter


def _path(kind: type[OutputFile]) -> Any:
    extensions = f" ({', '.join(kind.extensions)})" if kind.extensions else ""
    about = f"{kind.about.removesuffix('.')}{extensions}."
    return Annotated[Path | None, output_option(kind.flag, metavar="FILE", help=about)]


def _flag(option: Option) -> str:
    return option.flag or "--" + option.name.replace("_", "-")


def _value(option: Option, given: Any) -> Any:
    """Return the value of what was given, a text, several, or whether a flag was."""
    return given if isinstance(given, bool) else option.kind.read(_flag(option), given)


def _annotation(option: Option, default: Any) -> Any:
    """Return what the parser makes the flag of; its values stay texts, which the option reads."""
    declared = typer.Option(
        _flag(option),
        metavar=None if isinstance(option.kind, YesNo) else option.kind.metavar,
        help=option.about,
        rich_help_panel=option.panel,
        show_default=_shown(default),
    )
    text: Any = list[str] if option.kind.several else str
    return Annotated[(bool if isinstance(option.kind, YesNo) else text) | None, declared]


def _shown(default: Any) -> str | bool:
    """Return what the help shows of a default; False for what follows from other options."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, float):
        return f"{default:g}"
    return " ".join(default) if isinstance(default, tuple) else default is not None and str(default)


_DEFAULTS = find_recipe(DEFAULT_RECIPE).with_options()
_OPTIONS = {
    name: _annotation(option, getattr(_DEFAULTS, name))
    for name, option in OPTIONS.items()
    if option.flag != ""
}
_FILES = {kind.key().replace("-", "_"): kind for kind in FILES}

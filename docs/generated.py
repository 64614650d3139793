"""What the pages have that is told elsewhere: options, recipes, commands, files of the root.

A page has two marks, ``<!-- options -->`` and ``<!-- end of options -->``. What is between them is
for those who read the page as it is; on the site it is replaced.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from ortist.cli.app import app
from ortist.engine import Options
from ortist.engine.options import OPTIONS, Option
from ortist.engine.recipes import DEFAULT_RECIPE, RECIPES
from ortist.engine.values import same

ROOT = Path(__file__).resolve().parents[1]
_PANELS = tuple(dict.fromkeys(option.panel for option in OPTIONS.values()))
"""Headings of the options of a run, which are all on one page."""
_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""What the site has of the root."""


def filled(page: str) -> str:
    """Return a page, in Markdown, with what is generated in place of what is between marks."""

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        if name in _PAGES:
            return of_root(name)
        return PARTS[name]() if name in PARTS else found[0]

    marks = r"<!-- (?P<name>[\w.]+) -->\n.*?<!-- end of (?P=name) -->"
    page = re.sub(marks, fill, page, flags=re.DOTALL)
    for name, ours in _PAGES.items():
        page = page.replace(f"](../{name}", f"]({ours}")
    return page


def of_root(name: str) -> str:
    """Return a page of the root, its links as they are from this folder."""
    text = (ROOT / name).read_text("utf-8")

    def link(found: re.Match[str]) -> str:
        target = found[1]
        return (
            f"]({target.removeprefix('docs/') if target.startswith('docs/') else f'../{target}'})"
        )

    return re.sub(r"\]\(((?![a-z]+:|#)[^)]+)\)", link, text)


def recipes() -> str:
    """Return what recipes are for and cost, and what they set."""
    command = [sys.executable, "-P", "-m", "ortist.cli", "recipes", "--json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    sides = list(told[0]["work"])
    costs = _table(
        ["recipe", "for", "evaluations", *(f"at {side}" for side in sides)],
        (
            [
                f"`{row['name']}`",
                _plain(row["about"]),
                str(row["evaluations"]),
                *(f"{row['work'][side]:.0f}" for side in sides),
            ]
            for row in told
        ),
    )
    chosen = {name: recipe.with_options() for name, recipe in RECIPES.items()}
    names = [name for name in OPTIONS if any(name in recipe.options for recipe in RECIPES.values())]
    values = _table(
        ["option", *(f"`{name}`" for name in chosen)],
        (
            [f"`{name}`", *(_value_in(OPTIONS[name], options) for options in chosen.values())]
            for name in names
        ),
    )
    return (
        f"{costs}\nThe last columns are the work in evaluations at full size, for 4:3 pictures with"
        f" {' and '.join(sides)} pixels on the longer side: smaller scales cost less.\n\nWhat they"
        f" set:\n\n{values}"
    )


def options() -> str:
    """Return all options of a run."""
    flags = {param.name: param for param in _commands()["stylize"].params}
    standard = RECIPES[DEFAULT_RECIPE].with_options()
    parts = []
    for panel, found in groupby(OPTIONS.values(), key=lambda option: option.panel):
        rows = []
        for option in found:
            param = flags.get(option.name)
            flag = f"`{option.name}`, in Python only" if param is None else _flags(param)
            if param is not None and param.opts[0] != "--" + option.name.replace("_", "-"):
                flag += f", `{option.name}`"
            needs = "".join(f" Only with `{key} = {value}`." for key, value in option.needs.items())
            ours = getattr(standard, option.name)
            changed = "" if same(ours, option.default) else _value(ours)
            rows.append([flag, _plain(option.about) + needs, _value(option.default), changed])
        table = _table(["option", "what for", "default", f"`{DEFAULT_RECIPE}`"], rows)
        parts.append(f"### {panel}\n\n{table}")
    return "\n".join(parts)


def commands() -> str:
    """Return what each command takes."""
    return "\n".join(_command(name, command) for name, command in _commands().items())


def demo() -> str:
    """Return a link to the page that `ortist web` writes beside this one."""
    # Sphinx looks for what it makes itself, which that page is not.
    return '<a href="demo/index.html">Paint here</a>, in this browser: no picture leaves it.\n'


PARTS: Mapping[str, Callable[[], str]] = {
    "demo": demo,
    "recipes": recipes,
    "options": options,
    "commands": commands,
}


def _commands() -> Mapping[str, Any]:
    group: Any = typer.main.get_command(app)
    return group.commands  # type: ignore[no-any-return]


def _command(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    flags = [param for param in command.params if param.param_type_name == "option"]
    usage = " ".join([f"ortist {name} [OPTIONS]", *map(_placeholder, arguments)])
    about = re.sub(r"\\\[", "[", command.help or "")
    text = [f"## ortist {name}\n", f"```text\n{usage}\n```\n", f"{_plain(about)}\n"]
    if arguments:
        text.append(
            _table(["argument", "what"], ([f"`{p.metavar}`", _about(p)] for p in arguments))
        )
    panels: dict[str, list[Any]] = {}
    for param in flags:
        panels.setdefault(param.rich_help_panel or "Options", []).append(param)
    of_runs = {panel for panel in _PANELS if len(panels.get(panel, [])) > 1}
    for panel, params in panels.items():
        if panel not in of_runs:
            heads = ["option", "what", "default"]
            rows = [[_flags(param), _about(param), _default(param)] for param in params]
            if not any(default for *_, default in rows):
                heads, rows = heads[:2], [row[:2] for row in rows]
            text.append(f"**{panel}**\n\n{_table(heads, rows)}")
    if of_runs:
        named = ", ".join(panel.lower() for panel in _PANELS)
        text.append(f"And [all options](settings.md#all-options) of a run: {named}.\n")
    return "\n".join(text)


def _placeholder(argument: Any) -> str:
    shown = argument.metavar + ("..." if argument.nargs == -1 else "")
    return shown if argument.required else f"[{shown}]"


def _about(param: Any) -> str:
    return _plain(param.help or "") + (" Required." if param.required else "")


def _default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return _plain(param.show_default)
    shown = param.show_default and param.default not in (None, False, "")
    return _value(param.default) if shown else ""


def _flags(param: Any) -> str:
    *short, long = param.opts
    metavar = f" {param.metavar}" if param.metavar else ""
    shown = [*short, f"{long}{metavar}", *param.secondary_opts]
    return ", ".join(_code(flag) for flag in shown)


def _value_in(option: Option, options: Options) -> str:
    """Return the value of an option, empty where another one makes it meaningless."""
    held = all(same(getattr(options, name), needed) for name, needed in option.needs.items())
    return _value(getattr(options, option.name)) if held else ""


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"`{name}:{weight:g}`" for name, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _code(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"


def _plain(text: str) -> str:
    """Return a text that is no Markdown, as Markdown; flags in it as code."""
    parts = re.split(r"(--[a-z][a-z-]*)", text)
    escaped = [
        f"`{part}`" if number % 2 else re.sub(r"([\\`*_\[\]<>|])", r"\\\1", part)
        for number, part in enumerate(parts)
    ]
    return "".join(escaped)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

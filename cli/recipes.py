"""``ortist recipes``: what recipes there are, and what they cost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ortist.cli.streams import print_json
from ortist.engine.recipes import RECIPES, Recipe
from ortist.engine.scales import plan_scales

_SIDES = (512, 1024)
"""Longer sides of the 4:3 pictures whose cost is shown."""


def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the recipes of stylize, what options they set, and what they cost.

    Work is in evaluations of the picture in its full size: painting at smaller scales first costs
    less than the same number of evaluations at one.
    """
    rows = [_row(recipe) for recipe in RECIPES.values()]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def _row(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "about": recipe.about,
        "options": dict(recipe.options),
        "evaluations": recipe.with_options().steps,
        "work": {str(side): round(_work(recipe, side), 1) for side in _SIDES},
    }


def _work(recipe: Recipe, side: int) -> float:
    """Return how many evaluations in full size take as long as the recipe does."""
    options = recipe.with_options()
    scales = plan_scales(side, side * 3 // 4, options)
    return sum(scale.work for scale in scales) / scales[-1].pixels


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("for, and options that it sets")
    for heading in ("evaluations", *(f"at {side}" for side in _SIDES)):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        options = ", ".join(f"{name}={value}" for name, value in row["options"].items())
        work = [f"{value:.0f}" for value in row["work"].values()]
        about = f"{row['about']}\n{options}"
        table.add_row(row["name"], about, str(row["evaluations"]), *work)
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(
        f"\nThe last columns are the work in evaluations at full size, for 4:3 pictures with"
        f" {' and '.join(map(str, _SIDES))} pixels on the longer side."
    )

"""What a client asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ortist.engine.recipes import DEFAULT_RECIPE

_STRICT = ConfigDict(extra="forbid", frozen=True)
_PICTURE = "a picture: in JSON base64, or a data: URI; beside files, the name of a file"


class OrderedRegion(BaseModel):
    """A part of the picture with a style of its own."""

    model_config = _STRICT
    mask: str = Field(description=f"White where the region is; {_PICTURE}.")
    style: str | None = Field(
        default=None, description="Its style; null leaves the content as it is."
    )
    style_mask: str | None = Field(default=None, description="White where the style counts.")


class Order(BaseModel):
    """A picture to paint: of what, in which styles, by which recipe and options."""

    model_config = _STRICT
    recipe: str = Field(default=DEFAULT_RECIPE, description="A name, as /v1/recipes has it.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Those that differ from the recipe's, see /v1/options."
    )
    content: str = Field(default="content", description=f"What to paint; {_PICTURE}.")
    styles: tuple[str, ...] | None = Field(
        default=None,
        description="Whose style to take; several are blended. Only regions need none.",
    )
    regions: tuple[OrderedRegion, ...] = ()
    protect: str | None = Field(default=None, description="White where the content counts more.")
    start: str | None = Field(default=None, description="Where to start.")

    def pictures(self) -> Iterator[tuple[str, str]]:
        """Yield all pictures: the names that a job has for them, and what stands for them here."""
        yield "content", self.content
        for number, style in enumerate(self.styles or (), 1):
            yield f"style-{number}", style
        for number, region in enumerate(self.regions, 1):
            yield f"region-{number}-mask", region.mask
            if region.style is not None:
                yield f"region-{number}-style", region.style
            if region.style_mask is not None:
                yield f"region-{number}-style-mask", region.style_mask
        if self.protect is not None:
            yield "protect", self.protect
        if self.start is not None:
            yield "start", self.start

    def as_kept(self) -> Order:
        """Return the order of the same, in which the names of a job stand for the pictures."""
        regions = tuple(
            OrderedRegion(
                mask=f"region-{number}-mask",
                style=None if region.style is None else f"region-{number}-style",
                style_mask=None if region.style_mask is None else f"region-{number}-style-mask",
            )
            for number, region in enumerate(self.regions, 1)
        )
        return Order(
            recipe=self.recipe,
            options=self.options,
            styles=tuple(f"style-{number}" for number, _ in enumerate(self.styles or (), 1)),
            regions=regions,
            protect=None if self.protect is None else "protect",
            start=None if self.start is None else "start",
        )

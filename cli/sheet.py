"""Contact sheets: pictures in rows and columns, each with lines of text beneath it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.engine.images import resize_image
from ortist.models.errors import printable

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

_BACKGROUND = "white"
_INK = "black"
_GAP = 8
"""Pixels between pictures and around them all."""
_FONT_SIZE = 14
_LINE = 18
"""Pixels from one line of text to the next."""
_WIDEST_TEXT = 200
"""Pixels that a column is at most widened to for its text."""


@dataclass
class Cell:
    """A place for a picture and its text.

    Attributes:
        width: of the picture as drawn, in pixels.
        height: likewise.
        lines: what is written beneath.
        image: the picture in any size, uint8 (H, W, 3), RGB; None leaves the place empty.
        room: lines that it may get before the drawing.
    """

    width: int = 0
    height: int = 0
    lines: tuple[str, ...] = ()
    image: NDArray[np.uint8] | None = None
    room: int = 0


class Sheet:
    """A contact sheet; its size is known before the pictures are.

    Args:
        rows: cells, as many in each row; those without a picture may get one before the drawing.
    """

    def __init__(self, rows: Sequence[Sequence[Cell]]) -> None:
        self._rows = rows
        self._heights = [max(cell.height for cell in row) for row in rows]
        self._texts = [max(len(cell.lines) + cell.room for cell in row) * _LINE for row in rows]
        columns = zip(*rows, strict=True)
        self._widths = [max(_width(cell) for cell in column) for column in columns]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (
            sum(self._widths) + _GAP * (len(self._widths) + 1),
            sum(self._heights) + sum(self._texts) + _GAP * (len(self._heights) + 1),
        )

    def draw(self) -> NDArray[np.uint8]:
        """Return the sheet, uint8 (H, W, 3), RGB."""
        from PIL import ImageDraw

        canvas = Image.new("RGB", self.size, _BACKGROUND)
        pen = ImageDraw.Draw(canvas)
        top = _GAP
        for row, height, text in zip(self._rows, self._heights, self._texts, strict=True):
            left = _GAP
            for cell, width in zip(row, self._widths, strict=True):
                if cell.image is not None:
                    picture = resize_image(cell.image, cell.width, cell.height)
                    canvas.paste(Image.fromarray(picture), (left, top))
                for index, line in enumerate(cell.lines):
                    place = left, top + height + index * _LINE
                    pen.text(place, _shortened(line, width), _INK, _font())
                left += width + _GAP
            top += height + text + _GAP
        return np.asarray(canvas)


@cache
def _font() -> ImageFont | FreeTypeFont:
    from PIL.ImageFont import load_default

    return load_default(_FONT_SIZE)


def _width(cell: Cell) -> int:
    """Return how wide a column must be for a cell."""
    texts = (math.ceil(_font().getlength(printable(line))) for line in cell.lines)
    return max(cell.width, min(_WIDEST_TEXT, max(texts, default=0)))


def _shortened(text: str, width: int) -> str:
    """Return as much of the text as ``width`` pixels hold."""
    text = printable(text)
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"

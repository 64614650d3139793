"""Paint glass.jpg and ink.jpg: the scene of paint.py as leaded glass and as a pen drawing.

``python examples/manners.py`` needs numpy and Pillow only, takes some seconds and draws the same
pictures every time. Coordinates are those of paint.py, in units of the picture's height.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from paint import ENLARGED, HEIGHT, WIDTH, Floats, directions, scene
from PIL import Image, ImageDraw

PANE = 26.0
"""How far panes are apart, in pixels of the picture."""
LEAD, LEAD_WIDTH = (0.06, 0.05, 0.09), 3.5
PAPER, INK = (238, 228, 206), (34, 28, 40)
HATCHES = ((0.0, 0.25, 6.0), (1.2, 0.5, 6.0), (-0.9, 0.68, 5.0))
"""Angle to the scene's directions, from what darkness on, and how far apart (pixels)."""
HATCH = 28.0
"""Length of a line of the pen, in pixels."""


def scattered(spacing: float, jitter: float, random: np.random.Generator) -> Floats:
    """Return points (n, 2), one somewhere in each square of ``spacing`` pixels, one row around."""
    columns, rows = int(WIDTH / spacing) + 3, int(HEIGHT / spacing) + 3
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) - 1
    return (grid + random.uniform(-jitter, jitter, grid.shape)) * spacing / HEIGHT


def glass() -> Image.Image:
    """Return panes of flat color, each around one of scattered points, with lead between them."""
    random = np.random.default_rng(7)
    centers = scattered(PANE, 0.45, random)
    tints = np.clip(scene(*centers.T) + random.normal(0, 0.05, (len(centers), 3)), 0, 1)
    scale = HEIGHT * ENLARGED
    y, x = np.mgrid[:scale, : WIDTH * ENLARGED] / scale
    nearest, second = np.full((2, *x.shape), np.inf)
    pane = np.zeros(x.shape, int)
    reach = round(4 * PANE * ENLARGED)
    for index, (cx, cy) in enumerate(centers):
        row, column = round(cy * scale), round(cx * scale)
        near = np.s_[
            max(row - reach, 0) : max(row + reach, 0),
            max(column - reach, 0) : max(column + reach, 0),
        ]
        distance = np.hypot(x[near] - cx, y[near] - cy)
        closer = distance < nearest[near]
        second[near] = np.where(closer, nearest[near], np.minimum(second[near], distance))
        nearest[near] = np.minimum(nearest[near], distance)
        pane[near][closer] = index
    clear = np.clip((second - nearest) * HEIGHT / LEAD_WIDTH - 0.35, 0, 1)[..., np.newaxis]
    lit = tints[pane] * clear + np.array(LEAD) * (1 - clear)
    return reduced(Image.fromarray((lit * 255).astype(np.uint8)))


def ink() -> Image.Image:
    """Return short lines along the scene's directions, crossed where it is dark."""
    random = np.random.default_rng(3)
    paper = Image.new("RGB", (WIDTH * ENLARGED, HEIGHT * ENLARGED), PAPER)
    pen = ImageDraw.Draw(paper)
    for angle, darkness, spacing in HATCHES:
        points = scattered(spacing, 0.5, random)
        dark = 1 - scene(*points.T) @ (0.3, 0.59, 0.11)
        x, y = points[dark > darkness + random.normal(0, 0.06, len(points))].T
        dx, dy = directions(x, y)
        along = np.stack(
            [dx * np.cos(angle) - dy * np.sin(angle), dx * np.sin(angle) + dy * np.cos(angle)]
        )
        half = along * random.uniform(0.25, 0.6, len(x)) * HATCH / HEIGHT
        middle = np.stack([x, y])
        ends = np.concatenate([middle - half, middle + half]).T * HEIGHT * ENLARGED
        for line in ends.tolist():
            pen.line(line, INK, ENLARGED)
    return reduced(paper)


def reduced(picture: Image.Image) -> Image.Image:
    """Return a picture at its final size."""
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    """Write both pictures beside this file."""
    here = Path(__file__)
    glass().save(here.with_name("glass.jpg"), quality=90)
    ink().save(here.with_name("ink.jpg"), quality=90)


if __name__ == "__main__":
    main()

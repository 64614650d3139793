"""Paint style.jpg: an evening over the sea, in some ten thousand brush strokes.

``python examples/paint.py`` needs numpy and Pillow only, takes under a minute and draws the same
picture every time.

Strokes of four sizes, large ones first, follow a field of directions and take their color from an
imagined scene. Every stroke is a bundle of bristles, each of its own tint, and the paint stands in
relief under a light from the upper left.

Coordinates are in units of the picture's height, y downwards: x from 0 to 4/3, y from 0 to 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
ENLARGED = 3
"""The picture is painted this many times larger and then reduced."""

HORIZON = 0.62
SUN = (0.80, 0.40)
# Center x, center y, radius and sense of each whirl in the sky.
WHIRLS = ((0.33, 0.25, 0.22, 1.0), (1.17, 0.24, 0.17, -1.0), (0.72, 0.06, 0.12, -1.0))

# Length and width of the strokes, how far apart they start (pixels), how far their tints wander.
LAYERS = (
    (120.0, 28.0, 11.0, 0.03),
    (95.0, 19.0, 11.0, 0.03),
    (72.0, 13.0, 11.0, 0.04),
    (46.0, 8.0, 12.0, 0.05),
)


def palette(*codes: str) -> Floats:
    """Return RGB colors 0..1, shape (len(codes), 3), of codes like ``"1b2a6b"``."""
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


SKY = palette("15204d", "24418f", "3a75b0", "74b3bd", "eadfb0", "efb650", "d9693a")
SEA = palette("12294f", "1f5286", "348a94", "83bfae", "efcf78", "e08548")
LAND = palette("231a3c", "472a5c", "7d355a", "b24f47", "d98c48", "4a7148", "22473a")


def ramp(colors: Floats, position: Floats) -> Floats:
    """Return the colors at ``position`` (0..1, shape (n,)) along a palette, shape (n, 3)."""
    stops = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(position, stops, channel) for channel in colors.T], axis=-1)


def shore(x: Floats) -> Floats:
    """Return y of the land's edge in the foreground."""
    return 0.98 - 0.36 * np.exp(-((x / 0.52) ** 2)) + 0.025 * np.sin(11 * x)


def peaks(x: Floats) -> Floats:
    """Return y of the far mountains' crest."""
    return HORIZON + 0.01 - 0.13 * np.exp(-(((x - 1.22) / 0.2) ** 2)) - 0.02 * np.sin(13 * x) ** 2


def polar(x: Floats, y: Floats, center: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return distance from ``center`` and angle around it."""
    return np.hypot(x - center[0], y - center[1]), np.arctan2(y - center[1], x - center[0])


def sky(x: Floats, y: Floats) -> Floats:
    """Return the sky's colors: a gradient, spiral whirls, and rings around the sun."""
    position = 0.05 + 0.75 * (y / HORIZON) ** 1.5 + 0.05 * np.sin(9 * x + 5 * np.sin(5 * y + 2 * x))
    for cx, cy, radius, sense in WHIRLS:
        r, angle = polar(x, y, (cx, cy))
        arms = np.sin(2 * angle * sense - 9 * r / radius)
        position += (0.22 * arms + 0.12) * np.exp(-((r / radius) ** 4))
    r, _ = polar(x, y, SUN)
    position += (0.35 + 0.12 * np.cos(75 * r)) * np.exp(-((r / 0.2) ** 2))
    colors = ramp(SKY, np.clip(position, 0, 1))
    disc = np.clip((0.075 - r) / 0.01, 0, 1)[:, np.newaxis]
    return colors * (1 - disc) + disc * palette("fff6cf")


def sea(x: Floats, y: Floats) -> Floats:
    """Return the sea's colors: dark waves and the sun's glitter."""
    depth = (y - HORIZON) / (1 - HORIZON)
    waves = np.sin(120 * (y - HORIZON) ** 0.7 + 3 * np.sin(7 * x + 9 * y))
    glitter = np.exp(-(((x - SUN[0] - 0.03 * waves) / (0.05 + 0.16 * depth)) ** 2))
    position = 0.42 - 0.34 * depth + 0.13 * waves + glitter * (0.55 + 0.3 * waves)
    return ramp(SEA, np.clip(position, 0, 1))


def land(x: Floats, y: Floats) -> Floats:
    """Return the foreground's colors: rows of crops that follow the slope."""
    below = y - shore(x)
    rows = 0.5 + 0.5 * np.sin(70 * below**0.85 + 2 * np.sin(6 * x))
    return ramp(LAND, np.clip(0.1 + 0.85 * rows * (0.6 + 0.4 * np.cos(9 * x + 14 * below)), 0, 1))


def scene(x: Floats, y: Floats) -> Floats:
    """Return the scene's colors at points (n,), RGB 0..1, shape (n, 3)."""
    y = np.clip(y, 0, 1)
    far = ramp(LAND[:4], np.clip(0.15 + 4 * (y - peaks(x)), 0, 1)) * 0.6 + 0.4 * SKY[2]
    where = np.stack([y > shore(x), y > HORIZON, y > peaks(x)], axis=-1)
    return np.select(
        [where[:, :1], where[:, 1:2], where[:, 2:]],
        [land(x, np.maximum(y, shore(x))), sea(x, np.maximum(y, HORIZON)), far],
        sky(x, y),
    )


def directions(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the unit vectors (dx, dy) that strokes follow: wind and whirls, waves, furrows."""
    dx, dy = np.ones_like(x), 0.35 * np.sin(6 * x + 4 * y)
    for cx, cy, radius, sense in (*WHIRLS, (*SUN, 0.16, 1.0)):
        pull = 4 * sense * np.exp(-((np.hypot(x - cx, y - cy) / radius) ** 2)) / radius
        dx, dy = dx - pull * (y - cy), dy + pull * (x - cx)
    water = y > HORIZON
    dx, dy = np.where(water, 1, dx), np.where(water, 0.25 * np.sin(14 * x + 30 * y), dy)
    hill = (y > peaks(x)) & ~water
    slope = (peaks(x + 1e-3) - peaks(x)) / 1e-3
    dx, dy = np.where(hill, 1, dx), np.where(hill, slope, dy)
    ground = y > shore(x)
    slope = (shore(x + 1e-3) - shore(x)) / 1e-3
    dx, dy = np.where(ground, 1, dx), np.where(ground, slope, dy)
    length = np.hypot(dx, dy)
    return dx / length, dy / length


def trace(x: Floats, y: Floats, length: float, points: int = 9) -> tuple[Floats, Floats]:
    """Follow the directions both ways from (x, y); return paths (n, points) in each coordinate."""
    half = points // 2
    behind = follow(x, y, -length / (points - 1), half)[::-1]
    ahead = follow(x, y, length / (points - 1), half)
    xs, ys = zip(*behind, (x, y), *ahead, strict=True)
    return np.stack(xs, axis=-1), np.stack(ys, axis=-1)


def follow(x: Floats, y: Floats, stride: float, count: int) -> list[tuple[Floats, Floats]]:
    """Return the next ``count`` points along the directions, ``stride`` apart."""
    path = []
    for _ in range(count):
        dx, dy = directions(x, y)
        x, y = x + stride * dx, y + stride * dy
        path.append((x, y))
    return path


class Canvas:
    """Paint and its thickness; strokes go on both."""

    def __init__(self) -> None:
        size = (WIDTH * ENLARGED, HEIGHT * ENLARGED)
        self.paint = Image.new("RGB", size, (40, 34, 60))
        self.relief = Image.new("L", size, 128)
        self._paint = ImageDraw.Draw(self.paint)
        self._relief = ImageDraw.Draw(self.relief)

    def layer(self, length: float, width: float, spacing: float, wander: float, seed: int) -> None:
        """Cover the canvas with strokes in random order (lengths in picture pixels)."""
        random = np.random.default_rng(seed)
        columns, rows = int(WIDTH / spacing) + 2, int(HEIGHT / spacing) + 2
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        starts = (grid + random.uniform(-0.7, 0.7, grid.shape)) * spacing / HEIGHT
        starts = starts[random.permutation(len(starts))]
        x, y = starts.T
        tints = scene(x, y) + random.normal(0, wander, starts.shape[:1])[:, np.newaxis]
        tints += random.normal(0, wander / 2, tints.shape)
        paths = zip(*trace(x, y, length / HEIGHT), strict=True)
        for (along_x, along_y), tint in zip(paths, tints, strict=True):
            self._stroke(along_x, along_y, tint, width / HEIGHT * random.uniform(0.6, 1.2), random)

    def _stroke(
        self, x: Floats, y: Floats, tint: Floats, width: float, random: np.random.Generator
    ) -> None:
        normal = np.stack([-np.gradient(y), np.gradient(x)])
        normal /= np.hypot(*normal) + 1e-9
        enlarge = HEIGHT * ENLARGED
        bristles = max(3, round(width * HEIGHT / 1.1))
        thick = max(2, round(1.7 * width * enlarge / bristles))
        for side in random.permutation(bristles):
            offset = (side / (bristles - 1) - 0.5) * width
            first, last = random.integers(0, 3), len(x) - random.integers(0, 3)
            line = np.stack([x + offset * normal[0], y + offset * normal[1]], axis=-1)[first:last]
            points = [tuple(point) for point in (line * enlarge).tolist()]
            shade = random.normal(0, 0.016)
            color = tuple(int(v) for v in np.clip(tint + shade, 0, 1) * 255)
            height = int(np.clip(128 + 900 * shade + 50 * (1 - abs(2 * offset / width)), 0, 255))
            self._paint.line(points, color, thick, joint="curve")
            self._relief.line(points, height, thick, joint="curve")

    def picture(self) -> Image.Image:
        """Return the painting, lit from the upper left, at its final size."""
        reduce = Image.Resampling.LANCZOS
        paint = np.asarray(self.paint.resize((WIDTH, HEIGHT), reduce), np.float64)
        relief = np.asarray(self.relief.resize((WIDTH, HEIGHT), reduce), np.float64)
        down, right = np.gradient(relief)
        lit = paint * np.clip(1 + 0.004 * (down + right), 0.6, 1.5)[..., np.newaxis]
        return Image.fromarray(np.clip(np.rint(lit), 0, 255).astype(np.uint8))


def main() -> None:
    """Paint all layers and write style.jpg beside this file."""
    canvas = Canvas()
    for seed, layer in enumerate(LAYERS):
        canvas.layer(*layer, seed)
    canvas.picture().save(Path(__file__).with_name("style.jpg"), quality=90)


if __name__ == "__main__":
    main()

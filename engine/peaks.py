"""How much memory a run takes, from measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ortist.engine.lbfgs import HISTORY
from ortist.engine.options import Options
from ortist.engine.scales import Scale
from ortist.engine.scene import WHOLE, Division
from ortist.engine.tiles import GRID, cut

Peaks: TypeAlias = Mapping[tuple[str, str], Mapping[int, float]]
_PEAKS: Peaks = {
    ("winograd", "gram"): {
        27_648: 418, 49_152: 460, 76_800: 539, 120_000: 633, 196_608: 688, 262_144: 865,
        307_200: 1091, 480_000: 1295, 786_432: 1744, 995_328: 2101, 1_228_800: 3268,
        1_470_000: 3219, 1_650_000: 2996, 2_430_000: 5243,
    },
    ("winograd", "w2"): {
        27_648: 436, 49_152: 473, 76_800: 549, 120_000: 650, 196_608: 704, 262_144: 947,
        307_200: 1042, 480_000: 1313, 786_432: 1803, 995_328: 2185, 1_228_800: 2941,
        1_470_000: 3250, 1_650_000: 3040, 2_430_000: 5216,
    },
    ("winograd", "neighbors"): {
        27_648: 472, 49_152: 532, 76_800: 577, 120_000: 838, 196_608: 944, 262_144: 1081,
        307_200: 1181, 480_000: 1875, 786_432: 2511, 995_328: 3353, 1_228_800: 4377,
        1_470_000: 4524, 1_650_000: 4885, 2_430_000: 7877,
    },
    ("direct", "gram"): {
        6_912: 558, 12_288: 543, 49_152: 648, 120_000: 761, 196_608: 999, 480_000: 1979,
        786_432: 3081,
    },
    ("direct", "w2"): {
        6_912: 577, 12_288: 554, 49_152: 668, 120_000: 803, 196_608: 995, 480_000: 2172,
        786_432: 2832,
    },
    ("direct", "neighbors"): {
        3_072: 286, 12_288: 307, 49_152: 506, 120_000: 885, 196_608: 1129, 480_000: 2088,
        786_432: 4145,
    },
}  # fmt: skip
"""Resident memory at its peak in MB by pixels of the picture, by kernel and kind of cost.

Measured of the recipes loose and standard with two threads, less what L-BFGS remembers. They rise
in jumps: the runtime takes memory in pieces that double.
"""
_GRAM_TILES = {
    147_456: 621, 262_144: 811, 409_600: 947, 589_824: 1474, 802_816: 1480, 1_048_576: 2537,
    1_327_104: 2713, 1_638_400: 2720, 1_982_464: 3600, 2_359_296: 5300, 3_686_400: 5600,
}  # fmt: skip
_TILE_PEAKS: Peaks = {
    ("winograd", "gram"): _GRAM_TILES,
    ("winograd", "w2"): {**_GRAM_TILES, 147_456: 624},
    ("winograd", "neighbors"): {
        147_456: 628, 262_144: 1011, 409_600: 1389, 589_824: 1938, 802_816: 2600, 1_048_576: 3751,
        1_327_104: 4292, 1_638_400: 5976, 1_982_464: 6010, 2_359_296: 8600, 3_686_400: 11000,
    },
    ("direct", "gram"): {262_144: 976, 1_048_576: 2793},
    ("direct", "w2"): {262_144: 1122, 1_048_576: 3617},
    ("direct", "neighbors"): {262_144: 1162, 1_048_576: 4751},
}  # fmt: skip
"""The same of a process that measures a tile and pulls it back, by pixels of its crop."""
_FIRST_GUIDE, _OTHER_GUIDES, _PROTECTED = 700.0, 500.0, 600.0
"""Bytes for each pixel that the first area with a mask takes, any other, and protection."""
_IN_TILES = 200e6, 40.0
"""What a run in tiles takes beside a tile: bytes, and those for each pixel of the picture."""
MIN_SIDE, MAX_SIDE = 128, 2048
"""Of the tiles that are chosen: with smaller ones most of the work is for what is beside them."""
_MEASURING = 290e6, 1180.0
"""Bytes of a process that measures a style, and those for each of its pixels."""


def peak_bytes(
    scales: Sequence[Scale],
    style_pixels: int,
    options: Options,
    block_at: Callable[[int], int],
    division: Division = WHOLE,
    halo: int = 0,
) -> int:
    """Return the resident memory of a process that paints this, at its peak, on a CPU.

    Args:
        scales: of the run.
        style_pixels: of the largest style in the full size.
        options: how to paint.
        block_at: returns the block size for a number of pixels, 0 for plain convolutions.
        division: of the picture.
        halo: pixels that are seen beside a tile.
    """
    guides = _FIRST_GUIDE + _OTHER_GUIDES * (division.guided - 1) if division.guided else 0.0
    if division.protected is not None and options.content_cost == "neighbors":
        guides += _PROTECTED
    # Adam's three pictures are among what was measured.
    pairs = HISTORY if options.optimizer == "lbfgs" else 0

    def peak(scale: Scale) -> float:
        kernel = "winograd" if block_at(scale.pixels) else "direct"
        if scale.tile:
            largest, *_ = cut(scale.height, scale.width, scale.tile, halo)
            crop = largest.crop.pixels
            own = _measured(_TILE_PEAKS, kernel, options, crop) + guides * crop
            base, each = _IN_TILES
            return own + base + each * max(scale.pixels, style_pixels)
        remembered = 2 * min(pairs, scale.steps) * 3 * np.dtype(np.float32).itemsize
        own = _measured(_PEAKS, kernel, options, scale.pixels)
        return own + (remembered + guides) * scale.pixels

    def measuring(scale: Scale) -> float:
        base, each = _MEASURING
        share = scale.pixels / scales[-1].pixels
        return 0.0 if scale.tile else base + each * style_pixels * share

    return round(max(*map(measuring, scales), *map(peak, scales)))


def fitting_tile(limit: float, peak: Callable[[int], float]) -> int:
    """Return the largest tile that a run in so many bytes can have, 0 if it needs none.

    Args:
        limit: bytes.
        peak: returns those that it takes with a tile.

    Returns:
        The smallest one there is if none is small enough.
    """
    if peak(0) <= limit:
        return 0
    fitting = (side for side in range(MAX_SIDE, GRID, -GRID) if peak(side) <= limit)
    return next(fitting, MIN_SIDE)


def _measured(tables: Peaks, kernel: str, options: Options, pixels: int) -> float:
    """Return the peak in bytes for so many pixels: in proportion beyond those of the table."""
    matched = options.content_cost == "neighbors"
    table = tables[kernel, "neighbors" if matched else options.statistic]
    at, peaks = (np.array(list(values)) for values in zip(*table.items(), strict=True))
    return float(1e6 * np.interp(pixels, at, peaks) * max(1.0, pixels / at[-1]))

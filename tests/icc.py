"""ICC profiles of version 2, made from what defines a color space, and the colors that follow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WHITE = (0.3127, 0.3290)  # D65
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _xyz(x: float, y: float) -> Floats:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def matrix(primaries: Sequence[tuple[float, float]]) -> Floats:
    """Linear RGB to XYZ, (3, 3), under D65."""
    columns = np.stack([_xyz(*primary) for primary in primaries], axis=1)
    return columns * np.linalg.solve(columns, _xyz(*WHITE))


def _to_d50() -> Floats:
    """The matrix that adapts XYZ from D65 to D50."""
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ _xyz(*WHITE))
    return np.linalg.inv(_BRADFORD) @ (scale[:, np.newaxis] * _BRADFORD)


def srgb_curve(values: Floats) -> Floats:
    """Encoded values, 0..1, to light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _srgb_levels(light: Floats) -> Floats:
    clipped = np.clip(light, 0, 1)
    encoded = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return 255 * encoded


def in_srgb(
    pixels: NDArray[np.uint8],
    primaries: Sequence[tuple[float, float]],
    curve: Callable[[Floats], Floats],
) -> Floats:
    """What the colors (..., 3) of another space are in sRGB, 0..255, not rounded."""
    light = curve(pixels / 255.0)
    return _srgb_levels(light @ (np.linalg.inv(matrix(SRGB)) @ matrix(primaries)).T)


def lab_in_srgb(lab: Floats) -> Floats:
    """What CIELAB under D50, (..., 3), is in sRGB, 0..255, not rounded."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = _D50 * np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)
    return _srgb_levels(xyz @ np.linalg.inv(_to_d50() @ matrix(SRGB)).T)


def _fixed(values: Floats) -> bytes:
    numbers = np.rint(np.asarray(values) * 65536).astype(int).ravel()
    return struct.pack(f">{numbers.size}i", *numbers)


def _curve(curve: Callable[[Floats], Floats]) -> bytes:
    table = np.rint(65535 * curve(np.linspace(0, 1, 4096))).astype(">u2")
    return b"curv" + struct.pack(">II", 0, table.size) + table.tobytes()


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """A profile with these tags; its connection space is CIELAB for a printer, else XYZ."""
    entries, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        entries += struct.pack(">4sII", name, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    connection = b"Lab " if kind == b"prtr" else b"XYZ "
    size = start + len(data)
    header = struct.pack(">III4s4s4s", size, 0, 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + data


def rgb_profile(
    primaries: Sequence[tuple[float, float]], curve: Callable[[Floats], Floats]
) -> bytes:
    """The profile of a display or camera: a matrix and a curve."""
    columns = (_to_d50() @ matrix(primaries)).T
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50)}
    for name, column in zip(b"rgb", columns, strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(column)
        tags[bytes([name]) + b"TRC"] = _curve(curve)
    return profile(b"RGB ", tags)


def gray_profile(curve: Callable[[Floats], Floats]) -> bytes:
    """The profile of a gray scanner: a curve."""
    return profile(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50), b"kTRC": _curve(curve)})


def cmyk_profile(corners: NDArray[np.uint8]) -> bytes:
    """The profile of a press: what each combination of inks gives, uint8 (2, 2, 2, 2, 3).

    The numbers are L * 255 / 100, a + 128 and b + 128; the axes are C, M, Y and K.
    """
    identity = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + _fixed(np.eye(3))
    lut += identity * 4 + corners.tobytes() + identity * 3
    white = b"XYZ " + bytes(4) + _fixed(_D50)
    return profile(b"CMYK", {b"wtpt": white, b"A2B0": lut, b"A2B1": lut}, b"prtr")

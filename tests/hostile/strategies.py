"""What users, scripts and broken files may hand to ortist."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import icc
import numpy as np
import pillow_heif
import tifffile
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray
from PIL import Image

from ortist.engine import LAYERS, Encoding, Options
from ortist.engine.images import write_image
from ortist.engine.options import INITS, OPTIMIZERS


class Unprintable:
    """An object whose ``repr`` fails."""

    def __repr__(self) -> str:
        raise ValueError("no")


_WORDS = (*INITS, *OPTIMIZERS, *LAYERS, "average", "max", "l2", "gram", "w2", "auto", "winograd")
numbers: SearchStrategy[Any] = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([0, 1, 2**31, 2**63, 2**64, 10**18, 10**400]),
    # Ints that cannot be printed, made late: hypothesis prints what it samples from.
    st.sampled_from([1, -1]).map(lambda sign: sign * 10**5000),
    st.floats(),
    st.booleans(),
    st.sampled_from([np.float16(3), np.int8(20), np.uint64(2**63), np.float64("nan"), 3j]),
)
arrays: SearchStrategy[Any] = st.sampled_from(
    [
        np.zeros(0),
        np.zeros(3),
        np.array(3),
        np.array([["conv1_1", "conv2_1"]]),
        np.array(["conv1_1", "conv2_1"]),
        np.ones((2, 2, 2)),
        np.array([object()]),
    ]
)
texts: SearchStrategy[str] = st.one_of(
    st.sampled_from(_WORDS),
    st.sampled_from(
        ["", " ", "\n", "\0", "1,10", "1|2@0.5", "1,2@x", "0,1@9", "9" * 5000, "e" * 10**5]
    ),
    st.sampled_from(
        ["nan", "inf", "-1", "1e999", "0x10", "1_0", "conv1_1:2", "conv1_1:", ":", "٣"]
    ),
    st.text(max_size=20),
)
anything: SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        numbers,
        arrays,
        texts,
        st.binary(max_size=8),
        st.builds(Unprintable),
        st.just(Options),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.sampled_from(_WORDS), texts), inner, max_size=4),
    ),
    max_leaves=6,
)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Values for some fields of ``Options``, some of which may do."""
    chosen = draw(st.lists(st.sampled_from(fields(Options)), min_size=1, max_size=4, unique=True))
    return {
        field.name: draw(st.one_of(st.just(field.default), numbers, texts, anything))
        for field in chosen
    }


def _line(name: str, value: str) -> str:
    return f"{name} = {value}"


_toml_values: SearchStrategy[str] = st.one_of(
    st.sampled_from(
        [
            *("1", "0", "-1", "true", "1.5", "nan", "-inf", "0x" + "f" * 5000, "9" * 5000, "''"),
            *("2024-01-01", "[1, 'a']", "{conv1_1 = 1}", "{conv1_1 = {a = 1}}", "[" * 3000, "'\0'"),
            *(".".join("a" * 20000), "{" + ".".join("a" * 20000) + " = 1}", '"' * 9, "'standard'"),
        ]
    ),
    st.sampled_from([f"'{word}'" for word in _WORDS]),
    st.text(max_size=12),
)
_toml_names: SearchStrategy[str] = st.one_of(
    st.sampled_from([field.name for field in fields(Options)]),
    st.sampled_from(
        ["recipe", "about", "size.a", ".".join("a" * 20000), "[size]", "[[a]]", "'a b'"]
    ),
    st.text(max_size=8),
)
_TOML_LINES = (
    *("steps = 3", "recipe = 'fine'", "about = 'mine'", "style_layers = ['conv1_1']", "tv = 1"),
    *("content_layers = {conv4_2 = 1.5}", "beta = 12.5", "optimizer = 'adam'", "[style_layers]"),
)
recipes: SearchStrategy[bytes] = st.one_of(
    st.lists(
        st.one_of(
            st.sampled_from(_TOML_LINES),
            st.sampled_from(_TOML_LINES),
            st.builds(_line, _toml_names, _toml_values),
        ),
        max_size=4,
    ).map(lambda lines: "\n".join(lines).encode(errors="surrogatepass")),
    st.binary(max_size=64),
)


def _encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@functools.cache
def whole_pictures() -> tuple[bytes, ...]:
    """Small files in every format that is read, in many modes."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    gray16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    saved: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "PNG", {}),
        (rgb, "JPEG", {"exif": exif}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("L"), "JPEG", {}),
        (rgb.convert("RGBA"), "PNG", {}),
        (rgb.convert("P"), "PNG", {"transparency": 3}),
        (rgb.convert("LA"), "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (gray16, "PNG", {}),
        (gray16, "TIFF", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (rgb.convert("F"), "TIFF", {}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb.convert("RGBA"), "WEBP", {}),
        (rgb, "BMP", {}),
        (rgb.convert("P"), "GIF", {"save_all": True, "append_images": [rgb.convert("P")]}),
        (rgb, "PPM", {}),
        (rgb, "AVIF", {"exif": exif}),
        (rgb.convert("RGBA"), "AVIF", {"icc_profile": PROFILES["RGB"]}),
    ]
    for mode, profile in PROFILES.items():
        saved.append((rgb.convert(mode), "TIFF", {"icc_profile": profile}))
        saved.append((rgb.convert(mode), "JPEG", {"icc_profile": profile}))
    saved.append((rgb.convert("RGBA"), "PNG", {"icc_profile": PROFILES["RGB"]}))
    files = [_encoded(image, kind, **settings) for image, kind, settings in saved]
    return (*files, *_tiled_files(pixels), *_own_files(pixels), _heic(rgb))


PROFILES = {
    "RGB": icc.rgb_profile(icc.DISPLAY_P3, lambda values: values**2.2),
    "L": icc.gray_profile(lambda values: values**1.8),
    "CMYK": icc.cmyk_profile(np.arange(48).astype(np.uint8).reshape(2, 2, 2, 2, 3)),
}


def _tiled_files(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """Files as large pictures have them: BigTIFF in tiles, of 8 and 16 bits, and in planes."""
    alpha = np.dstack([pixels, pixels[..., 0]])
    deep = alpha.astype(np.uint16) * 257
    for samples, settings in (
        (pixels, {"compression": "zlib", "predictor": True}),
        (alpha, {"compression": "zlib", "extrasamples": ["assocalpha"]}),
        (deep, {"compression": "zlib", "predictor": True, "extrasamples": ["unassalpha"]}),
        (deep[..., :3].transpose(2, 0, 1).copy(), {"planarconfig": "separate"}),
        (pixels[..., 0], {"photometric": "minisblack", "iccprofile": PROFILES["L"]}),
    ):
        stream = io.BytesIO()
        known: dict[str, Any] = {"photometric": "rgb", "metadata": None, "iccprofile": None}
        known |= {"bigtiff": True, "tile": (16, 16), "extratags": [(274, 3, 1, 6, True)]}
        tifffile.imwrite(stream, samples, **known | settings)
        yield stream.getvalue()


def _own_files(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """Files as ortist writes them, with all that they can have."""
    alpha = pixels[..., 0]
    with tempfile.TemporaryDirectory() as folder:
        for name, bits in (("a.png", 8), ("a.png", 16), ("a.tif", 16), ("a.jpg", 8), ("a.webp", 8)):
            path = Path(folder) / name
            opaque = path.suffix == ".jpg"
            encoding = Encoding(bits=bits, alpha=None if opaque else alpha, comment='{"seed": 1}')
            write_image(pixels, path, encoding)
            yield path.read_bytes()


def _heic(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    file = pillow_heif.from_pillow(image)
    file.info["icc_profile"] = PROFILES["RGB"]
    file.save(stream, quality=50)
    return stream.getvalue()


Mutation = Callable[[bytes, float, bytes], bytes]


def _truncated(data: bytes, place: float, _: bytes) -> bytes:
    return data[: int(len(data) * place)]


def _overwritten(data: bytes, place: float, part: bytes) -> bytes:
    at = int(len(data) * place)
    return data[:at] + part + data[at + len(part) :]


def _inserted(data: bytes, place: float, part: bytes) -> bytes:
    at = int(len(data) * place)
    return data[:at] + part + data[at:]


def _repeated(data: bytes, place: float, _: bytes) -> bytes:
    return data + data[int(len(data) * place) :]


def _cut(data: bytes, place: float, part: bytes) -> bytes:
    at = int(len(data) * place)
    return data[:at] + data[at + 1 + len(part) :]


_PARTS: SearchStrategy[bytes] = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 65501]).map(
        lambda n: struct.pack(">I", n)
    ),
    st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 65501]).map(
        lambda n: struct.pack("<I", n)
    ),
)
# Headers are where damage does most: half of it goes to the first hundredths.
_PLACES: SearchStrategy[float] = st.one_of(st.floats(0, 1), st.floats(0, 0.06))


@st.composite
def damaged(draw: st.DrawFn, whole: SearchStrategy[bytes]) -> bytes:
    """A file with up to three kinds of damage."""
    data = draw(whole)
    mutations = st.sampled_from([_truncated, _overwritten, _inserted, _repeated, _cut])
    for mutation in draw(st.lists(mutations, max_size=3)):
        data = mutation(data, draw(_PLACES), draw(_PARTS))
    return data


pictures: SearchStrategy[bytes] = st.one_of(
    damaged(st.deferred(lambda: st.sampled_from(whole_pictures()))), st.binary(max_size=40)
)


_JSON: SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([10**4000, 2**63, 1e400, float("nan"), "", ".", "..", "/etc/passwd", "a/b"]),
    st.sampled_from(
        ["vgg19.weights", "gradient", "features", "conv1_1", "\0", "0" * 64, [], {}, [[]]]
    ),
)


def _replace(value: Any, path: list[int], new: Any) -> Any:
    """Return JSON in which what is at the end of a path, each step taken modulo, is replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    if isinstance(value, dict):
        key = sorted(value)[path[0] % len(value)]
        return {**value, key: _replace(value[key], path[1:], new)}
    at = path[0] % len(value)
    return [*value[:at], _replace(value[at], path[1:], new), *value[at + 1 :]]


def _drop(value: Any, path: list[int]) -> Any:
    if not isinstance(value, dict | list) or not value:
        return value
    if isinstance(value, dict):
        key = sorted(value)[path[0] % len(value)]
        rest = {name: kept for name, kept in value.items() if name != key}
        return rest if len(path) == 1 else {**value, key: _drop(value[key], path[1:])}
    at = path[0] % len(value)
    if len(path) == 1:
        return [*value[:at], *value[at + 1 :]]
    return [*value[:at], _drop(value[at], path[1:]), *value[at + 1 :]]


@st.composite
def manifests(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    """A manifest in which things are replaced, missing, or broken as text."""
    changed: Any = whole
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.lists(st.integers(0, 60), min_size=1, max_size=5))
        changed = (
            _drop(changed, path) if draw(st.booleans()) else _replace(changed, path, draw(_JSON))
        )
    text = json.dumps(changed).encode()
    return draw(damaged(st.just(text))) if draw(st.integers(0, 3)) == 0 else text


@st.composite
def graphs(draw: st.DrawFn, manifest: dict[str, Any], whole: dict[str, bytes]) -> dict[str, bytes]:
    """A damaged graph, and a manifest that most often has its size and checksum."""
    name = draw(st.sampled_from(sorted(whole)))
    data = draw(damaged(st.just(whole[name])))
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if draw(st.integers(0, 3)) == 0:
        facts = {}
    entries = [entry | facts if entry["file"] == name else entry for entry in manifest["graphs"]]
    return {name: data, "manifest.json": json.dumps(manifest | {"graphs": entries}).encode()}


@functools.cache
def small_picture(seed: int) -> NDArray[np.uint8]:
    """A picture of noise, (20, 24, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)

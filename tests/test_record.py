"""Records of what pictures are made of."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ortist.engine import Engine, InputError, Options, Record, find_recipe
from ortist.engine.images import read_image
from ortist.export.costs.gram import Gram

EXAMPLES = Path(__file__).parents[1] / "examples"
CONTENT, STYLE = EXAMPLES / "content.jpg", EXAMPLES / "style.jpg"
OPTIONS = find_recipe("standard").with_options(size=64, steps=3, style_weights=[1.0])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu", 1)


@pytest.fixture(scope="module")
def record(engine: Engine) -> Record:
    return engine.record(CONTENT, STYLE, OPTIONS)


def changed(record: Record, **values: Any) -> str:
    return json.dumps({**json.loads(record.to_json()), **values})


def test_a_record_says_what_the_picture_is_made_of(record: Record) -> None:
    assert [(item.role, item.name) for item in record.inputs] == [
        ("content", "content.jpg"),
        ("style", "style.jpg"),
    ]
    assert record.inputs[0].sha256 == hashlib.sha256(CONTENT.read_bytes()).hexdigest()
    assert list(record.options) == [field.name for field in fields(Options)]
    assert record.versions["numpy"] == np.__version__
    assert set(record.versions) == {"ortist", "onnxruntime", "numpy", "pillow"}
    assert (record.provider, record.threads) == ("CPUExecutionProvider", 1)


def test_a_record_and_its_options_come_back_from_json(record: Record) -> None:
    text = record.to_json()
    assert "\n" not in text
    assert text.isascii()
    back = Record.from_json(text)
    assert back.to_json() == text
    assert back.differences(record) == record.differences(back) == []
    assert back.to_options() == OPTIONS


def test_threads_are_recorded_as_a_number_even_if_none_is_given() -> None:
    assert Engine("cpu").record(CONTENT, STYLE).threads >= 1


def test_an_option_that_is_a_picture_is_an_input(engine: Engine) -> None:
    options = replace(OPTIONS, init=STYLE)
    record = engine.record(CONTENT, [STYLE, CONTENT], options)
    assert [item.role for item in record.inputs] == ["content", "style", "style", "init"]
    assert record.options["init"] is None
    with pytest.raises(InputError, match="init is a picture, which must be given"):
        record.to_options()
    assert record.to_options({"init": STYLE}) == options


def test_pictures_in_memory_are_recorded_by_their_pixels(engine: Engine) -> None:
    pixels = read_image(CONTENT)
    stream = io.BytesIO(CONTENT.read_bytes())
    sources = [pixels, Image.fromarray(pixels), stream]
    records = [engine.record(source, STYLE, OPTIONS) for source in sources]
    assert all(record.inputs[0].name == "" for record in records)
    assert stream.tell() == 0
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    now = engine.record(other, STYLE, OPTIONS)
    assert now.differences(records[0]) == ["content '' has other content"]
    assert engine.record(pixels.copy(), STYLE, OPTIONS).differences(records[0]) == []


def test_differences_are_told_in_words(engine: Engine, record: Record, tmp_path: Path) -> None:
    style = tmp_path / "style.jpg"
    style.write_bytes(STYLE.read_bytes() + b" ")
    options = replace(OPTIONS, beta=8, style_layers=["conv1_1"])
    now = Engine("cpu", 2, kernel="direct", pieces=True).record(CONTENT, style, options)
    now = replace(now, versions={**now.versions, "numpy": "9.9"}, models="0" * 64)
    layers = json.dumps(record.options["style_layers"])
    assert now.differences(record) == [
        "style 'style.jpg' has other content",
        "option beta is 8.0, was 4.0",
        f'option style_layers is ["conv1_1"], was {layers}',
        f"numpy 9.9, was {np.__version__}",
        "threads is 2, was 1",
        'kernel is "direct", was "auto"',
        "pieces is true, was false",
        "the models are others",
    ]
    more = engine.record(STYLE, [STYLE, STYLE], OPTIONS)
    assert more.differences(record) == [
        "content is 'style.jpg', was 'content.jpg'",
        "pictures as style are 2, were 1",
    ]


def test_names_make_no_difference(engine: Engine, record: Record, tmp_path: Path) -> None:
    renamed = tmp_path / "a\nb.jpg"
    renamed.write_bytes(CONTENT.read_bytes())
    now = engine.record(renamed, STYLE, OPTIONS)
    assert now.inputs[0].name == "a b.jpg"
    assert now.differences(record) == []


def test_the_order_of_layers_makes_a_difference(engine: Engine, record: Record) -> None:
    layers = dict(reversed(dict(OPTIONS.style_layers).items()))  # type: ignore[arg-type]
    now = engine.record(CONTENT, STYLE, replace(OPTIONS, style_layers=layers))
    assert len(now.differences(record)) == 1


def test_what_cannot_be_recorded_is_refused(engine: Engine, tmp_path: Path) -> None:
    class Own(Gram):
        name = "own"

    with pytest.raises(InputError, match="terms has own, accepted are none where a record"):
        engine.record(CONTENT, STYLE, Options(terms={Own(): ["conv1_1"]}))
    with pytest.raises(InputError, match=r"^style '.*none\.jpg' does not exist$"):
        engine.record(CONTENT, tmp_path / "none.jpg")
    with pytest.raises(InputError, match=r"^content '.*' cannot be read: Is a directory"):
        engine.record(tmp_path, STYLE)
    with pytest.raises(InputError, match=r"^content is .* which cannot be read twice"):
        engine.record(object(), STYLE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 1}, "format is 1, accepted is 2"),
        ({"threads": True}, "threads is True, accepted is a whole number from 1"),
        ({"inputs": [{}]}, r"inputs\[0\] has no 'role'"),
        ({"inputs": [{"role": "content", "name": 1, "sha256": "0"}]}, "accepted is a text"),
        ({"inputs": [1] * 2000}, "accepted is a list of at most 1000"),
        ({"options": []}, r"options is \[\], accepted is an object"),
        ({"versions": {"numpy": None}}, "versions.numpy is None, accepted is a text"),
        ({"models": "0"}, "models is '0', accepted is 64 hexadecimal digits"),
        ({"more": 1}, "it has 'more', accepted are"),
    ],
)
def test_damaged_records_are_refused(record: Record, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^the record is damaged: .*{message}"):
        Record.from_json(changed(record, **values))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, " " * 2_000_000, '{"format": 1, "format": 1}', "1e999"]
)
def test_what_is_no_record_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^the record is damaged: ") as caught:
        Record.from_json(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": "much"}, "beta is 'much'"),
        ({"init": "/etc/passwd"}, "init is '/etc/passwd', accepted are noise, content"),
        ({"unheard": 1}, "the record has unknown option 'unheard'"),
    ],
)
def test_options_of_a_record_are_checked(
    record: Record, options: dict[str, Any], message: str
) -> None:
    damaged = changed(record, options={**record.options, **options})
    with pytest.raises(InputError, match=message):
        Record.from_json(damaged).to_options()

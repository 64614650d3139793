"""Lists of pictures to paint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ortist.engine import InputError
from ortist.engine.jobs import Job
from ortist.engine.options import OPTIONS
from ortist.engine.worklist import read_worklist


def read(folder: Path, name: str, text: str, **chosen: Any) -> list[Job]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_worklist(folder / name, chosen, "standard", ".png")


def test_csv(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        "m.csv",
        "\ufeffcontent,Style,output,--beta,style-layers,init,normalize,recipe\n".replace("St", "st")
        + "a.jpg,s.jpg;t.jpg,x.JPG,8,conv1_1:2+conv2_1:1,noise,no,notebook\n"
        + '\n"b,1.jpg",/s.jpg,,,,start.png,,\n',
        steps=7,
    )
    first, second = jobs
    assert first.content == tmp_path / "a.jpg"
    assert first.styles == (tmp_path / "s.jpg", tmp_path / "t.jpg")
    assert (first.output, first.options.beta, first.options.steps) == ("x.JPG", 8, 7)
    assert first.options.style_layers == {"conv1_1": 2, "conv2_1": 1}
    assert (first.options.optimizer, first.options.init) == ("adam", "noise")
    assert (second.content, second.styles) == (tmp_path / "b,1.jpg", (Path("/s.jpg"),))
    assert (second.output, second.options.beta) == ("b,1_s.png", 4)
    assert second.options.init == str(tmp_path / "start.png")


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"content": "a.jpg", "style": ["s.jpg", "t.jpg"], "style_weights": [1, 3], "beta": 8},
        {"content": "a.jpg", "style": "s.jpg", "style_layers": {"conv1_1": 2}, "width": None},
        {"content": "a.jpg", "style": "s.jpg", "output": "a_s", "beta": "1"},
    ]
    jobs = read(tmp_path, "m.jsonl", "\n\n".join(map(json.dumps, lines)))
    assert [job.output for job in jobs] == ["a_s+t.png", "a_s_2.png", "a_s.png"]
    assert [job.options.beta for job in jobs] == [8, 4, 1]
    assert jobs[0].options.style_weights == (1, 3)
    assert jobs[1].options.style_layers == {"conv1_1": 2}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.txt", "", "has an unknown extension, accepted are .csv, .jsonl"),
        ("m.csv", "", "lists no pictures"),
        ("m.csv", "content,style\n", "lists no pictures"),
        ("m.csv", "content\na.jpg\n", "line 2: there is no style"),
        ("m.csv", "content,style\n\na,s\na,\n", "line 4: there is no style"),
        ("m.csv", "content,style\na,;\n", "line 2: content and style are not names of files"),
        ("m.csv", "content,style\na,s,more\n", "line 2: a cell has no column with a name"),
        ("m.csv", "content,style,style\na,s,t\n", "column 'style' is there twice"),
        ("m.csv", 'content,style\n"a,s\n', "line 1: unexpected end of data"),
        ("m.csv", "content,style,bet\na,s,1\n", "line 2: unknown column 'bet', accepted are con"),
        ("m.csv", "content,style,terms\na,s,1\n", "line 2: unknown column 'terms'"),
        ("m.csv", "content,style,beta\na,s,x\n", "line 2: beta is 'x', accepted are"),
        ("m.csv", "content,style,recipe\na,s,x\n", "line 2: unknown recipe 'x'"),
        ("m.csv", "content,style,output\na,s,../x\n", "line 2: output is '../x', accepted is the"),
        (
            "m.csv",
            "content,style,output\na,s,x\na,s,X.png\n",
            "output 'x.png' is that of two lines",
        ),
        ("m.csv", "content,style,output\na,s,.x\n", "line 2: output is '.x'"),
        ("m.jsonl", "{}", "line 1: there is no content"),
        ("m.jsonl", "\n[1]", "line 2: it is [1], accepted is an object"),
        ("m.jsonl", '{"content": "a"', "line 1: Expecting"),
        ("m.jsonl", '{"content": "a", "content": "b"}', "line 1: 'content' is there twice"),
        ("m.jsonl", '{"content": 1, "style": "s"}', "line 1: content and style are not names"),
        ("m.jsonl", '{"content": "a", "style": ["s", 1]}', "line 1: content and style are not"),
        ("m.jsonl", '{"content": "a", "style": []}', "line 1: there is no style"),
        ("m.jsonl", '{"content": "a", "style": {"s": 1}}', "line 1: content and style are not"),
        ("m.jsonl", '{"content": "a", "style": "s", "recipe": 1}', "line 1: recipe is 1"),
        ("m.jsonl", '{"content": "a", "style": "s", "steps": "many"}', "line 1: steps is 'many'"),
        ("m.jsonl", "[" * 100_000, "line 1: "),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, text)
    label = f"manifest '{tmp_path / name}'"
    assert str(caught.value).startswith(label)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read: 'utf-8' codec"):
        read_worklist(tmp_path / "m.csv", {}, "standard", ".png")
    with pytest.raises(InputError, match=r"m\.csv' does not exist$"):
        read_worklist(tmp_path / "no" / "m.csv", {}, "standard", ".png")


def test_all_options_can_be_columns(tmp_path: Path) -> None:
    texts = {name: "" for name in OPTIONS if name != "terms"}
    header = ",".join(("content", "style", *texts))
    (job,) = read(tmp_path, "m.csv", f"{header}\na,s,{','.join(texts.values())}\n")
    assert job.output == "a_s.png"

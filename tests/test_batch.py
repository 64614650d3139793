"""Many pictures: the command, what it leaves alone, and what it survives."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import CONTENT, STYLE, Outcome, files, process

from ortist.cli import main
from ortist.engine import Encoding, InputError, Options, find_recipe
from ortist.engine.batch import Batch, report
from ortist.engine.images import read_comment, read_image, write_image
from ortist.engine.jobs import Job, find_pictures, pair_jobs
from ortist.engine.ledger import LEDGER
from ortist.engine.record import read_made
from ortist.engine.workers import Setup

RANDOM = np.random.default_rng(8)
SMALL = ("--size", "48", "--steps", "3")
OPTIONS = find_recipe("draft").with_options(size=32, steps=2)
CORRUPT = "f_style.png"
NAMES = [f"{letter}_style.png" for letter in "abcdefghijkl"]
FINE = [name for name in NAMES if name != CORRUPT]
BESIDE = [LEDGER, "report.json"]


def noise(path: Path, seed: int = 0) -> Path:
    write_image(np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8), path)
    return path


def pictures(folder: Path) -> Path:
    """Twelve contents, one of them corrupt, and a style."""
    (folder / "photos").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise(folder / "photos" / f"{name[0]}.png", number)
    corrupt = folder / "photos" / f"{CORRUPT[0]}.png"
    corrupt.write_bytes(corrupt.read_bytes()[:900])
    shutil.copy(STYLE, folder / "style.jpg")
    return folder


def batch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = ("batch", "photos", "--style", "style.jpg", "-o", "out", *SMALL, *arguments)
    return subprocess.Popen(
        process(*command),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(run: subprocess.Popen[str]) -> Outcome:
    with run:
        out, err = run.communicate(timeout=120)
    return Outcome(run.returncode, out, err)


def made(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    return {name: data for name, data in found.items() if name.endswith(".png")}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that can be painted."""
    folder = pictures(tmp_path_factory.mktemp("batch") / "whole")
    ended = outcome(batch(folder, "--jobs", "1"))
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[-1] == "11 of 12 pictures are in out"
    assert re.fullmatch(r"1/12 a_style\.png: done, \d+\.\d s", lines[0])
    assert re.fullmatch(
        r"6/12 f_style\.png: failed: content image 'photos/f\.png' is .*\n", ended.err
    )
    return folder


def test_one_that_fails_does_not_stop_the_others(painted: Path) -> None:
    assert sorted(path.name for path in (painted / "out").iterdir()) == sorted(FINE + BESIDE)
    facts = json.loads((painted / "out/report.json").read_text())
    counts = (facts["done"], facts["skipped"], facts["failed"], facts["open"])
    assert counts == (11, 0, 1, 0)
    assert [entry["output"] for entry in facts["outputs"]] == NAMES
    (failed,) = (entry for entry in facts["outputs"] if entry["status"] == "failed")
    assert (failed["output"], failed["content"]) == (CORRUPT, "photos/f.png")
    assert failed["reason"].startswith("content image 'photos/f.png' is ")


def test_what_is_done_is_not_done_again(painted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (painted / "out").glob("*.png")}
    ended = outcome(batch(painted))
    assert ended.code == 1
    assert ended.out.count("skipped, it was done before") == 11
    assert before == {path: path.stat().st_mtime_ns for path in (painted / "out").glob("*.png")}


def test_several_processes_make_the_same_bytes(painted: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "three")
    ended = outcome(batch(folder, "--jobs", "3", "--quiet", "--report", "all.json"))
    assert (ended.code, ended.out) == (1, "")
    assert made(folder) == made(painted)
    assert json.loads((folder / "all.json").read_text())["done"] == 11
    assert not (folder / "out/report.json").exists()


@pytest.mark.parametrize("after", [0, 2, 5])
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    painted: Path, tmp_path: Path, after: int
) -> None:
    folder = pictures(tmp_path / "killed")
    run = batch(folder, "--jobs", "2")
    assert run.stdout is not None
    for _ in range(after):
        run.stdout.readline()
    children = wait_for_children(run.pid)
    time.sleep(0.1 * after)
    run.kill()
    outcome(run)
    wait_until_gone(children)
    left = made(folder) if (folder / "out").exists() else {}
    assert after - 1 <= len(left) < 11
    ended = outcome(batch(folder, "--jobs", "2"))
    assert ended.code == 1
    assert made(folder) == made(painted)
    assert ended.out.count("skipped") in (len(left), len(left) - 1)


def wait_for_children(pid: int) -> list[int]:
    """Wait until a process has started some, and return them."""
    for _ in range(600):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if len(text.split()) > 1:
            return [int(child) for child in text.split()]
        time.sleep(0.02)
    raise AssertionError


def wait_until_gone(processes: list[int]) -> None:
    for _ in range(600):
        if not any(is_running(number) for number in processes):
            return
        time.sleep(0.02)
    raise AssertionError(processes)


def is_running(number: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_rest_open(painted: Path, tmp_path: Path, number: int) -> None:
    """Ctrl-C reaches all processes of a terminal."""
    folder = pictures(tmp_path / "stopped")
    run = batch(folder, "--jobs", "2")
    assert run.stdout is not None
    run.stdout.readline()
    children = wait_for_children(run.pid)
    for process_id in (*children, run.pid):
        os.kill(process_id, number)
    ended = outcome(run)
    assert ended.code == 130
    assert re.search(
        r"^interrupted; \d+ of 12 pictures are in out; the same command goes on$", ended.err, re.M
    )
    assert "Traceback" not in ended.err
    wait_until_gone(children)
    facts = json.loads((folder / "out/report.json").read_text())
    assert facts["open"] > 0
    assert facts["done"] == len(made(folder))
    assert outcome(batch(folder)).code == 1
    assert made(folder) == made(painted)


# In this process.


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    paths = [noise(tmp_path / f"{name}.png", seed) for seed, name in enumerate("abcd")]
    return pair_jobs(paths[:2], paths[2:], OPTIONS, ".png")


def statuses(jobs: list[Job], folder: Path, **given: Any) -> list[str]:
    setup, force = given.pop("setup", Setup()), given.pop("force", False)
    return [made.status for made in Batch(jobs, folder, setup, force=force).paint(**given)]


def test_a_process_that_is_killed_costs_its_picture_only(jobs: list[Job], tmp_path: Path) -> None:
    killed: list[int] = []

    def show(done: float) -> None:
        if not killed and done % 1 > 0:
            (child,) = multiprocessing.active_children()
            assert child.pid is not None
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    # Long enough to be killed amid it.
    jobs[0] = replace(jobs[0], options=replace(OPTIONS, steps=200))
    outcomes = Batch(jobs, tmp_path / "out", Setup()).paint(show=show)
    assert [made.status for made in outcomes].count("done") == 3
    (failed,) = (made for made in outcomes if made.status == "failed")
    assert failed.job == jobs[0]
    assert failed.reason == "its process was killed, as where memory runs out"
    assert multiprocessing.active_children() == []


def test_what_was_changed_is_painted_again_and_nothing_else(
    jobs: list[Job], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    assert statuses(jobs, folder) == ["done"] * 4
    noise(tmp_path / "a.png", 99)
    (folder / "b_c.png").unlink()
    assert statuses(jobs, folder) == ["done", "done", "done", "skipped"]
    assert statuses(jobs, folder, setup=Setup(kernel="direct")) == ["done"] * 4
    other = pair_jobs([jobs[0].content], [jobs[0].styles[0]], Options(size=32, steps=1), ".png")
    assert statuses(other, folder) == ["done"]
    assert [made.status for made in Batch(jobs, folder, Setup()).plan()] == ["open"] * 4


def test_what_was_not_written_here_is_not_replaced(jobs: list[Job], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    own = noise(folder / "a_c.png", 77).read_bytes()
    outcomes = Batch(jobs, folder, Setup()).paint()
    assert [made.status for made in outcomes] == ["failed", "done", "done", "done"]
    assert "a_c.png' exists; --force (force=True) replaces it" in outcomes[0].reason
    assert (folder / "a_c.png").read_bytes() == own
    # Nor what was changed since.
    noise(folder / "b_c.png", 78)
    assert statuses(jobs, folder) == ["failed", "failed", "skipped", "skipped"]
    assert statuses(jobs, folder, force=True) == ["done", "done", "skipped", "skipped"]
    assert statuses(jobs, folder) == ["skipped"] * 4


def test_a_ledger_that_is_torn_or_damaged_tells_less(jobs: list[Job], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert statuses(jobs, folder) == ["done"] * 4
    ledger = folder / LEDGER
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    # Killed amid the last line: the picture is ours, since its beginning is there.
    ledger.write_bytes(b"".join(lines)[:-100])
    assert statuses(jobs, folder) == ["skipped"] * 3 + ["done"]
    assert statuses(jobs, folder) == ["skipped"] * 4
    noise = b'\xff\x00\n[1]\n{"output": 1}\n{"output": "a_c.png", "sha256": 2, "record": {}}\n'
    ledger.write_bytes(noise + ledger.read_bytes() + b"{" * 100_000)
    assert statuses(jobs, folder) == ["skipped"] * 4
    ledger.unlink()
    assert statuses(jobs, folder) == ["failed"] * 4


def test_two_batches_do_not_share_a_folder(jobs: list[Job], tmp_path: Path) -> None:
    first, second = (Batch(jobs, tmp_path / "out", Setup()) for _ in range(2))
    seen: list[str] = []

    def tell(made: Any) -> None:
        with pytest.raises(InputError, match=r"^another batch is at work in '.*out'$"):
            second.paint()
        seen.append(made.status)

    first.paint(tell=tell)
    assert seen == ["done"] * 4


def test_pictures_are_painted_at_once_as_far_as_there_is_memory(
    jobs: list[Job], tmp_path: Path
) -> None:
    """At this size one takes 0.29 GB: two together have no room."""
    parts: list[float] = []
    setup = Setup(memory=0.5e9)
    assert statuses(jobs, tmp_path / "out", setup=setup, workers=2, show=parts.append) == (
        ["done"] * 4
    )
    # Of two that are painted at once both would be begun at some time.
    assert {part % 1 for part in parts} == {0, 0.5}
    refused = Batch(jobs, tmp_path / "none", Setup(memory=1e8)).paint(2)
    assert {made.status for made in refused} == {"failed"}
    assert "pixels take some 0.29 GB of memory, accepted are 0.10 GB" in refused[0].reason


def test_pairs_of_a_style_come_one_after_the_other(jobs: list[Job], tmp_path: Path) -> None:
    order: list[str] = []
    shuffled = [jobs[0], jobs[2], jobs[1], jobs[3]]
    outcomes = Batch(shuffled, tmp_path / "out", Setup()).paint(
        tell=lambda made: order.append(made.job.output)
    )
    assert order == ["a_c.png", "b_c.png", "a_d.png", "b_d.png"]
    assert [made.job for made in outcomes] == shuffled


def test_a_batch_can_be_stopped(jobs: list[Job], tmp_path: Path) -> None:
    told: list[Any] = []
    outcomes = Batch(jobs, tmp_path / "out", Setup()).paint(
        tell=told.append, stop=lambda: len(told) > 0
    )
    assert [made.status for made in outcomes] == ["done", "open", "open", "open"]
    facts = report(outcomes)
    assert (facts["done"], facts["open"]) == (1, 3)


# The command line.


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CONTENT, tmp_path / "a.jpg")
    shutil.copy(STYLE, tmp_path / "s.jpg")
    return tmp_path


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(("batch", *arguments))
    shown = capsys.readouterr()
    code = caught.value.code
    return Outcome(code if isinstance(code, int) else 0, shown.out, shown.err)


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = ended(capsys, "a.jpg", "none.jpg", "--style", "s.jpg", "-o", "out", "--dry-run")
    assert done.code == 0
    assert done.out == (
        "a_s.png: a.jpg in the style of s.jpg\n"
        "none_s.png: failed: content 'none.jpg' does not exist\n"
    )
    assert files(place) == ["a.jpg", "s.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.jpg", "-o", "out"), "accepted are CONTENTS and --style, or --manifest"),
        (("a.jpg", "--style", "s.jpg", "-o", "."), "folder '.' has the input 'a.jpg', accepted"),
        (("*.gif", "--style", "s.jpg", "-o", "out"), "content '*.gif' stands for no pictures"),
        (("a.jpg", "--style", "s.jpg", "-o", "out", "--format", "gif"), "format is 'gif'"),
        (("a.jpg", "--style", "s.jpg", "-o", "out", "--beta", "x"), "beta is 'x', accepted"),
        (("a.jpg", "--style", "s.jpg", "-o", "s.jpg"), "folder 's.jpg' cannot be made: "),
        (("a.jpg", "--style", "s.jpg", "-o", "out", "--memory", "x"), "--memory is 'x'"),
        (("a.jpg", "--style", "s.jpg", "-o", "out", "--report", "s.jpg"), "is both an input and"),
        (("a.jpg", "-o", "out", "--manifest", "m.csv"), "--manifest says all pictures"),
        (("-o", "out", "--manifest", "m.csv"), "manifest 'm.csv' does not exist"),
    ],
)
def test_what_cannot_be_used_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    refused = ended(capsys, *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err
    assert refused.err.count("\n") == 1
    assert files(place) == ["a.jpg", "s.jpg"]


def test_nothing_usable_is_exit_code_2(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = ended(capsys, "none.jpg", "--style", "s.jpg", "-o", "out")
    assert done.code == 2
    assert done.err == "1/1 none_s.png: failed: content 'none.jpg' does not exist\n"
    assert json.loads((place / "out/report.json").read_text())["failed"] == 1


def test_a_file_that_is_no_report_is_not_replaced(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out").mkdir()
    (place / "out/report.json").write_text("{}")
    arguments = ("a.jpg", "--style", "s.jpg", "-o", "out", "--size", "32", "--steps", "1")
    assert "report.json' exists; --force" in ended(capsys, *arguments).err
    assert files(place / "out") == ["report.json"]
    assert ended(capsys, *arguments, "--force").code == 0
    assert ended(capsys, *arguments).code == 0


def test_a_manifest_is_painted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "lists").mkdir()
    (place / "lists/m.csv").write_text(
        "content,style,output,beta,size\n../a.jpg,../s.jpg,one,8,\n../a.jpg,../s.jpg;../a.jpg,,,40\n"
    )
    done = ended(capsys, "--manifest", "lists/m.csv", "-o", "out", "--size", "32", "--steps", "2")
    assert (done.code, done.err) == (0, "")
    with Image.open("out/one.png") as one, Image.open("out/a_s+a.png") as other:
        assert (one.size, other.size) == ((32, 21), (40, 27))
    assert sorted(files(place / "out")) == ["a_s+a.png", "one.png", LEDGER, "report.json"]


# Names and lists.


def test_entries_stand_for_pictures(place: Path) -> None:
    (place / "more").mkdir()
    for name in ("z.png", "B.PNG", ".hidden.png", "notes.txt"):
        (place / "more" / name).write_bytes(b"")
    found = find_pictures("content", ["a.jpg", "more", "*.jpg", "more/*", "none.jpg", "more/z.png"])
    names = ["a.jpg", "more/B.PNG", "more/z.png", "s.jpg", "none.jpg"]
    assert [str(path) for path in found] == names
    (place / "x[1].jpg").write_bytes(b"")
    assert find_pictures("content", ["x[1].jpg"]) == [Path("x[1].jpg")]
    (place / "none").mkdir()
    with pytest.raises(InputError, match=r"^content 'none' stands for no pictures, accepted"):
        find_pictures("content", ["none"])


def test_names_are_unique() -> None:
    contents = [Path("x/a.jpg"), Path("y/a.png"), Path("A.jpg"), Path("c" * 250)]
    jobs = pair_jobs(contents, [Path("s.jpg"), Path("s.x.png")], OPTIONS, ".webp")
    names = [job.output for job in jobs]
    assert names[:3] == ["a_s.webp", "a_s_2.webp", "A_s_3.webp"]
    assert names[4:7] == ["a_s.x.webp", "a_s.x_2.webp", "A_s.x_3.webp"]
    assert max(map(len, names)) < 255


def test_pictures_say_how_they_were_made_and_are_encoded_as_asked(
    jobs: list[Job], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    setup = Setup()
    assert statuses(jobs, folder, setup=setup) == ["done"] * 4
    comment = read_comment(folder / jobs[0].output)
    assert comment is not None
    record, steps = read_made(comment)
    assert [item.name for item in record.inputs] == [
        jobs[0].content.name,
        *(style.name for style in jobs[0].styles),
    ]
    assert steps == jobs[0].options.steps
    plain = read_image(folder / jobs[0].output)
    deep = Batch(jobs, folder, setup, encoding=Encoding(bits=16), metadata=False)
    assert [made.status for made in deep.paint()] == ["done"] * 4
    assert read_comment(folder / jobs[0].output) is None
    assert (folder / jobs[0].output).read_bytes()[24] == 16  # of the header: bits of a channel
    np.testing.assert_allclose(read_image(folder / jobs[0].output), plain, atol=1)
    assert [made.status for made in deep.paint()] == ["skipped"] * 4
    refused = Batch(jobs, folder, setup, encoding=Encoding(quality=50))
    assert [made.status for made in refused.paint()] == ["failed"] * 4


def test_names_that_no_file_has_fail_alone(jobs: list[Job], tmp_path: Path) -> None:
    jobs[1] = replace(jobs[1], content=Path("x\0/y.jpg"))
    assert statuses(jobs, tmp_path / "out") == ["done", "failed", "done", "done"]


def test_long_names_are_cut_to_what_disks_take(tmp_path: Path) -> None:
    names = [noise(tmp_path / f"{'名' * 60}{index}.png") for index in range(2)]
    found = pair_jobs(names, [names[0]], OPTIONS, ".png")
    assert len({job.output for job in found}) == 2
    assert all(len(os.fsencode(job.output)) < 250 for job in found)
    assert statuses(found, tmp_path / "out") == ["done"] * 2

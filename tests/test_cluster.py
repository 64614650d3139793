"""Tiles on workers of Dask: the same bytes as alone, whatever becomes of the workers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ortist.cli import main
from ortist.engine import (
    CanceledError,
    Engine,
    InputError,
    Options,
    OrtistError,
    Region,
    Run,
    find_recipe,
)
from ortist.engine.batch import Batch
from ortist.engine.cluster import Cluster, station
from ortist.engine.cluster import crew as crews
from ortist.engine.cluster.station import shared_of, with_shared, without_shared
from ortist.engine.jobs import Job, pair_jobs
from ortist.engine.record import installed_versions
from ortist.engine.tiles import Tile, Window
from ortist.engine.tiling import Piece
from ortist.engine.workers import Setup

WIDTH, HEIGHT, TILE = 256, 176, 64
GRAM = Options(
    width=WIDTH,
    height=HEIGHT,
    steps=3,
    scales=1,
    init="content",
    style_layers=("conv1_1", "conv2_1"),
    content_layers=("conv2_2",),
)
NEIGHBORS = find_recipe("standard").with_options(width=320, height=224, steps=2, scales=1)

pytestmark = [
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def pictures() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (2, HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    content, style = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return content, style


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """Two workers on this machine, whose processes a test may kill."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            resources={"ortist": 1},
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def alone(pictures: Any) -> dict[str, NDArray[np.float32]]:
    engine = Engine("cpu", threads=1, tile=TILE)
    return {
        name: engine.stylize(*pictures, options).pixels
        for name, options in (("gram", GRAM), ("neighbors", NEIGHBORS))
    }


@pytest.mark.parametrize(("name", "options"), [("gram", GRAM), ("neighbors", NEIGHBORS)])
def test_two_workers_give_the_same_bytes_as_one_process(
    name: str, options: Options, local: Any, alone: Any, pictures: Any
) -> None:
    engine = Engine("cpu", threads=1, tile=TILE, cluster=local)
    np.testing.assert_array_equal(engine.stylize(*pictures, options).pixels, alone[name])
    assert all(len(tasks) == 0 for tasks in local.processing().values())


def test_regions_are_painted_with_the_same_bytes(local: Any, pictures: Any) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:, : WIDTH // 2] = 1
    regions = [Region(mask, pictures[1], mask)]
    options = replace(GRAM, steps=2)
    here, there = (
        Engine("cpu", threads=1, tile=TILE, cluster=cluster)
        .stylize(pictures[0], pictures[1], options, regions=regions)
        .pixels
        for cluster in (None, local)
    )
    np.testing.assert_array_equal(here, there)


def test_workers_are_started_on_this_machine(alone: Any, pictures: Any) -> None:
    engine = Engine("cpu", threads=1, tile=TILE, cluster="local")
    np.testing.assert_array_equal(engine.stylize(*pictures, GRAM).pixels, alone["gram"])
    client = engine._objectives._cluster.client  # type: ignore[union-attr]
    facts = client.scheduler_info(n_workers=-1)["workers"]
    assert {facts["host"] for facts in facts.values()} == {"127.0.0.1"}
    del engine
    assert client.status in ("closing", "closed")


def test_a_killed_worker_has_its_tiles_computed_again(
    local: Any, alone: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Engine("cpu", threads=1, tile=TILE, cluster=local).iterate(*pictures, GRAM)
    next(run)  # pieces are where they are
    holders = {
        address: facts["pid"] for address, facts in local.run(_facts).items() if facts["pieces"]
    }
    assert len(holders) == 2
    victim = next(iter(holders))
    asked: list[str] = []
    ask = crews.Crew.ask

    def ask_and_kill(crew: crews.Crew, mate: crews.Mate, *rest: Any) -> Any:
        answer = ask(crew, mate, *rest)
        asked.append(mate.address)
        if asked.count(mate.address) == 3 and mate.address == victim:  # amid an evaluation
            os.kill(holders[victim], signal.SIGKILL)
        return answer

    monkeypatch.setattr(crews.Crew, "ask", ask_and_kill)
    for _ in run:
        pass
    np.testing.assert_array_equal(run.picture, alone["gram"])
    assert asked.count(victim) >= 3
    assert victim not in local.scheduler_info(n_workers=-1)["workers"]


def test_a_worker_that_lacks_what_it_had_gets_it_again(
    local: Any, alone: Any, pictures: Any
) -> None:
    run = Engine("cpu", threads=1, tile=TILE, cluster=local).iterate(*pictures, GRAM)
    next(run)
    local.run(_forget)
    for _ in run:
        pass
    np.testing.assert_array_equal(run.picture, alone["gram"])


def test_a_tile_that_is_lost_again_and_again_ends_the_run(
    local: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = crews.Crew.ask

    def ask_in_vain(crew: crews.Crew, mate: crews.Mate, task: Any, order: Any) -> Any:
        if order.index != 3:
            return ask(crew, mate, task, order)
        answer: Future[Any] = Future()
        answer.set_exception(distributed.KilledWorker("task", None, 0))
        return SimpleNamespace(release=lambda: None), answer

    monkeypatch.setattr(crews.Crew, "ask", ask_in_vain)
    engine = Engine("cpu", threads=1, tile=TILE, cluster=local)
    with pytest.raises(OrtistError, match="tile 3 was lost with 5 workers, which may have too"):
        engine.stylize(*pictures, GRAM)


def test_workers_with_other_versions_are_refused(
    local: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {**installed_versions(), "onnxruntime": "1.0"}
    make = partial(station.Tools, versions=versions)
    monkeypatch.setattr(station, "Tools", make)
    engine = Engine("cpu", threads=1, tile=TILE, cluster=local)
    with pytest.raises(OrtistError, match=r"a worker has onnxruntime .*, accepted is 1\.0, as "):
        engine.stylize(*pictures, GRAM)


def test_what_workers_hold_goes_with_the_run(local: Any, pictures: Any) -> None:
    engine = Engine("cpu", threads=1, tile=TILE, cluster=local)
    run = engine.iterate(*pictures, GRAM)
    before = _stations(local)
    next(run)
    own = _stations(local) - before
    assert len(own) == 1
    del run
    deadline = time.monotonic() + 10
    while own & _stations(local):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_is_canceled_while_tiles_are_computed(local: Any, pictures: Any) -> None:
    run = Engine("cpu", threads=1, tile=TILE, cluster=local).iterate(
        *pictures, replace(GRAM, steps=99)
    )
    next(run)
    canceled = []

    def cancel() -> None:
        canceled.append(time.monotonic())
        run.cancel()

    timer = threading.Timer(0.3, cancel)
    timer.start()
    with pytest.raises(CanceledError, match="the run was canceled"):
        for _ in run:
            pass
    assert time.monotonic() - canceled[0] < 1
    timer.join()


def test_what_takes_too_long_goes_to_another_worker(
    local: Any, alone: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crews, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr(crews, "SLOW_FACTOR", 0.0)
    run = Engine("cpu", threads=1, tile=TILE, cluster=local).iterate(*pictures, GRAM)
    next(run)
    stopped = next(iter(local.run(_facts).values()))["pid"]
    os.kill(stopped, signal.SIGSTOP)  # as on a machine that is cut off
    try:
        for _ in run:
            pass
    finally:
        os.kill(stopped, signal.SIGCONT)
    np.testing.assert_array_equal(run.picture, alone["gram"])


def test_without_workers_a_run_fails_after_a_while(
    pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ortist.engine.cluster.roster.NO_WORKERS_SECONDS", 1.0)
    with (
        _Scheduler() as scheduler,
        pytest.raises(OrtistError, match=r"has had no running worker .* for 1 s$"),
    ):
        Engine("cpu", threads=1, tile=TILE, cluster=scheduler.address).stylize(*pictures, GRAM)


def test_without_a_scheduler_a_run_fails_and_says_so(pictures: Any, tmp_path: Path) -> None:
    with _Scheduler("dask", "worker", "--no-dashboard", "--no-nanny") as scheduler:
        engine = Engine("cpu", threads=1, tile=TILE, cluster=scheduler.address)
        run = engine.iterate(*pictures, GRAM)
        next(run)
        state = run.state()
        scheduler.kill()
        begin = time.monotonic()
        with pytest.raises(OrtistError, match=r"connection to the scheduler .*tcp:.* is lost"):
            list(run)
        assert time.monotonic() - begin < 10
    # What was kept before goes on, here without a cluster.
    resumed = Engine("cpu", threads=1, tile=TILE).iterate(*pictures, GRAM)
    resumed.restore(state)
    assert [step.iteration for step in resumed] == [2, 3]


def test_a_batch_is_painted_by_workers(local: Any, pictures: Any, tmp_path: Path) -> None:
    content, style = (tmp_path / name for name in ("photo.png", "painting.png"))
    for path, pixels in zip((content, style), pictures, strict=True):
        Image.fromarray(pixels).save(path)
    options = Options(size=64, steps=2, init="content", style_layers=("conv1_1",))
    jobs = pair_jobs([content, style], [style], options, ".png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"none")
    jobs.append(Job(bad, (style,), "bad.png", options))
    here = Batch(jobs, tmp_path / "here", Setup()).paint()
    shown: list[float] = []
    away = Batch(jobs, tmp_path / "away", Setup(cluster=local)).paint(9, show=shown.append)
    assert [outcome.status for outcome in away] == ["done", "done", "failed"]
    assert here[2].reason.startswith("content image")
    assert away[2].reason.startswith("content image")
    assert shown[-1] == 3
    for job in jobs[:2]:
        first, second = (tmp_path / folder / job.output for folder in ("here", "away"))
        assert first.read_bytes() == second.read_bytes()
    again = Batch(jobs, tmp_path / "away", Setup(cluster=local)).paint(9)
    assert [outcome.status for outcome in again] == ["skipped", "skipped", "failed"]


def test_pictures_of_a_batch_fail_if_the_scheduler_is_gone(pictures: Any, tmp_path: Path) -> None:
    content = tmp_path / "photo.png"
    Image.fromarray(pictures[0]).save(content)
    jobs = pair_jobs([content], [content], Options(size=64, steps=500), ".png")
    with _Scheduler("dask", "worker", "--no-dashboard", "--no-nanny") as scheduler:
        killer = threading.Timer(3, scheduler.kill)
        killer.start()
        setup = Setup(cluster=scheduler.address)
        (outcome,) = Batch(jobs, tmp_path / "out", setup).paint(9)
        killer.join()
    assert outcome.status == "failed"
    assert outcome.reason.startswith("the connection to the scheduler of cluster tcp://")


def test_a_command_whose_scheduler_is_gone_goes_on_from_its_checkpoint(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ortist.engine.engine.TILE", TILE)
    for name, pixels in zip(("photo.png", "painting.png"), pictures, strict=True):
        Image.fromarray(pixels).save(name)
    options = "--recipe notebook --width 256 --height 176 --steps 4 --init content"
    layers = "--style-layer conv1_1 --content-layer conv2_2 --threads 1 --quiet"
    command = f"stylize photo.png painting.png -o out.png {options} {layers}".split()
    with _Scheduler("dask", "worker", "--no-dashboard", "--no-nanny") as scheduler:
        run_next = Run.__next__

        def run_next_and_kill(run: Run) -> Any:
            if run.iteration == 2:
                scheduler.kill()
            return run_next(run)

        with monkeypatch.context() as patch:
            patch.setattr(Run, "__next__", run_next_and_kill)
            ending = _exit([*command, "--cluster", scheduler.address, "--checkpoint", "kept.npz"])
    assert ending == 2
    begun = Path("out.png").read_bytes()
    assert _exit(["resume", "kept.npz", "--cluster", "local", "--quiet"]) == 0
    resumed = Path("out.png").read_bytes()
    assert resumed != begun
    assert not Path("kept.npz").exists()
    assert _exit([*command, "--force", "--cluster", "local"]) == 0
    assert Path("out.png").read_bytes() == resumed


def _exit(arguments: list[str]) -> Any:
    try:
        main(arguments)
    except SystemExit as end:
        return end.code or 0
    return 0


def test_a_cluster_that_is_none_is_refused() -> None:
    for wrong in ("host:8786", "", 3):
        with pytest.raises(InputError, match="accepted are local, the address of a scheduler"):
            Cluster(wrong, 1)  # type: ignore[arg-type]


def test_a_cluster_that_is_not_there_is_one_line(pictures: Any) -> None:
    engine = Engine("cpu", threads=1, tile=TILE, cluster="nothing://there")
    with pytest.raises(OrtistError, match="cluster nothing://there cannot be reached: "):
        engine.iterate(*pictures, GRAM)


@dataclass(frozen=True)
class _Lookup:
    columns: NDArray[np.float32] | None
    index: NDArray[np.int32]


def test_what_all_tiles_share_is_sent_apart_from_them() -> None:
    columns, index = np.ones((2, 3), np.float32), np.zeros((4, 4), np.int32)
    targets: Mapping[str, Any] = {"a": _Lookup(columns, index), "b": columns}
    window = Window(0, 0, 4, 4)
    piece = Piece(Tile(window, window, window), (4, 4), {}, targets)
    sent: Any = without_shared(piece).targets
    assert sent["a"].columns is None
    assert sent["a"].index is index
    assert sent["b"] is columns
    shared = shared_of(targets)
    assert list(shared) == ["a"]
    back: Any = with_shared(without_shared(piece), shared).targets
    assert back["a"].columns is columns


def _stations(client: Any) -> set[str]:
    return {name for facts in client.run(_facts).values() for name in facts["stations"]}


def _forget(dask_worker: Any) -> None:
    for plugin in dask_worker.plugins.values():
        if type(plugin).__name__ == "Station":
            plugin._pieces.clear()
            plugin._bench, plugin._slopes = None, station._NO_SLOPES


def _facts(dask_worker: Any) -> dict[str, Any]:
    """Return the process of a worker and what it holds, asked on it."""
    stations = {
        name: plugin
        for name, plugin in dask_worker.plugins.items()
        if type(plugin).__name__ == "Station"
    }
    return {
        "pid": os.getpid(),
        "stations": list(stations),
        "pieces": sum(len(station._pieces) for station in stations.values()),
    }


class _Scheduler:
    """A scheduler in a process of its own, and a worker if its command is given."""

    def __init__(self, *worker: str) -> None:
        self._worker = worker
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Scheduler:
        command = ["dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        first = self._start(*command)
        assert first.stderr is not None
        for line in first.stderr:
            if b"Scheduler at:" in line:
                self.address = line.split()[-1].decode()
                break
        threading.Thread(target=first.stderr.read, daemon=True).start()
        if self._worker:
            self._start(*self._worker, self.address, "--nthreads", "1", "--resources", "ortist=1")
        return self

    def kill(self) -> None:
        self._processes[0].kill()

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        folder = Path(sys.executable).parent
        error = subprocess.DEVNULL if self._processes else subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, folder / command[0], *command[1:]], stderr=error
        )
        self._processes.append(process)
        return process

"""Two hosts in network namespaces, with TLS: the same bytes as alone, also if one is cut off.

Needs root, iproute2 and openssl. On one host are the scheduler, the run and a worker, on the other
a worker. Four runs: as it is; with the second host cut off for 30 s amid the run; the same with
workers on that host only; and with its worker killed amid the run.

    python bench/hosts.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from ortist.engine import Engine, Options

HERE, THERE = "ortist-here", "ortist-there"
ADDRESSES = {HERE: "10.77.0.1", THERE: "10.77.0.2"}
PORT = 8786
OPTIONS = Options(
    width=256,
    height=176,
    scales=1,
    init="content",
    style_layers=("conv1_1", "conv2_1"),
    content_layers=("conv2_2",),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cut", type=float, default=30.0, help="seconds without a network")
    parser.add_argument("--tcp", default="120s", help="distributed.comm.timeouts.tcp of all")
    parser.add_argument("--run", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        painted(arguments.steps, arguments.run)
        return
    alone = painted(arguments.steps, None)
    with tempfile.TemporaryDirectory(prefix="ortist-hosts-") as folder, hosts():
        certificates(Path(folder))
        os.environ |= security(Path(folder), arguments.tcp)
        both, off = (HERE, THERE), f"cut off for {arguments.cut:g} s"
        for name, workers, disturb in (
            ("two hosts", both, lambda worker: None),
            (f"one host {off}", both, lambda worker: cut(arguments.cut)),
            (f"all workers {off}", (THERE, THERE), lambda worker: cut(arguments.cut)),
            ("a worker killed", both, lambda worker: os.kill(worker.pid, signal.SIGKILL)),
        ):
            begin = time.perf_counter()
            found = on_hosts(arguments.steps, workers, disturb)
            seconds = time.perf_counter() - begin
            print(f"{name}: {'same' if found == alone else 'OTHER'} bytes, {seconds:.1f} s")


def painted(steps: int, address: str | None) -> str:
    """Paint and return a checksum; with an address on its cluster, telling of the steps."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (2, 20, 24, 3), np.uint8)
    content, style = coarse.repeat(8, axis=1).repeat(8, axis=2)
    engine = Engine("cpu", threads=1, tile=64, cluster=address)
    plan = engine.plan(content, style, Options(**{**vars(OPTIONS), "steps": steps}))
    assert plan.tile, "it is painted whole, without the cluster"
    run = plan.run()
    for step in run:
        if address:
            print(f"step {step.iteration} {step.seconds:.1f}", flush=True)
    digest = hashlib.sha256(run.picture.tobytes()).hexdigest()
    if address:
        print(digest, flush=True)
    return digest


def on_hosts(
    steps: int, workers: Sequence[str], disturb: Callable[[subprocess.Popen[str]], object]
) -> str:
    """Paint with workers on these hosts, disturbed after ten steps; return the checksum."""
    address = f"tls://{ADDRESSES[HERE]}:{PORT}"
    worker = ["dask", "worker", address, "--nthreads", "1", "--resources", "ortist=1"]
    worker += ["--no-nanny", "--no-dashboard"]
    with ExitStack() as stack:
        host = ["--host", ADDRESSES[HERE], "--port", str(PORT), "--no-dashboard"]
        stack.enter_context(process(HERE, "dask", "scheduler", *host))
        for name in workers:
            last = stack.enter_context(process(name, *worker, "--host", ADDRESSES[name]))
        own = ["python", __file__, "--run", address, "--steps", str(steps)]
        run = stack.enter_context(process(HERE, *own, output=subprocess.PIPE))
        assert run.stdout is not None
        line, slowest = "", 0.0
        for line in run.stdout:
            if line.startswith("step 10 "):
                threading.Thread(target=disturb, args=(last,)).start()
            if line.startswith("step"):
                slowest = max(slowest, float(line.split()[-1]))
        print(f"  the slowest step took {slowest:.1f} s")
        return line.strip()


@contextmanager
def process(host: str, *command: str, output: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a command of this Python's on a host."""
    program = Path(sys.executable).parent / command[0]
    arguments = [sys.executable, *([] if command[0] == "python" else [program]), *command[1:]]
    started = subprocess.Popen(
        ["ip", "netns", "exec", host, *arguments],
        stdout=output,
        stderr=None if output else subprocess.DEVNULL,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def cut(seconds: float) -> None:
    """Take the network from the second host for a while."""
    ip("-n", THERE, "link", "set", "wire", "down")
    time.sleep(seconds)
    ip("-n", THERE, "link", "set", "wire", "up")


@contextmanager
def hosts() -> Iterator[None]:
    """Make two network namespaces with a wire between them."""
    try:
        for name in ADDRESSES:
            ip("netns", "add", name)
        ip("-n", HERE, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", THERE)
        for name, address in ADDRESSES.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in ADDRESSES:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def certificates(folder: Path) -> None:
    """Make a key and a certificate, which all of a cluster have and which vouches for itself."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ortist"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, stderr=subprocess.DEVNULL)


def security(folder: Path, tcp: str) -> dict[str, str]:
    """Return the variables of the environment by which Dask uses TLS."""
    prefix = "DASK_DISTRIBUTED__COMM__"
    found = {
        f"{prefix}TLS__CA_FILE": str(folder / "certificate.pem"),
        f"{prefix}REQUIRE_ENCRYPTION": "True",
        f"{prefix}TIMEOUTS__TCP": tcp,
    }
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found[f"{prefix}TLS__{role}__CERT"] = str(folder / "certificate.pem")
        found[f"{prefix}TLS__{role}__KEY"] = str(folder / "key.pem")
    return found


if __name__ == "__main__":
    main()

"""Nothing is sent: the system calls of a run, from its start to its end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import OUT, SMALL, files

CALLS = ("socket", "connect", "sendto", "sendmsg", "sendmmsg")
# The runtime's reports begin 10 seconds after its import.
SECONDS = 22
RUN = f"""
import os, signal, threading

stop = threading.Timer({SECONDS}, os.kill, (os.getpid(), signal.SIGTERM))
stop.daemon = True
stop.start()
from ortist.cli import run
run()
"""
# What connects to a network, though it sends nothing.
CONTROL = """
import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
    unsent.connect(("127.0.0.1", 9))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is for Linux")


def network_calls(folder: Path, code: str, *arguments: str, home: Path | None = None) -> list[str]:
    """Run Python and return its system calls that have to do with any network."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing, which this test needs: apt-get install strace")
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    if home is not None:
        environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    trace = folder / "trace"
    watch = (strace, "-f", "-o", trace, "-e", f"trace={','.join(CALLS)}")
    done = subprocess.run(
        [*watch, sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = trace.read_text().splitlines()
    # The last of all lines: the trace has everything.
    assert re.search(rf"\+\+\+ exited with {done.returncode} \+\+\+$", calls[-1]), done.stderr
    trace.unlink()
    # "<... connect resumed>" goes with another line that is found here.
    named = re.compile(rf"^\d+ +({'|'.join(CALLS)})\(")
    return [call for call in calls if named.search(call) and "AF_UNIX" not in call]


def test_the_trace_shows_what_goes_to_a_network(tmp_path: Path) -> None:
    assert len(network_calls(tmp_path, CONTROL)) == 2
    assert network_calls(tmp_path, "pass") == []


def test_a_run_sends_nothing_and_leaves_no_identifier(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    long = ("--steps", "100000000", "--print-every", "0")
    assert network_calls(tmp_path, RUN, "stylize", *OUT, *SMALL, *long, home=home) == []
    assert files(tmp_path) == ["home", "out.png"]

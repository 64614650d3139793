"""The ``ortist`` command."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ortist.cli.interrupt import INTERRUPTED, Interrupted, interrupts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``arguments`` (the process's own if None) and raise SystemExit."""
    from ortist.cli import app

    app.main(arguments)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Be the program of this process: :func:`main`, with its signals and standard streams.

    Ends the process itself. The interpreter's own way would wait for threads, and give signals back
    to the system, whose answer is not ours.
    """
    interrupts.install()
    from ortist.cli.streams import guard_streams, print_error
    from ortist.models.files import reason

    output = guard_streams()
    code = 1
    try:
        try:
            main(arguments)
        finally:
            interrupts.end()
    except Interrupted as interrupted:
        print_error(str(interrupted))
        code = INTERRUPTED
    except SystemExit as end:
        if isinstance(end.code, int | None):
            code = end.code or 0
        else:
            print_error(str(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if code in (0, 1) and output.failure is not None and interrupts.written is None:
        # What the command was for is what it printed.
        print_error(f"error: cannot write to stdout: {reason(output.failure)}")
        code = 2
    atexit._run_exitfuncs()
    os._exit(code)

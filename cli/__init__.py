"""The ``ortist`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ortist.cli.interrupt import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``arguments`` (the process's own if None) and exit."""
    try:
        # Takes long enough for a Ctrl-C to meet it.
        from ortist.cli import app
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    app.main(arguments)

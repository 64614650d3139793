"""``python -m ortist.cli`` is the ``ortist`` command."""

from ortist.cli import run

run()

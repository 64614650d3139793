"""``python -m ortist.cli`` is the ``ortist`` command."""

from ortist.cli.app import main

main()

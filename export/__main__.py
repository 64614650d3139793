"""``python -m ortist.export`` is the ``ortist export`` command."""

import sys

from ortist.cli import run

if __name__ == "__main__":
    run(["export", *sys.argv[1:]])

"""``python -m ortist.export`` is the ``ortist export`` command."""

import sys

from ortist.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])

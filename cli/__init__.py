"""The ``ortist`` command."""

from ortist.cli.app import main

__all__ = ["main"]

"""Versions of installed packages."""

from __future__ import annotations


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    # Imported late, since it takes longer than all the rest of the command line.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None

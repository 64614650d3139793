"""What the library raises on purpose, and how its messages show what they were given."""

from __future__ import annotations

LONGEST_SHOWN = 80
"""Characters of a value in a message."""


class OrtistError(Exception):
    """Base of all errors raised by ortist; the message is one line fit for a user.

    Names of files may have any characters, and other libraries write several lines: a message has
    none of them but those that can be shown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class InputError(OrtistError, ValueError):
    """An image, option or path that cannot be used."""


class ArtifactError(OrtistError):
    """A shipped or exported file is missing, corrupt or of another version."""


class DeviceError(OrtistError):
    """The requested device or execution provider cannot be used here."""


class CanceledError(OrtistError):
    """A run was ended from outside, by :meth:`Run.cancel <ortist.engine.Run.cancel>`."""


def printable(text: str) -> str:
    """Return a text as one line: blanks for line ends, ``?`` for what cannot be shown."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def shown(value: object) -> str:
    """Return what a message says of a value: its ``repr``, shortened, or its type.

    Not every value can be printed: an int of more than 4300 digits cannot, and an object may fail.
    """
    try:
        text = printable(repr(value))
    except Exception:
        return f"of type {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"

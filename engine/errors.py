"""Everything the library raises on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortist.engine.results import Result


class OrtistError(Exception):
    """Base of all errors raised by ortist; the message is one line fit for a user."""


class InputError(OrtistError, ValueError):
    """An image, option or path that cannot be used."""


class ArtifactError(OrtistError):
    """A shipped or exported file is missing, corrupt or of another version."""


class DeviceError(OrtistError):
    """The requested device or execution provider cannot be used here."""


class NonFiniteCostError(OrtistError):
    """The cost became infinite or not a number; ``result`` holds the last good image."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[NonFiniteCostError], tuple[str, Result]]:
        """Pickle with the result, so that the error can cross processes."""
        return type(self), (str(self), self.result)

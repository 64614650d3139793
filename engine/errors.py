"""Everything the library raises on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortist.models.errors import ArtifactError as ArtifactError
from ortist.models.errors import CanceledError as CanceledError
from ortist.models.errors import DeviceError as DeviceError
from ortist.models.errors import InputError as InputError
from ortist.models.errors import OrtistError as OrtistError

if TYPE_CHECKING:
    from ortist.engine.results import Result


class NonFiniteCostError(OrtistError):
    """The cost became infinite or not a number; ``result`` holds the last good image."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[NonFiniteCostError], tuple[str, Result]]:
        """Pickle with the result, so that the error can cross processes."""
        return type(self), (str(self), self.result)

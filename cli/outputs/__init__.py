"""The files that a run leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain

from ortist.cli.outputs.checkpoint import CheckpointFile
from ortist.cli.outputs.file import Output, OutputFile, check_distinct
from ortist.cli.outputs.log import Log
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.outputs.plot import Plot
from ortist.cli.outputs.timelapse import Timelapse
from ortist.engine import InputError
from ortist.engine.follow import Observer, attempt_all
from ortist.engine.results import Painting

FILES: tuple[type[OutputFile], ...] = (Log, Plot, Timelapse)
"""Those beside the picture, in the order of the command's help."""


class Outputs:
    """All files of a run.

    Args:
        picture: the one that there always is.
        files: those beside it that were asked for.
        checkpoint: what keeps the run while it goes on.
    """

    def __init__(
        self,
        picture: PictureFile,
        files: Sequence[OutputFile],
        checkpoint: CheckpointFile | None = None,
    ) -> None:
        self.picture = picture
        self.files = files
        self.checkpoint = checkpoint

    def check(self, size: tuple[int, int], inputs: Iterable[Output]) -> None:
        """Raise InputError unless all can be written, and none takes the place of an input.

        Args:
            size: width and height of the picture.
            inputs: what is read.
        """
        if self.checkpoint is not None:
            self.checkpoint.check()
        self.picture.check(size)
        for file in self.files:
            file.check()
        beside = [file.outputs() for file in self.files]
        if self.checkpoint is not None:
            beside.append(self.checkpoint.outputs())
        check_distinct(chain(inputs, self.picture.outputs(), *beside))

    @property
    def observers(self) -> list[Observer]:
        """All of them, the checkpoint last: what it keeps the others have."""
        return [self.picture, *self.files, *([self.checkpoint] if self.checkpoint else [])]

    def finish(self, painting: Painting) -> None:
        """Write what takes longer than the picture, which is kept.

        Raises:
            InputError: the first one, after all others have been tried.
        """
        attempt_all([partial(file.finish, painting) for file in self.files], InputError)

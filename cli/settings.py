"""What the command that paints one picture is told beside the options of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortist.cli.outputs import FILES, Outputs
from ortist.cli.outputs.checkpoint import CheckpointFile
from ortist.cli.outputs.file import Output, OutputFile
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.parameters import memory_limit
from ortist.engine import Engine, Options, Record
from ortist.engine.options import OPTIONS
from ortist.engine.record import is_picture
from ortist.models.json_values import Value

_MOST = 10**18
_BY_NAME = {kind.flag.strip("-"): kind for kind in FILES}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What it is told, as its flags call it.

    Attributes:
        pictures: those that options are, by the names of these.
    """

    content: Path
    styles: tuple[Path, ...]
    pictures: Mapping[str, Path]
    output: Path
    save_every: int
    files: Mapping[type[OutputFile], Path]
    print_every: int
    checkpoint_every: int
    device: str
    threads: int | None
    kernel: str
    models: Path | None
    max_memory: str | None

    def engine(self) -> Engine:
        """Return the engine that paints."""
        memory = memory_limit(self.max_memory)
        return Engine(self.device, self.threads, self.models, self.kernel, memory=memory)

    def record(self, engine: Engine, options: Options) -> Record:
        """Return what the picture is made of and with."""
        return engine.record(self.content, list(self.styles), options)

    def inputs(self) -> list[Output]:
        """Return all pictures that are read."""
        paths = (self.content, *self.styles, *self.pictures.values())
        return [("an input", path) for path in paths]

    def outputs(
        self, options: Options, force: bool, checkpoint: Path | None, engine: Engine
    ) -> Outputs:
        """Return all files that are written.

        Args:
            options: of the run.
            force: whether existing files are replaced.
            checkpoint: where the checkpoint goes, if there is one.
            engine: that paints.
        """
        steps = options.steps
        picture = PictureFile(self.output, every=self.save_every, steps=steps, force=force)
        files = [kind(path, steps, force) for kind, path in self.files.items()]
        if checkpoint is None:
            return Outputs(picture, files)
        record, every = self.record(engine, options), self.checkpoint_every
        kept = CheckpointFile(checkpoint, every, record, self.to_json(), files, force)
        return Outputs(picture, files, kept)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_value` reads, with absolute paths: it may be read elsewhere."""
        return {
            **vars(self),
            "content": _absolute(self.content),
            "styles": [_absolute(path) for path in self.styles],
            "pictures": {name: _absolute(path) for name, path in self.pictures.items()},
            "output": _absolute(self.output),
            "files": {kind.flag.strip("-"): _absolute(path) for kind, path in self.files.items()},
            "models": self.models and _absolute(self.models),
        }

    @classmethod
    def from_value(cls, value: Value) -> Settings:
        """Return the settings that some JSON has, which nobody vouches for.

        Raises:
            InputError: if it has others.
        """
        fields = value.fields(tuple(cls.__dataclass_fields__))
        files = fields["files"].entries()
        for name in files:
            Value(name, "files", value.label, value.error).one_of(tuple(_BY_NAME))
        models, threads, memory = fields["models"], fields["threads"], fields["max_memory"]
        return cls(
            content=Path(fields["content"].text()),
            styles=tuple(Path(style.text()) for style in fields["styles"].items()),
            pictures={
                name: Path(path.text()) for name, path in fields["pictures"].entries().items()
            },
            output=Path(fields["output"].text()),
            save_every=fields["save_every"].integer(0, _MOST),
            files={_BY_NAME[name]: Path(path.text()) for name, path in files.items()},
            print_every=fields["print_every"].integer(0, _MOST),
            checkpoint_every=fields["checkpoint_every"].integer(0, _MOST),
            device=fields["device"].text(),
            threads=None if threads.value is None else threads.integer(1),
            kernel=fields["kernel"].text(),
            models=None if models.value is None else Path(models.text()),
            max_memory=None if memory.value is None else memory.text(),
        )


def pictures_of(options: Options) -> dict[str, Path]:
    """Return the files of pictures that options are, by the names of these."""
    return {name: Path(getattr(options, name)) for name in OPTIONS if is_picture(name, options)}


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without following links

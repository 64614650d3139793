"""What the command that paints one picture is told beside the options of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ortist.cli.outputs import FILES, Outputs
from ortist.cli.outputs.checkpoint import CheckpointFile
from ortist.cli.outputs.file import Output, OutputFile
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.parameters import memory_limit
from ortist.cli.regions import region_files, sources_of
from ortist.engine import Encoding, Engine, Options, Plan, Record, Region
from ortist.engine.images import check_holds, read_alpha
from ortist.engine.options import OPTIONS
from ortist.engine.record import is_picture
from ortist.models.json_values import Value

T = TypeVar("T")
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
    regions: tuple[Region, ...]
    protect: Path | None
    pictures: Mapping[str, Path]
    output: Path
    bits: int
    quality: int | None
    keep_alpha: bool
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

    def plan(self, engine: Engine, options: Options) -> Plan:
        """Return what will be painted."""
        return engine.plan(
            self.content,
            list(self.styles),
            options,
            regions=self.regions,
            protect=self.protect,
        )

    def record(self, engine: Engine, options: Options) -> Record:
        """Return what the picture is made of and with."""
        return engine.record(
            self.content,
            list(self.styles),
            options,
            regions=self.regions,
            protect=self.protect,
        )

    def inputs(self) -> list[Output]:
        """Return all pictures that are read."""
        own = [self.content, *self.styles, *region_files(self.regions), *self.pictures.values()]
        return [("an input", path) for path in (*own, *([self.protect] if self.protect else []))]

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
        picture = PictureFile(
            self.output,
            every=self.save_every,
            steps=steps,
            force=force,
            encoding=self._encoding(options),
        )
        files = [kind(path, steps, force) for kind, path in self.files.items()]
        if checkpoint is None:
            return Outputs(picture, files)
        record, every = self.record(engine, options), self.checkpoint_every
        kept = CheckpointFile(checkpoint, every, record, self.to_json(), files, force)
        return Outputs(picture, files, kept)

    def _encoding(self, options: Options) -> Encoding:
        """Return how pictures become files."""
        alpha = None
        if self.keep_alpha:
            check_holds(self.output, "alpha")
            limit = options.max_pixels
            alpha = read_alpha(self.content, name="content image", max_pixels=limit)
        return Encoding(bits=self.bits, quality=self.quality, alpha=alpha)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_value` reads, with absolute paths: it may be read elsewhere."""
        return {
            **vars(self),
            "content": _absolute(self.content),
            "styles": [_absolute(path) for path in self.styles],
            "regions": [
                [_absolute_or_none(source) for source in sources_of(region)]
                for region in self.regions
            ],
            "protect": _absolute_or_none(self.protect),
            "pictures": {name: _absolute(path) for name, path in self.pictures.items()},
            "output": _absolute(self.output),
            "files": {kind.flag.strip("-"): _absolute(path) for kind, path in self.files.items()},
            "models": _absolute_or_none(self.models),
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
        return cls(
            content=Path(fields["content"].text()),
            styles=tuple(Path(style.text()) for style in fields["styles"].items()),
            regions=tuple(_region(region) for region in fields["regions"].items()),
            protect=_path(fields["protect"]),
            pictures={
                name: Path(path.text()) for name, path in fields["pictures"].entries().items()
            },
            output=Path(fields["output"].text()),
            bits=fields["bits"].integer(8, 16),
            quality=_optional(fields["quality"], lambda value: value.integer(1, 100)),
            keep_alpha=fields["keep_alpha"].one_of((False, True)),
            save_every=fields["save_every"].integer(0, _MOST),
            files={_BY_NAME[name]: Path(path.text()) for name, path in files.items()},
            print_every=fields["print_every"].integer(0, _MOST),
            checkpoint_every=fields["checkpoint_every"].integer(0, _MOST),
            device=fields["device"].text(),
            threads=_optional(fields["threads"], lambda value: value.integer(1)),
            kernel=fields["kernel"].text(),
            models=_path(fields["models"]),
            max_memory=_optional(fields["max_memory"], Value.text),
        )


def pictures_of(options: Options) -> dict[str, Path]:
    """Return the files of pictures that options are, by the names of these."""
    return {name: Path(getattr(options, name)) for name in OPTIONS if is_picture(name, options)}


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without following links


def _absolute_or_none(path: Any) -> str | None:
    return None if path is None else _absolute(path)


def _region(value: Value) -> Region:
    """Return the region that a list of mask, style and mask of the style is."""
    sources = value.items()
    if len(sources) != 3:
        value.refuse("a list of a mask, a style and its mask")
    mask, style, style_mask = sources
    return Region(mask.text(), _optional(style, Value.text), _optional(style_mask, Value.text))


def _path(value: Value) -> Path | None:
    return _optional(value, lambda text: Path(text.text()))


def _optional(value: Value, read: Callable[[Value], T]) -> T | None:
    return None if value.value is None else read(value)

"""What the command that paints one picture is told beside the options of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ortist.cli.outputs import FILES, Outputs
from ortist.cli.outputs.checkpoint import CheckpointFile
from ortist.cli.outputs.file import Output, OutputFile
from ortist.cli.outputs.picture import PictureFile
from ortist.cli.parameters import memory_limit
from ortist.cli.sources import Sources, absolute, optional, path_or_none
from ortist.engine import Encoding, Engine, Options, Record
from ortist.engine.images import check_holds, read_alpha
from ortist.engine.options import OPTIONS
from ortist.engine.record import is_picture
from ortist.models.json_values import Value

_MOST = 10**18
_BY_NAME = {kind.key(): kind for kind in FILES}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What it is told, as its flags call it.

    Attributes:
        sources: what it paints, in which styles.
        pictures: those that options are, by the names of these.
    """

    sources: Sources
    pictures: Mapping[str, Path]
    output: Path
    bits: int
    quality: int | None
    keep_alpha: bool
    metadata: bool
    save_every: int
    files: Mapping[type[OutputFile], Path]
    print_every: int
    checkpoint_every: int
    device: str
    threads: int | None
    kernel: str
    models: Path | None
    memory: str | None
    tile: int | None
    cluster: str | None

    def engine(self) -> Engine:
        """Return the engine that paints."""
        if self.cluster is not None:
            silence_dask()
        return Engine(
            self.device,
            self.threads,
            self.models,
            self.kernel,
            memory=memory_limit(self.memory),
            tile=self.tile,
            cluster=self.cluster,
        )

    def inputs(self) -> list[Output]:
        """Return all pictures that are read."""
        return [("an input", path) for path in (*self.sources.files(), *self.pictures.values())]

    def outputs(
        self, options: Options, force: bool, checkpoint: Path | None, record: Record
    ) -> Outputs:
        """Return all files that are written.

        Args:
            options: of the run.
            force: whether existing files are replaced.
            checkpoint: where the checkpoint goes, if there is one.
            record: of what the picture is made.
        """
        steps = options.steps
        picture = PictureFile(
            self.output,
            every=self.save_every,
            steps=steps,
            force=force,
            encoding=self._encoding(options),
            record=record if self.metadata else None,
        )
        files = [kind(path, steps, force) for kind, path in self.files.items()]
        if checkpoint is None:
            return Outputs(picture, files)
        every = self.checkpoint_every
        kept = CheckpointFile(checkpoint, every, record, self.to_json(), files, force)
        return Outputs(picture, files, kept)

    def _encoding(self, options: Options) -> Encoding:
        """Return how pictures become files."""
        alpha = None
        if self.keep_alpha:
            check_holds(self.output, "alpha")
            limit = options.max_pixels
            alpha = read_alpha(self.sources.content, name="content image", max_pixels=limit)
        return Encoding(bits=self.bits, quality=self.quality, alpha=alpha)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_value` reads, with absolute paths: it may be read elsewhere."""
        return {
            **vars(self),
            "sources": self.sources.to_json(),
            "pictures": {name: absolute(path) for name, path in self.pictures.items()},
            "output": absolute(self.output),
            "files": {kind.key(): absolute(path) for kind, path in self.files.items()},
            "models": absolute(self.models),
            "cluster": scheduler_file(self.cluster),
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
            sources=Sources.from_value(fields["sources"]),
            pictures={
                name: Path(path.text()) for name, path in fields["pictures"].entries().items()
            },
            output=Path(fields["output"].text()),
            bits=fields["bits"].integer(8, 16),
            quality=optional(fields["quality"], lambda value: value.integer(1, 100)),
            keep_alpha=fields["keep_alpha"].one_of((False, True)),
            metadata=fields["metadata"].one_of((False, True)),
            save_every=fields["save_every"].integer(0, _MOST),
            files={_BY_NAME[name]: Path(path.text()) for name, path in files.items()},
            print_every=fields["print_every"].integer(0, _MOST),
            checkpoint_every=fields["checkpoint_every"].integer(0, _MOST),
            device=fields["device"].text(),
            threads=optional(fields["threads"], lambda value: value.integer(1)),
            kernel=fields["kernel"].text(),
            models=path_or_none(fields["models"]),
            memory=optional(fields["memory"], Value.text),
            tile=optional(fields["tile"], lambda value: value.integer(0)),
            cluster=optional(fields["cluster"], Value.text),
        )


def silence_dask() -> None:
    """Have Dask not print what becomes an error of ours, if anything does."""
    with suppress(ImportError):  # which is told where it is needed
        import_module("distributed")  # sets levels of its own
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def scheduler_file(cluster: str | None) -> str | None:
    """Return a cluster with an absolute path if it is a scheduler file."""
    return absolute(Path(cluster)) if cluster and cluster.endswith(".json") else cluster


def pictures_of(options: Options) -> dict[str, Path]:
    """Return the files of pictures that options are, by the names of these."""
    return {name: Path(getattr(options, name)) for name in OPTIONS if is_picture(name, options)}

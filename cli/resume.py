"""``ortist resume``: go on with a run from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ortist.cli.interrupt import interrupts
from ortist.cli.outputs.file import OutputFile
from ortist.cli.painting import paint
from ortist.cli.parameters import ClusterName, Quiet
from ortist.cli.settings import Settings
from ortist.cli.streams import print_line
from ortist.engine import InputError, Record, Run
from ortist.engine.checkpoint import Checkpoint, read_checkpoint
from ortist.engine.optimizer import part_of
from ortist.engine.storage import LARGE_IN_FILES
from ortist.models.json_values import Value


def resume(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", readable=False, help="What ortist stylize --checkpoint wrote."
        ),
    ],
    quiet: Quiet = False,
    cluster: ClusterName = None,
) -> None:
    """Go on with a run of stylize from its checkpoint.

    It ends with the same bytes as a run that was never interrupted, and replaces the files of that
    run. If inputs, versions or models are others now, it says so and does nothing. A run on a
    cluster goes on there, or on the one that is given.
    """
    interrupts.promise("the picture")
    kept = read_checkpoint(checkpoint, LARGE_IN_FILES)
    label = f"checkpoint '{checkpoint}' is damaged"
    settings = Settings.from_value(Value(kept.settings, "", label, InputError))
    settings = replace(
        settings,
        threads=kept.record.threads,
        tile=kept.record.tile,
        cluster=cluster or settings.cluster,
    )
    options = kept.record.to_options({name: str(at) for name, at in settings.pictures.items()})
    engine = settings.engine()
    record = settings.sources.record(engine, options)
    _check_same(kept, record)
    plan = settings.sources.plan(engine, options)
    outputs = settings.outputs(options, True, checkpoint, record)
    outputs.check(plan.size, settings.inputs())

    def prepare(run: Run) -> None:
        _restore(run, outputs.files, kept, label)
        if not quiet:
            print_line(f"goes on after {run.iteration} steps")

    paint(plan, outputs, settings.print_every, quiet, prepare)


def _check_same(kept: Checkpoint, record: Record) -> None:
    """Raise InputError unless the run would have the same bytes as the one that was begun."""
    differences = record.differences(kept.record)
    if differences:
        raise InputError(
            "the run cannot go on as it began, accepted is a checkpoint of the same inputs and"
            f" versions: {'; '.join(differences)}"
        )


def _restore(run: Run, files: Sequence[OutputFile], kept: Checkpoint, label: str) -> None:
    """Bring a run, and its files, to where they were."""
    try:
        run.restore(kept.state)
        for file in reversed(files):  # the log, which is first, changes its file
            file.restore(part_of(kept.files, f"{file.key()}/"), run.iteration)
    except (LookupError, TypeError, OverflowError) as error:
        raise InputError(f"{label}: {error}") from error
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{label}: {error}") from error

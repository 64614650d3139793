"""Where orders become jobs, or are refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from ortist.engine import InputError
from ortist.engine.memory import available_bytes
from ortist.models.errors import shown
from ortist.models.files import digest_regular
from ortist.serve.errors import BusyError, TooLargeError
from ortist.serve.intake import Draft, Intake
from ortist.serve.job import Job
from ortist.serve.limits import Limits
from ortist.serve.order import Order
from ortist.serve.task import Files


class Reception:
    """Makes jobs of orders.

    Args:
        intake: decodes pictures and plans.
        limits: of the service.
        memory: bytes that painting may take.
    """

    def __init__(self, intake: Intake, limits: Limits, memory: float) -> None:
        self._intake, self._limits, self._memory = intake, limits, memory

    def take(
        self, name: str, files: Files, order: Order, pictures: Mapping[str, Path], taken: int
    ) -> Job:
        """Return a job, whose pictures are in its files.

        Args:
            name: of the job.
            files: of the job.
            order: what is asked for.
            pictures: the files that were sent, by the names that the order has for them.
            taken: bytes of memory that the jobs that are painted take.

        Raises:
            InputError: for pictures or options that cannot be used.
            TooLargeError: for a picture that takes more memory than there is ever.
            BusyError: for one that takes more than there is now.
        """
        check_counts(order, self._limits)
        for known, given in order.pictures():
            if given not in pictures:
                raise InputError(f"{known} is {shown(given)}, but there is no picture of that name")
        sent = {known: pictures[given] for known, given in order.pictures()}
        accepted = self._intake.take(Draft(order, sent, files))
        self._check_memory(accepted.plan["peak_bytes"], taken)
        now = time.time()
        return Job(
            id=name,
            order=order.as_kept(),
            plan=accepted.plan,
            record=accepted.record,
            created=now,
            turn=now,
            touched=now,
        )

    def _check_memory(self, peak: int, taken: int) -> None:
        if peak > self._memory:
            raise TooLargeError(
                f"the picture would take {peak / 1e9:.2f} GB of memory, there are"
                f" {self._memory / 1e9:.2f} GB: take a smaller size or style scale"
            )
        if peak > available_bytes() + taken:
            raise BusyError(f"there are no {peak / 1e9:.2f} GB of memory now")


def check_counts(order: Order, limits: Limits) -> None:
    """Raise InputError if an order has more styles or regions than are taken."""
    for what, given, most in (
        ("styles", len(order.styles or ()), limits.styles),
        ("regions", len(order.regions), limits.regions),
    ):
        if given > most:
            raise InputError(f"{what} are {given}, accepted are at most {most}")


def digest_of(order: Order, pictures: Mapping[str, Path]) -> str:
    """Return what tells an order with its pictures from others."""
    digest = hashlib.sha256(order.model_dump_json().encode())
    for _, given in order.pictures():
        if given in pictures:
            digest.update(digest_regular(pictures[given]).encode())
    return digest.hexdigest()

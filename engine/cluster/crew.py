"""Tiles on the workers of a cluster: who gets which, and what becomes of those that are lost.

Each worker keeps the pieces that it had once. A tile goes to who has its piece, unless others have
less to do. What a worker that ends was at goes to others, and so does what takes too long, as on a
machine that is cut off. Results are the same wherever they come from.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ortist.engine.cluster import station
from ortist.engine.cluster.roster import Roster
from ortist.engine.cluster.station import Order, Slopes
from ortist.engine.optimizer import Tensor
from ortist.engine.tiling import Measured, Piece
from ortist.export.costs.term import Part
from ortist.models.errors import CanceledError, OrtistError

if TYPE_CHECKING:
    from ortist.engine.cluster import Cluster, Post

SLOW_SECONDS, SLOW_FACTOR = 20.0, 5.0
"""A tile that takes so long, and so many times what another took, goes to another worker too."""
FIRST_SECONDS = 60.0
"""The same while none is known."""
_AT_ONCE = 2
"""Tiles that a worker has: while it computes one, the next is on its way."""
_AHEAD = 3
"""Tiles for each worker that are under way or wait for those before them."""
_TRIES = 5
"""How often a tile may be lost: it may be what ends its workers."""
_PATIENCE = 0.1
"""Seconds between looks at whether to go on."""


@dataclass(eq=False)
class Mate:
    """A worker.

    Attributes:
        address: of it.
        pieces: numbers of the tiles whose pieces it has.
        forget: those that it may forget.
        evaluation: number of the slopes that it has.
        asked: what it was asked for: futures of Dask, and what will come of them.
    """

    address: str
    pieces: set[int] = field(default_factory=set)
    forget: list[int] = field(default_factory=list)
    evaluation: int = 0
    asked: list[tuple[Any, Future[Any]]] = field(default_factory=list)

    @property
    def load(self) -> int:
        """How much it is at, tiles included that others were given since."""
        self.asked = [(future, answer) for future, answer in self.asked if not answer.done()]
        return len(self.asked)

    def leave(self) -> None:
        """Want nothing of it any more."""
        for future, _ in self.asked:
            future.release()


@dataclass(eq=False)
class Flight:
    """A tile under way.

    Attributes:
        index: number of the tile.
        pixels: of its crop.
        mate: who has it; None while there is nobody.
        future: of Dask.
        answer: what comes of it.
        begun: when it was sent.
        lost: how often its worker ended.
        again: how often it took so long that another worker was asked.
    """

    index: int
    pixels: Tensor
    mate: Mate | None = None
    future: Any = None
    answer: Future[Any] | None = None
    begun: float = 0.0
    lost: int = 0
    again: int = 0


class Crew:
    """The workers of a cluster, as :class:`~ortist.engine.tiling.Tiled` asks them.

    Errors are those of :meth:`~ortist.engine.sessions.Graph.run`, those of
    :meth:`~ortist.engine.cluster.roster.Roster.look`, and OrtistError if a tile is lost again and
    again.

    Args:
        cluster: whose workers.
        post: by which they evaluate tiles.
        pieces: all tiles; made anew at each use.
        canceled: asked several times a second whether to give up.
    """

    def __init__(
        self, cluster: Cluster, post: Post, pieces: Sequence[Piece], canceled: Callable[[], bool]
    ) -> None:
        self._post = post
        self._cluster, self._pieces, self._canceled = cluster, pieces, canceled
        self.slowest = 0.0
        """Seconds that a tile took, at most."""
        self._mates: dict[str, Mate] = {}
        self._evaluation = 0
        self._roster = Roster(cluster)
        weakref.finalize(self, _leave, self._mates)

    def look(self, parts: Sequence[Part], pixels: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
        """Yield what some parts measure of each core."""
        return _Round(self, station.look, parts=parts).run(pixels)

    def measure(self, pixels: Iterable[Tensor]) -> Iterator[Measured]:
        """Yield what each tile adds, given the pixels of all crops."""
        return _Round(self, station.measure).run(pixels)

    def pull_back(
        self,
        pixels: Iterable[Tensor],
        slopes: Mapping[str, Tensor],
        weights: NDArray[np.float64],
    ) -> Iterator[Tensor]:
        """Yield dJ/dpixels of each core."""
        self._evaluation += 1
        return _Round(self, station.pull_back, Slopes(self._evaluation, slopes, weights)).run(
            pixels
        )

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._mates)

    @property
    def has_room(self) -> bool:
        """Whether a worker can be given more."""
        return any(mate.load < _AT_ONCE for mate in self._mates.values())

    def has(self, mate: Mate | None) -> bool:
        """Whether a worker is still there."""
        return mate is not None and self._mates.get(mate.address) is mate

    def pick(self, index: int, but: Mate | None = None) -> Mate | None:
        """Return who is to have a tile, if there is anybody."""
        mates = [mate for mate in self._mates.values() if mate is not but] or self._mates.values()
        return min(mates, key=lambda mate: mate.load + (index not in mate.pieces), default=None)

    def glance(self, flight: Flight, parts: Sequence[Part]) -> Order:
        """Return what a worker is told of a tile that is measured once."""
        piece = self._pieces[flight.index]
        return Order(self._post.name, flight.index, flight.pixels, piece, parts=parts)

    def order(self, mate: Mate, flight: Flight, slopes: Slopes | None) -> Order:
        """Return what a worker is told of a tile: what it does not have yet, it gets."""
        index, number = flight.index, slopes.number if slopes else 0
        piece = None
        if index not in mate.pieces:
            for other in self._mates.values():
                if index in other.pieces:
                    other.pieces.remove(index)
                    other.forget.append(index)
            piece = station.without_shared(self._pieces[index])
            mate.pieces.add(index)
            mate.forget = [other for other in mate.forget if other != index]
        forget, mate.forget = mate.forget, []
        sent = slopes if mate.evaluation != number else None
        mate.evaluation = number or mate.evaluation
        return Order(self._post.name, index, flight.pixels, piece, number, sent, tuple(forget))

    def ask(self, mate: Mate, task: Callable[[Order], Any], order: Order) -> tuple[Any, Any]:
        """Send an order; return the future of Dask and what will come of it."""
        # For this worker alone: Dask would give it to others, which do not have the pieces.
        asked = self._cluster.ask(task, order, worker=mate.address)
        mate.asked.append(asked)
        return asked

    def check(self) -> None:
        """Look at whether to go on, and at who is there.

        Raises:
            CanceledError: if the run was canceled.
            OrtistError: as :meth:`Roster.look`.
        """
        if self._canceled():
            raise CanceledError("the run was canceled")
        ready = self._roster.look()
        for address in self._mates.keys() - set(ready):
            self._mates.pop(address).leave()
        for address in ready:
            if address not in self._mates:
                self._mates[address] = Mate(address)


def _leave(mates: Mapping[str, Mate]) -> None:
    for mate in mates.values():
        mate.leave()


class _Round:
    """All tiles, once.

    Args:
        crew: who computes them.
        task: what is done with each.
        slopes: what it takes besides, the same for all.
        parts: what is looked at, where tiles are measured once.
    """

    def __init__(
        self,
        crew: Crew,
        task: Callable[[Order], Any],
        slopes: Slopes | None = None,
        parts: Sequence[Part] | None = None,
    ) -> None:
        self._crew, self._task, self._slopes, self._parts = crew, task, slopes, parts
        self._flights: deque[Flight] = deque()

    def run(self, pixels: Iterable[Tensor]) -> Iterator[Any]:
        """Yield the results in the order of the tiles; a few are under way meanwhile."""
        flights = self._flights
        try:
            for index, crop in enumerate(pixels):
                while flights and not self._has_room():
                    yield self._landed(flights[0])
                    flights.popleft()
                flights.append(Flight(index, crop))
                self._send(flights[-1])
            while flights:
                yield self._landed(flights[0])
                flights.popleft()
        finally:
            for flight in flights:
                self._drop(flight)

    def _has_room(self) -> bool:
        """Look after all; return whether one more can be sent."""
        self._tend()
        return len(self._flights) < _AHEAD * self._crew.size and self._crew.has_room

    def _landed(self, flight: Flight) -> Any:
        """Wait for a tile and return what came of it."""
        while True:
            self._tend()
            answer = flight.answer
            if answer is None:
                time.sleep(_PATIENCE)
            elif not answer.done():
                wait([answer], _PATIENCE)
            else:
                found = self._result(flight, answer)
                if found is not None:
                    return found

    def _result(self, flight: Flight, answer: Future[Any]) -> Any:
        """Return what came of a tile; if nothing did, send it again and return None."""
        from distributed import KilledWorker

        mate = flight.mate
        assert mate is not None
        try:
            found = answer.result()
        except OrtistError:
            raise
        except (KilledWorker, CancelledError, OSError) as error:
            self._crew.check()
            self._lose(flight, error)
            return None
        except Exception as error:  # of whatever kind
            raise OrtistError(
                f"worker {mate.address} failed: {type(error).__name__}: {error}"
            ) from error
        if found is None:  # it lacks what it had, or did not get yet
            mate.pieces.discard(flight.index)
            mate.evaluation = 0
            self._send(flight)
            return None
        self._crew.slowest = max(self._crew.slowest, time.monotonic() - flight.begun)
        flight.future.release()
        return found

    def _tend(self) -> None:
        """Give tiles to others that are with nobody, or with whom they take too long."""
        crew = self._crew
        crew.check()
        for flight in self._flights:
            answer = flight.answer
            if answer is not None and answer.done():
                continue
            if flight.mate is None:
                self._send(flight)
            elif not crew.has(flight.mate):
                self._lose(flight)
            elif crew.size > 1 and self._is_slow(flight):
                # The first to have it goes on, and counts as busy until it answers.
                flight.again += 1
                self._send(flight, but=flight.mate)

    def _is_slow(self, flight: Flight) -> bool:
        known = self._crew.slowest
        limit = max(SLOW_SECONDS, SLOW_FACTOR * known) if known else FIRST_SECONDS
        # Longer each time: perhaps it takes all of them so long.
        return time.monotonic() - flight.begun > limit * float(2**flight.again)

    def _lose(self, flight: Flight, error: Exception | None = None) -> None:
        """Take in that a worker has ended with a tile."""
        flight.lost += 1
        if flight.lost >= _TRIES:
            raise OrtistError(
                f"tile {flight.index} was lost with {flight.lost} workers, which may have too"
                " little memory: see what they printed"
            ) from error
        self._drop(flight)
        self._send(flight)

    def _send(self, flight: Flight, but: Mate | None = None) -> None:
        """Give a tile to a worker, if there is one."""
        crew = self._crew
        flight.mate = mate = crew.pick(flight.index, but)
        if mate is None:
            flight.answer = None
            return
        if self._parts is None:
            order = crew.order(mate, flight, self._slopes)
        else:
            order = crew.glance(flight, self._parts)
        flight.future, flight.answer = crew.ask(mate, self._task, order)
        flight.begun = time.monotonic()

    def _drop(self, flight: Flight) -> None:
        """Want a tile no more."""
        if flight.future is not None:
            flight.future.release()
            flight.future = None

"""Workers of Dask, on this machine or others: connecting to them, and what they are given.

``distributed`` is imported when it is used.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ortist.engine.graphs import Blueprint, Graphs
from ortist.engine.sessions import physical_cores
from ortist.engine.signals import signals_held
from ortist.engine.tiling import Look, Piece
from ortist.export.costs.term import Part
from ortist.models.errors import InputError, OrtistError, shown

if TYPE_CHECKING:
    import distributed

    from ortist.engine.cluster.crew import Crew

T = TypeVar("T")
Where: TypeAlias = "str | distributed.Client"
Blueprints: TypeAlias = tuple[Blueprint, Blueprint | None, Blueprint | None]
LOCAL = "local"
RESOURCE = "ortist"
"""What workers have one of that take part: they compute one thing at a time."""
TILE = 512
"""Most rows and columns of tiles on a cluster, unless told: there are enough for all workers."""
_TRIES = 3
"""How often graphs are sent, if connections break."""


class Post:
    """Graphs on workers, which go with it: the ``name`` of a plugin."""

    def __init__(self, name: str) -> None:
        self.name = name


class Cluster:
    """Workers of Dask; connects at first use, and leaves when it is collected or the process ends.

    Args:
        where: ``"local"``, for processes on this machine; the address of a scheduler, as in
            ``tls://host:8786``; the name of a scheduler file, ``.json``; or a client.
        threads: of each worker's sessions.

    Raises:
        InputError: if it is none of these.
    """

    def __init__(self, where: Where, threads: int) -> None:
        if isinstance(where, str):
            known = where == LOCAL or "://" in where or where.endswith(".json")
        else:
            known = hasattr(where, "submit") and not getattr(where, "asynchronous", True)
        if not known:
            raise InputError(
                f"cluster is {shown(where)}, accepted are {LOCAL}, the address of a scheduler as"
                " tcp://host:8786, a scheduler file (.json), and clients of distributed that are"
                " not asynchronous"
            )
        self._where, self._threads = where, threads
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._where if isinstance(self._where, str) else "of the client"

    @property
    def client(self) -> Any:
        """The connection, made at first use.

        Raises:
            InputError: if ``distributed`` is not installed.
            OrtistError: if the cluster cannot be reached.
        """
        with self._lock:
            if self._client is None:
                self._client, close = _connected(self._where, self._threads)
                weakref.finalize(self, close)
            return self._client

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler is still there."""
        return bool(self.client.status == "running")

    def lost(self) -> OrtistError:
        """Return the error of a scheduler that is gone."""
        return OrtistError(f"the connection to the scheduler of cluster {self.name} is lost")

    def begin(self, call: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start a call in the client's event loop, and return what it will return."""
        return asyncio.run_coroutine_threadsafe(call(), self.client.loop.asyncio_loop)

    def ask(
        self, task: Callable[..., Any], *arguments: Any, worker: str | None = None
    ) -> tuple[Any, Future[Any]]:
        """Send a task; return the future of Dask, to release, and what will come of it.

        Args:
            task: a function that workers can import.
            arguments: of it.
            worker: address of who is to do it; whoever takes part by default.
        """
        import dask

        client = self.client
        # It would warn of pixels among what is sent.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            future = client.submit(
                task,
                *arguments,
                key=f"ortist-{task.__name__}-{uuid.uuid4()}",
                workers=None if worker is None else [worker],
                resources={RESOURCE: 1},
                pure=False,
            )

        async def gathered() -> Any:
            return await client.gather(future, asynchronous=True)

        return future, self.begin(gathered)

    def connect(self) -> None:
        """Be sure that there is a connection; raises as :attr:`client`."""
        assert self.client

    def post(
        self,
        graphs: Graphs,
        blueprints: Blueprints,
        parts: Sequence[Part],
        constants: Mapping[str, Any],
    ) -> Post:
        """Have all workers, those to come included, load graphs; they drop them with the post.

        Args:
            graphs: whose device and weights workers use.
            blueprints: of the graphs that a :class:`~ortist.engine.tiling.Bench` takes.
            parts: what J is the sum of.
            constants: targets and guides of the whole picture, by name.

        Raises:
            OrtistError: if the workers cannot evaluate tiles; the message says why.
        """
        from ortist.engine.cluster.station import Station, Stock, Tools, shared_of

        weights, device = graphs.weights(), graphs.device
        stock, post = f"ortist-weights-{weights.entry.sha256}", Post(f"ortist-{uuid.uuid4()}")
        tools = Tools(
            stock, device.provider, device.threads, *blueprints, tuple(parts), shared_of(constants)
        )
        self._register(Stock(weights), stock)
        weakref.finalize(post, _unregister, self.client, post.name)
        self._register(Station(tools), post.name)
        return post

    def crew(self, post: Post, pieces: Sequence[Piece], canceled: Callable[[], bool]) -> Crew:
        """Return what evaluates tiles on the workers.

        Args:
            post: by which they do.
            pieces: all tiles. No others have been evaluated by that post.
            canceled: asked several times a second whether to give up.
        """
        from ortist.engine.cluster.crew import Crew

        return Crew(self, post, pieces, canceled)

    def look(self, post: Post, canceled: Callable[[], bool]) -> Look:
        """Return what measures tiles on the workers; arguments are those of :meth:`crew`."""
        return lambda parts, pieces, pixels: self.crew(post, pieces, canceled).look(parts, pixels)

    def _register(self, plugin: Any, name: str) -> None:
        """Give something to all workers."""
        for left in reversed(range(_TRIES)):
            try:
                self.client.register_plugin(plugin, name=name)
                return
            except OrtistError:
                raise
            except Exception as error:  # of whatever kind, on whichever worker
                if not self.is_connected:
                    raise self.lost() from error
                if not (left and isinstance(error, OSError)):
                    raise OrtistError(
                        f"workers of cluster {self.name} cannot be used:"
                        f" {type(error).__name__}: {error}"
                    ) from error


def _connected(where: Where, threads: int) -> tuple[Any, Callable[[], None]]:
    """Return a client, and what closes what was made for it."""
    if not isinstance(where, str):
        return where, lambda: None
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(
            f"cluster {where} needs distributed, which is not installed:"
            " pip install 'ortist[cluster]'"
        ) from error
    make = partial(Client, set_as_default=False)
    if where.endswith(".json") and not Path(where).is_file():
        # Dask would wait for it.
        raise InputError(f"cluster: scheduler file '{where}' does not exist")
    try:
        if where == LOCAL:
            local = _local(LocalCluster, threads)
            return (client := make(local)), partial(_close, client, local)
        client = make(scheduler_file=where) if where.endswith(".json") else make(where)
    except Exception as error:  # of whatever kind: addresses, files, certificates
        raise OrtistError(f"cluster {where} cannot be reached: {error}") from error
    return client, partial(_close, client)


def _local(make: Callable[..., T], threads: int) -> T:
    """Start workers on this machine, which nobody reaches from others."""
    # What ends this process is told to this one: they end with it.
    with signals_held():
        return make(
            n_workers=max(1, physical_cores() // threads),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # None would have them listen to other machines all the same.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            resources={RESOURCE: 1},
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        )


def _close(*parts: Any) -> None:
    for part in parts:
        if part.asynchronous:  # it is collected in its own event loop
            part.loop.add_callback(part.close)
            continue
        with suppress(Exception):  # it is gone
            part.close(timeout=5)


def _unregister(client: Any, station: str) -> None:
    """Have workers drop what they hold for a picture, without waiting for it."""

    async def ask() -> None:
        with suppress(Exception):  # then they have gone, or will
            await client.scheduler.unregister_worker_plugin(name=station)

    if client.status == "running":
        client.loop.add_callback(ask)

"""``ortist serve``: a service that paints, and a page to paint in."""

from __future__ import annotations

import json
import logging
import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from ortist.cli.parameters import (
    DeviceName,
    Kernel,
    Memory,
    ModelsFolder,
    Threads,
    memory_limit,
)
from ortist.cli.streams import print_error, print_line
from ortist.engine import InputError
from ortist.engine.graphs import KERNELS
from ortist.engine.sessions import physical_cores
from ortist.engine.workers import Setup
from ortist.models.versions import installed_version

TOKEN = "ORTIST_TOKEN"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_ALL = ("0.0.0.0", "::")
"""Addresses that stand for all of a machine."""
_CORES = 4
"""Of a painter: with more a picture is hardly done sooner."""


def serve(
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for a free one.")] = 8000,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where jobs are kept.", show_default="that of the user's data"
        ),
    ] = None,
    painters: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Jobs painted at once.", show_default="one for each 4 cores"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help=f"What clients must know; also by {TOKEN}. Empty for none.",
            show_default="none on this machine, else made up",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that is answered to, as of a proxy. Repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A site whose pages may use it. Repeatable."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A page that `ortist web` wrote, which can also paint in the browser.",
            show_default="one that has all painted here",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Where a proxy has it, as in /paint.")
    ] = "",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N", help="What is taken on at most; see docs/service.md. Repeatable."
        ),
    ] = None,
    device: DeviceName = "auto",
    threads: Threads = None,
    kernel: Kernel = KERNELS[0],
    models: ModelsFolder = None,
    memory: Memory = None,
) -> None:
    """Serve a page to paint in, and the same over HTTP.

    Ctrl-C stops it; jobs go on when it is started again.
    """
    try:
        from ortist.cli.server import Server, bound
        from ortist.serve import Manager, read_limits
        from ortist.serve.app import PAGE, create_app
        from ortist.serve.guard import LOCAL_HOSTS
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'ortist[serve]'") from error
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("ortist.serve").setLevel(logging.INFO)
    limits = read_limits(limit or [])
    if page is not None:
        _check_page(page)
    root_path = f"/{root_path.strip('/')}".rstrip("/")
    origins = [origin.rstrip("/") for origin in allow_origin or []]
    for origin in origins:
        if not origin.startswith(("http://", "https://")):
            raise InputError(f"--allow-origin is '{origin}', accepted is as https://example.org")
    cores = physical_cores()
    painters = painters or max(1, cores // _CORES)
    threads = threads or max(1, cores // painters)
    setup = Setup(device, threads, models, kernel, memory_limit(memory))
    secret = _secret(token, host)
    if not secret and host not in _LOCAL:
        print_error(f"warning: there is no token: whoever reaches {host} may use this service")
    folder = folder or _data_folder()
    names = {*LOCAL_HOSTS, host, f"[{host}]", *(allow_host or [])}
    if secret and host in _ALL and not allow_host:
        names = {"*"}  # its names are not known; who has no token gets nowhere by one
    with bound(host, port) as listening, Manager(folder, setup, painters, limits) as manager:
        app = create_app(manager, hosts=names, token=secret, origins=origins, page=page or PAGE)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}{root_path}/"
        print_line(f"{address}{f'#token={secret}' if secret else ''} (jobs are in {folder})")
        Server(app, root_path, manager.end_listening).run_on(listening)


def _check_page(page: Path) -> None:
    """Raise InputError unless a folder has a page; warn if it is another version's."""
    from ortist.web.site import FACTS

    try:
        told = json.loads((page / "web" / FACTS).read_bytes())
        version = str(told["version"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{page} has no page: ortist web {page} writes one") from error
    if version != installed_version("ortist"):
        print_error(f"warning: the page in {page} is of ortist {version}: write it anew")


def _secret(token: str | None, host: str) -> str:
    """Return the token that clients must know, empty for none."""
    given = (os.environ.get(TOKEN) or None) if token is None else token
    if given is None:
        return "" if host in _LOCAL else secrets.token_urlsafe(24)
    return given


def _data_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("ortist", appauthor=False)) / "jobs"

"""The service as an ASGI application, to be served by itself or mounted in another."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ortist.engine import InputError, OrtistError
from ortist.models.errors import printable
from ortist.models.versions import installed_version
from ortist.serve.document import document_of
from ortist.serve.errors import ServiceError
from ortist.serve.guard import Guard
from ortist.serve.manager import Manager
from ortist.serve.routes import about_routes, job_routes

PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}
"""Of files that browsers take by no other type, which some systems do not know."""
_FLAG = re.compile(r" \([^()]*--[^()]*\)")
_ABOUT = "Paints photographs in the style of paintings: jobs are sent, followed and fetched."


def create_app(
    manager: Manager,
    *,
    hosts: Collection[str] = ("*",),
    token: str = "",
    origins: Collection[str] = (),
    page: Path = PAGE,
) -> FastAPI:
    """Return an application that takes jobs for a manager.

    Args:
        manager: of the jobs; who serves the application starts and stops it, by ``with``.
        hosts: names in the Host header that are answered to, without port; ``"*"`` for all.
        token: what clients must send as ``Authorization: Bearer``; empty if all may use it.
        origins: other sites whose pages may use it, as ``https://example.org``.
        page: folder of the page: the package's own, which has all painted here, or one that
            ``ortist web`` wrote, which can also paint in the browser.
    """
    app = FastAPI(
        title="ortist",
        version=installed_version("ortist") or "unknown",
        description=_ABOUT,
        docs_url=None,  # which load scripts of another host
        redoc_url=None,
    )
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign]
    routers = [job_routes(manager), about_routes(manager)]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    app.mount("/", _PageFiles(directory=page, html=True), name="page")
    app.add_exception_handler(OrtistError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _refused)
    limit = manager.limits.upload_bytes
    app.add_middleware(Guard, hosts=hosts, token=token, origins=origins, most=limit)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    return app


class _PageFiles(StaticFiles):
    """The files of the page, with the types that browsers insist on."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return where a file is, None for hidden ones."""
        hidden = any(part.startswith(".") for part in Path(path).parts)
        return ("", None) if hidden else super().lookup_path(path)

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        """Return a file, or that it has not changed."""
        response = super().file_response(full_path, *args, **kwargs)
        if known := _TYPES.get(Path(full_path).suffix):
            response.headers["Content-Type"] = known
        return response


async def _gone(request: Request, error: Exception) -> JSONResponse:
    """Return what nobody hears: the client has left."""
    return JSONResponse({"detail": "the client has left"}, 400)


def _methods(request: Request) -> list[str]:
    """Return what may be done with a path of the API; nothing if it is none."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    found = [route for route in request.app.state.routes if route.path_regex.match(path)]
    return sorted({name for route in found for name in route.methods})


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Return what a client is told of an error: one line."""
    status, detail, headers = 500, "the service failed; its log says how", dict[str, str]()
    if isinstance(error, OrtistError):
        detail = str(error)
    if isinstance(error, ServiceError):
        status = error.status
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, InputError):
        status = 422
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        status, detail = 422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"
    elif isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, dict(error.headers or {})
        allowed = _methods(request)
        if status in (404, 405) and allowed and request.method not in allowed:
            # The folder of the page, which all paths lead to in the end, knows no better.
            status, detail = 405, f"accepted are {', '.join(allowed)}"
            headers["Allow"] = ", ".join(allowed)
    # What a caller in Python or a command would do is nothing for a client.
    return JSONResponse({"detail": printable(_FLAG.sub("", detail))}, status, headers)

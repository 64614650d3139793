"""What the service answers to, see docs/service.md."""

# Annotations are read by FastAPI, which does not find names in functions if they are texts.

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from ortist.engine import Encoding
from ortist.engine.options import options_schema
from ortist.engine.recipes import RECIPES
from ortist.engine.values import json_value
from ortist.models.files import reason
from ortist.serve.errors import BusyError, UnknownJobError
from ortist.serve.manager import Manager
from ortist.serve.metrics import registry_of
from ortist.serve.task import OWN
from ortist.serve.upload import receive_order
from ortist.serve.views import FINAL, JobView, LimitsView, Problem, RecipeView

_MEDIA = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff"}
_RECEIVED, _TAKEN, _ENCODED = 64, 16, 2
"""Jobs that are received at once, those that are taken in, and pictures that become files."""
_LONGEST_KEY = 200
_PING_SECONDS = 15.0
"""After which silence on a stream of events is broken: proxies end connections that say nothing."""
_PICTURE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_EVENT = {
    "type": "object",
    "properties": {"event": {"enum": ["state", "step"]}, "id": _TEXT, "data": _TEXT},
    "required": ["event", "data"],
}
"""What a stream is made of; data is a JobView or Progress as JSON."""
_FORM = {
    "type": "object",
    "properties": {
        "job": {
            "type": "string",
            "description": "An Order as JSON, in which names of files stand for pictures; by"
            " default the standard recipe paints content in the style of all files named style.",
        },
        "content": _PICTURE,
        "style": {"type": "array", "items": _PICTURE},
    },
    "additionalProperties": _PICTURE,
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what is documented of answers that are refusals."""
    return {status: {"model": Problem} for status in statuses}


def job_routes(manager: Manager) -> APIRouter:
    """Return the routes of jobs."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=_problems(400, 401, 403, 422))
    receiving, submitting = CapacityLimiter(_RECEIVED), CapacityLimiter(_TAKEN)
    encoding = CapacityLimiter(_ENCODED)

    def found(name: Annotated[str, PathParameter(alias="id")]) -> JobView:
        return manager.view(name)

    Found = Annotated[JobView, Depends(found)]

    @router.post(
        "",
        status_code=202,
        responses=_problems(408, 409, 413, 429, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {"schema": _FORM},
                    "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
                },
            }
        },
    )
    async def submit(
        request: Request,
        response: Response,
        idempotency_key: Annotated[str, Header(max_length=_LONGEST_KEY)] = "",
    ) -> JobView:
        """Send a job."""
        client = request.client.host if request.client else ""
        if receiving.available_tokens < 1:
            raise BusyError("too many jobs are being received")
        async with receiving:
            with manager.room(client, idempotency_key), _scratch(manager) as folder:
                order, pictures = await receive_order(request, manager.limits, folder)
                view = await to_thread.run_sync(
                    manager.take, order, pictures, client, idempotency_key, limiter=submitting
                )
        response.headers["Location"] = f"{request.url.path}/{view.id}"
        return view

    @router.get("/{id}", responses=_problems(404))
    def show(job: Found) -> JobView:
        """Show a job."""
        return job

    @router.delete(
        "/{id}",
        response_model=JobView,
        responses={204: {"description": "It was removed."}, **_problems(404)},
    )
    def cancel(job: Found, purge: bool = False) -> Any:
        """Cancel a job, which keeps its last picture; or remove it with all its files."""
        if purge:
            manager.remove(job.id)
            return Response(status_code=204)
        return manager.cancel(job.id)

    @router.post("/{id}/pause", responses=_problems(404, 409))
    def pause(job: Found) -> JobView:
        """Have a job wait, and others painted."""
        return manager.pause(job.id)

    @router.post("/{id}/resume", responses=_problems(404, 409))
    def resume(job: Found) -> JobView:
        """Have a job that was paused go on."""
        return manager.resume(job.id)

    @router.get(
        "/{id}/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": _EVENT}}},
            **_problems(404),
        },
    )
    async def events(job: Found, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
        """Follow a job: its state whenever that changes, and its steps, each with an id."""
        known = last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 10
        sent = int(last_event_id) if known else 0
        # As proxies are told: what waits in a buffer is late.
        headers = {"X-Accel-Buffering": "no"}
        stream = _events(manager, job.id, sent)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    @router.get(
        "/{id}/preview",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {"schema": _PICTURE}}},
            304: {"description": "It is that one still."},
            **_problems(404),
        },
    )
    def preview(job: Found, if_none_match: Annotated[str, Header()] = "") -> Response:
        """Show the picture so far, JPEG; its ETag is of the step."""
        step, jpeg = manager.preview(job.id)
        headers = {"ETag": f'"{step}"', "Cache-Control": "private, no-cache"}
        if headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    @router.get(
        "/{id}/result",
        response_class=Response,
        responses={
            200: {"content": {media: {"schema": _PICTURE} for media in _MEDIA.values()}},
            **_problems(404, 409),
        },
    )
    async def result(
        job: Found,
        extension: Annotated[Literal["png", "jpg", "webp", "tiff"], Query(alias="format")] = "png",
        bits: Literal["8", "16"] = "8",
        quality: Annotated[int | None, Query(ge=1, le=100)] = None,
    ) -> Response:
        """Fetch the picture: PNG and TIFF may have 16 bits, the others have a quality."""
        # By a name of the client's world: that of the file is not.
        Encoding(bits=int(bits), quality=quality).check(f"result.{extension}")
        path = manager.incoming / f"{secrets.token_hex(16)}.{extension}"
        try:
            await to_thread.run_sync(
                manager.write_result, job.id, path, int(bits), quality, limiter=encoding
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        name = f"ortist-{job.id[:8]}.{extension}"
        return _Scratch(path, media_type=_MEDIA[extension], filename=name)

    @router.get(
        "/{id}/inputs/{name}",
        response_class=FileResponse,
        responses={200: {"content": {"image/png": {"schema": _PICTURE}}}, **_problems(404)},
    )
    def picture(job: Found, name: str) -> FileResponse:
        """Fetch a picture that a job was made of, PNG."""
        return FileResponse(manager.picture(job.id, name), media_type="image/png")

    return router


def about_routes(manager: Manager) -> APIRouter:
    """Return the routes that tell of the service."""
    router = APIRouter(responses=_problems(400, 401))
    registry = registry_of(manager)

    @router.get("/v1/recipes", tags=["about"])
    async def recipes() -> list[RecipeView]:
        """Show the sets of options that have a name."""
        return [
            RecipeView(name=recipe.name, about=recipe.about, options=json_value(recipe.options))
            for recipe in RECIPES.values()
        ]

    @router.get("/v1/options", tags=["about"])
    async def options() -> dict[str, Any]:
        """Show all options, as a JSON schema."""
        return options_schema(OWN)

    @router.get("/v1/limits", tags=["about"])
    async def limits() -> LimitsView:
        """Show what is accepted."""
        return LimitsView(**vars(manager.limits))

    @router.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Tell that the service answers."""
        return {"status": "ok"}

    @router.get("/readyz", tags=["health"], responses=_problems(503))
    async def readyz() -> dict[str, str]:
        """Tell that jobs are painted."""
        if not manager.ready:
            raise BusyError("no jobs are painted now")
        return {"status": "ready"}

    @router.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Show figures for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Scratch(FileResponse):
    """Sends a file and removes it, however that ends: unlike a background task, always."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


@contextmanager
def _scratch(manager: Manager) -> Iterator[Path]:
    """Give a folder for what is received; a full disk is no fault of the client's."""
    folder = manager.incoming / secrets.token_hex(16)
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise BusyError(f"the pictures cannot be kept: {reason(error)}") from error
    finally:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()


async def _events(manager: Manager, name: str, sent: int) -> AsyncIterator[str]:
    """Yield the events of a job but for the first steps, until it has ended or is removed."""
    changed, loop = asyncio.Event(), asyncio.get_running_loop()
    shown = None

    def listener() -> None:
        with suppress(RuntimeError):  # of a loop that has ended
            loop.call_soon_threadsafe(changed.set)

    with suppress(UnknownJobError), manager.listening(name, listener):
        while True:
            changed.clear()
            # In this order: who has seen the last state has seen all steps.
            view = manager.view(name)
            final = view.state in FINAL
            if shown is None and not final:
                yield _event("state", 0, view.model_dump_json())
            for step in manager.steps(name, sent):
                sent += 1
                yield _event("step", sent, json.dumps(step))
            state = view.state, view.position, view.error
            if final or (shown is not None and state != shown):
                yield _event("state", sent, view.model_dump_json())
            if final or manager.closing:
                return
            shown = state
            try:
                await asyncio.wait_for(changed.wait(), _PING_SECONDS)
            except TimeoutError:
                yield ": ping\n\n"


def _event(name: str, number: int, data: str) -> str:
    """Return an event as browsers read it (https://html.spec.whatwg.org, 9.2); data is one line."""
    return f"event: {name}\n{f'id: {number}' if number else ':'}\ndata: {data}\n\n"

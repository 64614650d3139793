"""Jobs as they come over HTTP: files of a form, or base64 in JSON."""

from __future__ import annotations

import binascii
import re
import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

from anyio import to_thread
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ortist.engine import InputError
from ortist.models.errors import shown
from ortist.models.json_values import parse_json
from ortist.serve.limits import Limits
from ortist.serve.order import Order
from ortist.serve.reception import check_counts

_LONGEST_ORDER = 1_000_000
"""Bytes of an order beside its pictures."""
_LONG = re.compile(rb'"[^"\\]{1000,}"')
"""A text that may be a picture."""
_FIELD, _STYLE = "job", "style"


async def receive_order(
    request: Request, limits: Limits, folder: Path
) -> tuple[Order, dict[str, Path]]:
    """Return what a request asks for, and the files that its pictures were written to.

    Args:
        request: a form, or JSON.
        limits: of the service.
        folder: where files go.

    Raises:
        InputError: for a request that is neither, or asks for nothing that is known.
        HTTPException: for one that is too long, or malformed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, limits, folder)
    if kind == "application/json":
        body = await request.body()
        return await to_thread.run_sync(_decoded, body, limits, folder)
    raise InputError(
        f"the content type is {kind!r}, accepted are multipart/form-data and application/json"
    )


async def _form(request: Request, limits: Limits, folder: Path) -> tuple[Order, dict[str, Path]]:
    # Content, start and protection; each region has three.
    most = 3 + limits.styles + 3 * limits.regions
    async with request.form(max_files=most, max_fields=1, max_part_size=_LONGEST_ORDER) as form:
        text, files = "{}", list[UploadFile]()
        names: list[str] = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) and name != _FIELD:
                names.append(name)
                files.append(value)
            elif isinstance(value, UploadFile):  # as curl and browsers send some JSON
                text = (await value.read(_LONGEST_ORDER)).decode(errors="replace")
            elif name == _FIELD:
                text = value
            else:
                raise InputError(f"field {name!r} is no file, accepted is {_FIELD}")
        order = _order(text)
        check_counts(order, limits)
        if order.styles is None:
            styles = [_key(index, name) for index, name in enumerate(names) if name == _STYLE]
            order = order.model_copy(update={"styles": tuple(styles)})
        paths = await to_thread.run_sync(_written, files, folder)
    pairs = list(zip(names, paths, strict=True))
    pictures = {**dict(pairs), **{_key(at, name): path for at, (name, path) in enumerate(pairs)}}
    _check_used(names, [given for _, given in order.pictures()])
    return order, pictures


def _check_used(names: list[str], given: list[str]) -> None:
    """Raise InputError for files that the order does not name, or that have a name twice."""
    for index, name in enumerate(names):
        if name not in given and _key(index, name) not in given:
            raise InputError(f"file {shown(name)} is not named by the job")
        if name in given and names.count(name) > 1:
            raise InputError(f"file {shown(name)} is there {names.count(name)} times")


def _key(index: int, name: str) -> str:
    """Return what tells files of the same name apart; no name of a form has a line end."""
    return f"{name}\n{index}"


def _written(files: list[UploadFile], folder: Path) -> list[Path]:
    paths = []
    for index, file in enumerate(files):
        path = folder / f"{index}.upload"
        with path.open("xb") as stream:
            shutil.copyfileobj(file.file, stream)
        paths.append(path)
    return paths


def _decoded(body: bytes, limits: Limits, folder: Path) -> tuple[Order, dict[str, Path]]:
    if len(_LONG.sub(b"", body)) > _LONGEST_ORDER:
        raise InputError(f"the job has more than {_LONGEST_ORDER} bytes beside its pictures")
    try:
        order = _order(body.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"the job is no UTF-8: {error}") from error
    check_counts(order, limits)
    pictures = {}
    for name, text in order.pictures():
        data = text.partition(",")[2] if text.startswith("data:") else text
        try:
            decoded = b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"{name} is no base64: {error}") from error
        pictures[name] = folder / f"{name}.upload"
        pictures[name].write_bytes(decoded)
    return order.as_kept(), pictures


def _order(text: str) -> Order:
    """Return the order that some JSON is; InputError if it is none."""
    try:
        value: Any = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the job is no JSON: {error}") from error
    try:
        return Order.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the job"
        raise InputError(f"{where}: {first['msg']}") from error

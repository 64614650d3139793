"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from ortist.engine.options import options_schema
from ortist.serve.order import Order
from ortist.serve.task import OWN

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PLACE = "#/components/schemas/{model}"


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application, with what its routes read by themselves."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=app.servers,
    )
    _, orders = models_json_schema([(Order, "validation")], ref_template=_PLACE)
    schemas = found["components"]["schemas"]
    schemas |= orders["$defs"]
    options = options_schema(OWN)
    del options["$schema"]  # which is that of the document
    for option in options["properties"].values():
        # Clients that are made of this would send them, and so undo the recipe.
        del option["default"]
    schemas["Options"] = options
    schemas["Order"]["properties"]["options"] = {"$ref": _PLACE.format(model="Options")}
    for path in found["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "400":  # also where what is asked for is no JSON
                    response["content"] = {"application/json": {"schema": _PROBLEM}}
    found["security"] = [{}, {"token": []}]  # whether there is a token is for the server to say
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return found

"""Mount the service in an application of your own: the page is at /paint/, the API below it.

Usage: uvicorn mounted:app --timeout-graceful-shutdown 3
(pip install '.[cpu,serve]' in a checkout; without the timeout it waits for who follows jobs.)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from ortist.serve import Limits, Manager
from ortist.serve.app import create_app

manager = Manager(
    Path(os.environ.get("JOBS", "jobs")),
    limits=Limits(painted_pixels=1_000_000, jobs_per_client=3),
)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Start and stop the processes that paint with this application."""
    with manager:
        yield


app = FastAPI(lifespan=lifespan)
# Who may use it, and under which names, is for this application to say: token and hosts.
app.mount("/paint", create_app(manager, token=os.environ.get("ORTIST_TOKEN", "")))


@app.get("/")
def home() -> dict[str, str]:
    """Show where the page is."""
    return {"page": "/paint/"}

"""The OpenAPI document, and what the service makes of all that it allows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
from service import ended, form, serving

from ortist.serve import Limits

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIGURATION = """
seed = 0
# What exists, else all that is asked for is unknown.
parameters."path.id" = "{job}"
parameters."path.name" = "content"
# Bytes that are a picture, and texts that name one, are beyond what a schema can say.
[[operations]]
include-name = "POST /v1/jobs"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 413, 422, 429, 503]
# Nor which format holds what.
[[operations]]
include-name = "GET /v1/jobs/{{id}}/result"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]
"""


def test_all_that_the_document_allows(tmp_path: Path) -> None:
    limits = Limits(upload_bytes=1_000_000)
    with serving(tmp_path / "jobs", limits) as (_, address):
        with httpx.Client(base_url=address) as client:
            job = client.post("/v1/jobs", **form()).json()["id"]
            ended(client, job)
        configuration = tmp_path / "schemathesis.toml"
        configuration.write_text(CONFIGURATION.format(job=job))
        command = [SCHEMATHESIS, "--config-file", configuration, "run", f"{address}/openapi.json"]
        more = ("--checks", "all", "--continue-on-failure", "--max-examples", "5")
        run = subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout
    assert "Tested: 15" in run.stdout

"""Submit jobs from FastAPI, and show their progress: `uvicorn fastapi_app:app --port 8000`.

The page reads the feed of the gateway, which must allow its origin: `ACKED_ALLOWED_ORIGINS=http://localhost:8000`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from acked_client import AsyncAcked, LimitReached, NoResponse, NotFound, RetryPolicy, Unavailable

GATEWAY = os.environ.get("GATEWAY", "http://localhost:8080")
PAGE = Path(__file__).with_name("progress.html")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for all requests: it reuses its connections. A request waits 5 s for Acked at most."""
    async with AsyncAcked(GATEWAY, retry=RetryPolicy(budget_s=5)) as acked:
        app.state.acked = acked
        yield


app = FastAPI(lifespan=lifespan)


class Report(BaseModel):
    """What a report covers."""

    rows: Annotated[int, Field(ge=1, le=10_000)]


@app.post("/reports", status_code=202)
async def start(
    report: Report, request: Request, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, str]:
    """Start a report. The job is durable when this responds."""
    acked: AsyncAcked = request.app.state.acked
    try:
        job = await acked.submit("example.report", report.model_dump(), idempotency_key=idempotency_key)
    except (LimitReached, Unavailable, NoResponse) as error:
        raise HTTPException(503, "try again, with the same Idempotency-Key", {"Retry-After": "5"}) from error
    return {"id": job.id}


@app.get("/reports/{job_id}")
async def show(job_id: str, request: Request) -> dict[str, Any]:
    """Return the state of a report, and its result once there is one."""
    acked: AsyncAcked = request.app.state.acked
    try:
        status = await acked.job(job_id).status()
    except NotFound as error:
        raise HTTPException(404, "no such report") from error
    return {"state": status.state, "result": status.result}


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """Serve the page with the progress bar."""
    return PAGE.read_text().replace("GATEWAY_URL", GATEWAY)

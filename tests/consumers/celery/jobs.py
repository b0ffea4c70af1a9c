"""A Celery application, for the workers and the caller alike: BROKER is its URL, RESULTS a directory.

PREDEFINED, if given, is the URL of the queue ``given``, the only one that it may use.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

RESULTS = Path(os.environ["RESULTS"])
VISIBILITY_TIMEOUT = 120

app = Celery("jobs", broker=os.environ["BROKER"], backend=f"file://{RESULTS}")
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "wait_time_seconds": 20,
        "polling_interval": 0.1,
    },
    broker_connection_retry_on_startup=True,
    task_default_queue="jobs",
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
)
if url := os.environ.get("PREDEFINED"):
    given = {"url": url, "access_key_id": "test", "secret_access_key": "test"}
    app.conf.broker_transport_options["predefined_queues"] = {"given": given}
    app.conf.task_default_queue = "given"


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True, max_retries=3)
def third_time_lucky(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task
def note(name: str, text: str) -> None:
    """Append a line to a file; one write of so few bytes is whole."""
    with open(RESULTS / name, "a") as file:
        file.write(f"{text} {time.time()}\n")


@app.task(acks_late=True, bind=True)
def hang_once(self: Any) -> str:
    """Never ends where it is run first."""
    started = RESULTS / f"started-{self.request.id}"
    if not started.exists():
        started.touch()
        time.sleep(600)
    return "done by another worker"

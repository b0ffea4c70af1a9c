"""Celery over kombu's SQS transport: scenarios.py ENDPOINT DIRECTORY. Its workers are processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

ENDPOINT, DIRECTORY = sys.argv[1], Path(sys.argv[2])
os.environ["BROKER"] = ENDPOINT.replace("http://", "sqs://test:test@")
os.environ["RESULTS"] = str(DIRECTORY)

import boto3  # noqa: E402
import jobs  # noqa: E402
from celery import Celery  # noqa: E402

sqs = boto3.client(
    "sqs",
    endpoint_url=ENDPOINT,
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
SECONDS = 40
"""That anything may take."""


class Worker:
    started: ClassVar[list[Worker]] = []

    def __init__(self, name: str, *queues: str, **environment: str) -> None:
        self.log = DIRECTORY / f"{name}.log"
        command = [
            sys.executable,
            "-m",
            "celery",
            "--app",
            "jobs",
            "worker",
            "--pool",
            "solo",
            "--hostname",
            f"{name}@here",
        ]
        command += ["--queues", ",".join(queues), "--loglevel", "info"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self.process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env=os.environ | environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.started.append(self)

    def ready(self) -> Worker:
        until(f"{self.log.name} says ready", lambda: " ready." in self.log.read_text())
        return self

    def end(self, number: int) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        return time.monotonic() - began


def until(what: str, condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {SECONDS} s in vain until {what}")


def result(of: Any) -> Any:
    return of.get(timeout=SECONDS, interval=0.01)


def advance(seconds: float) -> None:
    body = json.dumps({"seconds": seconds}).encode()
    with urllib.request.urlopen(f"{ENDPOINT}/_trunkline/clock/advance", body, timeout=30) as answer:
        assert answer.status == 200


def counts(queue: str) -> tuple[int, int, int]:
    """Visible, in flight, delayed."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    kinds = "", "NotVisible", "Delayed"
    visible, in_flight, delayed = (int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)
    return visible, in_flight, delayed


def noted(name: str) -> list[str]:
    path = DIRECTORY / name
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def a_job_goes_round_through_a_queue_that_celery_made() -> None:
    assert result(jobs.add.delay(2, 3)) == 5
    url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert attributes["VisibilityTimeout"] == str(jobs.VISIBILITY_TIMEOUT)
    until("the job is deleted", lambda: counts("jobs") == (0, 0, 0))


def a_worker_that_waits_gets_the_job_promptly() -> None:
    began = time.time()
    jobs.note.delay("promptly", "ran")
    until("the job has run", lambda: noted("promptly"))
    ran = float((DIRECTORY / "promptly").read_text().split()[1])
    assert ran - began < 1.5, ran - began


def a_job_that_fails_is_tried_again() -> None:
    assert result(jobs.third_time_lucky.delay()) == 2


def a_job_with_a_countdown_runs_when_it_is_over() -> None:
    asked = time.time()
    jobs.note.apply_async(("countdown", "ran"), countdown=1)
    until("the job has run", lambda: noted("countdown"))
    ran = float((DIRECTORY / "countdown").read_text().split()[1])
    assert ran >= asked + 1, ran - asked


def a_job_with_sqss_own_delay_comes_when_that_is_over() -> None:
    jobs.note.apply_async(("delayed", "ran"), delay_seconds=900)
    until("the job is delayed", lambda: counts("jobs") == (0, 0, 1))
    advance(899)
    assert counts("jobs") == (0, 0, 1)
    assert noted("delayed") == []
    advance(1)
    until("the job has run", lambda: noted("delayed"))


def a_job_whose_worker_was_killed_comes_back_after_the_visibility_timeout() -> None:
    job = jobs.hang_once.apply_async(queue="killed")
    first = Worker("killed", "killed")
    until("the job hangs", lambda: (DIRECTORY / f"started-{job.id}").exists())
    first.end(signal.SIGKILL)
    assert counts("killed") == (0, 1, 0)
    Worker("heir", "killed").ready()
    advance(jobs.VISIBILITY_TIMEOUT - 10)
    assert counts("killed") == (0, 1, 0)
    advance(10)
    assert result(job) == "done by another worker"
    until("the job is deleted", lambda: counts("killed") == (0, 0, 0))


def several_workers_do_a_batch_of_jobs_each_exactly_once() -> None:
    wanted = [str(n) for n in range(120)]
    for text in wanted:
        jobs.note.delay("batch", text)
    until("all have run", lambda: len(noted("batch")) >= len(wanted))
    until("all are deleted", lambda: counts("jobs") == (0, 0, 0))
    assert sorted(noted("batch")) == sorted(wanted)
    for worker in WORKERS[:2]:
        assert "jobs.note[" in worker.log.read_text(), f"{worker.log.name} did nothing"


def a_predefined_queue_is_used_as_it_is() -> None:
    caller = Celery("caller", broker=os.environ["BROKER"])
    given = {"url": GIVEN, "access_key_id": "test", "secret_access_key": "test"}
    caller.conf.broker_transport_options = {"region": "us-east-1", "predefined_queues": {"given": given}}
    caller.send_task("jobs.note", ("predefined", "ran"), queue="given")
    until("the job has run", lambda: noted("predefined"))
    until("the job is deleted", lambda: counts("given") == (0, 0, 0))


def a_fifo_queue_runs_the_jobs_of_a_group_in_order() -> None:
    for n in range(10):
        group = {"MessageGroupId": f"group-{n % 2}", "MessageDeduplicationId": f"once-{n}"}
        for _ in range(2):  # the second is a duplicate
            jobs.note.apply_async((group["MessageGroupId"], str(n)), queue="ordered.fifo", **group)
    until("all have run", lambda: len(noted("group-0")) + len(noted("group-1")) >= 10)
    until("all are deleted", lambda: counts("ordered.fifo") == (0, 0, 0))
    assert noted("group-0") == ["0", "2", "4", "6", "8"]
    assert noted("group-1") == ["1", "3", "5", "7", "9"]


def a_purge_empties_the_queue() -> None:
    for n in range(7):
        jobs.note.apply_async(("purged", str(n)), queue="purged")
    assert counts("purged") == (7, 0, 0)
    with jobs.app.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("purged") > 0
    assert counts("purged") == (0, 0, 0)


def a_worker_that_is_stopped_leaves_nothing_in_flight() -> None:
    """The last scenario: it ends the workers."""
    for worker in WORKERS[:2]:
        took = worker.end(signal.SIGTERM)
        assert worker.process.returncode == 0, worker.log.read_text()
        assert took < 15, took
    jobs.add.delay(1, 1)
    assert counts("jobs") == (1, 0, 0)


SCENARIOS = [
    a_job_goes_round_through_a_queue_that_celery_made,
    a_worker_that_waits_gets_the_job_promptly,
    a_job_that_fails_is_tried_again,
    a_job_with_a_countdown_runs_when_it_is_over,
    several_workers_do_a_batch_of_jobs_each_exactly_once,
    a_predefined_queue_is_used_as_it_is,
    a_fifo_queue_runs_the_jobs_of_a_group_in_order,
    a_job_with_sqss_own_delay_comes_when_that_is_over,
    a_job_whose_worker_was_killed_comes_back_after_the_visibility_timeout,
    a_purge_empties_the_queue,
    a_worker_that_is_stopped_leaves_nothing_in_flight,
]
GIVEN = sqs.create_queue(QueueName="given")["QueueUrl"]
WORKERS: list[Worker] = []


def main() -> None:
    outcomes = {}
    try:
        WORKERS.extend((Worker("one", "jobs"), Worker("two", "jobs"), Worker("fifo", "ordered.fifo")))
        WORKERS.append(Worker("predefined", "given", PREDEFINED=GIVEN))
        for worker in WORKERS:
            worker.ready()
        for scenario in SCENARIOS:
            try:
                scenario()
                outcomes[scenario.__name__] = ""
            except Exception:
                outcomes[scenario.__name__] = traceback.format_exc()
    finally:
        for worker in Worker.started:
            if worker.process.poll() is None:
                worker.end(signal.SIGKILL)
    print(json.dumps(outcomes))


main()

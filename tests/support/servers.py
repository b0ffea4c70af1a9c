"""A real server in a process of its own, and boto3 clients of it."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import IO, Any

import boto3
from botocore.config import Config

_SESSION = boto3.session.Session()
"""One for all: each reads the service models again."""


class Server:
    """``python -m trunkline serve`` on a free port of loopback.

    ``environment`` is added to that of the tests; ``stderr`` is a file, None for that of the tests.
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.environment: dict[str, str] = {}
        self.stderr: IO[str] | None = None
        self.process: subprocess.Popen[str]
        self._clients: dict[Any, Any] = {}
        self.port = 0
        self.scheme = "http"
        self.trusted: str | None = None
        """The file with the certificate that clients trust; None: what this machine trusts."""

    def start(self) -> Server:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRUNKLINE_", "LOCALSTACK_", "AWS_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trunkline", "serve", "--port", "0", *self.options],
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            env=environment | self.environment,
        )
        assert self.process.stdout is not None
        self.banner = ""
        for line in self.process.stdout:
            if line.strip() == "Ready.":
                break
            self.banner += line
        else:
            raise RuntimeError(f"the server did not start: {self.banner}")
        listening = re.search(r"(https?)://127\.0\.0\.1:(\d+)", self.banner)
        assert listening is not None, self.banner
        self.scheme, self.port = listening[1], int(listening[2])
        return self

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def client(self, service: str = "sqs", account: str = "test", region: str = "us-east-1", **config: Any) -> Any:
        place = (self.port, service, account, region, repr(sorted(config.items())))
        if place not in self._clients:
            self._clients[place] = self._make_client(service, account, region, config)
        return self._clients[place]

    def _make_client(self, service: str, account: str, region: str, config: dict[str, Any]) -> Any:
        options = {"retries": {"max_attempts": 0}, "max_pool_connections": 50, "read_timeout": 30, **config}
        return _SESSION.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="test",
            config=Config(**options),
            verify=self.trusted,
        )

    def http(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context()) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def context(self) -> ssl.SSLContext | None:
        """That of a client who trusts what is to be trusted; None where nobody speaks TLS."""
        return ssl.create_default_context(cafile=self.trusted) if self.scheme == "https" else None

    def clock(self, action: str = "", **body: Any) -> Any:
        if not action:
            return json.loads(self.http("GET", "/_trunkline/clock")[1])
        status, answer = self.http("POST", f"/_trunkline/clock/{action}", body)
        assert status == 200, answer
        return json.loads(answer)

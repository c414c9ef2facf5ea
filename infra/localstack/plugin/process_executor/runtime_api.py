"""The Lambda runtime API for one program: it asks for the next event, and answers it.

Paths, headers and status codes are those of AWS's reference, "Using the Lambda runtime API", version 2018-06-01. What the program
does arrives in one queue, in the order it did it, so that whoever waits for an answer also learns that none will come.

Small writes are gathered and sent at once: sent one by one, the second would wait for a delayed acknowledgement of the first,
and each event would seem to take 40 ms more than it does.

What is absent: answers without a Content-Length. A program that streams is told so, with 411.
"""

import queue
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Event:
    """What a program is given to deal with."""

    request_id: str
    body: bytes
    function_arn: str
    trace_id: str
    timeout_s: float
    """How long it may take, from when it is handed over."""


@dataclass(frozen=True)
class Asked:
    """The program asked for an event: it has started, or is done with the one before."""


@dataclass(frozen=True)
class NotStarted:
    """The program said that it cannot start."""

    body: bytes


@dataclass(frozen=True)
class Answered:
    """The program answered the event `request_id`."""

    request_id: str
    body: bytes
    failed: bool


@dataclass(frozen=True)
class Ended:
    """The program is gone."""

    status: int


Said = Asked | NotStarted | Answered | Ended


class RuntimeApi:
    """The API for one program, on a free port of loopback."""

    def __init__(self) -> None:
        self.said: queue.Queue[Said] = queue.Queue()
        """What the program did, oldest first."""
        self.events: queue.Queue[Event | None] = queue.Queue()
        """What it is to be given; None lets go of one that asks for more when there will be no more."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        # It looks for the end of its work this often, in seconds, and `close` waits for that.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="runtime-api", daemon=True).start()

    @property
    def address(self) -> str:
        """What the program is told in AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stops listening, and lets go of a program that still waits for an event."""
        self.events.put(None)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: RuntimeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over what a program leaves behind when it dies in the middle of a request; its end is told by other means."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # one connection for all events, as programs expect
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            self._answer(404)
            return
        self.server.api.said.put(Asked())
        event = self.server.api.events.get()
        if event is None:
            self.close_connection = True
            return
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + event.timeout_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": event.function_arn,
            "Lambda-Runtime-Trace-Id": event.trace_id,
        }
        self._answer(200, event.body, headers)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        if length is None:
            self.close_connection = True
            self._answer(411)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # it died while it answered: that is no answer
            return
        words = self.path.removeprefix(f"{PREFIX}/").split("/")
        said: Said
        if words == ["init", "error"]:
            said = NotStarted(body)
        elif len(words) == 3 and words[0] == "invocation" and words[2] in ("response", "error"):
            said = Answered(words[1], body, failed=words[2] == "error")
        else:
            self._answer(404)
            return
        # First, so that a program that ends right after its answer has answered.
        self.server.api.said.put(said)
        self._answer(202, b'{"status":"OK"}', {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what matters is in the queue."""

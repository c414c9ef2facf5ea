"""What doctor asks AWS is signed as AWS's own Python SDK signs it.

Emulators take any signature, and doctor signs four of its questions without an SDK. So each question is caught, and signed again.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.local.settings import COMMAND_BINARY, require

DEADLINE_S = 60.0
REGION = "eu-west-1"
KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token"
"""The first two stand in AWS's own documentation, and open nothing."""
SETTINGS = {
    "M3TER_ORG_ID": "org-1",
    "M3TER_SECRET_ARN": f"arn:aws:secretsmanager:{REGION}:000000000000:secret:m3ter",
    "STORE_URL": "s3://bucket/relay",
    "QUEUE_URL": "http://127.0.0.1:1/000000000000/usage",
    "M3TER_API_URL": "http://127.0.0.1:1",
}


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def _aws() -> Iterator[tuple[str, list[Asked]]]:
    """An AWS that has a stack with a function and nothing else, and what it was asked."""
    asked: list[Asked] = []

    class Answer(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.command, self.path, headers, body))
            status, text = 400, '{"__type":"ResourceNotFoundException","message":"there is none"}'
            if "DescribeStackResource" in self.path:
                status, text = 200, "<R><PhysicalResourceId>relay-Function-1</PhysicalResourceId></R>"
            elif self.path.endswith("/configuration"):
                status, text = 200, json.dumps({"State": "Active", "Timeout": 60, "Environment": {"Variables": SETTINGS}})
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _signed_again(asked: Asked, service: str, token: str | None) -> str:
    """The signature that AWS's SDK for Python makes of the same request."""
    names = asked.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    url = f"http://{asked.headers['host']}{asked.path}"
    headers = {name: asked.headers[name] for name in names}
    request = AWSRequest(method=asked.method, url=url, headers=headers, data=asked.body)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEY_ID, SECRET, token), service, REGION)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


@pytest.mark.parametrize("token", [None, TOKEN])
def test_what_doctor_asks_is_signed_as_awss_own_sdk_signs_it(token: str | None) -> None:
    with _aws() as (url, asked):
        env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        env |= {"AWS_SESSION_TOKEN": token} if token else {}
        argv = [require(COMMAND_BINARY), "doctor", "--stack-name", "relay", "--json"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1, "that AWS has no queue and no secret"
    assert SECRET not in done.stdout + done.stderr and KEY_ID not in done.stdout + done.stderr
    services = {"Action=": "cloudformation", "/functions/": "lambda", "/event-source-mappings/": "lambda"}
    checked = set()
    for one in asked:
        found = [service for part, service in services.items() if part in one.path]
        found += ["secretsmanager"] if one.headers.get("x-amz-target", "").startswith("secretsmanager.") else []
        if not found:
            continue  # The SDKs of SQS and S3, and the question for the time, which is not signed.
        (service,) = found
        authorization = one.headers["authorization"]
        assert f"Credential={KEY_ID}/{one.headers['x-amz-date'][:8]}/{REGION}/{service}/aws4_request" in authorization
        assert ("x-amz-security-token" in one.headers) == (token is not None)
        assert authorization.endswith(f"Signature={_signed_again(one, service, token)}"), one.path
        checked.add(next((part for part in services if part in one.path), "secret"))
    assert checked == {"Action=", "/functions/", "/event-source-mappings/", "secret"}

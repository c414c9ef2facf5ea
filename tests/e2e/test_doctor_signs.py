"""What doctor asks AWS: signed as AWS's own Python SDK signs it, and allowed by the permissions that its help names.

Emulators take any signature and ask for no permission, and doctor signs four of its questions without an SDK. So each is caught.
"""

import json
import re
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
    """An AWS that has a stack with a function and an empty bucket, and nothing else, and what it was asked."""
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
            elif self.path.startswith("/bucket?"):
                status, text = 200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
            elif self.path.startswith("/bucket/"):
                status, text = (200, "") if self.command == "PUT" else (404, "<Error><Code>NoSuchKey</Code></Error>")
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _any

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


def _doctor(token: str | None, *more: str) -> tuple[subprocess.CompletedProcess[str], list[Asked]]:
    """What doctor says of that AWS, and what it asked."""
    with _aws() as (url, asked):
        env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        env |= {"AWS_SESSION_TOKEN": token} if token else {}
        argv = [require(COMMAND_BINARY), "doctor", "--stack-name", "relay", "--json", *more]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE_S), asked


def _permission(asked: Asked) -> str | None:
    """The permission that a question needs. None of one that needs none: what time it is."""
    if "authorization" not in asked.headers:
        return None
    target = asked.headers.get("x-amz-target", "")
    if target:
        service, action = target.split(".")
        return f"{service.removeprefix('Amazon').lower()}:{action}"
    found = {
        "Action=DescribeStackResource&": "cloudformation:DescribeStackResource",
        "/configuration": "lambda:GetFunctionConfiguration",
        "/event-source-mappings/": "lambda:ListEventSourceMappings",
        "/bucket?": "s3:ListBucket",
        "/bucket/": f"s3:{asked.method.capitalize()}Object",
    }
    (one,) = [permission for part, permission in found.items() if part in asked.path]
    return one


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
    done, asked = _doctor(token)
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


def test_the_permissions_that_help_names_are_those_that_doctor_uses() -> None:
    told = subprocess.run([require(COMMAND_BINARY), "doctor", "--help"], capture_output=True, text=True, check=True).stdout
    named = re.findall(r"\b([a-z0-9]+:[A-Z][A-Za-z]+)", told)
    without_key = [permission for permission in named if not permission.startswith("kms:")]
    writing = without_key.index("s3:PutObject")
    for more, expected in [((), without_key[:writing]), (("--write",), without_key)]:
        _, asked = _doctor(None, *more)
        used = {permission for permission in map(_permission, asked) if permission}
        assert used == set(expected), more
    assert named[-2:] == ["kms:Decrypt", "kms:GenerateDataKey"], "which no emulator asks for"

"""The job in Python with Powertools for AWS Lambda's batch processor and requests, as their documentation suggests.

The processor parses the messages one by one and keeps those that fail apart. What it parsed is then submitted in batches of up to
1,000 measurements over a kept connection; the messages of a batch that was not accepted are reported with the others.

A message's measurements stay together, so that a batch's fate is its messages' fate. Bytes are estimated by the messages'
own, which spares serialising anything twice.

What it does not do, and the relay does: check anything beforehand, find the culprit of a refused batch, quarantine, record,
keep to m3ter's rate, retry, brake, watch the deadline.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import requests
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

BATCH_MEASUREMENTS_MAX = 1_000
BATCH_BYTES_MAX = 500_000
"""m3ter takes less than 512,000."""

URL = f"{os.environ['M3TER_INGEST_URL']}/organizations/{os.environ['M3TER_ORG_ID']}/measurements"
TOKEN_URL = f"{os.environ['M3TER_API_URL']}/oauth/token"
CREDENTIALS = (os.environ["M3TER_ACCESS_KEY_ID"], os.environ["M3TER_API_SECRET"])

Measurements = list[dict[str, Any]]

log = Logger(service="usage")
processor = BatchProcessor(event_type=EventType.SQS)
session = requests.Session()
token_until = 0.0


def authorise() -> None:
    """Sees to it that the session has a token that is valid for some minutes."""
    global token_until
    if token_until > time.time():
        return
    answer = requests.post(TOKEN_URL, json={"grant_type": "client_credentials"}, auth=CREDENTIALS, timeout=10)
    answer.raise_for_status()
    granted = answer.json()
    session.headers["Authorization"] = f"Bearer {granted['access_token']}"
    token_until = time.time() + granted["expires_in"] - 300


def submit(measurements: Measurements) -> None:
    """Submits one batch. Raises what is not an acceptance."""
    authorise()
    # requests' own json= would write a space after each comma and colon, and m3ter counts bytes.
    body = json.dumps({"measurements": measurements}, separators=(",", ":"))
    answer = session.post(URL, data=body.encode(), headers={"Content-Type": "application/json"}, timeout=30)
    answer.raise_for_status()
    if answer.json().get("result") != "accepted":
        raise ValueError("not accepted")


def parse(record: SQSRecord) -> Measurements:
    """The measurements of one message: what the batch processor calls for each."""
    body = record.json_body
    return body if isinstance(body, list) else body.get("measurements") or [body]


def batches(parsed: list[tuple[dict[str, Any], Measurements]]) -> Iterator[tuple[Measurements, list[str]]]:
    """Whole messages, in order, as many as one request takes."""
    batch: Measurements = []
    messages: list[str] = []
    size = 0
    for record, measurements in parsed:
        more = len(record["body"]) + 1
        if batch and (len(batch) + len(measurements) > BATCH_MEASUREMENTS_MAX or size + more > BATCH_BYTES_MAX):
            yield batch, messages
            batch, messages, size = [], [], 0
        batch.extend(measurements)
        messages.append(record["messageId"])
        size += more
    if batch:
        yield batch, messages


def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Everything that was not accepted comes again."""
    with processor(records=event["Records"], handler=parse, lambda_context=context):
        processed = processor.process()
    failures = processor.response()["batchItemFailures"]
    parsed = [(record, result) for status, result, record in processed if status == "success"]
    for measurements, messages in batches(parsed):
        try:
            submit(measurements)
        except (requests.RequestException, ValueError):
            log.exception("batch not accepted")
            failures.extend({"itemIdentifier": message} for message in messages)
    return {"batchItemFailures": failures}

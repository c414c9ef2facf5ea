"""The job in Python with m3ter's own SDK, as its documentation suggests.

Each message is parsed and submitted in batches of up to 1,000 measurements by one client, which keeps its connection; the
messages of a batch that was not accepted are reported, so that SQS brings them again. The client fetches its token by
itself; this version of it does so before every request, since it takes the token's lifetime for a date.

A message's measurements stay together, so that a batch's fate is its messages' fate. Bytes are estimated by the messages'
own, which spares serialising anything twice.

What it does not do, and the relay does: check anything beforehand, find the culprit of a refused batch, quarantine, record,
keep to m3ter's rate, brake, watch the deadline.
"""

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

from m3ter import M3ter, M3terError

BATCH_MEASUREMENTS_MAX = 1_000
BATCH_BYTES_MAX = 500_000
"""m3ter takes less than 512,000."""

Measurements = list[dict[str, Any]]

log = logging.getLogger()
client = M3ter(
    api_key=os.environ["M3TER_ACCESS_KEY_ID"],
    api_secret=os.environ["M3TER_API_SECRET"],
    org_id=os.environ["M3TER_ORG_ID"],
    base_url=os.environ["M3TER_API_URL"],
)


def parse(body: str) -> Measurements:
    """The measurements of one message."""
    parsed = json.loads(body)
    return parsed if isinstance(parsed, list) else parsed.get("measurements") or [parsed]


def batches(records: list[dict[str, Any]], failed: list[str]) -> Iterator[tuple[Measurements, list[str]]]:
    """Whole messages, in order, as many as one request takes. What cannot be read goes to `failed`."""
    batch: Measurements = []
    messages: list[str] = []
    size = 0
    for record in records:
        try:
            measurements = parse(record["body"])
        except (ValueError, AttributeError):
            log.exception("message not readable")
            failed.append(record["messageId"])
            continue
        more = len(record["body"]) + 1
        if batch and (len(batch) + len(measurements) > BATCH_MEASUREMENTS_MAX or size + more > BATCH_BYTES_MAX):
            yield batch, messages
            batch, messages, size = [], [], 0
        batch.extend(measurements)
        messages.append(record["messageId"])
        size += more
    if batch:
        yield batch, messages


def handler(event: dict[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Everything that was not accepted comes again."""
    failed: list[str] = []
    for measurements, messages in batches(event["Records"], failed):
        try:
            if client.usage.submit(measurements=measurements).result != "accepted":
                failed.extend(messages)
        except M3terError:
            log.exception("batch not accepted")
            failed.extend(messages)
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

"""Sends usage from standard input to the queue: `QUEUE_URL=… python3 python.py < usage.ndjson`. Needs boto3."""

import json
import os
import sys
from typing import Any

import boto3


def measurement(used: dict[str, Any]) -> dict[str, Any]:
    """The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run."""
    uid = f"{used['order']}/line-{used['line']}"
    return {"uid": uid, "meter": "api_calls", "account": used["customer"], "ts": used["at"], "measure": {"calls": used["calls"]}}


sqs = boto3.client("sqs")  # tries a failed call again by itself, with the same body
found = [measurement(json.loads(line)) for line in sys.stdin]
for start in range(0, len(found), 100):
    body = json.dumps({"measurements": found[start : start + 100]})
    sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=body)

"""Sends messages as any producer would, with AWS's own SDK, and waits until the queue has none left."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.local.setup import Local
from infra.local.wait import until

BATCH_ENTRIES_MAX = 10
"""SQS takes at most ten messages a call."""

SETTLE_DEADLINE_S = 60.0


def send(relay: Local, bodies: Sequence[str], attributes: Mapping[str, str] | None = None) -> list[str]:
    """Sends each of `bodies` as a message with these text `attributes`; returns the message ids, in order."""
    sqs, queue = relay.client("sqs"), relay.outputs["QueueUrl"]
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
    ids = []
    for start in range(0, len(bodies), BATCH_ENTRIES_MAX):
        entries = [
            {"Id": str(position), "MessageBody": body, "MessageAttributes": typed}
            for position, body in enumerate(bodies[start : start + BATCH_ENTRIES_MAX])
        ]
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        assert not answer.get("Failed"), answer["Failed"]
        ids += [sent["MessageId"] for sent in sorted(answer["Successful"], key=lambda sent: int(sent["Id"]))]
    return ids


def body(measurements: Sequence[Mapping[str, Any]]) -> str:
    """A message body that holds `measurements` the way m3ter's API takes them."""
    return json.dumps({"measurements": list(measurements)})


def waiting(relay: Local, url_output: str = "QueueUrl") -> dict[str, int]:
    """How many messages a queue of the stack holds: `visible`, `in_flight`, `delayed`."""
    names = {
        "ApproximateNumberOfMessages": "visible",
        "ApproximateNumberOfMessagesNotVisible": "in_flight",
        "ApproximateNumberOfMessagesDelayed": "delayed",
    }
    answer = relay.client("sqs").get_queue_attributes(QueueUrl=relay.outputs[url_output], AttributeNames=list(names))
    return {short: int(answer["Attributes"][long]) for long, short in names.items()}


def until_settled(relay: Local, deadline_s: float = SETTLE_DEADLINE_S) -> None:
    """Waits until the queue holds nothing: each message's invocation is over, and said that it was done."""
    until(lambda: not any(waiting(relay).values()), "the queue is empty", deadline_s)


def set_visibility_timeout(relay: Local, seconds: int) -> int:
    """Changes how long a message of a dead invocation stays away; returns what it was. The template's is minutes."""
    sqs, queue = relay.client("sqs"), relay.outputs["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(seconds)})
    return int(answer["Attributes"]["VisibilityTimeout"])

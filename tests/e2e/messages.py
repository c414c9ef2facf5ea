"""Sends messages as any producer would, with AWS's own SDK, and waits until the queue has none left."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.local import function
from infra.local.setup import Local
from infra.local.wait import until

CALL_ENTRIES_MAX = 10
CALL_BYTES_MAX = 1024 * 1024
"""SQS takes at most ten messages a call, and at most 1 MiB of them together."""

SETTLE_DEADLINE_S = 60.0


def send(relay: Local, bodies: Sequence[str], attributes: Mapping[str, str] | None = None) -> list[str]:
    """Sends each of `bodies` as a message with these text `attributes`; returns the message ids, in order."""
    return send_each(relay, [(body, attributes or {}) for body in bodies])


def send_each(relay: Local, messages: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Sends `messages`, each a body with text attributes of its own; returns the message ids, in order."""
    sqs, queue = relay.client("sqs"), relay.outputs["QueueUrl"]
    ids: list[str] = []
    for call in _calls(messages):
        entries = [_entry(position, body, attributes) for position, (body, attributes) in enumerate(call)]
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        assert not answer.get("Failed"), answer["Failed"]
        ids += [sent["MessageId"] for sent in sorted(answer["Successful"], key=lambda sent: int(sent["Id"]))]
    return ids


def _calls(messages: Sequence[tuple[str, Mapping[str, str]]]) -> Iterator[list[tuple[str, Mapping[str, str]]]]:
    """Groups of messages that SQS takes in one call."""
    call: list[tuple[str, Mapping[str, str]]] = []
    size = 0
    for body, attributes in messages:
        length = len(body.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())
        if call and (len(call) == CALL_ENTRIES_MAX or size + length > CALL_BYTES_MAX):
            yield call
            call, size = [], 0
        call.append((body, attributes))
        size += length
    if call:
        yield call


def _entry(position: int, body: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    return {"Id": str(position), "MessageBody": body, "MessageAttributes": typed}


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


def pause_delivery(relay: Local, which: str = function.RELAY) -> None:
    """Switches a function's event source mapping off: what is in its queue stays there; what is being worked on is finished."""
    _set_delivery(relay, which, enabled=False, state="Disabled")


def resume_delivery(relay: Local, which: str = function.RELAY) -> None:
    """Switches a function's event source mapping on again."""
    _set_delivery(relay, which, enabled=True, state="Enabled")


def _set_delivery(relay: Local, which: str, enabled: bool, state: str) -> None:
    lambdas, name = relay.client("lambda"), relay.outputs[f"{which}FunctionName"]
    [mapping] = lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
    until(
        lambda: lambdas.get_event_source_mapping(UUID=mapping["UUID"])["State"] == state,
        f"the event source mapping is {state}",
        SETTLE_DEADLINE_S,
    )


def receive(relay: Local) -> list[dict[str, Any]]:
    """Receives what is visible, and keeps it: it comes back after the queue's visibility timeout."""
    sqs, queue = relay.client("sqs"), relay.outputs["QueueUrl"]
    found: list[dict[str, Any]] = []
    while got := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=CALL_ENTRIES_MAX, WaitTimeSeconds=0).get("Messages"):
        found += got
    return found

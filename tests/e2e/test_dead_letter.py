"""What the queue gives up ends in the quarantine, by way of the deployed dead-letter function."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import function
from infra.local.settings import COMMAND_BINARY, require
from infra.local.setup import Local
from infra.local.wait import until
from tests.e2e import messages, usage

DRAINED_DEADLINE_S = 60.0
"""Longest wait for a message to be received in vain, given up and stored. It takes about 3 s."""

WHOLE_MESSAGE = 2**32 - 1
"""The position of an entry that is a whole message."""

pytestmark = pytest.mark.usefixtures("meter")


@pytest.fixture
def hopeless(relay: Local, mark: str) -> Iterator[None]:
    """m3ter answers nothing that holds this test's first uid, and the queue gives a message up after its first receive."""
    relay.sandbox.add_fault({"containing": {"uid": f"{mark}-0"}, "fault": {"kind": "status", "status": 503}})
    sqs, queue = relay.client("sqs"), relay.outputs["QueueUrl"]
    policy = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    impatient = json.dumps(json.loads(policy) | {"maxReceiveCount": 1})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": impatient})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    relay.sandbox.clear_faults()


def _drained(relay: Local, mark: str, count: int) -> list[dict[str, Any]]:
    """The entries about `mark`, once there are `count` and both queues are empty."""

    def look() -> list[dict[str, Any]]:
        kept = usage.quarantined(relay, mark)
        left = [*messages.waiting(relay).values(), *messages.waiting(relay, "DeadLetterQueueUrl").values()]
        return kept if len(kept) == count and not any(left) else []

    return until(look, "what was given up is in the quarantine, and the queues are empty", DRAINED_DEADLINE_S)


@pytest.mark.usefixtures("hopeless")
def test_a_message_that_exhausted_its_receives_ends_in_the_quarantine_with_its_body_and_attributes(
    relay: Local, mark: str
) -> None:
    stored = function.sums(relay.function_output(function.DEAD_LETTER))["Stored"]
    body = messages.body([usage.measurement(mark, number) for number in range(2)])
    [message_id] = messages.send(relay, [body], {"tenant": f"tenant-{mark}"})
    [entry] = _drained(relay, mark, 1)
    assert (entry["reason"], entry["stage"], entry["position"]) == ("DeliveryExhausted", "delivery", WHOLE_MESSAGE)
    assert (entry["message_id"], entry["body"]) == (message_id, body)
    assert entry["attributes"] == [{"name": "tenant", "data_type": "String", "value": f"tenant-{mark}"}]
    assert entry["first_sent_at"] == entry["queued_at"]
    assert entry["queued_at"] <= entry["first_received_at"] <= entry["quarantined_at"]
    assert entry["receives"] >= 2
    assert "uid" not in entry
    assert usage.states(relay, mark) == {}
    output = relay.function_output(function.DEAD_LETTER)
    assert function.sums(output)["Stored"] == stored + 1
    assert mark not in "\n".join(output)


def test_what_is_on_the_dead_letter_queue_is_not_read_only_kept(relay: Local, mark: str) -> None:
    bodies = [f"{mark} is no JSON", json.dumps({"uid": mark}), f'{{"{mark}":', "x" * 100_000 + mark]
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    sent = relay.client("sqs").send_message_batch(QueueUrl=relay.outputs["DeadLetterQueueUrl"], Entries=entries)
    assert len(sent["Successful"]) == len(bodies)
    kept = _drained(relay, mark, len(bodies))
    assert sorted(entry["body"] for entry in kept) == sorted(bodies)
    assert {entry["reason"] for entry in kept} == {"DeliveryExhausted"}
    assert len({uuid.UUID(entry["qid"]) for entry in kept}) == len(bodies)


def test_what_was_given_up_can_be_replayed_and_is_counted_once(relay: Local, mark: str) -> None:
    body = messages.body([usage.measurement(mark, number) for number in range(3)])
    relay.client("sqs").send_message(QueueUrl=relay.outputs["DeadLetterQueueUrl"], MessageBody=body)
    [entry] = _drained(relay, mark, 1)
    places = ["--store-url", relay.outputs["StoreUrl"], "--queue-url", relay.outputs["QueueUrl"]]
    argv = [require(COMMAND_BINARY), "replay", "--qid", entry["qid"], *places]
    replayed = subprocess.run(argv, env=relay.environment(), capture_output=True, text=True, timeout=60)
    assert replayed.returncode == 0, replayed.stderr
    messages.until_settled(relay)
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in range(3)}


def test_the_processes_of_the_two_functions_are_told_apart(relay: Local, mark: str) -> None:
    usage.send(relay, mark, count=1, per_message=1)
    relay.client("sqs").send_message(QueueUrl=relay.outputs["DeadLetterQueueUrl"], MessageBody=mark)
    _drained(relay, mark, 1)
    functions = [relay.function_pids(which) for which in (function.RELAY, function.DEAD_LETTER)]
    assert all(functions)
    assert not set(functions[0]) & set(functions[1])

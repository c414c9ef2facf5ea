"""A secret that m3ter does not accept: the fault is ours, so nothing is quarantined and everything stays in the queue.

The relay reads a refused secret again at most once a minute. So the first test here is an early one, and the second comes
when all others are over: by then most of that minute has passed.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from infra.local import function
from infra.local.setup import Local, local
from infra.local.wait import until
from tests.e2e import messages, quarantine, sdk, usage

REFUSED_DEADLINE_S = 30.0
SECRET_REREAD_S = 60.0
"""Once refused, the relay leaves the secret alone for so long."""
COUNT = 3


@dataclass(frozen=True)
class LockedOut:
    """A relay whose secret was refused, with one message that it could not submit."""

    relay: Local
    message_id: str
    pids: list[int]
    refused_at: float
    """Monotonic, in seconds."""


@pytest.fixture(scope="session")
def locked_out() -> Iterator[LockedOut]:
    """The relay after its first refusal, with the delivery of messages switched off."""
    with local("credentials") as relay:
        sdk.create_meter(relay.sandbox, usage.METER, ["calls"])
        relay.put_secret(json.dumps({"access_key_id": relay.sandbox.access_key_id, "api_secret": "canary-of-a-wrong-secret"}))
        [message_id] = usage.send(relay, "locked-out", COUNT, COUNT)
        until(lambda: function.sums(relay.function_output())["GiveUp"], "an invocation gave up", REFUSED_DEADLINE_S)
        refused_at = time.monotonic()
        messages.pause_delivery(relay)
        yield LockedOut(relay, message_id, relay.function_pids(), refused_at)


def test_refused_credentials_quarantine_nothing_and_leave_everything_in_the_queue(locked_out: LockedOut) -> None:
    relay = locked_out.relay
    assert relay.sandbox.totals()["received"] == 0
    assert quarantine.entries(relay) == []
    assert sum(messages.waiting(relay).values()) == 1
    assert sum(messages.waiting(relay, "DeadLetterQueueUrl").values()) == 0
    lines = function.invocations(relay.function_output())
    assert lines
    for line in lines:
        assert (line["level"], line["GiveUp"], line["Done"], line["Returned"], line["Quarantined"]) == ("error", 1, 0, 1, 0)
    assert "canary-of-a-wrong-secret" not in "\n".join(relay.function_output())


@pytest.mark.last
def test_a_corrected_secret_is_right_again_in_the_same_process(locked_out: LockedOut) -> None:
    relay = locked_out.relay
    relay.put_secret(relay.sandbox.secret())
    next_read = locked_out.refused_at + SECRET_REREAD_S
    until(lambda: time.monotonic() > next_read, "the relay may read its secret again", SECRET_REREAD_S + 1)
    messages.resume_delivery(relay)
    messages.until_settled(relay)
    assert usage.states(relay, "locked-out") == {f"locked-out-{number}": ["ingested"] for number in range(COUNT)}
    assert quarantine.entries(relay) == []
    assert locked_out.pids
    assert relay.function_pids() == locked_out.pids

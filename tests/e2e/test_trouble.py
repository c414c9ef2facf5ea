"""m3ter in trouble: answers lost, refused, late, not its own. Whatever happens, each measurement is counted once."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import function
from infra.local.setup import Local
from tests.e2e import messages, usage

COUNT, PER_MESSAGE = 400, 20
TOKEN_LIFETIME_S = 18_000

pytestmark = pytest.mark.usefixtures("meter", "quiet_afterwards")


@pytest.fixture
def quiet_afterwards(relay: Local) -> Iterator[None]:
    """Ends all scripted trouble after the test."""
    yield
    relay.sandbox.clear_faults()


@pytest.mark.parametrize(
    ("times", "fault", "metric"),
    [
        pytest.param(4, {"kind": "drop-answer"}, "UnknownAnswer", id="answers are dropped"),
        pytest.param(4, {"kind": "reset"}, "UnknownAnswer", id="connections are reset"),
        pytest.param(4, {"kind": "truncate"}, "UnknownAnswer", id="answers are cut short"),
        pytest.param(8, {"kind": "status", "status": 429, "retry_after": "1"}, "Throttled", id="429 storm"),
        pytest.param(12, {"kind": "status", "status": 503}, "Attempts", id="5xx for a while"),
        pytest.param(1, {"kind": "html"}, "UnknownAnswer", id="a page of HTML once"),
    ],
)
def test_trouble_changes_no_total(relay: Local, mark: str, times: int, fault: dict[str, Any], metric: str) -> None:
    before, fired_before = _counts(relay), relay.sandbox.faults_fired()
    relay.sandbox.add_fault({"times": times, "fault": fault})
    usage.send(relay, mark, COUNT, PER_MESSAGE)
    messages.until_settled(relay)
    assert relay.sandbox.faults_fired() - fired_before == {fault["kind"]: times}
    usage.assert_counted_once(relay, mark, COUNT)
    since = _counts(relay) - before
    assert since[metric] >= times
    assert since["Quarantined"] == since["AccountsMismatch"] == 0


def test_what_m3ter_counted_before_its_answer_was_lost_is_a_duplicate_afterwards(relay: Local, mark: str) -> None:
    relay.sandbox.add_fault({"containing": {"uid": f"{mark}-0"}, "times": 1, "fault": {"kind": "drop-answer"}})
    usage.send(relay, mark, count=3, per_message=3)
    messages.until_settled(relay)
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested", "duplicate"] for number in range(3)}


def test_a_token_that_expires_before_every_message_changes_no_total(relay: Local, mark: str) -> None:
    for number in range(4):
        before = relay.sandbox.totals()["tokens_issued"]
        relay.sandbox.advance_clock(TOKEN_LIFETIME_S + 1)
        messages.send(relay, [messages.body([usage.measurement(mark, number)])])
        messages.until_settled(relay)
        # The relay's, and ingest-watch's where its turn came in between.
        assert relay.sandbox.totals()["tokens_issued"] >= before + 1
    usage.assert_counted_once(relay, mark, 4)
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in range(4)}


def _counts(relay: Local) -> Counter[str]:
    """The sums of the function's metrics so far."""
    return function.sums(relay.function_output())

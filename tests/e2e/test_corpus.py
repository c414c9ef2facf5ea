"""The corpus of message bodies, every case at once, each beside good neighbours, through a stack of its own.

Of its own, because some cases stay in the queue.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest

from infra.local import function
from infra.local.setup import Local, local
from infra.local.wait import until
from tests.e2e import corpus, messages, quarantine, sdk

SETTLE_DEADLINE_S = 90.0
COMES_BACK_DEADLINE_S = 30.0
"""A message comes back from its first receive after at most 10 s."""

POINTERS = "PayloadPointers"


@dataclass(frozen=True)
class Sent:
    """The corpus after everything that can be settled has been."""

    relay: Local
    cases: dict[str, corpus.Case]
    """By message id."""
    neighbours: list[str]
    """The uids of the good measurements that were sent between the cases, each in a message of its own."""
    kept: dict[str, list[dict[str, Any]]]
    """Quarantine entries by message id."""
    counts: Counter[str]
    """The sums of the function's metrics."""

    def uids(self) -> Counter[str]:
        """How often m3ter accepted each uid."""
        return Counter(line["uid"] for line in self.relay.sandbox.ledger()["measurements"])


@pytest.fixture(scope="module")
def sent() -> Iterator[Sent]:
    """The whole corpus, sent at once."""
    cases = corpus.cases(datetime.now(timezone.utc))
    with local("corpus") as relay:
        sdk.create_meter(relay.sandbox, "corpus", ["calls"])
        now = datetime.now(timezone.utc).isoformat()
        neighbours = [f"neighbour-{number}" for number in range(len(cases))]
        beside = [
            json.dumps({"uid": uid, "meter": "corpus", "account": "neighbours", "ts": now, "measure": {"calls": 1}})
            for uid in neighbours
        ]
        pairs = zip(cases, beside, strict=True)
        mixed = [each for case, body in pairs for each in ((case.body, case.attributes), (body, {}))]
        ids = messages.send_each(relay, mixed)
        settled = len(mixed) - sum(case.expect is None for case in cases)
        until(
            lambda: function.sums(relay.function_output())["Done"] >= settled, f"{settled} messages are done", SETTLE_DEADLINE_S
        )
        until(
            lambda: sum(messages.waiting(relay).values()) <= len(mixed) - settled, "they have left the queue", SETTLE_DEADLINE_S
        )
        # What came back must now wait to be looked at, instead of going round.
        messages.pause_delivery(relay)
        kept: dict[str, list[dict[str, Any]]] = {}
        for entry in quarantine.once(quarantine.entries(relay)):
            kept.setdefault(entry["message_id"], []).append(entry)
        yield Sent(relay, dict(zip(ids[::2], cases, strict=True)), neighbours, kept, function.sums(relay.function_output()))


def test_the_corpus_holds_at_least_sixty_malformed_bodies(sent: Sent) -> None:
    assert sum(bool(case.reasons) for case in sent.cases.values()) >= 60


def test_each_bad_measurement_is_quarantined_with_its_reason_and_nothing_else_is(sent: Sent) -> None:
    found = {
        sent.cases[message_id].name if message_id in sent.cases else message_id: {
            entry["position"]: entry["reason"] for entry in entries
        }
        for message_id, entries in sent.kept.items()
    }
    assert found == {case.name: case.reasons for case in sent.cases.values() if case.reasons}
    assert sum(len(entries) for entries in sent.kept.values()) == sum(len(case.reasons) for case in sent.cases.values())


def test_each_neighbour_is_ingested_once(sent: Sent) -> None:
    states = {}
    for line in sent.relay.sandbox.ledger()["measurements"]:
        if line["account"] == "neighbours":
            states.setdefault(line["uid"], []).append(line["state"])
    assert states == {uid: ["ingested"] for uid in sent.neighbours}


def test_everything_good_is_accepted_and_nothing_bad(sent: Sent) -> None:
    accepted = sent.uids()
    assert "bad" not in accepted
    good = sum(case.good for case in sent.cases.values()) + len(sent.neighbours)
    assert accepted.total() == sent.counts["Accepted"]
    assert accepted.total() + sent.counts["Collapsed"] == good
    assert max(accepted.values()) == 1


def test_the_functions_own_accounts_say_the_same(sent: Sent) -> None:
    counts = sent.counts
    assert counts["Quarantined"] == sum(len(case.reasons) for case in sent.cases.values())
    assert counts["Received"] == counts["Done"] + counts["Returned"]
    assert counts["Found"] == counts["Accepted"] + counts["Collapsed"] + counts["Quarantined"] + counts["Unresolved"]
    assert counts["AccountsMismatch"] == counts["GiveUp"] == counts["UnknownAnswer"] == counts["StoreFailed"] == 0


def test_what_is_not_for_the_relay_to_settle_stays_in_the_queue_and_is_counted(sent: Sent) -> None:
    returned = {message_id: case for message_id, case in sent.cases.items() if case.expect is None}
    pointers = {message_id for message_id, case in returned.items() if "Pointer" in case.body}
    assert pointers
    # Each delivery of a pointer counts, and one may have come back before the mapping was switched off.
    assert sent.counts[POINTERS] >= len(pointers)
    assert sent.counts["Returned"] >= len(returned)
    left = messages.waiting(sent.relay)
    assert sum(left.values()) == len(returned)
    until(lambda: messages.waiting(sent.relay)["visible"] >= len(pointers), "the pointers came back", COMES_BACK_DEADLINE_S)
    assert {message["MessageId"]: message["Body"] for message in messages.receive(sent.relay)} == {
        message_id: sent.cases[message_id].body for message_id in pointers
    }

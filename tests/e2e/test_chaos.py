"""Chaos in short, as part of every test run; and that its verdict notices what must not be."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from infra.local.emulator import DIED, TIMED_OUT
from tests.e2e import chaos, chaos_books, chaos_plan
from tests.e2e.chaos_books import Sent, Told
from tests.e2e.chaos_plan import METER, Message, Plan

SHORT = Plan(seed=11, measurements=5_000, kills=15, visibility_s=6)
"""Messages come back a second after the function's time-out: the template's 31 s are most of what such a run would take."""
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def test_killed_processes_lost_answers_and_tokens_of_a_second_change_no_total() -> None:
    told = chaos.run(SHORT)
    print(chaos_books.account(told))
    assert chaos_books.wrong(told) == []


def test_the_same_seed_plans_the_same_and_another_seed_another() -> None:
    assert chaos_plan.produced(SHORT, NOW) == chaos_plan.produced(SHORT, NOW)
    assert (SHORT.faults(), SHORT.kill_positions(5_000)) == (SHORT.faults(), SHORT.kill_positions(5_000))
    other = replace(SHORT, seed=8)
    assert chaos_plan.produced(other, NOW) != chaos_plan.produced(SHORT, NOW)
    assert (other.faults(), other.kill_positions(5_000)) != (SHORT.faults(), SHORT.kill_positions(5_000))


def test_a_plan_makes_as_many_measurements_as_it_says_and_each_uid_once() -> None:
    for count in (1, 4, 7, 5_000):
        calls = chaos_plan.produced(replace(SHORT, measurements=count), NOW)
        uids = [one["uid"] for each in calls for call in each for message in call.messages for one in message.measurements]
        assert len(uids) == len(set(uids)) == count


def test_a_tenth_of_the_requests_is_5xx_and_a_fifth_of_the_answers_is_lost() -> None:
    left, statuses = 1.0, 0.0
    for rule in SHORT.faults():
        if rule["fault"]["kind"] == "status":
            statuses += left * rule["probability"]
            left *= 1 - rule["probability"]
    assert statuses == pytest.approx(0.1)
    assert [rule["probability"] for rule in SHORT.faults() if rule["fault"]["kind"] == "drop-answer"] == [0.2]


GOOD = {"uid": "a", "meter": METER, "account": "x", "ts": "t", "measure": {"calls": 1, "bytes": 2, "share": 0.5}}
BAD = {"uid": "b", "account": "x", "ts": "t", "measure": {"calls": 1, "bytes": 2, "share": 0.5}}


def _told() -> Told:
    """A run of one kill in which all went as it must."""
    message = Message("", [GOOD, BAD], {1: "MeterMissing"})
    lines = [{"uid": "a", "state": state, "measurement": dict(GOOD)} for state in ("ingested", "duplicate")]
    request = {"outcome": "accepted", "measurements": 1, "traceparent": "00-dead01-1-00"}
    entry = {"qid": "q", "message_id": "m", "position": 1, "reason": "MeterMissing"}
    empty = {"visible": 0, "in_flight": 0, "delayed": 0}
    return Told(
        plan=Plan(seed=1, measurements=2, kills=1),
        sent=Sent([("m", message)], repeated=1),
        killed=1,
        pids={1},
        seconds=4.0,
        ledger={
            "totals": {"ingested": 1, "duplicates": 1, "rejected": {}, "pending": 0, "tokens_issued": 6},
            "meters": {METER: {"count": 1, "accounts": 1, "sums": {"calls": 1, "bytes": 2, "share": 0.5}}},
            "requests": [request, dict(request)],
            "measurements": lines,
        },
        faults={"rules": [{"seen": 10}], "fired": {"drop-answer": 2, "status": 1}},
        entries=[entry, dict(entry)],
        left={"Queue": dict(empty), "DeadLetterQueue": dict(empty)},
        begun={"dead-01", "alive-02"},
        spoke={"alive-02"},
        failed=Counter({DIED: 1}),
    )


def test_a_run_in_which_all_went_as_it_must_has_nothing_wrong_with_it() -> None:
    assert chaos_books.wrong(_told()) == []
    assert "chaos, seed 1: 4 s" in chaos_books.account(_told())


def _measurements(told: Told) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told.ledger["measurements"]
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda told: _measurements(told).clear(), "1 never reached m3ter: a", id="lost"),
        pytest.param(
            lambda told: _measurements(told)[1].update(state="ingested"), "1 not ingested exactly once: a", id="counted twice"
        ),
        pytest.param(
            lambda told: _measurements(told)[0].update(state="rejected"), "1 not ingested exactly once: a", id="not counted"
        ),
        pytest.param(
            lambda told: _measurements(told)[1].update(state="rejected"), "1 neither ingested nor dropped", id="rejected"
        ),
        pytest.param(
            lambda told: _measurements(told)[1].update(measurement={**GOOD, "account": "y"}), "1 not as their", id="altered"
        ),
        pytest.param(
            lambda told: _measurements(told).append({"uid": "b", "state": "ingested", "measurement": BAD}),
            "1 reached m3ter, and nobody produced them: b",
            id="bad one ingested",
        ),
        pytest.param(
            lambda told: told.ledger["meters"][METER]["sums"].update(bytes=3), "sums of the data fields: expected", id="sum"
        ),
        pytest.param(lambda told: told.ledger["totals"].update(ingested=2), "measurements ingested: expected 1", id="total"),
        pytest.param(lambda told: told.ledger["totals"].update(rejected={"X": 1}), "rejected: expected none", id="rejections"),
        pytest.param(lambda told: told.entries.clear(), "1 planted, and not in the quarantine", id="bad one lost"),
        pytest.param(
            lambda told: told.entries.append({"qid": "r", "message_id": "m", "position": 0, "reason": "Exhausted"}),
            "1 in the quarantine, and not planted",
            id="good one quarantined",
        ),
        pytest.param(lambda told: told.entries[1].update(qid="r"), "by qid: expected 1, found 2", id="two qids for one"),
        pytest.param(lambda told: told.left["Queue"].update(delayed=1), "messages left in Queue: expected 0", id="queue"),
        pytest.param(
            lambda told: told.left["DeadLetterQueue"].update(visible=1), "left in DeadLetterQueue: expected 0", id="dead letter"
        ),
        pytest.param(lambda told: setattr(told, "killed", 0), "kills: expected at least 1, found 0", id="no kill"),
        pytest.param(lambda told: told.spoke.add("dead-01"), "under way: expected at least 1", id="no kill hit anything"),
        pytest.param(
            lambda told: told.ledger["requests"].clear(), "m3ter had counted: expected at least 1", id="no kill after counting"
        ),
        pytest.param(lambda told: told.begun.add("dead-03"), "without their line: expected at most 1", id="died of itself"),
        pytest.param(lambda told: told.failed.clear(), "accounts for 0 of 1 invocations that died", id="log not understood"),
        pytest.param(lambda told: told.failed.update([TIMED_OUT]), "1 invocations ended with Sandbox.Timedout", id="timed out"),
        pytest.param(lambda told: told.faults["fired"].pop("drop-answer"), "answers lost: expected at least", id="none lost"),
        pytest.param(lambda told: told.faults["fired"].pop("status"), "answers 5xx: expected at least", id="no 5xx"),
        pytest.param(lambda told: told.ledger["totals"].update(tokens_issued=5), "tokens fetched by", id="token lived on"),
        pytest.param(lambda told: told.ledger["totals"].update(duplicates=0), "duplicates that m3ter", id="no duplicate"),
        pytest.param(lambda told: setattr(told.sent, "repeated", 0), "producers sent again: expected", id="no retry"),
        pytest.param(lambda told: told.ledger["requests"][1].update(outcome="refused"), "1 requests refused", id="refused"),
    ],
)
def test_the_verdict_notices(change: Callable[[Told], object], expected: str) -> None:
    told = _told()
    change(told)
    found = chaos_books.wrong(told)
    assert any(expected in fault for fault in found), found

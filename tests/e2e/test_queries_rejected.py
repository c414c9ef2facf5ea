"""The queries of infra/queries over what m3ter accepted and rejected later: hand-made lines, in the shape that objects have."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.e2e.queries import Row, ask, connect

START_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z."""
DAY_MS = 86_400_000


def _at(minutes: float) -> int:
    return START_MS + round(minutes * 60_000)


def _measurement(uid: str, calls: float) -> Row:
    return {"uid": uid, "meter": "m", "account": "acme", "ts": "2026-05-31T12:00:00Z", "measure": {"calls": calls}}


def _origin(of: str | None) -> Row:
    return {} if of is None else {"origin": {"kind": "replay", "of": of}}


def _sent(uid: str, minutes: int, of: str | None = None, calls: float = 1) -> Row:
    """A line of the ledger: accepted then."""
    line = {"uid": uid, "meter": "m", "account": "acme", "ts": "2026-05-31T12:00:00Z", "batch": f"b-{minutes}-{uid}"}
    line |= {"message_id": f"m-{minutes}-{uid}", "queued_at": _at(minutes), "sent_at": _at(minutes), "attempts": 1, "receives": 1}
    return line | {"answer": "accepted", "content_hash": str(calls), "measurement": _measurement(uid, calls)} | _origin(of)


def _rejected(qid: str, uid: str, reason: str, minutes: int, of: str | None = None, **other: Any) -> Row:
    """An entry of the quarantine, which m3ter rejected later."""
    entry = {"qid": qid, "uid": uid, "reason": reason, "detail": "in m3ter's words", "stage": "ingest", "first_sent_at": _at(0)}
    entry |= {"message_id": f"m-0-{uid}", "position": 0, "source_arn": "m3ter", "attributes": [], "receives": 1}
    return entry | {"quarantined_at": _at(minutes), "measurement": _measurement(uid, 1)} | _origin(of) | other


def _act(uid: str, outcome: str, minutes: int, **other: Any) -> Row:
    """What was done about one of m3ter's events."""
    act = {"event": f"e-{uid}-{minutes}", "event_at": _at(minutes), "type": "DuplicateUid", "outcome": outcome, "uid": uid}
    return act | {"account": "acme"} | other


def _write(store: Path, folder: str, lines: list[Row]) -> None:
    path = store / folder / "1-x.ndjson.zst"
    path.parent.mkdir(parents=True)
    path.write_bytes(zstandard.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six measurements that were accepted at once: each was rejected minutes later, and some were sent again."""
    store = tmp_path_factory.mktemp("rejected")
    entries = [
        _rejected("open", "a", "UndefinedMeter", 5),
        _rejected("settled", "b", "UndefinedMeter", 5),
        _rejected("again", "c", "UndefinedMeter", 5),
        _rejected("dropped-again", "c", "ReplayDropped", 15, of="again"),
        _rejected("conflict", "d", "UidConflict", 5),
        _rejected("copies", "e", "MissingField", 5),
        _rejected("copies", "e", "MissingField", 15),  # another copy of it
        _rejected("unread", "f", "UndefinedMeter", 5, measurement=None, body="{}"),
    ]
    lines = [_sent(uid, 0) for uid in "abcdef"]
    lines += [_sent("b", 10, of="settled", calls=7), _sent("c", 10, of="again"), _sent("d", 1, calls=9), _sent("e", 10)]
    acts = [_act("f", "quarantined", 4, qid="unread", meter="m"), _act("a", "receipt", 4), _act("a", "receipt", 4)]
    acts.append(_act("a", "recorded", 3, type="CalculationError"))
    _write(store, "quarantine/v1/dt=2026-06-01/hr=00", entries)
    _write(store, "ledger/v1/dt=2026-06-01/hr=00", lines)
    _write(store, "watch/v1/acts/dt=2026-06-01", acts)
    for qid in ("settled", "again", "copies"):
        marker = store / "actions/v1" / qid / "replay-1.json"
        marker.parent.mkdir(parents=True)
        marker.write_text(json.dumps({"action": "replay", "at": _at(9), "run": "r"}))
    return store


def _only(rows: list[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_an_entry_is_settled_only_by_what_m3ter_did_not_reject_as_well(store: Path) -> None:
    with connect(store, now_ms=_at(60)) as connection:
        found = connection.execute("SELECT qid, standing, uid_taken FROM standings").fetchall()
    assert {qid: standing for qid, standing, _ in found} == {
        "open": "open",
        "settled": "accepted",
        "again": "came-back",
        "dropped-again": "open",
        "conflict": "open",
        "copies": "silent",
        "unread": "open",
    }
    assert {qid for qid, _, taken in found if taken} == {"conflict", "dropped-again"}


def test_rejections_are_told_by_reason_and_meter_with_m3ters_own_time(store: Path) -> None:
    rows = ask(store, "rejected_later.sql", now_ms=_at(60))
    assert _only(rows, "reason", "meter", "entries", "to_settle", "accepted_since") == [
        ("UndefinedMeter", "m", 4, 2, 1),
        ("MissingField", "m", 1, 1, 0),
        ("ReplayDropped", "m", 1, 1, 0),
        ("UidConflict", "m", 1, 1, 0),
    ]
    assert (rows[0]["last"] - rows[0]["first"]).total_seconds() == 60, "the one from the act, the other from the entry"


def test_what_counts_is_what_was_accepted_after_the_last_rejection(store: Path) -> None:
    # b with its replay's content, and d with the first. The others wait in the quarantine.
    rows = ask(store, "accepted_by_day.sql")
    assert _only(rows, "field", "measurements", "total") == [("measure.calls", 2, Decimal(8))]
    contents = _only(ask(store, "two_contents.sql"), "uid", "content_hash", "qid", "counted")
    b, d = [("b", "1", None, False), ("b", "7", None, True)], [("d", "1", None, True), ("d", "9", None, False)]
    assert contents == b + d


def test_a_life_holds_what_m3ter_said_later_once(store: Path) -> None:
    events = [row["event"] for row in ask(store, "life.sql", uid="a")]
    assert events == ["queued", "accepted", "not calculated", "receipt", "rejected later"]


def test_what_needs_a_new_uid_does_not_leave_the_window(store: Path) -> None:
    leaving = ask(store, "leaves_window.sql", now_ms=START_MS + 31 * DAY_MS)
    assert {row["qid"] for row in leaving} == {"open", "copies", "unread"}


def test_what_is_in_ledger_and_quarantine_both_is_as_promised(store: Path) -> None:
    assert all(row["as_promised"] for row in ask(store, "reconciliation.sql"))
    assert ask(store, "never_answered.sql") == []

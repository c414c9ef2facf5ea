"""Measurements of a test's own, and what became of them: told apart by the test's `mark`, which is their account."""

import json
from datetime import datetime, timezone
from typing import Any

from infra.local.setup import Local
from tests.e2e import messages, quarantine

METER = "e2e"
"""The meter of the shared stack; it has one measure, `calls`."""


def measurement(mark: str, number: int) -> dict[str, Any]:
    """A good measurement of one call."""
    now = datetime.now(timezone.utc).isoformat()
    return {"uid": f"{mark}-{number}", "meter": METER, "account": mark, "ts": now, "measure": {"calls": 1}}


def send(relay: Local, mark: str, count: int, per_message: int) -> list[str]:
    """Sends measurements 0 to `count`, `per_message` in each message; returns the message ids."""
    found = [measurement(mark, number) for number in range(count)]
    return messages.send(relay, [messages.body(found[start : start + per_message]) for start in range(0, count, per_message)])


def states(relay: Local, mark: str) -> dict[str, list[str]]:
    """What became of each accepted measurement: its states by uid, in order of arrival."""
    found: dict[str, list[str]] = {}
    for line in relay.sandbox.ledger()["measurements"]:
        if line["account"] == mark:
            found.setdefault(line["uid"], []).append(line["state"])
    return found


def assert_counted_once(relay: Local, mark: str, count: int) -> None:
    """Measurements 0 to `count` are ingested once each; whatever else arrived was a duplicate. None is quarantined."""
    found = states(relay, mark)
    assert {uid: each[:1] for uid, each in found.items()} == {f"{mark}-{number}": ["ingested"] for number in range(count)}
    assert {state for each in found.values() for state in each[1:]} <= {"duplicate"}
    assert quarantined(relay, mark) == []


def quarantined(relay: Local, mark: str) -> list[dict[str, Any]]:
    """The quarantine's entries about `mark`."""
    return quarantine.once([entry for entry in quarantine.entries(relay) if mark in json.dumps(entry)])

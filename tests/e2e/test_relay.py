"""Messages of a real producer through the deployed stack: what m3ter counts, what is quarantined, what the queue has left."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from m3ter import M3ter

from infra.local.settings import ORG_ID
from infra.local.setup import Local
from infra.local.wait import until
from tests.e2e import messages, quarantine

INVOKED_DEADLINE_S = 30.0
RETURNS_AFTER_S = 2
"""Visibility timeout for the test of a dead invocation: the template's would have it wait for six minutes."""


@pytest.fixture(scope="module")
def meter(relay: Local) -> str:
    """The code of a meter with one measure, `calls`, created with m3ter's own SDK."""
    with M3ter(
        api_key=relay.sandbox.access_key_id,
        api_secret=relay.sandbox.api_secret,
        org_id=ORG_ID,
        base_url=relay.sandbox.url,
    ) as m3ter:
        fields = [{"category": "MEASURE", "code": "calls", "name": "Calls", "unit": "{calls}"}]
        created = m3ter.meters.create(code="e2e", name="End to end", data_fields=fields, derived_fields=[])
    assert created.code is not None
    return created.code


def _measurement(meter: str, mark: str, number: int) -> dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat()
    return {"uid": f"{mark}-{number}", "meter": meter, "account": mark, "ts": now, "measure": {"calls": 1}}


def _states(relay: Local, mark: str) -> dict[str, list[str]]:
    """What became of each accepted measurement of `mark`'s account: its states by uid, in order of arrival."""
    found: dict[str, list[str]] = {}
    for line in relay.sandbox.ledger()["measurements"]:
        if line["account"] == mark:
            found.setdefault(line["uid"], []).append(line["state"])
    return found


def _quarantined(relay: Local, mark: str) -> list[dict[str, Any]]:
    return quarantine.once([entry for entry in quarantine.entries(relay) if mark in json.dumps(entry)])


def test_a_message_travels_the_whole_way(relay: Local, meter: str, mark: str) -> None:
    messages.send(relay, [messages.body([_measurement(meter, mark, 0)])])
    messages.until_settled(relay)
    assert _states(relay, mark) == {f"{mark}-0": ["ingested"]}
    assert _quarantined(relay, mark) == []


def test_one_bad_measurement_costs_the_other_99_nothing(relay: Local, meter: str, mark: str) -> None:
    measurements = [_measurement(meter, mark, number) for number in range(100)]
    del measurements[41]["meter"]
    messages.send(relay, [messages.body(measurements)])
    messages.until_settled(relay)
    assert _states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in range(100) if number != 41}
    kept = _quarantined(relay, mark)
    assert [(entry["reason"], entry["uid"]) for entry in kept] == [("MeterMissing", f"{mark}-41")]


@pytest.fixture
def slow_answer(relay: Local, mark: str) -> Iterator[None]:
    """m3ter counts the first request with this test's first uid, and answers it much later than the test takes."""
    fault = {"kind": "delay", "delay_ms": 600_000}
    relay.sandbox.add_fault({"containing": {"uid": f"{mark}-0"}, "times": 1, "fault": fault})
    before = messages.set_visibility_timeout(relay, RETURNS_AFTER_S)
    yield
    messages.set_visibility_timeout(relay, before)
    relay.sandbox.clear_faults()


@pytest.mark.usefixtures("slow_answer")
def test_killing_the_function_between_submit_and_answer_changes_no_total(relay: Local, meter: str, mark: str) -> None:
    messages.send(relay, [messages.body([_measurement(meter, mark, number) for number in range(3)])])
    until(lambda: _states(relay, mark), "m3ter has counted the measurements", INVOKED_DEADLINE_S)
    killed = relay.function_pids()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    messages.until_settled(relay)
    assert not set(killed) & set(relay.function_pids())
    assert _states(relay, mark) == {f"{mark}-{number}": ["ingested", "duplicate"] for number in range(3)}
    assert _quarantined(relay, mark) == []


def test_no_body_account_uid_or_secret_is_in_the_functions_output(relay: Local, meter: str, mark: str) -> None:
    messages.send(relay, [messages.body([_measurement(meter, mark, 0)]), f'"{mark} is not a measurement"'])
    messages.until_settled(relay)
    assert _states(relay, mark)
    assert _quarantined(relay, mark)
    output = "\n".join(relay.function_output())
    assert '"message":"invocation"' in output
    for canary in (mark, relay.sandbox.access_key_id, relay.sandbox.api_secret):
        assert canary not in output

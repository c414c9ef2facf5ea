"""Messages of a real producer through the deployed stack: what m3ter counts, what is quarantined, what the queue has left."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from infra.local.setup import Local
from infra.local.wait import until
from tests.e2e import messages, usage

INVOKED_DEADLINE_S = 30.0
RETURNS_AFTER_S = 5
"""Visibility timeout for the test of a dead invocation: the template's would have it wait for six minutes. Long enough for
the invocation to be killed before its message is delivered a second time."""

pytestmark = pytest.mark.usefixtures("meter")


def test_a_message_travels_the_whole_way(relay: Local, mark: str) -> None:
    usage.send(relay, mark, count=1, per_message=1)
    messages.until_settled(relay)
    assert usage.states(relay, mark) == {f"{mark}-0": ["ingested"]}
    assert usage.quarantined(relay, mark) == []


def test_one_bad_measurement_costs_the_other_99_nothing(relay: Local, mark: str) -> None:
    measurements = [usage.measurement(mark, number) for number in range(100)]
    del measurements[41]["meter"]
    messages.send(relay, [messages.body(measurements)])
    messages.until_settled(relay)
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in range(100) if number != 41}
    kept = usage.quarantined(relay, mark)
    assert [(entry["reason"], entry["uid"], entry["position"]) for entry in kept] == [("MeterMissing", f"{mark}-41", 41)]


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
def test_killing_the_function_between_submit_and_answer_changes_no_total(relay: Local, mark: str) -> None:
    measurements = [usage.measurement(mark, number) for number in range(4)]
    # What is quarantined is written when its message is done, and says how often that was received.
    del measurements[3]["meter"]
    [message_id] = messages.send(relay, [messages.body(measurements)])
    until(lambda: relay.sandbox.arrived(f"{mark}-0"), "m3ter has counted the measurements", INVOKED_DEADLINE_S)
    assert usage.quarantined(relay, mark) == []
    killed = relay.function_pids()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    messages.until_settled(relay)
    assert relay.function_pids()
    assert not set(killed) & set(relay.function_pids())
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested", "duplicate"] for number in range(3)}
    kept = usage.quarantined(relay, mark)
    assert [(entry["reason"], entry["message_id"], entry["receives"]) for entry in kept] == [("MeterMissing", message_id, 2)]


def test_no_body_account_uid_or_secret_is_in_the_functions_output(relay: Local, mark: str) -> None:
    messages.send(relay, [messages.body([usage.measurement(mark, 0)]), f'"{mark} is not a measurement"'])
    messages.until_settled(relay)
    assert usage.states(relay, mark)
    assert usage.quarantined(relay, mark)
    output = "\n".join(relay.function_output())
    assert '"message":"invocation"' in output
    for canary in (mark, relay.sandbox.access_key_id, relay.sandbox.api_secret):
        assert canary not in output


@pytest.mark.last
def test_no_uid_or_account_of_any_test_is_in_the_functions_output(relay: Local, mark: str) -> None:
    usage.send(relay, mark, count=3, per_message=1)
    messages.until_settled(relay)
    book = relay.sandbox.ledger()["measurements"]
    uids, accounts = {line["uid"] for line in book}, {line["account"] for line in book}
    assert f"{mark}-0" in uids
    assert mark in accounts
    output = "\n".join(relay.function_output())
    assert '"message":"invocation"' in output
    assert not uids & set(re.findall(r"[\w-]+", output))
    assert [account for account in accounts if account in output] == []

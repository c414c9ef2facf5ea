"""The whole loop against the deployed stack: accepted, rejected later, quarantined, replayed, ingested, explained, reconciled."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from infra.local.settings import COMMAND_BINARY, ORG_ID, require
from infra.local.setup import Local, local
from infra.local.wait import until
from tests.e2e import messages, sdk, usage

COMMAND_DEADLINE_S = 60.0
SETTLED_DEADLINE_S = 60.0
"""Longest wait for messages to be drained; it takes 2 to 3 s."""

METER = "storage"
"""A meter that nobody has created when its first measurements arrive."""


@pytest.fixture(scope="module")
def freeing() -> Iterator[Local]:
    """A relay of its own, whose m3ter frees the uid of what it rejected."""
    with local("later-freeing", frees_rejected_uids=True) as running:
        sdk.create_meter(running.sandbox, usage.METER, ["calls"])
        yield running


@pytest.fixture(scope="module")
def keeping() -> Iterator[Local]:
    """The same with an m3ter that keeps the uid of what it rejected."""
    with local("later-keeping") as running:
        sdk.create_meter(running.sandbox, usage.METER, ["calls"])
        yield running


def _command(relay: Local, *arguments: str, code: int = 0) -> str:
    """Runs `usage-relay` as an operator does, with the stack's outputs in the environment, and returns what it printed."""
    argv = [require(COMMAND_BINARY), *arguments]
    places = {"STORE_URL": relay.outputs["StoreUrl"], "M3TER_API_URL": relay.sandbox.url, "M3TER_ORG_ID": ORG_ID}
    done = subprocess.run(argv, env=relay.environment() | places, capture_output=True, timeout=COMMAND_DEADLINE_S)
    assert done.returncode == code, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode()


def _reject_later(relay: Local, mark: str) -> str:
    """Has m3ter accept two measurements and reject one of them later; returns the uid of that one."""
    usage_ok = usage.measurement(mark, 0)
    late = usage_ok | {"uid": f"{mark}-1", "meter": METER}  # of the same moment, and so of the same day
    messages.send(relay, [messages.body([usage_ok, late])])
    until(lambda: len(usage.states(relay, mark)) == 2, "both are accepted", SETTLED_DEADLINE_S)
    messages.until_settled(relay)
    assert usage.states(relay, mark) == {usage_ok["uid"]: ["ingested"], late["uid"]: ["rejected"]}
    assert usage.quarantined(relay, mark) == [], "nobody knows of it yet"

    assert relay.watch()["rejected"] == 1
    [entry] = usage.quarantined(relay, mark)
    assert (entry["uid"], entry["stage"], entry["reason"]) == (late["uid"], "ingest", "UndefinedMeter")
    assert entry["measurement"] == late
    assert relay.watch()["rejected"] == 0, "each event is acted on once"
    told = _command(relay, "explain", late["uid"])
    assert "UndefinedMeter" in told and "rejected" in told, told
    uid: str = late["uid"]
    return uid


def test_what_m3ter_rejected_later_is_replayed_once_its_meter_exists_and_the_books_of_both_sides_agree(
    freeing: Local, mark: str
) -> None:
    relay = freeing
    uid = _reject_later(relay, mark)
    [day] = {line["ts"][:10] for line in relay.sandbox.ledger()["measurements"] if line["account"] == mark}
    reconcile = ["reconcile", "--day", day, "--account", mark, "--json"]
    before = json.loads(_command(relay, *reconcile))
    assert before["totals"]["explained"] > 0 and before["totals"]["unexplained"] == 0, before

    sdk.create_meter(relay.sandbox, METER, ["calls"])
    _command(relay, "replay", "--reason", "UndefinedMeter", "--account", mark, "--queue-url", relay.outputs["QueueUrl"])
    until(lambda: "ingested" in usage.states(relay, mark)[uid], "the replay is ingested", SETTLED_DEADLINE_S)
    messages.until_settled(relay)
    assert usage.states(relay, mark)[uid] == ["rejected", "ingested"]
    assert relay.watch()["rejected"] == 0
    assert len(usage.quarantined(relay, mark)) == 1

    told = _command(relay, "explain", uid)
    for word in ("UndefinedMeter", "replay", "accepted"):
        assert word in told, told
    after = json.loads(_command(relay, *reconcile))["totals"]
    assert after["agree"] == after["rows"] > 0, after
    assert mark not in _command(relay, "quarantine", "list", "--account", mark)


def test_where_m3ter_keeps_the_uid_of_what_it_rejected_a_new_uid_is_the_way_out(keeping: Local, mark: str) -> None:
    relay = keeping
    uid = _reject_later(relay, mark)
    sdk.create_meter(relay.sandbox, METER, ["calls"])
    queue = ["--queue-url", relay.outputs["QueueUrl"]]
    chosen = ["--account", mark, *queue]
    _command(relay, "replay", "--reason", "UndefinedMeter", *chosen)
    until(lambda: len(usage.states(relay, mark)[uid]) == 2, "m3ter accepted the replay", SETTLED_DEADLINE_S)
    messages.until_settled(relay)
    assert usage.states(relay, mark)[uid] == ["rejected", "duplicate"], "and dropped it: it keeps the uid"

    answer = relay.watch()
    assert (answer["replay_dropped"], answer["receipts"]) == (1, 0), "it is never taken for a receipt"
    kept = {entry["reason"]: entry for entry in usage.quarantined(relay, mark)}
    assert sorted(kept) == ["ReplayDropped", "UndefinedMeter"]

    _command(relay, "replay", "--qid", kept["ReplayDropped"]["qid"], "--new-uid", *queue)
    until(lambda: len(usage.states(relay, mark)) == 3, "it is counted under its new uid", SETTLED_DEADLINE_S)
    messages.until_settled(relay)
    ingested = [states for states in usage.states(relay, mark).values() if states == ["ingested"]]
    assert len(ingested) == 2
    relay.watch()
    told = _command(relay, "explain", uid)
    assert "new uid" in told, told

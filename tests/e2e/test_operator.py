"""An operator's day, as docs/OPERATING.md tells it: something is quarantined, seen, mended, sent again, and explained."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from infra.local import function
from infra.local.settings import COMMAND_BINARY, require
from infra.local.setup import Local
from infra.local.wait import until
from tests.e2e import messages, usage

COMMAND_DEADLINE_S = 60.0
SETTLED_DEADLINE_S = 60.0
"""Longest wait for messages to be drained; it takes 2 to 3 s."""

MESSAGES = 10

pytestmark = pytest.mark.usefixtures("meter")


def _command(relay: Local, *arguments: str) -> str:
    """Runs `usage-relay` as an operator does, with the stack's outputs in the environment, and returns what it printed."""
    argv = [require(COMMAND_BINARY), *arguments]
    environment = relay.environment() | {"STORE_URL": relay.outputs["StoreUrl"]}
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=COMMAND_DEADLINE_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def _quarantined(relay: Local) -> dict[str, int]:
    """What the metric `Quarantined` counted so far, by its dimension Reason: what an alarm goes by."""
    found: dict[str, int] = {}
    for line in relay.function_output():
        told = json.loads(line) if line.startswith("{") else {}
        if "Reason" in told:
            found[told["Reason"]] = found.get(told["Reason"], 0) + told["Quarantined"]
    return found


def test_a_broken_meter_code_is_seen_mended_imported_and_what_m3ter_refused_is_replayed_and_all_is_explained(
    relay: Local, mark: str, tmp_path: Path
) -> None:
    before = _quarantined(relay)
    # In each of ten messages one measurement has a broken meter code; beside the first stands one that m3ter refuses for now.
    refused = usage.measurement(mark, 99)
    rule = {"containing": {"uid": refused["uid"]}, "fault": {"kind": "status", "status": 400}}
    relay.sandbox.add_fault(rule)
    bodies = []
    for number in range(MESSAGES):
        broken = usage.measurement(mark, number) | {"meter": f" {usage.METER}"}
        beside = [usage.measurement(mark, MESSAGES + number), *([refused] if number == 0 else [])]
        bodies.append(messages.body([broken, *beside]))
    messages.send(relay, bodies)
    until(lambda: len(usage.quarantined(relay, mark)) == MESSAGES + 1, "what cannot go on is quarantined", SETTLED_DEADLINE_S)
    relay.sandbox.clear_faults()

    # The alarm's metric.
    until(
        lambda: _quarantined(relay).get("MeterInvalid", 0) >= before.get("MeterInvalid", 0) + MESSAGES,
        "the metric counts them under their reason",
        SETTLED_DEADLINE_S,
    )

    # List.
    chosen = ["--account", mark]
    listed = _command(relay, "quarantine", "list", *chosen)
    assert "MeterInvalid" in listed and "RefusedByApi" in listed, listed

    # Export, mend as in a spreadsheet, import.
    exported = tmp_path / "broken.csv"
    _command(relay, "quarantine", "export", "--reason", "MeterInvalid", *chosen, "--output", str(exported))
    with exported.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == MESSAGES
    for row in rows:
        row["meter"] = row["meter"].strip()
    with exported.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    queue = ["--queue-url", relay.outputs["QueueUrl"]]
    _command(relay, "quarantine", "import", str(exported), *queue)

    # Replay what was right as it was.
    plan = _command(relay, "replay", "--reason", "RefusedByApi", *chosen, "--dry-run")
    assert "1" in plan, plan
    assert refused["uid"] not in usage.states(relay, mark), "a dry run sends nothing"
    _command(relay, "replay", "--reason", "RefusedByApi", *chosen, *queue)

    wanted = {f"{mark}-{number}" for number in [*range(2 * MESSAGES), 99]}
    until(lambda: set(usage.states(relay, mark)) == wanted, "everything is counted", SETTLED_DEADLINE_S)
    assert all(states == ["ingested"] for states in usage.states(relay, mark).values())

    # Explain: the whole life, and one sentence.
    def explained(uid: str) -> str:
        return _command(relay, "explain", uid)

    mended = until(lambda: "accepted" in (told := explained(f"{mark}-0")) and told, "the ledger knows it", SETTLED_DEADLINE_S)
    assert "MeterInvalid" in mended, mended
    replayed = until(
        lambda: "accepted" in (told := explained(refused["uid"])) and told, "the ledger knows it", SETTLED_DEADLINE_S
    )
    assert "RefusedByApi" in replayed, replayed

    # Nothing is open any more, and replaying again sends nothing.
    again = _command(relay, "replay", "--reason", "RefusedByApi", *chosen, *queue)
    assert "MeterInvalid" not in _command(relay, "quarantine", "list", *chosen)
    assert usage.states(relay, mark)[refused["uid"]] == ["ingested"], again
    assert function.sums(relay.function_output())["AccountsMismatch"] == 0

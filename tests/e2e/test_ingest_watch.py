"""The deployed function that looks at the quarantine, invoked as its schedule would."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import function
from infra.local.settings import COMMAND_BINARY, require
from infra.local.setup import Local, local
from infra.local.stack import store_place
from infra.local.wait import until
from tests.e2e import messages, sdk, usage

QUARANTINED_DEADLINE_S = 60.0
"""Longest wait for two messages to be drained; it takes 2 to 3 s."""

DAYS_AGO_MS = 31 * 24 * 3600 * 1000
"""Within five days of the 35 for which m3ter recognises a uid."""


@pytest.fixture(scope="module")
def relay() -> Iterator[Local]:
    """A relay of its own: what m3ter said about other tests need not be fetched first, which takes minutes."""
    with local("ingest-watch") as running:
        sdk.create_meter(running.sandbox, usage.METER, ["calls"])
        yield running


def _look(relay: Local) -> dict[str, Any]:
    """Has the quarantine looked at, and returns what is open. Without the cursor that is due, which else it is each hour."""
    bucket, prefix = store_place(relay.outputs)
    relay.client("s3").delete_object(Bucket=bucket, Key=f"{prefix}/watch/v1/cursor.json")
    answer: dict[str, Any] = relay.watch()["looked"]
    return answer


def _quarantine_two(relay: Local, mark: str) -> list[dict[str, Any]]:
    """Has a measurement quarantined that was never sent, and a message that may have been sent 31 days ago."""
    messages.send(relay, [messages.body([usage.measurement(mark, 0) | {"meter": f" {usage.METER}"}])])
    first_sent_at = str(round(time.time() * 1000) - DAYS_AGO_MS)
    relay.client("sqs").send_message(
        QueueUrl=relay.outputs["DeadLetterQueueUrl"],
        MessageBody=mark,
        MessageAttributes={"usage-relay-first-sent-at": {"DataType": "Number", "StringValue": first_sent_at}},
    )

    def look() -> list[dict[str, Any]]:
        kept = usage.quarantined(relay, mark)
        return kept if len(kept) == 2 else []

    return until(look, "two entries are in the quarantine", QUARANTINED_DEADLINE_S)


def test_what_is_quarantined_is_counted_until_an_operator_settles_it(relay: Local, mark: str) -> None:
    before = _look(relay)
    kept = {entry["reason"]: entry for entry in _quarantine_two(relay, mark)}
    reasons = ["DeliveryExhausted", "MeterInvalid"]
    assert sorted(kept) == reasons

    after = _look(relay)
    assert [after["open"][reason] - before["open"].get(reason, 0) for reason in reasons] == [1, 1]
    assert after["leaves_window_soon"] == before["leaves_window_soon"] + 1
    assert after["outside_window"] == before["outside_window"]
    assert (after["unreadable"], after["is_whole"]) == (0, True)

    # What the alarms go by.
    printed = [json.loads(line) for line in relay.function_output(function.INGEST_WATCH)]
    told = [line for line in printed if line["message"] == "invocation"][-1]
    assert (told["LeavesWindowSoon"], told["LookFailed"]) == (after["leaves_window_soon"], 0)
    assert told["QuarantineOpen"] == sum(after["open"].values())
    assert told["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Function"]]
    assert told["Function"] == relay.outputs["IngestWatchFunctionName"]
    assert mark not in json.dumps(printed)

    argv = [require(COMMAND_BINARY), "quarantine", "drop", kept["DeliveryExhausted"]["qid"], "--because", "a test's own"]
    dropping = [*argv, "--store-url", relay.outputs["StoreUrl"]]
    dropped = subprocess.run(dropping, env=relay.environment(), capture_output=True, text=True, timeout=60)
    assert dropped.returncode == 0, dropped.stderr
    settled = _look(relay)
    assert settled["leaves_window_soon"] == before["leaves_window_soon"]
    assert settled["open"].get("DeliveryExhausted", 0) == before["open"].get("DeliveryExhausted", 0)

"""Files: what lies below `uploads/` of the stack's bucket is sent by the deployed function; S3 tells it over a queue."""

import csv
import gzip
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local import function
from infra.local.setup import Local
from infra.local.stack import store_place
from infra.local.wait import until
from tests.e2e import messages, usage

REPORT_DEADLINE_S = 60.0
"""Longest wait for a report. It takes some 3 s: two deliveries, and a second between them."""

pytestmark = pytest.mark.usefixtures("meter")


def put(relay: Local, key: str, content: bytes, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    """Puts a file into the inbox, and returns the notification that S3 sends of it."""
    bucket, _ = store_place(relay.outputs)
    assert relay.outputs["UploadsUrl"] == f"s3://{bucket}/uploads/"
    answer = relay.client("s3").put_object(Bucket=bucket, Key=f"uploads/{key}", Body=content, Metadata=metadata or {})
    told = {"key": f"uploads/{key}".replace(" ", "+"), "size": len(content), "eTag": answer["ETag"].strip('"')}
    told |= {"versionId": answer["VersionId"]} if "VersionId" in answer else {}
    return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": told}}


def find(relay: Local, key: str) -> dict[str, Any] | None:
    """The report beside the file, if there is one."""
    bucket, _ = store_place(relay.outputs)
    try:
        answer = relay.client("s3").get_object(Bucket=bucket, Key=f"uploads/{key}.report.json")
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    found: dict[str, Any] = json.loads(answer["Body"].read())
    return found


def report(relay: Local, key: str) -> dict[str, Any]:
    """The report beside the file, once it is there."""
    return until(lambda: find(relay, key), f"the report of {key} is there", REPORT_DEADLINE_S)


def until_quiet(relay: Local) -> None:
    """Waits until the queue of files holds nothing: neither files nor reports are left to be looked at."""
    until(lambda: not any(messages.waiting(relay, "UploadQueueUrl").values()), "the queue of files is empty", REPORT_DEADLINE_S)


def ndjson(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a file of JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_file_half_of_which_was_sent_over_the_queue_is_counted_once(relay: Local, mark: str) -> None:
    rows = [usage.measurement(mark, number) for number in range(20)]
    messages.send(relay, [messages.body(rows[:10])])
    messages.until_settled(relay)
    put(relay, f"{mark} a b.ndjson.gz", gzip.compress(ndjson(rows)))
    told = report(relay, f"{mark} a b.ndjson.gz")
    assert (told["status"], told["rows"], told["sent"], told["quarantined"]) == ("done", 20, 20, 0)
    usage.assert_counted_once(relay, mark, 20)
    until_quiet(relay)


def test_bad_rows_are_in_the_quarantine_with_line_and_reason_and_the_report_says_so(relay: Local, mark: str) -> None:
    rows = [usage.measurement(mark, number) for number in range(4)]
    del rows[1]["meter"]
    rows[2]["ts"] = "yesterday"
    before = function.sums(relay.function_output(function.BULK_UPLOAD))["UploadQuarantined"]
    put(relay, f"{mark}.ndjson", ndjson(rows))
    told = report(relay, f"{mark}.ndjson")
    assert (told["status"], told["rows"], told["sent"], told["quarantined"]) == ("done", 4, 2, 2)
    lines = {
        reason: [example["line"] for example in found["examples"]] for reason, found in told["quarantined_by_reason"].items()
    }
    assert sorted(lines.values()) == [[2], [3]] and "MeterMissing" in lines
    kept = usage.quarantined(relay, mark)
    assert {entry["reason"] for entry in kept} == set(lines)
    assert all(entry["detail"].startswith("line ") and entry["origin"]["of"] == told["upload"] for entry in kept)
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in (0, 3)}
    until_quiet(relay)
    # What the alarm goes by; and no line names a file or a customer.
    output = relay.function_output(function.BULK_UPLOAD)
    assert function.sums(output)["UploadQuarantined"] == before + 2
    assert mark not in "\n".join(output)


def test_a_notification_that_comes_again_changes_nothing(relay: Local, mark: str) -> None:
    told = put(relay, f"{mark}.ndjson", ndjson([usage.measurement(mark, 0)]))
    first = report(relay, f"{mark}.ndjson")
    until_quiet(relay)
    done = function.sums(relay.function_output(function.BULK_UPLOAD))["UploadsDone"]
    again = {"QueueUrl": relay.outputs["UploadQueueUrl"], "MessageBody": json.dumps({"Records": [told]})}
    relay.client("sqs").send_message(**again)
    until_quiet(relay)
    assert find(relay, f"{mark}.ndjson") == first
    assert usage.states(relay, mark) == {f"{mark}-0": ["ingested"]}
    assert function.sums(relay.function_output(function.BULK_UPLOAD))["UploadsDone"] == done


def test_a_table_without_uids_is_uploaded_as_its_metadata_says(relay: Local, mark: str) -> None:
    table = io.StringIO()
    rows = [usage.measurement(mark, number) for number in range(2)]
    writer = csv.writer(table)
    writer.writerow(["meter", "account", "ts", "measure.calls"])
    writer.writerows([row["meter"], row["account"], row["ts"], row["measure"]["calls"]] for row in rows)
    put(relay, f"{mark}.csv", table.getvalue().encode(), {"mint": "content", "first-sent": "never"})
    assert report(relay, f"{mark}.csv")["status"] == "done"
    assert list(usage.states(relay, mark).values()) == [["ingested"], ["ingested"]]
    put(relay, f"{mark}-2.csv", table.getvalue().encode(), {"first-sent": "yesterday"})
    refused = report(relay, f"{mark}-2.csv")
    assert refused["status"] == "refused" and "2026-11-01T00:00:00Z" in refused["because"]
    until_quiet(relay)


def test_a_file_that_m3ter_does_not_answer_for_waits_and_is_sent_when_it_does(relay: Local, mark: str) -> None:
    relay.sandbox.add_fault({"route": "upload", "times": 1, "fault": {"kind": "status", "status": 503}})
    put(relay, f"{mark}.ndjson", ndjson([usage.measurement(mark, 0)]))
    try:
        assert report(relay, f"{mark}.ndjson")["status"] == "done"
    finally:
        relay.sandbox.clear_faults()
    usage.assert_counted_once(relay, mark, 1)
    until_quiet(relay)

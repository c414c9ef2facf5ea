"""m3ter's own Python SDK as a client of the sandbox: someone else's reading of the API, to hold ours against."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from m3ter import AuthenticationError, BadRequestError, M3ter

from infra.local.sandbox import Sandbox, sandbox
from tests.e2e import sdk

TS = datetime.now(timezone.utc) - timedelta(hours=1)
BEFORE, AFTER = TS - timedelta(minutes=1), TS + timedelta(minutes=1)


@pytest.fixture
def m3ter_sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox for one test."""
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def m3ter(m3ter_sandbox: Sandbox) -> Iterator[M3ter]:
    """The SDK, aimed at that sandbox, which knows one meter: `api`."""
    sdk.create_meter(m3ter_sandbox, "api", ["calls"])
    with sdk.client(m3ter_sandbox) as client:
        yield client


def _measurement(number: int, **more: Any) -> dict[str, Any]:
    common = {"uid": f"u-{number}", "meter": "api", "account": f"acme-{number % 3}", "ts": TS, "measure": {"calls": number}}
    return common | more


def test_a_token_serves_many_calls_while_others_are_fetched(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    m3ter.usage.submit(measurements=[_measurement(0)])
    with sdk.client(m3ter_sandbox, token=m3ter.token) as bearer:
        for number in range(1, 4):
            before = m3ter_sandbox.totals()["tokens_issued"]
            bearer.usage.submit(measurements=[_measurement(2 * number)])
            assert m3ter_sandbox.totals()["tokens_issued"] == before
            # The SDK's 0.9.0 takes a new token for every call, unless it is given one.
            m3ter.usage.submit(measurements=[_measurement(2 * number + 1)])
            assert m3ter_sandbox.totals()["tokens_issued"] == before + 1
    assert m3ter_sandbox.totals()["ingested"] == 7


def test_wrong_credentials_are_an_authentication_error(m3ter_sandbox: Sandbox) -> None:
    wrong = replace(m3ter_sandbox, api_secret="wrong")
    with sdk.client(wrong) as client, pytest.raises(AuthenticationError):
        client.usage.submit(measurements=[_measurement(0)])
    assert m3ter_sandbox.totals()["received"] == 0


def test_meters_are_created_and_listed_over_several_pages(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    for number in range(4):
        sdk.create_meter(m3ter_sandbox, f"more-{number}", ["calls"])
    first = m3ter.meters.list(page_size=2)
    assert len(first.data) == 2
    assert first.next_token
    assert [meter.code for meter in first] == ["api", "more-0", "more-1", "more-2", "more-3"]
    [found] = m3ter.meters.list(codes=["more-2"])
    assert m3ter.meters.retrieve(id=found.id).code == "more-2"


def test_accounts_are_created_and_listed_over_several_pages(m3ter: M3ter) -> None:
    for number in range(5):
        m3ter.accounts.create(code=f"acme-{number}", name="Acme", email_address="acme@example.com")
    first = m3ter.accounts.list(page_size=2)
    assert len(first.data) == 2
    assert [account.code for account in first] == [f"acme-{number}" for number in range(5)]


def test_what_is_submitted_is_counted_once(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    for _ in range(2):
        assert m3ter.usage.submit(measurements=[_measurement(number) for number in range(10)]).result == "accepted"
    assert m3ter_sandbox.ledger()["meters"] == {"api": {"count": 10, "accounts": 3, "sums": {"calls": 45}}}


def test_submit_all_sends_a_thousand_at_a_time(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    # A generator: nothing is sent before it is asked.
    answers = m3ter.usage.submit_all(measurements=(_measurement(number) for number in range(2_500)))
    assert m3ter_sandbox.ledger()["requests"] == []
    assert [answer.result for answer in answers] == ["accepted"] * 3
    book = m3ter_sandbox.ledger()
    assert [request["measurements"] for request in book["requests"]] == [1_000, 1_000, 500]
    assert book["meters"]["api"] == {"count": 2_500, "accounts": 3, "sums": {"calls": sum(range(2_500))}}


def test_a_body_that_breaks_the_schema_is_a_bad_request(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    with pytest.raises(BadRequestError):
        m3ter.usage.submit(measurements=[_measurement(0), _measurement(1, account="")])
    assert m3ter_sandbox.totals()["accepted"] == 0


def test_a_query_sums_by_account(m3ter: M3ter) -> None:
    m3ter.usage.submit(measurements=[_measurement(number) for number in range(6)])
    [meter] = m3ter.meters.list(codes=["api"])
    sums = {"meter_id": meter.id, "field_code": "calls", "field_type": "MEASURE", "function": "SUM"}
    answer = m3ter.usage.query(
        meter_ids=[meter.id],
        aggregations=[sums],
        groups=[{"group_type": "ACCOUNT"}],
        start_date=BEFORE,
        end_date=AFTER,
    )
    assert {row["accountCode"]: row["api.calls.sum"] for row in answer.data} == {"acme-0": 3, "acme-1": 5, "acme-2": 7}
    assert answer.has_more_data is False


def test_a_later_rejection_is_an_event_whose_log_can_be_downloaded(m3ter: M3ter) -> None:
    m3ter.usage.submit(measurements=[_measurement(0), _measurement(1, meter="unknown"), _measurement(2, measure={})])
    events = list(m3ter.events.list(event_name="ingest.validation.failure", page_size=1))
    failures = {event.m3ter_event["eventData"]["uid"]: event.m3ter_event["eventData"] for event in events}
    assert {uid: failure["type"] for uid, failure in failures.items()} == {"u-1": "UndefinedMeter", "u-2": "MissingField"}

    [file] = parse_qs(urlsplit(failures["u-1"]["getDownloadUrl"]).query)["file"]
    place = m3ter.usage.get_failed_ingest_download_url(file=file)
    [entry] = json.loads(_download(place.url))
    assert (entry["type"], entry["measurement"]["uid"]) == ("UndefinedMeter", "u-1")


def _download(url: str | None) -> bytes:
    assert url is not None
    return _open(urllib.request.Request(url))


def _open(request: urllib.request.Request) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return bytes(answer.read())


def test_a_request_whose_answer_was_lost_is_sent_again_by_the_sdk_and_counted_once(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    m3ter_sandbox.add_fault({"times": 1, "fault": {"kind": "drop-answer"}})
    m3ter.usage.submit(measurements=[_measurement(number) for number in range(10)])
    book = m3ter_sandbox.ledger()
    assert [request["measurements"] for request in book["requests"]] == [10, 10]
    assert (book["totals"]["ingested"], book["totals"]["duplicates"]) == (10, 10)
    assert book["meters"]["api"] == {"count": 10, "accounts": 3, "sums": {"calls": 45}}


def _upload(m3ter: M3ter, file: bytes) -> str:
    """Uploads a file as m3ter's documentation says; the id of its job."""
    name, kind = "usage.json", "application/json"
    given = m3ter.usage.file_uploads.generate_upload_url(file_name=name, content_type=kind, content_length=len(file))
    assert given.job_id is not None and given.url is not None and given.headers is not None
    assert m3ter.usage.file_uploads.jobs.retrieve(id=given.job_id).status == "notUploaded"
    _open(urllib.request.Request(given.url, file, given.headers, method="PUT"))
    return given.job_id


def _file(measurements: list[dict[str, Any]]) -> bytes:
    return json.dumps(measurements, default=datetime.isoformat).encode()


def test_a_file_is_uploaded_and_its_job_followed_to_the_end(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    m3ter.usage.submit(measurements=[_measurement(number) for number in range(5)])
    # Half of it was sent over the API, and one row is no measurement.
    file = _file([_measurement(number) for number in range(10)] + [_measurement(10, account="")])
    job_id = _upload(m3ter, file)
    m3ter_sandbox.advance_clock(1)

    job = m3ter.usage.file_uploads.jobs.retrieve(id=job_id)
    assert (job.status, job.total_rows, job.processed_rows, job.failed_rows) == ("succeeded", 11, 11, 1)
    assert (job.file_name, job.content_length, job.version) == ("usage.json", len(file), 3)
    assert m3ter_sandbox.ledger()["meters"] == {"api": {"count": 10, "accounts": 3, "sums": {"calls": 45}}}
    failures = [event.m3ter_event["eventData"] for event in m3ter.events.list()]
    assert [failure["type"] for failure in failures] == ["InvalidMeasurement"] + ["DuplicateUid"] * 5

    original = m3ter.usage.file_uploads.jobs.get_original_download_url(id=job_id)
    assert original.url is not None and original.headers is not None
    assert _open(urllib.request.Request(original.url, headers=original.headers)) == file


def test_a_file_that_is_no_array_is_a_failed_job(m3ter: M3ter, m3ter_sandbox: Sandbox) -> None:
    failed = _upload(m3ter, json.dumps({"measurements": []}).encode())
    m3ter_sandbox.advance_clock(1)
    assert m3ter.usage.file_uploads.jobs.retrieve(id=failed).status == "failed"


def test_jobs_are_listed_over_several_pages_and_by_date(m3ter: M3ter) -> None:
    jobs = [_upload(m3ter, _file([_measurement(number)])) for number in range(3)]
    listed = m3ter.usage.file_uploads.jobs.list(page_size=2)
    assert len(listed.data) == 2
    assert [job.id for job in listed] == jobs[::-1]
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(m3ter.usage.file_uploads.jobs.list(date_created_end=tomorrow).data) == 3
    assert m3ter.usage.file_uploads.jobs.list(date_created_start=tomorrow).data == []

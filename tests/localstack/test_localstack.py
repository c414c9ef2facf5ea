"""The deployed stack on LocalStack: what the other emulator does not show.

Warm processes and what comes of one that dies or hangs, batches beyond ten messages, and alarms that fire.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import function
from infra.local.setup import Local
from infra.local.wait import until
from infra.localstack.server import OUTSIDE_LOG_NAME, pids
from tests.e2e import messages, template, usage
from tests.e2e.test_bulk_upload import ndjson, put, report
from tests.localstack import alarms
from tests.localstack.alarms import until_state

DEADLINE_S = 60.0


def _invocations(relay: Local) -> list[dict[str, object]]:
    return function.invocations(relay.function_output())


def _pids(relay: Local, files: Path) -> list[int]:
    return pids(files, relay.outputs["FunctionName"])


def test_invocations_one_after_the_other_are_in_one_process(relay: Local, files: Path, mark: str) -> None:
    usage.send(relay, mark, count=1, per_message=1)
    messages.until_settled(relay)
    first, before = _pids(relay, files), len(_invocations(relay))
    assert len(first) == 1
    for number in range(1, 4):
        messages.send(relay, [messages.body([usage.measurement(mark, number)])])
        messages.until_settled(relay)
    usage.assert_counted_once(relay, mark, 4)
    until(lambda: len(_invocations(relay)) >= before + 3, "each has its line in the log", DEADLINE_S)
    assert _pids(relay, files) == first


def test_an_invocation_has_more_than_ten_messages(relay: Local, mark: str) -> None:
    before = len(_invocations(relay))
    messages.pause_delivery(relay)
    usage.send(relay, mark, count=600, per_message=5)
    messages.resume_delivery(relay)
    messages.until_settled(relay)
    usage.assert_counted_once(relay, mark, 600)
    since = until(lambda: _invocations(relay)[before:], "it is in the log", DEADLINE_S)
    assert max(int(str(line["Received"])) for line in since) > 10
    assert max(int(str(line["Found"])) for line in since) > 50


@pytest.fixture
def slow_answer(relay: Local, mark: str) -> Iterator[None]:
    """m3ter counts the first request with this test's first uid, and answers it much later than the test takes."""
    fault = {"kind": "delay", "delay_ms": 600_000}
    relay.sandbox.add_fault({"containing": {"uid": f"{mark}-0"}, "times": 1, "fault": fault})
    yield
    relay.sandbox.clear_faults()


# A process that is killed has crashed; one that is stopped hangs, until Lambda kills it.
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["crashes", "hangs"])
@pytest.mark.usefixtures("slow_answer")
def test_what_a_process_had_when_it_ended_comes_back_to_another(
    relay: Local, files: Path, mark: str, sign: signal.Signals
) -> None:
    usage.send(relay, mark, count=4, per_message=4)
    until(lambda: relay.sandbox.arrived(f"{mark}-0"), "m3ter has counted the measurements", DEADLINE_S)
    ended = _pids(relay, files)
    assert len(ended) == 1
    os.kill(ended[0], sign)
    messages.until_settled(relay)
    assert len(_pids(relay, files)) == 1
    assert _pids(relay, files) != ended
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested", "duplicate"] for number in range(4)}
    until_state(relay, "InvocationsFailAlarm", "ALARM")


def test_in_trouble_nothing_is_lost_and_nothing_counts_twice(relay: Local, mark: str) -> None:
    faults = [{"kind": "drop-answer"}, {"kind": "status", "status": 503}, {"kind": "reset"}]
    for fault in faults:
        relay.sandbox.add_fault({"times": 2, "fault": fault})
    before = relay.sandbox.faults_fired()
    try:
        usage.send(relay, mark, count=3_000, per_message=10)
        messages.until_settled(relay, deadline_s=120)
    finally:
        relay.sandbox.clear_faults()
    assert relay.sandbox.faults_fired() - before == Counter({str(fault["kind"]): 2 for fault in faults})
    usage.assert_counted_once(relay, mark, 3_000)


def test_every_alarm_of_the_template_is_there_with_its_numbers(relay: Local) -> None:
    resources = template.load()["Resources"]
    # Those with a condition are for m3ter itself, or for what an account may have.
    wanted = {name: each["Properties"] for name, each in resources.items() if "Alarm" in each["Type"] and "Condition" not in each}
    found = alarms.deployed(relay)
    assert wanted.keys() <= found.keys()
    assert len(wanted) > 20
    for name, properties in wanted.items():
        said = {
            key: found[name][key] for key in ("AlarmDescription", "EvaluationPeriods", "MetricName", "Namespace", "Statistic")
        }
        assert said == {key: properties[key] for key in said}
        assert isinstance(found[name]["Threshold"], float)
        assert {each["Name"] for each in found[name]["Dimensions"]} == {each["Name"] for each in properties["Dimensions"]}


def test_an_alarm_about_silence_rings_until_ingest_watch_has_looked(relay: Local) -> None:
    until_state(relay, "WatchNotRunningAlarm", "ALARM")
    assert relay.watch()["is_whole"]
    until_state(relay, "WatchNotRunningAlarm", "OK")


def test_an_alarm_about_measurements_that_m3ter_rejected_later_rings_once_there_are_some(relay: Local, mark: str) -> None:
    until_state(relay, "RejectedLaterAlarm", "OK")
    unknown = {**usage.measurement(mark, 0), "meter": f"{mark}-is-no-meter"[:80]}
    messages.send(relay, [messages.body([unknown, usage.measurement(mark, 1)])])
    messages.until_settled(relay)
    assert relay.watch()["rejected"] == 1
    until_state(relay, "RejectedLaterAlarm", "ALARM")
    assert [(entry["reason"], entry["uid"]) for entry in usage.quarantined(relay, mark)] == [("UndefinedMeter", f"{mark}-0")]


def test_an_alarm_about_what_the_relay_quarantines_rings_once_there_is_something(relay: Local, mark: str) -> None:
    until_state(relay, "QuarantinedAlarm", "OK")
    bad = usage.measurement(mark, 0)
    del bad["meter"]
    messages.send(relay, [messages.body([bad, usage.measurement(mark, 1)])])
    messages.until_settled(relay)
    until_state(relay, "QuarantinedAlarm", "ALARM")
    assert usage.states(relay, mark) == {f"{mark}-1": ["ingested"]}
    assert [entry["reason"] for entry in usage.quarantined(relay, mark)] == ["MeterMissing"]


def test_an_alarm_about_giving_up_rings_and_what_was_given_up_is_not_lost(relay: Local, mark: str) -> None:
    until_state(relay, "GaveUpAlarm", "OK")
    relay.sandbox.add_fault({"containing": {"uid": f"{mark}-0"}, "times": 1, "fault": {"kind": "status", "status": 404}})
    usage.send(relay, mark, count=1, per_message=1)
    until_state(relay, "GaveUpAlarm", "ALARM")
    messages.until_settled(relay)
    usage.assert_counted_once(relay, mark, 1)


def test_a_file_is_uploaded_when_s3_tells_of_it_and_its_bad_row_rings(relay: Local, mark: str) -> None:
    until_state(relay, "UploadRowsQuarantinedAlarm", "OK")
    rows = [usage.measurement(mark, number) for number in range(3)]
    del rows[2]["meter"]
    put(relay, f"{mark} 1.ndjson", ndjson(rows))
    assert report(relay, f"{mark} 1.ndjson")["status"] == "done"
    assert usage.states(relay, mark) == {f"{mark}-{number}": ["ingested"] for number in range(2)}
    until_state(relay, "UploadRowsQuarantinedAlarm", "ALARM")


def test_localstack_asked_nothing_of_other_machines(files: Path) -> None:
    asked = files / OUTSIDE_LOG_NAME
    # It looks whether a bucket's name in front of its own is an address, and is told at once that it is not.
    assert set(asked.read_text().splitlines() if asked.exists() else []) <= {"socket.gethostbyname 's3.127.0.0.1'"}

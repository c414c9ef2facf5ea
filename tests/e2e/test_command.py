"""The command line over the deployed stack: files of every kind sent, sent again, and the demo's books."""

import csv
import gzip
import io
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

from infra.local import function
from infra.local.settings import COMMAND_BINARY, require
from infra.local.setup import Local
from tests.e2e import messages, sdk, usage

COMMAND_DEADLINE_S = 60.0
COUNT = 250
MEASURES = ("calls", "bytes", "share")
REGIONS = ("eu", 'say "hi", twice', "Zürich / 東京", "a;b\tc", "x" * 300)
"""What a careless writer of CSV or JSON gets wrong."""

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A command that has ended."""

    code: int
    out: str
    err: str


def _run(relay: Local, *arguments: str | Path, given: bytes = b"") -> Run:
    argv = [require(COMMAND_BINARY), *arguments]
    done = subprocess.run(argv, env=relay.environment(), input=given, capture_output=True, timeout=COMMAND_DEADLINE_S)
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def _rows(mark: str, meter: str) -> list[dict[str, Any]]:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return [
        {
            "uid": f"{mark}-{number}",
            "meter": meter,
            "account": f"{mark}-{number % 7}",
            "ts": (start + timedelta(seconds=number)).isoformat(),
            "measure": {"calls": number, "bytes": 2_747_282_505 + number, "share": number / 8},
            "what": {"region": REGIONS[number % len(REGIONS)]},
        }
        for number in range(COUNT)
    ]


def _ndjson(rows: Rows) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _array(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def _csv(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["uid", "meter", "account", "ts", *(f"measure.{code}" for code in MEASURES), "what.region"])
    for row in rows:
        head = [row[name] for name in ("uid", "meter", "account", "ts")]
        writer.writerow([*head, *(row["measure"][code] for code in MEASURES), row["what"]["region"]])
    return text.getvalue().encode()


def _plain(content: bytes) -> bytes:
    return content


KINDS: dict[str, tuple[Callable[[Rows], bytes], Callable[[bytes], bytes]]] = {
    "usage.ndjson": (_ndjson, _plain),
    "usage.json": (_array, _plain),
    "usage.csv": (_csv, _plain),
    "usage.ndjson.gz": (_ndjson, gzip.compress),
    "usage.json.zst": (_array, zstandard.compress),
    "usage.csv.gz": (_csv, gzip.compress),
    "usage.csv.zst": (_csv, zstandard.compress),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("from_stdin", [False, True], ids=["file", "stdin"])
def test_a_file_sent_twice_is_counted_once_to_the_byte(
    relay: Local, mark: str, tmp_path: Path, name: str, from_stdin: bool
) -> None:
    meter = f"{mark}-meter"
    sdk.create_meter(relay.sandbox, meter, MEASURES)
    rows = _rows(mark, meter)
    write, pack = KINDS[name]
    content = pack(write(rows))
    file = tmp_path / name
    file.write_bytes(content)
    expected = {
        "count": COUNT,
        "accounts": 7,
        "sums": {code: Decimal(sum(row["measure"][code] for row in rows)) for code in MEASURES},
    }
    for _ in range(2):
        source, given = ("-", content) if from_stdin else (file, b"")
        sent = _run(relay, "send", source, "--queue-url", relay.outputs["QueueUrl"], "--json", given=given)
        assert (sent.code, sent.err) == (0, "")
        assert json.loads(sent.out)["measurements"] == COUNT
        messages.until_settled(relay)
        counted = relay.sandbox.ledger(measurements=False)["meters"][meter]
        assert counted | {"sums": {code: Decimal(str(total)) for code, total in counted["sums"].items()}} == expected
    received = [line for line in relay.sandbox.ledger()["measurements"] if line["meter"] == meter]
    # SQS may deliver twice; whatever arrived is what was written.
    assert len(received) >= 2 * COUNT
    assert {line["uid"]: line["measurement"] for line in received} == {row["uid"]: row for row in rows}
    assert usage.quarantined(relay, mark) == []


CANARY = "canary"
BROKEN = {
    "cut.ndjson": f'{{"uid":"{CANARY}","meter":"{CANARY}","account":"{CANARY}","ts":"{CANARY}"}}\n{{"uid":"{CANARY}'.encode(),
    "number.csv": f"uid,meter,account,ts,measure.calls\n{CANARY},{CANARY},{CANARY},{CANARY},{CANARY}\n".encode(),
    "short.csv": f"uid,meter,account,ts,measure.calls\n{CANARY},{CANARY}\n".encode(),
    "no-uid.ndjson": f'{{"meter":"{CANARY}","account":"{CANARY}","ts":"2026-01-01T00:00:00Z"}}\n'.encode(),
    "no-object.json": f'["{CANARY}"]'.encode(),
    "cut.ndjson.gz": gzip.compress(f'{{"uid":"{CANARY}"}}\n'.encode() * 100)[:40],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_name_and_without_its_content(relay: Local, tmp_path: Path, name: str) -> None:
    before = sum(messages.waiting(relay).values())
    file = tmp_path / name
    file.write_bytes(BROKEN[name])
    refused = _run(relay, "send", file, "--queue-url", relay.outputs["QueueUrl"])
    assert (refused.code, refused.out) == (1, "")
    assert str(file) in refused.err
    assert "nothing was sent" in refused.err
    assert CANARY not in refused.err.replace(str(tmp_path), "")
    assert sum(messages.waiting(relay).values()) == before


def _demo(relay: Local, *more: str) -> Run:
    argv = ["--queue-url", relay.outputs["QueueUrl"], "--dead-letter-queue-url", relay.outputs["DeadLetterQueueUrl"]]
    argv += ["--sandbox-url", relay.sandbox.url, "--measurements", "2000", "--messages", "16", "--json"]
    if "--store-url" not in more:
        argv += ["--store-url", relay.outputs["StoreUrl"]]
    return _run(relay, "demo", *argv, *more)


def test_the_demo_balances_twice_in_a_row_on_one_stack(relay: Local) -> None:
    for _ in range(2):
        demo = _demo(relay)
        assert (demo.code, demo.err) == (0, "")
        book = json.loads(demo.out)
        assert book["balanced"] is True
        ended = book["ingested"] + book["dropped"] + book["collapsed"]
        ended += sum(book["rejected"].values()) + sum(book["quarantined"].values())
        assert book["sent"] == ended == 2_000
        assert len(book["quarantined"]) >= 10
        assert relay.sandbox.api_secret not in demo.out + demo.err


def test_the_demo_fails_if_the_quarantine_is_not_where_it_should_be(relay: Local) -> None:
    demo = _demo(relay, "--store-url", f"{relay.outputs['StoreUrl']}/elsewhere", "--timeout-s", "5")
    assert demo.code == 1
    assert "do not balance" in demo.err
    book = json.loads(demo.out)
    assert book["balanced"] is False
    assert book["quarantined"] == {}
    assert book["nowhere"] > 0


def test_the_demo_fails_if_a_message_is_on_the_dead_letter_queue(relay: Local) -> None:
    sqs, dead = relay.client("sqs"), relay.outputs["DeadLetterQueueUrl"]
    messages.pause_delivery(relay, function.DEAD_LETTER)
    try:
        sqs.send_message(QueueUrl=dead, MessageBody="{}")
        demo = _demo(relay, "--timeout-s", "5")
    finally:
        sqs.purge_queue(QueueUrl=dead)
        messages.resume_delivery(relay, function.DEAD_LETTER)
    assert demo.code == 1
    book = json.loads(demo.out)
    assert (book["balanced"], book["nowhere"], book["left"]) == (False, 0, [0, 1])

"""A day's trouble in small, for the queries of infra/queries: what the relay wrote about it, in a folder, and how to ask it."""

import io
import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from infra.local.settings import ROOT
from infra.local.setup import Local, local
from infra.local.stack import store_place
from infra.local.wait import until
from tests.e2e import messages, sdk

QUERIES = ROOT / "infra" / "queries"
VIEWS = QUERIES / "duckdb" / "views.sql"

UNANSWERED_DEADLINE_S = 60.0
"""Longest wait for an invocation that gets no answer: it tries for 18 s, then records what it knows."""

NOW = datetime.now(timezone.utc).replace(microsecond=0)
TODAY = NOW - timedelta(seconds=60)
YESTERDAY = TODAY - timedelta(days=1)
"""When measurements were taken: on two days, also just after midnight."""

Row = dict[str, Any]


def _measurement(uid: str, calls: float, account: str = "acme", ts: datetime = TODAY, **other: Any) -> dict[str, Any]:
    fields = {"uid": uid, "meter": "m", "account": account, "ts": ts.isoformat(), "measure": {"calls": calls}}
    return fields | other


@dataclass
class World:
    """What the relay left in its bucket, in a folder, and what is needed to tell what should be there."""

    store: Path
    qids: dict[str, str]
    """The id of each entry, by uid, or by reason where it has none."""
    message_ids: dict[str, str]
    unanswered: list[Row]
    """What `never_answered.sql` said while an answer was missing."""
    marked_at_ms: int
    """The time of the markers."""

    def lines(self, folder: str) -> list[Row]:
        """Every line below `folder`, as it stands there."""
        return [line for path in sorted(self.store.glob(f"{folder}/**/*.*")) for line in _lines(path.read_bytes(), path.name)]


def _lines(content: bytes, name: str) -> list[Row]:
    if name.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True) as plain:
            content = plain.read()
    return [json.loads(line) for line in content.splitlines()]


def _objects(relay: Local) -> list[str]:
    """The names of all objects in the store of `relay`."""
    bucket, prefix = store_place(relay.outputs)
    pages = relay.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return [stored["Key"] for page in pages for stored in page.get("Contents", [])]


def _download(relay: Local, folder: Path) -> None:
    """Copies the store of `relay` to `folder`, as `aws s3 sync` would."""
    bucket, prefix = store_place(relay.outputs)
    for name in _objects(relay):
        path = folder / name.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(relay.client("s3").get_object(Bucket=bucket, Key=name)["Body"].read())


def connect(store: Path, now_ms: int | None = None, uid: str | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB with the views over `store`. It may load nothing from the network."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for name, value in {"store": str(store), "now_ms": now_ms, "uid": uid}.items():
        if value is not None:
            connection.execute(f"SET VARIABLE {name} = $1", [value])
    connection.execute(VIEWS.read_text())
    return connection


def ask(store: Path, name: str, **settings: Any) -> list[Row]:
    """The answer to the question in the file `name`, asked of `store`."""
    with connect(store, **settings) as connection:
        found = connection.execute((QUERIES / "duckdb" / name).read_text())
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _mark(relay: Local, qid: str, name: str, marker: Row) -> None:
    """Creates a marker as an operator's command does."""
    bucket, prefix = store_place(relay.outputs)
    body = json.dumps({"run": "00000000-0000-0000-0000-000000000001", **marker}).encode()
    relay.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/actions/v1/{qid}/{name}.json", Body=body)


def world(folders: pytest.TempPathFactory) -> World:
    """Good, bad, sent twice, of two contents, dropped, mended and sent again, and unanswered for a while."""
    with local("queries") as relay:
        sdk.create_meter(relay.sandbox, "m", ["calls"])
        ids: dict[str, str] = {}

        def send(label: str, *bodies: Any, **attributes: str) -> None:
            texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
            ids[label] = messages.send(relay, texts, attributes)[0]
            messages.until_settled(relay)

        send("good", [_measurement(f"good-{number}", 0.1, ts=YESTERDAY) for number in range(3)])
        relay.sandbox.add_fault({"containing": {"uid": "refused"}, "fault": {"kind": "status", "status": 400}})
        mixed = [
            _measurement("mixed", 2_747_282_505, "other", cost={"price": -0.25}),
            _measurement("bad-0", 1) | {"meter": " "},
            _measurement("bad-1", 1) | {"meter": " "},
            _measurement("conflict", 1),
            _measurement("conflict", 2),
            _measurement("refused", 1, ts=YESTERDAY),
            {name: value for name, value in _measurement("plain", 1).items() if name != "measure"},
        ]
        send("mixed", mixed, tenant="t")
        send("no JSON", 'no JSON, but it says "good-0"')
        send("again", [_measurement("good-0", 0.1, ts=YESTERDAY)])
        send("first content", [_measurement("two", 1)])
        send("second content", [_measurement("two", 2)])

        store = folders.mktemp("first")
        _download(relay, store)
        qids = {entry.get("uid", entry["reason"]): entry["qid"] for entry in World(store, {}, ids, [], 0).lines("quarantine/v1")}
        at = int(datetime.now(timezone.utc).timestamp() * 1000)
        _mark(relay, qids["bad-0"], "drop", {"action": "drop", "at": at, "by": "ann", "because": "a test"})
        _mark(relay, qids["bad-1"], "replay-1", {"action": "import", "at": at})
        _mark(relay, qids["refused"], "replay-1", {"action": "replay", "at": at, "beyond_window": True})
        send("mended", [_measurement("bad-1", 5)], **{"usage-relay-origin": f"correction:{qids['bad-1']}"})

        relay.sandbox.add_fault({"containing": {"uid": "late"}, "fault": {"kind": "drop-answer"}})
        written = len(_objects(relay))
        [ids["late"]] = messages.send(relay, [json.dumps([_measurement("late", 7)])])
        until(lambda: len(_objects(relay)) > written, "the relay wrote that it got no answer", UNANSWERED_DEADLINE_S)
        pending = folders.mktemp("pending")
        _download(relay, pending)
        unanswered = ask(pending, "never_answered.sql")
        relay.sandbox.clear_faults()
        messages.until_settled(relay)
        store = folders.mktemp("store")
        _download(relay, store)
        return World(store, qids, ids, unanswered, at)

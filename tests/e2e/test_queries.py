"""The queries of infra/queries over what the relay wrote: a stack of its own, a day's trouble in small, and every answer."""

import json
import math
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
import zstandard
from sqlglot import exp

from tests.e2e import queries
from tests.e2e.queries import NOW, QUERIES, TODAY, VIEWS, YESTERDAY, Row, World, ask, connect

QUESTIONS = sorted(path.name for path in (QUERIES / "duckdb").glob("*.sql") if path != VIEWS)
TABLES = {"ledger": "ledger/v1", "quarantine": "quarantine/v1", "actions": "actions/v1", "acts": "watch/v1/acts"}
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What the relay wrote, its stack is gone by then; and beside it, as ingest-watch writes them, acts about other uids."""
    world = queries.world(tmp_path_factory)
    rejected = _act("rejected", "quarantined", type="UndefinedMeter", reason="UndefinedMeter", qid="q-0")
    others = [("sent-again", "receipt"), ("sent-again", "receipt"), ("derived", "recorded"), ("unknown", "unjudged")]
    acts = [rejected, *(_act(uid, outcome) for uid, outcome in others)]
    _write(world.store, "watch/v1/acts", acts, TODAY.strftime("dt=%Y-%m-%d"))
    return world


def _act(uid: str, outcome: str, **other: Any) -> Row:
    """What was done about one of m3ter's events, as ingest-watch writes it: a line of `watch/v1/acts`."""
    event = {"event": f"e-{uid}", "event_at": round(TODAY.timestamp() * 1000), "type": "DuplicateUid"}
    return event | {"outcome": outcome, "uid": uid, "meter": "m", "account": "acme"} | other


def _at(ms: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(milliseconds=ms)


def _only(rows: list[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def _life(world: World) -> None:
    def told(uid: str) -> list[tuple[Any, ...]]:
        return _only(ask(world.store, "life.sql", uid=uid), "event", "message_id", "qid")

    ids, qids = world.message_ids, world.qids
    assert told("good-1") == [("queued", ids["good"], None), ("accepted", ids["good"], None)]
    assert told("good-0") == [
        ("queued", ids["good"], None),
        ("accepted", ids["good"], None),
        ("queued", ids["no JSON"], None),
        ("quarantined", ids["no JSON"], qids["NotJson"]),
        ("queued", ids["again"], None),
        ("accepted again", ids["again"], None),
    ]
    assert [event for event, _, _ in told("two")] == ["queued", "accepted", "queued", "accepted again, another content"]
    assert [event for event, _, _ in told("late")][:2] == ["queued", "sent, no answer"]
    assert told("late")[-1] == ("accepted", ids["late"], None)
    assert told("bad-0")[1:] == [("quarantined", ids["mixed"], qids["bad-0"]), ("dropped", None, qids["bad-0"])]
    assert [event for event, _, _ in told("bad-1")] == ["queued", "quarantined", "corrected", "queued", "accepted"]
    details = [row["detail"] for row in ask(world.store, "life.sql", uid="bad-1")]
    assert details[1].startswith("MeterInvalid: expected")
    assert details[3] == f"correction:{qids['bad-1']}"
    assert told("nobody") == told("") == ask(world.store, "life.sql") == []


def _accepted_by_day(world: World) -> None:
    expected = {
        (YESTERDAY.date(), "acme", "measure.calls"): (3, Decimal("0.3")),
        (TODAY.date(), "acme", "measure.calls"): (4, Decimal(1 + 1 + 5 + 7)),  # conflict, two, bad-1 mended, late
        (TODAY.date(), "acme", None): (1, None),
        (TODAY.date(), "other", "measure.calls"): (1, Decimal(2_747_282_505)),
        (TODAY.date(), "other", "cost.price"): (1, Decimal("-0.25")),
    }
    rows = ask(world.store, "accepted_by_day.sql")
    assert {(row["day"], row["account"], row["field"]): (row["measurements"], row["total"]) for row in rows} == expected
    assert {(row["meter"], row["unread"]) for row in rows} == {("m", 0)}


def _quarantine_now(world: World) -> None:
    shown = ("reason", "stage", "standing", "entries", "meters", "accounts", "example_qid")
    rows = ask(world.store, "quarantine_now.sql", now_ms=world.marked_at_ms)
    # What was dropped is not here, nor what was mended and accepted, nor the conflict's uid, which m3ter has.
    assert _only(rows, *shown) == [
        ("NotJson", "decode", "open", 1, 0, 0, world.qids["NotJson"]),
        ("RefusedByApi", "submit", "under-way", 1, 1, 1, world.qids["refused"]),
    ]
    [entry] = [entry for entry in world.lines("quarantine/v1") if entry["reason"] == "NotJson"]
    assert (rows[0]["first"], rows[0]["example_detail"]) == (_at(entry["quarantined_at"]), entry["detail"])
    later = ask(world.store, "quarantine_now.sql", now_ms=world.marked_at_ms + 900_000)
    assert _only(later, "reason", "standing") == [("NotJson", "open"), ("RefusedByApi", "silent")]


def _never_answered(world: World) -> None:
    [row] = world.unanswered
    assert _only([row], "uid", "meter", "account", "message_ids") == [("late", "m", "acme", [world.message_ids["late"]])]
    first = min(line["sent_at"] for line in world.lines("ledger/v1") if line["uid"] == "late")
    assert row["first_sent"] == _at(first)
    assert row["attempts"] >= row["invocations"] >= 1
    assert ask(world.store, "never_answered.sql") == []


def _accepted_twice(world: World) -> None:
    rows = ask(world.store, "accepted_twice.sql")
    shown = ("uid", "meter", "account", "accepted", "messages", "contents", "beyond_window")
    assert _only(rows, *shown) == [("good-0", "m", "acme", 2, 2, 1, False), ("two", "m", "acme", 2, 2, 2, False)]
    sent = [line["sent_at"] for line in world.lines("ledger/v1") if line["uid"] == "two"]
    assert (rows[1]["first_sent"], rows[1]["last_sent"]) == (_at(min(sent)), _at(max(sent)))


def _two_contents(world: World) -> None:
    rows = ask(world.store, "two_contents.sql")
    found = [(row["uid"], json.loads(row["measurement"])["measure"]["calls"], row["accepted"], row["counted"]) for row in rows]
    assert found == [("conflict", 1, True, True), ("conflict", 2, False, False), ("two", 1, True, True), ("two", 2, True, False)]
    assert [row["qid"] for row in rows] == [None, world.qids["conflict"], None, None]


def _latency(world: World) -> None:
    first: dict[str, Row] = {}
    for line in sorted(world.lines("ledger/v1"), key=lambda line: line["sent_at"]):
        if line["answer"] == "accepted":
            first.setdefault(line["uid"], line)
    waits = sorted(line["sent_at"] - line["queued_at"] for line in first.values() if "origin" not in line)
    rows = ask(world.store, "latency.sql")
    assert sum(row["measurements"] for row in rows) == len(waits) == 8
    assert max(row["longest_s"] for row in rows) == max(waits) / 1000
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d [0-2]\d", f"{row['dt']} {row['hr']}") for row in rows)
    assert all(row["p50_s"] <= row["p90_s"] <= row["p99_s"] <= row["longest_s"] for row in rows)
    if len(rows) == 1:  # else the hour ended meanwhile
        expected = [waits[math.ceil(share * len(waits)) - 1] / 1000 for share in (0.5, 0.9, 0.99)]
        assert _only(rows, "p50_s", "p90_s", "p99_s") == [tuple(expected)]


def _batch_fill(world: World) -> None:
    batches: dict[str, set[str]] = {}
    for line in world.lines("ledger/v1"):
        batches.setdefault(line["batch"], set()).add(line["uid"])
    sizes = [len(uids) for uids in batches.values()]
    rows = ask(world.store, "batch_fill.sql")
    assert sum(row["batches"] for row in rows) == len(sizes)
    assert sum(row["measurements"] for row in rows) == sum(sizes)
    assert max(row["largest"] for row in rows) == max(sizes) >= 3
    assert sum(row["of_one"] for row in rows) == sizes.count(1)
    assert sum(row["full"] for row in rows) == 0
    if len(rows) == 1:  # else the day ended meanwhile
        median = sorted(sizes)[math.ceil(len(sizes) / 2) - 1]
        assert _only(rows, "mean", "median") == [(round(sum(sizes) / len(sizes), 1), median)]


def _reconciliation(world: World) -> None:
    rows = ask(world.store, "reconciliation.sql")
    assert _only(rows, "in_ledger", "in_quarantine", "measurements", "as_promised") == [
        ("accepted", "UidConflict", 1, True),
        ("accepted", "no", 10, True),  # good-0..2, mixed, plain, good-0 again, two twice, bad-1 mended, late
        ("no", "MeterInvalid", 2, True),
        ("no", "NotJson", 1, True),
        ("no", "RefusedByApi", 1, True),
    ]


def _leaves_window(world: World) -> None:
    def leaving(days: float) -> list[Row]:
        return ask(world.store, "leaves_window.sql", now_ms=entry["first_sent_at"] + round(days * DAY_MS))

    [entry] = [entry for entry in world.lines("quarantine/v1") if entry["reason"] == "RefusedByApi"]
    shown = ("leaves", "qid", "uid", "account", "reason", "standing")
    row = (world.qids["refused"], "refused", "acme", "RefusedByApi", "silent")
    assert leaving(0) == leaving(29.999) == []
    assert _only(leaving(30), *shown) == [("soon", *row)]
    assert _only(leaving(33.999), *shown) == [("soon", *row)]
    assert _only(leaving(34), *shown) == [("outside", *row)]
    [found] = leaving(30)
    assert found["not_sent_before"] == _at(entry["first_sent_at"])
    assert found["replay_until"] == _at(entry["first_sent_at"] + 34 * DAY_MS)


def _rejected_later(world: World) -> None:
    assert ask(world.store, "rejected_later.sql") == []  # here m3ter took back nothing; test_queries_rejected.py has more


def _incomplete(world: World) -> None:
    assert ask(world.store, "incomplete.sql") == []


EXPECTED: dict[str, Callable[[World], None]] = {
    "accepted_by_day.sql": _accepted_by_day,
    "accepted_twice.sql": _accepted_twice,
    "batch_fill.sql": _batch_fill,
    "incomplete.sql": _incomplete,
    "latency.sql": _latency,
    "leaves_window.sql": _leaves_window,
    "life.sql": _life,
    "never_answered.sql": _never_answered,
    "quarantine_now.sql": _quarantine_now,
    "reconciliation.sql": _reconciliation,
    "rejected_later.sql": _rejected_later,
    "two_contents.sql": _two_contents,
}


def test_each_question_has_an_expected_answer_here() -> None:
    assert list(EXPECTED) == QUESTIONS


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered_from_what_the_relay_wrote(world: World, name: str) -> None:
    EXPECTED[name](world)


def _write(store: Path, folder: str, lines: list[Row], part: str = "dt=2026-11-22/hr=07") -> Path:
    """Writes `lines` as one more object of a store, as the relay does."""
    path = store / folder / part / "more.ndjson.zst"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))
    return path


def test_what_comes_later_or_seldom_is_understood_too(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path, dirs_exist_ok=True)
    good = {line["uid"]: line for line in world.lines("ledger/v1") if line["message_id"] == world.message_ids["good"]}
    [refused] = [entry for entry in world.lines("quarantine/v1") if entry["reason"] == "RefusedByApi"]

    def entry(qid: str, uid: str, message: str, **other: Any) -> Row:
        return refused | {"qid": qid, "uid": uid, "message_id": world.message_ids.get(message, message)} | other

    def line(uid: str, message: str, **other: Any) -> Row:
        return good["good-2"] | {"uid": uid, "message_id": message} | other

    body = {name: refused[name] for name in ("source_arn", "receives", "quarantined_at")} | {"detail": "", "body": "x"}
    body |= {"reason": "NotAMeasurement", "stage": "decode", "message_id": "whole"}
    rejected = entry("q-1", "good-1", "good", reason="NoSuchMeter", stage="ingest", measurement=good["good-1"]["measurement"])
    came_back = entry("q-2", "refused", "replayed", origin={"kind": "replay", "of": refused["qid"]})
    exhausted = entry("q-3", "good-0", "good", reason="Exhausted")
    impossible = entry("q-4", "good-2", "good")
    unheard = entry("q-5", "unheard", "old", reason="Exhausted")
    entries = [rejected, came_back, came_back, exhausted, impossible, unheard]
    _write(tmp_path, "quarantine/v1", [*entries, body | {"qid": "q-6"}, body | {"qid": "q-7"}])
    claimed_at = refused["first_sent_at"] - DAY_MS
    (tmp_path / "actions/v1/q-5").mkdir()
    (tmp_path / "actions/v1/q-5/replay-1.json").write_text(json.dumps({"action": "replay", "at": claimed_at, "run": "r"}))
    lines = [
        line("good-2", "much later", sent_at=good["good-2"]["sent_at"] + 35 * DAY_MS),
        line("salvaged", "salvaged", origin={"kind": "correction", "of": world.qids["NotJson"]}),
        line("unheard", "unheard", answer="unknown", origin={"kind": "replay", "of": "q-5"}),
        line("inside", "whole", answer="unknown"),
    ]
    _write(tmp_path, "ledger/v1", lines)

    now = ask(tmp_path, "quarantine_now.sql", now_ms=refused["first_sent_at"] + 29 * DAY_MS)
    assert _only(now, "reason", "standing", "entries", "example_qid") == [
        ("NotAMeasurement", "open", 2, "q-6"),
        ("Exhausted", "under-way", 1, "q-5"),
        ("NoSuchMeter", "open", 1, "q-1"),
        ("RefusedByApi", "open", 1, "q-2"),
    ]
    [soon] = ask(tmp_path, "leaves_window.sql", now_ms=refused["first_sent_at"] + 29 * DAY_MS)
    assert (soon["qid"], soon["not_sent_before"]) == ("q-5", _at(claimed_at))
    assert ask(tmp_path, "life.sql", uid="good-1")[-1]["event"] == "rejected later"
    assert ask(tmp_path, "accepted_by_day.sql")[0]["total"] == Decimal("0.3")  # good-0, good-2, salvaged
    assert _only(ask(tmp_path, "accepted_twice.sql"), "uid", "beyond_window")[0] == ("good-2", True)
    assert ask(tmp_path, "never_answered.sql") == []
    books = _only(ask(tmp_path, "reconciliation.sql"), "in_ledger", "in_quarantine", "measurements", "as_promised", "example")
    assert [row for row in books if "no" not in row[:2]] == [
        ("accepted", "RefusedByApi", 1, False, "good-2"),
        ("accepted", "Exhausted", 1, True, "good-0"),
        ("accepted", "NoSuchMeter", 1, True, "good-1"),
        ("accepted", "UidConflict", 1, True, "conflict"),
    ]
    assert ("no", "NotAMeasurement", 2, True, "q-6") in books
    assert ("unknown", "no", 2, True, "inside") in books


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("there", [[], ["ledger/v1"], ["quarantine/v1"]], ids=["nothing", "ledger", "quarantine"])
def test_a_question_can_be_asked_before_there_is_anything(world: World, tmp_path: Path, name: str, there: list[str]) -> None:
    for folder in there:
        shutil.copytree(world.store / folder, tmp_path / folder)
    rows = ask(tmp_path, name, uid="good-0")
    assert there or rows == []


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_can_be_asked_of_a_ledger_of_uids_alone(world: World, tmp_path: Path, name: str) -> None:
    left_out = {"meter", "account", "ts", "measurement", "queued_at", "origin"}
    uids = [{name: value for name, value in line.items() if name not in left_out} for line in world.lines("ledger/v1")]
    _write(tmp_path, "ledger/v1", uids)
    rows = ask(tmp_path, name, uid="good-0")
    if name == "accepted_by_day.sql":
        assert rows == [dict.fromkeys(("day", "meter", "account", "field", "total")) | {"measurements": 9, "unread": 0}]
    if name == "accepted_twice.sql":
        assert _only(rows, "uid", "contents") == [("good-0", 1), ("two", 2)]


def test_an_object_that_breaks_off_is_an_error_or_at_least_found(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path, dirs_exist_ok=True)
    kept = [next(tmp_path.glob(f"{folder}/**/*.zst")) for folder in ("ledger/v1", "quarantine/v1")]
    written = [int(kept[0].name.split("_")[3]), None]
    for path in kept:
        path.write_bytes(path.read_bytes()[:-1])
    # DuckDB takes the beginning of a small object for one without lines, and says nothing.
    found = _only(ask(tmp_path, "incomplete.sql"), "name", "written", "lines")
    assert found == [(str(path), lines, None) for path, lines in zip(kept, written, strict=True)]
    kept[0].write_bytes(zstandard.compress(b'{"uid":"good"}\n{"uid":"go'))
    with pytest.raises(duckdb.Error, match="Malformed JSON in file"):
        ask(tmp_path, "accepted_by_day.sql")


def test_without_a_store_the_views_say_what_they_expected() -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error, match="expected SET VARIABLE store = "):
        connection.execute(VIEWS.read_text())


def test_each_entry_has_the_attributes_of_its_message(world: World) -> None:
    with connect(world.store) as connection:
        rows = connection.execute("SELECT reason, attributes FROM entries ORDER BY reason, qid").fetchall()
    mixed = [{"name": "tenant", "data_type": "String", "value": "t"}]
    reasons = {"MeterInvalid": mixed, "UidConflict": mixed, "RefusedByApi": mixed, "NotJson": []}
    assert [(reason, attributes) for reason, attributes in rows] == [(reason, reasons[reason]) for reason, _ in rows]
    assert sum("attributes" not in entry for entry in world.lines("quarantine/v1")) == 3


def test_each_file_begins_with_its_question() -> None:
    for path in QUERIES.glob("*/*.sql"):
        assert re.match(r"-- [A-Z][^\n]+\?", path.read_text()), path


def _definition(table: str) -> tuple[dict[str, exp.DataType], exp.Create]:
    """The columns of a table as its definition for Athena has them, partitions last, and the definition."""
    [create] = sqlglot.parse((QUERIES / "athena" / f"{table}.sql").read_text(), dialect="hive")
    assert isinstance(create, exp.Create)
    schemas = [create.this, *(part.this for part in create.find_all(exp.PartitionedByProperty))]
    return {column.name: column.kind for schema in schemas for column in schema.expressions}, create


def _fits(value: Any, kind: exp.DataType) -> bool:
    """Whether Athena's JSON reader makes a value of type `kind` of this `value`."""
    match kind.this:
        case exp.DataType.Type.TEXT:
            return isinstance(value, str)
        case exp.DataType.Type.BIGINT:
            return type(value) is int and -(2**63) <= value < 2**63
        case exp.DataType.Type.BOOLEAN:
            return isinstance(value, bool)
        case exp.DataType.Type.MAP:
            key, of = kind.expressions
            return isinstance(value, dict) and all(_fits(name, key) and _fits(one, of) for name, one in value.items())
        case exp.DataType.Type.ARRAY:
            return isinstance(value, list) and all(_fits(one, kind.expressions[0]) for one in value)
        case exp.DataType.Type.STRUCT:
            fields = {field.name: field.kind for field in kind.expressions}
            return isinstance(value, dict) and value.keys() == fields.keys() and all(_fits(value[n], fields[n]) for n in fields)
    raise AssertionError(f"expected a type that is used here, not {kind}")


def test_the_definitions_for_athena_are_those_of_the_tables_and_no_other() -> None:
    assert sorted(path.stem for path in (QUERIES / "athena").glob("*.sql")) == sorted(TABLES)


@pytest.mark.parametrize(("table", "folder"), TABLES.items())
def test_a_definition_for_athena_has_the_columns_that_objects_hold_and_duckdb_reads(
    world: World, table: str, folder: str
) -> None:
    columns, _ = _definition(table)
    # The measurement is kept as JSON: Athena's SerDe hands an object over as text.
    in_duckdb = {name: "JSON" if name == "measurement" else kind.sql("duckdb") for name, kind in columns.items()}
    with connect(world.store) as connection:
        described = connection.execute(f"DESCRIBE {table}").fetchall()
        normal = {name: connection.execute(f"SELECT typeof(CAST(NULL AS {kind}))").fetchone() for name, kind in in_duckdb.items()}
    from_names = {"filename"} | ({"qid", "name"} if table == "actions" else set())
    assert {name: kind for name, (kind,) in normal.items()} == {row[0]: row[1] for row in described if row[0] not in from_names}

    lines = world.lines(folder)
    held = {name for line in lines for name in line}
    # What nothing in this world has: a replayed entry that came back, and a new uid.
    rare = {"quarantine": {"origin"}, "actions": {"new_uid", "supersedes"}}.get(table, set())
    assert held | rare == columns.keys() - {"dt", "hr"}
    for line in lines:
        for name, value in line.items():
            assert isinstance(value, dict) if name == "measurement" else _fits(value, columns[name]), (name, value)


@pytest.mark.parametrize(("table", "folder"), TABLES.items())
def test_a_definition_for_athena_computes_the_partitions_that_the_relay_writes(world: World, table: str, folder: str) -> None:
    _, create = _definition(table)
    location = create.find(exp.LocationProperty)
    assert location is not None and location.this.name == f"STORE_URL/{folder}/"
    settings = {
        item.this.name: item.args["value"].name for item in create.args["properties"].expressions if type(item) is exp.Property
    }
    if table == "actions":
        assert settings == {}
        return
    assert settings.pop("projection.enabled") == "true"
    template = settings.pop("storage.location.template")
    by_day = {
        "projection.dt.type": "date",
        "projection.dt.format": "yyyy-MM-dd",
        "projection.dt.range": "2026-01-01,NOW+1DAYS",
        "projection.dt.interval": "1",
        "projection.dt.interval.unit": "DAYS",
    }
    by_hour = {"projection.hr.type": "integer", "projection.hr.range": "0,23", "projection.hr.digits": "2"}
    assert settings == (by_day if table == "acts" else by_day | by_hour)
    days = {(NOW + timedelta(days=days)).strftime("%Y-%m-%d") for days in range(2)}
    places = {template.replace("${dt}", dt).replace("${hr}", f"{hr:02}") for dt in days for hr in range(24)}
    written = {f"STORE_URL/{path.parent.relative_to(world.store)}/" for path in world.store.glob(f"{folder}/**/*.zst")}
    assert written and written <= places

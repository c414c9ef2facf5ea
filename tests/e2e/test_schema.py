"""docs/measurement.schema.json, held against the corpus of message bodies: each with what the relay makes of it.

What the relay takes the schema takes, without exception. What the relay refuses the schema refuses, but for what JSON Schema
cannot say: those cases are named here with the reason, and each must be one that the schema does take.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.local.settings import ROOT
from tests.e2e import corpus

SCHEMA = json.loads((ROOT / "docs" / "measurement.schema.json").read_text())
LIMITS = ROOT / "crates" / "relay-core" / "src" / "limits.rs"

BYTES = "it has no limit in bytes, neither of a measurement nor of a message"
CLOCK = "it knows no clock"
MEMORY = "it does not know what else was sent, or when"
ONCE = "it sees what a parser made of two equal keys, which is one"
ACROSS = "it cannot compare the keys of two objects"
DEPTH = "it cannot count how deep a property that nobody knows is nested"
HALF = "it does not look for half of a surrogate pair"
LETTERS = "not every implementation knows what a letter is: it takes all that is not ASCII for one"

CANNOT_SAY = {
    "half a surrogate pair in a code": HALF,
    "half a surrogate pair in a property that nobody knows": HALF,
    "half a surrogate pair in the code of a data field": HALF,
    "nesting that goes too deep beside a neighbour": DEPTH,
    "another content under a uid": MEMORY,
    "copies and rivals of one uid mixed": MEMORY,
    "a first send longer ago than m3ter remembers": MEMORY,
    "a first send that is not readable, of usage long past; its neighbour is of today": MEMORY,
    "a first send outside the window, compressed": MEMORY,
    "a first send outside the window, overruled by an operator for one of two uids": MEMORY,
    "a ts further ahead than clocks differ": CLOCK,
    "a ts of next year, among neighbours": CLOCK,
    "one field code under two categories": ACROSS,
    "one field code under two categories, one written with an escape": ACROSS,
    "a key twice": ONCE,
    "a data field twice": ONCE,
    "a field code that is a sign of another script": LETTERS,
    "a measurement larger than a request": BYTES,
    "a measurement larger than a request between good neighbours": BYTES,
    "lines, one of them larger than a request, compressed": BYTES,
    "a megabyte and more that inflates beyond 4 MiB": BYTES,
    "white space that inflates beyond 4 MiB behind SNS": BYTES,
}
"""Bodies that the relay refuses and the schema does not, each with what the schema lacks."""

CASES = corpus.cases(datetime.now(timezone.utc))
NAMES = [case.name for case in CASES]


class NotJson(Exception):
    """There is nothing that a schema could be asked about."""


def _validator(place: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{place}", "$defs": SCHEMA["$defs"]})


BODY, INSIDE, MEASUREMENT = _validator("body"), _validator("inside"), _validator("measurement")


def _parsed(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise NotJson(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise NotJson from error


def _inflated(text: str, attributes: Mapping[str, str]) -> str:
    encodings = [value for name, value in attributes.items() if name.lower() == "content-encoding"]
    if not encodings or encodings == ["identity"]:
        return text
    if encodings[0].lower() != "gzip":
        raise NotJson(encodings[0])
    try:
        return gzip.decompress(base64.b64decode(text, validate=True)).decode()
    except (ValueError, OSError, EOFError) as error:
        raise NotJson from error


def _taken(text: str, attributes: Mapping[str, str], validator: Draft202012Validator = BODY) -> list[bool]:
    """Whether the schema takes what stands at each position; a body that is refused as a whole has one."""
    try:
        text = _inflated(text, attributes)
    except NotJson:
        return [False]
    try:
        value = _parsed(text)
    except NotJson:
        return _taken_lines(text)
    errors = list(validator.iter_errors(value))
    match value:
        case {"uid": _}:
            return [not errors]
        case {"Type": "Notification", "Message": str(message)} if not errors:
            carried = {name: attribute["Value"] for name, attribute in value.get("MessageAttributes", {}).items()}
            return _taken(message, carried, INSIDE)
        case {"detail": {"measurements": list(elements)}} | [*elements] | {"measurements": list(elements)}:
            depth = 0 if isinstance(value, list) else 2 if "detail" in value else 1
        case _:
            return [not errors]
    if any(len(error.absolute_path) <= depth for error in errors):
        return [False]
    refused = {error.absolute_path[depth] for error in errors}
    return [position not in refused for position in range(len(elements))]


def _taken_lines(text: str) -> list[bool]:
    taken, is_object = [], False
    for line in (line.strip(" \t\r") for line in text.split("\n")):
        if not line:
            continue
        found_object, line_taken = _taken_line(line)
        is_object = is_object or found_object
        taken.append(line_taken)
    return taken if is_object else [False]


@cache
def _taken_line(line: str) -> tuple[bool, bool]:
    """Whether it is an object, and whether the schema takes it."""
    try:
        value = _parsed(line)
    except NotJson:
        return False, False
    return isinstance(value, dict), MEASUREMENT.is_valid(value)


def _expected(case: corpus.Case) -> list[bool] | None:
    """What the relay does not refuse; None for a message that goes back to the queue, which it does not refuse either."""
    return None if case.expect is None else [word == corpus.GOOD for word in case.expect]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_schema_says_of_each_position_what_the_relay_says(case: corpus.Case) -> None:
    taken, expected = _taken(case.body, case.attributes), _expected(case)
    if expected is None:
        assert all(taken)
    elif case.name in CANNOT_SAY:
        # Where both see the same positions, the schema takes all that the relay takes.
        assert len(taken) != len(expected) or all(ours >= theirs for ours, theirs in zip(taken, expected, strict=True))
        assert taken != expected, "the schema can say it: take it off the list"
    else:
        assert taken == expected


def test_every_exception_is_a_case_of_the_corpus() -> None:
    assert set(CANNOT_SAY) <= set(NAMES)


@pytest.mark.parametrize(
    ("text", "is_time"),
    [
        ("2026-11-17T10:00:00Z", True),
        ("2026-11-17T10:00Z", True),
        ("2026-11-17T12:00+02:00", True),
        ("2026-11-17T12:00:00+0200", True),
        ("2026-11-17T10:00:00-00:00", True),
        ("2026-11-17T10:00:00-26:00", False),
        ("2026-11-17T10:00:00+00:00:30", True),
        ("2026-11-17T10:00:00.123456789+00:00", True),
        ("2026-11-17", False),
        ("2026-11-17T10:00:00", False),
        ("2026-11-17 10:00:00Z", False),
        ("2026-13-01T00:00:00Z", False),
        ("2026-11-17T24:00:00Z", False),
        ("2026-11-17T10Z", False),
        ("2026-11-17T100000Z", False),
        ("2026-11-17T10:00:00,5Z", False),
        ("2026-11-17T10:00:00.Z", False),
        ("2026-11-17T10:00:00z", False),
        ("2026-11-17t10:00:00Z", False),
        (" 2026-11-17T10:00:00Z", False),
        ("2026-11-17T10:00:00Z\n", False),
        ("2026-11-17T10:00:00Z[UTC]", False),
        ("\u0662026-11-17T10:00:00Z", False),
    ],
)
def test_a_time_is_what_the_relay_reads_as_one(text: str, is_time: bool) -> None:
    assert _validator("time").is_valid(text) == is_time


@pytest.mark.parametrize("place", ["code", "field"])
def test_a_line_feed_at_the_end_is_not_overlooked(place: str) -> None:
    assert [_validator(place).is_valid(text) for text in ("calls", "calls\n", "\n")] == [True, False, False]


def test_the_schemas_numbers_are_the_relays() -> None:
    limits = {
        name: int(number.replace("_", ""))
        for name, number in re.findall(r"pub const (\w+): usize = ([\d_]+);", LIMITS.read_text())
    }
    places = SCHEMA["$defs"]
    assert places["measurement"]["properties"]["uid"]["maxLength"] == limits["UID_CHARS_MAX"]
    assert places["code"]["maxLength"] == places["field"]["maxLength"] == limits["CODE_CHARS_MAX"]
    assert places["array"]["maxItems"] == limits["MESSAGE_MEASUREMENTS_MAX"]

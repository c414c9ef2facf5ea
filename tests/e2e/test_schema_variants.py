"""docs/measurement.schema.json and `usage-relay check`, which is the relay's own rules, over thousands of odd measurements.

The corpus has each rule once. Here are the edges of the rules that a schema writes otherwise than the relay does: what a
time, a code, a number and a text are.
"""

import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.local.processes import environment
from infra.local.settings import COMMAND_BINARY, ROOT, require

SCHEMA = ROOT / "docs" / "measurement.schema.json"
DEADLINE_S = 60.0

GOOD = {"uid": "u", "meter": "m", "account": "a", "ts": "2026-01-01T00:00:00Z"}

# fmt: off
DAYS = [
    "2026-01-02", "2026-00-10", "2026-02-30", "2026-04-31", "2026-06-31", "2024-02-29", "2025-12-31", "2025-13-01", "1999-01-00",
    "0000-01-01", "-001-01-01", "2026-1-002", "2026-W01-2", "26-01-02",
]
TIMES = [
    "T10:00", "T10:00:00", "T23:59:60", "T10:00:61", "T10:00:00.1", "T10:00:00.123456789", "T10:00:00.1234567890", "T10:00:00,5",
    "T10:00.5", "T24:00:00", "T10:60:00", "t10:00:00", "T10:0000", "T1000", "T10", "T10:00:0", "T10:00:00.",
]
OFFSETS = [
    "Z", "z", "+02:00", "+0200", "+02", "+2", "-00:00", "+25:59", "+26:00", "+02:00:30", "+020030", "+02:60", "+02:00:60",
    "+02:0030", "+0200:30", "+02:00:30.5", "-23:59:59", "[UTC]", "Z[UTC]", "+02:00Z", "", " Z", "Z ", "Z\n", "\u221202:00",
]
LEAP_DAY = "2025-02-29T10:00:00Z"
"""A schema does not count years by four."""

LETTERLESS = ["\u0080", "\u00a0", "\u20ac", "\u0663", "a\u0663", "\u2028", "\U0001f600"]
"""Codes of data fields that hold what is neither ASCII nor a letter: to the schema it is one."""
TEXTS = [
    "", "x", "a b", " a", "a ", "\t", "a\n", "\n", "a\u007f", "\u00e9", "\u6771" * 80, "\u6771" * 81, "x" * 50, "x" * 51,
    "x" * 80, "x" * 81, "$", "_", "1", "1a", "a1", "a-b", "a.b", "a/b", "Ab_$9", "\u00e91", "1\u00e9",
    "^", "`", "{", "~", "[", "@", "#", "%", ":", "\\", '"',
]
WORDS = [*TEXTS, *LETTERLESS, "\U0001f600" * 50, "\U0001f600" * 51, None, 0, 1, -1.5, 1e308, True, False, [], {}, ["x"],
         {"f": 1}, {"f": "x"}]
# fmt: on

NUMERIC, TEXTUAL = ("measure", "cost", "income"), ("what", "where", "who", "other", "metadata")


def _variants() -> list[dict[str, Any]]:
    times = [LEAP_DAY, *("".join(parts) for parts in product(DAYS, TIMES, OFFSETS))]
    members = ["uid", "meter", "account", "ts", "ets", "nobody-knows-it", *NUMERIC, *TEXTUAL]
    changes: list[dict[str, Any]] = [{"ts": time} for time in times]
    changes += [{member: word} for member, word in product(members, WORDS)]
    changes += [{category: {"f": word}} for category, word in product(NUMERIC + TEXTUAL, WORDS)]
    changes += [{category: {code: 1}} for category, code in product(NUMERIC, TEXTS + LETTERLESS)]
    changes += [{category: {code: "x"}} for category, code in product(TEXTUAL, TEXTS + LETTERLESS)]
    # A uid of its own keeps each from being a rival of another.
    return [GOOD | {"uid": f"u{number}"} | change for number, change in enumerate(changes)]


def _relay_takes(variants: list[dict[str, Any]], folder: Path) -> list[bool]:
    file = folder / "variants.ndjson"
    file.write_text("".join(f"{json.dumps(variant)}\n" for variant in variants))
    argv = [require(COMMAND_BINARY), "check", "--json", "--all", "--format", "ndjson", file]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    # What else went under a uid is not a schema's business.
    refused = {each["line"] for each in said if each.get("level") == "finding" and each["reason"] != "UidConflict"}
    return [number not in refused for number in range(1, len(variants) + 1)]


def _cannot_say(variant: dict[str, Any]) -> bool:
    codes = [code for category in NUMERIC + TEXTUAL if isinstance(variant.get(category), dict) for code in variant[category]]
    return variant["ts"] == LEAP_DAY or any(code in LETTERLESS for code in codes)


def test_schema_and_relay_agree_over_thousands_of_odd_measurements(tmp_path: Path) -> None:
    variants = _variants()
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    by_relay = _relay_takes(variants, tmp_path)
    by_schema = [schema.is_valid(variant) for variant in variants]
    assert len(variants) > 5_000 and 300 < sum(by_relay) < len(variants) - 300
    differ = [variant for variant, ours, theirs in zip(variants, by_schema, by_relay, strict=True) if ours != theirs]
    assert differ == [variant for variant in variants if _cannot_say(variant)]


@pytest.mark.parametrize("number", ["1e309", "-1e309", "1.7976931348623157e308", "-1E-999", "-0", "1.0"])
def test_they_agree_on_the_range_of_a_number(number: str, tmp_path: Path) -> None:
    text = json.dumps(GOOD | {"measure": {"f": 0}}).replace(": 0}", f": {number}}}")
    (tmp_path / "one.ndjson").write_text(text)
    argv = [require(COMMAND_BINARY), "check", tmp_path / "one.ndjson"]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    is_valid = Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(json.loads(text))
    assert (done.returncode == 0) == is_valid == ("309" not in number), done.stdout

"""Reads the corpus of message bodies in `tests/fixtures/corpus`; the README there says what its keys mean.

A reader of its own, as the corpus is: it shares nothing with the relay, nor with the reader that the Rust tests use.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from infra.local.settings import ROOT

CORPUS = ROOT / "tests" / "fixtures" / "corpus" / "corpus.json"
GOOD = "good"
RETURNED = "returned"
TIME = re.compile(r"\{\{now(?:([+-]\d+)([smhd]))?(:ms)?\}\}")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Case:
    """One message, and what must become of it."""

    name: str
    body: str
    attributes: Mapping[str, str]
    expect: tuple[str, ...] | None
    """For each position `good` or the reason; None for a message that goes back to the queue."""

    @property
    def reasons(self) -> dict[int, str]:
        """The reasons of what must be quarantined, by position."""
        return {position: word for position, word in enumerate(self.expect or ()) if word != GOOD}

    @property
    def good(self) -> int:
        """How many positions hold a good measurement."""
        return (self.expect or ()).count(GOOD)


def cases(now: datetime) -> list[Case]:
    """All cases, with times relative to `now`, in UTC."""
    return [_case(written, now.astimezone(timezone.utc)) for written in json.loads(CORPUS.read_text())]


def _case(written: Mapping[str, Any], now: datetime) -> Case:
    content = b"".join(_timed(piece, now) for piece in _pieces(written))
    for step in written.get("steps", []):
        content = _step(step, content)
    expect = written["expect"]
    if isinstance(expect, str):
        assert expect == RETURNED, f"no such expectation: {expect}"
    return Case(
        name=written["name"],
        body=content.decode(),
        attributes={name: _at(value, now) for name, value in written.get("attributes", {}).items()},
        expect=None if expect == RETURNED else tuple(expect),
    )


def _pieces(written: Mapping[str, Any]) -> list[Any]:
    if "json" in written:
        assert "body" not in written, f"expected either body or json: {written['name']}"
        return [json.dumps(written["json"], separators=(",", ":"), ensure_ascii=False)]
    body = written["body"]
    return [body] if isinstance(body, str) else list(body)


def _timed(piece: Any, now: datetime) -> bytes:
    if isinstance(piece, str):
        return _at(piece, now).encode()
    if "repeat" in piece:
        return _at(piece["repeat"], now).encode() * int(piece["times"])
    return bytes.fromhex(piece["hex"])


def _at(text: str, now: datetime) -> str:
    """`text` with every `{{now...}}` replaced."""

    def time(found: re.Match[str]) -> str:
        shift, unit, in_ms = found.groups()
        moved = now + (timedelta(**{UNITS[unit]: int(shift)}) if shift else timedelta())
        return str(int(moved.timestamp() * 1000)) if in_ms else moved.strftime("%Y-%m-%dT%H:%M:%SZ")

    replaced = TIME.sub(time, text)
    assert "{{now" not in replaced, f"no such time: {replaced}"
    return replaced


def _step(step: str, content: bytes) -> bytes:
    match step:
        case "gzip":
            return gzip.compress(content, mtime=0)
        case "halve":
            return content[: len(content) // 2]
        case "base64":
            return base64.b64encode(content)
        case "sns":
            return _notification(content, {})
        case "sns-gzip":
            return _notification(content, {"MessageAttributes": {"Content-Encoding": {"Type": "String", "Value": "gzip"}}})
    raise AssertionError(f"no such step: {step}")


def _notification(content: bytes, more: Mapping[str, Any]) -> bytes:
    topic = "arn:aws:sns:eu-west-1:111122223333:corpus"
    return json.dumps({"Type": "Notification", "TopicArn": topic, "Message": content.decode(), **more}).encode()

"""What a run of chaos is to do, all of it from its seed: what each producer sends, and when a process is killed.

The same seed gives the same measurements, the same messages, the same retries and the same script of faults. What it cannot
give is the same run: processes, sockets and clocks of this machine have their say. So a seed repeats the question, and the
answer must be the same each time: the totals are exact.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

METER = "chaos"
MEASURES = ("calls", "bytes", "share")
ACCOUNTS = 40

SIZES, SIZE_WEIGHTS = (1, 2, 5, 10, 40), (35, 20, 25, 17, 3)
"""Measurements in a message, and how often of 100. Five on average: the emulator hands over ten messages at most, so with
larger ones there would be fewer invocations than kills."""

BAD_SHARE = 0.002
"""Measurements that must end in the quarantine instead."""
AGAIN_AT_ONCE, AGAIN_LATE = 0.04, 0.02
"""Calls that a producer repeats, because it got no answer in time, and such that it repeats when all else is sent."""

FIRST_KILL, LAST_KILL = 0.01, 0.9
"""Between these shares of what is to be ingested lie the kills. The last tenth is the time to recover."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    seed: int
    measurements: int = 50_000
    kills: int = 200
    producers: int = 4
    visibility_s: int | None = None
    """How long a dead invocation's messages stay away; None for what the template says, 31 s."""
    ahead: int = 5_000
    """Measurements that producers may be ahead of m3ter: enough to do, however many messages wait for their next delivery."""

    def rng(self, use: str) -> random.Random:
        """A generator for one use, so that the draws of one do not move those of another."""
        return random.Random(f"{self.seed}/{use}")

    def kill_positions(self, good: int) -> list[int]:
        """After how many of `good` ingested measurements each kill comes, ascending."""
        rng = self.rng("kills")
        return sorted(rng.randint(int(FIRST_KILL * good), int(LAST_KILL * good)) for _ in range(self.kills))

    def faults(self) -> list[dict[str, Any]]:
        """The script of faults, for requests for tokens too: the first that is no delay happens."""
        rng = self.rng("faults")
        delays = [(0.5, {"kind": "delay", "delay_ms": 40}), (0.2, {"kind": "delay", "delay_ms": 250})]
        # Each sees what those before it left: 10 % of all requests are 5xx, in equal parts, and 20 % of the answers are lost.
        statuses = [(0.025 / (1 - 0.025 * n), {"kind": "status", "status": 500 + code}) for n, code in enumerate((0, 2, 3, 4))]
        rules = [*delays, *statuses, (0.2, {"kind": "drop-answer"})]
        return [
            {"route": "any", "probability": probability, "seed": rng.getrandbits(53), "fault": fault}
            for probability, fault in rules
        ]


@dataclass(frozen=True)
class Message:
    """One message, and what must become of each measurement in it."""

    body: str
    measurements: Sequence[Mapping[str, Any]]
    bad: Mapping[int, str]
    """The reasons of what must be quarantined, by position."""

    def good(self) -> Iterator[Mapping[str, Any]]:
        """What must be ingested."""
        return (one for position, one in enumerate(self.measurements) if position not in self.bad)


@dataclass(frozen=True)
class Call:
    """Messages that a producer sends in one call."""

    messages: Sequence[Message]
    again_at_once: bool
    again_late: bool


def produced(plan: Plan, now: datetime) -> list[list[Call]]:
    """What each producer sends. `now` is when the run began: measurements were made in the hour before."""
    shares = [plan.measurements // plan.producers + (n < plan.measurements % plan.producers) for n in range(plan.producers)]
    return [list(_calls(plan.rng(f"producer {n}"), f"p{n}", share, now)) for n, share in enumerate(shares)]


def _calls(rng: random.Random, name: str, count: int, now: datetime) -> Iterator[Call]:
    made = 0
    while made < count:
        messages = []
        for _ in range(rng.randint(1, 10)):
            size = min(rng.choices(SIZES, SIZE_WEIGHTS)[0], count - made)
            if size:
                messages.append(_message(rng, [_measurement(rng, f"{name}-{made + n}", now) for n in range(size)]))
                made += size
        yield Call(messages, rng.random() < AGAIN_AT_ONCE, rng.random() < AGAIN_LATE)


def _measurement(rng: random.Random, uid: str, now: datetime) -> dict[str, Any]:
    made_at = now.astimezone(timezone.utc) - timedelta(milliseconds=rng.randint(1_000, 3_600_000))
    return {
        "uid": uid,
        "meter": METER,
        "account": f"account-{rng.randrange(ACCOUNTS)}",
        "ts": made_at.isoformat(timespec="milliseconds"),
        "measure": {"calls": rng.randint(1, 9), "bytes": rng.randint(1, 4_000_000_000), "share": rng.randint(1, 999) / 1_000},
    }


def _message(rng: random.Random, measurements: list[dict[str, Any]]) -> Message:
    bad = {}
    for position, one in enumerate(measurements):
        if rng.random() < BAD_SHARE:
            bad[position] = _spoil(rng, one)
    return Message(_body(rng, measurements), measurements, bad)


def _spoil(rng: random.Random, measurement: dict[str, Any]) -> str:
    """Makes it bad, and returns the reason that the quarantine must give."""
    match rng.randrange(3):
        case 0:
            del measurement["meter"]
            return "MeterMissing"
        case 1:
            del measurement["account"]
            return "AccountMissing"
    measurement["ts"] = "yesterday"
    return "TimestampInvalid"


def _body(rng: random.Random, measurements: list[dict[str, Any]]) -> str:
    match rng.randrange(3):
        case 0:
            return json.dumps({"measurements": measurements})
        case 1:
            return json.dumps(measurements)
    return "\n".join(json.dumps(one) for one in measurements)

"""What became of everything that a run of chaos produced, and whether its faults really happened.

Computed from two lists that are not the relay's: what producers made and sent, and the sandbox's ledger; and from the
objects of the store. The relay's own counts are not looked at. Of its log only one thing counts: which invocations came so
far as to print their line. Those that Lambda began and that did not were killed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from infra.local import function
from infra.local.emulator import DIED, DIED_STARTING
from infra.local.setup import Local
from tests.e2e import messages, quarantine
from tests.e2e.chaos_plan import MEASURES, METER, Message, Plan

UNDER_WAY_SHARE = 0.3
"""Of the kills, at least so many must have ended an invocation. The others hit a process that was waiting, or starting."""
COUNTED_SHARE = 0.05
"""And so many one whose measurements m3ter had counted already: the moment in which everything could be counted twice."""
ENVIRONMENTS = 4
"""As many processes are there at once: the template's MaximumConcurrency."""
SHOWN = 5
"""Examples in the text of a failure."""


@dataclass
class Sent:
    """What one producer, or all of them, put on the queue."""

    messages: list[tuple[str, Message]] = field(default_factory=list)
    """Message id and message; one that was sent twice is here twice, with two ids."""
    repeated: int = 0
    """Messages that were sent again."""


@dataclass
class Told:
    """What is known about a run that is over."""

    plan: Plan
    sent: Sent
    killed: int
    pids: set[int]
    seconds: float
    ledger: dict[str, Any]
    faults: dict[str, Any]
    entries: list[dict[str, Any]]
    left: dict[str, dict[str, int]]
    begun: set[str]
    """Ids of all invocations."""
    spoke: set[str]
    """Ids of those that came as far as to print their line."""
    failed: Counter[str]
    """Invocations that failed as a whole, by Lambda's error type."""


def collect(relay: Local, plan: Plan, sent: Sent, killed: int, pids: set[int], seconds: float) -> Told:
    """Reads everything that the verdict needs."""
    return Told(
        plan=plan,
        sent=sent,
        killed=killed,
        pids=pids,
        seconds=seconds,
        ledger=relay.sandbox.ledger(),
        faults=relay.sandbox.faults(),
        entries=quarantine.entries(relay),
        left={name: messages.waiting(relay, f"{name}Url") for name in ("Queue", "DeadLetterQueue")},
        begun=relay.invocations_begun(),
        spoke={line["requestId"] for line in function.invocations(relay.function_output())},
        failed=relay.invocations_failed(),
    )


def wrong(told: Told) -> list[str]:
    """Everything that is not as it must be; empty if the books balance and the faults happened."""
    return [*_wrong_totals(told), *_wrong_quarantine(told), *_missing_faults(told)]


def _wrong_totals(told: Told) -> list[str]:
    good = {one["uid"]: one for _, message in told.sent.messages for one in message.good()}
    states: dict[str, list[str]] = {}
    altered: list[str] = []
    for line in told.ledger["measurements"]:
        states.setdefault(line["uid"], []).append(line["state"])
        if line["measurement"] != good.get(line["uid"]):
            altered.append(line["uid"])
    counted = told.ledger["meters"].get(METER, {"count": 0, "accounts": 0, "sums": {}})
    totals = told.ledger["totals"]
    found = {name: Decimal(str(total)) for name, total in counted["sums"].items()}
    expected = {name: sum((Decimal(str(one["measure"][name])) for one in good.values()), Decimal(0)) for name in MEASURES}
    faults = [
        _listed("never reached m3ter", good.keys() - states.keys()),
        _listed("reached m3ter, and nobody produced them", states.keys() - good.keys()),
        _listed("not ingested exactly once", [uid for uid, each in states.items() if each.count("ingested") != 1]),
        _listed("neither ingested nor dropped as duplicates", [u for u, each in states.items() if set(each) - ENDS]),
        _listed("not as their producer wrote them", altered),
        _differ("measurements ingested", totals["ingested"], len(good)),
        _differ("measurements counted for the meter", counted["count"], len(good)),
        _differ("sums of the data fields", found, expected),
        _differ("rejected", totals["rejected"], {}),
        _differ("pending", totals["pending"], 0),
    ]
    faults += [
        _differ(f"messages left in {queue}", sum(counts.values()), 0, f": {counts}") for queue, counts in told.left.items()
    ]
    return [fault for fault in faults if fault]


ENDS = {"ingested", "duplicate"}


def _wrong_quarantine(told: Told) -> list[str]:
    expected = {
        (message_id, position, reason) for message_id, message in told.sent.messages for position, reason in message.bad.items()
    }
    once = quarantine.once(told.entries)
    found = {(entry["message_id"], entry["position"], entry["reason"]) for entry in once}
    faults = [
        _listed("planted, and not in the quarantine", [str(one) for one in expected - found]),
        _listed("in the quarantine, and not planted", [str(one) for one in found - expected]),
        _differ("entries of the quarantine, by qid", len(once), len(expected)),
    ]
    return [fault for fault in faults if fault]


def _missing_faults(told: Told) -> list[str]:
    """A run in which too little went wrong has shown nothing."""
    plan, requests = told.plan, seen(told)
    fired, totals, ended = told.faults["fired"], told.ledger["totals"], outcomes(told)
    least = [
        ("kills", told.killed, plan.kills),
        ("invocations that were killed under way", len(under_way(told)), max(1, int(plan.kills * UNDER_WAY_SHARE))),
        ("of them such that m3ter had counted", len(counted_before_death(told)), max(1, int(plan.kills * COUNTED_SHARE))),
        ("answers lost", fired.get("drop-answer", 0), max(1, requests // 10)),
        ("answers 5xx", fired.get("status", 0), max(1, requests // 20)),
        ("tokens fetched by processes that had one", renewals(told), max(1, int(told.seconds / 4))),
        ("duplicates that m3ter dropped", totals["duplicates"], 1),
        ("messages that producers sent again", told.sent.repeated, 1),
        ("planted bad measurements", sum(len(message.bad) for _, message in told.sent.messages), 1),
    ]
    faults = [f"{what}: expected at least {needed:,}, found {found:,}" for what, found, needed in least if found < needed]
    faults += _died_of_themselves(told)
    # The relay keeps m3ter's limits and its rates whatever happens: none of its requests may be turned down.
    faults += [f"{ended[turned]:,} requests {turned}" for turned in ("refused", "throttled", "failed") if ended[turned]]
    return faults


def _died_of_themselves(told: Told) -> list[str]:
    """Invocations that ended otherwise than by an answer or a kill: the relay is back before its time-out, and never crashes."""
    # A kill before a process asked for its first event makes the emulator end the others: each may have had an invocation.
    most = told.killed + (ENVIRONMENTS - 1) * told.failed[DIED_STARTING]
    found = []
    if len(under_way(told)) > most:
        found.append(f"invocations that ended without their line: expected at most {most:,}, found {len(under_way(told)):,}")
    if told.failed.total() < len(under_way(told)):
        found.append(f"the emulator's log accounts for {told.failed.total():,} of {len(under_way(told)):,} invocations that died")
    others = {kind: count for kind, count in told.failed.items() if kind not in (DIED, DIED_STARTING)}
    return [*found, *(f"{count:,} invocations ended with {kind}" for kind, count in others.items())]


def seen(told: Told) -> int:
    """Requests that met the script of faults, for tokens included."""
    return max(rule["seen"] for rule in told.faults["rules"])


def outcomes(told: Told) -> Counter[str]:
    """Ingest requests by what the sandbox made of them."""
    return Counter(request["outcome"] for request in told.ledger["requests"])


def renewals(told: Told) -> int:
    """Tokens that no new process asked for. Each process but the first few replaced one that was killed."""
    return int(told.ledger["totals"]["tokens_issued"]) - told.killed - ENVIRONMENTS


def under_way(told: Told) -> set[str]:
    """The ids of invocations that began and were never able to print their line."""
    return told.begun - told.spoke


def counted_before_death(told: Told) -> set[str]:
    """Those of them of which m3ter had accepted a request: its trace is the invocation's id without dashes."""
    accepted = {
        (request["traceparent"] or "--").split("-")[1] for request in told.ledger["requests"] if request["outcome"] == "accepted"
    }
    return {one for one in under_way(told) if one.replace("-", "") in accepted}


def account(told: Told) -> str:
    """What happened, for a reader."""
    totals, fired, ended = told.ledger["totals"], told.faults["fired"], outcomes(told)
    requests = told.ledger["requests"]
    accepted = [request for request in requests if request["outcome"] == "accepted"]
    twice = len(told.entries) - len(quarantine.once(told.entries))
    planted = sum(len(message.bad) for _, message in told.sent.messages)
    rows: Sequence[tuple[str, int, str]] = [
        ("sent", sum(len(message.measurements) for _, message in told.sent.messages), "measurements, repetitions included"),
        ("messages", len(told.sent.messages), f"{told.sent.repeated:,} of them sent again by producers that retry"),
        ("kills", told.killed, f"SIGKILL; {len(told.pids):,} different processes were seen"),
        (
            "under way",
            len(under_way(told)),
            f"invocations died of it, {told.failed[DIED_STARTING]:,} before their process had started",
        ),
        ("counted", len(counted_before_death(told)), "of them after m3ter had counted, before they could say so"),
        ("invocations", len(told.begun), "all in all"),
        ("requests", seen(told), f"{len(requests):,} with measurements, the others for tokens"),
        ("lost answers", fired.get("drop-answer", 0), "m3ter took the request, and the connection broke"),
        ("5xx", fired.get("status", 0), "500, 502, 503, 504"),
        ("tokens", totals["tokens_issued"], f"issued, each for a second; {ended['unauthorised']:,} requests with an expired one"),
        ("batches", len(accepted), f"accepted; the largest of {max(request['measurements'] for request in requests):,}"),
        ("duplicates", totals["duplicates"], "dropped by m3ter, which had counted a copy"),
        ("quarantined", len(told.entries) - twice, f"of {planted:,} planted; {twice:,} written twice, read once"),
        ("ingested", totals["ingested"], f"once each, of {told.plan.measurements:,} made"),
    ]
    lines = [f"{name:<14}{number:>9,}  {text}" for name, number, text in rows]
    return "\n".join([f"chaos, seed {told.plan.seed}: {told.seconds:.0f} s", *lines])


def _listed(what: str, found: Iterable[str]) -> str | None:
    each = sorted(found)
    return f"{len(each):,} {what}: {', '.join(each[:SHOWN])}" if each else None


def _differ(what: str, found: Any, expected: Any, more: str = "") -> str | None:
    return None if found == expected else f"{what}: expected {_plain(expected)}, found {_plain(found)}{more}"


def _plain(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) or "none" if isinstance(value, Mapping) else str(value)

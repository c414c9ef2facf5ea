"""Chaos with real processes: `python -m tests.e2e.chaos`, which `make chaos` runs.

The shipped binary, deployed by the repository's own template on the emulator, between producers that retry and a sandbox that
loses answers, fails and lets tokens expire each second, while its processes are killed again and again. At the end the books
must balance to the last measurement, and it must be proven that all of this trouble happened: `chaos_books` says how.

When: a kill comes when so many measurements have been ingested as the seed says, and then so many more requests have reached
m3ter. So kills are spread over the run however fast the machine is, and still fall into any moment of an invocation.

Load is bounded: producers stay a few thousand measurements ahead of m3ter, four processes work at a time, and everything
has a deadline. What was started is stopped, whatever happens.

Exit codes: 0 the books balance; 1 they do not, too little trouble happened, or the set-up failed; 130 after Ctrl-C or SIGTERM.
"""

import argparse
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from infra.local.processes import terminate_like_interrupt
from infra.local.setup import Local, local
from infra.local.steps import say
from infra.local.wait import until
from tests.e2e import chaos_books, messages, sdk
from tests.e2e.chaos_books import Sent, Told
from tests.e2e.chaos_plan import MEASURES, METER, Call, Plan, produced

PARAMETERS = {"FunctionTimeoutSeconds": "5", "BatchingWindowSeconds": "1", "RequestsPerSecond": "32"}
"""The shortest time-out with its short visibility timeout, so that a dead invocation's messages come back in half a minute."""
TOKEN_LIFETIME_S = 1

REQUESTS_MOST = 10
"""Most requests to m3ter before a kill: about what an invocation makes here, so that a kill can fall into any part of one."""
KILL_DEADLINE_S = 120.0
"""Longest wait for the next kill's turn. The visibility timeout of 31 s may have to pass if everything at hand died."""
DRAIN_DEADLINE_S = 1_000.0
"""Longest wait for the end. It takes about a minute; but a message that is returned for the seventh time, which is rare,
stays away for up to 900 s."""
REPORT_EVERY = 25
"""Kills between two lines of progress."""


class Stopped(Exception):
    """The run ends early: there is nobody to produce for."""


class Progress:
    """How far producers and m3ter are; shared by threads."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._lock = threading.Lock()
        self._sent = 0
        self._stopped = False
        self.ingested = 0

    def add(self, sent: int) -> None:
        """Notes that so many more measurements are on the queue for the first time."""
        with self._lock:
            self._sent += sent

    def stop(self) -> None:
        """Makes every producer end."""
        self._stopped = True

    def may_send(self) -> bool:
        """Whether m3ter is close enough behind."""
        if self._stopped:
            raise Stopped
        return self._sent - self.ingested < self._ahead


def run(plan: Plan) -> Told:
    """Runs `plan` from nothing, and returns what is known at the end."""
    with local("chaos", PARAMETERS, token_lifetime_s=TOKEN_LIFETIME_S) as relay:
        relay.function_pids()  # raises if the emulator is not ours: then there is nothing to kill
        sdk.create_meter(relay.sandbox, METER, MEASURES)
        if plan.visibility_s:
            messages.set_visibility_timeout(relay, plan.visibility_s)
        for rule in plan.faults():
            relay.sandbox.add_fault(rule)
        calls = produced(plan, datetime.now(timezone.utc))
        good = sum(1 for each in calls for call in each for message in call.messages for _ in message.good())
        progress = Progress(plan.ahead)
        began = time.monotonic()
        with _producing(relay, calls, progress) as producers:
            watch = _Watch(relay, progress, producers)
            killed, pids = _kill(relay, plan, plan.kill_positions(good), watch)
            watch.until(good, DRAIN_DEADLINE_S)
            sent = Sent()
            for producer in producers:
                one = producer.result(timeout=DRAIN_DEADLINE_S)
                sent.messages += one.messages
                sent.repeated += one.repeated
        messages.until_settled(relay, DRAIN_DEADLINE_S)
        return chaos_books.collect(relay, plan, sent, killed, pids, time.monotonic() - began)


@contextmanager
def _producing(relay: Local, calls: list[list[Call]], progress: Progress) -> Iterator[list[Future[Sent]]]:
    """Producers at work for the length of the block, which they do not outlast."""
    relay.client("sqs")  # made here: making a client is not for several threads at once, using it is
    with ThreadPoolExecutor(len(calls)) as pool:
        try:
            yield [pool.submit(_produce, relay, each, progress) for each in calls]
        finally:
            progress.stop()


def _produce(relay: Local, calls: list[Call], progress: Progress) -> Sent:
    """One producer: sends everything once, and some of it again, as if it had not heard that it arrived."""
    sent = Sent()

    def send(call: Call) -> None:
        until(progress.may_send, "m3ter catches up with the producers", KILL_DEADLINE_S)
        ids = messages.send(relay, [message.body for message in call.messages])
        sent.messages += zip(ids, call.messages, strict=True)

    def repeat(call: Call) -> None:
        send(call)
        sent.repeated += len(call.messages)

    for call in calls:
        send(call)
        progress.add(sum(len(message.measurements) for message in call.messages))
        if call.again_at_once:
            repeat(call)
    for call in calls:
        if call.again_late:
            repeat(call)
    return sent


@dataclass(frozen=True)
class _Watch:
    """Looks how far the run is."""

    relay: Local
    progress: Progress
    producers: list[Future[Sent]]

    def ingested(self) -> int:
        """How many measurements are ingested; producers get to know it. Raises what went wrong with them."""
        for producer in self.producers:
            if producer.done():
                producer.result()
        self.progress.ingested = self.relay.sandbox.totals()["ingested"]
        return self.progress.ingested

    def over(self) -> bool:
        """Whether all is sent and the queue is empty: then what is not ingested never will be."""
        return all(producer.done() for producer in self.producers) and not any(messages.waiting(self.relay).values())

    def until(self, position: int, deadline_s: float) -> bool:
        """Waits for so many ingested measurements. False if the run is over before."""
        until(lambda: self.over() or self.ingested() >= position, f"{position:,} measurements are ingested", deadline_s)
        return self.ingested() >= position

    def requests(self, more: int, deadline_s: float) -> None:
        """Waits for so many more requests, or for the end of the run."""
        seen = self.relay.sandbox.totals()["requests"]
        until(
            lambda: self.relay.sandbox.totals()["requests"] >= seen + more or self.over(),
            f"{more} more requests reached m3ter",
            deadline_s,
        )


def _kill(relay: Local, plan: Plan, positions: list[int], watch: _Watch) -> tuple[int, set[int]]:
    """Kills a process of the function at each of `positions`; returns how many, and the ids of all processes that were seen."""
    rng = plan.rng("victims")
    count, seen = 0, set[int]()
    for number, position in enumerate(positions, 1):
        if not watch.until(position, KILL_DEADLINE_S):
            break
        watch.requests(rng.randrange(REQUESTS_MOST), KILL_DEADLINE_S)
        while count < number:
            running = until(relay.function_pids, "a process of the function is there", KILL_DEADLINE_S)
            seen.update(running)
            count += _sigkill(rng.choice(running))
        if number % REPORT_EVERY == 0 or number == len(positions):
            say(f"        {number:,} kills, {watch.ingested():,} measurements ingested")
    return count, seen


def _sigkill(pid: int) -> bool:
    """Kills one process, by its id. False if it was gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    """Runs chaos with the numbers that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description="Kill the deployed function, and count.")
    parser.add_argument("--seed", type=int, default=None, help="what everything follows from (default: a new one, printed)")
    parser.add_argument("--kills", type=int, default=Plan.kills, help="how often (default: %(default)s)")
    parser.add_argument("--measurements", type=int, default=Plan.measurements, help="how many (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.kills < 1 or arguments.measurements < arguments.kills:
        parser.error("expected at least one kill, and at least as many measurements as kills")
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    terminate_like_interrupt()
    try:
        say(f"chaos with seed {seed}")
        told = run(Plan(seed, arguments.measurements, arguments.kills))
    except KeyboardInterrupt:
        say("interrupted; everything was stopped")
        return 130
    except Exception as error:
        say(f"error: {error}")
        return 1
    print(chaos_books.account(told))
    faults = chaos_books.wrong(told)
    print(
        "\n".join(["the books do not balance:", *faults]) if faults else "the books balance, and the faults happened", flush=True
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

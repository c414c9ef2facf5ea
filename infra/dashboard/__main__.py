"""`make dashboard`: runs the demo a few times, and draws the dashboard with what the functions printed.

One demo is over within seconds, so there are several, of different sizes. During one of them m3ter throttles and fails, so
that there is something to see. `ingest-watch` is invoked after each, since the emulator keeps no schedule, and forgets each time
what it did before: it would not do again within seconds what it does every hour. Between two demos a file is uploaded.
"""

import json
import sys
from datetime import datetime, timezone
from urllib.parse import urlsplit

from infra.dashboard.draw import svg
from infra.local import function
from infra.local.processes import running, terminate_like_interrupt
from infra.local.settings import COMMAND_BINARY, ROOT, TEMPLATE, require
from infra.local.setup import Local, local
from infra.local.steps import say, step
from infra.local.wait import until

PICTURE = ROOT / "docs" / "dashboard.svg"

METER = "usage_relay_demo"
"""The demo's own."""
UPLOADED_DEADLINE_S = 60.0
"""Longest wait for a report. A file takes some 3 s."""
CURSOR = "watch/v1/cursor.json"
"""Where `ingest-watch` remembers what it did; without it all is done again, and nothing twice."""

RUNS = ((6_000, 30), (12_000, 60), (30_000, 120), (20_000, 70), (40_000, 150), (10_000, 60), (24_000, 90))
"""Measurements of each demo, and in how many messages."""
TROUBLED = 3
"""The demo in which m3ter throttles and fails; it gets nothing to drop, so the books balance there too."""
TROUBLE = (
    {"fault": {"kind": "status", "status": 429, "retry_after": "1"}, "probability": 0.3, "seed": 1},
    {"fault": {"kind": "status", "status": 503}, "probability": 0.15, "seed": 2},
)


def main() -> int:
    """Writes the picture. Exit code 1 when a demo's books did not balance; then there is no new one."""
    terminate_like_interrupt()
    with local("dashboard") as relay:
        for place, (measurements, messages) in enumerate(RUNS):
            for rule in TROUBLE if place == TROUBLED else ():
                relay.sandbox.add_fault(rule)
            with step(f"demo of {measurements:,} measurements"):
                balanced = _demo(relay, measurements, messages)
            if not balanced:
                say(f"its books do not balance: see {relay.logs}")
                return 1
            relay.sandbox.clear_faults()
            _file(relay, f"{place}.ndjson", rows=measurements // 20, bad=place)
            _watch(relay)
        lines = [line for which in function.FUNCTIONS for line in relay.function_output(which)]
    PICTURE.write_text(svg(TEMPLATE.read_text(), lines))
    say(f"wrote {PICTURE}")
    return 0


def _demo(relay: Local, measurements: int, messages: int) -> bool:
    argv = [require(COMMAND_BINARY), "demo", "--measurements", str(measurements), "--messages", str(messages)]
    argv += ["--queue-url", relay.outputs["QueueUrl"], "--dead-letter-queue-url", relay.outputs["DeadLetterQueueUrl"]]
    argv += ["--store-url", relay.outputs["StoreUrl"], "--sandbox-url", relay.sandbox.url]
    with running(argv, relay.environment(), relay.logs / "demo.log") as command:
        return command.wait() == 0


def _file(relay: Local, name: str, rows: int, bad: int) -> None:
    """Has a file uploaded of which the first `bad` rows have no meter, and waits for its report."""
    now = datetime.now(timezone.utc).isoformat()
    good = {
        "meter": METER,
        "account": "files",
        "ts": now,
        "measure": {"calls": 1, "bytes": 1},
        "what": {"region": "x", "method": "y"},
    }
    found = [{"uid": f"{name}-{row}"} | (good if row >= bad else {}) for row in range(rows)]
    s3, bucket = relay.client("s3"), urlsplit(relay.outputs["UploadsUrl"]).netloc
    s3.put_object(Bucket=bucket, Key=f"uploads/{name}", Body="\n".join(map(json.dumps, found)).encode())

    def reported() -> bool:
        return bool(s3.list_objects_v2(Bucket=bucket, Prefix=f"uploads/{name}.report.json")["KeyCount"])

    until(reported, f"{name} is uploaded", UPLOADED_DEADLINE_S)


def _watch(relay: Local) -> None:
    place = urlsplit(relay.outputs["StoreUrl"])
    relay.client("s3").delete_object(Bucket=place.netloc, Key=f"{place.path.strip('/')}/{CURSOR}")
    answered = relay.client("lambda").invoke(FunctionName=relay.outputs["IngestWatchFunctionName"], Payload=b"{}")
    if "FunctionError" in answered:
        raise RuntimeError(f"ingest-watch failed: see {relay.logs}")


if __name__ == "__main__":
    sys.exit(main())

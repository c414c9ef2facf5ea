"""The commands: `python -m infra.local demo`, `up`, `down` and `serve`.

Exit codes: the command's own; 1 when the set-up failed; 130 after Ctrl-C or SIGTERM.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from infra.local import guide, schedule, up
from infra.local.processes import running, terminate_like_interrupt
from infra.local.settings import CATALOGUE, COMMAND_BINARY, LOCAL, require
from infra.local.setup import Local, local
from infra.local.steps import say


def main() -> int:
    """Runs the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="deploy everything locally, send demo measurements, balance the books")
    demo.add_argument("--measurements", type=int, default=10_000, help="how many to send (default: %(default)s)")
    demo.add_argument("--messages", type=int, default=40, help="in how many messages (default: %(default)s)")
    commands.add_parser("serve", help="deploy everything locally, print how to reach it, and wait for Ctrl-C")
    for name, help in (
        ("up", "leave all of that running, and print how to use it"),
        ("down", "stop what up left running"),
        ("supervise", "what up leaves running; not for people"),
    ):
        command = commands.add_parser(name, help=help)
        command.add_argument("--folder", type=Path, default=LOCAL, help="where it is written down (default: %(default)s)")
    arguments = parser.parse_args()

    terminate_like_interrupt()
    try:
        if arguments.command in ("up", "down", "supervise"):
            return getattr(up, arguments.command)(up.Files(arguments.folder.resolve()))
        if arguments.command == "serve":
            with local("serve", catalogue=CATALOGUE) as relay:
                _serve(relay)
        with local("demo") as relay:
            return _demo(relay, arguments.measurements, arguments.messages)
    except KeyboardInterrupt:
        say("interrupted; everything was stopped")
        return 130
    except Exception as error:
        say(f"error: {error}")
        return 1


def _serve(relay: Local) -> NoReturn:
    """Prints what a shell needs to use the local relay, then waits for a signal."""
    print("# for another shell:")
    print(guide.exports(relay), end="")
    print("# then, for example:")
    print('#   usage-relay send --demo 1000 --queue-url "$QUEUE_URL"')
    print('#   curl "$SANDBOX_URL/_sandbox/ledger"')
    print("# ready; Ctrl-C stops everything", flush=True)
    schedule.keep(relay)


def _demo(relay: Local, measurements: int, messages: int) -> int:
    """Runs `usage-relay demo` against the local relay, and returns its exit code."""
    argv = [require(COMMAND_BINARY), "demo"]
    argv += ["--queue-url", relay.outputs["QueueUrl"], "--dead-letter-queue-url", relay.outputs["DeadLetterQueueUrl"]]
    argv += ["--store-url", relay.outputs["StoreUrl"], "--sandbox-url", relay.sandbox.url]
    argv += ["--measurements", str(measurements), "--messages", str(messages)]
    with running(argv, relay.environment()) as command:
        code = command.wait()
    if code != 0:
        say(f"usage-relay demo ended with {code}; the servers' and the function's output is in {relay.logs}")
        return code
    return _close_the_loop(relay)


def _close_the_loop(relay: Local) -> int:
    """Has ingest-watch fetch what m3ter said later, and holds its word against the sandbox's own count."""
    rejected = sum(relay.sandbox.totals()["rejected"].values())
    answer = relay.watch()
    told = f"{answer['rejected']:,} rejected after they had been accepted are in the quarantine now, with m3ter's reason"
    receipts = f"{answer['receipts']:,} copies it dropped are receipts"
    print(f"\nm3ter's later answer, fetched by ingest-watch: {told}; {receipts}", flush=True)
    if answer["rejected"] != rejected:
        say(f"the sandbox rejected {rejected:,} later: expected as many in the quarantine")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

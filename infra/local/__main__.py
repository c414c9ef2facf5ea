"""The commands: `python -m infra.local demo` and `python -m infra.local up`.

Exit codes: the command's own; 1 when the set-up failed; 130 after Ctrl-C or SIGTERM.
"""

import argparse
import shlex
import signal
import sys

from infra.local.processes import running, terminate_like_interrupt
from infra.local.settings import CATALOGUE, COMMAND_BINARY, require
from infra.local.setup import Local, local
from infra.local.steps import say


def main() -> int:
    """Runs the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="deploy everything locally, send demo measurements, balance the books")
    demo.add_argument("--measurements", type=int, default=10_000, help="how many to send (default: %(default)s)")
    demo.add_argument("--messages", type=int, default=40, help="in how many messages (default: %(default)s)")
    commands.add_parser("up", help="deploy everything locally, print how to reach it, and wait for Ctrl-C")
    arguments = parser.parse_args()

    terminate_like_interrupt()
    try:
        if arguments.command == "up":
            with local("up", catalogue=CATALOGUE) as relay:
                return _up(relay)
        with local("demo") as relay:
            return _demo(relay, arguments.measurements, arguments.messages)
    except KeyboardInterrupt:
        say("interrupted; everything was stopped")
        return 130
    except Exception as error:
        say(f"error: {error}")
        return 1


def _up(relay: Local) -> int:
    """Prints what a shell needs to use the local relay, then waits for a signal."""
    places = {
        "QUEUE_URL": relay.outputs["QueueUrl"],
        "DEAD_LETTER_QUEUE_URL": relay.outputs["DeadLetterQueueUrl"],
        "STORE_URL": relay.outputs["StoreUrl"],
        "SECRET_ARN": relay.outputs["SecretArn"],
        "LOG_GROUP_NAME": relay.outputs["LogGroupName"],
        "SANDBOX_URL": relay.sandbox.url,
    }
    print("# for another shell:")
    for name, value in (relay.emulator.environment() | relay.sandbox.environment() | places).items():
        print(f"export {name}={shlex.quote(value)}")
    print("# then, for example:")
    print(f'#   {shlex.quote(str(COMMAND_BINARY))} send --demo 1000 --queue-url "$QUEUE_URL"')
    print('#   curl "$SANDBOX_URL/_sandbox/ledger"')
    print("# ready; Ctrl-C stops everything", flush=True)
    while True:
        signal.pause()


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

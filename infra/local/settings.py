"""Paths, names and limits of the local set-up, each in one place.

What is absent: anything an operator sets. Those are the template's parameters.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

LOCAL = ROOT / ".local"
"""What the targets install and write; ignored by git, and safe to delete."""

TEMPLATE = ROOT / "template.yaml"
CODE_URI = "target/lambda/{}.zip"
"""Where the template expects the zip of a function, by its name; the local set-up puts an address in its place."""

CATALOGUE = Path(__file__).with_name("catalogue.json")
"""What the sandbox of `up` knows at the start: the meters of made-up measurements and of the producers in docs/producers."""

LAMBDA = ROOT / "target" / "lambda"
"""What `infra.local.build` makes of each function: `NAME/bootstrap` and `NAME.zip`."""

_TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
FUNCTION_BINARY = LAMBDA / "ingest-relay" / "bootstrap"
"""The shipped binary: a release build of the function alone, so that no other crate's features are in it."""
DEAD_LETTER_BINARY = LAMBDA / "dead-letter" / "bootstrap"
"""The same of the function that drains the dead-letter queue."""
INGEST_WATCH_BINARY = LAMBDA / "ingest-watch" / "bootstrap"
"""The same of the function that looks at the quarantine."""
BULK_UPLOAD_BINARY = LAMBDA / "bulk-upload" / "bootstrap"
"""The same of the function that sends files."""
COMMAND_BINARY = _TARGET / "debug" / "usage-relay"
"""The command line. A debug build, because the workspace's tests need one anyway."""

REGION = "us-east-1"
ORG_ID = "sandbox-org"
"""The organisation that the sandbox has unless told otherwise."""
STACK_NAME = "usage-relay-local"
"""What the names of local stacks begin with."""

START_DEADLINE_S = 30.0
"""Longest wait for a server to answer. The emulator takes 1 to 2 s here; a laden CI machine takes several times that."""
DEPLOY_DEADLINE_S = 180.0
"""Longest wait for a stack to be created or deleted. It takes 3 s on MiniStack and 15 s on LocalStack."""


def require(binary: Path) -> Path:
    """Returns `binary`, or says how to build it when it is not there."""
    if not binary.is_file():
        raise FileNotFoundError(f"{binary} is not built: run it through make (`make demo`, `make test`), which builds it")
    return binary

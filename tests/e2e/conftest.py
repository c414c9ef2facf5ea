"""One relay for all tests here: sandbox, emulator and stack are started once, and stopped when the last test is over.

Tests share it, so each uses accounts and uids of its own (`mark`), and looks only at those.
"""

import secrets
from collections.abc import Iterator

import pytest

from infra.local.processes import terminate_like_interrupt
from infra.local.setup import Local, local


def pytest_configure() -> None:
    """SIGTERM must stop what was started, as Ctrl-C does."""
    terminate_like_interrupt()


@pytest.fixture(scope="session")
def relay() -> Iterator[Local]:
    """The running relay, with the function as it is shipped."""
    with local("test") as running:
        yield running


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A text no other test and no other run uses: put it into uids and accounts."""
    return f"{request.node.name[:24]}-{secrets.token_hex(4)}"

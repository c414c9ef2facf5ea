"""One relay for all tests here: sandbox, emulator and stack are started once, and stopped when the last test is over.

Tests share it, so each uses accounts and uids of its own (`mark`), and looks only at those.
"""

import secrets
from collections.abc import Iterator

import pytest

from infra.local.processes import terminate_like_interrupt
from infra.local.setup import Local, local
from tests.e2e import sdk, usage


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM must stop what was started, as Ctrl-C does."""
    terminate_like_interrupt()
    config.addinivalue_line("markers", "last: comes after all others, since it needs time to have passed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what is marked as `last` last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def relay() -> Iterator[Local]:
    """The running relay, with the function as it is shipped."""
    with local("test") as running:
        yield running


@pytest.fixture(scope="session")
def meter(relay: Local) -> str:
    """The id of the meter that `tests.e2e.usage` is about."""
    return sdk.create_meter(relay.sandbox, usage.METER, ["calls"])


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A text no other test and no other run uses: put it into uids and accounts."""
    return f"{request.node.name[:24]}-{secrets.token_hex(4)}"

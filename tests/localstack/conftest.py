"""One relay on LocalStack for all tests here, deployed by the same code from the same template as everywhere.

`make test-localstack` sets LocalStack up first. These are no part of `make test`: they want Python 3.13, and take a minute.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.emulator import given
from infra.local.processes import terminate_like_interrupt
from infra.local.setup import Local, local
from infra.localstack.server import localstack
from tests.e2e import messages, sdk, usage

FUNCTION_TIMEOUT_S = 5
"""The least that the template offers: a test waits for it."""
RETURNS_AFTER_S = FUNCTION_TIMEOUT_S + 3
"""Visibility timeout: the template's is half a minute. Longer than an invocation may take."""


def pytest_configure() -> None:
    """SIGTERM must stop what was started, as Ctrl-C does."""
    terminate_like_interrupt()


@pytest.fixture(scope="session")
def relay() -> Iterator[Local]:
    """The running relay: on the LocalStack that `AWS_ENDPOINT_URL` names, else on one of its own."""
    parameters = {"FunctionTimeoutSeconds": str(FUNCTION_TIMEOUT_S)}
    running = local("localstack", parameters) if given() else local("localstack", parameters, serve=localstack)
    with running as relay:
        assert not relay.emulator.ministack, "AWS_ENDPOINT_URL names a MiniStack: expected a LocalStack"
        # From the start: a receive that goes on when this changes goes by what it was.
        messages.set_visibility_timeout(relay, RETURNS_AFTER_S)
        sdk.create_meter(relay.sandbox, usage.METER, ["calls"])
        yield relay


@pytest.fixture
def files(relay: Local) -> Path:
    """The folder that LocalStack was given."""
    if relay.emulator.files is None:
        pytest.skip("the functions' processes belong to a LocalStack that was not started here")
    return relay.emulator.files


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A text no other test and no other run uses: put it into uids and accounts."""
    return f"{request.node.name[:24]}-{secrets.token_hex(4)}"

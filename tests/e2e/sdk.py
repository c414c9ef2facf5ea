"""m3ter's own Python SDK, aimed at the sandbox."""

from collections.abc import Sequence

from m3ter import M3ter

from infra.local.sandbox import Sandbox
from infra.local.settings import ORG_ID


def client(sandbox: Sandbox, token: str | None = None) -> M3ter:
    """A client with the sandbox's credentials, or with this token. Close it."""
    return M3ter(
        api_key=sandbox.access_key_id,
        api_secret=sandbox.api_secret,
        org_id=ORG_ID,
        base_url=sandbox.url,
        token=token,
    )


def create_meter(sandbox: Sandbox, code: str, measures: Sequence[str]) -> str:
    """Creates a meter with these measures; returns its id."""
    fields = [{"category": "MEASURE", "code": measure, "name": measure, "unit": "{each}"} for measure in measures]
    with client(sandbox) as m3ter:
        return m3ter.meters.create(code=code, name=code, data_fields=fields, derived_fields=[]).id

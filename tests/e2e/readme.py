"""The commands of a section of the README, for tests that run them as they stand."""

import re

from infra.local.settings import ROOT


def commands(heading: str, document: str = "README.md") -> list[str]:
    """The blocks of shell's lines below `heading` of `document`, up to the next heading."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None, f"expected {document} to have a section {heading}"
    blocks = re.findall(r"^```\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)
    assert blocks, f"expected commands below {heading} of {document}"
    return blocks

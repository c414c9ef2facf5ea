"""Packs the function's binary as Lambda takes it: a zip with one executable file named `bootstrap`."""

import io
import zipfile
from pathlib import Path

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: the same binary always gives the same zip."""

REGULAR_EXECUTABLE = 0o100755 << 16
"""A regular file that everyone may run, where a zip keeps Unix modes. Without it Lambda cannot start the function."""


def shipped(binary: Path) -> bytes:
    """The zip for `binary`: the one that was built with it, or one made here where none was."""
    built = binary.parent.with_suffix(".zip")
    return built.read_bytes() if built.is_file() else package(binary)


def package(binary: Path) -> bytes:
    """The zip for `binary`, which must run on Amazon Linux 2023, or, locally, on this machine."""
    entry = zipfile.ZipInfo("bootstrap", FIXED_TIME)
    entry.external_attr = REGULAR_EXECUTABLE
    entry.compress_type = zipfile.ZIP_DEFLATED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=9)  # the smallest: it is unpacked at each cold start
    return packed.getvalue()

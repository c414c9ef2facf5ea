"""The files that are deployed: they start on Lambda, are small, say what is in them, and not where they were built."""

import io
import json
import os
import re
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from infra.local.build import GLIBC, MACHINES, this_architecture
from infra.local.package import FIXED_TIME, package
from infra.local.settings import LAMBDA, ROOT
from tests.e2e.template import FUNCTIONS

ZIP_BYTES_MAX = 6 * 1024 * 1024
"""Lambda takes 50 MB. This is what a cold start has to fetch and unpack."""

LOADED = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libgcc_s.so.1"}
"""What `provided.al2023` has: glibc and GCC's runtime. Nothing else may be needed, not even zlib or OpenSSL."""

AUDITABLE = ".dep-v0"
"""The section that cargo-auditable writes: JSON, compressed by zlib. <https://github.com/rust-secure-code/cargo-auditable>"""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="what is built elsewhere without an architecture is for the demo alone"),
    pytest.mark.parametrize("name", list(FUNCTIONS)),
]


def zipped(name: str) -> Path:
    """The zip of the function `name`."""
    return LAMBDA / f"{name}.zip"


def program(name: str) -> bytes:
    """The program in the zip, as Lambda would unpack it."""
    with zipfile.ZipFile(zipped(name)) as archive:
        return archive.read("bootstrap")


def elf(name: str) -> ELFFile:
    """The same, taken apart."""
    return ELFFile(io.BytesIO(program(name)))


def packages(name: str) -> dict[str, set[str]]:
    """The packages that the program says it was made of, each with its versions."""
    section = elf(name).get_section_by_name(AUDITABLE)
    assert section is not None, f"expected {name} to list what is in it"
    found: dict[str, set[str]] = {}
    for each in json.loads(zlib.decompress(section.data()))["packages"]:
        if each.get("kind", "runtime") == "runtime":
            found.setdefault(each["name"], set()).add(each["version"])
    return found


def test_the_zip_holds_one_program_that_lambda_may_run(name: str) -> None:
    with zipfile.ZipFile(zipped(name)) as archive:
        [entry] = archive.infolist()
    assert (entry.filename, entry.external_attr >> 16, entry.date_time) == ("bootstrap", 0o100755, FIXED_TIME)


def test_what_is_zipped_is_what_the_tests_and_the_demo_run(name: str) -> None:
    binary = LAMBDA / name / "bootstrap"
    assert program(name) == binary.read_bytes()
    assert zipped(name).read_bytes() == package(binary)


def test_the_zip_is_small(name: str) -> None:
    assert zipped(name).stat().st_size <= ZIP_BYTES_MAX


def test_no_newer_glibc_is_needed_than_lambda_has(name: str) -> None:
    needs = elf(name).get_section_by_name(".gnu.version_r")
    assert isinstance(needs, GNUVerNeedSection)
    wanted = {version.name for _, versions in needs.iter_versions() for version in versions}
    glibc = {tuple(map(int, one.removeprefix("GLIBC_").split("."))) for one in wanted if re.fullmatch(r"GLIBC_[0-9.]+", one)}
    assert glibc, "expected the program to say which glibc it needs"
    assert max(glibc) <= tuple(map(int, GLIBC.split(".")))


def test_nothing_is_loaded_that_lambda_does_not_have(name: str) -> None:
    dynamic = elf(name).get_section_by_name(".dynamic")
    needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
    assert "libc.so.6" in needed
    assert {one for one in needed if not one.startswith("ld-linux-")} <= LOADED


def test_it_is_for_the_processor_that_it_says(name: str) -> None:
    machine = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}[elf(name)["e_machine"]]
    assert machine == MACHINES[this_architecture()]


def test_it_lists_the_packages_that_it_is_made_of(name: str) -> None:
    locked = re.findall(r'\[\[package\]\]\nname = "(.+)"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text())
    found = packages(name)
    assert {(one, version) for one, versions in found.items() for version in versions} <= set(locked)
    assert {name, "relay-store", "lambda_runtime", "rustls", "tokio"} <= set(found)
    assert not {"m3ter-sandbox", "clap"} & set(found), "expected nothing of what other crates of the workspace need"


def test_it_does_not_say_where_it_was_built(name: str) -> None:
    content = program(name)
    for folder in (ROOT, Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")):
        assert f"{folder}/".encode() not in content, f"expected no place in {name} to name {folder}"
    assert b"/cargo/registry/" in content, "expected places in the source to have a name that all machines share"

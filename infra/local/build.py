"""Builds functions as they are shipped: `python -m infra.local.build NAME...`.

Each becomes `target/lambda/NAME/bootstrap` and `target/lambda/NAME.zip`. Demo, tests and `make deploy` take these very files.

- Alone, for release: no feature that another crate of the workspace switches on is in it.
- For glibc 2.34, which is what Lambda's `provided.al2023` has. A plain build takes the newest symbols that its machine has, and
  newer systems have newer ones: that such a file starts on Lambda is luck. Zig links against the version that is named, on any
  machine, and compiles the C of aws-lc and zstd for it, too. It is used also where it would not be needed: one way to build, one
  binary to test.
- With the list of the crates in it (cargo-auditable): Amazon Inspector, Trivy, Grype and `cargo audit bin` read it. It is what
  cargo resolved for the workspace, so a few are named whose code only another member switches on; none is left out.
- Without the folders it was built in: the same commit gives the same bytes anywhere. `make reproducible` shows it.

Where there is no Linux, and no architecture is asked for, it is built for that machine, for the demo alone, and without a zip.

In a target folder of its own: cargo takes build scripts that were compiled for zig's linker and for the machine's own for the
same, and would compile nearly everything anew each time that one build follows the other.

What is absent: rustup. What the toolchain lacks is named, and left to you to fetch.
"""

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

from infra.local.package import package
from infra.local.settings import LAMBDA, LOCAL, ROOT

GLIBC = "2.34"
"""Amazon Linux 2023's, and so that of `provided.al2023`."""

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What Rust and Linux call the architectures, by AWS's names."""

CACHES = LOCAL / "zig"
"""What zig and its wrapper keep between builds; else it would be in the user's home."""


class CannotBuild(Exception):
    """Something is missing on this machine; the text says what, and what to do."""


def main() -> int:
    """Builds the functions that are named. Exit code 0; 1 if something is missing or does not compile."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.build", description="Build functions as they are shipped.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="a package below functions/")
    parser.add_argument("--architecture", choices=list(MACHINES), help="Lambda's; that of this machine unless given")
    chosen = parser.parse_args()
    try:
        for name in chosen.names:
            build(name, chosen.architecture)
    except (CannotBuild, subprocess.CalledProcessError) as error:
        print(error if isinstance(error, CannotBuild) else f"{name} was not built", file=sys.stderr)
        return 1
    return 0


def build(name: str, architecture: str | None, root: Path = ROOT) -> Path:
    """Builds the function `name` of the tree at `root`, and returns its zip, or its binary where it is for this machine alone.

    Raises `CannotBuild`, or `CalledProcessError` for code that does not compile.
    """
    if architecture is None and sys.platform != "linux":
        return _build_for_this_machine(name)
    if any(map(str.isspace, str(root))):
        raise CannotBuild(f"{root} has a space in its name, which a C compiler's flags cannot name: clone to another folder")
    machine = MACHINES[architecture or this_architecture()]
    triple = f"{machine}-unknown-linux-gnu"
    _require_target(triple)
    target = _target(root)
    command = ["cargo", "auditable", "zigbuild", "--release", "--locked", "--package", name, "--target", f"{triple}.{GLIBC}"]
    subprocess.run(command, check=True, cwd=root, env=_environment(root, target, triple))
    binary = _place(target / triple / "release" / name, root)
    zipped = binary.parent.with_suffix(".zip")
    _replace(zipped, package(binary))
    return zipped


def this_architecture() -> str:
    """This machine's architecture, by AWS's name for it."""
    machine = platform.machine().lower()
    found = {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
    if found not in MACHINES:
        raise CannotBuild(f"this machine is {machine}: Lambda has {' and '.join(MACHINES)}, so say --architecture")
    return found


def _build_for_this_machine(name: str) -> Path:
    target = _target(ROOT)
    command = ["cargo", "build", "--release", "--locked", "--package", name]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    binary = _place(target / "release" / name, ROOT)
    # One of before would not be what is beside it.
    binary.parent.with_suffix(".zip").unlink(missing_ok=True)
    return binary


def _target(root: Path) -> Path:
    return root / os.environ.get("CARGO_TARGET_DIR", "target") / "functions"


def _place(built: Path, root: Path) -> Path:
    binary = LAMBDA / built.name / "bootstrap" if root == ROOT else root / "target" / "lambda" / built.name / "bootstrap"
    binary.parent.mkdir(parents=True, exist_ok=True)
    _replace(binary, built.read_bytes(), mode=0o755)
    return binary


def _replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Puts `content` at `path` at once: what runs it now keeps what it has. Left alone if it is that already."""
    if path.is_file() and path.read_bytes() == content:
        return
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)


def _require_target(triple: str) -> None:
    asked = ["rustc", "--print", "target-libdir", "--target", triple]
    libraries = Path(subprocess.run(asked, check=True, cwd=ROOT, capture_output=True, text=True).stdout.strip())
    if not libraries.is_dir():
        raise CannotBuild(f"Rust has no standard library for {triple} here: rustup target add {triple}")


def _environment(root: Path, target: Path, triple: str) -> dict[str, str]:
    """Cargo's environment: zig first on the PATH, and the folders of this machine under names that all machines share.

    Flags of the user's are left out: they would give another binary.
    """
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    # The last that fits counts, so the folder inside comes last.
    renamed = {root: "/usage-relay", target: "/usage-relay/target", cargo_home: "/cargo"}
    python = Path(sys.executable).parent
    return {name: value for name, value in os.environ.items() if name not in ("RUSTFLAGS", "CFLAGS")} | {
        "PATH": os.pathsep.join([str(python), os.environ["PATH"]]),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(f"--remap-path-prefix={old}={new}" for old, new in renamed.items()),
        f"CFLAGS_{triple.replace('-', '_')}": " ".join(f"-ffile-prefix-map={old}={new}" for old, new in renamed.items()),
        "CARGO_ZIGBUILD_CACHE_DIR": str(CACHES / "cargo-zigbuild"),
        "ZIG_GLOBAL_CACHE_DIR": str(CACHES / "global"),
        "ZIG_LOCAL_CACHE_DIR": str(CACHES / "local"),
        "CARGO_TARGET_DIR": str(target),
    }


if __name__ == "__main__":
    sys.exit(main())

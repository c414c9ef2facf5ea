"""Writes docs/bench.json, the few figures that `usage-relay cost` needs, from what `make bench` measured.

`make bench && python3 -m infra.bench_figures`. It is a step of its own so that a bench on somebody's busy laptop does not change
a committed file. Production pays for TLS, so an event that was measured with TLS counts in that form; the small one is measured
without.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "target/bench/bench.json"
COMMITTED = ROOT / "docs/bench.json"
# Messages, measurements in each, bytes of each measurement.
SHAPES = [(10, 1, 250), (1_000, 1, 250), (100, 100, 250), (1_000, 1, 1_000)]
WHO = ["relay", "relay-ledger-off", "node", "powertools", "m3ter-sdk"]


def figures(report: dict) -> dict:
    """The committed file's content: microseconds of processor time for each measurement, by contender and event."""
    by_place = {}
    for work in report["works"]:
        shape = work["shape"]
        if not shape["short_handles"]:
            place = (shape["messages"], shape["measurements"], shape["bytes"], work["tls"])
            by_place[place] = {one["name"]: round(one["cpu_us"]["median"], 3) for one in work["contenders"]}
    contenders = {}
    for name in WHO:
        of = {}
        for shape in SHAPES:
            found = by_place.get((*shape, True)) or by_place.get((*shape, False)) or {}
            if name not in found:
                raise SystemExit(f"expected {name} to be measured with the event {shape}: run `make bench`, the whole of it")
            of["x".join(map(str, shape))] = found[name]
        contenders[name] = of
    machine = report["machine"]
    words = f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}"
    return {"date": machine["date"], "machine": words, "contenders": contenders}


def main() -> None:
    """Reads the one and writes the other."""
    try:
        report = json.loads(MEASURED.read_text())
    except OSError:
        sys.exit(f"expected {MEASURED.relative_to(ROOT)}: run `make bench` first")
    COMMITTED.write_text(json.dumps(figures(report), indent=2) + "\n")
    print(f"wrote {COMMITTED.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

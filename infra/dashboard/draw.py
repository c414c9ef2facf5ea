"""Draws the template's dashboard as SVG, light or dark as the reader's screen is, with what functions printed.

    python -m infra.dashboard.draw function.log dead-letter.log ingest-watch.log > dashboard.svg

It looks like CloudWatch's own, not exactly so: the same widgets in the same places, in its colours. Every text is cut to the
room it has, by an estimate of its width, since an SVG cannot wrap and its reader's fonts are not known.

What is absent: a script, a font, a picture, or anything else that would be fetched.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from infra.dashboard.body import Drawn, Widget, widgets
from infra.dashboard.lines import Series, Told, series, told

COLUMN, ROW = 42, 40
"""A cell of CloudWatch's grid, in pixels."""
MARGIN, GAP, PAD = 8, 6, 10
"""Around all, between widgets, and inside one."""
FOOT = 24
"""Room for the line below all."""

PALETTE = (
    ("#1f77b4", "#5aa9e6"),
    ("#ff7f0e", "#ff9f45"),
    ("#2ca02c", "#57c057"),
    ("#d62728", "#f06a6a"),
    ("#9467bd", "#b794db"),
    ("#8c564b", "#c08a7e"),
    ("#e377c2", "#f0a3d6"),
    ("#7f7f7f", "#a8a8a8"),
    ("#bcbd22", "#d0d14f"),
    ("#17becf", "#4fd8e6"),
)
"""CloudWatch's colours in its order, and what they are on a dark screen."""

LIGHT = {"page": "#f2f3f3", "card": "#ffffff", "edge": "#d5dbdb", "grid": "#e4e8e8", "ink": "#16191f", "dim": "#545b64"}
DARK = {"page": "#0f1b2a", "card": "#192534", "edge": "#3a4756", "grid": "#2b3847", "ink": "#e9ebed", "dim": "#a5b0bd"}

SHAPES = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
    ".title{font-size:13px;font-weight:600}.small{font-size:11px}.tiny{font-size:10px}.big{font-size:24px;font-weight:600}"
    ".line{fill:none;stroke-width:1.6}.area{fill-opacity:.75;stroke-width:.5}"
)
"""What is the same by day and night."""

FROM_AWS = "from AWS"
NO_DATA = "nothing in this run"
NOTHING = "\N{EN DASH}"
"""In place of a number."""


def width(text: str, size: float) -> float:
    """About how wide `text` is in a sans-serif of `size` pixels; rather too wide than too narrow."""
    narrow, wide = "iljtfI.,:;|'!()[] ", "mwMW%@"
    return size * sum(0.38 if one in narrow else 0.95 if one in wide else 0.66 for one in text)


def fitted(text: str, size: float, room: float) -> str:
    """`text`, or as much of its beginning as fits into `room` pixels."""
    if width(text, size) <= room:
        return text
    kept = len(text)
    while kept and width(text[:kept].rstrip() + "…", size) > room:
        kept -= 1
    return text[:kept].rstrip() + "…"


def number(value: float) -> str:
    """A number as a person reads it: at most four digits, and thousands as k, millions as M."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * factor or (letter == "M" and abs(value) >= factor):
            return f"{value / factor:.3g}{letter}" if abs(value) < 1000 * factor else f"{value / factor:,.0f}{letter}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.2g}" if abs(value) < 10 else f"{value:,.0f}"


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def svg(template: str, lines: Sequence[str]) -> str:
    """The picture of the dashboard in `template`, with the metrics in `lines`."""
    shown, data = widgets(template), told(lines)
    across = 24 * COLUMN + 2 * MARGIN
    down = max(one.y + one.height for one in shown) * ROW + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down + FOOT}" role="img"'
        ' aria-label="The dashboard, drawn with the metrics of a local run">',
        f"<style>{_style()}</style>",
        f'<rect class="page" width="{across}" height="{down + FOOT}"/>',
    ]
    for one in shown:
        parts += _card(one, data)
    parts.append(_text("small dim", MARGIN + GAP, down + FOOT - 10, fitted(_foot(data), 11, across - 2 * (MARGIN + GAP))))
    return "\n".join([*parts, "</svg>", ""])


def _style() -> str:
    def colours(theme: dict[str, str], which: int) -> str:
        rules = [f".{name}{{fill:{theme[name]}}}" for name in ("page", "ink", "dim")]
        rules += [f".card,.chip{{fill:{theme['card']};stroke:{theme['edge']}}}", f".grid{{stroke:{theme['grid']}}}"]
        for place, pair in enumerate(PALETTE):
            rules.append(f".s{place}{{stroke:{pair[which]}}}.f{place}{{fill:{pair[which]}}}")
        return "".join(rules)

    return f"{SHAPES}{colours(LIGHT, 0)}@media (prefers-color-scheme: dark){{{colours(DARK, 1)}}}"


def _foot(data: Told) -> str:
    seconds = (data.last_ms - data.first_ms) / 1000
    return (
        f"Drawn with what the functions printed in a local run of {seconds:.0f} s, a point every {data.bin_s} s."
        " What only AWS measures is left empty."
    )


def _card(widget: Widget, data: Told) -> Iterator[str]:
    x, y = MARGIN + widget.x * COLUMN + GAP / 2, MARGIN + widget.y * ROW + GAP / 2
    across, down = widget.width * COLUMN - GAP, widget.height * ROW - GAP
    yield f'<g transform="translate({x:.1f} {y:.1f})">'
    yield f'<rect class="card" width="{across}" height="{down}" rx="6"/>'
    # Twice: once to see, once to point at, since a title may be cut.
    yield f"<title>{escape(widget.title)}</title>"
    yield _text("title ink", PAD, PAD + 11, fitted(widget.title, 13, across - 2 * PAD))
    if widget.kind == "alarm":
        yield from _chips([one.removesuffix(".Arn").removesuffix("Alarm") for one in widget.alarms], across)
    elif widget.view == "singleValue":
        yield from _numbers(series(widget, data, whole=True), across, down)
    else:
        yield from _chart(widget, series(widget, data), data, across, down)
    yield "</g>"


def _nothing(why: str, across: float, down: float) -> Iterator[str]:
    yield _text("small dim", across / 2, down / 2 + 10, fitted(why, 11, across - 2 * PAD), "middle")


CHIPS_ABREAST = 6


def _chips(names: Sequence[str], across: float) -> Iterator[str]:
    """Alarms by name, without a colour: what state they are in is not known here."""
    room = (across - 2 * PAD) / CHIPS_ABREAST
    yield _text("small dim", across - PAD, PAD + 11, f"their states come {FROM_AWS}", "end")
    for place, name in enumerate(names):
        x, y = PAD + place % CHIPS_ABREAST * room, PAD + 21 + place // CHIPS_ABREAST * 23
        yield f'<rect class="chip" x="{x:.1f}" y="{y}" width="{room - GAP:.1f}" height="19" rx="4"/>'
        yield _text("tiny dim", x + 8, y + 13, fitted(name, 10, room - GAP - 16))


def _numbers(found: list[tuple[Drawn, str, Series | None]], across: float, down: float) -> Iterator[str]:
    room = (across - 2 * PAD) / len(found)
    for place, (_, label, values) in enumerate(found):
        x = PAD + place * room
        yield _text("big ink" if values else "big dim", x, down / 2 + 16, f"{values[0]:,.0f}" if values else NOTHING)
        note = f" ({FROM_AWS})" if values is None else ""
        yield _text("small dim", x, down - PAD - 4, fitted(label + note, 11, room - PAD))


@dataclass(frozen=True)
class _Plot:
    """The part of a widget in which values stand, in pixels, and what stands at its edges."""

    left: float
    top: float
    right: float
    bottom: float
    bins: int
    most: float

    def x(self, place: float) -> float:
        """Where the bin `place` stands: its middle."""
        return self.left + (self.right - self.left) * (place + 0.5) / self.bins

    def y(self, value: float) -> float:
        """How high `value` stands; what exceeds the axis stands at its end."""
        return self.bottom - (self.bottom - self.top) * min(value / self.most, 1)


def _chart(
    widget: Widget, found: list[tuple[Drawn, str, Series | None]], data: Told, across: float, down: float
) -> Iterator[str]:
    if not any(values for _, _, values in found):
        missing = [values is None for _, _, values in found]
        why = FROM_AWS if missing and all(missing) else f"{NO_DATA}; the rest {FROM_AWS}" if any(missing) else NO_DATA
        yield from _nothing(why, across, down)
        return
    coloured = [(_colour(drawn, place), label, values) for place, (drawn, label, values) in enumerate(found)]
    layers = list(_layers([values or {} for _, _, values in coloured], widget.stacked, data.bins))
    most = widget.axis_max or _round_up(max(max(upper) for _, upper in layers))
    rows = _legend_rows(coloured, across)
    plot = _Plot(PAD + 34, PAD + 34, across - PAD - 4, down - PAD - LEGEND_ROW * len(rows) - 18, data.bins, most)
    yield _text("tiny dim", PAD, PAD + 25, fitted(widget.axis, 10, across - 2 * PAD))
    yield from _axes(plot, data)
    told_at = sorted({one for _, _, values in coloured for one in values or {}})
    # What was listed first lies on top.
    for (colour, _, values), (lower, upper) in reversed(list(zip(coloured, layers, strict=True))):
        if not values:
            continue
        at = told_at if widget.stacked else sorted(values)
        points = [(plot.x(one), plot.y(upper[one])) for one in at]
        if widget.stacked:
            back = [(plot.x(one), plot.y(lower[one])) for one in reversed(at)]
            yield f'<polygon class="area f{colour} s{colour}" points="{_points(points + back)}"/>'
        else:
            yield f'<polyline class="line s{colour}" points="{_points(points)}"/>'
            yield from (f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points)
    yield from _legend(rows, down)


def _axes(plot: _Plot, data: Told) -> Iterator[str]:
    for part in (0, 0.5, 1):
        y = plot.y(part * plot.most)
        yield f'<line class="grid" x1="{plot.left}" y1="{y:.1f}" x2="{plot.right:.1f}" y2="{y:.1f}"/>'
        yield _text("tiny dim", plot.left - 5, y + 3.5, number(part * plot.most), "end")
    for part in (0, 0.5, 1) if plot.bins > 1 else (0,):
        place = part * (plot.bins - 1)
        yield _text("tiny dim", plot.x(place), plot.bottom + 14, f"{round(place * data.bin_s)} s", "middle")


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _colour(drawn: Drawn, place: int) -> int:
    """The number of a colour in the palette."""
    return [light for light, _ in PALETTE].index(drawn.color) if drawn.color else place % len(PALETTE)


def _layers(found: list[Series], stacked: bool, bins: int) -> Iterator[tuple[list[float], list[float]]]:
    """For each series where it begins and ends above the axis, bin by bin. Only stacked ones stand on each other."""
    lower = [0.0] * bins
    for values in found:
        upper = [(below if stacked else 0) + values.get(place, 0) for place, below in enumerate(lower)]
        yield lower, upper
        lower = upper if stacked else lower


def _round_up(value: float) -> float:
    """The next number with a round half: 1, 2, 4, 6 or 10 of some power of ten."""
    power = 1.0
    while value > 10 * power:
        power *= 10
    while 0 < value <= power:
        power /= 10
    return next((step * power for step in (1, 2, 4, 6, 10) if step * power >= value), 1.0) or 1.0


LEGEND_ROW = 14
"""Height of a row of a legend, in pixels."""
LEGEND_ROWS_MAX = 2


def _legend_rows(coloured: list[tuple[int, str, Series | None]], across: float) -> list[list[tuple[int, str, bool, float]]]:
    """The legend in rows: colour, text, whether there is anything to see, and where it begins. What has no room is counted."""
    rows: list[list[tuple[int, str, bool, float]]] = [[]]
    x, room = float(PAD), across - PAD
    for place, (colour, label, values) in enumerate(coloured):
        text = label if values else f"{label} ({FROM_AWS if values is None else NO_DATA})"
        text = fitted(text, 10, room - PAD - 14 - (width("and 99 more", 10) + 22 if len(coloured) > 1 else 0))
        left_over = f"and {len(coloured) - place} more"
        last = place == len(coloured) - 1
        keep = 0 if last or len(rows) < LEGEND_ROWS_MAX else width(left_over, 10) + 14
        if x + 14 + width(text, 10) + keep > room and rows[-1]:
            if len(rows) == LEGEND_ROWS_MAX:
                rows[-1].append((-1, left_over, False, x))
                break
            rows.append([])
            x = float(PAD)
        rows[-1].append((colour, text, bool(values), x))
        x += 14 + width(text, 10) + 8
    return rows


def _legend(rows: list[list[tuple[int, str, bool, float]]], down: float) -> Iterator[str]:
    for above, row in enumerate(reversed(rows)):
        y = down - PAD - LEGEND_ROW * above
        for colour, text, seen, x in row:
            if colour >= 0:
                opacity = "" if seen else ' fill-opacity="0.35"'
                yield f'<rect class="f{colour}"{opacity} x="{x:.1f}" y="{y - 8}" width="9" height="9" rx="2"/>'
            yield _text("tiny dim", x + (13 if colour >= 0 else 0), y, text)


def main() -> None:
    """Reads the files that the arguments name, and prints the picture."""
    parser = argparse.ArgumentParser(prog="python -m infra.dashboard.draw", description=__doc__)
    parser.add_argument("--template", type=Path, default=Path("template.yaml"))
    parser.add_argument("logs", nargs="+", type=Path, help="files with the lines that functions printed")
    arguments = parser.parse_args()
    lines = [line for log in arguments.logs for line in log.read_text().splitlines()]
    sys.stdout.write(svg(arguments.template.read_text(), lines))


if __name__ == "__main__":
    main()

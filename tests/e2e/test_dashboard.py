"""The dashboard of `template.yaml`, and the picture of it: nothing that nobody prints, nothing that was not measured."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from infra.dashboard import body, draw, lines
from infra.local import function
from infra.local.settings import ROOT, TEMPLATE
from infra.local.setup import Local
from tests.e2e import template as stack

FROM_AWS = {
    ("AWS/Lambda", "Duration"): "FunctionName",
    ("AWS/Lambda", "Invocations"): "FunctionName",
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): "QueueName",
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): "QueueName",
    ("AWS/SQS", "NumberOfMessagesSent"): "QueueName",
    ("AWS/SQS", "NumberOfMessagesReceived"): "QueueName",
    ("AWS/SQS", "NumberOfEmptyReceives"): "QueueName",
    ("AWS/SQS", "NumberOfMessagesDeleted"): "QueueName",
}
"""AWS's own metrics that the dashboard may show, each with its dimension."""

RESOURCES = {"FunctionName": r"(\w*)Function", "QueueName": r"QueueName|DeadLetterQueue\.QueueName"}
"""What the value of such a dimension refers to."""

COLUMNS = 24
"""How wide CloudWatch's grid is."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return stack.load()


def _widgets() -> list[body.Widget]:
    return body.widgets(TEMPLATE.read_text())


def _drawn() -> list[tuple[str, body.Drawn]]:
    return [(widget.title, drawn) for widget in _widgets() for drawn in widget.drawn]


def test_the_drawing_reads_the_dashboard_as_cloudformation_does(template: dict[str, Any]) -> None:
    text, _ = stack.properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    assert body.block(TEMPLATE.read_text()) == text


def test_whatever_is_put_in_the_dashboard_is_json_and_every_name_in_it_is_one_of_the_template(template: dict[str, Any]) -> None:
    text, variables = stack.properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    names = {name for name in re.findall(r"\$\{([^!}]+)\}", text) if name != "AWS::Region"}
    assert {name.removesuffix(".Arn").removesuffix(".QueueName") for name in names} <= template[
        "Resources"
    ].keys() | variables.keys()
    assert variables.keys() <= names
    assert json.loads(body.substituted(text, dict.fromkeys(names, "7")))["widgets"]


def test_widgets_fit_the_grid_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in _widgets():
        cells = {(x, y) for x in range(widget.x, widget.x + widget.width) for y in range(widget.y, widget.y + widget.height)}
        assert cells and widget.x >= 0 and widget.x + widget.width <= COLUMNS, widget.title
        assert not taken & cells, widget.title
        taken |= cells
    assert len(taken) == COLUMNS * max(y + 1 for _, y in taken), "expected no holes"


def test_each_widget_has_a_title_of_its_own_and_each_line_a_label() -> None:
    titles = [widget.title for widget in _widgets()]
    assert all(titles) and len(set(titles)) == len(titles)
    for title, drawn in _drawn():
        assert drawn.label or not drawn.visible, title


def test_each_metric_is_printed_by_its_function_with_these_dimensions() -> None:
    looked_at = 0
    for title, drawn in _drawn():
        if drawn.namespace == "UsageRelay":
            dimensions = dict(drawn.dimensions)
            assert frozenset(dimensions) in stack.printed(dimensions["Function"])[drawn.name], f"{title}: {drawn.name}"
            looked_at += 1
        elif drawn.expression and drawn.expression.startswith("SEARCH"):
            found = lines.SEARCH.fullmatch(drawn.expression)
            assert found, title
            namespace, names, source, name, _ = found.groups()
            assert namespace == "UsageRelay"
            assert frozenset(names.split(",")) in stack.printed(source)[name], f"{title}: {name}"
            assert set(re.findall(r"PROP\('Dim\.(\w+)'\)", drawn.label)) == {*names.split(",")} - {"Function"}, title
            looked_at += 1
    assert looked_at > 20


def test_each_metric_of_aws_is_a_known_one_of_a_resource_of_this_stack(template: dict[str, Any]) -> None:
    shown = {(drawn.namespace, drawn.name): drawn for _, drawn in _drawn() if drawn.namespace.startswith("AWS/")}
    assert shown.keys() == FROM_AWS.keys()
    for key, drawn in shown.items():
        [(dimension, value)] = drawn.dimensions
        assert dimension == FROM_AWS[key]
        assert re.fullmatch(RESOURCES[dimension], value), key
        assert value == "QueueName" or value.split(".")[0] in template["Resources"]


def test_each_expression_refers_to_ids_of_its_widget_and_every_hidden_line_is_referred_to(template: dict[str, Any]) -> None:
    _, prices = stack.properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    expressions = 0
    for widget in _widgets():
        ids = [drawn.id for drawn in widget.drawn if drawn.id]
        assert len(set(ids)) == len(ids), widget.title
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in ids), widget.title
        used = set()
        for drawn in widget.drawn:
            if drawn.expression and not drawn.expression.startswith("SEARCH"):
                used |= set(re.findall(r"[A-Za-z_]\w*", drawn.expression)) - prices.keys()
                expressions += 1
        assert used <= set(ids), widget.title
        assert {drawn.id for drawn in widget.drawn if not drawn.visible} <= used, widget.title
    assert expressions >= 6


def test_the_alarm_widget_shows_every_alarm(template: dict[str, Any]) -> None:
    [widget] = [widget for widget in _widgets() if widget.kind == "alarm"]
    # One by a value that is put in: where the sandbox is in m3ter's place, that alarm is not made, and another is shown twice.
    conditional = "NothingTakesMessages"
    shown = [f"{name}Alarm.Arn" if name == conditional else name for name in widget.alarms]
    assert shown == [f"{name}.Arn" for name in stack.alarms(template)]
    _, values = stack.properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    made, other = ({"Fn::GetAtt": f"{name}Alarm.Arn"} for name in (conditional, "UsageWaits"))
    assert values[conditional] == {"Fn::If": [template["Resources"][f"{conditional}Alarm"]["Condition"], made, other]}


def test_the_cost_counts_each_function_with_the_memory_it_has(template: dict[str, Any]) -> None:
    [cost] = [widget for widget in _widgets() if widget.title.startswith("US$")]
    [compute] = [drawn.expression or "" for drawn in cost.drawn if drawn.id == "compute"]
    durations = {drawn.id: dict(drawn.dimensions)["FunctionName"] for drawn in cost.drawn if drawn.name == "Duration"}
    weights = dict(re.findall(r"(ms\d)\*([\d.]+)", compute))
    assert weights.keys() == durations.keys()
    for name, resource in durations.items():
        assert float(weights[name]) == stack.properties(template, resource)["MemorySize"] / 1024


def test_the_prices_are_numbers_and_say_of_when_they_are(template: dict[str, Any]) -> None:
    _, prices = stack.properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    is_arm, arm, x86 = prices.pop("GbSecond")["Fn::If"]
    assert template["Conditions"][is_arm] == {"Fn::Equals": [{"Ref": "Architecture"}, "arm64"]}
    assert (prices.pop("ReasonLabel"), prices.pop("MeterLabel")) == ("${PROP('Dim.Reason')}", "${PROP('Dim.Meter')}")
    assert prices.pop("QueueName") and prices.pop("NothingTakesMessages")
    assert 0.79 < float(arm) / float(x86) < 0.81  # a fifth less, as the parameter's description says
    assert {name: float(price) * 1e6 for name, price in prices.items()} == pytest.approx({"Run": 0.2, "SqsRequest": 0.4})
    assert re.search(r"# US dollars, list prices of us-east-1 in \w+ 20\d\d", TEMPLATE.read_text())


def test_the_deployed_dashboard_is_about_the_deployed_functions_queues_and_alarms(relay: Local) -> None:
    watched = relay.client("cloudwatch")
    found = watched.get_dashboard(DashboardName=relay.outputs["DashboardName"])["DashboardBody"]
    widgets = json.loads(found)["widgets"]
    assert len(widgets) == len(_widgets())
    assert set(re.findall(r"\$\{(\w+)", found)) == {"PROP"}
    words = {
        word
        for widget in widgets
        for metric in widget["properties"].get("metrics", [])
        for word in metric
        if isinstance(word, str)
    }
    names = {relay.outputs[f"{which}FunctionName"] for which in function.FUNCTIONS}
    queues = {relay.outputs[f"{which}QueueUrl"].rsplit("/", 1)[1] for which in ("", "DeadLetter")}
    assert words >= names | queues
    [alarms] = [widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm"]
    # The stack's own: all their names begin as the dashboard's does.
    stack_name = relay.outputs["DashboardName"].rsplit("-Dashboard-", 1)[0]
    pages = watched.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack_name}-")
    assert set(alarms) == {alarm["AlarmArn"] for page in pages for alarm in page["MetricAlarms"]}


# The picture.


def _line(at_ms: int, function: str, values: dict[str, float | list[float]], **dimensions: str) -> str:
    """A line as the functions print it."""
    named = {"Function": f"usage-relay-1a2b-{function}-0A1B2C", **dimensions}
    names = [{"Name": name, "Unit": "Count"} for name in values]
    directive = {"Namespace": "UsageRelay", "Dimensions": [list(named)], "Metrics": names}
    return json.dumps({"message": "x", **named, **values, "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}})


PRINTED = [
    "START RequestId: 1 Version: $LATEST",
    _line(1_000, "Function", {"Found": 10, "Accepted": 8, "QueueLag": 1500, "SubmitLatency": [5, 7, 90], "BatchFill": 50}),
    _line(1_900, "Function", {"Found": 5, "Accepted": 5, "QueueLag": 500, "Attempts": 4, "Throttled": 1, "ServerFault": 0}),
    _line(9_000, "Function", {"Found": 1, "Accepted": 1, "Attempts": 2, "Throttled": 0, "ServerFault": 0, "UnknownAnswer": 0}),
    _line(9_000, "Function", {"Quarantined": 2}, Reason="UidMissing"),
    _line(9_500, "Function", {"Quarantined": 3}, Reason="A<b>&c"),
    _line(9_900, "IngestWatchFunction", {"CursorAgeSeconds": 7200, "Ingested": 6}),
    *(
        _line(
            9_900,
            "IngestWatchFunction",
            {"Rejected": 4 + place},
            Meter="a_meter_with_a_long_name_" * place,
            Reason="UndefinedMeter",
        )
        for place in range(5)
    ),
]


def _shown(title: str, printed: list[str]) -> dict[str, lines.Series | None]:
    [widget] = [widget for widget in _widgets() if widget.title == title]
    return {label: values for _, label, values in lines.series(widget, lines.told(printed))}


def test_what_was_printed_is_added_up_second_by_second() -> None:
    flow = _shown("Flow: measurements", PRINTED)
    assert flow["received"] == {0: 15, 8: 1}
    assert flow["quarantined"] == {}
    lag = _shown("Lag: how old the oldest is", PRINTED)
    assert lag["when delivered"] == {0: 1.5}
    assert lag["waiting in the queue"] is None
    assert _shown("m3ter's time to answer", PRINTED) == {"half within": {0: 7}, "99 of 100 within": {0: 90}}
    # An expression has no value where one of its metrics has none, as in CloudWatch.
    assert _shown("m3ter's answers by class", PRINTED)["accepted or refused"] == {8: 2}
    assert _shown("Watch: age of what is known", PRINTED)["m3ter's events (alarm at 336)"] == {8: 2}


def test_a_search_finds_each_value_of_a_dimension() -> None:
    assert _shown("Quarantined by the relay, by reason", PRINTED) == {"A<b>&c": {8: 3}, "UidMissing": {8: 2}}


def test_what_only_aws_knows_is_not_made_up() -> None:
    [cost] = [widget for widget in _widgets() if widget.title.startswith("US$")]
    assert {values for _, _, values in lines.series(cost, lines.told(PRINTED))} == {None}


def test_lines_without_metrics_are_an_error_and_not_an_empty_picture() -> None:
    with pytest.raises(ValueError, match="embedded metrics"):
        lines.told(["START RequestId: 1", '{"message":"started"}'])


def test_a_long_run_is_cut_into_few_enough_points() -> None:
    told = lines.told([_line(0, "Function", {"Found": 1}), _line(3_600_000, "Function", {"Found": 1})])
    assert told.bins <= lines.BINS_MAX + 1


SVG = "{http://www.w3.org/2000/svg}"


def _check(picture: str) -> None:
    """Holds a picture to what every picture must be: all widgets, and no text that leaves its widget."""
    root = ElementTree.fromstring(picture)
    cards = root.findall(f"{SVG}g")
    assert [card.findtext(f"{SVG}title") for card in cards] == [widget.title for widget in _widgets()]
    sizes = {"title": 13, "small": 11, "tiny": 10, "big": 24}
    for card in cards:
        box = card.find(f"{SVG}rect")
        assert box is not None
        across, down = float(box.get("width", 0)), float(box.get("height", 0))
        for text in card.findall(f"{SVG}text"):
            wide = draw.width(text.text or "", sizes[text.get("class", "").split()[0]])
            left = float(text.get("x", 0)) - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor", "start")]
            assert left >= 0 and left + wide <= across, text.text
            assert 0 < float(text.get("y", 0)) < down, text.text
        for shape in ("polyline", "polygon"):
            for drawn in card.findall(f"{SVG}{shape}"):
                points = [tuple(map(float, point.split(","))) for point in drawn.get("points", "").split()]
                assert points and all(0 <= x <= across and 0 <= y <= down for x, y in points)


def test_every_widget_is_drawn_and_no_text_leaves_its_widget() -> None:
    picture = draw.svg(TEMPLATE.read_text(), PRINTED)
    _check(picture)
    assert "A&lt;b&gt;&amp;c" in picture
    assert "@media (prefers-color-scheme: dark)" in picture


def test_no_title_is_cut() -> None:
    for widget in _widgets():
        room = widget.width * draw.COLUMN - draw.GAP - 2 * draw.PAD
        assert draw.fitted(widget.title, 13, room) == widget.title


def test_the_same_lines_give_the_same_picture() -> None:
    assert draw.svg(TEMPLATE.read_text(), PRINTED) == draw.svg(TEMPLATE.read_text(), PRINTED)


def test_every_colour_of_the_dashboard_is_known_in_the_dark() -> None:
    assert {drawn.color for _, drawn in _drawn() if drawn.color} <= {light for light, _ in draw.PALETTE}


def test_the_picture_in_the_docs_is_of_this_dashboard_and_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "dashboard.svg").read_text()
    _check(picture)
    assert not re.search(r"(href|src|url\(|<script|<image)", picture)
    assert "](docs/dashboard.svg)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (7, "7"), (999, "999"), (2_500, "2,500"), (12_500, "12.5k"), (120_000, "120k"), (3_400_000, "3.4M")],
)
def test_a_number_is_short(value: float, text: str) -> None:
    assert draw.number(value) == text

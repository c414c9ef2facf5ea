"""The alarms of `template.yaml`: each about something that is printed, each with a place that says what to do."""

import re
from typing import Any

import pytest

from infra.local.settings import ROOT
from tests.e2e import template as stack

RING_AT_ONCE = {
    "RejectedLaterAlarm": "Rejected",
    "UnknownTypesAlarm": "UnknownTypes",
    "ReplayDroppedAlarm": "ReplayDropped",
    "DuplicateOfUnknownAlarm": "DuplicateOfUnknown",
    "CalculationErrorsAlarm": "CalculationErrors",
    "SkeletonAccountsAlarm": "SkeletonAccounts",
}
"""Alarms about what m3ter said, of which a single one is too many."""

FROM_AWS = {
    ("AWS/Lambda", "Duration"): "FunctionName",
    ("AWS/Lambda", "Errors"): "FunctionName",
    ("AWS/Lambda", "Throttles"): "FunctionName",
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): "QueueName",
    ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible"): "QueueName",
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): "QueueName",
    ("AWS/SQS", "NumberOfMessagesReceived"): "QueueName",
}
"""AWS's own metrics that alarms look at, each with its dimension."""

RELAY_RINGS_AT_ONCE = {
    "QuarantinedAlarm": "Quarantined",
    "GaveUpAlarm": "GiveUp",
    "UnprovenAlarm": "Unproven",
    "SecretUnreadableAlarm": "SecretUnreadable",
    "StoreFailedAlarm": "StoreFailed",
    "UnrecordedAlarm": "Unrecorded",
    "AccountsMismatchAlarm": "AccountsMismatch",
}
"""Alarms about what the relay itself counted, of which a single one is too many."""

M3TERS_EVENTS_LAST_S = 28 * 24 * 3600
"""How long m3ter keeps its events."""

DONE = ["Find", "Free", "Keep", "Make", "Mend", "Put", "Raise", "Read", "Replay", "See"]
"""What an operator does first when an alarm rings, as its description begins to say it."""

SQS_IN_FLIGHT_MAX = 120_000
"""Messages of a standard queue that can be received and not yet deleted."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return stack.load()


@pytest.mark.parametrize("name", sorted(stack.alarms(stack.load())))
def test_an_alarm_is_about_a_metric_that_its_function_prints_with_these_dimensions(template: dict[str, Any], name: str) -> None:
    for metric in stack.watched(stack.alarms(template)[name]):
        if metric.namespace == "UsageRelay":
            assert frozenset(metric.dimensions) in stack.printed(metric.dimensions["Function"]["Ref"])[metric.name]
        else:
            assert metric.dimensions.keys() == {FROM_AWS[(metric.namespace, metric.name)]}


def test_each_alarm_says_where_to_read_what_to_do_and_it_stands_there(template: dict[str, Any]) -> None:
    operating, files = ((ROOT / "docs" / name).read_text().splitlines() for name in ("OPERATING.md", "FILES.md"))
    named = set()
    for name, alarm in stack.alarms(template).items():
        found = re.search(r'\. See docs/(OPERATING|FILES)\.md, "(.+)"\.$', alarm["AlarmDescription"])
        assert found, name
        document, title = found.groups()
        assert f"### {title}" in (operating if document == "OPERATING" else files), name
        # The table leads there from the name that CloudWatch shows.
        anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        rows = [row for row in operating if row.startswith(f"| `{name.removesuffix('Alarm')}` |")]
        assert len(rows) == 1, name
        place = "" if document == "OPERATING" else f"{document}.md"
        assert f"({place}#{anchor})" in rows[0], name
        named.add(title)
    assert len(named) == len(stack.alarms(template))


def test_each_alarm_says_what_happened_and_then_what_to_do_before_it_says_where_to_read_more(template: dict[str, Any]) -> None:
    for name, alarm in stack.alarms(template).items():
        said, _, _ = alarm["AlarmDescription"].partition(" See docs/")
        happened, *advice = [re.findall(r"[\w']+", sentence) for sentence in re.split(r"(?<=\.) ", said)]
        assert said.endswith(".") and happened[0] not in DONE, name
        assert any(words[0] in DONE and len(words) > 3 for words in advice), f"{name}: {said}"


def test_an_alarm_looks_no_further_back_than_cloudwatch_lets_it(template: dict[str, Any]) -> None:
    periods = {minutes: found["Seconds"] for minutes, found in template["Mappings"]["WatchPeriod"].items()}
    for name, alarm in stack.alarms(template).items():
        [written] = {str(metric.period): metric.period for metric in stack.watched(alarm)}.values()
        for period in periods.values() if isinstance(written, dict) else [written]:
            assert period % 60 == 0, name
            assert period * alarm["EvaluationPeriods"] <= (24 if period < 3600 else 7 * 24) * 3600, name
        assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"], name


def test_every_alarm_says_what_silence_means(template: dict[str, Any]) -> None:
    for name, alarm in stack.alarms(template).items():
        assert alarm["TreatMissingData"] in ("breaching", "notBreaching", "ignore"), name
        assert len(alarm["AlarmDescription"]) <= 1024, name


def test_the_period_of_an_alarm_about_each_look_follows_the_schedule(template: dict[str, Any]) -> None:
    minutes = template["Parameters"]["WatchMinutes"]["AllowedValues"]
    assert template["Mappings"]["WatchPeriod"] == {each: {"Seconds": 60 * int(each)} for each in minutes}
    period = {"Fn::FindInMap": ["WatchPeriod", {"Ref": "WatchMinutes"}, "Seconds"]}
    following = {name for name, alarm in stack.alarms(template).items() if alarm.get("Period") == period}
    assert following == {"WatchNotRunningAlarm", "EventsUnreadableAlarm", "CatalogueOldAlarm"}


@pytest.mark.parametrize(("name", "metric"), RELAY_RINGS_AT_ONCE.items())
def test_what_the_relay_counted_rings_the_first_time(template: dict[str, Any], name: str, metric: str) -> None:
    alarm = stack.alarms(template)[name]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["EvaluationPeriods"]) == (metric, "Sum", 1)
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["TreatMissingData"]) == (
        "GreaterThanThreshold",
        0,
        "notBreaching",
    )
    assert alarm["Dimensions"] == [{"Name": "Function", "Value": {"Ref": "Function"}}]


@pytest.mark.parametrize(("name", "metric"), [("UnknownAnswersAlarm", "UnknownAnswer"), ("ThrottledAlarm", "Throttles")])
def test_what_happens_now_and_then_rings_when_it_happens_again_within_a_quarter_of_an_hour(
    template: dict[str, Any], name: str, metric: str
) -> None:
    alarm = stack.alarms(template)[name]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == (metric, "Sum", 0)
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"], alarm["Period"]) == (2, 3, 300)


def test_an_invocation_that_died_rings_at_once(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["InvocationsFailAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("AWS/Lambda", "Errors", "Sum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["EvaluationPeriods"]) == ("GreaterThanThreshold", 0, 1)


def test_usage_that_waits_for_half_an_hour_rings_and_so_does_what_came_back_for_two_hours(template: dict[str, Any]) -> None:
    waits, returned = (stack.alarms(template)[name] for name in ("UsageWaitsAlarm", "OldestReturnedAlarm"))
    assert (waits["MetricName"], waits["Statistic"], waits["Threshold"]) == ("ApproximateAgeOfOldestMessage", "Maximum", 30 * 60)
    # What was received more than three times is in this one alone.
    assert (returned["MetricName"], returned["Statistic"], returned["Threshold"]) == (
        "OldestReturnedAge",
        "Maximum",
        2 * 3600 * 1000,
    )
    assert returned["Threshold"] < template["Parameters"]["ExhaustAfterDays"]["MinValue"] * 24 * 3600 * 1000
    units = {name: unit for name, unit, _ in stack.metrics("ingest-relay")}
    assert units["OldestReturnedAge"] == "Milliseconds"


def test_messages_in_flight_ring_before_sqs_hands_out_no_more(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["InFlightAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesNotVisible", "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 80_000)
    assert alarm["Threshold"] < SQS_IN_FLIGHT_MAX


def test_messages_that_wait_while_none_is_received_ring_after_the_longest_invocation(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["NothingTakesMessagesAlarm"]
    metrics = {metric.name: (metric.statistic, metric.period) for metric in stack.watched(alarm)}
    # Waiting all the time, and never received: a queue that is read has a number for both, also when it is 0.
    assert metrics == {"ApproximateNumberOfMessagesVisible": ("Minimum", 300), "NumberOfMessagesReceived": ("Sum", 300)}
    shown = [query for query in alarm["Metrics"] if query.get("ReturnData", True)]
    assert [query["Expression"] for query in shown] == ["IF(received > 0, 0, waiting)"]
    assert {query["Id"] for query in alarm["Metrics"]} == {"received", "waiting", "untaken"}
    longest_s = max(map(int, template["Parameters"]["FunctionTimeoutSeconds"]["AllowedValues"]))
    assert longest_s < 300 * alarm["EvaluationPeriods"] and "DatapointsToAlarm" not in alarm


def test_an_invocation_near_its_time_out_used_up_what_it_keeps_for_settling(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["NearTimeoutAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("AWS/Lambda", "Duration", "Maximum")
    place = ["NearTimeout", {"Ref": "FunctionTimeoutSeconds"}, "Milliseconds"]
    assert alarm["Threshold"] == {"Fn::FindInMap": place}
    timeouts = template["Parameters"]["FunctionTimeoutSeconds"]["AllowedValues"]
    found = template["Mappings"]["NearTimeout"]
    assert list(found) == timeouts
    # It has settled 7 s before the time-out and braked 2 s before, in proportion for less than 60 s (relay-core's limits).
    for timeout, near in found.items():
        left_s = int(timeout) - near["Milliseconds"] / 1000
        share = min(int(timeout) / 60, 1)
        assert 2 * share < left_s < 7 * share, timeout


def test_a_watch_that_does_not_run_rings_after_three_looks_are_missing(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["WatchNotRunningAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["EvaluationPeriods"]) == ("Duration", "SampleCount", 3)
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["TreatMissingData"]) == ("LessThanThreshold", 1, "breaching")
    assert "DatapointsToAlarm" not in alarm


def test_one_failure_that_the_next_look_makes_up_for_does_not_ring_and_two_do(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["EventsUnreadableAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("EventsUnreadable", "Maximum", 0)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 3)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_a_night_that_was_not_compared_as_a_whole_rings_at_once(template: dict[str, Any]) -> None:
    # What is compared in part is not compared again: two in a row would never come.
    alarm = stack.alarms(template)["ReconcileFailedAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("ReconcileFailed", "Maximum", 0)
    assert (alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm", 1)) == (1, 1)


def test_a_catalogue_that_was_never_read_or_not_for_six_hours_rings(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["CatalogueOldAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("CatalogueAgeSeconds", "Minimum", 6 * 3600)


@pytest.mark.parametrize(("name", "metric"), RING_AT_ONCE.items())
def test_what_m3ter_said_rings_the_first_time_and_is_over_when_it_says_no_more(
    template: dict[str, Any], name: str, metric: str
) -> None:
    alarm = stack.alarms(template)[name]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["EvaluationPeriods"]) == (metric, "Sum", 1)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_an_old_cursor_rings_while_half_of_m3ters_events_are_still_there(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["CursorOldAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("CursorAgeSeconds", "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", M3TERS_EVENTS_LAST_S // 2)
    assert alarm["TreatMissingData"] == "ignore"


def test_a_difference_rings_until_a_later_night_finds_none(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["UnreconciledAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["EvaluationPeriods"]) == ("Unreconciled", "Maximum", 1)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert alarm["TreatMissingData"] == "ignore"


def test_what_is_not_known_rings_and_does_not_pass_for_nothing(template: dict[str, Any]) -> None:
    soon, unknown = (stack.alarms(template)[name] for name in ("LeavesWindowSoonAlarm", "QuarantineNotLookedAtAlarm"))
    assert soon["TreatMissingData"] == "ignore"
    assert (unknown["MetricName"], unknown["Dimensions"]) == (soon["MetricName"], soon["Dimensions"])
    assert (unknown["Statistic"], unknown["ComparisonOperator"], unknown["Threshold"]) == ("SampleCount", "LessThanThreshold", 1)
    assert unknown["TreatMissingData"] == "breaching"
    assert unknown["Period"] * unknown["EvaluationPeriods"] == 3 * 3600


def test_the_age_of_dead_letters_rings_before_sqs_no_longer_counts_them(template: dict[str, Any]) -> None:
    alarm, queue = stack.alarms(template)["DeadLettersWaitAlarm"], stack.properties(template, "DeadLetterQueue")
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": "DeadLetterQueue.QueueName"}}]
    # A message leaves that metric with its fourth receive.
    assert alarm["Threshold"] + alarm["Period"] * alarm["EvaluationPeriods"] < 3 * queue["VisibilityTimeout"]


def test_each_metric_in_the_code_stands_in_the_docs_as_it_stands_there_with_its_alarms(template: dict[str, Any]) -> None:
    ringing: dict[tuple[str, str], list[str]] = {}
    for name, alarm in stack.alarms(template).items():
        for metric in stack.watched(alarm):
            if metric.namespace == "UsageRelay":
                ringing.setdefault((metric.dimensions["Function"]["Ref"], metric.name), []).append(name.removesuffix("Alarm"))
    documented = (ROOT / "docs" / "STACK.md").read_text().splitlines()
    for package, function in stack.FUNCTIONS.items():
        expected = [
            f"| `{name}` | {unit} | {meaning} | {', '.join(f'`{alarm}`' for alarm in ringing.get((function, name), []))} |"
            for name, unit, meaning in stack.metrics(package)
        ]
        start = documented.index(f"### `{package}`")
        table = [line.replace(" |  |", " | |") for line in documented[start : start + len(expected) + 4]]
        assert table[4:] == [row.replace(" |  |", " | |") for row in expected], package

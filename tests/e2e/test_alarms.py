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

M3TERS_EVENTS_LAST_S = 28 * 24 * 3600
"""How long m3ter keeps its events."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return stack.load()


@pytest.mark.parametrize("name", sorted(stack.alarms(stack.load())))
def test_an_alarm_is_about_a_metric_that_its_function_prints_with_these_dimensions(template: dict[str, Any], name: str) -> None:
    alarm = stack.alarms(template)[name]
    if alarm["Namespace"] == "UsageRelay":
        [function] = [dimension["Value"]["Ref"] for dimension in alarm["Dimensions"] if dimension["Name"] == "Function"]
        dimensions = frozenset(dimension["Name"] for dimension in alarm["Dimensions"])
        assert dimensions in stack.printed(function)[alarm["MetricName"]]
    else:
        assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateAgeOfOldestMessage")


def test_each_alarm_says_where_to_read_what_to_do_and_it_stands_there(template: dict[str, Any]) -> None:
    operating = (ROOT / "docs" / "OPERATING.md").read_text().splitlines()
    named = set()
    for name, alarm in stack.alarms(template).items():
        found = re.search(r'\. See docs/OPERATING\.md, "(.+)"\.$', alarm["AlarmDescription"])
        assert found, name
        assert f"### {found.group(1)}" in operating, name
        # The table leads there from the name that CloudWatch shows.
        anchor = re.sub(r"[^a-z0-9 -]", "", found.group(1).lower()).replace(" ", "-")
        rows = [row for row in operating if row.startswith(f"| `{name.removesuffix('Alarm')}` |")]
        assert len(rows) == 1, name
        assert f"(#{anchor})" in rows[0], name
        named.add(found.group(1))
    assert len(named) == len(stack.alarms(template))


def test_an_alarm_looks_no_further_back_than_cloudwatch_lets_it(template: dict[str, Any]) -> None:
    periods = {minutes: found["Seconds"] for minutes, found in template["Mappings"]["WatchPeriod"].items()}
    for name, alarm in stack.alarms(template).items():
        for period in periods.values() if isinstance(alarm["Period"], dict) else [alarm["Period"]]:
            assert period % 60 == 0, name
            assert period * alarm["EvaluationPeriods"] <= (24 if period < 3600 else 7 * 24) * 3600, name
        assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"], name


def test_the_period_of_an_alarm_about_each_look_follows_the_schedule(template: dict[str, Any]) -> None:
    minutes = template["Parameters"]["WatchMinutes"]["AllowedValues"]
    assert template["Mappings"]["WatchPeriod"] == {each: {"Seconds": 60 * int(each)} for each in minutes}
    period = {"Fn::FindInMap": ["WatchPeriod", {"Ref": "WatchMinutes"}, "Seconds"]}
    following = {name for name, alarm in stack.alarms(template).items() if alarm["Period"] == period}
    assert following == {"WatchNotRunningAlarm", "EventsUnreadableAlarm", "CatalogueOldAlarm"}


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

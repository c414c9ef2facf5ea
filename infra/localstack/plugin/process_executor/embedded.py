"""The metrics in a function's log: CloudWatch's embedded metric format, which LocalStack keeps as plain lines.

On AWS, CloudWatch Logs reads them out of the log. Read here, the template's alarms go by what the function really printed.

As CloudWatch does, a line that is not in the format is passed over, and so is a metric whose value is not there.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

Datum = dict[str, Any]
"""One entry of MetricData, as PutMetricData takes it."""


def metrics(printed: str) -> Iterator[tuple[str, list[Datum]]]:
    """The namespace and the data of each line of `printed` that holds metrics."""
    for line in printed.splitlines():
        try:
            members = json.loads(line)
            about = members["_aws"]
            at = datetime.fromtimestamp(about["Timestamp"] / 1000, timezone.utc)
            for each in about["CloudWatchMetrics"]:
                data = list(_data(members, each["Dimensions"], each["Metrics"], at))
                if data:
                    yield each["Namespace"], data
        except (ValueError, TypeError, KeyError):
            continue


def _data(
    members: dict[str, Any], dimensions: Iterable[list[str]], wanted: Iterable[dict[str, str]], at: datetime
) -> Iterator[Datum]:
    for names in dimensions:
        where = [{"Name": name, "Value": str(members[name])} for name in names]
        for metric in wanted:
            value = members.get(metric["Name"])
            if value is None:
                continue
            what = {"Values": value} if isinstance(value, list) else {"Value": value}
            yield {"MetricName": metric["Name"], "Dimensions": where, "Timestamp": at, "Unit": metric.get("Unit", "None"), **what}

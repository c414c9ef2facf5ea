"""The stack's alarms as LocalStack keeps them, and how to have it look at one now.

LocalStack looks at an alarm when it is put, and then once in all its periods: for some of ours that is once in three hours. So an
alarm is put again, exactly as it is, to be looked at now. Its state then is what LocalStack makes of the metrics it has.
"""

from typing import Any

from infra.local.setup import Local
from infra.local.wait import until

DEADLINE_S = 60.0
"""Longest wait for a state. What it depends on is recorded within a second of an invocation's end."""
LOOK_S = 0.5


def deployed(relay: Local) -> dict[str, dict[str, Any]]:
    """The alarms as they are now, by what the template calls them."""
    stack = relay.outputs["LogGroupName"].removeprefix("/aws/lambda/").removesuffix("-ingest-relay")
    resources = relay.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    names = {found["PhysicalResourceId"]: found["LogicalResourceId"] for found in resources}
    pages = relay.client("cloudwatch").get_paginator("describe_alarms").paginate()
    found = [alarm for page in pages for alarm in page["MetricAlarms"]]
    return {names[alarm["AlarmName"]]: alarm for alarm in found if alarm["AlarmName"] in names}


def until_state(relay: Local, name: str, state: str) -> None:
    """Waits until LocalStack, looking again and again, finds that the alarm is in this `state`."""
    cloudwatch = relay.client("cloudwatch")
    accepted = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    as_it_is = {key: value for key, value in deployed(relay)[name].items() if key in accepted}

    def now() -> str:
        [alarm] = cloudwatch.describe_alarms(AlarmNames=[as_it_is["AlarmName"]])["MetricAlarms"]
        return str(alarm["StateValue"])

    def looked_at() -> bool:
        cloudwatch.put_metric_alarm(**as_it_is)
        until(lambda: now() != "INSUFFICIENT_DATA", f"{name} was looked at", DEADLINE_S)
        return now() == state

    until(looked_at, f"the alarm {name} is {state}", DEADLINE_S, LOOK_S)

"""Deploys `template.yaml` through CloudFormation, and takes it away again.

The template's text goes to CloudFormation unchanged, but for the lines that say where the functions' zips are.

Deleting the stack leaves what the template retains, as it must on AWS: both queues and the store bucket. Locally those
are deleted too, and what the emulator made of its own accord, by their names in this stack only.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.local.emulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Emulator
from infra.local.function import FUNCTIONS, log_groups
from infra.local.settings import CODE_URI, DEPLOY_DEADLINE_S, REGION, STACK_NAME, TEMPLATE
from infra.local.wait import until

LOOK_S = 0.25
"""Pause between two looks at a stack. LocalStack does one thing at a time: each look takes 0.1 s from what is looked at."""

INVOKE_TIMEOUT_S = 300
"""The template gives ingest-watch 290 s: its first round after many tests has thousands of m3ter's events to fetch."""


def client(emulator: Emulator, service: str) -> Any:
    """A client of AWS's own Python SDK for `service`, aimed at the emulator.

    Each call may take 30 s, or as long as the slowest function that it invokes; and is tried once.
    """
    return boto3.client(
        service,
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(
            connect_timeout=5,
            read_timeout=INVOKE_TIMEOUT_S if service == "lambda" else 30,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )


@contextmanager
def deployed(emulator: Emulator, zips: Mapping[str, bytes], parameters: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The stack's outputs, for the length of the block. `zips` holds the code of each function, by its name.

    Then the stack and all it retains are deleted, unless the emulator was started here: it is about to end, and forgets.
    The stack's name is new each time, so that two of these can share an emulator.
    """
    name = f"{STACK_NAME}-{secrets.token_hex(3)}"
    bucket = f"{name}-code"
    keys = {name: f"{hashlib.sha256(code).hexdigest()}.zip" for name, code in zips.items()}
    s3 = client(emulator, "s3")
    s3.create_bucket(Bucket=bucket)
    outputs: dict[str, str] = {}
    try:
        for function, code in zips.items():
            s3.put_object(Bucket=bucket, Key=keys[function], Body=code)
        text = _template({function: f"s3://{bucket}/{key}" for function, key in keys.items()})
        s3.put_object(Bucket=bucket, Key=TEMPLATE.name, Body=text.encode())
        client(emulator, "cloudformation").create_stack(
            StackName=name,
            # From the bucket: a request takes 51,200 bytes of template at most.
            TemplateURL=f"{emulator.url}/{bucket}/{TEMPLATE.name}",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        outputs = _reachable(emulator, _created(emulator, name))
        if emulator.ministack:
            _number_the_concurrency(emulator, outputs["FunctionName"])
        yield outputs
    finally:
        if not emulator.ours:
            _delete(emulator, name, outputs)
            _delete_bucket(s3, bucket)


def _template(places: Mapping[str, str]) -> str:
    """The template's text with the place of each function's zip, by the function's name."""
    text = TEMPLATE.read_text()
    for function, place in places.items():
        code_uri = CODE_URI.format(function)
        if text.count(code_uri) != 1:
            raise ValueError(f"{TEMPLATE} must name {code_uri} once, as the CodeUri of {function}")
        text = text.replace(code_uri, place)
    return text


def _created(emulator: Emulator, name: str) -> dict[str, str]:
    cloudformation = client(emulator, "cloudformation")

    def settled() -> Any:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack

    stack = until(settled, f"the stack {name} is created", DEPLOY_DEADLINE_S, LOOK_S)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [f"  {e['LogicalResourceId']}: {e['ResourceStatusReason']}" for e in events if e.get("ResourceStatusReason")]
        raise RuntimeError("\n".join([f"the stack ended as {stack['StackStatus']}:", *reversed(reasons)]))
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _reachable(emulator: Emulator, outputs: Mapping[str, str]) -> dict[str, str]:
    """The outputs, with queues at the emulator's own address.

    LocalStack names a queue `http://sqs.REGION.HOST:PORT/ACCOUNT/NAME`. That needs DNS, or is no URL at all where HOST is an
    address. Account and name are what it goes by.
    """
    place = urlsplit(emulator.url)
    queues = {name: urlsplit(value) for name, value in outputs.items() if name.endswith("QueueUrl")}
    moved = {name: url._replace(scheme=place.scheme, netloc=place.netloc).geturl() for name, url in queues.items()}
    return {**outputs, **moved}


def _number_the_concurrency(emulator: Emulator, function: str) -> None:
    """Sets the mapping's MaximumConcurrency to the number it has.

    CloudFormation turns a parameter's text into the number a property needs. MiniStack 1.5.33 does not: the mapping gets
    "4" and its poller fails on every look at the queue.
    """
    lambdas = client(emulator, "lambda")
    for mapping in lambdas.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]:
        # Here it is a number already: the SDK made one of the text.
        most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        lambdas.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": most})


def _delete(emulator: Emulator, name: str, outputs: Mapping[str, str]) -> None:
    cloudformation = client(emulator, "cloudformation")
    cloudformation.delete_stack(StackName=name)

    def gone() -> bool:
        try:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return True
            raise
        if stack["StackStatus"] == "DELETE_FAILED":
            raise RuntimeError(f"the stack could not be deleted: {stack.get('StackStatusReason', 'no reason given')}")
        return bool(stack["StackStatus"] == "DELETE_COMPLETE")

    until(gone, f"the stack {name} is deleted", DEPLOY_DEADLINE_S, LOOK_S)
    for queue in ("QueueUrl", "DeadLetterQueueUrl"):
        if queue in outputs:
            client(emulator, "sqs").delete_queue(QueueUrl=outputs[queue])
    if "StoreUrl" in outputs:
        _delete_bucket(client(emulator, "s3"), store_place(outputs)[0])
    logs = client(emulator, "logs")
    for which in FUNCTIONS:
        if f"{which}FunctionName" in outputs:
            for group in log_groups(logs, outputs, which):
                logs.delete_log_group(logGroupName=group)


def store_place(outputs: Mapping[str, str]) -> tuple[str, str]:
    """Bucket and prefix of the store: what `s3://bucket/prefix` names."""
    bucket, _, prefix = outputs["StoreUrl"].removeprefix("s3://").partition("/")
    return bucket, prefix


def _delete_bucket(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for found in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])
    s3.delete_bucket(Bucket=bucket)

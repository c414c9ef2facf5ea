"""Reads the quarantine as anyone could: objects of the store, Zstandard, one JSON entry a line."""

import io
import json
from typing import Any

import zstandard

from infra.local.setup import Local
from infra.local.stack import store_place

FOLDER = "quarantine/v1/"


def entries(relay: Local) -> list[dict[str, Any]]:
    """Every entry, in the order of the objects' names, as written: one written twice is here twice."""
    s3 = relay.client("s3")
    bucket, prefix = store_place(relay.outputs)
    found: list[dict[str, Any]] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/{FOLDER}"):
        for stored in page.get("Contents", []):
            packed = s3.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read()
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True) as plain:
                found += [json.loads(line) for line in plain.read().splitlines()]
    return found


def once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that readers count: one for each `qid`."""
    return list({entry["qid"]: entry for entry in found}.values())

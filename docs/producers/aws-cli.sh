#!/bin/sh
# Sends usage from standard input to the queue: `QUEUE_URL=… sh aws-cli.sh < usage.txt`. Needs the AWS CLI.
# Each line: order line customer time calls. No value may hold a space, a quotation mark or a backslash; a thousand lines at most.
set -eu
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run.
while read -r order line customer at calls || [ -n "$order" ]; do
  printf '{"uid":"%s/line-%s","meter":"api_calls","account":"%s","ts":"%s","measure":{"calls":%s}}\n' \
    "$order" "$line" "$customer" "$at" "$calls"
done >"$body"

# One measurement a line is a message, too. The CLI tries a failed call again by itself, with the same body.
aws sqs send-message --queue-url "$QUEUE_URL" --message-body "file://$body"

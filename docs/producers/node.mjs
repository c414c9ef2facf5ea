// Sends usage from standard input to the queue: `QUEUE_URL=… node node.mjs < usage.ndjson`. Needs @aws-sdk/client-sqs.

import { createInterface } from "node:readline";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

// The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run.
const measurement = ({ order, line, customer, at, calls }) => ({
  uid: `${order}/line-${line}`, meter: "api_calls", account: customer, ts: at, measure: { calls },
});

const sqs = new SQSClient(); // tries a failed call again by itself, with the same body
const found = [];
for await (const line of createInterface({ input: process.stdin })) found.push(measurement(JSON.parse(line)));
for (let start = 0; start < found.length; start += 100) {
  const body = JSON.stringify({ measurements: found.slice(start, start + 100) });
  await sqs.send(new SendMessageCommand({ QueueUrl: process.env.QUEUE_URL, MessageBody: body }));
}

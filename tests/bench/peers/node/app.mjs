// The job in Node, as its documentation suggests: parse each message, submit batches of up to 1,000 measurements over kept
// connections, all at once, and report the messages of a batch that was not accepted, so that SQS brings them again.
//
// A message's measurements stay together, so that a batch's fate is its messages' fate. Bytes are estimated by the messages' own,
// which spares serialising anything twice.
//
// What it does not do, and the relay does: check anything beforehand, find the culprit of a refused batch, quarantine, record, keep to
// m3ter's rate, retry, brake, watch the deadline.
import { Agent, request } from "undici";

const BATCH_MEASUREMENTS_MAX = 1_000;
const BATCH_BYTES_MAX = 500_000; // m3ter takes less than 512,000

const agent = new Agent({ keepAliveTimeout: 20_000, connections: 4 });
const url = `${process.env.M3TER_INGEST_URL}/organizations/${process.env.M3TER_ORG_ID}/measurements`;

let token;

async function bearer() {
  if (token && token.until > Date.now()) return token.header;
  const basic = Buffer.from(`${process.env.M3TER_ACCESS_KEY_ID}:${process.env.M3TER_API_SECRET}`).toString("base64");
  const answer = await request(`${process.env.M3TER_API_URL}/oauth/token`, {
    dispatcher: agent,
    method: "POST",
    headers: { authorization: `Basic ${basic}`, "content-type": "application/json" },
    body: '{"grant_type":"client_credentials"}',
  });
  if (answer.statusCode !== 200) throw new Error(`no token: ${answer.statusCode}`);
  const granted = await answer.body.json();
  token = { header: `Bearer ${granted.access_token}`, until: Date.now() + (granted.expires_in - 300) * 1_000 };
  return token.header;
}

async function submit(batch) {
  const answer = await request(url, {
    dispatcher: agent,
    method: "POST",
    headers: { authorization: await bearer(), "content-type": "application/json" },
    body: JSON.stringify({ measurements: batch.measurements }),
  });
  const { result } = await answer.body.json();
  if (answer.statusCode !== 200 || result !== "accepted") throw new Error(`not accepted: ${answer.statusCode}`);
}

function measurementsOf(body) {
  const parsed = JSON.parse(body);
  return Array.isArray(parsed) ? parsed : (parsed.measurements ?? [parsed]);
}

export async function handler(event) {
  const failed = [];
  const batches = [];
  let open;
  for (const record of event.Records) {
    let measurements;
    try {
      measurements = measurementsOf(record.body);
    } catch (error) {
      console.error(record.messageId, error.message);
      failed.push(record.messageId);
      continue;
    }
    const full =
      open &&
      (open.measurements.length + measurements.length > BATCH_MEASUREMENTS_MAX ||
        open.bytes + record.body.length > BATCH_BYTES_MAX);
    if (!open || full) {
      open = { measurements: [], messages: [], bytes: 0 };
      batches.push(open);
    }
    for (const measurement of measurements) open.measurements.push(measurement);
    open.messages.push(record.messageId);
    open.bytes += record.body.length + 1;
  }
  const outcomes = await Promise.allSettled(batches.map(submit));
  outcomes.forEach((outcome, nth) => {
    if (outcome.status === "rejected") {
      console.error(outcome.reason.message);
      failed.push(...batches[nth].messages);
    }
  });
  return { batchItemFailures: failed.map((itemIdentifier) => ({ itemIdentifier })) };
}

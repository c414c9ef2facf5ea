"""What `make up` prints: how to send to the local relay, and how to see what became of it. And the variables for that.

Every line can be pasted into a shell as it is; a test does so. Each measurement has its uid and time in it, so that pasting
one twice sends the same usage twice, and it counts once: that is the point of a uid.
"""

import json
import shlex
import time
from pathlib import Path

from infra.local.emulator import UP_URL
from infra.local.settings import COMMAND_BINARY, LOCAL, ORG_ID
from infra.local.setup import Local

NODE_FOLDER = LOCAL / "node"
"""Where the Node packages are: Node looks for them beside the program."""

PYTHON = """{python} - <<'END'
import boto3, json, os
used = {measurement}
boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps(used))
END"""

NODE = """(cd {folder} && {node} --input-type=module - <<'END'
import {{ SQSClient, SendMessageCommand }} from "@aws-sdk/client-sqs";
const used = {measurement};
await new SQSClient().send(new SendMessageCommand({{ QueueUrl: process.env.QUEUE_URL, MessageBody: JSON.stringify(used) }}));
END
)"""

AWS = """{aws} --endpoint-url "$AWS_ENDPOINT_URL" sqs send-message --queue-url "$QUEUE_URL" \\
  --message-body {measurement}"""

GUIDE = """\
# The relay runs on this machine, in AWS's and m3ter's stead. `make down` stops it. Logs: {logs}
#
# The queue: {queue_url}
# In each shell, first:
. {env}

# Send with Python (boto3). Again, and it still counts once.
{python}

# Send with Node (AWS SDK v3)
{node}

# Send with the AWS CLI (version 1 takes no notice of AWS_ENDPOINT_URL for SQS, so it is told)
{aws}

# Send a thousand made-up measurements
usage-relay send --demo 1000 --queue-url "$QUEUE_URL"

# What became of the first one? In the ledger within seconds; ingested when m3ter had an hour to object
usage-relay explain {uid}

# What does m3ter say? (m3ter's place is taken by a sandbox, which counts)
curl -s "$SANDBOX_URL/_sandbox/ledger?measurements=false&requests=false"

# See it happen, in a browser, until Ctrl-C
usage-relay console
"""


def exports(relay: Local) -> str:
    """Lines that a shell sources to speak to the relay: the emulator in AWS's place, the sandbox in m3ter's."""
    places = {
        "QUEUE_URL": relay.outputs["QueueUrl"],
        "DEAD_LETTER_QUEUE_URL": relay.outputs["DeadLetterQueueUrl"],
        "STORE_URL": relay.outputs["StoreUrl"],
        "SECRET_ARN": relay.outputs["SecretArn"],
        "LOG_GROUP_NAME": relay.outputs["LogGroupName"],
        "SANDBOX_URL": relay.sandbox.url,
        "M3TER_ORG_ID": ORG_ID,
        "M3TER_API_URL": relay.sandbox.url,
        UP_URL: relay.emulator.url,
    }
    variables = relay.emulator.environment() | relay.sandbox.environment() | places
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(COMMAND_BINARY.parent))}:"$PATH"', ""])


def guide(relay: Local, env: Path) -> str:
    """How to use the relay, as lines for a shell, whose variables are in the file `env`."""
    stamp, ts = time.strftime("%Y%m%d-%H%M%S", time.gmtime()), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def used(sender: str) -> str:
        uid = f"order-{stamp}/{sender}"
        return json.dumps({"uid": uid, "meter": "api_calls", "account": "acme", "ts": ts, "measure": {"calls": 3}})

    tools = LOCAL / "venv" / "bin"
    return GUIDE.format(
        logs=relay.logs,
        queue_url=relay.outputs["QueueUrl"],
        env=shlex.quote(str(env)),
        python=PYTHON.format(python=shlex.quote(str(tools / "python")), measurement=used("python")),
        node=NODE.format(folder=shlex.quote(str(NODE_FOLDER)), node=shlex.quote(str(tools / "node")), measurement=used("node")),
        aws=AWS.format(aws=shlex.quote(str(tools / "aws")), measurement=shlex.quote(used("aws"))),
        uid=f"order-{stamp}/python",
    )

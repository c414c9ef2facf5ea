"""Deploys the relay to AWS: `make deploy ORG=… STACK=… REGION=…`, which runs `python -m infra.deploy`.

Three things only you can say: m3ter's organisation, a name for the stack, and a region. Everything else has a default in the
template, and keeps the value it has when a stack is deployed again. What is missing or wrong is said all at once, before
anything is built.

`sam deploy` does the work: it uploads the zips to a bucket that it keeps for that in each region, and has CloudFormation make
the stack like the template, or leave it as it was. `AWS_ENDPOINT_URL` is where AWS is, if not in the cloud: the tests deploy so.

Only the standard library is used here: the check comes before anything is installed.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.emulator import UP_URL

ROOT = Path(__file__).resolve().parents[1]
SAM = ROOT / ".local" / "sam" / "bin" / "sam"

DEPLOY = "make deploy ORG=01234567-89ab-cdef-0123-456789abcdef STACK=usage-relay REGION=eu-west-1"
OUTPUTS = "make -s outputs STACK=usage-relay REGION=eu-west-1"

TOOLS = (ROOT / "target" / "debug", ROOT / ".local" / "venv" / "bin", SAM.parent)
"""Where usage-relay, aws and sam are, for one who has none; what is on the PATH goes first but for usage-relay."""

SECRET = """\
aws secretsmanager put-secret-value --secret-id "$SECRET_ARN" \\
  --secret-string '{"access_key_id":"…","api_secret":"…"}'"""

LOCAL_SHELL = (
    "this shell sourced what `make up` wrote, so AWS_ENDPOINT_URL is the local emulator: "
    "deploy from a new shell, with AWS's own credentials. Nothing was built or deployed."
)

STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
"""CloudFormation takes 128 characters; this leaves room for what Lambda's names (64) and roles' add to it."""
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
SETTING = re.compile(r"([A-Za-z0-9]+)=(.*)", re.DOTALL)


def main() -> int:
    """Deploys, or only looks at what was asked for. Exit code 0, sam's own, or 64 for what is missing or wrong."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description="Deploy the relay to AWS.")
    parser.add_argument("--org", default="", help="m3ter's id of your organisation")
    parser.add_argument("--stack", default="", help="a name for the stack")
    parser.add_argument("--region", default="", help="where in AWS")
    parser.add_argument("--set", default="", help="other parameters of the template: NAME=VALUE NAME=VALUE, quoted as in a shell")
    parser.add_argument("--architecture", help="what the functions were built for")
    parser.add_argument("--template", type=Path, default=ROOT / "template.yaml")
    parser.add_argument("--check", action="store_true", help="only look at what was asked for")
    parser.add_argument("--outputs", action="store_true", help="only print the outputs of a stack that is there")
    asked = parser.parse_args()
    if not asked.outputs and is_local(os.environ):
        print(LOCAL_SHELL, file=sys.stderr)
        return 64
    faults = list(wrong(None if asked.outputs else asked.org, asked.stack, asked.region, asked.set, asked.template.read_text()))
    if faults:
        print("\n".join([*faults, f"for example: {OUTPUTS if asked.outputs else DEPLOY}"]), file=sys.stderr)
        return 64
    if asked.check:
        return 0
    if asked.outputs:
        print(exports(asked.stack, asked.region, outputs(asked.stack, asked.region)))
        return 0
    parameters = {"M3terOrgId": asked.org}
    parameters |= {"Architecture": asked.architecture} if asked.architecture else {}
    parameters |= settings(asked.set)
    done = sam(*deploy(asked.template, asked.stack, asked.region, parameters))
    if done == 0:
        _say_what_is_next(asked.stack, asked.region)
    return done


def is_local(variables: Mapping[str, str]) -> bool:
    """Whether a shell with these variables sourced what `make up` wrote, and so speaks to that emulator instead of to AWS."""
    url = variables.get("AWS_ENDPOINT_URL")
    return url is not None and url == variables.get(UP_URL)


def wrong(org: str | None, stack: str, region: str, more: str, template: str) -> Iterable[str]:
    """What is missing or wrong, each with what was expected. No `org` is looked at where it is None."""
    text = re.search(r"\n  M3terOrgId:\n(?:    .*\n)*?    AllowedPattern: (\S+)\n    ConstraintDescription: (.*)\n", template)
    if text is None:
        raise ValueError("expected the template to say what M3terOrgId may be")
    if org is not None and not re.fullmatch(text[1], org):
        yield f"ORG is {_shown(org)}: {text[2]}"
    if not STACK.fullmatch(stack):
        yield f"STACK is {_shown(stack)}: must be 1 to 40 letters, digits and -, a letter first, such as usage-relay."
    if not REGION.fullmatch(region):
        yield f"REGION is {_shown(region)}: must be a region of AWS, such as eu-west-1."
    known = set(re.findall(r"\n  (\w+):\n    Type: (?:String|Number|CommaDelimitedList|AWS::\S+|List<\S+>)", template))
    try:
        named = settings(more)
    except ValueError as error:
        yield str(error)
        return
    for name in sorted(named.keys() - known):
        yield f"SET names {name}, which the template does not have: expected one of {', '.join(sorted(known))}."
    for name in sorted(named.keys() & {"M3terOrgId", "Architecture"}):
        yield f"SET names {name}: say it with {'ORG' if name == 'M3terOrgId' else 'ARCHITECTURE'}=…, since more depends on it."


def settings(text: str) -> dict[str, str]:
    """`NAME=VALUE NAME=VALUE` as names and values. Raises `ValueError`, saying what was expected."""
    found = {}
    for word in shlex.split(text):
        pair = SETTING.fullmatch(word)
        if pair is None:
            raise ValueError(f"SET has {word!r}: must be NAME=VALUE, such as LedgerMode=uids.")
        found[pair[1]] = pair[2]
    return found


def deploy(template: Path, stack: str, region: str, parameters: Mapping[str, str]) -> list[str]:
    """The arguments with which sam deploys `template`. A parameter that is not named keeps its value, or has its default."""
    given = [f"ParameterKey={name},ParameterValue={_quoted(value)}" for name, value in parameters.items()]
    options = ["--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    where = ["--template-file", str(template), "--stack-name", stack, "--region", region, "--s3-prefix", stack]
    return ["deploy", *where, *options, "--parameter-overrides", *given]


def _quoted(value: str) -> str:
    # sam would take a comma for the end of the value.
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def sam(*arguments: str) -> int:
    """Runs sam with these arguments, and returns its exit code. It tells nobody about that."""
    return subprocess.run([SAM, *arguments], env=os.environ | {"SAM_CLI_TELEMETRY": "0"}).returncode


def outputs(stack: str, region: str) -> dict[str, str]:
    """The outputs of a deployed stack."""
    command = [SAM, "list", "stack-outputs", "--stack-name", stack, "--region", region, "--output", "json"]
    listed = subprocess.run(command, env=os.environ | {"SAM_CLI_TELEMETRY": "0"}, check=True, capture_output=True, text=True)
    return {output["OutputKey"]: output["OutputValue"] for output in json.loads(listed.stdout)}


def exports(stack: str, region: str, found: Mapping[str, str]) -> str:
    """Lines for a shell: the outputs by the names that docs/OPERATING.md uses, such as `QUEUE_URL`."""
    names = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): value for name, value in found.items()}
    variables = {"STACK": stack, "AWS_REGION": region, "AWS_DEFAULT_REGION": region} | dict(sorted(names.items()))
    ours, *others = (shlex.quote(str(folder)) for folder in TOOLS)
    path = ":".join([ours, '"$PATH"', *others])
    return "\n".join([f"export PATH={path}", *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())])


def _say_what_is_next(stack: str, region: str) -> None:
    print(f"\n# {stack} is deployed to {region}. Its outputs, for a shell:\n{exports(stack, region, outputs(stack, region))}")
    print("\n# Once: give it m3ter's credentials. Until then everything stays in the queue.")
    print(SECRET)
    print(f"\n# Then see that all is well:\nusage-relay doctor --stack-name {stack}")


def _shown(value: str) -> str:
    return repr(value) if value else "missing"


if __name__ == "__main__":
    sys.exit(main())

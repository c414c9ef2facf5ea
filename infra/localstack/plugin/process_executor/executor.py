"""LocalStack's side: an executor that it finds under the name `process`, chosen with LAMBDA_RUNTIME_EXECUTOR=process.

LocalStack makes one executor for each execution environment, starts it with the variables that AWS would set, and has it deal
with one event after the other. What goes wrong is told in the way LocalStack's own executor tells it.
"""

import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from localstack import config
from localstack.aws.connect import connect_to
from localstack.services.lambda_.invocation.executor_endpoint import StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import LambdaRuntimeException, RuntimeExecutor

from .embedded import metrics
from .environment import Environment, StartFailed
from .runtime_api import Event

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"

_recorder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-metrics")
"""Records metrics in the order they were printed, and lets nobody wait for it: LocalStack takes a millisecond for each."""


class ProcessExecutor(RuntimeExecutor):
    """One execution environment of a function, as a process of this machine."""

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id, function_version)
        self._output = Path(tempfile.mkstemp(prefix=f"{function_version.id.function_name}-", suffix=".log")[1])
        self._environment: Environment | None = None

    def start(self, env_vars: dict[str, Any]) -> None:
        """Starts the program with `env_vars`, and waits until it asks for its first event."""
        code = Path(self.function_version.config.code.get_unzipped_code_location())
        variables = {name: str(value) for name, value in env_vars.items()}
        variables |= {"PATH": os.environ["PATH"], "LAMBDA_TASK_ROOT": str(code)}
        self._environment = Environment(code / "bootstrap", variables, self._output)
        try:
            self._environment.start()
        except StartFailed as failed:
            raise StatusErrorException("Environment startup failed", payload=failed.body) from failed

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        """Has the program deal with one event, and records what it printed."""
        assert self._environment is not None
        request_id = payload["invoke-id"]
        body, timeout_s = payload["payload"].encode(), float(self.function_version.config.timeout)
        event = Event(request_id, body, payload["invoked-function-arn"], payload["trace-id"], timeout_s)
        try:
            outcome = self._environment.handle(event)
        except StartFailed as failed:
            raise StatusErrorException("Environment startup failed", payload=failed.body) from failed
        _recorder.submit(_record, self.function_version, outcome.printed)
        version = self.function_version.id.qualifier
        logs = f"START RequestId: {request_id} Version: {version}\n{outcome.printed}END RequestId: {request_id}\n"
        return InvocationResult(request_id, outcome.body, is_error=outcome.failed, logs=logs)

    def stop(self) -> None:
        """Ends the program."""
        if self._environment is not None:
            self._environment.stop()
        self._output.unlink(missing_ok=True)

    def get_address(self) -> str:
        """Where the program can be reached; it is on this machine."""
        return HOST

    def get_endpoint_from_executor(self) -> str:
        """Where the program finds LocalStack: this becomes the host of its AWS_ENDPOINT_URL."""
        return HOST

    def get_runtime_endpoint(self) -> str:
        """A variable that LocalStack sets for its own starter, which is not used here."""
        return f"http://{HOST}:{config.GATEWAY_LISTEN[0].port}/_localstack_lambda/{self.id}"

    def get_logs(self) -> str:
        """Everything the program printed."""
        return self._output.read_text(errors="replace")

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Unpacks the function's zip."""
        if not function_version.config.code:
            raise LambdaRuntimeException("expected a function that is packed as a zip: container images cannot run as a process")
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Leaves what was unpacked: LocalStack deletes it with the function."""


def _record(version: FunctionVersion, printed: str) -> None:
    try:
        cloudwatch = connect_to(aws_access_key_id=version.id.account, region_name=version.id.region).cloudwatch
        for namespace, data in metrics(printed):
            cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    except Exception:
        LOG.exception("metrics that %s printed were not recorded", version.id.function_name)


class ProcessExecutorPlugin(RuntimeExecutorPlugin):
    """What LocalStack looks for."""

    name = "process"

    def load(self, *_args: Any, **_kwargs: Any) -> type[RuntimeExecutor]:
        """The executor's class; LocalStack makes the executors."""
        return ProcessExecutor

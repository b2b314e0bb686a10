"""What orchestration costs: stages that do nothing, run and logged to MLflow like any other.

python -m benchmarks.orchestration --stages 1000 --executor ray
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass

from pipelines import command, lifetime, stack
from pipelines.execute import InlineExecutor, RayExecutor, execute
from pipelines.plan import Plan, Stage
from pipelines.progress import Progress
from pipelines.tracking import Tracking
from pipelines.work import Product, Setting, Work
from workbench.registry import UserError


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Time stages that do nothing."""

    stages: int = 1000
    """How many."""
    executor: str = "ray"
    """ray or inline."""
    address: str = "local"
    """The Ray cluster; local starts one."""
    tracking_uri: str = ""
    """The MLflow server. Not given: the local one."""


def noop(work: Work) -> Product:
    """Nothing, with one metric to log."""
    return Product(metrics={"quality/nothing": 0.0})


def plan_of(stages: int, experiment: str) -> Plan:
    """Independent stages that do nothing, each with a key of its own."""
    unique = time.time_ns()
    return Plan(
        stages=tuple(
            Stage(
                kind="trial",
                body="benchmarks.orchestration:noop",
                key=f"noop-{unique}-{number}",
                name=f"nothing {number}",
                spec=None,
                experiment=experiment,
                params=(("number", str(number)),),
            )
            for number in range(stages)
        )
    )


def measure(arguments: Arguments, uri: str) -> tuple[float, float]:
    """Seconds for all stages, and then for finding out that they are done."""
    tracking = Tracking(uri)
    experiment = tracking.experiment("orchestration benchmark", "Stages that do nothing.")
    execution = tracking.start(experiment, "nothing", lifetime.execution_tags())
    executor = InlineExecutor() if arguments.executor == "inline" else RayExecutor(arguments.address)
    plan = plan_of(arguments.stages, experiment)
    progress = Progress(plan.stages, {}, primary="nothing", concurrency=executor.concurrency)
    began = time.monotonic()
    try:
        outcomes = execute(plan, executor, Setting(tracking_uri=uri, execution=execution), progress)
        seconds = time.monotonic() - began
    finally:
        executor.close()
        tracking.end(execution, "FINISHED")
    failed = sum(outcome.done is None for outcome in outcomes.values())
    if failed:
        raise UserError(f"{failed} stages failed")
    began = time.monotonic()
    found = sum(run.info.status == "FINISHED" for run in tracking.runs([experiment]))
    if found < arguments.stages:
        raise UserError(f"{found} stages found, {arguments.stages} done")
    return seconds, time.monotonic() - began


def main() -> int:
    """Run the benchmark and print its two figures."""

    def run() -> int:
        arguments = command.parse(Arguments, None, program="python -m benchmarks.orchestration")
        with (
            contextlib.nullcontext(arguments.tracking_uri)
            if arguments.tracking_uri
            else stack.tracking_server() as uri
        ):
            seconds, search = measure(arguments, uri)
        print(f"{arguments.stages} stages: {seconds:.1f} s, {1000 * seconds / arguments.stages:.1f} ms each")
        print(f"finding them done: {search:.2f} s")
        return 0

    return command.guarded(
        run, program="benchmarks.orchestration", log_folder=lambda: stack.state_directory() / "logs"
    )


if __name__ == "__main__":
    sys.exit(main())

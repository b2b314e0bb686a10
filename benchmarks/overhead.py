"""What orchestration costs: stages that do nothing, run and logged like any other, and how a study grows with nodes.

python -m benchmarks.overhead
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import run
from benchmarks.report import RESULTS, Report
from pipelines import lifetime, servers, stack
from pipelines.execute import Executor, InlineExecutor, RayExecutor, execute
from pipelines.plan import Plan
from pipelines.progress import Progress
from pipelines.stage import Stage
from pipelines.tracking import Tracking
from pipelines.work import Product, Setting, Work
from workbench.registry import UserError

WAIT_SECONDS = 1.0  # what a stage of the simulated nodes takes, using no CPU
STAGES_A_NODE = 20


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Time stages that do nothing, and stages that wait on clusters of simulated nodes."""

    stages: int = 1000
    """How many stages do nothing."""
    nodes: tuple[int, ...] = (1, 2, 4, 8)
    """Sizes of the simulated clusters, of one CPU a node."""
    tracking_uri: str = ""
    """The MLflow server. Not given: the local one."""
    out: Path = RESULTS
    """Folder for the table as Markdown and JSON."""


def nothing(work: Work) -> Product:
    """Nothing, with one metric to log."""
    return Product(metrics={"quality/nothing": 0.0})


def waiting(work: Work) -> Product:
    """What a stage is to its orchestration that computes for a while."""
    time.sleep(WAIT_SECONDS)
    return nothing(work)


def plan_of(body: str, stages: int, experiment: str) -> Plan:
    """Independent stages, each with a key of its own."""
    unique = time.time_ns()
    return Plan(
        stages=tuple(
            Stage(
                kind="trial",
                body=f"benchmarks.overhead:{body}",
                key=f"{body}-{unique}-{number}",
                name=f"{body} {number}",
                spec=None,
                experiment=experiment,
                params=(("number", str(number)),),
            )
            for number in range(stages)
        )
    )


def seconds_of(body: str, stages: int, executor: Executor, uri: str, experiment: str) -> float:
    """Seconds from the first stage to the last. Raises UserError when one fails."""
    tracking = Tracking(uri)
    execution = tracking.start(experiment, body, lifetime.execution_tags())
    plan = plan_of(body, stages, experiment)
    with open(os.devnull, "w") as silence:
        progress = Progress(
            plan.stages, {}, primary="nothing", concurrency=executor.concurrency, stream=silence
        )
        began = time.monotonic()
        outcomes = execute(plan, executor, Setting(tracking_uri=uri, execution=execution), progress)
        seconds = time.monotonic() - began
    tracking.end(execution, "FINISHED")
    failed = [outcome.reason for outcome in outcomes.values() if outcome.done is None]
    if failed:
        raise UserError(f"{len(failed)} stages failed; the first: {failed[0]}")
    return seconds


@contextlib.contextmanager
def simulated(nodes: int) -> Iterator[RayExecutor]:
    """A cluster of that many nodes of one CPU on this machine, and an executor on it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        executor = RayExecutor(cluster.address)
        try:
            yield executor
        finally:
            executor.close()
    finally:
        cluster.shutdown()


def main() -> int:
    """Run the benchmark; returns its exit status."""

    def measure(arguments: Arguments) -> None:
        os.environ.update(servers.ray_environment(servers.state_directory()))
        report = Report(
            name="overhead",
            title="What orchestration costs",
            how=f"Stages that do nothing, logged to MLflow like any other; and on simulated nodes of one CPU stages "
            f"that wait for {WAIT_SECONDS:g} s, {STAGES_A_NODE} a node, so that an ideal cluster takes "
            f"{STAGES_A_NODE * WAIT_SECONDS:g} s whatever its size.",
        )
        given = arguments.tracking_uri
        with contextlib.nullcontext(given) if given else stack.tracking_server() as uri:
            tracking = Tracking(uri)
            experiment = tracking.experiment("overhead benchmark", "Stages that do nothing.")

            def row(where: str, body: str, stages: int, executor: Executor, ideal: float) -> None:
                seconds = seconds_of(body, stages, executor, uri, experiment)
                report.rows.append(
                    {
                        "stages": f"{stages} {body}",
                        "where": where,
                        "seconds": seconds,
                        "ms a stage": 1000 * (seconds - ideal) / stages,
                        "efficiency": ideal / seconds,
                    }
                )

            row("this process", "nothing", arguments.stages, InlineExecutor(), 0.0)
            executor = RayExecutor("local")
            try:
                row("a local Ray", "nothing", arguments.stages, executor, 0.0)
            finally:
                executor.close()
            for nodes in arguments.nodes:
                with simulated(nodes) as on_nodes:
                    count, ideal = STAGES_A_NODE * nodes, STAGES_A_NODE * WAIT_SECONDS
                    row(f"{nodes} node{'s' * (nodes > 1)}", "waiting", count, on_nodes, ideal)
            began = time.monotonic()
            found = len(tracking.runs([experiment]))
            report.notes.append(f"Finding {found:,} finished stages again: {time.monotonic() - began:.2f} s.")
        report.publish(arguments.out)

    return run(Arguments, measure, name="overhead")


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `python -m pipelines.study step_sweep` plans a study, runs what is to do, and gives its verdict."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import studies
from pipelines import command, describe, errors, lifetime, names, preflight, results, servers, stack, verdict
from pipelines.execute import Executor, InlineExecutor, RayExecutor, execute, require_memory
from pipelines.plan import Plan, apply_cache, plan, with_fit_cpus, with_fit_memory
from pipelines.progress import Progress, duration
from pipelines.request import Arguments, Request, checked
from pipelines.staging import data_label
from pipelines.tracking import Tracking, done_from, require_server
from pipelines.work import Outcome, Setting

LOG = logging.getLogger("pipelines.study")  # its name as a module, also when it is run
PROGRAM = "python -m pipelines.study"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status: 0, 1 when trials failed, 2 for a mistake of the user's."""

    def run() -> int:
        arguments = command.parse(Arguments, argv, program=PROGRAM)
        if arguments.list:
            for name in studies.names():
                print(f"{name:20} {studies.study(name).question}")
            return 0
        return run_study(checked(arguments))

    return command.guarded(run, program=PROGRAM, log_folder=log_folder)


def log_folder() -> Path:
    """Where log files go: beside the local MLflow store."""
    return servers.state_directory() / "logs"


def run_study(request: Request) -> int:
    """Execute a study; returns 1 when trials failed, else 0."""
    planned = plan(request.study, request.data, request.scale, request.seeds)
    with _server(request.tracking_uri) as uri:
        tracking = Tracking(uri)
        experiments = {
            names.FITS: tracking.experiment(names.FITS, describe.FITS_NOTE),
            request.study.name: tracking.experiment(request.study.name, describe.note(request.study)),
        }
        runs = tracking.runs(list(experiments.values()))
        lifetime.end_abandoned(tracking, runs)
        finished = [run for run in runs if run.info.status == "FINISHED" and names.TAG_KEY in run.data.tags]
        planned = apply_cache(planned, ((run.data.tags, done_from(run)) for run in finished), experiments)
        planned = with_fit_cpus(planned, request.fit_cpus)
        found = preflight.check(planned.to_do, request.data, request.location)
        planned, estimates = with_fit_memory(planned, found.memory), found.seconds
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        print(
            describe.plan_text(planned, request, estimates, concurrency=cpus, each=request.dry_run),
            flush=True,
        )
        if request.dry_run:
            return 0
        tracking.mark_superseded(runs, planned)
        with _executor(request, planned) as executor:
            require_memory(planned, found.memory, executor)
            return _execute(request, planned, executor, tracking, experiments, estimates)


def _execute(
    request: Request,
    planned: Plan,
    executor: Executor,
    tracking: Tracking,
    experiments: Mapping[str, str],
    estimates: Mapping[str, float],
) -> int:
    began = time.monotonic()
    experiment = experiments[request.study.name]
    name = f"{request.study.name}, {data_label(request.data)} {request.scale}, {len(request.seeds)} seeds"
    execution = tracking.start(experiment, name, lifetime.execution_tags())
    try:
        with lifetime.heartbeat(tracking, execution):
            tracking.log(execution, params=describe.parameters(request, planned))
            _upload(tracking, execution, describe.documents(planned, estimates, executor.description))
            setting = Setting(
                tracking_uri=tracking.uri,
                execution=execution,
                data_location=request.location,
                concurrency=executor.concurrency,
            )
            primary, concurrency = request.study.primary, executor.concurrency
            progress = Progress(planned.to_do, estimates, primary=primary, concurrency=concurrency)
            ended = execute(planned, executor, setting, progress)
            tracking.end_running(list(experiments.values()), execution, "its attempt was lost")
            _conclude(request, planned, ended, tracking, execution, time.monotonic() - began)
        failed = [outcome for outcome in ended.values() if outcome.done is None]
        summary = f"{len(failed)} of {len(planned.stages)} stages failed" if failed else ""
        tracking.end(execution, "FAILED" if failed else "FINISHED", summary)
    except BaseException as error:
        executor.cancel()
        _cut_short(error, tracking, list(experiments.values()), execution)
        raise
    print(f"MLflow: {names.experiment_page(tracking.uri, experiment)}")
    if failed:
        print(f"error: {summary}; the first: {failed[0].reason}", file=sys.stderr)
    return command.FAILURE if failed else 0


def _cut_short(error: BaseException, tracking: Tracking, experiments: list[str], execution: str) -> None:
    """Leave nothing RUNNING of an execution that did not come to its end."""
    stopped = errors.stopped(error) is not None
    status, reason = ("KILLED", "stopped by the user") if stopped else ("FAILED", errors.reason(error))
    try:
        require_server(tracking.uri)  # rather than wait for one that is gone
        lifetime.end_all(tracking, experiments, execution, status, reason)
    except Exception as second:  # noqa: BLE001 - the first error is the one to tell
        LOG.error("could not end what was running: %s", second)
        print("what was running is marked when the study is next started", file=sys.stderr)


def _conclude(
    request: Request,
    planned: Plan,
    ended: Mapping[str, Outcome],
    tracking: Tracking,
    execution: str,
    seconds: float,
) -> None:
    """Decide the claims from the trials of this plan, store the decisions, and print them."""
    table = results.trials(tracking.uri, request.study.name)
    table = table[table["key"].isin([stage.key for stage in planned.stages])]
    decisions = verdict.decide(request.study, table)
    _upload(
        tracking,
        execution,
        {"verdict.json": describe.verdict_json(decisions), "trials.csv": table.to_csv(index=False)},
    )
    metrics = describe.execution_metrics(planned, ended, seconds)
    tracking.log(execution, metrics=metrics, tags={names.TAG_VERDICT: describe.verdict_tag(decisions)})
    print(
        f"\n{describe.table_text(table, request.study)}\n\n{describe.verdict_text(request.study, decisions)}"
    )
    if ended:
        _store_report(request, tracking, execution)
    print(f"\n{len(planned.stages)} stages, {len(ended)} of them run, in {duration(seconds)}")


def _store_report(request: Request, tracking: Tracking, execution: str) -> None:
    """Keep the answer sheet with the run of the execution. A page that fails takes back no result."""
    from pipelines import report  # imports what draws charts, which an execution with nothing new can spare

    with tempfile.TemporaryDirectory(prefix="workbench-report-") as folder:
        try:
            data = data_label(request.data)
            report.write(request.study, tracking.uri, Path(folder), data=data, scale=request.scale)
        except Exception as error:
            LOG.warning("the report could not be written", exc_info=error)
            return
        tracking.client.log_artifacts(execution, folder, "report")


def _upload(tracking: Tracking, run_id: str, documents: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        for name, text in documents.items():
            (Path(folder) / name).write_text(text)
        tracking.upload(run_id, Path(folder))


@contextlib.contextmanager
def _server(asked: str) -> Iterator[str]:
    """The tracking URI that was asked for, else that of the stack."""
    with contextlib.nullcontext(asked) if asked else stack.tracking_server() as uri:
        require_server(uri)
        yield uri


@contextlib.contextmanager
def _executor(request: Request, planned: Plan) -> Iterator[Executor]:
    """The executor that was asked for; none is started where nothing is to do."""
    if request.executor == "inline" or not planned.to_do:
        yield InlineExecutor()
        return
    executor = RayExecutor(request.address)
    print(f"on {executor.description}", flush=True)
    try:
        yield executor
    finally:
        executor.close()


if __name__ == "__main__":
    sys.exit(main())

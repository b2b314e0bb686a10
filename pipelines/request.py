"""What is asked of an execution: the arguments of the command line, and the same checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import studies
from workbench.expansion import default_seeds
from workbench.presets.common import SIZES
from workbench.registry import UserError, unknown
from workbench.spec import SCALES, DataSpec, Scale, Study

EXECUTORS = ("ray", "inline")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Plan a study, run what is to do, and decide its claims. What was done before is found in MLflow and kept."""

    study: tyro.conf.Positional[str] = ""
    """The study to run; --list names them all."""
    list: bool = False
    """Name every study with its question, and end."""
    data: str = "digits"
    """digits, fashion_mnist, cifar10, or a path: a folder with one subfolder of images a class, or an .npz file."""
    scale: str = "quick"
    """smoke (does it run?), quick (minutes on a laptop), standard (an hour or two on two cores) or full (a GPU)."""
    seeds: tuple[int, ...] = ()
    """Training seeds, as in `--seeds 0 1 2`. None given: as many as the scale asks for."""
    dry_run: bool = False
    """Show the plan (stages, cached or to do, estimated cost), and end."""
    executor: str = "ray"
    """ray (as many stages at a time as there are CPUs) or inline (one after the other in this process)."""
    address: str = ""
    """The Ray cluster: host:port, auto (one that runs here) or local (a new one). Default: RAY_ADDRESS, else local."""
    tracking_uri: str = ""
    """The MLflow server. Not given: MLFLOW_TRACKING_URI, else the local one."""
    fit_cpus: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """CPUs for each training. 0: 1 where many are to do, 2 where there are few long ones."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments, checked."""

    study: Study
    data: DataSpec
    location: Path | None
    scale: Scale
    seeds: tuple[int, ...]
    dry_run: bool
    executor: str
    address: str | None
    tracking_uri: str
    fit_cpus: int


def checked(arguments: Arguments) -> Request:
    """The arguments as values. Raises UserError for one that is not known."""
    if not arguments.study:
        raise UserError(f"study: none given; known: {', '.join(studies.names())}")
    study = studies.study(arguments.study)
    if arguments.scale not in SCALES:
        raise unknown("scale", arguments.scale, SCALES)
    scale: Scale = arguments.scale
    if arguments.executor not in EXECUTORS:
        raise unknown("executor", arguments.executor, EXECUTORS)
    if arguments.address and arguments.executor == "inline":
        raise UserError(
            "address: the inline executor runs in this process and joins no cluster; leave out one of them"
        )
    if arguments.fit_cpus < 0:
        raise UserError(f"fit-cpus: {arguments.fit_cpus} given; a whole number from 0 is needed, 0 to choose")
    data, location = data_spec(arguments.data)
    return Request(
        study=study,
        data=data,
        location=location,
        scale=scale,
        seeds=arguments.seeds or default_seeds(scale),
        dry_run=arguments.dry_run,
        executor=arguments.executor,
        address=arguments.address or None,
        tracking_uri=arguments.tracking_uri,
        fit_cpus=arguments.fit_cpus,
    )


def data_spec(text: str) -> tuple[DataSpec, Path | None]:
    """A data set by name, or the user's own by path. Raises UserError for what is neither."""
    if text in SIZES:
        return DataSpec(name=text), None
    path = Path(text).expanduser().resolve()
    if not path.exists() and not {"/", "."} & set(text):
        raise unknown("data", text, SIZES)
    from workbench.data import (
        from_path,  # imports torch, which an execution that finds everything done can spare
    )

    return from_path(path), path

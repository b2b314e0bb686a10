"""What the stages of the tests do."""

from __future__ import annotations

import errno
import os
import signal

import torch

from pipelines import errors, shared
from pipelines.tracking import Damaged
from pipelines.work import Product, Work
from workbench.training import Diverged


def writes(work: Work) -> Product:
    (work.folder / "result.txt").write_text(f"of {work.stage.name}, from {sorted(work.inputs)}")
    return Product(metrics={"quality/value": 2.0}, curves=(("train/loss", 10, 0.5), ("train/loss", 20, 0.25)))


def counts_threads(work: Work) -> Product:
    shared.execution(work)
    return Product(metrics={"cost/threads": float(torch.get_num_threads())})


def diverges(work: Work) -> Product:
    raise Diverged("the loss became [nan] after 100 images (seed 0)")


def fills_disk(work: Work) -> Product:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_damaged(work: Work) -> Product:
    raise Damaged("reads back differently")


def is_stopped(work: Work) -> Product:
    (work.folder / "half.txt").write_text("half")
    raise errors.Stopped(signal.SIGTERM)

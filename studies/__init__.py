"""The research questions, a file each. A study is found by the name of its file, and only then imported."""

from __future__ import annotations

import importlib
import pkgutil

from workbench.registry import unknown
from workbench.spec import Study


def names() -> tuple[str, ...]:
    """The names of all studies, in alphabetical order."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def study(name: str) -> Study:
    """The study of that name. Raises UserError with the nearest known name for one that there is no file for."""
    if name not in names():
        raise unknown("study", name, names())
    value: Study = importlib.import_module(f"{__name__}.{name}").STUDY
    return value

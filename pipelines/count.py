"""The parts of networks as JSON: `python -m pipelines.count` reads what to count from its input and prints it.

A program of its own, so that those who only show results need not import torch.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from pydantic import BaseModel

from workbench.nn.parts import parts_of
from workbench.spec import BackboneSpec


class Asked(BaseModel):
    """Backbones and the rows that they are for."""

    backbones: list[BackboneSpec]
    event_shape: tuple[int, ...]
    classes: int


def main() -> None:
    """Print a list of parts for each backbone, in the order asked."""
    asked = Asked.model_validate_json(sys.stdin.read())
    found = [
        parts_of(spec, event_shape=asked.event_shape, outputs=asked.event_shape[0], classes=asked.classes)
        for spec in asked.backbones
    ]
    json.dump([[dataclasses.asdict(part) for part in parts] for parts in found], sys.stdout)


if __name__ == "__main__":
    main()

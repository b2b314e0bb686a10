"""Keys: a change of any scientific field changes the key, and nothing else does; randomness has addresses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from workbench import identity
from workbench.identity import canonical, key, to_json
from workbench.registry import UserError, look_up
from workbench.rng import BLOCK_ROWS, normal_rows, stream
from workbench.spec import FitSpec, MeasureSpec, OracleSpec, SamplingSpec, TrialSpec, with_fields

TRIAL = TrialSpec(source=FitSpec(), sampling=SamplingSpec(), measures=MeasureSpec())


def leaves(spec: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for entry in dataclasses.fields(spec):
        value = getattr(spec, entry.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", value


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, *value[-1:]) if value else ("other",)
    return "other"


@pytest.mark.parametrize(
    ("path", "value"), list(leaves(TRIAL)), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_field_counts(path: str, value: Any) -> None:
    assert key(with_fields(TRIAL, {path: other(value)})) != key(TRIAL)


def test_equal_specs_have_equal_keys_and_kinds_count() -> None:
    assert key(TRIAL) == key(dataclasses.replace(TRIAL)) == key(with_fields(TRIAL, {"source.seed": 0}))
    assert key(SamplingSpec(guidance=2)) == key(SamplingSpec(guidance=2.0)) != key(SamplingSpec())
    assert key(dataclasses.replace(TRIAL, source=OracleSpec())) != key(TRIAL)
    assert json.loads(to_json(TRIAL)) == canonical(TRIAL)


def test_a_revision_changes_the_keys_that_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    euler, heun = SamplingSpec(sampler="euler"), SamplingSpec(sampler="heun")
    before = key(euler), key(heun)
    monkeypatch.setitem(identity.REVISIONS, "SamplingSpec.sampler=euler", 2)
    assert key(euler) != before[0]
    assert key(heun) == before[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_key(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        key(SamplingSpec(eta=value))


def test_what_is_no_value_has_no_key() -> None:
    with pytest.raises(TypeError, match="may not hold"):
        canonical(object())


def test_a_row_does_not_depend_on_the_batch() -> None:
    whole = normal_rows(0, "x", start=0, stop=3 * BLOCK_ROWS, shape=(5,))
    for start, stop in ((0, 1), (10, 100), (BLOCK_ROWS, 2 * BLOCK_ROWS), (190, 192), (7, 7)):
        assert torch.equal(normal_rows(0, "x", start=start, stop=stop, shape=(5,)), whole[start:stop])


def test_addresses_are_apart() -> None:
    first = torch.randn(100, generator=stream(0, "x", 1))
    assert torch.equal(torch.randn(100, generator=stream(0, "x", 1)), first)
    for address in ((1, "x", 1), (0, "y", 1), (0, "x", 2), (0, "x")):
        assert not torch.equal(torch.randn(100, generator=stream(*address)), first)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(
        UserError, match=r"sampler: unknown name 'heum'\. Did you mean 'heun'\? Known: euler, heun"
    ):
        look_up({"heun": 1, "euler": 2}, "heum", "sampler")

"""Canonical JSON of specs and the keys made from it.

A key is the sha256 of the canonical JSON of a spec, nested specs included, with the revision of every component that
it names. As a spec contains its inputs as specs, the key of a trial changes when anything upstream of it changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

# Raise a number when a component's behaviour changes, so that results computed with the old behaviour are not reused.
# A component is named `<spec class>.<field>=<value>`, a whole spec class by its name; all others are at revision 1.
REVISIONS: dict[str, int] = {
    "BackboneSpec": 2,  # the last layer does not start at zero
    "MarkovHierarchySpec": 2,  # latents of a part of the dimensions are in float32
    "FeatureSpec.of=activations": 5,  # cells are compared by a readout of more steps
    "FeatureSpec.of=principal": 2,  # of at most half of the values of a row
    "ReadoutSpec.head=logistic": 3,  # of more steps
    "GANSpec": 2,  # penalties are taken in float32 where AMX gets their gradients wrong
    "SupervisedSpec": 2,  # classes are told in the arithmetic of training
    "TrunkClassifierSpec": 2,  # reads activations behind a norm and SiLU
}


def canonical(spec: Any) -> Any:
    """`spec` as JSON-ready data. Each dataclass becomes an object with its class name as `kind` and, where one of its
    components is above revision 1, its `revisions`. Raises TypeError for a value that no spec may hold."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        kind = type(spec).__name__
        fields = {field.name: _typed(getattr(spec, field.name), field) for field in dataclasses.fields(spec)}
        result: dict[str, Any] = {"kind": kind, **{name: canonical(value) for name, value in fields.items()}}
        named = [kind]
        for name, value in fields.items():
            values = value if isinstance(value, tuple) else (value,)
            named += [f"{kind}.{name}={value}" for value in values if isinstance(value, str)]
        revisions = {name: REVISIONS[name] for name in named if name in REVISIONS}
        return result | ({"revisions": revisions} if revisions else {})
    if isinstance(spec, (tuple, list)):
        return [canonical(value) for value in spec]
    if spec is None or isinstance(spec, (bool, int, float, str)):
        return spec
    raise TypeError(f"a spec may not hold {spec!r} of type {type(spec).__name__}")


def _typed(value: Any, field: dataclasses.Field[Any]) -> Any:
    """A whole number in a field of floats as the float that it equals: equal specs have equal keys."""
    if "float" not in str(field.type):
        return value
    if isinstance(value, tuple):
        return tuple(_typed(one, field) for one in value)
    return float(value) if isinstance(value, int) else value


def to_json(spec: Any) -> str:
    """Canonical JSON: sorted names, no blanks, floats in their shortest exact form; NaN and infinity are refused."""
    return json.dumps(canonical(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def key(spec: Any) -> str:
    """The key of a spec: 64 hexadecimal digits."""
    return hashlib.sha256(to_json(spec).encode()).hexdigest()

"""Look-up in the name tables, with an error that names the field, the value, the nearest known name and all others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class UserError(ValueError):
    """A mistake of the user's, told in one line that names the field, the value and what would be accepted."""


def unknown(field: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a table."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"{field}: unknown name {name!r}.{hint} Known: {', '.join(names)}.")


def look_up(table: Mapping[str, Value], name: str, field: str) -> Value:
    """`table[name]`. Raises UserError with the nearest known name for one that the table does not have."""
    if name not in table:
        raise unknown(field, name, table)
    return table[name]

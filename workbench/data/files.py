"""Files of published data sets: where they are kept, how they are downloaded, how their content is checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from workbench.registry import UserError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


def cache_folder(name: str) -> Path:
    """Where downloads of the data set `name` are kept: `$WORKBENCH_DATA`, else the user's cache folder."""
    base = os.environ.get("WORKBENCH_DATA")
    if base:
        return Path(base) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench" / name


def require_digest(name: str, digest: str, *, expected: str) -> None:
    """Raises UserError when the sha256 `digest` of the content called `name` is not the expected one."""
    if digest != expected:
        raise UserError(
            f"data: {name} has sha256 {digest[:16]}..., not the publisher's {expected[:16]}...; "
            "it is damaged or another data set. Delete it and run again."
        )


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file, hexadecimal. Raises UserError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"data: cannot read {path}: {error.strerror or error}.") from error
    return digest.hexdigest()


def first_with(folders: Iterable[Path], name: str) -> Path | None:
    """The file `name` in the first of `folders` that has it, else None."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def download(url: str, target: Path, *, other_way: str) -> None:
    """Writes the content of `url` to `target`, which appears whole or not at all, also when two downloads race.

    Raises UserError that names both ways of getting the file, this one and `other_way`, when it cannot be had.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with (
                os.fdopen(handle, "wb") as file,
                urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer,
            ):
                length = answer.headers.get("Content-Length")
                while chunk := answer.read(_CHUNK_BYTES):
                    file.write(chunk)
                if length is not None and file.tell() != int(length):
                    raise OSError(f"the connection ended after {file.tell()} of {length} bytes")
            os.replace(partial, target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"data: {target.name} is missing and cannot be downloaded ({error}). Either {other_way}, "
            f"or fetch {url} yourself and put it into {target.parent}."
        ) from error

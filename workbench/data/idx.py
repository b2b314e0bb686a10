"""The IDX format of MNIST and its kin: two zero bytes, a type, the number of axes, their lengths, the values.

Source: LeCun, Cortes & Burges, The MNIST database, "file formats". Lengths are big-endian 32-bit integers.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from workbench.registry import UserError

_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> Tensor:
    """The uint8 array of an IDX file, gzipped when its name ends in .gz. Raises UserError as `parse_idx` does."""
    return parse_idx(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The unpacked content of a file. Raises UserError when it cannot be read or is not whole."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except EOFError as error:
        raise UserError(f"data: {path} is truncated: its gzip stream does not end.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"data: {path} is not a whole gzip file: {error}.") from error
    except OSError as error:
        raise UserError(f"data: cannot read {path}: {error.strerror or error}.") from error


def parse_idx(content: bytes, path: Path) -> Tensor:
    """The uint8 array in `content`; `path` is named in errors.

    Raises UserError for another magic number, another type than unsigned bytes, or too few or too many bytes.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UserError(f"data: {path} is not an IDX file: it does not start with two zero bytes and a type.")
    kind, axes = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise UserError(f"data: {path} holds IDX type {kind:#04x}; only unsigned bytes (0x08) are read.")
    header = 4 + 4 * axes
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    needed = header + math.prod(shape)
    if len(content) < needed:
        raise UserError(
            f"data: {path} is truncated: {len(content)} bytes where its header promises {needed}."
        )
    if len(content) > needed:
        raise UserError(f"data: {path} has {len(content)} bytes where its header promises {needed}.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)

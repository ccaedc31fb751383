"""Reading of NumPy archives in a bundle, which may come from anywhere.

:func:`numpy.load` allocates what a header declares, decompresses without limit, and evaluates
headers of any nesting. Here the sizes are compared before a byte is allocated, and only plain
numbers are read.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.errors import ArtifactError

MAX_BYTES = 100_000_000
"""Maximum size of all arrays: two dozen pictures of 1024 x 1024 pixels have 25 MB."""
_MAX_ARRAYS = 64
_MAX_HEADER = 1000
_MAX_DIRECTORY_BYTES = 16_384
_NUMBERS = "uif"
_END, _END_BYTES, _MAX_COMMENT = b"PK\5\6", 22, 65_535

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of an ``.npz`` file by name.

    Raises:
        ArtifactError: It is damaged, too large, or holds something else than plain numbers.
    """
    try:
        with open_regular(path) as stream:
            _check_directory(stream)
            with zipfile.ZipFile(stream) as members:
                return _read(members)
    except zipfile.BadZipFile:
        problem = "it is not an archive of NumPy arrays, or is damaged"
    except NotRegularError as error:
        problem = str(error)
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OSError):
        problem = "it is damaged"
    except (ValueError, KeyError) as error:
        problem = str(error)
    raise ArtifactError(f"{path} cannot be read: {problem}.", "Build the bundle again.")


def require(ok: bool, path: Path, expected: str, found: object) -> None:
    """Raise ArtifactError unless an array of a file is as expected."""
    if not ok:
        raise ArtifactError(
            f"{path} is not valid: expected {expected}, found {found}.", "Build the bundle again."
        )


def describe(array: np.ndarray[Any, Any]) -> str:
    """Return type and shape of an array, for messages."""
    return f"{array.dtype} {array.shape}"


def _check_directory(stream: BinaryIO) -> None:
    """Refuse a directory of many entries: :mod:`zipfile` keeps all of them in memory."""
    size = stream.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise ValueError(f"it has {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f} MB")
    stream.seek(max(0, size - _END_BYTES - _MAX_COMMENT))
    tail = stream.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise zipfile.BadZipFile
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise ValueError(f"it holds more than {_MAX_ARRAYS} arrays")


def _read(members: zipfile.ZipFile) -> Arrays:
    infos = members.infolist()
    if len(infos) > _MAX_ARRAYS or len({info.filename for info in infos}) < len(infos):
        raise ValueError(f"it holds more than {_MAX_ARRAYS} arrays, or one twice")
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        raise ValueError(
            f"its arrays have {total / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f} MB"
        )
    found = {}
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"'{_name(info)}' is compressed in a way that NumPy does not use")
        with members.open(info) as member:
            content = member.read(info.file_size + 1)
        found[_name(info)] = _array(content, _name(info))
    return found


def _name(info: zipfile.ZipInfo) -> str:
    return ascii(info.filename.removesuffix(".npy"))[1:-1][:60]


def _array(content: bytes, name: str) -> np.ndarray[Any, Any]:
    """Return the array in the content of an ``.npy`` file of version 1."""
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(
            stream, max_header_size=_MAX_HEADER
        )
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"'{name}' is not a NumPy array of version 1") from None
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"'{name}' does not hold numbers but {ascii(str(dtype))[1:-1][:60]}")
    left = len(content) - stream.tell()
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"'{name}' declares another size than the {left} bytes it has")
    # Runtimes read arrays in place, which they refuse for those that cannot be written to.
    flat = np.frombuffer(content, dtype, offset=stream.tell()).copy()
    found: np.ndarray[Any, Any] = flat.reshape(shape, order="F" if fortran_order else "C")
    return found

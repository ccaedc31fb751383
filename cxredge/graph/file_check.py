"""Check of an ONNX file before a runtime reads it, since the file may come from anywhere.

A runtime follows an ONNX file: it opens the files that the weights name, allocates the sizes that
they declare, and repeats the loops that the graph has. None of this occurs in a classifier of
cxredge. The check reads the parts of the file without their content, and requires no package of
ONNX, which devices lack: https://protobuf.dev/programming-guides/encoding/ defines the parts, and
``onnx.proto`` of https://github.com/onnx/onnx their numbers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cxredge.artifacts.git_lfs import check_fetched
from cxredge.artifacts.json_text import shorten
from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.errors import ArtifactError

MAX_BYTES = 2**31
"""Maximum size of an ONNX file; the format has no larger ones."""
MAX_NODES = 50_000
MAX_PARTS = 2_000_000
"""Maximum number of fields that are read, which bounds the time to a few seconds."""
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_STANDARD = ("", "ai.onnx")
_EXPORT_AGAIN = "Export or build it again."
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class _Model:
    """Field numbers of ``ModelProto``."""

    GRAPH, FUNCTIONS = 7, 25


class _Graph:
    """Field numbers of ``GraphProto``."""

    NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15


class _Node:
    """Field numbers of ``NodeProto``."""

    OP_TYPE, ATTRIBUTE, DOMAIN = 4, 5, 7


class _Attribute:
    """Field numbers of ``AttributeProto``."""

    TENSOR, GRAPH, TENSORS, GRAPHS, SPARSE, SPARSES = 5, 6, 10, 11, 22, 23


class _Tensor:
    """Field numbers of ``TensorProto``."""

    DIMS, EXTERNAL_DATA, DATA_LOCATION = 1, 13, 14


class _DamagedError(ValueError):
    """The file is not a protobuf message."""


class _RefusedError(ValueError):
    """The file has something that no model of cxredge has; the message says what."""


def check_model_file(path: Path) -> None:
    """Refuse an ONNX file with other files' data, control flow, foreign operators or false sizes.

    Raises:
        ArtifactError: It has one of these, is damaged, or is not a regular file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    # A command opens the same model several times.
    _check(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=64)
def _check(path: Path, _version: tuple[int, ...]) -> None:
    try:
        with open_regular(path) as stream:
            size_bytes = os.fstat(stream.fileno()).st_size
            if not size_bytes:
                raise _RefusedError("is empty: 0 bytes")
            if size_bytes > MAX_BYTES:
                raise _RefusedError(f"has {size_bytes / 1e9:.1f} GB; an ONNX file has at most 2 GB")
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        _Reader().check_model(memoryview(content))
    except NotRegularError as error:
        raise ArtifactError(f"{error}.", _EXPORT_AGAIN) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.", _EXPORT_AGAIN) from None
    except _DamagedError:
        check_fetched(path)
        raise ArtifactError(f"{path} is not a valid ONNX model.", _EXPORT_AGAIN) from None
    except _RefusedError as refused:
        raise ArtifactError(f"{path} {refused}.", _EXPORT_AGAIN) from None


@dataclass
class _Reader:
    """Reads the parts of a model.

    Attributes:
        parts: Number of fields read so far.
        nodes: Number of nodes read so far.
    """

    parts: int = 0
    nodes: int = 0

    def check_model(self, model: memoryview) -> None:
        graphs = 0
        for number, value in self._fields(model):
            if number == _Model.FUNCTIONS:
                raise _RefusedError("defines operators of its own; a cxredge model has none")
            if number == _Model.GRAPH:
                graphs += 1
                self._check_graph(_message(value))
        if not graphs:
            raise _DamagedError

    def _check_graph(self, graph: memoryview) -> None:
        for number, value in self._fields(graph):
            if number == _Graph.NODE:
                self._check_node(_message(value))
            elif number == _Graph.INITIALIZER:
                self._check_tensor(_message(value))
            elif number == _Graph.SPARSE_INITIALIZER:
                raise _RefusedError("has sparse weights; a cxredge model has none")

    def _check_node(self, node: memoryview) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _RefusedError(f"has more than {MAX_NODES} nodes")
        for number, value in self._fields(node):
            if number == _Node.ATTRIBUTE:
                self._check_attribute(_message(value))
            elif number == _Node.OP_TYPE and _text(value) in _CONTROL_FLOW:
                raise _RefusedError(
                    f"has the operator {_text(value)}; a cxredge model has no loops or branches"
                )
            elif number == _Node.DOMAIN and _text(value) not in _STANDARD:
                raise _RefusedError(
                    f"has operators of {shorten(_text(value))}; a cxredge model has those of ONNX "
                    "alone"
                )

    def _check_attribute(self, attribute: memoryview) -> None:
        for number, value in self._fields(attribute):
            if number in (_Attribute.GRAPH, _Attribute.GRAPHS):
                raise _RefusedError("has graphs inside nodes; a cxredge model has no branches")
            if number in (_Attribute.SPARSE, _Attribute.SPARSES):
                raise _RefusedError("has sparse tensors; a cxredge model has none")
            if number in (_Attribute.TENSOR, _Attribute.TENSORS):
                self._check_tensor(_message(value))

    def _check_tensor(self, tensor: memoryview) -> None:
        elements = 1
        for number, value in self._fields(tensor):
            if number == _Tensor.EXTERNAL_DATA or (number == _Tensor.DATA_LOCATION and value):
                raise _RefusedError(
                    "keeps weights in another file; a cxredge model is one file. Join them: "
                    "onnx.save(onnx.load(FILE), FILE)"
                )
            if number == _Tensor.DIMS:
                for side in [value] if isinstance(value, int) else self._varints(value):
                    elements *= side
        # The smallest elements have four bits.
        if elements > 2 * len(tensor):
            raise _RefusedError(f"declares a weight of {elements:.3g} values, which it lacks")

    def _fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yield number and value of each field; a value is an integer, or bytes."""
        position = 0
        while position < len(message):
            self.parts += 1
            if self.parts > MAX_PARTS:
                raise _RefusedError(f"has more than {MAX_PARTS} parts")
            key, position = _varint(message, position)
            kind = key & 7
            if kind == _VARINT:
                value, position = _varint(message, position)
                yield key >> 3, value
                continue
            if kind == _LENGTH:
                length, position = _varint(message, position)
            elif kind in _FIXED_BYTES:
                length = _FIXED_BYTES[kind]
            else:
                raise _DamagedError
            if length > len(message) - position:
                raise _DamagedError
            yield key >> 3, message[position : position + length]
            position += length

    def _varints(self, packed: memoryview) -> Iterator[int]:
        position = 0
        while position < len(packed):
            self.parts += 1
            value, position = _varint(packed, position)
            yield value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _DamagedError


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _DamagedError
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")

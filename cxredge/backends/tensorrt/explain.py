"""Error messages with a fix, from TensorRT's log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxredge.backends.tensorrt.log import Log
from cxredge.errors import ArtifactError, CxredgeError, DependencyError

MISREAD_ZERO_POINT = "Defaulting to INT8"
"""A warning after which the engine would compute with ranges other than the model's."""

OTHER_GPU = "across different models of devices"
"""A warning after which TensorRT still runs the engine, which may then fail or hang."""

_REBUILD = "Build it here: cxredge deploy BUNDLE"
_DIALECT = "Quantize for TensorRT: cxredge quantize MODEL --dialect tensorrt ..."
_MAKE_ROOM = (
    "Close other programs, use less memory (--batch 1 --workspace-mb 256), or add swap on a board."
)
_OTHER_NETWORK = (
    "Use another network, or run this one on the processor: --target cpu-arm or cpu-x86."
)


@dataclass(frozen=True)
class _LogPattern:
    """A pattern in the log, and the message for it; groups of the pattern fill the sentence."""

    pattern: str
    sentence: str
    hint: str
    kind: type[CxredgeError] = ArtifactError


_LOG_PATTERNS = (
    _LogPattern(
        r"out of memory|OutOfMemory|insufficient memory|[Cc]uda ?[Ee]rror:? 2\b"
        r"|Requested amount of GPU memory",
        "the GPU has too little memory",
        _MAKE_ROOM,
        DependencyError,
    ),
    _LogPattern(
        r"expecting library version (\S+) got ?([^\s,]*)",
        "the engine was built with TensorRT {1} and this is {0}",
        _REBUILD,
    ),
    _LogPattern(
        r"Current Version: (\d+), Serialized Engine Version: (\d+)",
        "the engine was built with another TensorRT version (format {1}; this one reads {0})",
        _REBUILD,
    ),
    _LogPattern(
        r"stdVersionRead|serializationVersion|Version tag does not match",
        "the engine was built with another TensorRT version",
        _REBUILD,
    ),
    _LogPattern(
        r"expecting compute (\S+) got compute ([^\s,]+)",
        "the engine was built for compute capability {1}; this GPU has {0}",
        _REBUILD,
    ),
    _LogPattern(
        r"Platform specific tag mismatch",
        "the engine was built on another platform (processor or operating system)",
        _REBUILD,
    ),
    _LogPattern(
        r"only supports (\d+) multiprocessors but the engine file requires (\d+)",
        "the engine was built for a larger GPU ({1} multiprocessors; this one has {0})",
        _REBUILD,
    ),
    _LogPattern(
        OTHER_GPU,
        "the engine was built on another model of GPU, on which it may be slow, wrong or hang",
        _REBUILD,
    ),
    _LogPattern(
        r"magicTag == kEXPECTED_MAGIC_TAG|plan\.header\.size == blobSize",
        "the file is damaged or no TensorRT engine",
        "Copy it again or build it again.",
    ),
    _LogPattern(
        r"type Int32 but must have type|only activation types allowed as input",
        "a bias is quantized, which TensorRT does not support",
        _DIALECT,
    ),
    _LogPattern(
        MISREAD_ZERO_POINT + r"|[Zz]ero[ _]?point",
        "activations are not symmetric int8 with zero point 0, so it would use other ranges",
        _DIALECT,
    ),
    _LogPattern(
        r"Cannot compile operation '([^']+)' for (\w+) \(SM(\d+)\): ([^.]+)",
        "node '{0}' has no kernel on {1} GPUs (SM {2}): {3}",
        "Omit this compute capability, or use --precision fp16.",
    ),
    _LogPattern(
        r"No importer registered for op: (\w+)",
        "it has no layer for the ONNX operator {0}",
        _OTHER_NETWORK,
    ),
    _LogPattern(
        r"Could not find any implementation for node (.+?)(?:\.? *\[|\.$|$)",
        "no kernel fits node {0}",
        "Set a larger workspace, such as --workspace-mb 2000, or use --precision fp16.",
    ),
    _LogPattern(
        r"Unsupported SM|SM \d+ is not supported|not supported.*(?:SM|compute capability)"
        r"|UNSUPPORTED_CC|no kernel image|does not support this compute capability",
        "this TensorRT does not support this GPU",
        "See which versions do: cxredge targets",
        DependencyError,
    ),
    # Last: without a GPU, TensorRT also reports the driver beside any other error.
    _LogPattern(
        r"[Ee]rror:? 35\b|[Ee]rror:? 100\b|CUDA initialization failure|no CUDA-capable device"
        r"|factory function returned nullptr",
        "there is no usable NVIDIA driver or GPU",
        "See what is missing: cxredge doctor",
        DependencyError,
    ),
)


# Meaning of the parser's error codes, for nodes without a description.
_REFUSALS = {
    "UNSUPPORTED_NODE": "it has no layer for this operator",
    "UNSUPPORTED_NODE_ATTR": "it supports this operator, but not with these attributes",
    "UNSUPPORTED_NODE_DATATYPE": "it supports this operator, but not in this number format",
    "UNSUPPORTED_NODE_DYNAMIC": "it supports this operator, but not with a dynamic shape",
    "UNSUPPORTED_NODE_INPUT": "it supports this operator, but not with these inputs",
    "UNSUPPORTED_NODE_SHAPE": "it supports this operator, but not with this shape",
}


@dataclass(frozen=True)
class RejectedNode:
    """A node that the parser rejects.

    Attributes:
        name: Name of the node in the ONNX file; may be empty.
        operator: Its operator; may be empty.
        code: Name of the parser's error code.
        text: The parser's description, which may be just ``false``.
    """

    name: str
    operator: str
    code: str
    text: str


def explain(doing: str, log: Log, exception: str = "") -> CxredgeError:
    """Return the error to raise after TensorRT failed.

    Args:
        doing: Beginning of the message: ``TensorRT 10.3 cannot build m.plan``.
        log: Its log.
        exception: Text of the exception, if there was one.
    """
    errors, warnings = [*log.errors(), *([exception] if exception else [])], log.warnings()
    first = next(iter([*errors, *warnings]), "it gave no reason").strip().rstrip(".")
    # Warnings come second: a kernel skipped because of too little memory alone is no failure.
    return (
        _recognise(doing, errors)
        or _recognise(doing, warnings)
        or ArtifactError(f"{doing}: {first}.", "Try again with -v, or run: cxredge doctor")
    )


def explain_node(doing: str, node: RejectedNode) -> CxredgeError:
    """Return the error to raise after the parser rejected a node.

    Args:
        doing: Beginning of the message.
        node: The rejected node.
    """
    where = f"node '{node.name}'" if node.name else "the graph"
    if node.operator:
        where += f" ({node.operator})"
    doing = f"{doing}; it rejects {where}"
    why = _REFUSALS.get(node.code, node.text.strip().rstrip("."))
    return _recognise(doing, [node.text]) or ArtifactError(f"{doing}: {why}.", _OTHER_NETWORK)


def _recognise(doing: str, lines: list[str]) -> CxredgeError | None:
    """Return the error for the first known pattern in the lines, if any."""
    for known in _LOG_PATTERNS:
        for text in lines:
            found = re.search(known.pattern, text)
            if found:
                groups = [group for group in found.groups() if group] or [""]
                words = known.sentence.format(*groups, *["an unknown version"] * 2)
                return known.kind(f"{doing}: {words}.", known.hint)
    return None

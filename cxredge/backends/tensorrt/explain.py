"""From what TensorRT logs to a sentence and the next command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxredge.backends.tensorrt.log import Log
from cxredge.errors import ArtifactError, CxredgeError, DependencyError

MISREAD_ZERO_POINT = "Defaulting to INT8"
"""A warning after which the engine would compute with other ranges than the model states."""

OTHER_GPU = "across different models of devices"
"""A warning after which an engine runs all the same, until it errs or hangs."""

_REBUILD = "Build it here: cxredge deploy BUNDLE"
_DIALECT = "Quantize for TensorRT: cxredge quantize MODEL --dialect tensorrt ..."
_MAKE_ROOM = (
    "Close other programs, ask for less (--batch 1 --workspace-mb 256), or add swap on a board."
)
_OTHER_NETWORK = (
    "Export another network, or run this one on the processor: --target cpu-arm or cpu-x86."
)


@dataclass(frozen=True)
class _Saying:
    """A pattern in the log; groups of it fill the sentence."""

    pattern: str
    sentence: str
    hint: str
    kind: type[CxredgeError] = ArtifactError


_SAYINGS = (
    _Saying(
        r"out of memory|OutOfMemory|insufficient memory|[Cc]uda ?[Ee]rror:? 2\b"
        r"|Requested amount of GPU memory",
        "the GPU has too little memory",
        _MAKE_ROOM,
        DependencyError,
    ),
    _Saying(
        r"expecting library version (\S+) got ?([^\s,]*)",
        "the engine was built with TensorRT {1} and this is {0}",
        _REBUILD,
    ),
    _Saying(
        r"Current Version: (\d+), Serialized Engine Version: (\d+)",
        "the engine was built with another TensorRT version (format {1}; this one reads {0})",
        _REBUILD,
    ),
    _Saying(
        r"stdVersionRead|serializationVersion|Version tag does not match",
        "the engine was built with another TensorRT version",
        _REBUILD,
    ),
    _Saying(
        r"expecting compute (\S+) got compute ([^\s,]+)",
        "the engine was built for compute capability {1}; this GPU has {0}",
        _REBUILD,
    ),
    _Saying(
        r"Platform specific tag mismatch",
        "the engine was built on another platform (processor or operating system)",
        _REBUILD,
    ),
    _Saying(
        r"only supports (\d+) multiprocessors but the engine file requires (\d+)",
        "the engine was built for a larger GPU ({1} multiprocessors; this one has {0})",
        _REBUILD,
    ),
    _Saying(
        OTHER_GPU,
        "the engine was built on another model of GPU, on which it may be slow, wrong or hang",
        _REBUILD,
    ),
    _Saying(
        r"magicTag == kEXPECTED_MAGIC_TAG|plan\.header\.size == blobSize",
        "the file is damaged or no TensorRT engine",
        "Copy it again or build it again.",
    ),
    _Saying(
        r"type Int32 but must have type|only activation types allowed as input",
        "a bias is quantized, which TensorRT does not take",
        _DIALECT,
    ),
    _Saying(
        MISREAD_ZERO_POINT + r"|[Zz]ero[ _]?point",
        "activations are not symmetric int8 with zero point 0, and it would compute with other "
        "ranges",
        _DIALECT,
    ),
    _Saying(
        r"Cannot compile operation '([^']+)' for (\w+) \(SM(\d+)\): ([^.]+)",
        "node '{0}' has no kernel on {1} GPUs (SM {2}): {3}",
        "Leave this compute capability out, or ask for --precision fp16.",
    ),
    _Saying(
        r"No importer registered for op: (\w+)",
        "it has no layer for the ONNX operator {0}",
        _OTHER_NETWORK,
    ),
    _Saying(
        r"Could not find any implementation for node (.+?)(?:\.? *\[|\.$|$)",
        "no kernel fits node {0}",
        "Ask for a larger workspace, such as --workspace-mb 2000, or for --precision fp16.",
    ),
    _Saying(
        r"Unsupported SM|SM \d+ is not supported|not supported.*(?:SM|compute capability)"
        r"|UNSUPPORTED_CC|no kernel image|does not support this compute capability",
        "this TensorRT does not serve this GPU",
        "See which versions do: cxredge targets",
        DependencyError,
    ),
    # Last: without a GPU the driver is complained of beside whatever else went wrong.
    _Saying(
        r"[Ee]rror:? 35\b|[Ee]rror:? 100\b|CUDA initialization failure|no CUDA-capable device"
        r"|factory function returned nullptr",
        "there is no NVIDIA driver or GPU that it can use",
        "See what is missing: cxredge doctor",
        DependencyError,
    ),
)


# What the parser's error codes say of a node whose description says nothing.
_REFUSALS = {
    "UNSUPPORTED_NODE": "it has no layer for this operator",
    "UNSUPPORTED_NODE_ATTR": "it has this operator, but not with these attributes",
    "UNSUPPORTED_NODE_DATATYPE": "it has this operator, but not in this number format",
    "UNSUPPORTED_NODE_DYNAMIC": "it has this operator, but not for a shape that varies",
    "UNSUPPORTED_NODE_INPUT": "it has this operator, but not with these inputs",
    "UNSUPPORTED_NODE_SHAPE": "it has this operator, but not for this shape",
}


@dataclass(frozen=True)
class RefusedNode:
    """What the parser says of a node that it does not take.

    Attributes:
        name: The node's name in the ONNX file; may be empty.
        operator: Its operator; may be empty.
        code: Name of the parser's error code.
        text: The parser's description, which may be no more than ``false``.
    """

    name: str
    operator: str
    code: str
    text: str


def explain(doing: str, log: Log, said: str = "") -> CxredgeError:
    """Return the error to raise after TensorRT has failed.

    Args:
        doing: What was tried, beginning a sentence: ``TensorRT 10.3 cannot build m.plan``.
        log: What it logged.
        said: What an exception said, if there was one.
    """
    errors, warnings = [*log.errors(), *([said] if said else [])], log.warnings()
    first = next(iter([*errors, *warnings]), "it did not say why").strip().rstrip(".")
    # Warnings come second: a kernel that was skipped for want of memory is no failure by itself.
    return (
        _recognise(doing, errors)
        or _recognise(doing, warnings)
        or ArtifactError(f"{doing}: {first}.", "Try again with -v, or see: cxredge doctor")
    )


def explain_node(doing: str, node: RefusedNode) -> CxredgeError:
    """Return the error to raise after the parser has refused a node.

    Args:
        doing: What was tried, beginning a sentence.
        node: What the parser said.
    """
    where = f"node '{node.name}'" if node.name else "the graph"
    if node.operator:
        where += f" ({node.operator})"
    doing = f"{doing}; it refuses {where}"
    why = _REFUSALS.get(node.code, node.text.strip().rstrip("."))
    return _recognise(doing, [node.text]) or ArtifactError(f"{doing}: {why}.", _OTHER_NETWORK)


def _recognise(doing: str, heard: list[str]) -> CxredgeError | None:
    """Return the error for the first saying that is found in what was heard."""
    for saying in _SAYINGS:
        for text in heard:
            found = re.search(saying.pattern, text)
            if found:
                groups = [group for group in found.groups() if group] or [""]
                words = saying.sentence.format(*groups, *["an unknown version"] * 2)
                return saying.kind(f"{doing}: {words}.", saying.hint)
    return None

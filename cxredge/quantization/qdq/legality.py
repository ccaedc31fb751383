"""Whether a graph keeps to its dialect; asked before anything is written.

A runtime does not always refuse what it cannot do: TensorRT reads uint8 with zero point 0 as int8
and only warns, and ONNX Runtime falls back to slow float kernels. `rules` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from cxredge.errors import CxredgeError
from cxredge.graph.wiring import Wiring
from cxredge.quantization.qdq import rules
from cxredge.quantization.qdq.rules import Rule
from cxredge.vocabulary import Dialect

_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One place where a graph breaks a rule.

    Attributes:
        node: Name of the node, its first output if it has none, or ``graph``.
        rule: The rule.
        explanation: What is there and what was expected.
    """

    node: str
    rule: Rule
    explanation: str


def check_legality(model: onnx.ModelProto, dialect: Dialect) -> list[Violation]:
    """Return every place where a quantized graph breaks a rule of its dialect.

    Args:
        model: A graph with Q/DQ nodes, in topological order.
        dialect: Which dialect it should be.
    """
    wiring = Wiring(model.graph)
    violations = [
        Violation(node.name or node.output[0], rule, explanation)
        for rule, broken in rules.OF_DIALECT[dialect].items()
        for node, explanation in broken(wiring)
    ]
    if dialect is Dialect.TENSORRT:
        explanations = rules.broken_opset(model, wiring)
        violations += [Violation("graph", Rule.OPSET, text) for text in explanations]
    return violations


def require_legal(model: onnx.ModelProto, dialect: Dialect) -> None:
    """Refuse a graph that breaks a rule of its dialect.

    Raises:
        CxredgeError: It does; the first violations are named, and how many there are.
    """
    violations = check_legality(model, dialect)
    if not violations:
        return
    shown = "; ".join(f"{v.node}: {v.explanation}" for v in violations[:_SHOWN])
    hidden = len(violations) - _SHOWN
    raise CxredgeError(
        f"The INT8 graph breaks rules of the {dialect.value} dialect in {len(violations)} places: "
        f"{shown}{f'; and {hidden} more' if hidden > 0 else ''}. Nothing was written.",
        "Use --precision fp32, and report which network it was.",
    )

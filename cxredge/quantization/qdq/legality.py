"""Check that a graph conforms to its dialect, before it is written.

Runtimes do not always refuse an unsupported graph: TensorRT reads uint8 with zero point 0 as int8
with only a warning, and ONNX Runtime falls back to slow float kernels. `rules` holds the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from cxredge.errors import CxredgeError
from cxredge.graph.index import GraphIndex
from cxredge.quantization.qdq import rules
from cxredge.quantization.qdq.rules import Rule
from cxredge.vocabulary import Dialect

_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One node of a graph that breaks a rule.

    Attributes:
        node: Name of the node, its first output if it has none, or ``graph``.
        rule: The rule.
        explanation: What was found and what was expected.
    """

    node: str
    rule: Rule
    explanation: str


def check_legality(model: onnx.ModelProto, dialect: Dialect) -> list[Violation]:
    """Return all violations of the rules of a dialect.

    Args:
        model: A graph with Q/DQ nodes, in topological order.
        dialect: The dialect to check.
    """
    index = GraphIndex(model.graph)
    violations = [
        Violation(node.name or node.output[0], rule, explanation)
        for rule, broken in rules.RULES[dialect].items()
        for node, explanation in broken(index)
    ]
    if dialect is Dialect.TENSORRT:
        explanations = rules.broken_opset(model, index)
        violations += [Violation("graph", Rule.OPSET, text) for text in explanations]
    return violations


def require_legal(model: onnx.ModelProto, dialect: Dialect) -> None:
    """Refuse a graph that breaks a rule of its dialect.

    Raises:
        CxredgeError: The graph breaks rules; the message lists the first violations and their
            number.
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

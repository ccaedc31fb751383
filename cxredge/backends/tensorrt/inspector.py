"""What an engine is made of, as TensorRT's inspector tells it."""

from __future__ import annotations

import json
import re
from typing import Any

from cxredge.backends.tensorrt.api import Api

# The inspector writes, for example, "Int8 NC/32HW32", "Half NHWC8" or "Row major linear FP32".
_FORMATS = (
    (r"int8", "int8"),
    (r"bfloat16|bf16", "bf16"),
    (r"half|fp16|float16", "fp16"),
    (r"fp32|float", "fp32"),
    (r"uint8", "uint8"),
    (r"int32|int64|bool", "other"),
)


def read_layers(api: Api, engine: Any) -> list[dict[str, str]]:
    """Return name, kind and number format of each layer of an engine."""
    trt: Any = api.trt
    inspector = engine.create_engine_inspector()
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(text: str) -> list[dict[str, str]]:
    """Return the layers that the inspector's JSON names; nothing where it says nothing.

    Args:
        text: A JSON object with ``Layers``: objects where the engine was built with detailed
            verbosity, names otherwise.
    """
    try:
        layers = json.loads(text).get("Layers", [])
    except (AttributeError, ValueError):
        return []
    return [
        {
            "name": str(entry.get("Name", "")),
            "kind": str(entry.get("LayerType", "")),
            "format": _format(entry.get("Outputs") or []),
        }
        for entry in layers
        if isinstance(entry, dict)
    ]


def _format(outputs: list[dict[str, Any]]) -> str:
    """Return the number format of a layer's first output."""
    if not outputs:
        return "none"
    first = outputs[0]
    said = str(first.get("Format/Datatype") or first.get("Datatype") or first.get("Format") or "")
    for pattern, name in _FORMATS:
        if re.search(rf"(?<![a-z]){pattern}", said.lower()):
            return name
    return said or "unknown"

"""``config.pbtxt`` of the models, through Triton's own protobuf.

The configuration is parsed into Triton's message type, so that an unknown field, a wrong type or an
unknown value is refused here and not by the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxredge.errors import ArtifactError, DependencyError
from cxredge.triton.network import Network
from cxredge.triton.options import TritonOptions
from cxredge.vocabulary import (
    DISTANCE_NAME,
    INPUT_NAME,
    OUTPUT_NAME,
    Precision,
    TritonBackend,
    TritonDevice,
)

CONFIG_NAME = "config.pbtxt"
LABELS_NAME = "labels.txt"
WARM_UP_NAME = "phantom"
"""File of the folder ``warmup``, which Triton reads the warm-up image from."""

NO_NUMBER = -1.0
"""Number of an answer without that number; NaN is not valid in JSON."""
CXR_OUTPUTS: Mapping[str, str] = {
    "label": "TYPE_STRING",
    "status": "TYPE_STRING",
    "probabilities": "TYPE_FP64",
    "set": "TYPE_STRING",
    "familiarity": "TYPE_FP64",
    "decided_by": "TYPE_STRING",
    "error": "TYPE_STRING",
    "answer": "TYPE_STRING",
}
"""Outputs of the model that takes files, with their types. All but ``probabilities`` have one
element per image."""

_CONTRACT = ("backend", "max_batch_size", "input", "output", "default_model_filename")
"""Fields that all versions of a model share and that depend on the bundle."""


def network_config(network: Network, size: int, options: TritonOptions) -> str:
    """Return the configuration of the bare network.

    Args:
        network: The network.
        size: Height and width of its input in pixels.
        options: Settings of the export.
    """
    image = {"name": INPUT_NAME, "data_type": "TYPE_UINT8", "dims": [1, size, size]}
    values: dict[str, Any] = {
        "name": options.network_name,
        "backend": network.backend.value,
        "max_batch_size": network.max_batch,
        "version_policy": _version_policy(options),
        "input": [image],
        "output": [_output(name, shape) for name, shape in network.outputs.items()],
        "instance_group": [_instances(network)],
        "dynamic_batching": _batching(network),
        "model_warmup": [
            {
                "name": f"batch of {batch}",
                "batch_size": batch,
                "inputs": {INPUT_NAME: {**_without_name(image), "random_data": True}},
            }
            for batch in sorted({1, network.max_batch})
        ],
        **_of_backend(network),
    }
    return _text(values)


def cxr_config(classes: int, device: TritonDevice, options: TritonOptions) -> str:
    """Return the configuration of the model that takes files.

    Args:
        classes: Number of classes.
        device: Device of its session.
        options: Settings of the export.
    """
    sides = {name: classes if name == "probabilities" else 1 for name in CXR_OUTPUTS}
    values = {
        "name": options.name,
        "backend": "python",
        "max_batch_size": options.max_batch,
        "version_policy": _version_policy(options),
        "input": [{"name": INPUT_NAME, "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [
            {
                "name": name,
                "data_type": kind,
                "dims": [sides[name]],
                **({"label_filename": LABELS_NAME} if name == "probabilities" else {}),
            }
            for name, kind in CXR_OUTPUTS.items()
        ],
        # One process: its session is shared by a thread per core.
        "instance_group": [{"count": 1, "kind": f"KIND_{device.name}"}],
        "dynamic_batching": {},
        "model_warmup": [
            {
                "name": "phantom",
                "batch_size": 1,
                "inputs": {
                    INPUT_NAME: {
                        "data_type": "TYPE_STRING",
                        "dims": [1],
                        "input_data_file": WARM_UP_NAME,
                    }
                },
            }
        ],
    }
    return _text(values)


def check_same_contract(text: str, path: Path) -> None:
    """Require that a new version fits the configuration of a model that exists.

    Instances, batching and version policy of the existing file stay: they may have been edited.

    Args:
        text: Configuration that a new repository would have.
        path: The existing file.

    Raises:
        ArtifactError: It is not a configuration, or differs in what versions share.
    """
    new, old = (
        _parsed(text, "the new version"),
        _parsed(path.read_text(encoding="utf-8"), str(path)),
    )
    for name in _CONTRACT:
        if getattr(new, name) != getattr(old, name):
            raise ArtifactError(
                f"The new version does not fit {path}: its {name} would be "
                f"{_words(getattr(new, name))}, and all versions have "
                f"{_words(getattr(old, name))}.",
                "Export it under another name (--name), or to a new repository.",
            )


def _words(value: Any) -> str:
    text = (
        str(value)
        if not isinstance(value, Sequence) or isinstance(value, str)
        else "; ".join(str(one) for one in value)
    )
    return " ".join(text.split()) or "none"


def _output(name: str, shape: Sequence[int]) -> dict[str, Any]:
    """Return an output; a number per image has a shape without sides in the network."""
    found: dict[str, Any] = {"name": name, "data_type": "TYPE_FP32", "dims": list(shape) or [1]}
    if name == DISTANCE_NAME and not shape:
        found["reshape"] = {"shape": []}
    if name == OUTPUT_NAME:
        found["label_filename"] = LABELS_NAME
    return found


def _without_name(tensor: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key != "name"}


def _version_policy(options: TritonOptions) -> dict[str, Any]:
    return {"latest": {"num_versions": options.served_versions}}


def _instances(network: Network) -> dict[str, Any]:
    group: dict[str, Any] = {"count": network.instances, "kind": f"KIND_{network.device.name}"}
    if network.engine:
        group["profile"] = [str(index) for index in range(len(network.engine.profiles))]
    return group


def _batching(network: Network) -> dict[str, Any]:
    """Return the dynamic batcher: no delay; sizes are preferred by engines with profiles only."""
    if network.engine is None or len(network.engine.profiles) < 2:
        return {}
    return {"preferred_batch_size": sorted({best for _, best, _ in network.engine.profiles})}


def _of_backend(network: Network) -> dict[str, Any]:
    """Return the fields that one backend understands."""
    if network.engine:
        return {"cc_model_filenames": {network.engine.compute_capability: network.file_name}}
    if network.backend is TritonBackend.OPENVINO:
        hints = {"HINT_BF16": "YES"} if network.precision is Precision.BF16 else {}
        count = {"INFERENCE_NUM_THREADS": network.threads * network.instances}
        streams = {"NUM_STREAMS": network.instances, **count} if network.threads else {}
        return {
            "default_model_filename": network.file_name,
            "parameters": _parameters({**hints, **streams}),
        }
    if network.device is TritonDevice.GPU:
        # Without this, ONNX Runtime multiplies FP32 in TF32, with 10 bits of mantissa.
        exact = {"name": "cuda", "parameters": {"use_tf32": "0"}}
        return {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [exact]}}}
    return {"parameters": _parameters({"intra_op_thread_count": network.threads or None})}


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: {"string_value": str(v)} for k, v in values.items() if v is not None}


def _text(values: Mapping[str, Any]) -> str:
    """Return a configuration as text that Triton's own parser has read."""
    json_format, text_format, config = _protobuf()
    text: str = text_format.MessageToString(json_format.ParseDict(dict(values), config))
    _parsed(text, "the new configuration")
    return text


def _parsed(text: str, origin: str) -> Any:
    """Return a configuration as Triton's message.

    Raises:
        ArtifactError: Triton would not read it.
    """
    _, text_format, config = _protobuf()
    try:
        return text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ArtifactError(
            f"{origin} is not a configuration of Triton: {error}", "Correct it, or export again."
        ) from None


def _protobuf() -> tuple[Any, Any, Any]:
    """Return protobuf's JSON and text formats, and an empty configuration.

    Raises:
        DependencyError: Triton's client library is not installed.
    """
    try:
        from google.protobuf import json_format, text_format
        from tritonclient.grpc import model_config_pb2
    except (ImportError, RuntimeError):  # the latter: installed without gRPC
        raise DependencyError(
            "Triton's configuration requires the Python package 'tritonclient' with gRPC.",
            "Install it: pip install 'cxredge[triton]'",
        ) from None
    return json_format, text_format, model_config_pb2.ModelConfig()

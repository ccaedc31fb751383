"""Precisions and cascades that a target supports."""

from __future__ import annotations

from cxredge.errors import WrongUsage
from cxredge.targets.record import Target
from cxredge.vocabulary import Precision


def require_precision(target: Target, precision: Precision | None) -> None:
    """Refuse a precision that a target does not support.

    Raises:
        WrongUsage: With the reason and an alternative.
    """
    if precision is None or precision in target.precisions:
        return
    supported = ", ".join(p.value for p in Precision if p in target.precisions)
    instead = f"--precision {target.default_precision.value}"
    hardware = target.hardware
    if precision is Precision.INT8 and not hardware.int8:
        capability = ", ".join(hardware.compute_capabilities)
        raise WrongUsage(
            f"{target.title.split(' (')[0]} (compute capability {capability}) has no INT8 "
            f"hardware: INT8 would be as slow as FP32 or fail. {target.name} supports auto, "
            f"{supported}.",
            f"Use {instead}.",
        )
    raise WrongUsage(
        f"{target.name} does not support {precision.value}; it supports auto, {supported}.",
        f"Use {instead}, or auto.",
    )


def uses_cascade(target: Target, precision: Precision | None, requested: bool | None) -> bool:
    """Return whether FP32 decides near ties; by default wherever it is possible and useful.

    Args:
        target: The device.
        precision: Requested precision; None for the best one.
        requested: Whether a cascade was requested; None for the default.

    Raises:
        WrongUsage: A cascade was requested for FP32, or cxredge does not run on the target.
    """
    if not requested:
        return requested is None and precision is not Precision.FP32 and target.runs_cxredge
    if precision is Precision.FP32:
        raise WrongUsage(
            "--cascade lets FP32 decide the near ties of a reduced precision; --precision fp32 has "
            "none.",
            "Omit one of the two options.",
        )
    if not target.runs_cxredge:
        raise WrongUsage(
            f"--cascade requires cxredge on the device, but it does not run on {target.name}.",
            "Omit --cascade.",
        )
    return True

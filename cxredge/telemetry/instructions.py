"""What a processor multiplies INT8 with."""

from __future__ import annotations

from functools import cache

from cxredge.telemetry.linux import Machine, read_machine

FAST_INT8 = {
    "x86_64": ("avx512_vnni", "avx_vnni", "amx_int8"),
    "aarch64": ("asimddp", "i8mm"),
}
"""Instructions that multiply INT8 and sum in 32 bits, any of them, by architecture."""


def may_saturate(machine: Machine) -> bool:
    """Tell whether an x86 processor's quickest way to multiply INT8 sums in 16 bits, or may.

    Without VNNI, runtimes multiply uint8 by int8 with an instruction (VPMADDUBSW) that adds two
    products in 16 bits and cuts off what does not fit: 255 * 127 * 2 is 64,770, and 32,767 is kept.
    """
    x86 = machine.architecture.lower() in ("x86_64", "amd64", "i386", "i686")
    return x86 and not set(FAST_INT8["x86_64"]) & set(machine.cpu_flags)


@cache
def may_saturate_here() -> bool:
    """Tell the same of this machine; also where its processor cannot be read."""
    return may_saturate(read_machine())

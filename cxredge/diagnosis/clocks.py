"""What makes latencies differ from run to run: clocks, power mode, throttling."""

from __future__ import annotations

from cxredge.diagnosis.finding import Finding, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.telemetry.jetson import (
    PowerMode,
    gpu_clock,
    power_mode,
    power_modes,
    temperatures_c,
    throttle_events,
)

_STRONGEST = ("MAXN_SUPER", "MAXN")
_HOT_C = 85.0


def governor(here: Surroundings) -> Finding:
    """The processor's clock does not follow the load."""
    found = here.state.governor
    if found is None:
        return skip("clock governor", "not available")
    if found == "performance":
        return ok("clock governor", found)
    fix = "For stable latencies: sudo cpupower frequency-set -g performance"
    if here.board.is_jetson:
        fix = "For stable latencies: sudo jetson_clocks"
    return warn("clock governor", found, fix)


def gpu(here: Surroundings) -> Finding:
    """The GPU's clock is locked, as ``jetson_clocks`` does."""
    name = "GPU clock"
    if not here.board.is_jetson:
        return skip(name, "no Jetson")
    clock = gpu_clock(here.root)
    if clock is None:
        return skip(name, "not available")
    if clock.locked:
        return ok(name, f"locked at {clock.highest_mhz:.0f} MHz")
    return warn(
        name,
        f"{clock.lowest_mhz:.0f} to {clock.highest_mhz:.0f} MHz, not locked",
        "For latencies that can be compared: sudo jetson_clocks (until the next start; "
        "save what was with sudo jetson_clocks --store).",
    )


def mode(here: Surroundings) -> Finding:
    """Nvpmodel is in the mode without a cap, of those that the board has."""
    name = "power mode"
    if not here.board.is_jetson:
        return skip(name, "no Jetson")
    now, modes = power_mode(here.root), power_modes(here.root)
    if now is None:
        return skip(name, "not available: nvpmodel is missing or does not answer")
    strongest = _strongest(modes)
    if strongest is None or strongest.name == now.name:
        return ok(name, f"{now.name} (number {now.number})")
    return warn(
        name,
        f"{now.name} (number {now.number}), which caps clocks",
        f"For the board's best: sudo nvpmodel -m {strongest.number} ({strongest.name}). "
        "Keep it where the power supply or the heat demands it, and say so with the figures.",
    )


def _strongest(modes: tuple[PowerMode, ...]) -> PowerMode | None:
    by_name = {mode.name: mode for mode in modes}
    return next((by_name[name] for name in _STRONGEST if name in by_name), None)


def throttling(here: Surroundings) -> Finding:
    """The board has not slowed itself down since boot, and is not hot."""
    name = "throttling"
    if not here.board.is_jetson:
        return skip(name, "no Jetson")
    events, degrees = throttle_events(here.root), temperatures_c(here.root)
    happened = {counter: count for counter, count in events.items() if count}
    hottest = max(degrees.values(), default=None)
    warmth = f", hottest zone {hottest:.0f} °C" if hottest is not None else ""
    if happened:
        counts = ", ".join(f"{counter} {count}" for counter, count in happened.items())
        return warn(
            name,
            f"over-current events since boot: {counts}{warmth}",
            "Use a stronger power supply or a lower power mode; figures of runs in which these "
            "counters rise do not compare.",
        )
    if hottest is not None and hottest >= _HOT_C:
        return warn(name, f"hottest zone {hottest:.0f} °C", "Let it cool, or see to the fan.")
    if not events:
        return skip(name, f"no counters{warmth}")
    return ok(name, f"no over-current events since boot{warmth}")

"""Checks of what makes latencies vary between runs: clocks, power mode and throttling."""

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
    """Check that the processor's clock does not follow the load."""
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
    """Check that the GPU's clock is locked, as by ``jetson_clocks``."""
    name = "GPU clock"
    if not here.board.is_jetson:
        return skip(name, "not a Jetson")
    clock = gpu_clock(here.root)
    if clock is None:
        return skip(name, "not available")
    if clock.locked:
        return ok(name, f"locked at {clock.highest_mhz:.0f} MHz")
    return warn(
        name,
        f"{clock.lowest_mhz:.0f} to {clock.highest_mhz:.0f} MHz, not locked",
        "For comparable latencies: sudo jetson_clocks (until the next boot; save the current "
        "settings first with sudo jetson_clocks --store).",
    )


def mode(here: Surroundings) -> Finding:
    """Check that nvpmodel's mode is the board's uncapped one."""
    name = "power mode"
    if not here.board.is_jetson:
        return skip(name, "not a Jetson")
    now, modes = power_mode(here.root), power_modes(here.root)
    if now is None:
        return skip(name, "not available: nvpmodel is missing or does not respond")
    strongest = _strongest(modes)
    if strongest is None or strongest.name == now.name:
        return ok(name, f"{now.name} (number {now.number})")
    return warn(
        name,
        f"{now.name} (number {now.number}), which caps clocks",
        f"For the highest speed: sudo nvpmodel -m {strongest.number} ({strongest.name}). "
        "If power supply or cooling require the current mode, report it with the results.",
    )


def _strongest(modes: tuple[PowerMode, ...]) -> PowerMode | None:
    by_name = {mode.name: mode for mode in modes}
    return next((by_name[name] for name in _STRONGEST if name in by_name), None)


def throttling(here: Surroundings) -> Finding:
    """Check that the board has not throttled since boot, and is not hot."""
    name = "throttling"
    if not here.board.is_jetson:
        return skip(name, "not a Jetson")
    events, degrees = throttle_events(here.root), temperatures_c(here.root)
    happened = {counter: count for counter, count in events.items() if count}
    hottest = max(degrees.values(), default=None)
    warmth = f", hottest zone {hottest:.0f} °C" if hottest is not None else ""
    if happened:
        counts = ", ".join(f"{counter} {count}" for counter, count in happened.items())
        return warn(
            name,
            f"over-current events since boot: {counts}{warmth}",
            "Use a stronger power supply or a lower power mode; runs during which these counters "
            "rise are not comparable.",
        )
    if hottest is not None and hottest >= _HOT_C:
        return warn(name, f"hottest zone {hottest:.0f} °C", "Let it cool down, or check the fan.")
    if not events:
        return skip(name, f"no counters{warmth}")
    return ok(name, f"no over-current events since boot{warmth}")

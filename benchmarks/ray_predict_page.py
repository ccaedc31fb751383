"""The page of the measurements of `ray_predict.py`."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.ray_driver import simulate

MACHINES = (1, 10, 100)
CORES = 16
ARCHIVE, YEAR = 10_000_000, 1_000_000
"""Images of an archive, and of a year of a group of hospitals: assumptions, not measurements."""
RATES = {
    "1024x1024 PNG": 55.0,
    "clinical JPEG": 162.0,
    "224x224 JPEG": 181.0,
}
"""Images per second and core of MobileNet V1 as INT8: half of the rates of two cores in
results/predict_throughput.md (a processor with VNNI)."""
_SPREAD = 0.1


def page(found: dict[str, Any]) -> str:
    """Return the page; parts that were not measured are left out."""
    machine, tools = found["machine"], found["tools"]
    lines = [
        "# `cxredge predict --engine ray`",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. Versions: {', '.join(f'{n} {v}' for n, v in tools.items())}.",
    ]
    for name, part in (
        ("speed", _speed), ("kills", _kills), ("memory", _memory), ("driver", _driver),
    ):  # fmt: skip
        if name in found:
            lines += ["", *part(found[name])]
            if name in found.get("networks", {}):
                lines += ["", f"Network: {found['networks'][name]}."]
    if "speed" in found and "driver" in found:
        lines += ["", *_costs(_costs_of_driver(found["speed"], found["driver"]))]
    return "\n".join(lines) + "\n"


def ratios(rounds: list[dict[str, Any]]) -> list[float]:
    """Return images per processor second of Ray's workers divided by those of one process."""
    return [_local_ms(one) / _ray_ms(one) for one in rounds]


def _local_ms(one: dict[str, Any]) -> float:
    """Return processor milliseconds per image of `predict`, without its start."""
    local, few = one["local"], one["few"]
    seconds = local["processor_seconds"] - few["processor_seconds"]
    return float(1000 * seconds / (local["images"] - few["images"]))


def _ray_ms(one: dict[str, Any]) -> float:
    nodes = one["ray"]["cluster"]["nodes"]
    seconds = sum(node["processor_seconds"] for node in nodes)
    return float(1000 * seconds / one["ray"]["images"])


def _speed(rounds: list[dict[str, Any]]) -> list[str]:
    images = sum(one["ray"]["images"] for one in rounds)
    steady = [
        sum(node["images_per_second"] for node in one["ray"]["cluster"]["nodes"]) for one in rounds
    ]
    whole = [one["local"]["images"] / one["local"]["seconds"] for one in rounds]
    fixed = [one["ray"]["cluster"]["start_seconds"] for one in rounds]
    busy = [
        one["ray"]["processor_seconds"] + one["ray"]["processor_seconds_of_children"]
        for one in rounds
    ]
    others = [one[name]["others"] for one in rounds for name in ("local", "ray")]
    return [
        "## Beside one process",
        "",
        f"The same {images} X-rays in {len(rounds)} shares, each predicted by both engines in "
        f"random "
        "order on the same cores: one process with a thread per core, and a local cluster with a "
        f"worker per core. Other work took {100 * min(others):.0f} to {100 * max(others):.0f}% of "
        f"the "
        "processors in the meantime, so that processor time per image is compared: it changes less "
        "than wall time. One process: without its start, which a run on 8 images shows. Workers: "
        "without the opening of the bundle. Medians and ranges over the shares.",
        "",
        "| figure | one process | Ray |",
        "|---|---|---|",
        f"| processor ms per image | {_spread([_local_ms(o) for o in rounds], 2)} | "
        f"{_spread([_ray_ms(o) for o in rounds], 2)} |",
        f"| images per second under that load | {_spread(whole, 1)} | {_spread(steady, 1)} |",
        f"| peak MB of the command | {_spread([o['local']['peak_mb'] for o in rounds], 0)} | "
        f"{_spread([o['ray']['peak_mb'] for o in rounds], 0)} |",
        "",
        f"Steady rate per core of a worker divided by that of one process: "
        f"**{_spread(ratios(rounds), 3)}**. Fixed cost: {_spread(fixed, 1)} s until the cluster "
        f"is up "
        f"under that load; {_spread(busy, 1)} processor seconds of the driver and Ray's own "
        f"processes "
        f"for {rounds[0]['ray']['images']} images. The files were equal byte by byte in "
        f"{sum(one['equal'] for one in rounds)} of {len(rounds)} shares.",
    ]


def _kills(found: dict[str, Any]) -> list[str]:
    rows = []
    for name, one in found.items():
        again = sum(one.get("sent_again", {}).values())
        kept = f"{one['resumed_rows']} rows kept" if "resumed_rows" in one else f"{again} shards"
        rows.append(
            f"| {name} | {one['killed']} | {kept} | {one['rows']} | {one['missing']} | "
            f"{one['doubled']} | {'yes' if one['equal'] else 'NO'} |"
        )
    return [
        "## Kills",
        "",
        "SIGKILL at random moments on a cluster of two nodes with one core each "
        "(`ray.cluster_utils.Cluster`). A node that was killed is replaced. A driver is started "
        "again "
        "with `--resume`. The file is compared with that of one undisturbed process.",
        "",
        "| killed | times | sent again, or kept | rows | missing | doubled | equal bytes |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _memory(found: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| {one['paths']:,} | {one['peak_mb']:.0f} | {one['processor_seconds']:.0f} |"
        for one in found
    ]
    return [
        "## Memory of the driver with Ray",
        "",
        "Lists of paths that do not exist, behind one image: a worker answers each with a row "
        "`missing`.",
        "",
        "| paths | peak MB of the driver | its processor seconds |",
        "|---|---|---|",
        *rows,
    ]


def _driver(found: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| {one['paths']:,} | {one['peak_mb']:.0f} | {_per(one, 'seconds_of_shards'):.1f} | "
        f"{_per(one, 'processor_seconds_of_shards'):.1f} | "
        f"{_per(one, 'processor_seconds_of_merging'):.1f} |"
        for one in found
    ]
    return [
        "## The driver alone",
        "",
        "Workers that answer at once, in the driver's process, 250 shards at a time: what the "
        "driver "
        "itself costs for walking a list, committing shards and merging them.",
        "",
        "| paths | peak MB | shards: us per image | processor us | merging: processor us per "
        "image |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _per(one: dict[str, Any], key: str) -> float:
    return float(1e6 * one[key] / one["paths"])


def _costs_of_driver(
    rounds: list[dict[str, Any]], driven: list[dict[str, Any]]
) -> dict[str, float]:
    largest = driven[-1]
    shards = -(-largest["paths"] // 256)
    return {
        "start_seconds": median(one["ray"]["cluster"]["start_seconds"] for one in rounds),
        "seconds_per_shard": largest["seconds_of_shards"] / shards,
        "merge_seconds_per_image": largest["processor_seconds_of_merging"] / largest["paths"],
        "spread": _SPREAD,
    }


def _costs(driver: dict[str, float]) -> list[str]:
    rows = []
    for name, rate in RATES.items():
        for machines in MACHINES:
            archive = simulate(machines, CORES, rate, ARCHIVE, driver)
            year = simulate(machines, CORES, rate, YEAR, driver)
            rows.append(
                f"| {name} | {machines} | {archive['images_per_second']:,.0f} | "
                f"{archive['seconds'] / 3600:.2f} | {machines * archive['seconds'] / 3600:.1f} | "
                f"{year['seconds'] / 60:.1f} |"
            )
    return [
        "## What that makes on 1, 10 and 100 machines",
        "",
        f"A simulation, not a measurement: {CORES} cores per machine, a worker per core with the "
        "measured rate of MobileNet V1 as INT8 on a processor with VNNI (`predict_throughput.md`), "
        f"shards whose times vary by {100 * _SPREAD:.0f}%, and the start, the time per shard "
        f"({1000 * driver['seconds_per_shard']:.1f} ms) and the merging "
        f"({1e6 * driver['merge_seconds_per_image']:.0f} us per image, in one process) measured "
        f"above "
        f"under load. Reading from storage is not included. An archive of {ARCHIVE:,} X-rays; a "
        f"year "
        f"of a group of hospitals with {YEAR:,}.",
        "",
        "| images | machines | images per second | archive: hours | machine hours | a year: "
        "minutes |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _spread(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"

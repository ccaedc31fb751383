"""Page of ``cpu_engines.py``: its measurements as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cxredge.artifacts.atomic import write_text

_ONNX_RUNTIME_FP32 = "fp32 in onnxruntime"
_OUR_INT8 = "benchmark_app, our int8"


def write_page(found: Mapping[str, Any], path: Path) -> None:
    """Return all measurements as one page."""
    machine, tools = found["machine"], found["tools"]
    lines = [
        "# Engines for the processor",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}, virtual. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in tools.items())}. Each figure is the "
        "median over the rounds, with the least and the largest; within a round all alternatives "
        "take turns in a random order. The machine is shared, and what else runs slows single "
        "rounds: ratios are those of each one's quickest round, which that touches least, with the "
        "range of the ratios within rounds. Images are in memory.",
    ]
    lines += [line for note in found.get("notes", ()) for line in ("", note)]
    for name, case in found["engines"].items():
        lines += ["", f"## {name}", "", *_engines(case, found["processor"].get(name))]
    for name, case in found["one-by-one"].items():
        lines += ["", f"## Turns: {name}", "", *_turns(case)]
    if found["shares"]:
        lines += ["", "## What the first layers in float cost and keep", "", _SHARES_TEXT]
    for name, case in found["shares"].items():
        lines += ["", f"### {name}", "", *_shares(case)]
    write_text(path, "\n".join(lines) + "\n")


_SHARES_TEXT = (
    "INT8 with the first convolutions in float until they cost this share of the network's "
    "multiplications; further layers follow where agreement on validation images falls short. "
    "Batch 1; the latency on all cores."
)


def _engines(case: Mapping[str, Any], processor: Mapping[str, Any] | None) -> list[str]:
    taken, chosen = case["alternatives"], case["chosen"]
    on_one_thread = processor["alternatives"] if processor else {}
    peers = [name for name in taken if name.startswith("benchmark_app, NNCF")]
    rows = []
    for name, figures in taken.items():
        kept, settings = case["kept"].get(name), case["settings"].get(name)
        rows.append(
            [
                f"**{name}** (serves)" if name == chosen else name,
                _spread(on_one_thread[name]["processor_ms"], 2) if processor else "-",
                _spread(figures["latency_ms"], 2),
                _spread(figures["images_per_second"], 0),
                _settings(settings),
                f"{kept['agreement']:.3f}" if kept else "-",
                f"{kept['logit_error']:.3f}" if kept else "-",
            ]
        )
    best_latency = min(peers, key=lambda name: min(taken[name]["latency_ms"]))
    best_rate = max(peers, key=lambda name: max(taken[name]["images_per_second"]))
    ours = taken[chosen]
    images = next(iter(case["kept"].values()))["images"]
    return [
        f"{case['rounds']} rounds of {case['seconds']:g} s a figure; agreement and logit error "
        f"against FP32 on {images} test images.",
        "",
        *_table(
            [
                "",
                "processor, one thread, ms",
                "latency, batch 1, ms",
                "images/s",
                "our settings",
                "agreement",
                "logit error",
            ],
            rows,
        ),
        "",
        f"- Latency of what serves over that of {best_latency}: "
        f"{_ratio(ours, taken[best_latency], 'latency_ms')}.",
        f"- Images per second of {best_rate} over what serves: "
        f"{_ratio(taken[best_rate], ours, 'images_per_second')}.",
        f"- ONNX Runtime FP32 takes {_ratio(taken[_ONNX_RUNTIME_FP32], ours, 'latency_ms')} times "
        "as long for an image; what serves infers "
        f"{_ratio(ours, taken[_ONNX_RUNTIME_FP32], 'images_per_second')} times as many per second.",
        f"- The same INT8 file in our session and in benchmark_app: latency "
        f"{_ratio(taken['int8 in openvino'], taken[_OUR_INT8], 'latency_ms')} times its own.",
        *_processor(on_one_thread, chosen, best_latency),
    ]


def _processor(taken: Mapping[str, Any], chosen: str, peer: str) -> list[str]:
    if not taken:
        return []
    return [
        "- Time of the processor on one thread, measured apart: what serves over "
        f"{peer}: {_ratio(taken[chosen], taken[peer], 'processor_ms')}; ONNX Runtime FP32 over "
        f"what serves: {_ratio(taken[_ONNX_RUNTIME_FP32], taken[chosen], 'processor_ms')}."
    ]


def _shares(case: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, figures in case["alternatives"].items():
        kept = case["kept"][name]
        share, backend = name.split(" in ", 1)
        measured = next(iter(figures))
        rows.append(
            [
                share,
                backend,
                str(kept["in_float"]),
                kept["step"],
                _spread(figures["processor_ms"], 2) if measured == "processor_ms" else "-",
                _spread(figures["latency_ms"], 2),
                _ratio(figures, case["alternatives"][f"0 in {backend}"], measured),
                f"{kept['agreement']:.3f}",
                f"{kept['logit_error']:.3f}",
            ]
        )
    return _table(
        [
            "share", "runtime", "convolutions in float", "last step of the quantization",
            "processor, one thread, ms", "latency, ms", "over share 0", "agreement", "logit error",
        ],
        rows,
    )  # fmt: skip


def _turns(case: Mapping[str, Any]) -> list[str]:
    one_by_one, stretches = (case["medians_ms"][w] for w in ("one by one", "in stretches"))
    rows = [
        [
            name,
            _spread(one_by_one[name], 2),
            _spread(stretches[name], 2),
            _ratio({"ms": one_by_one[name]}, {"ms": stretches[name]}, "ms"),
        ]
        for name in stretches
    ]
    return [
        "The same sessions on all cores, their calls alternating one by one, and in stretches of "
        "0.1 s whose beginning is not counted: the threads of a runtime spin for a while when it "
        "has nothing to do, in the way of the next one.",
        "",
        *_table(["", "one by one, ms", "in stretches, ms", "ratio"], rows),
    ]


def _settings(settings: Mapping[str, Any] | None) -> str:
    if settings is None:
        return "its own"
    return (
        f"{settings['threads_latency']} threads; many: {settings['lanes']} x {settings['threads']}"
        f", batch {settings['batch']}"
    )


def _ratio(
    above: Mapping[str, Sequence[float]], below: Mapping[str, Sequence[float]], figure: str
) -> str:
    """Return the ratio of the fastest rounds, and the smallest and largest ratio within a round."""
    quickest = max if figure == "images_per_second" else min
    within = [a / b for a, b in zip(above[figure], below[figure], strict=True)]
    ratio = quickest(above[figure]) / quickest(below[figure])
    return f"{ratio:.2f} ({min(within):.2f}-{max(within):.2f})"


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, median, max))
    return f"{middle} ({low}-{high})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]

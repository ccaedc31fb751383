"""Agreement of trainings on one process, on two, and on two nodes; kills and restarts.

    python benchmarks/training_devices.py MANIFEST --weights FILE \
        --out benchmarks/results/training_devices

For every seed, the same training runs on one process, on two (`torchrun --nproc-per-node 2`) and on
two nodes of one process each (two agents of torchrun on this machine), in turn. Kills happen in
trainings on generated phantoms. Writes OUT.json (everything) and OUT.md (tables). Only gloo on a
processor is used.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import CLASS_SPLITS

PYTHON = (sys.executable, "-m")
TORCHRUN = (*PYTHON, "torch.distributed.run")
Commands = list[list[str]]
Way = Callable[[Sequence[str]], Commands]


def alone(arguments: Sequence[str]) -> Commands:
    """Return the command for one process."""
    return [[*PYTHON, *arguments]]


def two_processes(arguments: Sequence[str], *options: str) -> Commands:
    """Return the command for two processes on one node."""
    return [[*TORCHRUN, "--standalone", "--nproc-per-node", "2", *options, "-m", *arguments]]


def restarted(arguments: Sequence[str]) -> Commands:
    """Return the command for two processes that are restarted once."""
    return two_processes(arguments, "--max-restarts", "1")


def two_nodes(arguments: Sequence[str]) -> Commands:
    """Return the commands of two nodes with one process each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "benchmark"]
    agent = [*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", *meet, "-m", *arguments]
    return [agent, agent]


def own_launcher(arguments: Sequence[str]) -> Commands:
    """Return the command that starts two processes itself."""
    return [[*PYTHON, *arguments, "--devices", "2"]]


WAYS: dict[str, Way] = {
    "1 process": alone,
    "2 processes": two_processes,
    "2 nodes of 1": two_nodes,
}
KILLS: list[tuple[str, Way, signal.Signals, int]] = [
    ("cxredge --devices 2", own_launcher, signal.SIGKILL, 0),
    ("cxredge --devices 2", own_launcher, signal.SIGKILL, 1),
    ("cxredge --devices 2", own_launcher, signal.SIGSTOP, 1),
    ("torchrun, 2 processes", two_processes, signal.SIGKILL, 0),
    ("torchrun, 2 processes", two_processes, signal.SIGKILL, 1),
    ("torchrun --max-restarts 1", restarted, signal.SIGKILL, 0),
    ("torchrun --max-restarts 1", restarted, signal.SIGKILL, 1),
    ("torchrun, 2 nodes", two_nodes, signal.SIGKILL, 0),
    ("torchrun, 2 nodes", two_nodes, signal.SIGKILL, 1),
]
"""Launcher, signal, and the rank that gets it."""
TIMEOUT_MINUTES = 0.2


def main() -> None:
    """Run the parts that are asked for; those of an earlier run are kept."""
    arguments = _arguments()
    record = arguments.out.with_suffix(".json")
    found: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {}
    found["machine"] = to_json(read_machine())
    found["tools"] = tool_versions("torch", "lightning-fabric", "timm")
    with tempfile.TemporaryDirectory() as folder:
        if "agreement" in arguments.parts:
            found["agreement"] = agreement(arguments, Path(folder))
            write_json(record, found)
        if "kills" in arguments.parts:
            found["kills"] = kills(Path(folder))
            write_json(record, found)
    write_text(arguments.out.with_suffix(".md"), page(found))


def agreement(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train every seed in every way, and compare each with one process."""
    listed = _subset(arguments.manifest, arguments.every, folder)
    threads = {"OMP_NUM_THREADS": "1"}
    options = [
        "cxredge", "train", str(listed), "--model", "mobilenet_v1", "--weights",
        str(arguments.weights), "--freeze", "paper", "--input-size", str(arguments.input_size),
        "--epochs", str(arguments.epochs), "--patience", str(arguments.epochs), "--accelerator",
        "cpu", "--quiet",
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        outs = {name: folder / f"{name}-{seed}" for name in WAYS}
        for name, way in WAYS.items():
            start = time.perf_counter()
            own = [*options, "--seed", str(seed), "--out", str(outs[name])]
            codes = [p.wait() for p in _start(way(own), threads)]
            seconds = time.perf_counter() - start
            row = {"way": name, "seed": seed, "exit_codes": codes, "seconds": seconds}
            rows.append(row | _figures(outs[name], outs["1 process"]))
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "history"}), flush=True)
    entries = read_manifest(listed).entries
    images = {split.value: sum(e.split is split for e in entries) for split in CLASS_SPLITS}
    settings = {"epochs": arguments.epochs, "input_size": arguments.input_size, "images": images}
    return {"settings": settings, "rows": rows}


def _subset(manifest: Path, every: int, folder: Path) -> Path:
    """Write a manifest with every n-th image of each class and split."""
    listed = read_manifest(manifest)
    kept = [
        entry
        for split in CLASS_SPLITS
        for name in listed.classes
        for entry in [e for e in listed.of(split) if e.label == name][::every]
    ]
    return write_manifest(folder / "manifest.csv", kept).path


def _figures(out: Path, reference: Path) -> dict[str, Any]:
    """Return the results of a run, and its differences from another one."""
    facts = json.loads((out / "card.json").read_text())["facts"]
    mine, other = _history(out), _history(reference)
    weights, before = (load_file(o / "model.safetensors") for o in (out, reference))
    return {
        "accuracy": facts["test"]["accuracy"],
        "validation_accuracy": facts["validation"]["accuracy"],
        "confusion": facts["test"]["confusion"],
        "seconds_per_epoch": facts["seconds_per_epoch"],
        "history": mine,
        "difference": {
            **{
                name: max(abs(a[name] - b[name]) for a, b in zip(mine, other, strict=True))
                for name in ("train_loss", "val_loss", "val_accuracy")
            },
            "weight": float(max(np.abs(weights[name] - before[name]).max() for name in weights)),
            "test_images": _moved(facts, reference),
        },
    }


def _moved(facts: dict[str, Any], reference: Path) -> int:
    """Return the least number of test images whose decision differs from the other run's."""
    other = json.loads((reference / "card.json").read_text())["facts"]["test"]["confusion"]
    return int(np.abs(np.array(facts["test"]["confusion"]) - np.array(other)).sum() // 2)


def _history(out: Path) -> list[dict[str, float]]:
    with (out / "history.csv").open(newline="") as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def _start(
    commands: Commands, environment: dict[str, str] | None = None, said: Path | None = None
) -> list[subprocess.Popen[bytes]]:
    variables = {**os.environ, **(environment or {})}
    if said is None:
        return [subprocess.Popen(command, env=variables) for command in commands]
    with said.open("wb") as stream:
        return [
            subprocess.Popen(command, env=variables, stdout=stream, stderr=stream)
            for command in commands
        ]


def kills(folder: Path) -> list[dict[str, Any]]:
    """Stop a rank in the middle of a training, and run the same command again."""
    phantoms = folder / "phantoms"
    make = ["cxredge", "data", "phantoms", "--patients", "14", "--size", "64", "--quiet"]
    subprocess.run([*PYTHON, *make, "--out", str(phantoms)], check=True)
    options = [
        "cxredge", "train", str(phantoms / "manifest.csv"), "--model", "mobilenet_v1", "--weights",
        "none", "--freeze", "head", "--input-size", "32", "--epochs", "60", "--patience", "60",
        "--batch-size", "16", "--accelerator", "cpu", "--timeout-minutes", str(TIMEOUT_MINUTES),
    ]  # fmt: skip
    whole = folder / "whole"
    subprocess.run([*two_processes([*options, "--out", str(whole)])[0]], check=True)
    rows = []
    for number, (name, way, sent, rank) in enumerate(KILLS):
        out = folder / f"kill-{number}"
        row = {"launcher": name, "signal": sent.name, "rank": rank}
        rows.append(row | _kill(way, [*options, "--out", str(out)], out, sent, rank))
        print(json.dumps(rows[-1]), flush=True)
        rows[-1]["difference"] = _figures(out, whole)["difference"]
    return rows


def _kill(
    way: Way, arguments: list[str], out: Path, sent: signal.Signals, rank: int
) -> dict[str, Any]:
    """Return how a training ends whose rank gets a signal, and how the next one does."""
    said = out.with_suffix(".log")
    processes = _start(way(arguments), said=said)
    while not (out / "checkpoint.pt").exists():
        time.sleep(0.02)
    victim = _find(processes, rank)
    if way is two_nodes:  # a node is lost with its agent
        os.kill(int(Path(f"/proc/{victim}/stat").read_text().split(") ")[1].split()[1]), sent)
    start = time.perf_counter()
    os.kill(victim, sent)
    codes = [process.wait() for process in processes]
    seconds = time.perf_counter() - start
    finished = (out / "card.json").exists()
    text = said.read_text(errors="replace")
    again = [] if finished else [p.wait() for p in _start(way(arguments), said=said)]
    return {
        "exit_codes": codes,
        "seconds_until_all_ended": round(seconds, 1),
        "messages": [line for line in text.splitlines() if line.startswith("Error: ")],
        "finished": finished,
        "exit_codes_again": again,
        "resumed": "Resuming after epoch" in (text if finished else said.read_text()),
        "left_over": sorted(p.name for p in out.iterdir() if p.name not in _RUN),
    }


_RUN = {
    "card.json", "model.safetensors", "history.csv", "curves.svg", "manifest.csv",
    "training-images.json",
}  # fmt: skip


def _find(processes: list[subprocess.Popen[bytes]], rank: int) -> int:
    """Return the process of a rank."""
    for process in processes:
        place = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in place.read_text().split():
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
    raise LookupError(rank)


def page(found: dict[str, Any]) -> str:
    """Return the tables."""
    machine = found["machine"]
    lines = [
        "# Training on several devices",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; torch "
        f"{found['tools']['torch']}, gloo on the processor; no GPU. The machine was shared, so "
        "that times are no measure of speed.",
    ]
    if "agreement" in found:
        lines += _agreement_lines(found["agreement"])
    if "kills" in found:
        lines += _kill_lines(found["kills"])
    return "\n".join(lines) + "\n"


def _agreement_lines(found: dict[str, Any]) -> list[str]:
    settings, rows = found["settings"], found["rows"]
    counts = ", ".join(f"{n} {name}" for name, n in settings["images"].items())
    lines = [
        "",
        "## Agreement",
        "",
        f"MobileNet V1 at the paper's freeze point, ImageNet weights, {settings['epochs']} epochs "
        f"of batches of 32 at {settings['input_size']}x{settings['input_size']} pixels; {counts} "
        "images; one thread per process. Differences are the largest over all epochs, from one "
        "process with the same seed. Test decisions: the number of entries of the confusion "
        "matrix that moved.",
        "",
        "| way | seed | test accuracy | validation accuracy | training loss differs | validation "
        "loss differs | test decisions differ | largest difference of a weight | s/epoch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        differs = row["difference"]
        cells = [
            row["way"], row["seed"], f"{row['accuracy']:.3f}", f"{row['validation_accuracy']:.3f}",
            f"{differs['train_loss']:.1e}", f"{differs['val_loss']:.1e}", differs["test_images"],
            f"{differs['weight']:.1e}", f"{row['seconds_per_epoch']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, "", *_noise(rows)]


def _noise(rows: list[dict[str, Any]]) -> list[str]:
    """Return the differences between seeds, as a measure for those between ways."""
    last = [row["history"][-1] for row in rows if row["way"] == "1 process"]
    accuracies = [row["accuracy"] for row in rows if row["way"] == "1 process"]
    others = [row for row in rows if row["way"] != "1 process"]
    worst = max(row["difference"]["val_loss"] for row in others)
    spread = statistics.stdev(one["val_loss"] for one in last)
    return [
        f"Between the seeds of one process, the validation loss of the last epoch has a standard "
        f"deviation of {spread:.1e}, and the test accuracy ranges from {min(accuracies):.3f} to "
        f"{max(accuracies):.3f}. The largest difference of a validation loss between the ways is "
        f"{worst:.1e}, {worst / spread:.2g} of that deviation.",
    ]


def _kill_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Kills and restarts",
        "",
        "Phantoms, MobileNet V1 of 32 pixels, 60 epochs on two processes; a rank gets the signal "
        "after the first checkpoint, on two nodes also its agent. A process waits at most "
        f"{TIMEOUT_MINUTES * 60:g} s for the others. Then the same command runs again, unless "
        "torchrun restarted it. Weights are compared with those of a training without a kill.",
        "",
        "| launcher | signal to rank | all ended or finished after, s | exit codes | again | "
        "resumed | left over | largest difference of a weight |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["launcher"], f"{row['signal']} {row['rank']}", row["seconds_until_all_ended"],
            ", ".join(map(str, row["exit_codes"])),
            ", ".join(map(str, row["exit_codes_again"])) or "restarted",
            "yes" if row["resumed"] else "no", ", ".join(row["left_over"]) or "nothing",
            f"{row['difference']['weight']:.1e}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=3, help="take every n-th image")
    parser.add_argument("--input-size", type=int, default=128)
    parser.add_argument("--parts", nargs="+", default=["agreement", "kills"])
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""`cxredge predict --engine ray` beside `cxredge predict`: speed, kills and the driver's memory.

    python -m benchmarks.ray_predict BUNDLE --images DIR --work WORK --out OUT

Requires the extra `ray`. Images of DIR are linked below WORK as often as needed. Parts that are in
OUT.json already are kept; --parts repeats some.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = os.urandom(32).hex()

from benchmarks.other_work import OtherWork
from benchmarks.ray_driver import write_list
from benchmarks.ray_nodes import add_node, find_workers
from benchmarks.ray_predict_page import page
from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.bundle.bundle import open_bundle
from cxredge.cluster.shards import folder_of
from cxredge.data.inputs import walk_images
from cxredge.telemetry.linux import read_machine

SHARES = 5
FEW = 8
KILLED_WORKERS, KILLED_DRIVERS, KILLED_NODES = 20, 5, 2
LISTED = (10_000, 100_000, 1_000_000)
DRIVEN = (100_000, 1_000_000, 10_000_000)
_CHILD = """
import resource, sys
from cxredge.cli import app
try:
    app(sys.argv[1:])
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def main() -> None:
    arguments = _arguments()
    path = arguments.out.with_suffix(".json")
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= {
        "machine": to_json(read_machine()),
        "tools": tool_versions("ray", "onnxruntime", "pillow", "numpy"),
        "images": arguments.count,
    }
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "speed": measure_speed, "kills": count_kills, "memory": measure_memory,
        "driver": measure_driver,
    }  # fmt: skip
    for name, measure in parts.items():
        if name in (arguments.parts or parts) and (arguments.parts or name not in found):
            found[name] = measure(arguments)
            card = open_bundle(arguments.bundle).card.classifier
            found.setdefault("networks", {})[name] = f"{card.network} at {card.input_size} pixels"
            write_json(path, found)
    write_text(arguments.out.with_suffix(".md"), page(found))


def measure_speed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Predict shares of the images in turn, each with both engines, in random order."""
    rounds = []
    for number in range(SHARES):
        folder = _linked(arguments, number, arguments.count // SHARES)
        out = {name: arguments.work / f"{number}-{name}.csv" for name in ("local", "ray")}
        one: dict[str, Any] = {"few": _run(arguments, _few(arguments), arguments.work / "few.csv")}
        for name in random.Random(number).sample(list(out), 2):
            others = OtherWork()
            one[name] = _run(arguments, folder, out[name], "--engine", name)
            one[name]["others"] = round(others.share(), 3)
        one["equal"] = out["local"].read_bytes() == out["ray"].read_bytes()
        rounds.append(one)
        print(json.dumps(one), flush=True)
    return rounds


def count_kills(arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill workers, drivers and nodes; compare the rows with those of one undisturbed process."""
    folder = _linked(arguments, 0, arguments.count // SHARES)
    expected = arguments.work / "expected.csv"
    _run(arguments, folder, expected)
    found: dict[str, Any] = {}
    with _two_nodes() as cluster:
        for name, disturb in (
            ("workers", _kill_workers), ("drivers", _kill_drivers), ("nodes", _kill_nodes),
        ):  # fmt: skip
            out = arguments.work / f"killed-{name}.csv"
            found[name] = disturb(arguments, cluster, folder, out)
            rows = [line.split(b",", 1)[0] for line in out.read_bytes().splitlines()[1:]]
            wanted = [line.split(b",", 1)[0] for line in expected.read_bytes().splitlines()[1:]]
            found[name] |= {
                "rows": len(rows),
                "missing": len(set(wanted) - set(rows)),
                "doubled": sum(count - 1 for count in Counter(rows).values()),
                "equal": out.read_bytes() == expected.read_bytes(),
            }
            print(name, found[name], flush=True)
    return found


def measure_memory(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Predict long lists of paths that do not exist, behind one image; Ray is real."""
    found = []
    image = next(_linked(arguments, 0, 1).iterdir())
    for count in LISTED:
        listed = arguments.work / f"{count}.txt"
        write_list(listed, count, image)
        words = ("--engine", "ray", "--paths", str(listed))
        one = _run(arguments, None, arguments.work / "listed.csv", *words)
        found.append({"paths": count, **one})
        print(json.dumps(found[-1]), flush=True)
    return found


def measure_driver(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the driver over long lists with workers that answer at once, each in a new process."""
    found = []
    for count in DRIVEN:
        words = [sys.executable, "-m", "benchmarks.ray_driver", str(count), str(arguments.work)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        print(found[-1], flush=True)
    return found


def _kill_workers(
    arguments: argparse.Namespace, cluster: Any, folder: Path, out: Path
) -> dict[str, Any]:
    killed, draw = 0, random.Random(0)
    with _started(arguments, cluster, folder, out) as running:
        while running.poll() is None and killed < KILLED_WORKERS:
            time.sleep(draw.uniform(1, 5))
            for process in find_workers()[: 1 if killed < KILLED_WORKERS else 0]:
                os.kill(process, signal.SIGKILL)
                killed += 1
    return {"killed": killed, "sent_again": _answer(arguments, running)["cluster"]["lost"]}


def _kill_drivers(
    arguments: argparse.Namespace, cluster: Any, folder: Path, out: Path
) -> dict[str, Any]:
    kept = []
    for _ in range(KILLED_DRIVERS):
        before = len(list(folder_of(out).glob("part-*")))
        with _started(arguments, cluster, folder, out, "--resume") as running:
            while running.poll() is None and len(list(folder_of(out).glob("part-*"))) < before + 2:
                time.sleep(0.05)
            running.kill()
        kept.append(len(list(folder_of(out).glob("part-*"))))
    with _started(arguments, cluster, folder, out, "--resume") as running:
        pass
    answer = _answer(arguments, running)
    return {
        "killed": len(kept), "kept_shards": kept, "resumed_rows": answer["resumed"],
    }  # fmt: skip


def _kill_nodes(
    arguments: argparse.Namespace, cluster: Any, folder: Path, out: Path
) -> dict[str, Any]:
    killed = 0
    with _started(arguments, cluster, folder, out) as running:
        while running.poll() is None and killed < KILLED_NODES:
            wanted = 2 + 3 * killed
            while running.poll() is None and len(list(folder_of(out).glob("part-*"))) < wanted:
                time.sleep(0.05)
            if running.poll() is None:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                killed += 1
                add_node(cluster)
    found = _answer(arguments, running)["cluster"]
    nodes = [node["images"] for node in found["nodes"]]
    return {"killed": killed, "sent_again": found["lost"], "images_by_node": nodes}


@contextmanager
def _two_nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        add_node(cluster, include_dashboard=False)
        add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def _started(
    arguments: argparse.Namespace, cluster: Any, folder: Path, out: Path, *more: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a prediction on a cluster, and wait for its end after the block."""
    words = [sys.executable, "-m", "cxredge", "predict", str(arguments.bundle), str(folder)]
    words += ["--engine", "ray", "--cluster", cluster.address, "--out", str(out), "--json", *more]
    with (
        _answer_file(arguments).open("w") as stream,
        subprocess.Popen(words, stdout=stream, stderr=subprocess.DEVNULL, text=True) as running,
    ):
        yield running
        running.wait()


def _answer_file(arguments: argparse.Namespace) -> Path:
    """Return the file with the JSON value of the last prediction that was started."""
    return Path(arguments.work) / "answer.json"


def _answer(arguments: argparse.Namespace, running: subprocess.Popen[str]) -> Any:
    assert running.returncode == 0, running.returncode
    return json.loads(_answer_file(arguments).read_text())


def _run(
    arguments: argparse.Namespace, folder: Path | None, out: Path, *more: str
) -> dict[str, Any]:
    """Predict in a new process; return its summary, peak memory and processor time."""
    words = [sys.executable, "-c", _CHILD, "predict", str(arguments.bundle), *more]
    words += [str(folder)] if folder else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [*words, "--out", str(out), "--json", "-q"], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer, last = json.loads(done.stdout), done.stderr.strip().splitlines()[-1].split()
    return {
        "images": answer["images"],
        "seconds_of_the_command": round(seconds, 2),
        "seconds": answer["seconds"],
        "peak_mb": round(float(last[0]), 1),
        "processor_seconds": round(float(last[1]), 2),
        "processor_seconds_of_children": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - float(last[1]), 2
        ),
        "cluster": answer["cluster"],
    }


def _few(arguments: argparse.Namespace) -> Path:
    return _linked(arguments, SHARES, FEW)


def _linked(arguments: argparse.Namespace, number: int, count: int) -> Path:
    """Return a folder of ``count`` links to images, other ones for every number."""
    sources = sorted(walk_images([arguments.images], Counter()))
    folder = Path(arguments.work) / f"images-{number}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    start = number * count
    for place, source in enumerate(islice(cycle(sources), start, start + count)):
        link = folder / f"{start + place:06d}{Path(str(source)).suffix}"
        if not link.is_symlink():
            link.symlink_to(Path(str(source)).resolve())
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    parser.add_argument("--count", type=int, default=20_000, help="number of images in all")
    parser.add_argument("--parts", nargs="+", choices=("speed", "kills", "memory", "driver"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

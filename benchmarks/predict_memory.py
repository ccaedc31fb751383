"""Peak memory and speed of `cxredge predict` by the number of images.

    python benchmarks/predict_memory.py BUNDLE IMAGES --work WORK --out OUT

The images of a folder are linked as often as needed, so that 10,000 inputs need no disk space.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.inputs import walk_images
from cxredge.telemetry.linux import read_machine

_CHILD = """
import resource, sys
from cxredge.cli import app
try:
    app(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    arguments = parser.parse_args()
    sources = [Path(str(one)) for one in walk_images([arguments.images], Counter())]
    rows = [_measure(arguments, sources, count) for count in arguments.counts]
    found = {"machine": to_json(read_machine()), "tools": tool_versions("onnxruntime", "pillow")}
    found["rows"] = rows
    found["growth_mb"] = round(rows[-1]["peak_rss_mb"] - rows[0]["peak_rss_mb"], 1)
    write_json(arguments.out.with_suffix(".json"), found)
    print(json.dumps(found["rows"], indent=2), found["growth_mb"])


def _measure(arguments: argparse.Namespace, sources: list[Path], count: int) -> dict[str, float]:
    folder = arguments.work / str(count)
    folder.mkdir(parents=True)
    for number, source in enumerate(islice(cycle(sources), count)):
        (folder / f"{number:06d}{source.suffix}").symlink_to(source.resolve())
    command = [sys.executable, "-c", _CHILD, "predict", str(arguments.bundle), str(folder)]
    command += ["--out", str(arguments.work / f"{count}.csv"), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "images": found["images"],
        "ok": found["ok"],
        "images_per_second": found["images_per_second"],
        "peak_rss_mb": round(int(done.stderr.split()[-1]) * scale / 1e6, 1),
    }


if __name__ == "__main__":
    main()

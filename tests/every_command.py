"""Run every command in one process and record what Python does outside a folder.

``python -m tests.every_command FOLDER PHANTOMS MODEL CALIBRATION``: writes below FOLDER, and prints
the network functions that Python code called, and the paths outside FOLDER that it opened to write,
one per line.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# As in a user's process, the package is imported before any of its libraries.
from cxredge.cli import app

_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.sendto")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STEPS = {
    "data phantoms": "--patients 3 --size 64 --out {out}/phantoms",
    "data folder": "{phantoms}/images --out {out}/folder",
    "data audit": "{out}/phantoms/manifest.csv",
    "models": "",
    "train": "{phantoms}/manifest.csv --weights none --input-size 32 --epochs 1 --out {out}/run",
    "export": "{out}/run --out {out}/exported",
    "calibrate": "{phantoms}/manifest.csv --count 8 --out {out}/calibration.csv",
    "quantize": "{model} --calibration {calibration} --dialect tensorrt --effort quick "
    "--evaluate {phantoms}/manifest.csv --min-agreement 0.5 --max-accuracy-drop 0.5 "
    "--out {out}/int8",
    "targets": "",
    "build": "{model} --calibration {calibration} --min-agreement 0.5 --max-accuracy-drop 0.5 "
    "--effort quick --out {out}/bundle",
    "sign": "{out}/bundle --key {out}/private.pem",
    "deploy": "{out}/bundle",
    "verify": "{out}/bundle",
    "predict": "{out}/bundle {phantoms}/images --out {out}/predictions.csv "
    "--heatmaps {out}/heatmaps",
    "show": "{phantoms}/images/viral/patient-0042-1.png --bundle {out}/bundle --out {out}/show.png",
    "evaluate": "{out}/bundle {phantoms}/manifest.csv",
    "bench": "{out}/bundle --images {phantoms}/images --seconds 0.1 --queries 10",
    "export-triton": "{out}/bundle --out {out}/triton",
    "report": "{out}/bundle --out {out}/report.html",
    "compare": "{out}/bundle {out}/bundle",
    "inspect": "{out}/bundle",
    "doctor": "",
}
_LIBRARIES = {
    "train": "torch",
    "export": "torch",
    "sign": "cryptography",
    "export-triton": "tritonclient",
}


def steps() -> dict[str, str]:
    """Return the arguments of each command whose library is installed."""
    return {name: a for name, a in STEPS.items() if find_spec(_LIBRARIES.get(name, "cxredge"))}


def main() -> None:
    """Run all commands."""
    out, phantoms, model, calibration = map(Path, sys.argv[1:])
    seen: list[str] = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_NETWORK):
            seen.append(f"{event} {arguments[1:]}")
        elif _is_change(event, arguments):
            note(event, arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            note(event, arguments[1])

    def note(event: str, path: object) -> None:
        # An integer is the descriptor of a file that is already open.
        if isinstance(path, (str, Path)) and not str(path).startswith((str(out), "/dev/")):
            seen.append(f"{event} {path}")

    _write_key(out / "private.pem")
    sys.addaudithook(hear)
    from tests.quick_search import shorten

    shorten()
    places = {"out": out, "phantoms": phantoms, "model": model, "calibration": calibration}
    for name, arguments in steps().items():
        words = [*name.split(), *(word.format(**places) for word in arguments.split())]
        code = app([*words, "--quiet"], standalone_mode=False)
        assert not code, f"{name}: exit code {code}"
    (out / "seen.txt").write_text("\n".join(seen))


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether an event opens a file to write, or makes a folder that does not exist."""
    if event == "open":
        return bool(arguments[2] & _WRITING)
    return event == "os.mkdir" and not Path(arguments[0]).exists()


def _write_key(path: Path) -> None:
    if find_spec("cryptography"):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path.write_bytes(
            Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


if __name__ == "__main__":
    main()

"""The commands that are killed, their outputs, and inputs small enough for hundreds of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.campaign.child import small_bundle
from benchmarks.commands import cxredge
from cxredge.data.phantoms import render_phantom

_LAX = "--min-agreement 0 --max-accuracy-drop 1"


@dataclass(frozen=True)
class Case:
    """A command, and the outputs that it replaces.

    Attributes:
        command: Arguments; ``{base}`` has the inputs, ``{root}`` the outputs.
        outputs: Paths of the outputs in the root.
        before: Commands that make the earlier outputs; empty if there are none.
        measured: Whether the output is a file of measurements, which differ between two runs.
        grows: Whether the output is there, and unfinished, before it has a card.
        has_card: Whether folders among the outputs have a card.
    """

    command: str
    outputs: tuple[str, ...]
    before: tuple[str, ...] = ()
    measured: bool = False
    grows: bool = False
    has_card: bool = True


_BUNDLE = "copy {base}/bundle {root}/bundle"
_MANIFEST = "{base}/phantoms/manifest.csv"
_IMAGES = "{base}/phantoms/images"
_SET = ("set/manifest.csv", "set/left_out.csv")
_TRAIN = "--weights none --freeze none --input-size 32 --batch-size 8"
_PREPARE = "data prepare --protocol full --cohen {base}/cohen --kermany {base}/kermany"
_NANO = f"build {{base}}/fp32 --target jetson-nano --precision fp32 {_LAX} --out {{root}}/bundle"
_TX2 = f"build {{base}}/fp32 --target jetson-tx2 --precision fp32 {_LAX} --out {{root}}/bundle"
CASES = {
    "train": Case(
        f"train {_MANIFEST} {_TRAIN} --epochs 2 --out {{root}}/run", ("run",), grows=True
    ),
    "export": Case(
        "export {base}/run --out {root}/model",
        ("model",),
        ("export {base}/other --out {root}/model",),
    ),
    "quantize": Case(
        "quantize {base}/fp32 --calibration {base}/calibration.csv --dialect cpu --effort quick "
        f"--evaluate {_MANIFEST} {_LAX} --out {{root}}/int8",
        ("int8",),
        ("export {base}/other --out {root}/int8",),
    ),
    "build": Case(_NANO, ("bundle",), (_TX2,)),
    "build --archive": Case(f"{_NANO} --archive", ("bundle", "bundle.tar"), (f"{_TX2} --archive",)),
    "deploy": Case("deploy {root}/bundle", ("bundle",), (_BUNDLE,)),
    "sign": Case("sign {root}/bundle --key {base}/key.pem", ("bundle/card.sig",), (_BUNDLE,)),
    "data prepare": Case(
        f"{_PREPARE} --out {{root}}/set", _SET, (f"{_PREPARE} --seed 1 --out {{root}}/set",)
    ),
    "data folder": Case(
        f"data folder {_IMAGES} --out {{root}}/set",
        _SET,
        (f"data folder {_IMAGES} --seed 1 --out {{root}}/set",),
    ),
    "data phantoms": Case("data phantoms --patients 3 --size 32 --out {root}/set", _SET),
    "calibrate": Case(
        f"calibrate {_MANIFEST} --count 16 --out {{root}}/c.csv",
        ("c.csv",),
        (f"calibrate {_MANIFEST} --count 8 --out {{root}}/c.csv",),
    ),
    "predict": Case(
        f"predict {{base}}/bundle {_IMAGES} --out {{root}}/p.csv",
        ("p.csv",),
        (f"predict {{base}}/bundle {_IMAGES}/normal --out {{root}}/p.csv",),
    ),
    "predict --resume --heatmaps": Case(
        "predict {base}/bundle {base}/viral.png {base}/normal.png --out {root}/p.csv --resume "
        "--heatmaps {root}/maps",
        ("p.csv", "maps"),
        has_card=False,
    ),
    "show": Case(
        "show {base}/viral.png --bundle {base}/bundle --out {root}/x.png",
        ("x.png",),
        ("show {base}/normal.png --bundle {base}/bundle --out {root}/x.png",),
    ),
    "evaluate": Case(
        f"evaluate {{root}}/bundle {_MANIFEST} --out {{root}}/e.json",
        ("e.json",),
        (_BUNDLE, f"evaluate {{root}}/bundle {_MANIFEST} --split val --out {{root}}/e.json"),
        measured=True,
    ),
    "bench": Case(
        "bench {root}/bundle --seconds 0 --queries 5 --warm-up 1 --out {root}/b.json",
        ("b.json",),
        (_BUNDLE, "bench {root}/bundle --seconds 0 --queries 9 --warm-up 1 --out {root}/b.json"),
        measured=True,
    ),
    "report": Case(
        "report {root}/bundle --out {root}/r.html",
        ("r.html",),
        (_BUNDLE, "report {root}/bundle --no-xrays --out {root}/r.html"),
    ),
}


def make_inputs(base: Path) -> None:
    """Make a small bundle, another run, images, collections like the paper's, and a key."""
    small_bundle(base)
    cxredge(
        "train", base / "phantoms" / "manifest.csv", "--weights", "none", "--freeze", "none",
        "--input-size", 64, "--epochs", 1, "--seed", 1, "--out", base / "other",
    )  # fmt: skip
    _write_collections(base / "cohen", base / "kermany")
    for label in ("normal", "viral"):
        _draw(label, 0, base / f"{label}.png")
    _write_key(base / "key.pem")
    # Imported before the children are forked, so that each starts at once.
    __import__("lightning_fabric")
    __import__("cxredge.export.export")


def _write_collections(cohen: Path, kermany: Path, each: int = 8) -> None:
    rows = ["patientid,finding,view,modality,filename"]
    for number in range(each):
        _draw("covid19", number, cohen / "images" / f"c{number}.png")
        rows.append(f"c{number},COVID-19,PA,X-ray,c{number}.png")
        train = kermany / "train"
        _draw("normal", 100 + number, train / "NORMAL" / f"IM-{number:04d}-0001.jpeg")
        for label, kind in (("bacterial", "bacteria"), ("viral", "virus")):
            name = f"person{number}_{kind}_{number}.jpeg"
            _draw(label, 200 + number, train / "PNEUMONIA" / name)
    (cohen / "metadata.csv").write_text("\n".join(rows) + "\n")


def _draw(label: str, patient: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render_phantom(label, patient, 0, 64)).save(path)


def _write_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    path.write_bytes(pem)

"""``cxredge demo``: the whole path on generated phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.vocabulary import Augmentation, Scenario, Split

_PATIENTS = 70
_INPUT_SIZE = 96
_EPOCHS = 12


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "demo")(demo)


def demo(
    output: Output,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo"),
) -> Outcome:
    """Walk the whole path on generated phantoms: no patient, no download, a few minutes.

    Every step is a command of its own; each is named as it runs.
    """
    from cxredge.cli.audit import audit
    from cxredge.cli.bench import bench
    from cxredge.cli.build import build
    from cxredge.cli.calibrate import calibrate
    from cxredge.cli.data import phantoms
    from cxredge.cli.engine import TensorRTOptions
    from cxredge.cli.evaluate import evaluate
    from cxredge.cli.gate import GateOptions
    from cxredge.cli.predict import predict
    from cxredge.cli.report import report
    from cxredge.cli.train import (
        FeatureOptions,
        FitOptions,
        HardwareOptions,
        InputOptions,
        SearchOptions,
        StartOptions,
        train,
    )
    from cxredge.cli.verify import verify
    from cxredge.errors import ArtifactError

    if out.exists() and any(out.iterdir()):
        raise ArtifactError(f"{out} is not empty.", "Choose another --out, or delete it.")
    data, run, bundle = out / "data", out / "run", out / "bundle"
    manifest, calibration = data / "manifest.csv", out / "calibration.csv"

    def step(words: str) -> None:
        output.note(f"\n$ cxredge {words}")

    step(f"data phantoms --patients {_PATIENTS} --out {data}")
    _tell(output, phantoms(output, data, _PATIENTS))
    step(f"data audit {manifest}")
    _tell(output, audit(output, manifest))
    step(
        f"train {manifest} --model mobilenet_v1 --weights none --freeze none "
        f"--input-size {_INPUT_SIZE} --epochs {_EPOCHS} --learning-rate 0.003 "
        f"--backbone-rate 1 --batch-size 8 --dropout 0 --augment none --out {run}"
    )
    trained = train(
        output,
        manifest=manifest,
        out=run,
        start=StartOptions("mobilenet_v1", "none", "none"),
        fit=FitOptions(_EPOCHS, batch_size=8, learning_rate=3e-3, backbone_rate=1.0, dropout=0.0),
        features=FeatureOptions(Augmentation.NONE),
        search=SearchOptions(),
        scaling=InputOptions(_INPUT_SIZE),
        hardware=HardwareOptions(),
    )
    _tell(output, trained)
    step(f"calibrate {manifest} --count 128 --out {calibration}")
    _tell(output, calibrate(output, manifest, calibration, 128))
    step(f"build {run} --target here --calibration {calibration} --out {bundle}")
    built = build(
        output,
        source=run,
        calibration=calibration,
        out=bundle,
        gate=GateOptions(),
        engine=TensorRTOptions(),
    )
    _tell(output, built)
    step(f"verify {bundle}")
    _tell(output, verify(output, bundle))
    predictions = out / "predictions.csv"
    step(f"predict {bundle} {data / 'images'} --out {predictions}")
    _tell(output, predict(output, bundle, [data / "images"], predictions))
    step(f"evaluate {bundle} {manifest} --split test")
    _tell(output, evaluate(output, bundle, manifest, Split.TEST))
    for images in (None, [data / "images"]):
        step(f"bench {bundle} --seconds 3" + (f" --images {images[0]}" if images else ""))
        _tell(output, bench(output, bundle, images, Scenario.SINGLE_STREAM, 3.0))
    page = out / "report.html"
    step(f"report {bundle} --out {page}")
    _tell(output, report(output, [bundle], page))
    return _outcome(out, built, page)


def _tell(output: Output, outcome: Outcome) -> None:
    output.note(outcome.text)


def _outcome(out: Path, built: Outcome, page: Path) -> Outcome:
    by_precision = {c["precision"]: c["accuracy"] for c in built.data["candidates"]}
    data = {
        "report": str(page),
        "bundle": built.data["bundle"],
        "predictions": str(out / "predictions.csv"),
        "precision": built.data["precision"],
        "accuracy_fp32": by_precision["fp32"],
        "accuracy_int8": by_precision["int8"],
        "agreement": {c["precision"]: c["agreement"] for c in built.data["candidates"]},
    }
    text = (
        f"\nDone. Accuracy on phantoms of held-out patients: FP32 {by_precision['fp32']:.3f}, "
        f"INT8 {by_precision['int8']:.3f}; {data['precision']} ships.\n"
        f"Look at {page}"
    )
    return Outcome(data, text, "cxredge data folder YOUR_IMAGES --out mydata")

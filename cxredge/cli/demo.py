"""``cxredge demo``: all stages on generated phantoms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.vocabulary import Augmentation, Scenario, Split

_PATIENTS = 70
_INPUT_SIZE = 96
_EPOCHS = 12
_BENCH_S = 3
_UNFINISHED = ".cxredge-unfinished"
"""Marks the folder of a demo that was interrupted, and can be resumed."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "demo")(demo)


def demo(
    output: Output,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo"),
) -> Outcome:
    """Run all stages on generated phantoms, in a few minutes.

    Requires no patient data and no download. Prints the command of each step. After an
    interruption, the same command resumes.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.errors import ArtifactError

    unfinished = out / _UNFINISHED
    with exclusive(out):
        if out.exists() and any(out.iterdir()) and not unfinished.is_file():
            raise ArtifactError(f"{out} is not empty.", "Choose another --out, or delete it.")
        out.mkdir(exist_ok=True)
        unfinished.touch()
        _make_data(output, out)
        _train(output, out)
        built = _build(output, out)
        _measure(output, out)
        unfinished.unlink()
    return _outcome(out, built)


def _make_data(output: Output, out: Path) -> None:
    from cxredge.cli.audit import audit
    from cxredge.cli.data import phantoms

    data, manifest = out / "data", _manifest(out)
    words = f"data phantoms --patients {_PATIENTS} --controls --out {data}"
    _run(output, words, lambda: phantoms(output, data, _PATIENTS, controls=True))
    _run(output, f"data audit {manifest}", lambda: audit(output, manifest))


def _train(output: Output, out: Path) -> None:
    from cxredge.cli.hardware_options import HardwareOptions
    from cxredge.cli.log_options import LogOptions
    from cxredge.cli.train import train
    from cxredge.cli.train_options import (
        FeatureOptions,
        FitOptions,
        InputOptions,
        SearchOptions,
        StartOptions,
    )

    manifest, run = _manifest(out), out / "run"
    words = (
        f"train {manifest} --model mobilenet_v1 --weights none --freeze none "
        f"--input-size {_INPUT_SIZE} --epochs {_EPOCHS} --learning-rate 0.003 "
        f"--backbone-rate 1 --batch-size 8 --dropout 0 --augment none --out {run}"
    )
    fit = FitOptions(
        epochs=_EPOCHS, batch_size=8, learning_rate=3e-3, backbone_rate=1.0, dropout=0.0
    )
    _run(
        output,
        words,
        lambda: train(
            output,
            manifest=manifest,
            out=run,
            start=StartOptions("mobilenet_v1", "none", freeze="none"),
            fit=fit,
            features=FeatureOptions(augmentation=Augmentation.NONE),
            search=SearchOptions(),
            scaling=InputOptions(_INPUT_SIZE),
            hardware=HardwareOptions(),
            logs=LogOptions(),
        ),
    )


def _build(output: Output, out: Path) -> Outcome:
    from cxredge.cli.build import build
    from cxredge.cli.calibrate import calibrate
    from cxredge.cli.engine import TensorRTOptions
    from cxredge.cli.gate import GateOptions, RefusalOptions
    from cxredge.cli.outputs import OutputOptions
    from cxredge.cli.verify import verify

    manifest, run, bundle = _manifest(out), out / "run", out / "bundle"
    calibration = out / "calibration.csv"
    words = f"calibrate {manifest} --count 128 --out {calibration}"
    _run(output, words, lambda: calibrate(output, manifest, calibration, 128))
    words = f"build {run} --target here --calibration {calibration} --out {bundle}"
    built = _run(
        output,
        words,
        lambda: build(
            output,
            source=run,
            calibration=calibration,
            out=bundle,
            gate=GateOptions(),
            refusals=RefusalOptions(),
            outputs=OutputOptions(),
            engine=TensorRTOptions(),
        ),
    )
    _run(output, f"verify {bundle}", lambda: verify(output, bundle))
    return built


def _measure(output: Output, out: Path) -> None:
    from cxredge.cli.bench import bench
    from cxredge.cli.evaluate import evaluate
    from cxredge.cli.predict import predict
    from cxredge.cli.report import report

    manifest, bundle, images = _manifest(out), out / "bundle", out / "data" / "images"
    predictions, page = _predictions(out), _report(out)
    words = f"predict {bundle} {images} --out {predictions}"
    _run(output, words, lambda: predict(output, bundle, [str(images)], predictions))
    words = f"evaluate {bundle} {manifest} --split test"
    _run(output, words, lambda: evaluate(output, bundle, manifest, Split.TEST))
    scenario, words = Scenario.SINGLE_STREAM, f"bench {bundle} --seconds {_BENCH_S}"
    _run(output, words, lambda: bench(output, bundle, None, scenario, _BENCH_S))
    words += f" --images {images}"
    _run(output, words, lambda: bench(output, bundle, [images], scenario, _BENCH_S))
    words = f"report {bundle} --examples {manifest} --out {page}"
    _run(output, words, lambda: report(output, [bundle], page, examples=manifest))


def _run(output: Output, words: str, step: Callable[[], Outcome]) -> Outcome:
    """Show a command, run it and show its result."""
    output.note(f"\n$ cxredge {words}")
    outcome = step()
    output.note(outcome.text)
    return outcome


def _manifest(out: Path) -> Path:
    return out / "data" / "manifest.csv"


def _predictions(out: Path) -> Path:
    return out / "predictions.csv"


def _report(out: Path) -> Path:
    return out / "report.html"


def _outcome(out: Path, built: Outcome) -> Outcome:
    by_precision = {c["precision"]: c["accuracy"] for c in built.data["candidates"]}
    data = {
        "report": str(_report(out)),
        "bundle": built.data["bundle"],
        "predictions": str(_predictions(out)),
        "precision": built.data["precision"],
        "accuracy_fp32": by_precision["fp32"],
        "accuracy_int8": by_precision["int8"],
        "agreement": {c["precision"]: c["agreement"] for c in built.data["candidates"]},
    }
    text = (
        f"\nDone. Accuracy on phantoms of held-out patients: FP32 {by_precision['fp32']:.3f}, "
        f"INT8 {by_precision['int8']:.3f}; the bundle uses {data['precision']}.\n"
        f"Open {_report(out)}"
    )
    return Outcome(data, text, "cxredge data folder YOUR_IMAGES --out mydata")

"""Option names of other tools, and what does the same here.

Training scripts of torchvision and timm, Ultralytics, Keras, scikit-learn, trtexec, ONNX Runtime's
and OpenVINO's tools have them.
"""

from __future__ import annotations

Meaning = tuple[str, str]
"""An option or argument, and its explanation; empty for the start of the option's help."""

_INPUT_SIZE: tuple[Meaning, ...] = (("--input-size", ""),)
_RATE: tuple[Meaning, ...] = (("--learning-rate", ""),)
_ON_ITS_DEVICE = "a bundle runs on the device that it was deployed on: cxredge deploy BUNDLE"
_DEVICE: tuple[Meaning, ...] = (
    ("--accelerator", ""),
    ("--target", ""),
    ("BUNDLE", f"{_ON_ITS_DEVICE}."),
)
_WEIGHTS: tuple[Meaning, ...] = (
    ("--weights", ""),
    ("BUNDLE", "a folder of 'cxredge build' holds the weights, given without an option."),
    ("RUN", "a folder of 'cxredge train' holds the weights, given without an option."),
    ("RUN_OR_MODEL", "a folder of 'cxredge train' or 'export', given without an option."),
    ("MODEL", "a folder of 'cxredge export' holds the weights, given without an option."),
)
_OUT: tuple[Meaning, ...] = (("--out", ""),)
_DATA: tuple[Meaning, ...] = (
    ("MANIFEST", "the file of 'cxredge data', given without an option."),
    ("PATH...", "images, folders and zip files, given without an option."),
    ("DIR", "the folder, given without an option."),
    ("--calibration", ""),
)
_IMAGES: tuple[Meaning, ...] = (("--images", ""), *_DATA)
_BATCH: tuple[Meaning, ...] = (("--batch-size", ""), ("--batch", ""))
_NETWORK: tuple[Meaning, ...] = (("--model", ""), *_WEIGHTS)
_CALIBRATION: tuple[Meaning, ...] = (("--calibration", ""),)
_THREADS: tuple[Meaning, ...] = (("--threads", ""),)
_EPOCHS: tuple[Meaning, ...] = (("--epochs", ""),)
_SEED: tuple[Meaning, ...] = (("--seed", ""),)
_SPLITS: tuple[Meaning, ...] = (("--fractions", ""),)


def _precision(name: str) -> tuple[Meaning, ...]:
    """Return the meaning of a switch for a precision."""
    return ((f"--precision {name}", ""),)


NAMES: dict[str, tuple[Meaning, ...]] = {
    **dict.fromkeys(
        ("imgsz", "img-size", "image-size", "img", "size", "resolution", "crop-size"), _INPUT_SIZE
    ),
    **dict.fromkeys(("lr", "lr0", "base-lr", "learning-rate-init", "eta"), _RATE),
    **dict.fromkeys(("device", "provider", "ep"), _DEVICE),
    **dict.fromkeys(("gpus", "num-gpus", "gpu", "nproc-per-node"), (("--devices", ""), *_DEVICE)),
    **dict.fromkeys(("nnodes", "num-nodes"), (("--nodes", ""),)),
    **dict.fromkeys(
        ("weights", "pretrained", "checkpoint", "ckpt", "model-path", "onnx", "engine"), _WEIGHTS
    ),
    **dict.fromkeys(("model", "arch", "backbone", "network", "net", "architecture"), _NETWORK),
    **dict.fromkeys(
        ("output", "o", "output-dir", "out-dir", "outdir", "save-dir", "save-path", "saveengine"),
        _OUT,
    ),
    **dict.fromkeys(("name", "project", "dest", "output-file", "output-path", "log-dir"), _OUT),
    **dict.fromkeys(("data", "dataset", "data-dir", "data-path", "train-dir", "root"), _DATA),
    **dict.fromkeys(("source", "input", "i", "images", "image", "input-dir", "folder"), _IMAGES),
    **dict.fromkeys(("batch", "b", "bs", "batchsize", "batch-size", "bsz"), _BATCH),
    **dict.fromkeys(("epoch", "e", "max-epochs", "num-epochs", "n-epochs"), _EPOCHS),
    **dict.fromkeys(("early-stopping", "early-stop", "es-patience"), (("--patience", ""),)),
    **dict.fromkeys(("wd", "l2", "decay"), (("--weight-decay", ""),)),
    **dict.fromkeys(("ema", "ema-decay", "model-ema"), (("--average-decay", ""),)),
    **dict.fromkeys(("drop", "drop-rate", "dropout-rate"), (("--dropout", ""),)),
    **dict.fromkeys(("smoothing",), (("--label-smoothing", ""),)),
    **dict.fromkeys(("freeze-layers", "unfreeze", "fine-tune-at"), (("--freeze", ""),)),
    **dict.fromkeys(("augmentation", "aug", "aa"), (("--augment", ""),)),
    **dict.fromkeys(("cache",), (("--features", ""),)),
    **dict.fromkeys(("amp", "mixed-precision", "bf16"), _precision("bf16-mixed")),
    **dict.fromkeys(("half", "fp16"), _precision("fp16")),
    **dict.fromkeys(("int8", "quantize"), _precision("int8")),
    **dict.fromkeys(("dtype", "data-type"), (("--precision", ""),)),
    **dict.fromkeys(("calib", "calib-data", "calibration-data", "calib-dataset"), _CALIBRATION),
    **dict.fromkeys(
        ("workers", "num-workers", "nthreads", "nproc", "jobs", "j", "num-threads"), _THREADS
    ),
    **dict.fromkeys(("random-state", "random-seed", "manual-seed"), _SEED),
    **dict.fromkeys(("val-split", "test-size", "test-split", "split-ratio", "ratio"), _SPLITS),
    **dict.fromkeys(("workspace", "mempoolsize"), (("--workspace-mb", ""),)),
    **dict.fromkeys(("builderoptimizationlevel", "opt-level"), (("--optimization-level", ""),)),
    **dict.fromkeys(("duration", "time"), (("--seconds", ""),)),
    **dict.fromkeys(("warmup", "warm-up-runs"), (("--warm-up", ""),)),
    **dict.fromkeys(("iterations", "niter", "runs", "n"), (("--queries", ""),)),
    **dict.fromkeys(("platform", "board", "hardware"), (("--target", ""),)),
}
"""Meanings by name in lower case, without dashes in front, with dashes for underscores."""

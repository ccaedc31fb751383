"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.vocabulary import Effort, Split

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="manifest.csv of 'cxredge data'.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Same seed, same result.", min=0)]
SplitOption = Annotated[Split, typer.Option("--split", help="Which images of the manifest.")]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads", help="Threads of one inference; 0 for what build found best here.", min=0
    ),
]
SignWithOption = Annotated[
    Path | None,
    typer.Option("--sign-with", metavar="KEY", help="Sign the bundle with this Ed25519 key (PEM)."),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        metavar="KEY",
        help="Refuse a bundle that was not signed with the private key to this one (PEM).",
    ),
]
EffortOption = Annotated[
    Effort,
    typer.Option(
        "--effort",
        help="How hard INT8 is tried. quick: min-max ranges, corrected biases. default: the best "
        "ranges, equalised channels, corrected weights, and layers in float where that does not "
        "do. extensive: more of each, centred activations (for TensorRT), and up to half of the "
        "layers in float, until logits are as near to FP32's as those of FP16.",
    ),
]

"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.vocabulary import CLASS_SPLITS, Effort, Precision, ProtocolName, Split


def choice_option(name: str, choices: Mapping[str, Enum | None], description: str) -> Any:
    """Return an option that accepts the values of an enum and a word that stands for None.

    Args:
        name: Name of the option.
        choices: Value of each word on the command line.
        description: The help text.
    """

    def check(word: str) -> str:
        if word not in choices:
            known = ", ".join(repr(one) for one in choices)
            raise typer.BadParameter(f"{word!r} is not one of {known}.")
        return word

    def choose(word: str | None) -> Enum | None:
        return choices[word] if word is not None else None

    # Typer takes a parsed None for a missing option, so the word becomes None in the callback.
    return typer.Option(
        name,
        parser=check,
        callback=choose,
        metavar=f"<{'|'.join(choices)}>",
        help=description,
        show_default=False,
    )


PrecisionOption = Annotated[
    Precision | None,
    choice_option(
        "--precision",
        {"auto": None, **{one.value: one for one in Precision}},
        "Precision to serve; auto: the fastest that passes the gate. [default: auto]",
    ),
]
ProtocolOption = Annotated[
    ProtocolName | None,
    choice_option(
        "--protocol",
        {**{one.value: one for one in ProtocolName}, "full": None},
        "Data set of the paper; cxr-d: CXR B with adults among the normal lungs; kermany: the "
        "official split of Kermany's set; full: all images.",
    ),
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")]
BundleOrArchiveArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder or archive of a bundle.")
]
ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="Manifest from 'cxredge data'.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        help="Random seed; the same seed reproduces the result.",
        min=0,
        max=2**32 - 1,
    ),
]
SplitOption = Annotated[
    Split,
    choice_option(
        "--split",
        {split.value: split for split in CLASS_SPLITS},
        "Split of the manifest to use. [default: test]",
    ),
]
PatientKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--patient-key",
        help="File with the secret key of the patients' hashes. [default: this user's key]",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        help="Number of threads per inference; 0 for the number that build or deploy chose here.",
        min=0,
        max=1024,
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
        help="Refuse a bundle that was not signed with the matching private key (PEM).",
    ),
]
EffortOption = Annotated[
    Effort,
    typer.Option(
        "--effort",
        help="Extent of the search for an INT8 quantization. quick: min-max ranges, corrected "
        "biases. default: the best of several range methods, equalised channels, corrected "
        "weights, and layers in float if necessary. extensive: all range methods, more images, "
        "centred activations (for TensorRT), and up to half of the layers in float, until the "
        "logits are as close to FP32 as those of FP16.",
    ),
]

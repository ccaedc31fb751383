"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.vocabulary import Effort, Precision, ProtocolName, Split


def choice_option(name: str, choices: Mapping[str, Enum | None], words: str) -> Any:
    """Return an option that accepts the values of an enum and a word that stands for None.

    Args:
        name: Name of the option.
        choices: What each word on the command line stands for.
        words: The help text.
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
        help=words,
        show_default=False,
    )


PrecisionOption = Annotated[
    Precision | None,
    choice_option(
        "--precision",
        {"auto": None, **{one.value: one for one in Precision}},
        "auto: the fastest precision that passes the gate. [default: auto]",
    ),
]
ProtocolOption = Annotated[
    ProtocolName | None,
    choice_option(
        "--protocol",
        {**{one.value: one for one in ProtocolName}, "full": None},
        "The paper's data set; full: all images.",
    ),
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="manifest.csv of 'cxredge data'.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]
SeedOption = Annotated[
    int, typer.Option("--seed", help="Random seed; the same seed gives the same result.", min=0)
]
SplitOption = Annotated[Split, typer.Option("--split", help="Split of the manifest to use.")]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        help="Number of threads per inference; 0 for the number that build or deploy chose here.",
        min=0,
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
        help="How much the INT8 quantization tries. quick: min-max ranges, corrected biases. "
        "default: the best ranges, equalised channels, corrected weights, and layers in float if "
        "necessary. extensive: more of each, centred activations (for TensorRT), and up to half of "
        "the layers in float, until logits are as close to FP32's as FP16's are.",
    ),
]

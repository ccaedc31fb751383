"""``cxredge sign``: sign a bundle, so that a device can verify its origin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleOrArchiveArgument
from cxredge.cli.output import Outcome, Output
from cxredge.errors import CxredgeError, quoted


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "sign")(sign)


def sign(
    output: Output,
    bundle: BundleOrArchiveArgument,
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            help="Ed25519 private key (PEM). Generate one: openssl genpkey -algorithm ed25519 -out "
            "private.pem; its public key: openssl pkey -in private.pem -pubout -out public.pem",
        ),
    ],
    archive: Annotated[
        bool, typer.Option("--archive", help="Also pack the signed folder as one file, BUNDLE.tar.")
    ] = False,
) -> Outcome:
    """Sign a bundle, or its archive, with an Ed25519 key.

    The signature covers every file of the build, not what a device adds later.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.bundle.archive import (
        SIGNATURE_NAME,
        archive_of,
        is_archive,
        unpacked,
        write_archive,
    )
    from cxredge.bundle.signature import find_public_key, read_private_key
    from cxredge.bundle.signature import sign as stage

    private = read_private_key(key)
    folder = bundle.absolute().parent if is_archive(bundle) else bundle
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise CxredgeError(
            f"{bundle} cannot be signed: {folder} is not writable.",
            "Copy it to another folder, and sign the copy.",
        )
    packed = None
    with exclusive(bundle):
        if is_archive(bundle):
            packed = bundle
            with unpacked(bundle) as folder:
                stage(folder, private)
                write_archive(folder, packed)
        else:
            stage(bundle, private)
            if archive:
                packed = archive_of(bundle)
                write_archive(bundle, packed)
    data = {"bundle": str(bundle), "signed": True, "archive": str(packed) if packed else None}
    where = packed if packed == bundle else bundle / SIGNATURE_NAME
    more = f"\nPacked {packed}" if packed and packed != bundle else ""
    return Outcome(
        data,
        f"Signed {bundle}: {where}{more}",
        _check(packed or bundle, key, find_public_key(key, private)),
    )


def _check(signed: Path, key: Path, public: Path | None) -> str:
    """Return the command that verifies the signature, after the one that makes the public key."""
    if public:
        return f"cxredge verify {quoted(signed)} --public-key {quoted(public)}"
    public = key.with_name("public.pem")
    if public.exists():
        public = key.with_name(f"{key.stem}-public.pem")
    made = f"openssl pkey -in {quoted(key)} -pubout -out {quoted(public)}"
    return f"{made} && cxredge verify {quoted(signed)} --public-key {quoted(public)}"

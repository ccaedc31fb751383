"""Ed25519 signatures (RFC 8032) of bundles.

The signature covers the bytes of the card, which has the hash of every packed file. It is a file of
64 bytes, so that OpenSSL 3 can check it without cxredge::

    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in card.json -sigfile card.sig

Files that a device adds (engines, passport, results) are not covered.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, read_artifact, read_card
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.regular_file import read_regular
from cxredge.bundle.archive import MAX_CARD_BYTES, SIGNATURE_NAME, is_archive, read_head
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError, WrongUsage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_MAX_BYTES = 100_000
"""Maximum size of a key or a signature; they have some hundred bytes."""
_MAX_BESIDE = 100
_COPY_AGAIN = "Copy the bundle again."
_MAKE_KEY = "Make one: openssl genpkey -algorithm ed25519 -out private.pem"
_MAKE_PUBLIC = "Make it of the private key: openssl pkey -in private.pem -pubout -out public.pem"


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key from a PEM file.

    Raises:
        WrongUsage: It is missing, encrypted, or not an Ed25519 key.
        ModuleNotFoundError: The ``signing`` extra is not installed.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_pem(path, _MAKE_KEY), password=None)
    except TypeError:
        raise WrongUsage(
            f"{path} is encrypted, and cxredge asks for no passwords.",
            f"Sign with a copy in memory: openssl pkey -in {path} -out /dev/shm/private.pem",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        if b"PUBLIC KEY-----" in _pem(path, _MAKE_KEY):
            raise WrongUsage(
                f"{path} holds a public key; expected the private key that it was made of.",
                "Sign with that one: cxredge sign BUNDLE --key private.pem",
            ) from None
        raise WrongUsage(f"{path} holds no private key in PEM.", _MAKE_KEY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongUsage(f"{path} holds a key of another kind than Ed25519.", _MAKE_KEY)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key from a PEM file.

    Raises:
        WrongUsage: It is missing, or not an Ed25519 public key.
        ModuleNotFoundError: The ``signing`` extra is not installed.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_pem(path, _MAKE_PUBLIC))
    except (ValueError, UnsupportedAlgorithm):
        raise WrongUsage(f"{path} holds no public key in PEM.", _MAKE_PUBLIC) from None
    if not isinstance(key, Ed25519PublicKey):
        raise WrongUsage(f"{path} holds a key of another kind than Ed25519.", _MAKE_PUBLIC)
    return key


def find_public_key(private: Path, key: Ed25519PrivateKey) -> Path | None:
    """Return the file beside a private key that holds its public key; None if there is none."""
    wanted = key.public_key().public_bytes_raw()
    for path in sorted(private.parent.glob("*.pem"))[:_MAX_BESIDE]:
        with contextlib.suppress(WrongUsage):
            if read_public_key(path).public_bytes_raw() == wanted:
                return path
    return None


def sign(bundle: Path, key: Ed25519PrivateKey) -> None:
    """Write the signature of a bundle's card beside it; an earlier one is replaced.

    The same card and key give the same bytes.

    Raises:
        ArtifactError: The folder is not a bundle, or a file is missing or differs.
    """
    read_artifact(bundle, BundleCard)
    room = writing(bundle, _MAX_BYTES, SIGNATURE_NAME)
    with room, atomic_file(bundle / SIGNATURE_NAME) as temporary:
        temporary.write_bytes(key.sign((bundle / CARD_NAME).read_bytes()))


def check_signature(bundle: Path, key: Ed25519PublicKey) -> None:
    """Refuse a bundle or an archive that was not signed with the matching private key.

    The files are not compared with the card; opening the bundle does that.

    Raises:
        ArtifactError: It has no signature, or that of another key or another card.
    """
    from cryptography.exceptions import InvalidSignature

    card_bytes, signature = _signed(bundle)
    if signature is None:
        raise ArtifactError(
            f"{bundle} is not signed.",
            "Where it was built: cxredge sign BUNDLE --key private.pem",
        )
    try:
        key.verify(signature, card_bytes)
    except InvalidSignature:
        raise ArtifactError(
            f"The signature of {bundle} does not fit this key: another key made it, or the card "
            "was changed afterwards.",
            "Do not use it before you know where it comes from.",
        ) from None


def is_signed(bundle: Path) -> bool:
    """Return whether a bundle or an archive has a signature, of any key."""
    return _signed(bundle)[1] is not None


def _signed(bundle: Path) -> tuple[bytes, bytes | None]:
    """Return the bytes of the card, and the signature or None."""
    if is_archive(bundle):
        _card, card_bytes, signature = read_head(bundle)
        return card_bytes, signature
    path = bundle / SIGNATURE_NAME
    read_card(bundle, BundleCard)
    card_bytes = read_regular(bundle / CARD_NAME, MAX_CARD_BYTES, _COPY_AGAIN)
    signed = path.is_file() or path.is_symlink()
    return card_bytes, read_regular(path, _MAX_BYTES, _COPY_AGAIN) if signed else None


def _pem(path: Path, hint: str) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES, hint)
    except ArtifactError as error:
        raise WrongUsage(error.message, hint) from None
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}.", hint) from None

"""Signing a bundle with an Ed25519 key (RFC 8032), and checking whose it is.

What is signed is the card as it lies on the disk; the card has the hash of every file that was
packed. The signature is the plain 64 bytes, so that OpenSSL 3 can check it where cxredge is not::

    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in card.json -sigfile card.sig

What a device adds (engines, passport, results) is not covered: it is made there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, read_artifact, read_card
from cxredge.bundle.archive import SIGNATURE_NAME, is_archive, read_head
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError, WrongUsage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_MAKE_KEY = "Make one: openssl genpkey -algorithm ed25519 -out private.pem"
_MAKE_PUBLIC = "Make it of the private key: openssl pkey -in private.pem -pubout -out public.pem"


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key from a PEM file.

    Raises:
        WrongUsage: It is missing, encrypted, or no Ed25519 key.
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
        WrongUsage: It is missing, or no Ed25519 public key.
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


def sign(bundle: Path, key: Ed25519PrivateKey) -> None:
    """Write a signature beside a bundle's card, in place of an earlier one.

    The same card and key give the same bytes.

    Raises:
        ArtifactError: The folder is no bundle, or a file is missing or differs.
    """
    read_artifact(bundle, BundleCard)
    with atomic_file(bundle / SIGNATURE_NAME) as temporary:
        temporary.write_bytes(key.sign((bundle / CARD_NAME).read_bytes()))


def check_signature(bundle: Path, key: Ed25519PublicKey) -> None:
    """Refuse a bundle or an archive that was not signed with the private key to this one.

    Whether its files are those of the card is for what opens it.

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
    """Tell whether a bundle or an archive has a signature, whoever made it."""
    return _signed(bundle)[1] is not None


def _signed(bundle: Path) -> tuple[bytes, bytes | None]:
    """Return the bytes of the card, and the signature where there is one."""
    if is_archive(bundle):
        _card, card_bytes, signature = read_head(bundle)
        return card_bytes, signature
    path = bundle / SIGNATURE_NAME
    read_card(bundle, BundleCard)
    return (bundle / CARD_NAME).read_bytes(), path.read_bytes() if path.is_file() else None


def _pem(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}.", hint) from None

"""Signatures: whose bundle it is, and that nothing in it was changed since."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxredge.artifacts.hashing import sha256_of_json
from cxredge.bundle.archive import unpack, write_archive
from tests.conftest import Run

pytest.importorskip("cryptography", reason="needs the signing extra")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

PEM = serialization.Encoding.PEM
PRIVATE = (PEM, serialization.PrivateFormat.PKCS8)
PUBLIC = (PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``private.pem``, its ``public.pem``, and keys that are of no use."""
    folder = tmp_path_factory.mktemp("keys")
    plain, mine = (
        serialization.NoEncryption(),
        ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32),
    )
    other, exchange = ed25519.Ed25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    (folder / "private.pem").write_bytes(mine.private_bytes(*PRIVATE, plain))
    (folder / "public.pem").write_bytes(mine.public_key().public_bytes(*PUBLIC))
    (folder / "other.pem").write_bytes(other.public_key().public_bytes(*PUBLIC))
    (folder / "exchange.pem").write_bytes(exchange.private_bytes(*PRIVATE, plain))
    (folder / "exchange-public.pem").write_bytes(exchange.public_key().public_bytes(*PUBLIC))
    secret = serialization.BestAvailableEncryption(b"secret")
    (folder / "encrypted.pem").write_bytes(mine.private_bytes(*PRIVATE, secret))
    (folder / "text.pem").write_text("no key")
    return folder


@pytest.fixture
def signed(bundle: Path, keys: Path, cxredge: Run) -> Path:
    ran = cxredge("sign", bundle, "--key", keys / "private.pem", "--archive", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["archive"] == str(bundle) + ".tar"
    return bundle


def test_a_signed_bundle_and_its_archive_are_known(signed: Path, keys: Path, cxredge: Run) -> None:
    for path in (signed, signed.with_name(signed.name + ".tar")):
        ran = cxredge("verify", path, "--public-key", keys / "public.pem", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["signature"] == "checked"
        refused = cxredge("verify", path, "--public-key", keys / "other.pem")
        assert refused.code == 1
        assert "does not fit this key" in refused.err
        assert "is signed; check the signer" in cxredge("verify", path).err
        assert cxredge("inspect", path, "--json").json["signed"] is True


def test_signing_again_gives_the_same(signed: Path, keys: Path, cxredge: Run) -> None:
    first = (signed / "card.sig").read_bytes()
    assert len(first) == 64
    assert cxredge("sign", signed, "--key", keys / "private.pem").code == 0
    assert (signed / "card.sig").read_bytes() == first


def test_next_command_names_the_public_key_or_makes_it(
    bundle: Path, keys: Path, cxredge: Run
) -> None:
    def next_of(key: Path) -> str:
        ran = cxredge("sign", bundle, "--key", key)
        assert ran.code == 0, ran.err
        return ran.err[ran.err.index("Next: ") :].strip()

    check = f"cxredge verify {bundle} --public-key"
    assert next_of(keys / "private.pem") == f"Next: {check} {keys / 'public.pem'}"
    alone = bundle.with_name("mine.pem")
    shutil.copy(keys / "private.pem", alone)
    for public in (bundle.with_name("public.pem"), bundle.with_name("mine-public.pem")):
        made = f"openssl pkey -in {alone} -pubout -out {public}"
        assert next_of(alone) == f"Next: {made} && {check} {public}"
        shutil.copy(keys / "other.pem", public)


def test_an_archive_is_signed_in_its_place(bundle: Path, keys: Path, cxredge: Run) -> None:
    path = bundle.with_name("mine.tar")
    write_archive(bundle, path)
    assert "is not signed" in cxredge("verify", path, "--public-key", keys / "public.pem").err
    assert cxredge("sign", path, "--key", keys / "private.pem").code == 0
    assert cxredge("verify", path, "--public-key", keys / "public.pem").code == 0
    unpack(path, bundle.with_name("out"))
    assert (bundle.with_name("out") / "card.sig").is_file()


def test_what_was_changed_after_signing_is_refused(signed: Path, keys: Path, cxredge: Run) -> None:
    key = ("--public-key", keys / "public.pem")
    model = signed / "model-fp32.onnx"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    assert "is damaged" in cxredge("verify", signed, *key).err
    model.write_bytes(content)
    # A card that is true to itself, with another threshold.
    card = json.loads((signed / "card.json").read_text())
    card["facts"]["thresholds"]["fp32"]["normal"] = 0.001
    for gates in (card["facts"]["gate"], *card["facts"]["gate_by_runtime"].values()):
        (row,) = (r for r in gates["fp32"]["thresholds"] if r["class_name"] == "normal")
        row.update(fp32=0.001, candidate=0.001)
    for points in card["facts"]["operating_points"].values():
        points["fp32"]["thresholds"]["normal"] = 0.001
    del card["card_sha256"]
    (signed / "card.json").write_text(json.dumps({**card, "card_sha256": sha256_of_json(card)}))
    refused = cxredge("verify", signed, *key)
    assert refused.code == 1
    assert "the card was changed afterwards" in refused.err


def test_a_device_can_insist_on_a_signature(
    signed: Path, bundle: Path, keys: Path, cxredge: Run, tmp_path: Path
) -> None:
    path = signed.with_name(signed.name + ".tar")
    out = tmp_path / "out"
    refused = cxredge("deploy", path, "--out", out, "--public-key", keys / "other.pem")
    assert refused.code == 1
    assert not out.exists(), "nothing is unpacked before it is known whose it is"
    ran = cxredge("deploy", path, "--out", out, "--public-key", keys / "public.pem", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["signed"] is True
    assert "was signed with the key to" in ran.err
    (bundle / "card.sig").unlink()
    refused = cxredge("deploy", bundle, "--public-key", keys / "public.pem")
    assert refused.code == 1
    assert "is not signed" in refused.err


def test_build_signs(cxredge: Run, model: Path, keys: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--precision", "fp32", "--out", out, "--archive", "--json",
        "--sign-with", keys / "private.pem",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["signed"] is True
    assert cxredge("verify", ran.json["archive"], "--public-key", keys / "public.pem").code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pem", "cannot be read: No such file"),
        ("text.pem", "holds no private key in PEM"),
        ("exchange.pem", "of another kind than Ed25519"),
        ("encrypted.pem", "is encrypted"),
    ],
)
def test_keys_of_no_use_for_signing(
    name: str, message: str, keys: Path, bundle: Path, cxredge: Run
) -> None:
    ran = cxredge("sign", bundle, "--key", keys / name)
    assert ran.code == 2
    assert message in ran.err
    assert "openssl" in ran.err
    assert not (bundle / "card.sig").exists()


def test_the_public_half_is_known_and_no_key_is_written_over(
    keys: Path, bundle: Path, cxredge: Run
) -> None:
    ran = cxredge("sign", bundle, "--key", keys / "public.pem")
    assert ran.code == 2
    assert "holds a public key; expected the private key that it was made of" in ran.err
    assert "openssl" not in ran.err


@pytest.mark.parametrize("name", ["missing.pem", "text.pem", "private.pem", "exchange-public.pem"])
def test_keys_of_no_use_for_checking(name: str, keys: Path, signed: Path, cxredge: Run) -> None:
    ran = cxredge("verify", signed, "--public-key", keys / name)
    assert ran.code == 2
    assert "openssl pkey" in ran.err


def test_without_the_extra_it_says_what_to_install(bundle: Path, keys: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['cryptography'] = None\n"
        "from cxredge.cli import app\n"
        f"app(['sign', {str(bundle)!r}, '--key', {str(keys / 'private.pem')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'cxredge[signing]'" in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_makes_keys_and_checks_signatures(
    bundle: Path, tmp_path: Path, cxredge: Run
) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    for arguments in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    assert cxredge("sign", bundle, "--key", private).code == 0
    assert cxredge("verify", bundle, "--public-key", public).code == 0
    checked = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in",
         bundle / "card.json", "-sigfile", bundle / "card.sig"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Verified Successfully" in checked.stdout, checked.stderr

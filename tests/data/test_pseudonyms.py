import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

import pytest

from cxredge.data.pseudonyms import Pseudonyms
from cxredge.errors import DataError
from tests.artifacts.file_changes import Changes


def test_a_pseudonym_is_the_keyed_hash(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef\n")
    expected = hmac.new(b"0123456789abcdef", b"P-17", hashlib.sha256).hexdigest()
    assert Pseudonyms(key).of("P-17") == expected[:32]
    assert Pseudonyms(key).of("P-18") != expected[:32]


def test_a_key_is_created_once_and_readable_by_this_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = Pseudonyms()
    assert not first.used
    assert not first.key_file.exists()
    name = first.of("P-17")
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    assert Pseudonyms().of("P-17") == name
    first.key_file.unlink()
    assert Pseudonyms().of("P-17") != name


@pytest.mark.parametrize("content", [None, b"", b"short", b" " * 64])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(DataError, match="key"):
        Pseudonyms(key).of("P-17")
    assert key.exists() is (content is not None)


def test_no_key_is_read_from_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(DataError, match="not a regular file, but a pipe"):
        Pseudonyms(tmp_path / "key").of("1")


def test_key_is_whole_or_absent_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    changes, key = Changes(), Pseudonyms().key_file
    for at in range(1, 50):
        with changes.watched(tmp_path, at, stop), suppress(Stopped):
            Pseudonyms().of("P-17")
        assert not key.exists() or len(key.read_text()) == 65
        if changes.count < at:
            break
        key.unlink(missing_ok=True)
    assert at > 3
    Pseudonyms().of("P-17")
    assert [path.name for path in key.parent.iterdir()] == [key.name]

"""Files with wrong content are refused in a sentence with the key and what was expected."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.card import CARD_NAME, read_card
from cxredge.artifacts.records import MAX_JSON_BYTES
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import PASSPORT_NAME, read_passport
from cxredge.errors import ArtifactError
from tests.artifacts.conftest import edit_card

MISSING = object()


def change(body: Any, keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        body = body[key]
    if value is MISSING:
        del body[keys[-1]]
    else:
        body[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        (("classifier", "input_size"), "224", "'classifier.input_size': Expected `int`, got `str`"),
        (("classifier", "classes"), [], "'classifier.classes': Expected `array` of length >= 1"),
        (("parents", "source"), "zz", "'parents.source': Expected `str` matching regex"),
        (("config",), 3, "'config': Expected `object`, got `int`"),
        (("config", "gate"), MISSING, "key 'config.gate' is missing"),
        (("config", "precision"), "int4", "'config.precision': found 'int4'; expected 'auto', "),
        (("config", "specificity"), 1.5, "'config.specificity': Expected `float` <= 1.0, found 1"),
        (("config", "engine", "batches"), [8, 1], "Batch sizes 8, 1 are not ascending"),
        (("facts", "gate", "int9"), {}, "'facts.gate': unknown key 'int9'; expected 'fp32', "),
        (("facts", "gate", "int8"), MISSING, "Expected 'gate' and 'thresholds' for FP32"),
        (
            ("facts", "gate", "int8", "images"), -3,
            "'facts.gate.int8.images': Expected `int` >= 0, found -3",
        ),
        (
            ("facts", "gate", "int8", "checks", 2, "verdict"), "maybe",
            "'facts.gate.int8.checks.2.verdict': found 'maybe'; expected 'held', ",
        ),
        (
            ("facts", "thresholds", "int8", "normal"), "high",
            "'facts.thresholds.int8.normal': Expected `float`, got `str`",
        ),
    ],
)  # fmt: skip
def test_a_card_names_the_key(
    bundle: Path, keys: tuple[Any, ...], value: Any, problem: str, cxredge
) -> None:
    edit_card(bundle, lambda body: change(body, keys, value), sign=True)
    with pytest.raises(ArtifactError, match=re.escape(problem)):
        read_card(bundle, BundleCard)


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        (("precision",), "int4", "'precision': found 'int4'; expected 'fp32', "),
        (("schema",), "cxredge.passport/9", "expected 'cxredge.passport/1'"),
        (("threads",), -1, "'threads': Expected `int` >= 0, found -1"),
        (("engine",), MISSING, "key 'engine' is missing"),
        (("engine_sha256",), None, "'engine_sha256': Expected `str`, got `null`"),
        (("machine", "cores"), float("nan"), "NaN is not a JSON number"),
        (("latency_ms", "fp32", "p50"), "fast", "'latency_ms.fp32.p50': Expected `float`"),
        (("candidates", 0, "accuracy"), 2, "'candidates.0.accuracy': Expected `float` <= 1.0"),
    ],
)
def test_a_passport_names_the_key(
    bundle: Path, keys: tuple[Any, ...], value: Any, problem: str, cxredge
) -> None:
    path = bundle / PASSPORT_NAME
    body = json.loads(path.read_text())
    del body["content_sha256"]
    change(body, keys, value)
    path.write_text(json.dumps(body))
    with pytest.raises(ArtifactError, match=re.escape(problem)) as caught:
        read_passport(bundle)
    assert str(path) in caught.value.message
    assert f"cxredge deploy {bundle}" in caught.value.hint


def too_deep(path: Path) -> None:
    path.write_text("[" * 100_000 + "]" * 100_000)


def too_large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(MAX_JSON_BYTES + 1)


def infinite(path: Path) -> None:
    path.write_text('{"facts": Infinity}')


@pytest.mark.parametrize("name", [CARD_NAME, PASSPORT_NAME])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (too_deep, "is nested too deeply"),
        (too_large, "MB are read"),
        (infinite, "Infinity is not a JSON number"),
    ],
)
def test_limits_of_files(
    bundle: Path, name: str, damage: Callable[[Path], None], problem: str, cxredge
) -> None:
    damage(bundle / name)
    ran = cxredge("verify", bundle)
    assert ran.code == 1
    assert problem in ran.err
    assert str(bundle / name) in ran.err
    assert "Traceback" not in ran.err


def test_the_command_ends_with_a_sentence(bundle: Path, cxredge) -> None:
    edit_card(bundle, lambda body: change(body, ("config", "split"), "exam"), sign=True)
    (bundle / PASSPORT_NAME).unlink()
    ran = cxredge("predict", bundle, bundle, "--out", bundle.parent / "p.csv")
    assert ran.code == 1
    assert "key 'config.split': found 'exam'; expected 'train', 'val', 'test'" in ran.err
    assert "Traceback" not in ran.err

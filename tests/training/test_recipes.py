"""Recipes, mixing and teachers, from the command line to the card of the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.data.manifest import Manifest, read_manifest, write_manifest  # noqa: E402
from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training.assembly import assemble, load_images  # noqa: E402
from cxredge.training.config import TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.recipes import RECIPES, override  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.training.teacher import Teacher  # noqa: E402
from cxredge.vocabulary import RecipeName, Split  # noqa: E402
from tests.conftest import Run  # noqa: E402

pytestmark = pytest.mark.train

CPU = TrainingHardware("cpu")
ROBUST = RECIPES[RecipeName.ROBUST]


def config_of(run: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((run / "card.json").read_text())["config"]
    return config


@pytest.fixture
def teacher(few: Manifest, settings: TrainConfig, tmp_path: Path) -> Path:
    """A finished run of the same images, of another input size and scale."""
    other = replace(settings, epochs=1, seed=7, input_size=48, mean=0.4, std=0.3)
    train(few, other, CPU, tmp_path / "teacher", Silent())
    return tmp_path / "teacher"


def test_options_override_the_recipe(few: Manifest, tmp_path: Path, cxredge: Run) -> None:
    words = ["train", few.path, "--weights", "none", "--input-size", 32, "--epochs", 1]
    assert cxredge(*words, "--out", tmp_path / "paper").code == 0
    robust = cxredge(*words, "--recipe", "robust", "--cutmix", 0.5, "--out", tmp_path / "robust")
    assert robust.code == 0, robust.err
    paper, found = config_of(tmp_path / "paper"), config_of(tmp_path / "robust")
    assert paper["augmentation"] == RECIPES[RecipeName.PAPER].augmentation.value
    assert found["augmentation"] == ROBUST.augmentation.value
    assert (found["epochs"], found["cutmix"]) == (1, 0.5)
    for name in ("patience", "average_decay", "mixup", "balance_by", "freeze"):
        assert found[name] == getattr(ROBUST, name)


def test_only_stated_options_override() -> None:
    stated = replace(ROBUST, epochs=3)
    assert override(ROBUST, type("Group", (), {"epochs": 3, "mixup": None})()) == stated


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_mixing_changes_the_training_and_a_resumed_one_is_the_same(
    mixing: dict[str, float], few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    plain = train(few, replace(settings, epochs=1), CPU, tmp_path / "plain", Silent())
    mixed = replace(settings, epochs=1, **mixing)
    results = [train(few, mixed, CPU, tmp_path / name, Silent()) for name in ("a", "b")]
    hashes = [one.files["model.safetensors"] for one in (*results, plain)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_teacher_is_part_of_the_targets(
    few: Manifest, settings: TrainConfig, tmp_path: Path, teacher: Path
) -> None:
    taught = replace(settings, epochs=1, teachers=(str(teacher),), teacher_share=0.25)
    images = load_images(few, settings.input_size, Silent())
    trainer = assemble(taught, CPU, len(few.classes), images, tmp_path / "scratch", Silent())
    inputs = trainer.source.training(torch.arange(4), 1)[0]
    labels = torch.eye(4)
    blended = Teacher(taught, torch.device("cpu")).blend(labels, inputs)
    answers = (blended - 0.75 * labels) / 0.25
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(4))
    assert answers.min() >= 0
    assert answers.max() < 1
    card = train(few, taught, CPU, tmp_path / "student", Silent())
    alone = train(few, replace(settings, epochs=1), CPU, tmp_path / "alone", Silent())
    assert card.files["model.safetensors"] != alone.files["model.safetensors"]
    found = config_of(tmp_path / "student")
    assert (found["teachers"], found["teacher_share"]) == (["mobilenet_v1"], 0.25)
    assert "teacher_1" in card.parents


def test_the_answer_of_a_teacher_is_that_of_its_own_preprocessing(
    few: Manifest, settings: TrainConfig, teacher: Path
) -> None:
    """A student of the same input size but another scale gets the same answers."""
    grey = torch.rand(2, 1, 48, 48)
    answers = []
    for mean, std in ((0.5, 0.5), (0.1, 0.9)):
        student = replace(settings, mean=mean, std=std, teachers=(str(teacher),), teacher_share=1.0)
        images = ((grey - mean) / std).expand(-1, 3, -1, -1)
        answers.append(Teacher(student, torch.device("cpu")).blend(torch.zeros(2, 4), images))
    torch.testing.assert_close(answers[0], answers[1])


def test_mixing_and_teachers_exclude_cached_features(
    few: Manifest, tmp_path: Path, cxredge: Run
) -> None:
    words = ["train", few.path, "--weights", "none", "--input-size", 32, "--epochs", 1]
    ran = cxredge(*words, "--features", "fp16", "--mixup", 0.2, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "mixing and teachers need the whole image at every step" in ran.err


def test_teachers_of_other_classes_or_of_test_images_are_refused(
    few: Manifest, settings: TrainConfig, tmp_path: Path, teacher: Path
) -> None:
    taught = replace(settings, epochs=1, teachers=(str(teacher),))
    fewer = write_manifest(
        tmp_path / "fewer.csv", [e for e in few.entries if e.label != few.classes[0]]
    )
    with pytest.raises(CxredgeError, match=f"has the classes {few.classes[0]}"):
        train(fewer, taught, CPU, tmp_path / "student", Silent())
    swap = {Split.TRAIN: Split.TEST, Split.TEST: Split.TRAIN}
    turned = write_manifest(
        tmp_path / "turned.csv", [replace(e, split=swap.get(e.split, e.split)) for e in few.entries]
    )
    with pytest.raises(CxredgeError, match=r"was trained on \d+ of the test images") as raised:
        train(read_manifest(turned.path), taught, CPU, tmp_path / "student", Silent())
    assert raised.value.hint == "Train the teacher on this manifest."
    assert not (tmp_path / "student" / "card.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--teacher-share", 0.3), "--teacher-share is used with --teacher"),
        (("--teacher", "nothing"), "nothing"),
        (("--balance-by", "source", "--no-balance"), "--balance-by source states what"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    words: tuple[object, ...], message: str, few: Manifest, tmp_path: Path, cxredge: Run
) -> None:
    ran = cxredge("train", few.path, "--weights", "none", *words, "--out", tmp_path / "run")
    assert ran.code == 1
    assert message in ran.err
    assert not (tmp_path / "run").exists()


def test_the_documented_recipes_are_these() -> None:
    paper, robust = (RECIPES[name] for name in (RecipeName.PAPER, RecipeName.ROBUST))
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")

    def row(*options: str) -> str:
        names = [option.lstrip("-").replace("-", "_") for option in options]
        names = ["augmentation" if name == "augment" else name for name in names]
        cells = [
            ", ".join(_shown(getattr(recipe, name)) for name in names) for recipe in (paper, robust)
        ]
        return f"| {', '.join(f'`{option}`' for option in options)} | {' | '.join(cells)} |"

    for options in (
        ("--freeze",), ("--epochs", "--patience"), ("--augment",), ("--geometry",),
        ("--mixup", "--cutmix"), ("--balance-by",),
    ):  # fmt: skip
        assert row(*options) in page


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(getattr(value, "value", value))

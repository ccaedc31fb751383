"""Search for the freeze point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import CARD_NAME, read_card  # noqa: E402
from cxredge.artifacts.run_card import FreezeCandidate, RunCard  # noqa: E402
from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.models.zoo import ZOO  # noqa: E402
from cxredge.training import run as run_module  # noqa: E402
from cxredge.training.config import SearchConfig, TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.training.search import best_of, boundaries  # noqa: E402

pytestmark = pytest.mark.train

CPU = TrainingHardware(accelerator="cpu")


def test_boundaries_are_spread_in_ascending_order() -> None:
    network = ZOO["mobilenet_v1"]
    assert boundaries(network, 0) == ["head", "none"]
    assert boundaries(network, 1) == ["head", "conv_dw_7", "none"]
    assert boundaries(network, 6) == [
        "head", "conv_dw_12", "conv_dw_10", "conv_dw_8", "conv_dw_6", "conv_dw_4", "conv_dw_2",
        "none",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("points", [2, 5, 99])
def test_boundaries_are_blocks_once_each_and_never_the_first(name: str, points: int) -> None:
    blocks = [block.name for block in ZOO[name].blocks]
    between = boundaries(ZOO[name], points)[1:-1]
    assert between == sorted(set(between), key=blocks.index, reverse=True)
    assert blocks[0] not in between
    assert len(between) == min(points, len(blocks) - 1)


def test_ties_go_to_the_lower_loss() -> None:
    tried = [
        FreezeCandidate("a", 1, 1, 1.0, 0.8, 0.9),
        FreezeCandidate("b", 1, 1, 1.0, 0.8, 0.5),
        FreezeCandidate("c", 1, 1, 1.0, 0.7, 0.1),
    ]
    assert best_of(tried).freeze == "b"


def test_the_search_keeps_the_best_candidate_and_records_all(
    few: Manifest, settings: TrainConfig, tmp_path: Path, listener
) -> None:
    settings = replace(settings, freeze="search", epochs=2, search=SearchConfig(1, 1))
    result = train(few, settings, CPU, tmp_path / "run", listener)
    tried = result.facts.search
    assert [trial.freeze for trial in tried] == ["head", "conv_dw_7", "none"]
    assert [trial.epochs for trial in tried] == [1, 1, 1]
    assert tried[0].trainable == 0 < tried[1].trainable < tried[2].trainable
    assert all(trial.seconds > 0 for trial in tried)
    assert result.facts.freeze == best_of(tried).freeze
    assert result.facts.trainable == best_of(tried).trainable
    assert result.facts.epochs == 2
    assert read_card(tmp_path / "run", RunCard).config.freeze == "search"
    assert not any("scratch" in path.name for path in (tmp_path / "run").iterdir())
    # The kept boundary, trained by name, gives the same network.
    named = replace(settings, freeze=result.facts.freeze, search=None)
    again = train(few, named, CPU, tmp_path / "named", listener)
    assert again.files["model.safetensors"] == result.files["model.safetensors"]


def test_an_interrupted_search_does_not_repeat_its_trials(
    few: Manifest, settings: TrainConfig, tmp_path: Path, monkeypatch, listener
) -> None:
    settings = replace(settings, freeze="search", epochs=1, search=SearchConfig(1, 1))

    class Stop(Exception):  # noqa: N818
        pass

    fits, real = [], run_module._fit

    def stop_in_the_third(*arguments: object) -> object:
        fits.append(1)
        if len(fits) == 3:
            raise Stop
        return real(*arguments)

    monkeypatch.setattr(run_module, "_fit", stop_in_the_third)
    with pytest.raises(Stop):
        train(few, settings, CPU, tmp_path / "run", listener)
    assert len(list((tmp_path / "run").glob(f"*/*/search/*/{CARD_NAME}"))) == 2
    result = train(few, settings, CPU, tmp_path / "run", listener)
    assert len(fits) == 3 + 1 + 1
    assert len(result.facts.search) == 3


def test_the_command_shows_the_table(cxredge, few: Manifest, tmp_path: Path) -> None:
    arguments = (
        "train", few.path, "--weights", "none", "--freeze", "search", "--search-points", 0,
        "--search-epochs", 1, "--epochs", 1, "--input-size", 32, "--views", 1,
        "--out", tmp_path / "run",
    )  # fmt: skip
    ran = cxredge(*arguments)
    assert ran.code == 0, ran.err
    assert "validation accuracy" in ran.out
    again = cxredge(*arguments, "--json")
    assert [trial["freeze"] for trial in again.json["search"]] == ["head", "none"]
    assert again.json["freeze"] in ("head", "none")

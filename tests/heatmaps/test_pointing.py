"""The pointing game: maps of a network trained on phantoms point at the disease.

Phantoms know where their disease is. A map hits if its highest pixel lies there (Zhang et al. 2016,
"Top-down Neural Attention by Excitation Backprop"). By chance a pixel hits in 7% of the phantoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import nn  # noqa: E402

from cxredge.backends import open_session  # noqa: E402
from cxredge.data.phantoms import phantom_opacity, render_phantom  # noqa: E402
from cxredge.export.trace import GreyClassifier, to_onnx  # noqa: E402
from cxredge.graph.geometry import grid_of  # noqa: E402
from cxredge.graph.outputs import add_maps, find_head  # noqa: E402
from cxredge.metrics.maps import MapGrid, measure_map_fidelity  # noqa: E402
from cxredge.quantization.qdq.emit import emit  # noqa: E402
from cxredge.quantization.ranges.measure import measure_ranges  # noqa: E402
from cxredge.vocabulary import Dialect  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]

SIZE = 96
LABELS = ("bacterial", "normal")
PRECISIONS = ("fp32", Dialect.CPU, Dialect.TENSORRT)


@dataclass(frozen=True)
class Trained:
    """Models with maps by precision, and where the cells of the maps lie."""

    files: dict[str, Path]
    grid: MapGrid


@dataclass(frozen=True)
class Ill:
    """Phantoms with a consolidation that training did not see, and where it is."""

    images: np.ndarray
    places: np.ndarray


@pytest.fixture(scope="module")
def ill() -> Ill:
    patients = range(1000, 1030)
    opacity = [phantom_opacity("bacterial", patient, 0, SIZE) for patient in patients]
    return Ill(
        np.stack([render_phantom("bacterial", patient, 0, SIZE) for patient in patients]),
        np.stack([one > 0.3 * one.max() for one in opacity]),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Four convolutions, trained to tell a consolidation from a healthy chest."""
    folder = tmp_path_factory.mktemp("pointing")
    images = np.stack([render_phantom(label, n, 0, SIZE) for n in range(60) for label in LABELS])
    fp32 = to_onnx(GreyClassifier(_train(images), 0.5, 0.5).eval(), SIZE)
    ranges = measure_ranges(fp32, images[:32], lambda _: None)
    models = {"fp32": fp32}
    models |= {dialect: emit(fp32, ranges, dialect) for dialect in (Dialect.CPU, Dialect.TENSORRT)}
    files = {}
    for name, model in models.items():
        files[name] = folder / f"{name}.onnx"
        onnx.save(add_maps(model), files[name])
    head = find_head(fp32)
    assert head is not None
    grid = grid_of(fp32, head.features, SIZE)
    assert grid == MapGrid(SIZE, 16.0, 0.0, 0.0)
    return Trained(files, grid)


def _train(images: np.ndarray) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 12), (12, 24), (24, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    pixels = torch.tensor(images)[:, None].float().repeat(1, 3, 1, 1) / 127.5 - 1
    truth = torch.tensor([0, 1] * (len(images) // 2))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(8):
        for batch in torch.randperm(len(pixels)).split(16):
            shown = pixels[batch].flip(3) if torch.rand(1) < 0.5 else pixels[batch]
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(shown), truth[batch]).backward()
            optimizer.step()
    return network.eval()


def maps_of(file: Path, ill: Ill) -> np.ndarray:
    """Return the maps of the consolidation, float32 (N, h, w); all phantoms are recognised."""
    with open_session(file) as session:
        found = session.run(ill.images)
    assert (found.logits.argmax(axis=1) == 0).mean() > 0.9
    assert found.maps is not None
    return found.maps[:, 0]


def hits(maps: np.ndarray, grid: MapGrid, places: np.ndarray) -> float:
    """Return the share of maps whose highest pixel lies in the disease."""
    fine = grid.upsample(maps.astype(np.float64), SIZE, SIZE).reshape(len(maps), -1)
    at = fine.argmax(axis=1)
    return float(places.reshape(len(maps), -1)[np.arange(len(maps)), at].mean())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_maps_point_at_the_disease(precision: str, trained: Trained, ill: Ill) -> None:
    chance = ill.places.mean()
    assert 0.04 < chance < 0.1
    found = hits(maps_of(trained.files[precision], ill), trained.grid, ill.places)
    assert found > 0.7 > 7 * chance


def test_the_exact_place_of_the_cells_matters(trained: Trained, ill: Ill) -> None:
    """Enlarged like a picture, whose cells lie half a cell lower and to the right, they miss."""
    maps = maps_of(trained.files["fp32"], ill)
    plain = hits(maps, MapGrid.even(SIZE, maps.shape[1]), ill.places)
    assert hits(maps, trained.grid, ill.places) > plain + 0.2


@pytest.mark.parametrize("dialect", PRECISIONS[1:])
def test_maps_of_int8_are_those_of_fp32(dialect: str, trained: Trained, ill: Ill) -> None:
    one, other = (maps_of(trained.files[name], ill)[:, None] for name in ("fp32", dialect))
    decided = np.zeros(len(one), np.int64)
    found = measure_map_fidelity(one, other, decided)
    assert found.correlation > 0.98
    assert found.peaks_kept > 0.95


def test_maps_of_the_healthy_name_no_place_with_disease(trained: Trained, ill: Ill) -> None:
    """The opacity of the healthy is empty, and so is most of the evidence for the disease."""
    assert not phantom_opacity("normal", 1000, 0, SIZE).any()
    healthy = np.stack([render_phantom("normal", n, 0, SIZE) for n in range(1000, 1010)])
    with open_session(trained.files["fp32"]) as session:
        found = session.run(healthy).maps
    assert found is not None
    assert found[:, 0].max() < 0.7 * maps_of(trained.files["fp32"], ill).max()

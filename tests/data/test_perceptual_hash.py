import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from cxredge.data import perceptual_hash as module
from cxredge.data.perceptual_hash import BITS, SAME_XRAY, near_pairs, perceptual_hash
from cxredge.data.phantoms import render_phantom

CHESTS = [render_phantom("viral", patient, 0, 256) for patient in range(6)]


def hashed(image: Image.Image) -> np.ndarray:
    return perceptual_hash(np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR)))


def pairs(*hashes: np.ndarray) -> list[tuple[int, int, int, bool]]:
    return [
        row
        for found in near_pairs(np.stack(hashes))
        for row in zip(
            found.first.tolist(),
            found.second.tolist(),
            found.distance.tolist(),
            found.changed.tolist(),
            strict=True,
        )
    ]


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        pytest.param(jpeg, False, id="re-encoded"),
        pytest.param(lambda i: i.resize((97, 131)), False, id="squeezed"),
        pytest.param(lambda i: ImageEnhance.Brightness(i).enhance(0.7), False, id="darker"),
        pytest.param(lambda i: ImageEnhance.Contrast(i).enhance(1.3), False, id="harder"),
        pytest.param(lambda i: i.rotate(1, Image.Resampling.BILINEAR), False, id="turned"),
        pytest.param(ImageOps.invert, True, id="negative"),
        pytest.param(ImageOps.mirror, True, id="mirrored"),
        pytest.param(lambda i: ImageOps.mirror(ImageOps.invert(i)), True, id="both"),
    ],
)
@pytest.mark.parametrize("chest", CHESTS[:3])
def test_copy_of_an_xray_is_found(chest: np.ndarray, change, changed: bool) -> None:
    image = Image.fromarray(chest)
    ((first, second, distance, how),) = pairs(hashed(image), hashed(change(image)))
    assert (first, second, how) == (0, 1, changed)
    assert 0 <= distance <= SAME_XRAY


def test_other_patients_and_other_exposures_are_not_copies() -> None:
    exposures = [render_phantom("viral", 0, exposure, 256) for exposure in (1, 2)]
    assert pairs(*(hashed(Image.fromarray(c)) for c in [*CHESTS, *exposures])) == []


def test_uniform_images_match_no_other() -> None:
    flat = [perceptual_hash(np.full((128, 128), grey, np.uint8)) for grey in (0, 0, 128, 255)]
    assert pairs(*flat) == []


def test_every_pair_is_compared_once_for_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    bits = rng.random((40, BITS)) < 0.5
    bits[7:11] = bits[3] ^ (rng.random((4, BITS)) < 0.1)
    bits[39] = ~bits[0]
    rows = [np.packbits(np.append(row, True)) for row in bits]
    expected = []
    for a in range(40):
        for b in range(a + 1, 40):
            plain = int((bits[a] != bits[b]).sum())
            if min(plain, BITS - plain) <= SAME_XRAY:
                expected.append((a, b, min(plain, BITS - plain), plain > BITS - plain))
    assert len(expected) == 11
    for block in (1, 7, 64):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert sorted(pairs(*rows)) == expected

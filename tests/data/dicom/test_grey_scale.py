import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pydicom", reason="needs the dicom extra")

from cxredge.data.dicom.grey_scale import GreyScale, LookupTable, Rescale, Window, WindowShape


def windowed(x: float, centre: float, width: float, shape: WindowShape) -> float:
    """The standard's own pseudo code for one value (PS3.3, C.11.2.1), grey from 0 to 1."""
    if shape is WindowShape.SIGMOID:
        return 1 / (1 + math.exp(-4 * (x - centre) / width))
    if shape is WindowShape.LINEAR:
        if x <= centre - 0.5 - (width - 1) / 2:
            return 0
        if x > centre - 0.5 + (width - 1) / 2:
            return 1
        return (x - (centre - 0.5)) / (width - 1) + 0.5
    if x <= centre - width / 2:
        return 0
    if x > centre + width / 2:
        return 1
    return (x - centre) / width + 0.5


@settings(max_examples=150)
@given(
    bits=st.integers(2, 10),
    signed=st.booleans(),
    inverted=st.booleans(),
    slope=st.floats(0.1, 8) | st.floats(-8, -0.1),
    intercept=st.floats(-2000, 2000),
    centre=st.floats(-2000, 2000),
    width=st.integers(1, 4000),
    shape=st.sampled_from(WindowShape),
)
def test_window_after_rescale_before_inversion(
    bits, signed, inverted, slope, intercept, centre, width, shape
) -> None:
    scale = GreyScale(
        bits, signed, inverted, Rescale(slope, intercept), Window(centre, width, shape)
    )
    table = scale.table()
    for pattern in range(2**bits):
        stored = pattern - 2**bits if signed and pattern >= 2 ** (bits - 1) else pattern
        value = slope * stored + intercept
        # If the exponential overflows a float, the limit is expected.
        if shape is WindowShape.SIGMOID and abs(4 * (value - centre) / width) > 600:
            shown = float(value > centre)
        else:
            shown = windowed(value, centre, width, shape)
        shown = 1 - shown if inverted else shown
        if abs(255 * shown % 1 - 0.5) > 1e-6:  # a tie may be rounded either way
            assert table[pattern] == round(255 * shown)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_without_window_the_whole_range_is_shown(bits: int, signed: bool) -> None:
    table = GreyScale(bits, signed).table().astype(int)
    if signed:
        table = np.roll(table, len(table) // 2)
    np.testing.assert_array_equal(table, np.rint(255 * np.arange(2**bits) / (2**bits - 1)))


def test_a_negative_slope_turns_the_picture_and_inversion_turns_it_back() -> None:
    plain = GreyScale(8).table()
    np.testing.assert_array_equal(GreyScale(8, modality=Rescale(-1, 255)).table(), plain[::-1])
    np.testing.assert_array_equal(
        GreyScale(8, inverted=True, modality=Rescale(-1, 255)).table(), plain
    )


def test_lookup_table_extends_its_first_and_last_entry() -> None:
    table = GreyScale(4, voi=LookupTable(5, np.array([0.0, 1023, 511]), 10)).table()
    assert table.tolist() == [0] * 6 + [255] + [127] * 9


def test_modality_table_then_window() -> None:
    modality = LookupTable(0, np.array([400.0, 300, 200, 100]), 10)
    voi = Window(200, 200, WindowShape.LINEAR_EXACT)
    assert GreyScale(2, modality=modality, voi=voi).table().tolist() == [255, 255, 128, 0]


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_black_in_both_polarities(inverted: bool) -> None:
    table = GreyScale(8, inverted=inverted, padding=(250, 255)).table()
    assert (table[250:] == 0).all()
    assert table[249] == (6 if inverted else 249)

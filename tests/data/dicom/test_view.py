import pytest

pytest.importorskip("pydicom", reason="needs the dicom extra")

from cxredge.data.dicom.view import find_view


@pytest.mark.parametrize(
    ("position", "code", "orientation", "name"),
    [
        ("", "", "", ""),
        ("PA", "", "", "PA"),
        ("AP", "", "L", "AP"),
        ("ap portable", "", "", "AP"),
        ("LL", "", "", "LATERAL"),
        ("RL", "", "", "LATERAL"),
        ("LATERAL", "", "", "LATERAL"),
        ("LEFT LAT", "", "", "LATERAL"),
        ("LLD", "", "", "FRONTAL"),
        ("LEFT LATERAL DECUBITUS", "", "", "FRONTAL"),
        ("LLO", "", "", "OBLIQUE"),
        ("", "399348003", "", "AP"),
        ("", "272479007", "R", "PA"),
        ("", "R-10214", "", "PA"),
        ("", "399173006", "", "LATERAL"),
        ("", "R-102CD", "", "LATERAL"),
        ("", "399135007", "", "OBLIQUE"),
        ("", "", "A", "LATERAL"),
        ("", "", "P", "LATERAL"),
        ("PA", "399067008", "", "LATERAL"),
        ("PA", "", "A", "LATERAL"),
    ],
)
def test_view(position: str, code: str, orientation: str, name: str) -> None:
    view = find_view(position, code, orientation)
    assert view.name == name
    assert view.understood


@pytest.mark.parametrize(("position", "code"), [("LORDOTIC", ""), ("", "399110001")])
def test_an_unknown_view_is_not_treated_as_frontal(position: str, code: str) -> None:
    view = find_view(position, code, "")
    assert (view.name, view.projection, view.understood) == ("", None, False)

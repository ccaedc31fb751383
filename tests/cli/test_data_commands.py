"""The table of commands that checks outside the project rely on, a test for each row: data."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cxredge.data.manifest import COLUMNS, read_manifest, write_manifest


def make_cohen(folder: Path, covid: int, sars: int) -> Path:
    (folder / "images").mkdir(parents=True)
    rows = [
        *((f"c{n}", "COVID-19" if n % 9 else "COVID-19, ARDS", "PA") for n in range(covid)),
        *((f"s{n}", "SARS", "AP Supine") for n in range(sars)),
        ("l", "COVID-19", "L"),
        ("gone", "COVID-19", "PA"),
    ]
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patientid", "finding", "view", "modality", "filename"])
        for name, finding, view in rows:
            writer.writerow([name, finding, view, "X-ray", f"{name}.png"])
            if name not in ("l", "gone"):
                noise_image(folder / "images" / f"{name}.png")
    return folder


def make_kermany(folder: Path, each: int) -> Path:
    for kind in ("NORMAL", "PNEUMONIA"):
        (folder / "train" / kind).mkdir(parents=True)
    for n in range(each):
        noise_image(folder / "train" / "NORMAL" / f"IM-{n:04d}-0001.jpeg")
        noise_image(folder / "train" / "PNEUMONIA" / f"person{n}_bacteria_{n}.jpeg")
        noise_image(folder / "train" / "PNEUMONIA" / f"person{n}_virus_{n}.jpeg")
    return folder


def make_adults(folder: Path, no_finding: int, pneumonia: int) -> Path:
    (folder / "images").mkdir(parents=True)
    findings = ["No Finding"] * no_finding + ["Pneumonia"] * pneumonia
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["filename", "patientid", "finding"])
        for n, finding in enumerate(findings):
            writer.writerow([f"a{n}.png", f"{n}", finding])
            noise_image(folder / "images" / f"a{n}.png")
    return folder


def noise_image(path: Path) -> None:
    rng = np.random.default_rng(abs(hash(str(path))) % 2**32)
    regions = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
    regions.resize((40, 40), Image.Resampling.BICUBIC).save(path)


def test_data_prepare(tmp_path: Path, cxredge) -> None:
    cohen = make_cohen(tmp_path / "cohen", 190, 16)
    kermany = make_kermany(tmp_path / "kermany", 188)
    ran = cxredge(
        "data", "prepare", "--protocol", "cxr-b", "--cohen", cohen, "--kermany", kermany,
        "--split", "patient", "--seed", 3, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    four = ("bacterial", "covid19", "normal", "viral")
    assert ran.json["counts"] == {
        "train": dict.fromkeys(four, 118),
        "val": dict.fromkeys(four, 30),
        "test": dict.fromkeys(four, 38),
    }
    assert ran.json["dropped"] == {"lateral": 1, "missing_file": 1}
    assert ran.json["sources"]["covid19"] == {"cohen": 186}
    assert ran.json["sources"]["viral"] == {"kermany": 186}
    assert ran.json["patients_in_two_splits"] == 0
    with Path(ran.json["manifest"]).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 4 * 186


def test_data_folder(phantoms: Path, tmp_path: Path, cxredge) -> None:
    ran = cxredge(
        "data", "folder", phantoms / "images", "--patient", "^(.+)-[0-9]+$", "--out", tmp_path,
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert sum(sum(c.values()) for c in ran.json["counts"].values()) == ran.json["images"]
    assert ran.json["patients_in_two_splits"] == 0


def test_data_phantoms(tmp_path: Path, cxredge) -> None:
    ran = cxredge(
        "data", "phantoms", "--patients", 3, "--size", 48, "--out", tmp_path / "p", "--json"
    )
    assert ran.code == 0, ran.err
    assert Path(ran.json["manifest"]).is_file()
    assert set(ran.json["counts"]["train"]) == {"bacterial", "covid19", "normal", "viral"}


def test_data_audit(phantoms: Path, tmp_path: Path, cxredge) -> None:
    listed = tmp_path / "list.csv"
    write_manifest(listed, read_manifest(phantoms / "manifest.csv").entries)
    ran = cxredge("data", "audit", listed, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["patients_in_two_splits"] == 0
    assert {"counts", "views", "sources", "source_association", "warnings"} <= set(found)
    assert found["near_duplicates_across_splits"] == {"count": 0, "images": 0, "examples": []}
    for name in ("border", "statistics"):
        result = found["shortcuts"][name]
        assert result["ci95"][0] <= result["accuracy"] <= result["ci95"][1]
        assert 0 < result["chance"] < 1
    assert Path(found["audit"]) == tmp_path / "list.audit.json"
    assert "border" in cxredge("data", "audit", listed).out


def test_data_audit_of_one_source(phantoms: Path, tmp_path: Path, cxredge) -> None:
    listed = tmp_path / "list.csv"
    entries = read_manifest(phantoms / "manifest.csv").entries
    write_manifest(listed, [replace(entry, source="clinic") for entry in entries])
    shown = cxredge("data", "audit", listed).out
    assert "the manifest names one source 'clinic' for all images" in shown
    assert "Cramér" not in shown
    write_manifest(listed, [replace(entry, source=entry.label) for entry in entries])
    assert "Class and source: Cramér's V 1.00" in cxredge("data", "audit", listed).out


def test_data_prepare_fills_controls(tmp_path: Path, cxredge) -> None:
    """All but the patient's lateral who is in train or val, as each patient has one image."""
    cohen, kermany = make_cohen(tmp_path / "cohen", 12, 2), make_kermany(tmp_path / "kermany", 12)
    adults = tmp_path / "adults"
    (adults / "images").mkdir(parents=True)
    for name in ("a", "b"):
        noise_image(adults / "images" / f"{name}.jpg")
    (adults / "metadata.csv").write_text(
        "filename,patientid,finding\na.jpg,1,No Finding\nb.jpg,2,Pneumonia\n"
    )
    with (cohen / "metadata.csv").open("a", newline="") as stream:
        rows = [("l1", "COVID-19", "L", "X-ray"), ("t1", "COVID-19", "Axial", "CT")]
        for name, finding, view, modality in [*rows, ("o1", "No Finding", "AP", "X-ray")]:
            csv.writer(stream).writerow([name, finding, view, modality, f"{name}.png"])
            noise_image(cohen / "images" / f"{name}.png")
        for n in range(12):  # laterals of the patients of the class
            csv.writer(stream).writerow([f"c{n}", "COVID-19", "L", "X-ray", f"side{n}.png"])
            noise_image(cohen / "images" / f"side{n}.png")
    ran = cxredge(
        "data", "prepare", "--protocol", "full", "--cohen", cohen, "--kermany", kermany,
        "--adults", adults, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    manifest = read_manifest(Path(ran.json["manifest"]))
    seen = sum(e.label == "covid19" and e.split.value in ("train", "val") for e in manifest.entries)
    assert 0 < seen < 12
    assert ran.json["controls"] == {
        "adult no finding": 1,
        "adult pneumonia": 1,
        "ct": 1,
        "lateral": 1 + 12 - seen,
        "other finding": 1,
    }
    assert ran.json["dropped"]["patient_in_train_or_val"] == seen
    assert "other_finding" not in ran.json["dropped"]
    assert ran.json["patients_in_two_splits"] == 0
    assert {e.label for e in manifest.controls} == {""}
    assert ran.json["images"] == len(manifest.labelled) == 12 * 4


def test_data_prepare_of_adults_among_normal_lungs(tmp_path: Path, cxredge) -> None:
    cohen, kermany = make_cohen(tmp_path / "cohen", 190, 16), make_kermany(tmp_path / "k", 188)
    adults = make_adults(tmp_path / "adults", 16, 10)
    command = (
        "data", "prepare", "--protocol", "cxr-d", "--cohen", cohen, "--kermany", kermany, "--out",
        tmp_path / "out", "--json",
    )  # fmt: skip
    ran = cxredge(*command)
    assert ran.code == 2
    assert "cxr-d requires X-rays of adults" in ran.err
    ran = cxredge(*command, "--adults", adults, "--other-share", 0.5)
    assert ran.code == 0, ran.err
    assert ran.json["counts"]["train"] == {
        "bacterial": 118, "covid19": 118, "normal": 118 + 8, "other": 4, "viral": 118,
    }  # fmt: skip
    assert ran.json["counts"]["test"]["normal"] == 38 + 6
    assert ran.json["controls"] == {"adult pneumonia": 5}
    assert ran.json["warnings"] == [], "controls measure what becomes of the class other"
    assert ran.json["patients_in_two_splits"] == 0
    entries = read_manifest(tmp_path / "out" / "manifest.csv").entries
    assert {e.source for e in entries if e.label == "normal"} == {"kermany", "adults"}


def test_data_prepare_of_the_official_split(tmp_path: Path, cxredge) -> None:
    kermany = make_kermany(tmp_path / "k", 10)
    command = ("data", "prepare", "--protocol", "kermany", "--kermany", kermany)
    ran = cxredge(*command, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "has no test folder" in ran.err
    for kind, name in (("NORMAL", "IM-900-0001"), ("PNEUMONIA", "person900_virus_1")):
        (kermany / "test" / kind).mkdir(parents=True)
        noise_image(kermany / "test" / kind / f"{name}.jpeg")
    same = kermany / "train" / "NORMAL" / "IM-0003-0001.jpeg"
    copy = kermany / "test" / "NORMAL" / "NORMAL2-IM-901-0001.jpeg"
    copy.write_bytes(same.read_bytes())
    ran = cxredge(*command, "--adults", make_adults(tmp_path / "adults", 2, 1), "--out",
                  tmp_path / "out", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["counts"] == {
        "train": {"bacterial": 8, "normal": 7, "viral": 8},
        "val": {"bacterial": 2, "normal": 2, "viral": 2},
        "test": {"normal": 2, "viral": 1},
    }
    assert ran.json["dropped"] == {"duplicate": 1}
    assert ran.json["controls"] == {"adult no finding": 2, "adult pneumonia": 1}


def test_data_prepare_refuses_options_of_other_protocols(tmp_path: Path, cxredge) -> None:
    for protocol, options, problem in (
        ("cxr-b", (), "give the folder of Cohen's set"),
        ("kermany", ("--cohen", tmp_path), "protocol kermany does not use it"),
        ("cxr-b", ("--cohen", tmp_path, "--other-share", 0.5), "only protocol cxr-d has it"),
        ("kermany", ("--split", "image"), "this protocol splits by patient"),
    ):
        ran = cxredge(
            "data", "prepare", "--protocol", protocol, "--kermany", tmp_path, "--out",
            tmp_path / "out", *options,
        )  # fmt: skip
        assert ran.code == 2
        assert problem in ran.err.replace("\n", " ")
    assert not (tmp_path / "out").exists()

"""``peers``: landmarkers in YAML files, scored side by side; on the real ones where they are."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from experiments.catalogue import CONFIGS, names
from experiments.checkpoints import read_landmarker
from experiments.commands.peers import peers
from experiments.errors import CheckpointError
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from tests.experiments.helpers import refused, rows, run
from tests.layouts import write_artiface, write_cariface, write_folder, write_w300
from tests.lightning_modules.landmarkers.fixed.onnx_networks import write_fixed_points

SHARED = CONFIGS.parents[1] / "shared"


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """A folder of peers that holds PFLD alone (a network that knows but one face), and faces in published layouts."""
    (tmp_path / "peers/pfld_300w").mkdir(parents=True)
    write_fixed_points(tmp_path / "peers/pfld_300w/pfld.onnx", np.array(MEAN_FACE), 112)
    write_w300(tmp_path / "data/300W", {"helen/testset": 3, "lfpw/testset": 2, "ibug": 2})
    write_cariface(tmp_path / "data/CariFace_dataset")
    write_artiface(tmp_path / "data/AF_dataset")
    return [f"--peers={tmp_path}/peers", f"--data={tmp_path}/data", f"--out={tmp_path}/out"]


def test_the_table_and_what_is_left_out(places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("peers", *places, "--scales", "0.9", "1.1")
    said = capsys.readouterr().err
    assert f"mobilefacenet is left out: there is no network file {tmp_path}/peers/mobilefacenet_300w" in said
    lines = (tmp_path / "out/table.md").read_text().splitlines()
    assert "annotated box; averaged: mirror image and scales 0.9, 1.1" in lines[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert table[0][1:3] == ["300w_common (5), one crop", "300w_common (5), averaged"]
    assert [row[0] for row in table[2:]] == names("peer")
    assert {cell for row in table[2:-1] for cell in row[1:]} == {"–"}
    results = rows(tmp_path / "out/results.csv")
    assert [(one["landmarker"], one["subset"], one["averaged"]) for one in results] == [
        ("pfld", subset, averaged)
        for subset in ("300w_common", "cariface", "artiface")
        for averaged in ("False", "True")
    ]
    faces = [float(one["nme"]) for one in rows(tmp_path / "out/faces.csv") if one["averaged"] == "False"][:5]
    assert float(results[0]["nme"]) == pytest.approx(np.mean(faces), abs=1e-5)
    assert float(results[0]["low"]) <= np.mean(faces) <= float(results[0]["high"])
    shown = f"{np.mean(faces):.2f} ({float(results[0]['low']):.2f}–{float(results[0]['high']):.2f})"
    assert table[-1][:2] == ["pfld", shown]
    assert "ibug" not in (tmp_path / "out/faces.csv").read_text()


def test_checkpoints_beside_them_and_some_faces_only(places: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        (CONFIGS / "peers/pfld.yaml").read_text().replace("${oc.env:PEERS,../shared/peers}", f"{tmp_path}/peers")
    )
    run("peers", *places, "--only", "pfld", "--beside", str(own), "--subsets", "artiface", "--scales", "1")
    results = rows(tmp_path / "out/results.csv")
    assert [one["landmarker"] for one in results] == ["pfld", "pfld", str(own), str(own)]
    assert len({(one["averaged"], one["nme"]) for one in results}) == 2


def test_what_cannot_be_compared(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "PEER=pdfl is not known. Did you mean 'pfld'?" in refused(capsys, "peers", *places, "--only", "pdfl")
    assert "Did you mean 'cariface'?" in refused(capsys, "peers", *places, "--subsets", "cari")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused(capsys, "peers", *places, "--only", "pfld")
    assert "no landmarker could be scored" in message
    assert "onnxruntime is not installed" in message


def test_a_yaml_file_is_evaluated_as_a_checkpoint_is(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERS", f"{tmp_path}/peers")
    test, out = write_folder(tmp_path / "faces", 3), tmp_path / "scores.json"
    run("evaluate", f"--ckpt={CONFIGS}/peers/pfld.yaml", f"--test={test}", f"--out={out}")
    assert json.loads(out.read_text())["test"]["own"]["n"] == 3


def test_the_folder_of_the_environment_is_the_default(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERS", f"{tmp_path}/peers")
    options = [word for word in places if not word.startswith("--peers")]
    run("peers", *options, "--only", "pfld", "--subsets", "artiface", "--scales", "1")
    assert len(rows(tmp_path / "out/results.csv")) == 2
    # An option comes before it.
    monkeypatch.setenv("PEERS", f"{tmp_path}/elsewhere")
    run("peers", *places, "--only", "pfld", "--subsets", "artiface", "--scales", "1")


def test_300w_without_its_common_part(places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("helen", "lfpw"):
        shutil.rmtree(tmp_path / "data/300W" / part)
    message = refused(capsys, "peers", *places, "--only", "pfld")
    assert f"{tmp_path}/data/300W: found no image but " in message
    assert "Give the folder" in message
    run("peers", *places, "--only", "pfld", "--subsets", "artiface", "--scales", "1")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"input": {"size": 0}}, "found size 0, box_factor 1.2, pixel_range 1.0; expected numbers above 0."),
        ({"input": {"size": 112, "mean": [1, 2]}}, "mean is [1.0, 2.0]; expected one number or three"),
        ({"input": {"size": "wide"}}, "init_args.input.size: found 'wide', expected int."),
        ({"input": {"size": 112, "colours": "CMYK"}}, "found 'CMYK', expected one of 'RGB', 'BGR'."),
        ({"output": {"points": 3}}, "3 points with index_map None; expected 68 points"),
        ({"output": {"firs": 0}}, "does not accept option 'firs'"),
        ({"passes": "two"}, "init_args.passes: found 'two', expected int."),
    ],
)
def test_wrong_values_are_said_in_a_line(wrong: dict[str, object], said: str, tmp_path: Path) -> None:
    network = write_fixed_points(tmp_path / "a.onnx", np.array(MEAN_FACE), 112)
    arguments = {"file": str(network), "input": {"size": 112}, "output": {"first": 0}} | wrong
    path = tmp_path / "a.yaml"
    path.write_text(
        yaml.safe_dump({"class_path": "lightning_modules.landmarkers.OnnxLandmarker", "init_args": arguments})
    )
    with pytest.raises(CheckpointError) as error:
        read_landmarker(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert message.endswith("Correct it in that file.")
    assert not any(raw in message for raw in ("Namespace", "class_path", "Union", "null", "<class"))


def test_yaml_files_that_are_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("class_path: Größe".encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"latin\.yaml: found 'utf-8' codec .*; expected a YAML file"):
        read_landmarker(path)
    assert f"{path}: found 'utf-8' codec" in refused(capsys, "grid", str(path))


def test_yaml_files_that_describe_no_landmarker(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content, message in {
        "a: [": r"a\.yaml: found .*; expected a YAML file",
        "- 1": r"a\.yaml: found .*; expected",
        "run: {landmarker: slpt}": r"a\.yaml: found run; expected class_path and init_args",
        "class_path: ${nothing}": r"a\.yaml: found .*nothing.*; expected a YAML file",
        "class_path: torch.nn.Linear": r"a\.yaml: .*torch\.nn\.Linear",
        "class_path: lightning_modules.landmarkers.OnnxLandmarker\ninit_args: {fil: a}": r"a\.yaml: .*fil",
    }.items():
        path.write_text(content)
        with pytest.raises(CheckpointError, match=message):
            read_landmarker(path)
    with pytest.raises(CheckpointError, match=r"none\.yaml: found .*No such file"):
        read_landmarker(tmp_path / "none.yaml")


def test_it_cannot_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_fixed_points(tmp_path / "a.onnx", np.array(MEAN_FACE), 112)
    landmarker = {
        "class_path": "lightning_modules.landmarkers.OnnxLandmarker",
        "init_args": {"file": str(path), "input": {"size": 112}, "output": {"first": 0}},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {"init_args": {"landmarker": landmarker}}}))
    command = ["train", "--setting=oracle", f"--config={config}", f"--paths.runs={tmp_path}/runs"]
    assert "a.onnx: found a network of OnnxLandmarker, which cannot be trained" in refused(capsys, *command)


FIGURES = {"pfld": 9.09, "peppa_slim": 10.94, "mobilefacenet": 8.71, "face_api_68": 10.23, "mediapipe": 10.88}
"""Measured NME in % on the 25 caricatures, one crop."""


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "peers").is_dir(), reason="no published landmarkers in ../shared/peers")
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no real faces in ../shared/data")
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the runtimes' own modules
def test_the_published_landmarkers(name: str, tmp_path: Path) -> None:
    packages = {"mobilefacenet": "openvino", "mediapipe": "ai_edge_litert.interpreter"}
    pytest.importorskip(packages.get(name, "onnxruntime"))
    table = peers(
        f"{SHARED}/peers", f"{SHARED}/data/paper", (name,), subsets=("cariface",), scales=(1.0,), out=str(tmp_path)
    )
    found = rows(table.with_name("results.csv"))
    assert float(found[0]["nme"]) == pytest.approx(FIGURES[name], abs=0.05)

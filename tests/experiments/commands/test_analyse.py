"""``analyse``: a run, a checkpoint and an ONNX file, on a folder and on the published data sets."""

from pathlib import Path

import numpy as np
import pytest

from experiments.commands.analyse import analyse
from experiments.errors import UsageError
from experiments.published_sets import setting_data
from lightning_modules.weights import shipped
from tests.experiments.conftest import FinishedRun, OwnFolders
from tests.experiments.helpers import refused, rows, run
from tests.layouts import write_artiface, write_cariface, write_w300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published data sets in a few faces each."""
    top = tmp_path_factory.mktemp("few")
    write_w300(top / "300W", {"helen/trainset": 1, "helen/testset": 2, "lfpw/testset": 1})
    write_cariface(top / "CariFace_dataset")
    write_artiface(top / "AF_dataset")
    return top


def test_a_run_and_an_onnx_file_on_a_folder(own_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path) -> None:
    onnx = shipped()["warpmark-light"].with_suffix(".onnx")
    out = tmp_path / "out"
    run("analyse", str(own_run.folder), str(onnx), "--test", str(own_folders.test), "--out", str(out), "--worst=2")
    faces = rows(out / "faces.csv")
    name = f"{own_run.folder.parent.name}/{own_run.folder.name}"
    assert [*dict.fromkeys(row["landmarker"] for row in faces)] == [name, "warpmark-light"]
    last = own_run.folder / "checkpoints/last.ckpt"
    run("evaluate", f"--ckpt={last}", f"--test={own_folders.test}", f"--out={tmp_path}/scores.json")
    expected = [(row["path"], row["nme"]) for row in rows(tmp_path / "scores.faces.csv")]
    assert [(row["path"], row["nme"]) for row in faces if row["landmarker"] == name] == expected
    mean = np.mean([float(nme) for _, nme in expected])
    assert f" {mean:.2f} (" in (out / "table.md").read_text()
    written = {file.name for file in out.glob("*.png")}
    run_sheet = f"worst-{name.replace('/', '_').replace('-', '_')}-own.png"
    assert written == {"error_curves.png", "parts.png", "worst-warpmark_light-own.png", run_sheet}


def test_published_data_sets_of_any_number(own_run: FinishedRun, root: Path, tmp_path: Path) -> None:
    out = analyse((str(own_run.folder),), data=str(root), out=str(tmp_path), picture="svg", worst=0, recrop=1)
    found = {(row["subset"], row["n"]) for row in rows(tmp_path / "parts.csv")}
    assert found == {("300w_common", "3"), ("cariface", "4"), ("artiface", "10")}
    title = out.read_text().splitlines()[0]
    assert "cropped again once" in title
    assert "SYNTHETIC" not in title
    assert not [*tmp_path.glob("worst-*")]
    analyse((str(own_run.folder),), data=str(root), out=str(tmp_path), subsets=("artiface",), names=("mine",), worst=0)
    assert {(row["landmarker"], row["subsets"]) for row in rows(tmp_path / "faces.csv")} == {("mine", "artiface")}


def test_a_setting_s_stand_ins_are_marked() -> None:
    data = setting_data("gzsl_artiface", "synthetic")
    assert data.synthetic
    assert [name for test in data.read_roles().tests for name in test.subset_names][-2:] == ["cariface", "artiface"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--of {empty}", "found no checkpoints/last.ckpt in it"),
        ("--of a.ckpt a.ckpt", "a.ckpt is there twice"),
        ("--names a b", "--names: found 2, expected one for each of 1"),
        ("--picture gif", "expected one of .png"),
        ("--test {empty} --data synthetic", "--test and --data are both given"),
        ("--worst=-1", "--worst: found -1"),
        ("--recrop=-1", "--recrop: found -1"),
        ("--setting own", "SETTING=own has no folder of its own data"),
        ("--setting gzsl_artifac", "Did you mean 'gzsl_artiface'"),
        ("--subsets artifac", "Did you mean 'artiface'"),
        ("--of nowhere.ckpt", "nowhere.ckpt"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    options = words.format(empty=tmp_path / "empty").split()
    assert message in refused(capsys, "analyse", *options, "--out", str(tmp_path / "out"))


def test_nothing_to_analyse() -> None:
    with pytest.raises(UsageError, match="names nothing to analyse"):
        analyse(())

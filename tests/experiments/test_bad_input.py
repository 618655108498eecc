"""Bad files stop a run before any time is spent on training, with a message that says which, what, and what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.conftest import OwnFolders
from tests.experiments.helpers import TINY, drawn, metrics, refused, run, write_config
from tests.layouts import write_folder, write_w300

MODEL = {key: TINY[key] for key in ("trainer", "pretraining", "model")}
ONE_EPOCH = {"trainer": {"max_epochs": 1}}


def train_arguments(source: Path, own_folders: OwnFolders, folder: Path) -> list[str]:
    config = write_config(folder / "tiny.yaml", MODEL, ONE_EPOCH)
    names = {"source": source, "target": own_folders.target, "test": own_folders.test}
    folders = [f"--{name}={path}" for name, path in names.items()]
    return [
        "train",
        "--setting=own",
        "--method=face_warping",
        "--landmarker=slpt",
        *folders,
        config,
        f"--paths.runs={folder}/runs",
    ]


def _zero_bytes(folder: Path) -> Path:
    (folder / "face002.jpg").write_bytes(b"")
    return folder / "face002.jpg"


def _truncated(folder: Path) -> Path:
    image = folder / "face002.jpg"
    image.write_bytes(image.read_bytes()[:-400])
    return image


def _spoil_pts(change: Callable[[list[str]], list[str]]) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        file = folder / "face002.pts"
        file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
        return file

    return spoil


def _far_outside(folder: Path) -> Path:
    _spoil_pts(lambda lines: [*lines[:3], "900.0 20.0", *lines[4:]])(folder)
    return folder / "face002.jpg"


def _wrong_shape(folder: Path) -> Path:
    (folder / "face002.pts").unlink()
    np.save(folder / "face002.npy", np.zeros((2, 68)))
    return folder / "face002.npy"


def _list_of_a_missing_file(folder: Path) -> Path:
    (folder / "train_list.txt").write_text("face001.jpg\nface999.jpg\n")
    return folder / "train_list.txt"


def _without_landmarks(folder: Path) -> Path:
    (folder / "face002.pts").unlink()
    return folder / "face002.jpg"


CASES = {
    "zero bytes": (_zero_bytes, "found an empty file (0 bytes)", "Fetch or write it again"),
    "truncated image": (_truncated, "bytes that cannot be decoded", "fetch it again, convert it, or remove it"),
    "67 points": (
        _spoil_pts(lambda lines: [lines[0], "n_points: 67", *lines[2:-2], lines[-1]]),
        "found 67 points",
        "Only the 68-point iBUG annotation can be used",
    ),
    "text": (
        _spoil_pts(lambda lines: [*lines[:5], "left eye", *lines[6:]]),
        "'left eye' in line 6",
        "Correct that line",
    ),
    "NaN": (_spoil_pts(lambda lines: [*lines[:5], "nan 3.0", *lines[6:]]), "for landmark 2", "Correct that landmark"),
    "far outside": (_far_outside, "landmark 0 (of 0…67) at (899.0, 19.0)", "Check that the landmark file belongs to"),
    "wrong shape": (_wrong_shape, "found an array of shape (2, 68)", "Save its transpose, array.T"),
    "list": (_list_of_a_missing_file, "found 'face999.jpg' in line 2", "Add the image or take the line out"),
    "no landmarks": (_without_landmarks, "an image without landmarks (1 of", "Put x.pts"),
}
"""How a folder is spoilt, what the message must say was found, and the remedy."""


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_stops_the_run_before_training(
    tmp_path: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    spoil, found, remedy = CASES[case]
    file = spoil(write_folder(tmp_path / "photos", 4))
    message = refused(capsys, *train_arguments(tmp_path / "photos", own_folders, tmp_path)).partition("error: ")[2]
    assert str(file) in message
    assert found in message
    assert remedy in message
    assert not (tmp_path / "runs").exists()


def test_a_missing_or_empty_folder(tmp_path: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str]) -> None:
    command = train_arguments(tmp_path / "photos", own_folders, tmp_path)
    assert f"{tmp_path}/photos: found no such folder" in refused(capsys, *command)
    (tmp_path / "photos").mkdir()
    assert f"{tmp_path}/photos: found an empty folder" in refused(capsys, *command)
    (tmp_path / "photos/notes.txt").write_text("no image")
    assert f"{tmp_path}/photos: found no image but notes.txt" in refused(capsys, *command)


def test_a_missing_data_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml", MODEL)
    command = ["train", "--setting=da_cariface", config, f"--data={tmp_path}/data", f"--paths.runs={tmp_path}/runs"]
    assert f"{tmp_path}/data/300W" in refused(capsys, *command)
    write_w300(tmp_path / "data/300W")
    message = refused(capsys, *command)
    assert f"{tmp_path}/data/300W: found other numbers of images than 300W has" in message
    assert "data.strict_counts=false" in message
    assert not (tmp_path / "runs").exists()


def test_bad_files_are_skipped_and_counted_on_request(
    tmp_path: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_folder(tmp_path / "photos", 8)
    _zero_bytes(photos)
    (photos / "face005.pts").write_text("no landmarks")
    run(*train_arguments(photos, own_folders, tmp_path), "--data.on_error=skip", "--data.batch_size=3")
    printed = capsys.readouterr().err
    assert "skipped 2 of" in printed
    assert f"{photos}/face002.jpg: found an empty file" in printed
    assert f"{photos}/face005.pts: found" in printed
    assert "source: 5 labelled faces" in printed, "eight, of which one is held out and two are bad"
    assert metrics(tmp_path / "runs/own/face_warping-slpt/seed0")["test"]["own"]["n"] == 7


def test_a_bad_file_leaves_an_earlier_run_in_its_place(
    tmp_path: Path, own_folders: OwnFolders, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "runs/own/face_warping-slpt/seed0/metrics.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("{}")
    photos = write_folder(tmp_path / "photos", 4)
    _zero_bytes(photos)
    refused(capsys, *train_arguments(photos, own_folders, tmp_path))
    assert earlier.exists()


def test_a_method_that_needs_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY, {"data": {"target": []}})
    message = refused(
        capsys, "train", "--setting=oracle", "--method=face_warping", config, f"--paths.runs={tmp_path}/r"
    )
    assert "FaceWarping learns from unlabelled stylised faces, and the setting has no target" in message
    assert "METHOD=supervised" in message
    assert not (tmp_path / "r").exists()


def test_an_argument_out_of_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY, {"data": {"target": [drawn("cartoon")]}})
    message = refused(capsys, "train", "--setting=da_cariface", config, f"--paths.runs={tmp_path}/r")
    assert "cartoon" in message

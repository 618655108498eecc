"""``evaluate``: any checkpoint on any labelled folder, and what it does with what it cannot use."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.formats import write_pts
from tests.experiments.conftest import FinishedRun, OwnFolders
from tests.experiments.helpers import checkpoint, merged, metrics, refused, rows, run, write_config
from tests.layouts import write_folder
from tests.prediction.drawn import drawn_face, group, landscape, save


def evaluated(ckpt: Path, test: Path, out: Path) -> dict[str, Any]:
    run("evaluate", "--ckpt", str(ckpt), "--test", str(test), "--out", str(out))
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def test_a_run_is_scored_again_with_its_own_figures(
    own_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path
) -> None:
    found = evaluated(own_run.folder / "checkpoints/last.ckpt", own_folders.test, tmp_path / "new" / "scores.json")
    assert found["test"]["own"] == pytest.approx(metrics(own_run.folder)["test"]["own"], rel=1e-5)
    table = rows(tmp_path / "new/scores.faces.csv")
    assert [row["path"] for row in table] == sorted(str(p) for p in (own_folders.test / "images").iterdir())
    each = np.array([float(row["nme"]) for row in table])
    figures = found["test"]["own"]
    assert figures["n"] == len(each) == 7
    assert (figures["nme"], found["average_nme"]) == pytest.approx((each.mean(), each.mean()), abs=1e-5)
    assert figures["fr@8"] == pytest.approx(100 * (each > 8).mean())
    assert figures["auc@8"] == pytest.approx(100 * np.maximum(0, 1 - each / 8).mean(), abs=1e-4)


def test_the_pretrained_start_is_scored_as_source_only(
    own_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path
) -> None:
    (start,) = own_run.runs.glob("pretrained/*/landmarker.ckpt")
    found = evaluated(start, own_folders.test, tmp_path / "scores.json")
    assert found["test"]["own"] == pytest.approx(metrics(own_run.folder)["source_only"]["test"]["own"], rel=1e-5)


def test_both_layouts_give_the_same_figures(drawn_run: FinishedRun, tmp_path: Path) -> None:
    best = drawn_run.folder / "checkpoints/best.ckpt"
    beside = evaluated(best, write_folder(tmp_path / "a", 3, "pts"), tmp_path / "a.json")
    apart = evaluated(best, write_folder(tmp_path / "b", 3, "cariface"), tmp_path / "b.json")
    assert beside["test"]["own"] == pytest.approx(apart["test"]["own"], rel=1e-5)
    assert beside["test"]["own"]["n"] == 3


def test_bad_files_are_named_or_skipped(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "faces", 3)
    (folder / "face001.jpg").write_bytes(b"")
    command = ["evaluate", f"--ckpt={drawn_run.folder}/checkpoints/last.ckpt", f"--test={folder}"]
    command.append(f"--out={tmp_path}/scores.json")
    assert "face001.jpg: found an empty file" in refused(capsys, *command)
    run(*command, "--on-error=skip")
    assert json.loads((tmp_path / "scores.json").read_text())["test"]["own"]["n"] == 2
    assert "skipped 1 of 3 files" in capsys.readouterr().err


class Dangerous:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


def _missing(path: Path, good: Path) -> None:
    assert not path.exists()


def _empty(path: Path, good: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:-1000])


def _text(path: Path, good: Path) -> None:
    path.write_text("not a checkpoint")


def _pickled_code(path: Path, good: Path) -> None:
    torch.save({"state_dict": {}, "landmarker": Dangerous(path.parent / "made")}, path)


def _plain_pickle(path: Path, good: Path) -> None:
    path.write_bytes(pickle.dumps(Dangerous(path.parent / "made"), protocol=2))


def _foreign(path: Path, good: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)


def _other_class(path: Path, good: Path) -> None:
    content = checkpoint(good)
    torch.save(merged(content, {"landmarker": {"class_path": "torch.nn.Linear", "init_args": {}}}), path)


def _other_shape(path: Path, good: Path) -> None:
    content = checkpoint(good)
    torch.save(merged(content, {"landmarker": {"init_args": {"embed_dim": 16}}}), path)


def _strings(path: Path, good: Path) -> None:
    torch.save({**checkpoint(good), "state_dict": {"landmarker.a": "x"}}, path)


def _no_state(path: Path, good: Path) -> None:
    torch.save({**checkpoint(good), "state_dict": None}, path)


def _named_only(path: Path, good: Path) -> None:
    torch.save({**checkpoint(good), "landmarker": "slpt"}, path)


def _unnamed(path: Path, good: Path) -> None:
    torch.save({**checkpoint(good), "landmarker": {}}, path)


def _listed_arguments(path: Path, good: Path) -> None:
    torch.save({**checkpoint(good), "landmarker": {"class_path": "a.B", "init_args": [1]}}, path)


MESSAGES = {
    _strings: "found str as 'landmarker.a' in 'state_dict', expected a tensor",
    _no_state: "found NoneType as 'state_dict', expected tensors by name",
    _named_only: "found 'slpt' as 'landmarker', expected its class_path and init_args",
    _unnamed: "found '{}' as 'landmarker', expected its class_path and init_args",
    _listed_arguments: "found [1] as init_args, expected names",
    _missing: "there is no weights file",
    _empty: "(0 bytes) cannot be read",
    _truncated: "It is truncated or not a torch file",
    _text: "is not a plain weights file",
    _pickled_code: "holds pickled Python objects, which could run code",
    _plain_pickle: "holds pickled Python objects, which could run code",
    _foreign: "found weight, bias; expected a Warpmark checkpoint",
    _other_class: "its landmarker torch.nn.Linear cannot be built",
    _other_shape: "does not fit SLPT",
}


@pytest.mark.parametrize("spoil", MESSAGES, ids=lambda spoil: spoil.__name__[1:])
def test_checkpoints_that_cannot_be_used(
    drawn_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any
) -> None:
    path = tmp_path / "spoilt.ckpt"
    spoil(path, drawn_run.folder / "checkpoints/last.ckpt")
    out = tmp_path / "scores.json"
    message = refused(capsys, "evaluate", f"--ckpt={path}", f"--test={own_folders.test}", f"--out={out}")
    assert str(path) in message
    assert MESSAGES[spoil] in message
    assert not out.exists()
    assert not (tmp_path / "made").exists(), "pickled code was run"


def test_names_that_are_not_utf_8_are_refused_before_anything_is_scored(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / os.fsdecode(b"caf\xe9"), 2)
    message = refused(capsys, "evaluate", f"--ckpt={drawn_run.folder}/checkpoints/last.ckpt", f"--test={folder}")
    assert "found a file name that is not UTF-8, expected a name in UTF-8. Rename it" in message


def test_outputs_that_differ_after_a_dot(drawn_run: FinishedRun, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "faces", 2)
    for out in ("run1.5", "run1.6"):
        run(
            "evaluate",
            f"--ckpt={drawn_run.folder}/checkpoints/last.ckpt",
            f"--test={folder}",
            f"--out={tmp_path / out}",
        )
    for out in ("run1.5", "run1.6"):
        assert json.loads((tmp_path / out).read_text())["folder"] == str(folder)
        assert len(rows(tmp_path / f"{out}.faces.csv")) == 2


@pytest.fixture
def other_landmarker(drawn_run: FinishedRun, tmp_path: Path) -> list[str]:
    """The same run with a wider landmarker."""
    wide = {"model": {"init_args": {"landmarker": {"init_args": {"feedforward_dim": 48}}}}}
    return [*drawn_run.command, write_config(tmp_path / "wide.yaml", wide)]


@pytest.mark.parametrize("how", ["pretraining", "resume", "ckpt_path"])
def test_a_checkpoint_of_another_landmarker(
    drawn_run: FinishedRun,
    other_landmarker: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    how: str,
) -> None:
    last = drawn_run.folder / "checkpoints/last.ckpt"
    before = sorted(drawn_run.runs.rglob("*"))
    commands = {
        "pretraining": [*other_landmarker, f"--pretraining.checkpoint={last}", "--seed=7"],
        "resume": [*other_landmarker, "--resume"],
        "ckpt_path": [
            *("fit", f"--config={drawn_run.folder}/config.yaml", other_landmarker[-1]),
            f"--ckpt_path={last}",
        ],
    }
    message = refused(capsys, *commands[how])
    assert f"{last}: does not fit SLPT: " in message
    assert "shape (32,) in the file, (48,) in the network" in message
    assert "Give the LANDMARKER and PROFILE it was trained with" in message
    assert sorted(drawn_run.runs.rglob("*")) == before, "nothing was made or moved"


def test_a_start_that_would_be_moved_aside_with_the_earlier_run(
    drawn_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    last = drawn_run.folder / "checkpoints/last.ckpt"
    message = refused(capsys, *drawn_run.command, f"--pretraining.checkpoint={last}")
    assert f"{last}: lies in the folder of this very run" in message
    assert last.exists()


def test_a_spoilt_checkpoint_to_resume_from_is_refused_unread(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spoilt.ckpt"
    _pickled_code(path, path)
    message = refused(capsys, "fit", f"--config={drawn_run.folder}/config.yaml", f"--ckpt_path={path}")
    assert "could run code" in message
    assert not (tmp_path / "made").exists()


def test_an_empty_test_folder(drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faces").mkdir()
    command = ["evaluate", f"--ckpt={drawn_run.folder}/checkpoints/last.ckpt", f"--out={tmp_path}/scores.json"]
    assert f"{tmp_path}/faces: found an empty folder" in refused(capsys, *command, f"--test={tmp_path}/faces")
    write_folder(tmp_path / "faces", 2, "unlabelled")
    assert "none of 2 test images has landmarks" in refused(capsys, *command, f"--test={tmp_path}/faces")
    assert f"{tmp_path}/nowhere: found no such folder" in refused(capsys, *command, f"--test={tmp_path}/nowhere")


def test_an_output_that_cannot_be_written(
    drawn_run: FinishedRun, own_folders: OwnFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    command = ["evaluate", f"--ckpt={drawn_run.folder}/checkpoints/last.ckpt", f"--test={own_folders.test}"]
    for out in (tmp_path / "file/scores.json", tmp_path):
        message = refused(capsys, *command, f"--out={out}")
        assert f"error: {out}: " in message
        assert "Give another OUT" in message


def test_runs_that_cannot_be_written(
    drawn_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refused(capsys, *drawn_run.command, f"--paths.runs={tmp_path}/file/runs")
    assert f"error: {tmp_path}/file/runs/da_cariface" in message
    assert "--paths.runs=DIR" in message


def test_the_detector_s_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two faces the annotated one's box is taken, and the whole image where there is none."""
    folder = tmp_path / "faces"
    for name, image, number in (("a", group(0, 1), 1), ("b", drawn_face(2).image, 2)):
        truth = drawn_face(number).landmarks
        assert truth is not None
        save(folder / f"{name}.png", image)
        write_pts(folder / f"{name}.pts", truth + np.array([192 * (name == "a"), 0]))
    truth = drawn_face(0).landmarks
    assert truth is not None
    save(folder / "c.png", landscape())
    write_pts(folder / "c.pts", truth)
    for box in ("annotated", "detected"):
        run("evaluate", f"--test={folder}", f"--out={tmp_path}/{box}.json", f"--box={box}")
    assert "the detector found 2 of 3 faces" in capsys.readouterr().err
    said = json.loads((tmp_path / "detected.json").read_text())
    assert said["without_box"] == 1
    assert said["protocol"].startswith("detected box (the whole image for 1 of 3 faces)")
    one, other = (
        [float(row["nme"]) for row in rows(tmp_path / f"{box}.faces.csv")][:2] for box in ("annotated", "detected")
    )
    assert np.abs(np.array(one) - other).max() < 2

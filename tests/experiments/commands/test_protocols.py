"""Crop protocols: what they say they are, where they crop first, and what ``evaluate`` makes of them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import loading
from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError, Face
from datamodules.transforms import Square, crop_square
from experiments.grids.differences import PROTOCOLS
from experiments.scoring import AVERAGED, LOOSE, LOOSE_CROPPED_AGAIN, Protocol, score
from lightning_modules.landmarkers import SLPT
from lightning_modules.landmarkers.inference import Inference, find_in_images
from tests.experiments.conftest import FinishedRun
from tests.experiments.helpers import refused, rows, run
from tests.layouts import face_landmarks, write_folder

NEAR = "(crops within 5 % of the last averaged)"
SETTLED = "(crops within 5 % of the last averaged, the last of other sizes)"


def face(box: tuple[float, float, float, float] | None = None, labelled: bool = True) -> Face:
    landmarks = face_landmarks(64) if labelled else None
    return Face(np.zeros((64, 96, 3), np.uint8), "x.jpg", landmarks, None if box is None else np.array(box, np.float32))


class TestFirstCrop:
    def test_each_box(self) -> None:
        whole, given = Square(47.5, 31.5, 96), Square(20, 30, 1.2 * 40)
        both = face((10, 10, 30, 50))
        assert Protocol("annotated").square(both, 0) == crop_square(face())
        assert Protocol("given").square(both, 0) == given
        assert Protocol("given").square(face((10, 10, 30, 50), labelled=False), 0) == given
        assert Protocol("given").square(face(), 0) == whole
        assert Protocol("whole").square(both, 0) == whole
        with pytest.raises(DataError, match=r"x\.jpg: found no landmarks; expected them, for the annotated box"):
            Protocol("annotated").square(face((10, 10, 30, 50), labelled=False), 0)

    def test_a_loose_box_is_larger_and_off_centre_by_as_much_as_it_says(self) -> None:
        tight = crop_square(face())
        squares = [Protocol(loosen=1.3, shift=0.1).square(face(), i) for i in range(200)]
        directions = []
        for square in squares:
            assert square.side == pytest.approx(1.3 * tight.side)
            dx, dy = square.x - tight.x, square.y - tight.y
            # A tenth of the loosened box's longer side; the crop is 1.2 times the box.
            assert math.hypot(dx, dy) == pytest.approx(0.1 * 1.3 * tight.side / 1.2)
            directions.append(math.atan2(dy, dx))
        assert abs(np.exp(1j * np.array(directions)).mean()) < 0.2, "into all directions"

    def test_a_faces_direction_depends_on_the_seed_and_its_place(self) -> None:
        loose = Protocol(shift=0.1)
        assert loose.square(face(), 3) == loose.square(face(), 3)
        assert loose.square(face(), 3) != loose.square(face(), 4)
        assert loose.square(face(), 3) != Protocol(shift=0.1, seed=1).square(face(), 3)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (Protocol(), "annotated box, one crop"),
        (Protocol("whole", inference=Inference(1)), f"whole image, cropped again once {NEAR}"),
        (Protocol("given", inference=Inference(mirror=True)), "given box, one crop, mirror averaged"),
        (
            Protocol(loosen=1.3, shift=0.1, inference=Inference(2, True)),
            f"annotated box 1.3× too large and shifted by 0.1, cropped again twice {NEAR}, mirror averaged",
        ),
    ],
)
def test_a_protocol_in_words(protocol: Protocol, words: str) -> None:
    assert str(protocol) == words


def test_one_loose_box_and_one_average_for_all_that_measure() -> None:
    """Said once, and looked up by evaluate, the card, the peers and the grids."""
    assert (LOOSE.box, LOOSE.loosen, LOOSE.shift, LOOSE.inference) == ("annotated", 1.3, 0.1, Inference())
    assert replace(LOOSE, inference=Inference(recrop=4)) == LOOSE_CROPPED_AGAIN
    assert Protocol(inference=Inference(mirror=True, scales=(0.9, 1.0, 1.1))) == AVERAGED
    assert (Protocol(), LOOSE_CROPPED_AGAIN) == PROTOCOLS


def test_errors_of_landmarks_are_those_that_the_scores_are_means_of(tmp_path: Path, tiny_landmarker: SLPT) -> None:
    found = FolderDataModule(str(write_folder(tmp_path / "faces", 3))).test_faces()
    scores = score(tiny_landmarker, [loading.TestSet(found, found.subsets())], batch_size=2)
    assert scores.errors.shape == (3, 68)
    assert scores.errors.mean(1).tolist() == [face.nme for face in scores.per_face]
    labels = torch.from_numpy(np.stack([found[i].landmarks for i in range(3)])).double()
    crops = [crop_square(found[i]) for i in range(3)]
    pixels = find_in_images(tiny_landmarker, [found[i].image for i in range(3)], crops).pixels
    off = (pixels[2, 40] - labels[2, 40]).norm() / (labels[2, 36] - labels[2, 45]).norm()
    assert float(scores.errors[2, 40]) == pytest.approx(100 * float(off), rel=1e-4)


def arguments(finished: FinishedRun, faces: Path, out: Path, *options: str) -> list[str]:
    ckpt = finished.folder / "checkpoints/last.ckpt"
    return ["evaluate", f"--ckpt={ckpt}", f"--test={faces}", f"--out={out}", *options]


def evaluated(finished: FinishedRun, faces: Path, out: Path, *options: str) -> dict[str, Any]:
    run(*arguments(finished, faces, out, *options))
    return json.loads(out.read_text())  # type: ignore[no-any-return]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "faces", 3)


def test_scores_say_their_protocol(
    drawn_run: FinishedRun, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = evaluated(drawn_run, faces, tmp_path / "plain.json")
    assert plain["protocol"] == "annotated box, one crop"
    assert "annotatedbox,onecrop" in "".join(capsys.readouterr().out.split())  # wherever lines are wrapped
    loose = ("--loosen=1.3", "--shift=0.1", "--recrop=2", "--mirror", "--scales", "0.9", "1.1", "--tolerance=0")
    found = evaluated(drawn_run, faces, tmp_path / "loose.json", *loose)
    words = f"annotated box 1.3× too large and shifted by 0.1, cropped again twice {NEAR}, mirror averaged"
    assert found["protocol"] == f"{words}, scales 0.9, 1.1 averaged"
    assert found["options"] == {
        **{"box": "annotated", "loosen": 1.3, "shift": 0.1, "seed": 0},
        "inference": {"recrop": 2, "mirror": True, "scales": [0.9, 1.1], "tolerance": 0.0},
    }
    assert found["average_nme"] != plain["average_nme"]
    table = rows(tmp_path / "loose.faces.csv")
    assert [row["crops"] for row in table] == ["3", "3", "3"]
    assert all(float(row["uncertainty"]) > 0 for row in table)
    assert [row["uncertainty"] for row in rows(tmp_path / "plain.faces.csv")] == [""] * 3


def test_protocols_side_by_side(
    drawn_run: FinishedRun, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(drawn_run, faces, tmp_path / "scores.json", "--protocols", "--tolerance=0")
    table = found["protocols"]
    loose = "annotated box 1.3× too large and shifted by 0.1"
    near = dict.fromkeys(("once", "twice"), NEAR) | dict.fromkeys(("three times", "four times"), SETTLED)
    again = ("one crop", *(f"cropped again {times} {which}" for times, which in near.items()))
    assert [row["protocol"] for row in table] == ["annotated box, one crop", *(f"{loose}, {times}" for times in again)]
    assert [row["crops_per_face"] for row in table] == [1, 1, 2, 3, 4, 5]
    assert table[0]["average_nme"] == found["average_nme"]
    for row in table:
        assert row["more_than_first"] == pytest.approx(100 * (row["average_nme"] / table[0]["average_nme"] - 1))
        assert row["ms_per_face"] > 0
    printed = capsys.readouterr().out
    assert f"{table[3]['average_nme']:.2f}" in printed
    assert "ms a face" in printed


def test_given_boxes(drawn_run: FinishedRun, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.json"
    message = refused(capsys, *arguments(drawn_run, faces, out, "--box=given"))
    assert f"{faces}: found no box for any of 3 faces, and --box=given; expected boxes.csv" in message
    whole = evaluated(drawn_run, faces, out, "--box=whole")
    (faces / "boxes.csv").write_text("name,x0,y0,x1,y1\nface001.jpg,5,5,60,60\n")
    given = evaluated(drawn_run, faces, out, "--box=given")
    assert "2 of 3 faces have no box: the whole image is taken" in capsys.readouterr().err
    assert given["protocol"] == "given box (the whole image for 2 of 3 faces), one crop"
    assert given["without_box"] == 2
    assert "without_box" not in whole
    assert given["average_nme"] != pytest.approx(whole["average_nme"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recrop=-1",), "--recrop: found -1, expected a number of rounds, 0 or more."),
        (("--recrop=two",), "--recrop: found 'two', expected int"),
        (("--scales", "1", "9"), "--scales: found 1 9, expected one or more numbers from 0.25 to 4"),
        (("--tolerance=2",), "--tolerance: found 2, expected a share of the side"),
        (("--loosen=0",), "--loosen: found 0, expected a factor from 0.25 to 4."),
        (("--shift=1",), "--shift: found 1, expected a share of the box's side"),
        (("--seed=-1",), "--seed: found -1, expected 0 or more."),
        (("--box=detect",), "--box: found 'detect', expected one of"),
        (("--box=whole", "--loosen=1.3"), "--box: found loosen=1.3 and shift=0 with box=whole, expected box=annotated"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    # Refused before any file is read: there is none.
    command = ["evaluate", f"--ckpt={tmp_path}/none.ckpt", f"--test={tmp_path}/none", f"--out={tmp_path}/none/x.json"]
    assert message in refused(capsys, *command, *options)
    assert not (tmp_path / "none").exists()

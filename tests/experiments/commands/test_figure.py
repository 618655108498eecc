"""``figure``: from two images to the paper's Figure 3."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from datamodules.faces import DataError
from datamodules.files import read_face
from datamodules.formats import write_npy
from datamodules.transforms import FaceTransform
from experiments.analysis.warped_pairs import GRADIENTS
from experiments.commands.figure import figure
from experiments.errors import CheckpointError, UsageError
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers import SLPT
from lightning_modules.warping import PolyharmonicSpline
from tests.conftest import TINY_LANDMARKER
from tests.layouts import write_face

SIZE = 64


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A labelled photo, landmarks beside it."""
    write_face(tmp_path / "photos/photo.png", tmp_path / "photos/photo.pts", 96, seed=1)
    return tmp_path / "photos/photo.png"


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """A labelled drawing, in CariFace's layout; no affine map takes its landmarks to the photo's."""
    landmarks = write_face(tmp_path / "art/images/face.png", tmp_path / "art/landmarks/face.png.npy", 80, seed=2)
    landmarks[:, 1] += 0.004 * (landmarks[:, 0] - 40) ** 2
    write_npy(tmp_path / "art/landmarks/face.png.npy", landmarks)
    return tmp_path / "art/images/face.png"


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    write_face(tmp_path / "new/face.png", None, 80, seed=3)
    return tmp_path / "new/face.png"


@pytest.fixture
def landmarker(tiny_landmarker: SLPT) -> SLPT:
    return tiny_landmarker.eval()


@pytest.fixture
def ckpt(landmarker: SLPT, tmp_path: Path) -> Path:
    """A checkpoint of an untrained landmarker."""
    state = {f"landmarker.{name}": value for name, value in landmarker.state_dict().items()}
    spec = {"class_path": "lightning_modules.landmarkers.SLPT", "init_args": TINY_LANDMARKER}
    torch.save({"state_dict": state, "landmarker": spec}, tmp_path / "tiny.ckpt")
    return tmp_path / "tiny.ckpt"


def drawn(photo: Path, stylised: Path, out: Path, **options: Any) -> Figure:
    """The figure that is written."""
    written: list[Figure] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", lambda picture, file: written.append(picture))
        assert figure(str(photo), str(stylised), out=str(out), size=SIZE, **options) == out
    return written[0]


def images(picture: Figure) -> list[np.ndarray]:
    """What its eight panels show, without what is drawn over it."""
    return [np.asarray(panel.images[0].get_array()).astype(float) for panel in picture.axes]


def crop(path: Path) -> np.ndarray:
    return FaceTransform(SIZE)(read_face(path)).pixels.permute(1, 2, 0).double().numpy()


def missed(capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """The folded share of the crop in % and the landmark-warping error that were printed."""
    folds, error = capsys.readouterr().out.splitlines()
    return float(folds.split()[1]), float(error.split()[2])


def test_eight_panels_of_two_labelled_faces(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = drawn(photo, drawing, tmp_path / "figure.png")
    folded, error = missed(capsys)
    assert 0 <= folded < 20
    assert error < 1e-10
    titles = [panel.get_title() for panel in picture.axes]
    assert [title[:3] for title in titles] == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)", "(g)", "(h)"]
    assert "labels" in titles[0]
    shown = images(picture)
    np.testing.assert_array_equal(shown[0], crop(photo))
    np.testing.assert_array_equal(shown[1], crop(drawing))
    np.testing.assert_array_equal(shown[2], shown[3])
    samples = [FaceTransform(SIZE)(read_face(path)) for path in (drawing, photo)]
    points = [sample.landmarks[None] for sample in samples if sample.landmarks is not None]
    warped = PolyharmonicSpline.fit(*points).warp(samples[1].image[None])[0]
    np.testing.assert_allclose(shown[2], (warped.permute(1, 2, 0) * 255).numpy(), atol=0.51)
    assert all(values.std() > 0.005 for values in shown)


def test_a_photo_onto_itself_stays_as_it_is(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = images(drawn(photo, photo, tmp_path / "figure.png"))
    assert missed(capsys) == (0.0, 0.0)
    np.testing.assert_allclose(shown[2], crop(photo), atol=1)
    np.testing.assert_allclose(shown[4], shown[5], atol=1e-3)
    assert np.median(shown[7]) == 255, "no displacement is white"


def test_what_the_landmarker_finds_is_as_good_as_a_file(
    photo: Path, unlabelled: Path, ckpt: Path, landmarker: SLPT, tmp_path: Path
) -> None:
    found = drawn(photo, unlabelled, tmp_path / "a.png", ckpt=str(ckpt))
    assert "predictions" in found.axes[1].get_title()
    sample = FaceTransform(64)(read_face(unlabelled))
    assert float(sample.matrix[0, 0]) == pytest.approx(64 / 80), "an unlabelled image is looked at as a whole"
    with torch.no_grad():
        pixels = to_image_pixels(landmarker(sample.image[None]).landmarks, sample.matrix[None], 64)[0]
    write_npy(unlabelled.with_suffix(".npy"), pixels.numpy())
    for a, b in zip(images(found), images(drawn(photo, unlabelled, tmp_path / "b.png")), strict=True):
        # Labels are files of float32: a colour may round the other way.
        np.testing.assert_allclose(a, b, rtol=0, atol=1 if a.max() > 1 else 1e-4)


def test_predictions_can_take_the_place_of_labels(
    photo: Path, drawing: Path, ckpt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        labelled = images(drawn(photo, drawing, tmp_path / "a.png", ckpt=str(ckpt)))
    assert "is not used" in caplog.text
    predicted = images(drawn(photo, drawing, tmp_path / "b.png", ckpt=str(ckpt), predict=True))
    assert [np.array_equal(a, b) for a, b in zip(labelled[:3], predicted[:3], strict=True)] == [True, False, False]


def test_the_splines_options_reach_it(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = images(drawn(photo, drawing, tmp_path / "a.png"))
    exact = images(drawn(photo, drawing, tmp_path / "b.png", coarse=None))
    assert np.abs(plain[2] - exact[2]).mean() < 1
    assert not np.array_equal(plain[2], images(drawn(photo, drawing, tmp_path / "e.png", order=3))[2])
    capsys.readouterr()
    errors = []
    for smoothing in (0.1, 10.0):
        drawn(photo, drawing, tmp_path / "c.png", smoothing=smoothing)
        errors.append(missed(capsys)[1])
    assert 1e-8 < errors[0] < errors[1]


def test_gradients_are_chosen_by_name(photo: Path, drawing: Path, tmp_path: Path) -> None:
    figures = [images(drawn(photo, drawing, tmp_path / "a.png", gradient=name)) for name in GRADIENTS]
    for other in figures[1:]:
        assert [np.array_equal(a, b) for a, b in zip(figures[0], other, strict=True)] == [True] * 4 + [False] * 2 + [
            True
        ] * 2


@pytest.mark.parametrize(
    ("name", "start"), [("f.PDF", b"%PDF"), ("f.png", b"\x89PNG"), ("f.jpg", b"\xff\xd8"), ("f.svg", b"<?xml")]
)
def test_formats(photo: Path, drawing: Path, tmp_path: Path, name: str, start: bytes) -> None:
    file = figure(str(photo), str(drawing), out=str(tmp_path / "new" / name), size=SIZE)
    assert file.read_bytes().startswith(start)


def test_faces_without_landmarks_need_a_checkpoint(
    photo: Path, drawing: Path, unlabelled: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "figure.png")
    for pair in ((photo, unlabelled), (unlabelled, drawing)):
        with pytest.raises(DataError, match=f"{unlabelled}: found an image without landmarks.*CKPT="):
            figure(*map(str, pair), out=out)
    with pytest.raises(UsageError, match="--predict needs a checkpoint"):
        figure(str(photo), str(drawing), predict=True, out=out)
    with pytest.raises(CheckpointError, match="there is no weights file"):
        figure(str(photo), str(unlabelled), "nowhere.ckpt", out=out)
    assert not Path(out).exists()


def test_bad_images_and_landmarks_are_named(photo: Path, drawing: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    np.save(tmp_path / "art/landmarks/face.png.npy", np.zeros((5, 2)))
    bad = {tmp_path / "photos/other.png": "other.png", tmp_path / "text.png": "text.png", drawing: "face.png.npy"}
    for stylised, name in bad.items():
        with pytest.raises(DataError, match=rf"{name}: found .*expected"):
            figure(str(photo), str(stylised), out=str(tmp_path / "figure.png"))


@pytest.mark.parametrize("name", ["photos/photo.png", "figure.gif", "figure", "file/figure.png", "folder.png"])
def test_outputs_that_cannot_be_written(photo: Path, drawing: Path, tmp_path: Path, name: str) -> None:
    before = photo.read_bytes()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=f"{tmp_path / name}: .*Give another OUT"):
        figure(str(photo), str(drawing), out=str(tmp_path / name))
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    "option",
    [
        {"order": 5},
        {"smoothing": -1.0},
        {"smoothing": float("inf")},
        {"coarse": 1},
        {"gradient": "prewitt"},
        {"size": 8},
    ],
)
def test_options_out_of_range(photo: Path, drawing: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} is .*expected"):
        figure(str(photo), str(drawing), **option)

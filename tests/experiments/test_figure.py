"""``figure``: from two images to the paper's Figure 3."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from callbacks.drawing import bar_height, draw_landmarks, enlarge
from datamodules.files import read_face
from datamodules.formats import read_image, write_npy
from datamodules.transforms import FaceTransform
from experiments.figure import GRADIENTS
from experiments.figure_page import TILE
from lightning_modules.coordinates import to_image_pixels
from lightning_modules.landmarkers import SLPT
from tests.conftest import TINY_LANDMARKER
from tests.experiments.helpers import refused, run
from tests.layouts import write_face

SIZE = 64
PITCH_X, BAR = TILE + 12, bar_height(TILE)
PITCH_Y = BAR + PITCH_X


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


def command(photo: Path, stylised: Path, *options: Any) -> list[str]:
    return ["figure", f"--photo={photo}", f"--stylised={stylised}", f"--size={SIZE}", *map(str, options)]


def drawn(photo: Path, stylised: Path, out: Path, *options: Any) -> list[np.ndarray]:
    """The figure's eight pictures, without captions, as RGB."""
    run(*command(photo, stylised, f"--out={out}", *options))
    page = cv2.imread(str(out))[:, :, ::-1]
    assert page.shape == (2 * PITCH_Y - 12, 4 * PITCH_X - 12, 3)
    corners = [(row * PITCH_Y + BAR, column * PITCH_X) for row in range(2) for column in range(4)]
    return [page[y : y + TILE, x : x + TILE] for y, x in corners]


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """Folded share of the crop in %, landmark-warping error in squared crop coordinates."""
    text = capsys.readouterr().out
    found = re.search(r"folded: ([\d.]+) % of the crop\nlandmark-warping error: (\S+) in squared", text)
    assert found, text
    return float(found[1]), float(found[2])


def test_eight_pictures_of_two_labelled_faces(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = drawn(photo, drawing, tmp_path / "new/figure.png")
    folded, missed = printed(capsys)
    assert 0 <= folded < 5
    assert missed < 1e-10
    for i, (path, colour) in enumerate([(photo, (0, 230, 90)), (drawing, (255, 70, 60))]):
        sample = FaceTransform(SIZE)(read_face(path))
        assert sample.landmarks is not None
        crop = (sample.image.permute(1, 2, 0) * 255).round().byte().numpy()
        np.testing.assert_array_equal(pictures[i], draw_landmarks(crop, sample.landmarks, colour, smallest=TILE))
    assert all(picture.std() > 5 for picture in pictures)


def test_a_photo_onto_itself_stays_as_it_is(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = drawn(photo, photo, tmp_path / "figure.png")
    assert printed(capsys) == (0.0, 0.0)
    image = FaceTransform(SIZE)(read_face(photo)).image.permute(1, 2, 0)
    np.testing.assert_array_equal(pictures[2], enlarge((image * 255).round().byte().numpy(), TILE))
    assert np.abs(pictures[4].astype(int) - pictures[5]).max() <= 2
    assert np.median(pictures[7]) == 255, "no displacement is white"


def test_what_the_landmarker_finds_is_as_good_as_a_file(
    photo: Path, unlabelled: Path, ckpt: Path, landmarker: SLPT, tmp_path: Path
) -> None:
    found = drawn(photo, unlabelled, tmp_path / "a.png", f"--ckpt={ckpt}")
    whole = torch.from_numpy(cv2.resize(read_image(unlabelled), (64, 64))).permute(2, 0, 1)[None] / 255
    sample = FaceTransform(64)(read_face(unlabelled))
    assert (sample.image - whole[0]).abs().mean() < 0.02, "an unlabelled image is looked at as a whole"
    with torch.no_grad():
        pixels = to_image_pixels(landmarker(sample.image[None]).landmarks, sample.matrix[None], 64)[0]
    write_npy(unlabelled.with_suffix(".npy"), pixels.numpy())
    for a, b in zip(found, drawn(photo, unlabelled, tmp_path / "b.png"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_predictions_can_take_the_place_of_labels(
    photo: Path, drawing: Path, ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = drawn(photo, drawing, tmp_path / "a.png", f"--ckpt={ckpt}")
    assert "both images have landmarks: " in capsys.readouterr().err
    predicted = drawn(photo, drawing, tmp_path / "b.png", f"--ckpt={ckpt}", "--predict")
    np.testing.assert_array_equal(labelled[0], predicted[0])
    assert not np.array_equal(labelled[1], predicted[1])
    assert not np.array_equal(labelled[2], predicted[2])


def test_the_splines_options_reach_it(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = drawn(photo, drawing, tmp_path / "a.png")
    printed(capsys)
    exact = drawn(photo, drawing, tmp_path / "b.png", "--coarse=none")
    assert np.abs(plain[2].astype(int) - exact[2]).mean() < 1
    printed(capsys)
    missed = []
    for smoothing in (0.1, 10):
        run(*command(photo, drawing, f"--out={tmp_path}/c.png", f"--smoothing={smoothing}"))
        missed.append(printed(capsys)[1])
    assert 1e-8 < missed[0] < missed[1]
    assert not np.array_equal(plain[2], drawn(photo, drawing, tmp_path / "e.png", "--order=3")[2])


def test_gradients_are_chosen_by_name(photo: Path, drawing: Path, tmp_path: Path) -> None:
    figures = [drawn(photo, drawing, tmp_path / f"{name}.png", f"--gradient={name}") for name in GRADIENTS]
    for other in figures[1:]:
        for i, (a, b) in enumerate(zip(figures[0], other, strict=True)):
            assert np.array_equal(a, b) == (i not in (4, 5))
    assert np.median(figures[1][4]) in range(120, 136), "the Laplacian is signed: mid-grey is none"


def test_other_formats(photo: Path, drawing: Path, tmp_path: Path) -> None:
    run(*command(photo, drawing, f"--out={tmp_path}/figure.PDF"))
    assert (tmp_path / "figure.PDF").read_bytes().startswith(b"%PDF")


def test_faces_without_landmarks_need_a_checkpoint(
    photo: Path, drawing: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--out={tmp_path}/figure.png"
    message = refused(capsys, *command(photo, unlabelled, out))
    assert f"error: {unlabelled}: found an image without landmarks, and no checkpoint to find them" in message
    assert "face.png.npy or face.pts beside it" in message
    assert "give CKPT=" in message
    assert "photo" not in message.split("found")[0]
    assert str(unlabelled) in refused(capsys, *command(unlabelled, drawing, out))
    assert "--predict needs a checkpoint" in refused(capsys, *command(photo, drawing, out, "--predict"))
    assert "no such checkpoint" in refused(capsys, *command(photo, unlabelled, out, "--ckpt=nowhere.ckpt"))
    assert not (tmp_path / "figure.png").exists()


def test_bad_images_and_landmarks_are_named(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--out={tmp_path}/figure.png"
    missing = tmp_path / "photos/other.png"
    assert f"error: {missing}: found no such file, expected an image" in refused(
        capsys, *command(missing, drawing, out)
    )
    (tmp_path / "text.png").write_text("not an image")
    assert "text.png: found 12 bytes that cannot be decoded" in refused(
        capsys, *command(photo, tmp_path / "text.png", out)
    )
    np.save(tmp_path / "art/landmarks/face.png.npy", np.zeros((5, 2)))
    assert "face.png.npy: found 5 points, expected 68 landmarks" in refused(capsys, *command(photo, drawing, out))


def test_outputs_that_cannot_be_written(
    photo: Path, drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photo.read_bytes()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    expected = {
        photo: "is an image to read, and would be overwritten",
        tmp_path / "figure.gif": "found the suffix '.gif', expected one of .png, .pdf",
        tmp_path / "figure": "found no suffix",
        tmp_path / "file/figure.png": "cannot be written",
        tmp_path / "folder.png": "found a folder",
    }
    for out, message in expected.items():
        found = refused(capsys, *command(photo, drawing, f"--out={out}"))
        assert f"error: {out}: {message}" in found
        assert "Give another OUT" in found
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--order=5", "invalid choice: 5"),
        ("--smoothing=-1", "-1 is not a finite number of at least 0"),
        ("--coarse=1", "1 nodes are too few"),
        ("--coarse=few", "few is neither a number nor none"),
        ("--gradient=prewitt", "invalid choice: 'prewitt'"),
        ("--size=8", "8 is not a side from 32 to 2048"),
    ],
)
def test_options_out_of_range(
    photo: Path, drawing: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    assert message in refused(capsys, *command(photo, drawing), option)

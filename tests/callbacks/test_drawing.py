import numpy as np
import pytest
import torch

from callbacks.drawing import (
    GREEN,
    RED,
    draw_gradients,
    draw_landmark_shift,
    draw_landmarks,
    enlarge,
    grid_of,
    label_tile,
    to_picture,
)
from tests.lightning_modules.warping.layouts import mean_face

GREY = np.full((64, 64, 3), 128, dtype=np.uint8)


def _changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.asarray((before != after).any(axis=2))


def test_a_crop_becomes_a_picture() -> None:
    image = torch.tensor([0.0, 0.5, 1.7])[:, None, None].expand(3, 4, 5)
    picture = to_picture(image)
    assert (picture.shape, picture.dtype) == ((4, 5, 3), np.uint8)
    assert picture[2, 3].tolist() == [0, 128, 255]


def test_enlarging_is_by_a_whole_factor() -> None:
    assert enlarge(GREY).shape == (192, 192, 3)
    assert enlarge(np.zeros((100, 150, 3), np.uint8)).shape == (200, 300, 3)
    large = np.zeros((256, 256, 3), np.uint8)
    assert enlarge(large).shape == large.shape
    assert enlarge(large) is not large


@pytest.mark.parametrize("size", [48, 64, 256])
def test_landmarks_are_drawn_where_they_are(size: int) -> None:
    image = np.full((size, size, 3), 128, dtype=np.uint8)
    points = mean_face().numpy()
    drawn = draw_landmarks(image, points, RED, connect=False)
    assert drawn.shape[0] >= 192
    assert (image == 128).all()
    factor = drawn.shape[0] // size
    for x, y in points * size:
        # The middle of a pixel of the crop is the middle of its block in the enlarged crop.
        column, row = round((x + 0.5) * factor - 0.5), round((y + 0.5) * factor - 0.5)
        assert drawn[row, column].tolist() == list(RED)
    assert _changed(enlarge(image), drawn).mean() < 0.1


def test_parts_are_joined_and_eyes_closed() -> None:
    points = mean_face().numpy()
    with_lines, without = draw_landmarks(GREY, points, GREEN), draw_landmarks(GREY, points, GREEN, connect=False)
    added = _changed(with_lines, without)

    def joined(a: int, b: int, t: float = 0.5) -> bool:
        x, y = np.rint((((1 - t) * points[a] + t * points[b]) * 64 + 0.5) * 3 - 0.5).astype(int)
        return bool(added[y - 1 : y + 2, x - 1 : x + 2].any())

    assert joined(0, 1)  # along the jaw
    assert joined(41, 36)  # an eye's last landmark to its first
    assert not joined(16, 0, t=0.9)  # the jaw stays open
    assert not joined(21, 22)  # the brows are two parts


def test_missing_and_far_off_landmarks_do_no_harm() -> None:
    points = torch.from_numpy(mean_face().numpy().copy())
    points[3], points[40], points[10] = torch.nan, torch.inf, 1e20
    assert draw_landmarks(GREY, points).shape == (192, 192, 3)
    assert (draw_landmarks(GREY, torch.full((68, 2), torch.nan)) == 128).all()


def test_other_than_68_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 68, 2\)"):
        draw_landmarks(GREY, torch.zeros(1, 68, 2))


def test_landmarks_over_an_enlarged_crop_lie_where_they_lie_over_the_crop() -> None:
    points = mean_face().numpy()
    apart = draw_landmarks(enlarge(GREY), points, RED, size=64)
    np.testing.assert_array_equal(apart, draw_landmarks(GREY, points, RED))


def test_a_shift_of_landmarks_runs_from_green_to_red() -> None:
    before = mean_face().numpy()
    after = before - np.array([0.1, 0.0])
    after[3] = np.nan
    drawn = draw_landmark_shift(GREY, before, after)

    def at(point: np.ndarray) -> list[int]:
        x, y = np.rint((point * 64 + 0.5) * 3 - 0.5).astype(int)
        return list(drawn[y, x].tolist())

    # The jaw's first landmark, which none comes near.
    assert at(before[0]) == list(GREEN)
    assert at(after[0]) == list(RED)
    assert min(at((before[0] + after[0]) / 2)) > 200
    assert at(before[3]) == [128, 128, 128], "a landmark that is missing after is drawn nowhere"


def test_gradients_are_drawn_on_one_scale() -> None:
    gradients = torch.zeros(2, 1, 20, 20)
    gradients[0, :, :2], gradients[1, :, :2] = 4.0, 2.0
    strong, weak = draw_gradients(gradients)
    assert strong.shape == (20, 20, 3)
    assert (strong[0, 0].tolist(), weak[0, 0].tolist(), weak[9, 9].tolist()) == ([255] * 3, [128] * 3, [0] * 3)
    gradients[1] *= -1  # signed, such as the Laplacian: none is mid-grey
    strong, weak = draw_gradients(gradients)
    assert (strong[0, 0, 0], weak[0, 0, 0], weak[9, 9, 0]) == (255, 64, 128)
    assert (draw_gradients(torch.zeros(1, 2, 8, 8))[0] == 0).all()


def test_a_label_fits_its_tile() -> None:
    tile = np.zeros((64, 192, 3), np.uint8)
    labelled = label_tile(tile, "a caption much longer than the tile is wide, by any count")
    assert (labelled[22:] == 0).all()
    bar = labelled[:22]
    assert (bar < 100).any()
    assert (bar[:, -2:] == 255).all()


def test_tiles_are_laid_out_in_rows() -> None:
    red, green = np.zeros((64, 64, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    page = grid_of([[red, green], [green]], captions=["photo", "stylised"], gap=4)
    assert page.shape == (22 + 200 + 4 + 200, 200 + 4 + 200, 3)
    assert page[100, 100].tolist() == [255, 0, 0]
    assert page[100, 300].tolist() == [0, 255, 0]
    assert page[330, 100].tolist() == [0, 255, 0]
    assert (page[230:, 204:] == 255).all()
    assert (page[:22, :200] < 100).any()
    assert (page[:22, 204:] < 100).any()


def test_grids_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        grid_of([[], []])
    with pytest.raises(ValueError, match="1 captions for 2 columns"):
        grid_of([[GREY, GREY]], captions=["one"])

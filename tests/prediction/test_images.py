"""Any picture there may be, in its true format, is read right or refused by name."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.faces import ByteArray, DataError
from prediction.images import ahead, as_picture, kind_of, list_pictures, load_picture
from tests.prediction.drawn import landscape, save

RED = np.zeros((20, 30, 3), np.uint8)
RED[:, :15] = (200, 40, 40)
"""30 × 20 pixels; the left half is red."""


def _exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    Image.fromarray(np.rot90(RED)).save(path, exif=exif, quality=95)


def _cmyk(path: Path) -> None:
    Image.fromarray(RED).convert("CMYK").save(path, quality=95)


def _sixteen(path: Path) -> None:
    Image.fromarray(RED[:, :, 0].astype(np.uint16) * 257).save(path)


def _alpha(path: Path) -> None:
    alpha = np.where(RED[:, :, :1] > 0, 255, 0).astype(np.uint8)
    Image.fromarray(np.concatenate([RED, alpha], axis=2)).save(path)


def _palette(path: Path) -> None:
    Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def _animated(path: Path) -> None:
    first = Image.fromarray(RED)
    first.save(path, save_all=True, append_images=[Image.new("RGB", first.size, "blue")], duration=100)


def _plain(path: Path) -> None:
    Image.fromarray(RED).save(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("turned.jpg", _exif),
        ("print.jpg", _cmyk),
        ("palette.png", _palette),
        ("moving.gif", _animated),
        ("moving.webp", _animated),
        ("with spaces & umläuts 漫画.png", _plain),
    ],
)
def test_formats(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    image = load_picture(tmp_path / name)
    assert image.shape == RED.shape
    assert image.dtype == np.uint8
    left, right = image[4:16, 3:12].mean((0, 1)), image[4:16, 18:27].mean((0, 1))
    assert left == pytest.approx([200, 40, 40], abs=25)
    assert right == pytest.approx([0, 0, 0], abs=25)


def test_what_is_transparent_is_white_paper(tmp_path: Path) -> None:
    _alpha(tmp_path / "alpha.png")
    image = load_picture(tmp_path / "alpha.png")
    np.testing.assert_array_equal(image, np.where(RED[:, :, :1] > 0, RED, 255))


def test_sixteen_bits_of_grey(tmp_path: Path) -> None:
    _sixteen(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "deep.png"), RED[:, :, :1].repeat(3, 2))


def test_an_animation_says_which_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _animated(tmp_path / "moving.gif")
    with caplog.at_level(logging.WARNING):
        load_picture(tmp_path / "moving.gif")
    assert "moving.gif: holds 2 pictures; the first is used" in caplog.text


def test_one_pixel_and_very_many(tmp_path: Path) -> None:
    assert load_picture(save(tmp_path / "dot.png", RED[:1, :1])).shape == (1, 1, 3)
    Image.new("L", (12000, 9000), 128).save(tmp_path / "poster.png", compress_level=1)
    assert load_picture(tmp_path / "poster.png").shape == (9000, 12000, 3)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 not a jpeg", b"plain text"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg: found .*bytes"):
        load_picture(path)


def test_a_truncated_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "cut.jpg", landscape())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut\.jpg: found \d+ bytes that cannot be decoded"):
        load_picture(path)


def test_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub.png").mkdir()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.JPG", "b.png"]
    (tmp_path / "images").mkdir()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.JPG", "b.png"], "an empty images/ hides nothing"
    (tmp_path / "images" / "c.gif").touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["c.gif"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: found no picture, expected a folder of pictures"):
        list_pictures(tmp_path / "none")
    with pytest.raises(DataError, match="nowhere: found no such folder"):
        list_pictures(tmp_path / "nowhere")


def test_kinds_of_input(tmp_path: Path) -> None:
    assert kind_of("camera") == kind_of("camera:1") == "camera"
    assert kind_of(str(tmp_path)) == "pictures"
    assert kind_of(str(tmp_path / "missing.jpg")) == "pictures"  # which reading it then says
    odd = save(tmp_path / "download.png", RED).rename(tmp_path / "download")
    assert kind_of(str(odd)) == "pictures"
    (tmp_path / "film.mp4").write_bytes(b"film")
    assert kind_of(str(tmp_path / "film.mp4")) == "video"
    with pytest.raises(DataError, match=r"film2\.mp4: found no such file"):
        kind_of(str(tmp_path / "film2.mp4"))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    image = as_picture(values)
    assert image.shape == (4, 5, 3)
    np.testing.assert_array_equal(image[:, :, 0], values.reshape(4, 5, -1)[:, :, 0])


@pytest.mark.parametrize("array", [np.zeros((4, 5, 3)), np.zeros((2, 4, 5, 3), np.uint8), np.zeros((0, 5), np.uint8)])
def test_arrays_that_are_no_picture(array: ByteArray) -> None:
    with pytest.raises(DataError, match=r"found an array of shape .* expected \(H, W, 3\)"):
        as_picture(array)


def test_ahead_keeps_the_order_and_its_lead() -> None:
    taken: list[int] = []
    lock = threading.Lock()

    def items() -> "list[int]":
        return list(range(20))

    def work(number: int) -> int:
        with lock:
            taken.append(number)
        return number * number

    results = ahead(work, items(), threads=3, lead=4)
    assert next(results) == 0
    assert max(taken) < 6, "no farther ahead than its lead"
    assert [0, *results] == [number * number for number in range(20)]


def test_ahead_passes_errors_on() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise DataError("the third")
        return number

    results = ahead(work, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="the third"):
        next(results)

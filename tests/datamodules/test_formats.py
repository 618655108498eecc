import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datamodules.faces import DataError
from datamodules.formats import check_image, read_image, read_list, read_npy, read_pts, write_npy, write_pts
from tests.layouts import encoded_face

POINTS = [f"{k + 1.5:.2f} {2 * k + 1.25:.2f}" for k in range(68)]


def pts_text(points: list[str], header: str = "version: 1\nn_points:  68\n") -> str:
    return header + "{\n" + "\n".join(points) + "\n}\n"


@pytest.mark.parametrize("change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t + "\n\n"])
def test_pts_counts_from_one_and_arrays_from_zero(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "a.pts"
    path.write_bytes(change(pts_text(POINTS)).encode())
    landmarks = read_pts(path)
    assert landmarks.dtype == np.float32
    np.testing.assert_allclose(landmarks, [(k + 0.5, 2 * k + 0.25) for k in range(68)])


def test_pts_is_written_as_300w_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    write_pts(path, np.array([(k + 0.5, 2 * k + 0.25) for k in range(68)], np.float32))
    lines = path.read_text().splitlines()
    assert lines[:3] == ["version: 1", "n_points:  68", "{"]
    assert lines[-1] == "}"
    assert [float(word) for word in lines[4].split()] == [2.5, 3.25]


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 5000))
def test_landmarks_survive_both_formats(tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float) -> None:
    folder = tmp_path_factory.mktemp("landmarks")
    landmarks = (np.random.default_rng(seed).standard_normal((68, 2)) * scale).astype(np.float32)
    write_pts(folder / "a.pts", landmarks)
    write_npy(folder / "a.jpg.npy", landmarks)
    np.testing.assert_allclose(read_pts(folder / "a.pts"), landmarks, rtol=1e-6, atol=2e-6)
    np.testing.assert_array_equal(read_npy(folder / "a.jpg.npy"), landmarks)


def npy(array: np.ndarray, save: Callable[[io.BytesIO, np.ndarray], None] = np.save) -> bytes:
    save(file := io.BytesIO(), array)
    return file.getvalue()


BAD_PTS = [
    ("", "0 bytes"),
    (encoded_face(".jpg")[0], "bytes that are not text"),
    (pts_text(POINTS[:67], "version: 1\nn_points: 67\n"), "67 points.*68 landmarks"),
    (pts_text(POINTS[:67]), "67 points where the header says 68"),
    (pts_text([*POINTS[:5], "1.0 two", *POINTS[6:]]), "'1.0 two' in line 9.*two numbers"),
    (pts_text([*POINTS[:5], "1.0 2.0 3.0", *POINTS[6:]]), "line 9"),
    (pts_text([*POINTS[:5], "1,5 2,5", *POINTS[6:]]), "line 9"),
    (pts_text([*POINTS[:5], "nan 2", *POINTS[6:]]), "landmark 5 .*finite"),
    (pts_text([*POINTS[:5], "1 inf", *POINTS[6:]]), "landmark 5 .*finite"),
    (pts_text(POINTS).replace("}", ""), "1 opening and 0 closing braces"),
    (pts_text(POINTS).replace("{", "").replace("}", ""), "0 opening"),
    (pts_text([], "version: 1\n"), "0 points"),
]
BAD_NPY = [
    (b"", "0 bytes"),
    (b"1 2 3", "no plain .npy"),
    (b"\x93NUMPY\x01\x00", "no plain .npy"),
    (npy(np.zeros((68, 2)), np.savez), "archive"),
    (npy(np.zeros((67, 2))), "67 points"),
    (npy(np.zeros((2, 68))), r"shape \(2, 68\)"),
    (npy(np.zeros(136)), r"shape \(136,\)"),
    (npy(np.zeros((1, 68, 2))), r"shape \(1, 68, 2\)"),
    (npy(np.zeros((68, 3))), r"shape \(68, 3\)"),
    (npy(np.full((68, 2), "x")), "type <U1"),
    (npy(np.zeros((68, 2), complex)), "complex"),
    (npy(np.where(np.arange(136).reshape(68, 2) == 7, np.nan, 1.0)), "landmark 3 .*finite"),
    (npy(np.full((68, 2), None)), "no plain .npy"),
]
BAD_LISTS = [
    ("a.jpg\nb.jpg 1\n", r"line 2 \('b.jpg 1'\).*one image name per line"),
    ("a.jpg,1\n", "line 1"),
    ("a\t1\n", "line 1"),
    ("a.PNG 3 4\n", "line 1"),
    ("a.jpg\nb.jpg\n\na.jpg\n", "'a.jpg' in line 4 and in line 1"),
    ("\n \n", "no names"),
    ("", "0 bytes"),
]


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read, *bad)
        for read, all_bad in ((read_pts, BAD_PTS), (read_npy, BAD_NPY), (read_list, BAD_LISTS))
        for bad in all_bad
    ],
)
def test_bad_content_is_named(
    tmp_path: Path, reader: Callable[[Path], object], content: str | bytes, message: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"bad: found .*{message}"):
        reader(path)


def test_npy_may_be_of_whole_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(136).reshape(68, 2))
    assert read_npy(tmp_path / "a.npy").dtype == np.float32


def test_list_ignores_blanks_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "train_list.txt"
    path.write_bytes(b"b.jpg\r\n\r\n  a.jpg \t\nimage_092 _01.jpg\n\n")
    assert list(read_list(path).items()) == [("b.jpg", 1), ("a.jpg", 3), ("image_092 _01.jpg", 4)]


RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "PNG"])
def test_lossless_images_come_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"Künstler 画.{suffix}"
    Image.fromarray(RGB).save(path)
    image = read_image(path)
    np.testing.assert_array_equal(image, RGB)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert check_image(path) == (30, 20, path.stat().st_size)


def test_every_mode_becomes_eight_bit_rgb(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    flat = Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8))
    cases: dict[str, tuple[Image.Image, np.ndarray | tuple[int, int, int]]] = {
        "grey.png": (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        "grey16.png": (Image.fromarray(grey.astype(np.uint16) * 257), np.stack([grey] * 3, -1)),
        "alpha.png": (Image.fromarray(np.dstack([RGB, grey])), RGB),
        "greyalpha.png": (Image.fromarray(np.dstack([grey, grey]), "LA"), np.stack([grey] * 3, -1)),
        "palette.gif.png": (flat.quantize(4), (200, 100, 50)),
        "cmyk.jpg": (flat.convert("CMYK"), (200, 100, 50)),
        "lossy.webp": (flat, (200, 100, 50)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        got = read_image(tmp_path / name)
        assert got.dtype == np.uint8
        assert got.shape[2] == 3
        tolerance = 0 if isinstance(expected, np.ndarray) else 4
        np.testing.assert_allclose(got.astype(int), np.broadcast_to(expected, got.shape), atol=tolerance, err_msg=name)
        assert check_image(tmp_path / name)[:2] == image.size


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    # A palette with transparency is read without Pillow's warning.
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes(range(8)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = cv2.resize(RGB[:2, :3], (48, 32))
    Image.fromarray(smooth).save(path, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    transposed = smooth.transpose(1, 0, 2)
    by_orientation = [smooth, smooth[:, ::-1], smooth[::-1, ::-1], smooth[::-1]]
    by_orientation += [transposed, np.rot90(smooth, -1), transposed[::-1, ::-1], np.rot90(smooth)]
    turned = by_orientation[orientation - 1]
    image = read_image(path)
    assert image.shape == turned.shape
    np.testing.assert_allclose(image.astype(int), turned, atol=6)
    assert check_image(path)[:2] == (turned.shape[1], turned.shape[0])


@pytest.mark.parametrize("reader", [read_image, check_image])
@pytest.mark.parametrize("name", ["cut.jpg", "progressive.jpg", "cut.png", "cut.webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_truncated_image_is_named(tmp_path: Path, reader: Callable[[Path], object], name: str, share: float) -> None:
    path = tmp_path / name
    Image.fromarray(np.tile(RGB, (8, 8, 1))).save(path, progressive=name.startswith("progressive"))
    reader(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=rf"{name}: found \d+ bytes that cannot be decoded .*truncated.*fetch"):
        reader(path)


@pytest.mark.parametrize("reader", [read_image, check_image])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"\xff\xd8\xff\xe0", struct.pack("<256d", *range(256))])
def test_file_that_is_no_image_is_named(tmp_path: Path, reader: Callable[[Path], object], content: bytes) -> None:
    path = tmp_path / "no.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no\.jpg: found .*cannot be decoded") as error:
        reader(path)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("reader", [read_image, read_pts, read_npy, read_list])
def test_unreadable_files_are_named(
    tmp_path: Path, reader: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="gone: found no such file"):
        reader(tmp_path / "gone")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="link: found a link to nothing"):
        reader(tmp_path / "link")
    with pytest.raises(DataError, match="directory"):
        reader(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty: found an empty file"):
        reader(tmp_path / "empty")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # chmod would not stop a test that runs as root
    with pytest.raises(DataError, match=r"empty: found a file without read permission.*chmod"):
        reader(tmp_path / "empty")

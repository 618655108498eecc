import io
import os
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
    (pts_text(POINTS) * 2, "2 opening and 2 closing braces.*each face into a file"),
    (pts_text([], "version: 1\n"), "0 points"),
    (pts_text([f"{k}_0 {k}_1" for k in range(68)]), "'0_0 0_1' in line 4"),
    (pts_text([f"{line} 50.5" for line in POINTS]), "three numbers a line.*take the third column out"),
]
BAD_NPY = [
    (b"", "0 bytes"),
    (b"1 2 3", "no plain .npy"),
    (b"\x93NUMPY\x01\x00", "no plain .npy"),
    (npy(np.zeros((68, 2)), np.savez), "archive"),
    (npy(np.zeros((67, 2))), "67 points"),
    (npy(np.zeros((2, 68))), r"shape \(2, 68\).*array\.T: .*a reshape would scramble"),
    (npy(np.zeros(136)), r"shape \(136,\).*reshape\(68, 2\) if .*reshape\(2, 68\)\.T if"),
    (npy(np.zeros((2, 68, 2))), r"shape \(2, 68, 2\).*several faces"),
    (npy(np.zeros((68, 3))), r"shape \(68, 3\).*array\[:, :2\] if"),
    (npy(np.zeros((70, 2))), r"70 points.*array\[:68\]"),
    (npy(np.zeros(68, [("x", "f4"), ("y", "f4")])), r"numpy\.stack\(\[array\['x'\]"),
    (b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 9), }\n", "no plain"),
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


SAME_POINTS = {
    "commas": pts_text([line.replace(" ", ", ") for line in POINTS]),
    "decimal commas": pts_text([line.replace(".", ",") for line in POINTS]),
    "no braces": pts_text(POINTS).replace("{", "").replace("}", ""),
    "points alone": "\n".join(POINTS),
    "braces beside points": "version: 1\nn_points: 68 {" + "\n".join(POINTS) + "}",
    "comments": "# by a tool\n" + pts_text(["// jaw", *(f"{line} # {k}" for k, line in enumerate(POINTS))]),
    "numbered from 0": pts_text([f"{k} {line}" for k, line in enumerate(POINTS)]),
    "numbered from 1": pts_text([f"{k + 1} {line}" for k, line in enumerate(POINTS)]),
    "visibility": pts_text([f"{line} {k % 2}" for k, line in enumerate(POINTS)]),
}


@pytest.mark.parametrize("form", SAME_POINTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_other_forms_of_the_same_points(tmp_path: Path, form: str, encoding: str) -> None:
    (tmp_path / "a.pts").write_bytes(SAME_POINTS[form].encode(encoding))
    np.testing.assert_allclose(read_pts(tmp_path / "a.pts"), [(k + 0.5, 2 * k + 0.25) for k in range(68)])


@pytest.mark.parametrize("shape", [(1, 68, 2), (68, 1, 2), (68, 2, 1)])
def test_npy_with_axes_of_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    points = np.arange(136.0).reshape(68, 2)
    np.save(tmp_path / "a.npy", points.reshape(shape))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), points)


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
    assert check_image(path) == (30, 20, path.stat().st_size, None)


def on_white(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return (image * share + 255 * (1 - share)).round().astype(np.uint8)


def test_every_mode_becomes_eight_bit_rgb(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    flat = Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8))
    cases: dict[str, tuple[Image.Image, np.ndarray | tuple[int, int, int]]] = {
        "grey.png": (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        "grey16.png": (Image.fromarray(grey.astype(np.uint16) * 257), np.stack([grey] * 3, -1)),
        "opaque.png": (Image.fromarray(np.dstack([RGB, grey | 255])), RGB),
        "alpha.png": (Image.fromarray(np.dstack([RGB, grey])), on_white(RGB, grey)),
        "greyalpha.png": (Image.fromarray(np.dstack([grey, grey]), "LA"), on_white(np.stack([grey] * 3, -1), grey)),
        "grey12.png": (Image.fromarray(grey.astype(np.uint16) * 16), np.stack([grey] * 3, -1)),
        "grey8.png": (Image.fromarray(grey.astype(np.uint16)), np.stack([grey] * 3, -1)),
        "grey32.tif": (Image.fromarray(grey.astype(np.int32)), np.stack([grey] * 3, -1)),
        "other.gif": (flat.quantize(4), (200, 100, 50)),
        "other.jp2": (Image.fromarray(RGB), RGB),
        "other.ppm": (Image.fromarray(RGB), RGB),
        "palette.gif.png": (flat.quantize(4), (200, 100, 50)),
        "cmyk.jpg": (flat.convert("CMYK"), (200, 100, 50)),
        "lossy.webp": (flat, (200, 100, 50)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        got = read_image(tmp_path / name)
        assert got.dtype == np.uint8
        assert got.shape[2] == 3
        tolerance = 1 if isinstance(expected, np.ndarray) else 4
        np.testing.assert_allclose(got.astype(int), np.broadcast_to(expected, got.shape), atol=tolerance, err_msg=name)
        assert check_image(tmp_path / name)[:2] == image.size


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    # Values of 8 bits in such a file would all be 0.
    cv2.imwrite(str(tmp_path / "a.png"), RGB[..., ::-1].astype(np.uint16))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    # A palette with transparency is read without Pillow's warning.
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0] * 4 + [255] * 4))
    indices, colours = np.asarray(image), np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.where(indices[..., None] < 4, 255, colours))


def test_ink_on_transparent_ground_stays_visible(tmp_path: Path) -> None:
    """Drawing programs leave black beneath what is transparent."""
    ink = np.zeros((20, 30, 4), np.uint8)
    ink[5:15, 10:20, 3] = 255
    expected = np.full((20, 30, 3), 255, np.uint8)
    expected[5:15, 10:20] = 0
    for suffix in ("png", "webp", "tif"):
        Image.fromarray(ink).save(tmp_path / f"ink.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
        np.testing.assert_array_equal(read_image(tmp_path / f"ink.{suffix}"), expected)


@pytest.mark.parametrize(
    ("size", "colour", "oddity"),
    [
        ((30, 20), "grey", "one colour"),
        ((1, 1), "grey", "1×1 pixels"),
        ((300, 9), None, "300×9 pixels"),
        ((40, 30), None, None),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_that_hardly_show_a_face(
    tmp_path: Path, size: tuple[int, int], colour: str | None, oddity: str | None, suffix: str
) -> None:
    image = Image.fromarray(RGB).resize(size) if colour is None else Image.new("RGB", size, colour)
    image.save(tmp_path / f"a.{suffix}")
    assert check_image(tmp_path / f"a.{suffix}").oddity == oddity


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_001)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: found 20000×10001 pixels, expected at most 200 million pixels"):
        read_image(tmp_path / "a.png")


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(DataError, match=r"a\.heic: found .*a HEIC picture"):
        read_image(tmp_path / "a.heic")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg: found a pipe"):
        read_image(tmp_path / "pipe.jpg")
    name = os.fsdecode(b"\xe9.png")
    Image.fromarray(RGB).save(tmp_path / name)
    with pytest.raises(DataError, match=r"found a file name that is not UTF-8.*Rename it") as error:
        read_image(tmp_path / name)
    assert str(error.value).isprintable()


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

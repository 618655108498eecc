"""The data sets as they lie on disk, with small drawn faces, for tests.

Every writer takes the numbers of faces, so that a test can be small, or ``full_counts=True`` for trees of the published
sizes (tiny images, one encoded byte string for all of them).
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from datamodules.faces import ByteArray, FloatArray
from datamodules.formats import write_npy, write_pts
from datamodules.ibug68 import CLOSED_PARTS, PARTS

W300_COUNTS = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
"""Images per folder as published (Sagonas et al., 2013), written here a second time as the tests' own reference."""

FULL_COUNT_SIZE = 16


def face_landmarks(size: int, seed: int = 0) -> FloatArray:
    """68 landmarks of a frontal face in ``size`` × ``size`` pixels, zero-based; the seed moves and turns it."""

    def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, count: int) -> FloatArray:
        angle = np.radians(np.linspace(start, stop, count))
        return np.stack([x + rx * np.cos(angle), y - ry * np.sin(angle)], axis=1).astype(np.float32)

    bridge = np.stack([np.full(4, 0.5), np.linspace(0.38, 0.54, 4)], axis=1)
    unit = np.concatenate(
        [
            arc(0.5, 0.42, 0.34, 0.46, 180, 360, 17),
            arc(0.33, 0.33, 0.11, 0.06, 170, 20, 5),
            arc(0.67, 0.33, 0.11, 0.06, 160, 10, 5),
            bridge,
            arc(0.5, 0.57, 0.07, 0.04, 190, 350, 5),
            arc(0.35, 0.41, 0.07, 0.035, 180, -120, 6),
            arc(0.65, 0.41, 0.07, 0.035, 180, -120, 6),
            arc(0.5, 0.72, 0.13, 0.06, 180, -150, 12),
            arc(0.5, 0.72, 0.09, 0.02, 180, -135, 8),
        ]
    )
    random = np.random.default_rng(seed)
    angle, scale = random.uniform(-0.2, 0.2), random.uniform(0.7, 0.9)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (((unit - 0.5) @ turn + 0.5 + random.uniform(-0.05, 0.05, 2)) * (size - 1)).astype(np.float32)


def draw_face(size: int, landmarks: FloatArray, seed: int = 0) -> ByteArray:
    """An RGB picture, shape ``(size, size, 3)``, of a face with these landmarks."""
    random = np.random.default_rng(seed)
    image = np.full((size, size, 3), random.integers(0, 120, 3), np.uint8)
    points = {part: landmarks[list(indices)].round().astype(np.int32) for part, indices in PARTS.items()}
    skin = [int(value) for value in random.integers(150, 255, 3)]
    outline = np.concatenate([points["jaw"], points["left_brow"], points["right_brow"]])
    cv2.fillConvexPoly(image, cv2.convexHull(outline), skin)
    for part, line in points.items():
        cv2.polylines(image, [line], part in CLOSED_PARTS, [int(value) for value in random.integers(0, 100, 3)])
    return image


@functools.cache
def encoded_face(suffix: str, size: int = 64, seed: int = 0) -> tuple[bytes, FloatArray]:
    """A drawn face as the bytes of an image file (``.jpg``, ``.png``, ...), and its landmarks."""
    landmarks = face_landmarks(size, seed)
    done, data = cv2.imencode(suffix.lower(), draw_face(size, landmarks, seed)[..., ::-1])
    assert done
    return data.tobytes(), landmarks


def write_face(image: Path, landmark_file: Path | None, size: int = 64, seed: int = 0) -> FloatArray:
    """Write a drawn face and, unless None, its landmarks (``.pts`` or ``.npy`` by suffix); returns the landmarks."""
    data, landmarks = encoded_face(image.suffix, size, seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(data)
    if landmark_file is not None:
        landmark_file.parent.mkdir(parents=True, exist_ok=True)
        (write_pts if landmark_file.suffix == ".pts" else write_npy)(landmark_file, landmarks)
    return landmarks


def write_w300(
    root: Path, counts: Mapping[str, int] | None = None, size: int = 64, full_counts: bool = False, mirrored: int = 0
) -> Path:
    """300W: jpg (helen, afw, ibug) or png (lfpw) beside ``.pts``.

    Args:
        root: folder to write to.
        counts: faces per folder; 3 each if None.
        size: side of the images in pixels.
        full_counts: the published counts, with tiny images.
        mirrored: add this many ``_mirror`` copies per folder, as some distributions do.
    """
    counts = W300_COUNTS if full_counts else counts or dict.fromkeys(W300_COUNTS, 3)
    for folder, (subset, count) in enumerate(counts.items()):
        names = [_w300_name(subset, k) for k in range(count)]
        names += [f"{Path(name).stem}_mirror{Path(name).suffix}" for name in names[:mirrored]]
        for k, name in enumerate(names):
            image = root / subset / name
            seed = 0 if full_counts else 1000 * folder + k
            write_face(image, image.with_suffix(".pts"), FULL_COUNT_SIZE if full_counts else size, seed)
    return root


def _w300_name(subset: str, k: int) -> str:
    if subset == "afw":
        return f"{1051618982 + k}_{1 + k % 3}.jpg"
    if subset == "ibug":  # with the one real name that holds a space, and suffixes in capitals
        return "image_092 _01.jpg" if k == 0 else f"image_{100 + k}.{'JPG' if k % 2 else 'jpg'}"
    return f"{10000 + k}_1.jpg" if subset.startswith("helen") else f"image_{k + 1:04d}.png"


def write_cariface(
    root: Path,
    train: int = 6,
    test: int = 4,
    size: int = 64,
    lists: Iterable[Literal["train", "test"]] = ("train", "test"),
    listed_train: int | None = None,
    labelled_train: bool = True,
    full_counts: bool = False,
) -> Path:
    """CariFace: ``images/NAME.jpg``, ``landmarks/NAME.jpg.npy``, lists.

    Args:
        root: folder to write to.
        train: training images, the first ones by name.
        test: test images, the last ones by name.
        size: side of the images in pixels.
        lists: which lists to write.
        listed_train: how many of the training images the training list names (the first); all if None.
        labelled_train: whether training images have landmarks.
        full_counts: 7,000 and 800, with tiny images.
    """
    train, test = (7000, 800) if full_counts else (train, test)
    names = [f"{k + 1:05d}.jpg" for k in range(train + test)]
    for k, name in enumerate(names):
        landmarks = root / "landmarks" / f"{name}.npy" if labelled_train or k >= train else None
        write_face(root / "images" / name, landmarks, *((FULL_COUNT_SIZE, 0) if full_counts else (size, k)))
    _write_lists(root, lists, names[:train][:listed_train], names[train:])
    return root


def write_artiface(
    root: Path,
    train: int = 6,
    test: int = 4,
    size: int = 64,
    lists: Iterable[Literal["train", "test"]] = ("train", "test"),
    landmarks: Literal["npy", "pts"] = "npy",
    full_counts: bool = False,
) -> Path:
    """ArtiFace: ``images/N.png``; ``landmarks/N.png.npy`` (``npy``) or ``images/N.pts`` (``pts``).

    The lists take every fifth image as a test image first, so that they differ from any split by order.

    Args:
        root: folder to write to.
        train: training images.
        test: test images.
        size: side of the images in pixels.
        lists: which lists to write.
        landmarks: the authors' conversion, or as distributed.
        full_counts: 128 and 32, with tiny images.
    """
    train, test = (128, 32) if full_counts else (train, test)
    names = [f"{k + 1}.png" for k in range(train + test)]
    for k, name in enumerate(names):
        image = root / "images" / name
        file = root / "landmarks" / f"{name}.npy" if landmarks == "npy" else image.with_suffix(".pts")
        write_face(image, file, *((FULL_COUNT_SIZE, 0) if full_counts else (size, k)))
    in_test = sorted(names, key=lambda name: (int(name[:-4]) % 5 != 0, int(name[:-4])))[:test]
    _write_lists(root, lists, [name for name in names if name not in in_test], in_test)
    return root


def _write_lists(root: Path, lists: Iterable[str], train: Iterable[str], test: Iterable[str]) -> None:
    for split, names in (("train", train), ("test", test)):
        if split in lists:
            (root / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))


def write_folder(
    root: Path,
    count: int = 6,
    layout: Literal["pts", "npy", "cariface", "unlabelled"] = "pts",
    size: int = 64,
    seed: int = 0,
    prefix: str = "face",
) -> Path:
    """A user's folder: ``.pts`` or ``.npy`` beside each jpg, CariFace's layout, or images without landmarks."""
    for k in range(count):
        name = f"{prefix}{k:03d}.jpg"
        image = root / "images" / name if layout == "cariface" else root / name
        files = {
            "pts": image.with_suffix(".pts"),
            "npy": image.with_suffix(".npy"),
            "cariface": root / "landmarks" / f"{name}.npy",
            "unlabelled": None,
        }
        write_face(image, files[layout], size, seed + k)
    return root

"""Writes the data sets as they lie on disk, with a few small drawn faces, or with the published number of tiny ones."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from datamodules.faces import FloatArray
from datamodules.formats import write_npy, write_pts
from datamodules.ibug68 import CLOSED_PARTS, PARTS
from datamodules.synthetic import face_geometry

W300_COUNTS = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
"""Images per folder as published (Sagonas et al., 2013): the tests' own reference."""

FULL_COUNT_FACE = 16, 0
"""Size and seed of the one face that all images of a full tree show."""

Split = Literal["train", "test"]
Layout = Literal["pts", "npy", "cariface", "unlabelled"]


def face_landmarks(size: int, seed: int = 0) -> FloatArray:
    """68 landmarks of a nearly frontal face in ``size`` × ``size`` pixels, zero-based."""
    return face_geometry("photo", seed, 0, size, difficulty=0.2).landmarks


@functools.cache
def encoded_face(suffix: str, size: int = 64, seed: int = 0) -> tuple[bytes, FloatArray]:
    """A face in flat colours as the bytes of an image file (``.jpg``, ``.png``, ...), and its landmarks."""
    landmarks, colours = face_landmarks(size, seed), np.random.default_rng(seed).integers(0, 120, (1 + len(PARTS), 3))
    image = np.full((size, size, 3), colours[-1] // 4, np.uint8)
    cv2.fillConvexPoly(image, cv2.convexHull(landmarks.round().astype(np.int32)), (180 - colours[-1]).tolist())
    for (part, indices), colour in zip(PARTS.items(), colours.tolist(), strict=False):
        line = landmarks[list(indices)].round().astype(np.int32)
        cv2.polylines(image, [line], part in CLOSED_PARTS, colour)
    done, data = cv2.imencode(suffix.lower(), image)
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


def write_w300(root: Path, counts: Mapping[str, int] | None = None, full_counts: bool = False) -> Path:
    """300W: jpg (helen, afw, ibug) or png (lfpw) beside ``.pts``; by default 3 faces per folder."""
    counts = W300_COUNTS if full_counts else counts or dict.fromkeys(W300_COUNTS, 3)
    for number, (folder, count) in enumerate(counts.items()):
        for k in range(count):
            image = root / folder / _w300_name(folder, k)
            write_face(image, image.with_suffix(".pts"), *(FULL_COUNT_FACE if full_counts else (64, 1000 * number + k)))
    return root


def _w300_name(folder: str, k: int) -> str:
    if folder == "afw":
        return f"{1051618982 + k}_{1 + k % 3}.jpg"
    if folder == "ibug":  # with the one real name that holds a space, and suffixes in capitals
        return "image_092 _01.jpg" if k == 0 else f"image_{100 + k}.{'JPG' if k % 2 else 'jpg'}"
    return f"{10000 + k}_1.jpg" if folder.startswith("helen") else f"image_{k + 1:04d}.png"


def write_cariface(
    root: Path, lists: Iterable[Split] = ("train", "test"), labelled_train: bool = True, full_counts: bool = False
) -> Path:
    """CariFace: ``images/NAME.jpg``, ``landmarks/NAME.jpg.npy``, lists; 6 training and then 4 test images by name."""
    train, test = (7000, 800) if full_counts else (6, 4)
    names = [f"{k + 1:05d}.jpg" for k in range(train + test)]
    for k, name in enumerate(names):
        landmarks = root / "landmarks" / f"{name}.npy" if labelled_train or k >= train else None
        write_face(root / "images" / name, landmarks, *(FULL_COUNT_FACE if full_counts else (64, k)))
    _write_lists(root, lists, names[:train], names[train:])
    return root


def write_artiface(
    root: Path,
    lists: Iterable[Split] = ("train", "test"),
    landmarks: Literal["npy", "pts"] = "npy",
    full_counts: bool = False,
) -> Path:
    """ArtiFace: ``images/N.png``, with ``landmarks/N.png.npy`` (the authors' conversion) or ``images/N.pts``.

    Of 6 training and 4 test images every fifth is a test image first, so that the lists differ from a split by order.
    """
    train, test = (128, 32) if full_counts else (6, 4)
    names = [f"{k + 1}.png" for k in range(train + test)]
    for k, name in enumerate(names):
        image = root / "images" / name
        file = root / "landmarks" / f"{name}.npy" if landmarks == "npy" else image.with_suffix(".pts")
        write_face(image, file, *(FULL_COUNT_FACE if full_counts else (64, k)))
    in_test = sorted(names, key=lambda name: (int(name[:-4]) % 5 != 0, int(name[:-4])))[:test]
    _write_lists(root, lists, [name for name in names if name not in in_test], in_test)
    return root


def _write_lists(root: Path, lists: Iterable[Split], train: Iterable[str], test: Iterable[str]) -> None:
    for split, names in (("train", train), ("test", test)):
        if split in lists:
            (root / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))


def write_folder(root: Path, count: int = 6, layout: Layout = "pts", seed: int = 0, prefix: str = "face") -> Path:
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
        write_face(image, files[layout], seed=seed + k)
    return root

"""How data sets lie on disk: images, the landmarks that belong to them, face boxes, and lists that split them.

A data set describes each face by an :class:`Entry` without opening its files. A problem found at this stage is kept in
the entry, so that :class:`datamodules.files.FileFaces` can report all problems at once, or skip the files.
"""

import functools
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from datamodules.checks.boxes import BOX_COLUMNS, read_boxes
from datamodules.checks.foreign import other_labels
from datamodules.faces import DataError, FloatArray
from datamodules.formats import IMAGE_SUFFIXES, bad_file, begins_as_picture, plain_name, read_list, shown

__all__ = ["BOX_COLUMNS", "read_boxes"]  # they belong to a folder's layout, and are read beside it

_log = logging.getLogger(__name__)

LANDMARK_SUFFIXES: Final = (".npy", ".pts")
"""Suffixes of landmark files, the preferred one first."""

_PARTS: Final = frozenset({"images", "landmarks", "train", "test"})
"""Folders of a data set's layout."""
_NAMED: Final = 3


@dataclass(frozen=True)
class Entry:
    """One face by its files, which are not opened yet (:class:`datamodules.faces.Face` is the decoded face).

    Attributes:
        path: the image.
        landmark_file: the ``.npy`` or ``.pts`` file that belongs to it, or None.
        box: given face box ``(x0, y0, x1, y1)`` in image pixels, or None.
        subsets: names of the subsets the face counts in.
        problem: what is already known to be wrong with it, or None.
        frontal: whether a list calls the face frontal; None without such a list.
    """

    path: Path
    landmark_file: Path | None = None
    box: FloatArray | None = None
    subsets: tuple[str, ...] = ()
    problem: DataError | None = None
    frontal: bool | None = None


def list_folder(folder: Path, expected: str, remedy: str) -> list[Path]:
    """The contents of a folder, sorted by name, without hidden files (``.DS_Store``, ``._x.jpg``).

    Raises:
        DataError: the folder is missing, a file, or unreadable.
    """
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        raise bad_file(folder, "no such folder", expected, remedy) from None
    except NotADirectoryError:
        raise bad_file(folder, "a file", expected, remedy) from None
    except PermissionError:
        found, remedy = "a folder without read permission", f"Give yourself the right, e.g. chmod -R u+rX {folder}"
        raise bad_file(folder, found, expected, remedy) from None
    return [path for path in paths if not path.name.startswith(".")]


def read_entries(root: Path, expected: str) -> list[Entry]:
    """The images of a folder in the order of their names, each with its landmark file and box if it has them.

    Images lie in ``root/images`` if that folder has any, else in ``root``. The landmarks of ``x.jpg`` are
    ``x.jpg.npy``, ``x.npy``, ``x.jpg.pts`` or ``x.pts`` (the first found), in ``root/landmarks`` or beside the image.
    Boxes are in ``root/boxes.csv``. Pictures that are left out are counted in the log.

    Args:
        root: the folder.
        expected: what should lie there, for messages.

    Raises:
        DataError: the folder or its boxes cannot be read.
    """
    remedy = "Give the folder that holds the images."
    list_folder(root, expected, remedy)
    folder = images_folder(root)
    _tell_left_out(root, folder)
    return _entries_in(folder, root, expected, remedy)


def images_folder(root: Path) -> Path:
    """Where a folder's images lie: in its ``images/``, or in itself if that has none and it has some."""
    inside = root / "images"
    if not inside.is_dir() or (not _images_in(inside) and _images_in(root)):
        return root
    return inside


def is_image(path: Path) -> bool:
    """Whether a path is taken for an image, by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _images_in(folder: Path) -> list[Path]:
    return [path for path in list_folder(folder, "images", "") if is_image(path)]


def _tell_left_out(root: Path, folder: Path) -> None:
    """Say which pictures of a folder are not used, and why."""
    if folder == root and (root / "images").is_dir():
        _say(f"{shown(root)}: images/ holds no image; those beside it are used")
    within = list_folder(folder, "images", "")
    beside = _images_in(root) if folder != root else []
    deeper = [path for path in within if path.is_dir() and not (folder == root and path.name in _PARTS)]
    others = [path for path in within if path.is_file() and not is_image(path) and begins_as_picture(path)]
    inner = [path for place in deeper for path in _walked(place)]
    for paths, why in (
        (beside, "beside images/ are left out"),
        (inner, "in sub-folders, which are not searched, are left out"),
        (others, "of other kinds, by their suffixes, are left out (convert or rename them to jpg or png)"),
    ):
        if paths:
            named = ", ".join(shown(path.relative_to(root)) for path in paths[:_NAMED])
            _say(f"{shown(root)}: {len(paths)} pictures {why}: {named}{', ...' * (len(paths) > _NAMED)}")


def _walked(folder: Path) -> list[Path]:
    found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in sorted(names))
    return [path for path in found if is_image(path) and not path.name.startswith(".")]


@functools.cache
def _say(message: str) -> None:
    """A folder is read for training and for testing, and says the same each time."""
    _log.warning("%s", message)


def find_entry(image: Path) -> Entry:
    """A single image with its landmark file and box, searched for where :func:`read_entries` does.

    Args:
        image: a file directly in the data set's folder or in its ``images/``.

    Raises:
        DataError: the folder or its boxes cannot be read.
    """
    folder = image.absolute().parent
    root = folder.parent if folder.name == "images" else folder
    entries = _entries_in(folder, root, f"the folder of {image.name}", "Check the image's name.")
    found = next((entry for entry in entries if entry.path.name == image.name), Entry(image))
    return replace(found, path=image)


def _entries_in(images_folder: Path, root: Path, expected: str, remedy: str) -> list[Entry]:
    found = list_folder(images_folder, expected, remedy)
    images = [path for path in found if is_image(path)]
    landmarks_folder = root / "landmarks"
    apart = list_folder(landmarks_folder, expected, remedy) if landmarks_folder.is_dir() else []
    landmark_files = {
        (plain_name(path.stem), path.suffix.lower()): path
        for path in [*found, *apart]
        if path.suffix.lower() in LANDMARK_SUFFIXES
    }
    boxes = read_boxes(root / "boxes.csv", {path.name for path in images})
    stems = Counter(plain_name(path.stem) for path in images)
    return [_entry(path, landmark_files, stems, boxes) for path in images]


def _entry(
    image: Path, files: Mapping[tuple[str, str], Path], stems: Mapping[str, int], boxes: Mapping[str, FloatArray]
) -> Entry:
    stem = plain_name(image.stem)
    keys = [(name, suffix) for suffix in LANDMARK_SUFFIXES for name in (plain_name(image.name), stem)]
    key = next((key for key in keys if key in files), None)
    problem = None
    if key and key[0] == stem and stems[stem] > 1:
        found = f"{stems[stem]} images of that name with different suffixes, which share {files[key].name}"
        problem = bad_file(image, found, "landmarks of its own", "Rename one of the images, or remove it.")
    return Entry(image, files[key] if key else None, boxes.get(image.name), problem=problem)


def require_images(root: Path, entries: Sequence[Entry], expected: str) -> None:
    """Refuse a folder without images.

    Raises:
        DataError: there are no entries; the message says what lies there instead.
    """
    if not entries:
        names = [path.name + "/" * path.is_dir() for path in list_folder(root, expected, "")]
        found = f"no image but {', '.join(names[:5])}{', ...' * (len(names) > 5)}" if names else "an empty folder"
        raise bad_file(root, found, expected, "Give the folder that holds the images, as jpg, png, bmp, webp or tif.")


def orphans(folder: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Landmark files in a folder that belong to none of its images, as entries with a problem."""
    names = {plain_name(name) for entry in entries for name in (entry.path.name, entry.path.stem)}
    files = list_folder(folder, "landmark files", "")
    lone = [path for path in files if path.suffix.lower() in LANDMARK_SUFFIXES and plain_name(path.stem) not in names]
    expected, remedy = "an image of the same name", "Put the image there (jpg, png, bmp, webp or tif), or remove this."
    return [Entry(path, problem=bad_file(path, "landmarks without an image", expected, remedy)) for path in lone]


def expect_landmarks(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, with a problem added to each that has no landmark file."""
    return [e if e.landmark_file or e.problem else replace(e, problem=_without_landmarks(e.path)) for e in entries]


def _without_landmarks(image: Path) -> DataError:
    expected = f"{image.name}.npy or {image.stem}.pts beside it or in a folder landmarks/"
    folder = image.parent.parent if image.parent.name == "images" else image.parent
    remedy = f"Add its landmarks or remove the image. {other_labels(folder)}".strip()
    return bad_file(image, "an image without landmarks", expected, remedy)


def read_lists(root: Path, entries: Sequence[Entry]) -> tuple[list[Entry] | None, list[Entry] | None]:
    """The entries named by ``root/train_list.txt`` and by ``root/test_list.txt``, in their order; None without a list.

    A name without an image becomes an entry with a problem that gives the line of the list.

    Raises:
        DataError: a list is malformed.
    """
    by_name = {plain_name(entry.path.name): entry for entry in entries}
    images = entries[0].path.parent if entries else root
    return _listed(root / "train_list.txt", by_name, images), _listed(root / "test_list.txt", by_name, images)


def _listed(path: Path, by_name: Mapping[str, Entry], images: Path) -> list[Entry] | None:
    if not path.exists():
        return None

    def missing(name: str, line: int) -> Entry:
        found, expected = f"{name!r} in line {line}", f"names of images in {images}"
        return Entry(images / name, problem=bad_file(path, found, expected, "Add the image or take the line out."))

    return [by_name.get(name) or missing(name, line) for name, line in read_list(path).items()]


def split_by_lists(root: Path, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry] | None]:
    """Training and test entries by the lists in ``root``; with only one list, the other split is the rest.

    Returns:
        The two splits; without any list, all entries and None.

    Raises:
        DataError: a list is malformed, or an image is in both.
    """
    train, test = read_lists(root, entries)
    if test is None and train is not None:
        test = without(entries, train)
    train = without(entries, test or ()) if train is None else train
    check_disjoint(root, train, test or ())
    return train, test


def without(entries: Sequence[Entry], others: Sequence[Entry]) -> list[Entry]:
    """The entries whose images are not among those of ``others``."""
    paths = {entry.path for entry in others}
    return [entry for entry in entries if entry.path not in paths]


def require_split(root: Path, split: str, entries: Sequence[Entry]) -> None:
    """Refuse a split without images in a folder that has some.

    Raises:
        DataError: there are no entries.
    """
    if not entries:
        expected, remedy = "at least one", "Write train_list.txt and test_list.txt, or use folders train/ and test/."
        raise bad_file(root, f"no image in the {split} split", expected, remedy)


def check_disjoint(root: Path, train: Sequence[Entry], test: Sequence[Entry]) -> None:
    """Refuse a split that trains on test images.

    Raises:
        DataError: an image is in both.
    """
    both = sorted({entry.path for entry in train} & {entry.path for entry in test})
    if both:
        found = f"{len(both)} images in both the training and the test split, e.g. {both[0].name}"
        raise bad_file(root, found, "no image in both", "Correct train_list.txt and test_list.txt.")


def check_counts(root: Path, data_set: str, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Compare the numbers of images, by split or folder, with those of the paper's Table 1.

    Raises:
        DataError: any differs; the message lists all of them.
    """
    if all(found[name] == count for name, count in expected.items()):
        return
    rows = "; ".join(
        f"{name} {found[name]} of {count}" + ("" if found[name] == count else " (differs)")
        for name, count in expected.items()
    )
    remedy = "Complete the data set, or set data.strict_counts=false to use what is there."
    raise bad_file(root, f"other numbers of images than {data_set} has: {rows}", "the counts of Table 1", remedy)

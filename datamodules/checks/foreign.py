"""Labels of other tools that lie beside pictures: what they are, and how they become ``.npy`` or ``.pts``."""

import functools
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

_LOOKED_AT: Final = 300
"""Files at most; a folder that holds labels shows them soon."""
_HEAD: Final = 100_000
_NUMBER: Final = rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"

_KINDS: Final[tuple[tuple[str, re.Pattern[bytes], str], ...]] = tuple(
    (suffix, re.compile(pattern, re.DOTALL), words)
    for suffix, pattern, words in (
        (
            ".xml",
            rb"<image\s+file=.*<part\s",
            "dlib's (imglab): save x and y of parts 00…67 of each picture as its NAME.npy; they count from 0",
        ),
        (".xml", rb"<annotation.*<object", "Pascal VOC's, which are boxes without landmarks"),
        (
            ".json",
            rb'"shapes"\s*:|"imagePath"\s*:',
            "labelme's: save the points of its shapes in iBUG-68's order as NAME.npy; they count from 0",
        ),
        (
            ".json",
            rb'"keypoints"\s*:|"annotations"\s*:',
            "COCO's: keypoints are x, y, visibility; of 133 (WholeBody) 23…90 are iBUG-68: save them as NAME.npy; "
            "COCO's own 17 are of bodies",
        ),
        (".json", rb'"_via|"regions"\s*:', "VIA's: save the points of its regions in iBUG-68's order as NAME.npy"),
        (
            ".mat",
            rb"MATLAB|\x89HDF",
            "MATLAB's: 300W-LP's landmarks/*_pts.mat hold 68 points as pts_2d (read them with scipy.io.loadmat, look "
            "whether they count from 0 or 1, save them as NAME.npy); pt3d_68 follows another jaw line",
        ),
        (".txt", rb"\s*(?:" + _NUMBER + rb"\s+){190,}", "WFLW's lists of 98 points, which cannot become iBUG-68"),
        (
            ".txt",
            rb"(?:[^\n]*\n){0,2}?(?:\s*" + _NUMBER + rb"[\s,;]+" + _NUMBER + rb"\s*\n){60,}",
            "rows of two numbers: name the files NAME.pts if they count from 1; if they count from 0, "
            "numpy.save('NAME.npy', numpy.loadtxt('NAME.txt'))",
        ),
        (".txt", rb"\d+(?:\s+[01]\.\d+){4,}\s*$", "YOLO's, in fractions of the picture, from its centre"),
        (".asf", rb"", "IMM's (.asf), in fractions of the picture; its 58 points cannot become iBUG-68"),
    )
)


def other_labels(folder: Path) -> str:
    """What labels of other tools lie in a folder or the folders in it, as a sentence; empty where there are none."""
    return _told(folder, tuple(islice(_files(folder), _LOOKED_AT)))


@functools.lru_cache(maxsize=64)
def _told(folder: Path, files: tuple[Path, ...]) -> str:
    for file in files:
        if words := _kind(file):
            return f"{file.relative_to(folder)} holds labels of another form, {words}."
    return ""


def _files(folder: Path) -> Iterator[Path]:
    suffixes = {suffix for suffix, _, _ in _KINDS}
    try:
        within = sorted(folder.iterdir())
        inner = [path for place in within if place.is_dir() for path in sorted(place.iterdir())]
    except OSError:
        return
    yield from (path for path in [*within, *inner] if path.suffix.lower() in suffixes and path.is_file())


def _kind(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            head = content.read(_HEAD)
    except OSError:
        return None
    suffix = file.suffix.lower()
    return next((words for of, pattern, words in _KINDS if of == suffix and pattern.search(head[:_HEAD])), None)

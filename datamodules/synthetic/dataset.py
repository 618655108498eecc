"""Drawn faces as a data set: they let every command run without a download, and stand in for each data set."""

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from datamodules.base import FaceDataModule
from datamodules.faces import DataError, Face, FaceSet, FloatArray
from datamodules.synthetic import DRAWING_VERSION, STYLES, Style, draw_face, face_geometry

_SMALLEST: Final = 48
"""Side of an image, in pixels, below which eyes and lips are not drawn legibly."""

_CACHE_BYTES: Final = 256 * 2**20
"""Size of a set's images up to which they are kept once drawn."""


class SyntheticFaces(FaceSet):
    """Faces of one style with exact landmarks, drawn when asked for.

    Args:
        style: ``photo``, ``caricature`` or ``painting``.
        count: how many faces.
        seed: which series of faces, 0 or more. Face i depends on the style, seed, i and its difficulty alone.
        size: side of the images in pixels.
        subsets: each face's subsets, one entry per face; none by default.
        difficulty: each face's factor on the spread of poses and expressions, one entry per face; 1 by default.

    Raises:
        DataError: an argument is out of range, or the style is unknown.
    """

    def __init__(
        self,
        style: Style,
        count: int,
        seed: int,
        size: int = 192,
        subsets: Sequence[tuple[str, ...]] | None = None,
        difficulty: Sequence[float] | None = None,
    ) -> None:
        _check_drawing(style, seed, size)
        _expect(count >= 0, f"count={count}", "0 or more")
        self._subsets = [()] * count if subsets is None else [tuple(entry) for entry in subsets]
        self._difficulty = [1.0] * count if difficulty is None else [float(entry) for entry in difficulty]
        for name, entries in (("subsets", self._subsets), ("difficulty", self._difficulty)):
            _expect(len(entries) == count, f"{len(entries)} entries in {name}", f"one per face, {count}")
        self.style, self.seed, self.size = style, seed, size
        self._shapes: list[FloatArray] | None = None
        # Drawing a face takes ten times as long as reading one, so a set that fits in memory is drawn once.
        self._drawn: dict[int, Face] | None = {} if count * size * size * 3 <= _CACHE_BYTES else None

    def __len__(self) -> int:
        return len(self._subsets)

    @property
    def has_landmarks(self) -> bool:
        return True

    def face(self, index: int) -> Face:
        if self._drawn is None:
            return self._draw(index)
        if index not in self._drawn:
            self._drawn[index] = self._draw(index)
        face = self._drawn[index]
        return replace(face, image=face.image.copy())

    def version(self, index: int) -> Hashable:
        return self.style, self.seed, index, self.size, self._difficulty[index], DRAWING_VERSION

    def _draw(self, index: int) -> Face:
        image, geometry = draw_face(self.style, self.seed, index, self.size, self._difficulty[index])
        path = f"synthetic/{self.style}/{self.seed}/{index}"
        return Face(image, path, landmarks=geometry.landmarks, subsets=self._subsets[index])

    def subsets(self) -> list[tuple[str, ...]]:
        return list(self._subsets)

    def shapes(self) -> list[FloatArray]:
        if self._shapes is None:
            self._shapes = [
                face_geometry(self.style, self.seed, i, self.size, difficulty).landmarks
                for i, difficulty in enumerate(self._difficulty)
            ]
        return [shape.copy() for shape in self._shapes]

    def fingerprint(self) -> str:
        harder = sum(difficulty != 1.0 for difficulty in self._difficulty)
        return (
            f"synthetic(style={self.style}, count={len(self)}, seed={self.seed}, size={self.size}, "
            f"harder={harder}x{max(self._difficulty, default=1.0):g}, drawing={DRAWING_VERSION})"
        )


class SyntheticDataModule(FaceDataModule):
    """Drawn training and test faces of one style, in the subsets of any data set that they stand in for.

    Training and test faces come from two series of one seed and never coincide, not even with those of another seed.

    Args:
        style: ``photo``, ``caricature`` or ``painting``.
        train_count: how many training faces.
        test_count: how many test faces.
        name: the test subset's name where ``subsets`` is not given.
        seed: which faces, 0 or more.
        size: side of the images in pixels.
        subsets: the share of the test faces, ``[from, to)``, that counts in each subset, e.g.
            ``{"300w_full": (0, 1), "300w_common": (0, 0.8), "300w_challenge": (0.8, 1)}``.
        hard_from: the test faces from this share on vary more in pose and expression; 1 means none.
        difficulty: by which factor they vary more.

    Raises:
        DataError: an argument is out of range, or the style is unknown.
    """

    synthetic = True

    def __init__(
        self,
        style: Style = "photo",
        train_count: int = 600,
        test_count: int = 64,
        name: str = "synthetic",
        seed: int = 0,
        size: int = 192,
        subsets: Mapping[str, tuple[float, float]] | None = None,
        hard_from: float = 1.0,
        difficulty: float = 1.6,
    ) -> None:
        super().__init__()
        _check_drawing(style, seed, size)
        _expect(train_count >= 1, f"train_count={train_count}", "at least 1")
        _expect(test_count >= 1, f"test_count={test_count}", "at least 1")
        _expect(0.0 <= hard_from <= 1.0, f"hard_from={hard_from}", "a share between 0 and 1")
        _expect(difficulty > 0.0, f"difficulty={difficulty}", "a positive factor")
        self.style, self.train_count, self.test_count, self.seed, self.size = style, train_count, test_count, seed, size
        self.subsets = _members({name: (0.0, 1.0)} if subsets is None else subsets, test_count)
        self.hard_from, self.difficulty = hard_from, difficulty

    def train_faces(self) -> SyntheticFaces:
        return SyntheticFaces(self.style, self.train_count, seed=2 * self.seed, size=self.size)

    def test_faces(self) -> SyntheticFaces:
        first_hard = round(self.hard_from * self.test_count)
        return SyntheticFaces(
            self.style,
            self.test_count,
            seed=2 * self.seed + 1,
            size=self.size,
            subsets=[
                tuple(name for name, members in self.subsets.items() if i in members) for i in range(self.test_count)
            ],
            difficulty=[self.difficulty if i >= first_hard else 1.0 for i in range(self.test_count)],
        )

    def stand_in(self, seed: int) -> FaceDataModule:
        """These faces themselves, whatever the seed: they are drawn already."""
        return self


def _members(subsets: Mapping[str, tuple[float, float]], count: int) -> dict[str, range]:
    """The indices of each subset's test faces."""
    _expect(bool(subsets), "no subsets", "at least one, e.g. {'own': (0, 1)}")
    members = {}
    for name, (start, end) in subsets.items():
        _expect(0.0 <= start < end <= 1.0, f"the share ({start}, {end}) for subset {name!r}", "0 ≤ from < to ≤ 1")
        members[name] = range(round(start * count), round(end * count))
        remedy = "a larger test_count or a wider share"
        _expect(len(members[name]) > 0, f"none of the {count} test faces in subset {name!r} ({start}, {end})", remedy)
    return members


def _check_drawing(style: str, seed: int, size: int) -> None:
    near = difflib.get_close_matches(str(style).lower(), STYLES, n=1, cutoff=0.4)
    hint = f". Did you mean {near[0]!r}?" if near else ""
    _expect(style in STYLES, f"style {style!r}", f"one of {', '.join(STYLES)}{hint}")
    _expect(seed >= 0, f"seed={seed}", "0 or more")
    _expect(size >= _SMALLEST, f"size={size}", f"at least {_SMALLEST} pixels")


def _expect(condition: bool, found: str, expected: str) -> None:
    if not condition:
        raise DataError(f"synthetic faces: found {found}, expected {expected}")

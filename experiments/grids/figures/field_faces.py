"""The faces that figures of warping fields are drawn of, and the data that fields are trained on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.datasets.pairs import PairBatch, read_pairs, split_places
from datamodules.datasets.shapes import read_shapes
from datamodules.faces import DataError, Face, FaceBatch, FaceSet, collate
from datamodules.loading import TestSet
from datamodules.setting import SettingDataModule
from datamodules.transforms import FaceTransform, crop_square
from experiments.artifacts.fields import FieldTraining, trained_autotoon, trained_carigeogan
from experiments.checkpoints import load_landmarker
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from experiments.errors import UsageError, nearest
from experiments.grids.cells import Runner
from experiments.grids.figures.field_measures import FacePairs
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.coordinates import to_crop
from lightning_modules.landmarkers.inference import find_in_images
from lightning_modules.warping import SimilarPose

log = logging.getLogger(__name__)

_MOST_PSEUDO = 100
"""Stylised faces, evenly spread, whose landmarks are predicted where no file has any."""
_DRAWN_PAIRS = 24
_DRAWN_FACTOR = (1.5, 1.5)
"""Of a drawn photo's difference from the mean face, in the caricature that is made of it."""


def composed(runner: Runner, **folders: str) -> WarpmarkCLI:
    """The grid's setting as a command line that is not run.

    Args:
        runner: of the grid.
        folders: in place of the runner's.
    """
    grid = runner.grid
    choices: dict[str, Any] = {**grid.choices, **(folders or runner.folders)}
    return WarpmarkCLI(Choices(**choices, seed=grid.seeds[0], config=[grid.config]).arguments(), run=False)


def face_pairs(cli: WarpmarkCLI, landmarks: str, subset: str, count: int, size: int) -> FacePairs:
    """Labelled photos of the setting's source, and labelled stylised faces of one of its test sets.

    Both are spread evenly over their sets and paired by how far they are turned to the side.

    Args:
        cli: of the setting.
        landmarks: a landmarker's checkpoint, or ``labels``: then the predictions are the labels.
        subset: of the test set; that of the last one if empty.
        count: of pairs.
        size: of the crops in pixels.

    Raises:
        UsageError: no test set has this subset.
    """
    data = cli.data
    photos = _chosen(data.source_faces, _spread(range(len(data.source_faces)), count))
    test, places = _stylised(data, subset)
    stylised = _chosen(test.faces, _spread(places, len(photos)))
    photos = photos[: len(stylised)]
    batches = [collate([FaceTransform(size)(face) for face in faces]).to("cpu") for faces in (photos, stylised)]
    labels = [_labels(batch) for batch in batches]
    predicted = labels[1] if landmarks == "labels" else _predicted(landmarks, stylised, batches[1], size)
    order = SimilarPose()(*labels)
    return FacePairs(batches[0].images[order], labels[0][order], batches[1].images, labels[1], predicted)


def _stylised(data: SettingDataModule, subset: str) -> tuple[TestSet, list[int]]:
    names = [name for test in data.test_sets for name in test.subset_names]
    wanted = subset or (names or [""])[-1]
    for test in data.test_sets:
        if wanted in test.subset_names:
            return test, [place for place, subsets in enumerate(test.subsets) if wanted in subsets]
    raise UsageError(f"figure.subset: {wanted!r} is no subset of the test sets. {nearest(wanted, names)}")


def _spread(places: Sequence[int], count: int) -> list[int]:
    chosen = torch.linspace(0, len(places) - 1, min(count, len(places))).round().long()
    return [places[place] for place in chosen.tolist()]


def _chosen(faces: FaceSet, places: Sequence[int]) -> list[Face]:
    return [faces[place] for place in places]


def _labels(batch: FaceBatch) -> Tensor:
    assert batch.landmarks is not None, "sources and test sets are labelled"
    return batch.landmarks


def _predicted(ckpt: str, faces: Sequence[Face], batch: FaceBatch, size: int) -> Tensor:
    squares = [crop_square(face) for face in faces]
    found = find_in_images(load_landmarker(ckpt), [face.image for face in faces], squares)
    return to_crop(found.pixels, batch.matrices, size).float()


@dataclass(frozen=True)
class TrainingData:
    """What learned fields of a figure are made from.

    Attributes:
        cli: of the setting.
        landmarks: a landmarker's checkpoint, for faces without labels.
        size: of crops in pixels.
    """

    cli: WarpmarkCLI
    landmarks: str
    size: int

    @property
    def recipes(self) -> dict[str, Callable[[FieldTraining, Sequence[str], Mapping[str, Any]], Path]]:
        """What makes weights, by name: from how to train, places of data, and the network's options."""
        return {"autotoon": self.autotoon, "carigeogan": self.carigeogan}

    @property
    def _drawn(self) -> bool:
        return self.cli.data.synthetic

    def autotoon(self, how: FieldTraining, files: Sequence[str], options: Mapping[str, Any]) -> Path:
        """AutoToon's weights, trained on the training pairs of the first folder that is there; on drawn ones of a
        synthetic setting.

        Raises:
            DataError: there is no such folder, or it is malformed.
        """
        if self._drawn:
            pairs = drawn_pairs(self.cli.data, self.size)
        else:
            found = self._first(files, "pairs of photos and caricatures")
            pairs = read_pairs(found, self.size)
            pairs = pairs.chosen(split_places(len(pairs))[0])
        return trained_autotoon(pairs, how, self.cli.context, **options)

    def carigeogan(self, how: FieldTraining, files: Sequence[str], options: Mapping[str, Any]) -> Path:
        """CariGeoGAN's weights, trained on the source's labels and on the landmarks of the first file that is there;
        without one, on those that the landmarker finds on the target.

        Raises:
            DataError: a file is malformed, the setting has no target, or there are too few shapes.
        """
        data = self.cli.data
        there = [] if self._drawn else [path for path in map(self._beside_data, files) if path.is_file()]
        caricatures = torch.from_numpy(read_shapes(there[0])) if there else self._pseudo()
        photos, components = data.source_shapes(), options.get("components", 32)
        if min(len(photos), len(caricatures)) <= components:
            raise DataError(
                f"CariGeoGAN: found {len(photos)} photos' and {len(caricatures)} caricatures' shapes; expected more "
                f"of either than its {components} components. Give more faces, or init_args.components."
            )
        return trained_carigeogan(photos, caricatures, how, self.cli.context, **options)

    def _pseudo(self) -> Tensor:
        target = self.cli.data.target_faces
        if target is None or self.landmarks == "labels":
            raise DataError(
                "CariGeoGAN: found neither a file of caricatures' landmarks nor a target and a landmarker to find them "
                "with; expected one. Add the file to train.files, or choose a setting with a target."
            )
        faces = _chosen(target, _spread(range(len(target)), _MOST_PSEUDO))
        squares = [crop_square(face) for face in faces]
        found = find_in_images(load_landmarker(self.landmarks), [face.image for face in faces], squares)
        return found.pixels

    def _first(self, files: Sequence[str], what: str) -> Path:
        places = [self._beside_data(name) for name in files]
        if there := [path for path in places if path.exists()]:
            return there[0]
        raise DataError(
            f"found no {what} at {', '.join(map(str, places)) or 'any place'}; expected them at one of these. Put them "
            "there, or name their place in train.files."
        )

    def _beside_data(self, name: str) -> Path:
        """A path, counted from the folder of the data sets."""
        return Path(str(self.cli.options.paths.data)).expanduser() / name


def drawn_pairs(data: SettingDataModule, size: int) -> PairBatch:
    """Pairs for a synthetic setting: its photos, and these with their features' proportions exaggerated.

    Args:
        data: the setting.
        size: of the crops in pixels.
    """
    faces = _chosen(data.source_faces, _spread(range(len(data.source_faces)), _DRAWN_PAIRS))
    batch = collate([FaceTransform(size)(face) for face in faces]).to("cpu")
    labels = _labels(batch)
    how = Exaggeration(caricature=_DRAWN_FACTOR, part_scale=0.0, part_shift=0.0, height=0.0, width=0.0)
    shapes = how.shapes(labels, None, data.source_shapes().mean(0))
    caricatures = how.warp(batch.images, labels, shapes)
    return PairBatch(batch.images, labels, caricatures, shapes, [face.path for face in faces])

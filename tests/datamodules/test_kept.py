"""What is kept makes no difference to a sample, and is never used for a face that has changed since."""

import os
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.datasets import FolderDataModule
from datamodules.face_sets import UnlabelledFaces
from datamodules.faces import Face, FaceSample, FaceSet, FloatArray
from datamodules.formats import read_image
from datamodules.kept import Cut, FaceDataset, PlainCrops, Shelf, WholeFaces
from datamodules.setting import SettingDataModule
from datamodules.store import MIB, SharedStore
from datamodules.transforms import Augmentation, FaceTransform
from tests.datamodules.test_faces import ListedFaces, faces
from tests.layouts import encoded_face, write_face, write_folder


class Counted(ListedFaces):
    """Faces of a version, which counts how often each is decoded."""

    def __init__(self, listed: ListedFaces) -> None:
        super().__init__(listed.faces)
        self.decoded: Counter[int] = Counter()

    def face(self, index: int) -> Face:
        self.decoded[index] += 1
        return super().face(index)

    def version(self, index: int) -> Hashable:
        return index


def shelf(count: int = 20, limit: int = 8 * MIB, first: int = 0) -> Shelf:
    return Shelf(SharedStore(first + count, limit), first)


def same(one: FaceSample, other: FaceSample) -> bool:
    tensors = [(one.pixels, other.pixels), (one.matrix, other.matrix)]
    if one.landmarks is not None and other.landmarks is not None:
        tensors.append((one.landmarks, other.landmarks))
    labels = [(s.flipped, s.index, s.path, s.landmarks is None) for s in (one, other)]
    return labels[0] == labels[1] and all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("size", [16, 24, 96])  # shrunk, as large as the view, enlarged
@pytest.mark.parametrize("moving", [False, True])
def test_crops_are_those_made_without_keeping(size: int, moving: bool) -> None:
    counted, transform = Counted(faces(4)), FaceTransform(size, Augmentation())
    keeping = FaceDataset(counted, transform, shelf(first=3), moving)
    plain = FaceDataset(faces(4), transform, moving=moving)
    for turn in range(3):
        for k in range(4):
            assert same(keeping[Cut(k, 10 * turn + k)], plain[Cut(k, 10 * turn + k)])
            assert same(keeping[k], plain[k])
    assert counted.decoded == dict.fromkeys(range(4), 1)


def test_what_the_crop_shows_is_in_the_view() -> None:
    """No augmented crop of a face amid a white image has a black pixel, nor is decoded for again."""
    white = [Face(np.full((300, 300, 3), 255, np.uint8), "white", face.landmarks + 120) for face in faces(1)]
    counted = Counted(ListedFaces(white))
    still = Augmentation(occlusion=0.0, colour=0.0, blur=0.0, grey=0.0)
    dataset = FaceDataset(counted, FaceTransform(32, still), shelf())
    assert all(int(dataset[Cut(0, seed)].pixels.min()) == 255 for seed in range(60))
    assert counted.decoded == {0: 1}
    assert dataset.seen(0).view.pixels.nbytes < 300 * 300 * 3 / 4


def test_a_box_that_is_found_anew_gets_its_own_crop() -> None:
    """From the view where that shows it, else from the image; as without keeping either way."""
    counted = Counted(faces(2, labelled=False))
    dataset = FaceDataset(counted, FaceTransform(24), shelf(), moving=True)
    boxes = [(10, 12, 30, 36), (8, 8, 40, 20), (0, 4, 44, 44), (20, 20, 25, 25)]
    for box in (*boxes, *boxes):
        found = dataset[Cut(1, box=box)]
        boxed = Face(counted.faces[1].image, "face1", box=np.array(box, np.float32))
        expected = FaceTransform(24)(boxed, 1)
        assert torch.equal(found.matrix, expected.matrix)
        assert (found.pixels.int() - expected.pixels.int()).abs().float().mean() < 2
    assert counted.decoded == {1: 1}, "of an image as small as this the view is all of it"
    large = Face(
        np.repeat(np.repeat(counted.faces[0].image, 20, 0), 20, 1), "large", box=np.array([200, 200, 800, 800])
    )
    counted = Counted(ListedFaces([large]))
    dataset = FaceDataset(counted, FaceTransform(24), shelf(), moving=True)
    for _ in range(2):
        dataset[Cut(0, box=(250, 250, 700, 760))]
    assert counted.decoded == {0: 1}
    small = dataset[Cut(0, box=(300, 300, 320, 320))]
    assert counted.decoded == {0: 2}, "the view is too coarse"
    boxed = Face(large.image, "", box=np.array([300, 300, 320, 320]))
    assert torch.equal(small.pixels, FaceTransform(24)(boxed).pixels)


def test_a_full_store_decodes_the_others_each_time() -> None:
    counted = Counted(faces(6))
    dataset = FaceDataset(counted, FaceTransform(48, Augmentation()), shelf(limit=20_000))
    for _ in range(3):
        for k in range(6):
            assert same(dataset[Cut(k, k)], FaceDataset(faces(6), dataset.transform)[Cut(k, k)])
    assert sorted(counted.decoded.values()) == [1] * 2 + [3] * 4
    assert dataset.shelf is not None
    assert dataset.shelf.store.used <= 20_000


def folder(root: Path, count: int = 3) -> FaceSet:
    write_folder(root, count)
    return FolderDataModule(str(root)).train_faces()


@pytest.mark.parametrize("kind", ["views", "plain crops", "whole"])
def test_a_file_changed_in_place_is_decoded_anew(kind: str, tmp_path: Path) -> None:
    read = folder(tmp_path)
    kept = shelf()
    dataset = {
        "views": FaceDataset(read, FaceTransform(32, Augmentation()), kept),
        "plain crops": PlainCrops(read, 32, kept),
        "whole": WholeFaces(FaceDataset(UnlabelledFaces(read), FaceTransform(32), kept, moving=True)),
    }[kind]
    before = [np.array(dataset[k].image.tolist()) for k in range(3)]
    path = tmp_path / "face001.jpg"
    status, changed = path.stat(), encoded_face(".jpg", seed=99)[0]
    path.write_bytes(changed)
    # Even where its size is the same and it was changed within the same tick: then by its size.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (len(changed) == status.st_size)))
    after = [np.array(dataset[k].image.tolist()) for k in range(3)]
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]
    if kind == "whole":
        np.testing.assert_array_equal(after[1], read_image(path))


def test_what_is_kept_for_another_size_or_augmentation_is_not_used() -> None:
    kept, counted = shelf(), Counted(faces(1))
    for transform in (FaceTransform(16), FaceTransform(32), FaceTransform(32, Augmentation(rotation=40.0))):
        dataset = FaceDataset(counted, transform, kept)
        assert same(dataset[0], FaceDataset(faces(1), transform)[0])
        assert same(
            PlainCrops(counted, transform.size, Shelf(kept.store, 5))[0], FaceTransform(transform.size)(counted[0])
        )
    assert counted.decoded[0] == 3 + 2 + 3  # views, plain crops of two sizes, and the test's own


def test_faces_of_unknown_version_are_never_kept() -> None:
    kept = shelf()
    dataset = FaceDataset(faces(2), FaceTransform(16), kept)
    assert same(dataset[0], dataset[0])
    assert kept.store.used == 0


def test_plain_crops_are_kept_as_they_are() -> None:
    counted = Counted(faces(3))
    crops = PlainCrops(counted, 40, shelf())
    first = [crops[k] for k in range(3)]
    assert all(same(crops[k], first[k]) and same(first[k], FaceTransform(40)(faces(3)[k], k)) for k in range(3))
    assert counted.decoded == dict.fromkeys(range(3), 1)


def test_whole_faces_are_the_images_themselves() -> None:
    box: FloatArray = np.array([4, 4, 40, 40], np.float32)
    counted = Counted(faces(3, labelled=False, box=box))
    for transform, decoded in ((FaceTransform(48), 1), (FaceTransform(8), 3)):
        counted.decoded.clear()
        whole = WholeFaces(FaceDataset(counted, transform, shelf(), moving=True))
        for _ in range(2):
            found = whole[1]
            np.testing.assert_array_equal(found.image, counted.faces[1].image)
            np.testing.assert_array_equal(found.box, box)
            assert found.path == "face1"
        # What must be shrunk for crops of 8 pixels is not the image: decoded once for that, and then each time.
        assert counted.decoded[1] == decoded


# A machine with one core is told that two workers are many; and Python ≥ 3.12 that forking beside threads may hang.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes", "ignore:.*use of fork")
def test_a_setting_gives_the_same_batches_kept_or_not_and_with_workers(tmp_path: Path) -> None:
    for name, seed in (("photos", 0), ("art", 50), ("test", 80)):
        write_folder(tmp_path / name, 5, seed=seed)

    def setting(**options: object) -> SettingDataModule:
        sets = ([FolderDataModule(str(tmp_path / name))] for name in ("photos", "art", "test"))
        data = SettingDataModule(*sets, root="files", image_size=32, batch_size=3, steps_per_epoch=4, **options)
        at = iter((0, 4))
        data._step = lambda: next(at)  # type: ignore[method-assign]
        return data

    plain, alone, helped = setting(cache_mib=0), setting(cache_mib=8), setting(cache_mib=8, num_workers=2)
    loaders = [data.train_dataloader() for data in (plain, alone, helped)]
    for _ in range(2):
        for expected, *others in zip(*loaders, strict=True):
            for batch in others:
                for half in ("source", "target"):
                    assert torch.equal(getattr(batch, half).images, getattr(expected, half).images)
                    assert torch.equal(getattr(batch, half).matrices, getattr(expected, half).matrices)
                    assert getattr(batch, half).images.dtype == torch.uint8
    for _ in range(2):
        tested = [next(iter(data.val_dataloader()[0])) for data in (plain, alone, helped)]
        assert all(torch.equal(batch.images, tested[0].images) for batch in tested)
    assert alone.val_dataloader() is alone.val_dataloader() is alone.test_dataloader()
    assert plain._store is None
    assert alone._store is not None
    assert helped._store is not None
    assert helped._store.used > 8 * 32 * 32 * 3, "loader processes keep what they decode where all see it"


def test_a_file_that_breaks_later_is_named(tmp_path: Path) -> None:
    read = folder(tmp_path)
    dataset = FaceDataset(read, FaceTransform(16), shelf())
    dataset[0]
    (tmp_path / "face000.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"face000\.jpg"):
        dataset[0]
    (tmp_path / "face000.jpg").unlink()
    with pytest.raises(ValueError, match=r"face000\.jpg"):
        dataset[0]
    write_face(tmp_path / "face000.jpg", None)
    dataset[0]

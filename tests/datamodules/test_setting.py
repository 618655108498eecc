"""Every shipped setting, composed through the command line on trees of the published sizes (Table 1)."""

import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules import files
from datamodules.datasets import ArtiFaceDataModule, CariFaceDataModule, FolderDataModule, SyntheticDataModule
from datamodules.faces import DataError
from datamodules.formats import write_npy
from datamodules.setting import SettingDataModule, UnpairedImages
from datamodules.transforms import FaceTransform
from experiments.catalogue import config_files, names
from experiments.cli import WarpmarkCLI
from tests.layouts import write_artiface, write_cariface, write_folder, write_w300

Compose = Callable[..., SettingDataModule]

W300 = {"300w_full": 689, "300w_common": 554, "300w_challenge": 135}
TABLE_1 = {
    # setting: (source, target, tested)
    "da_cariface": (3148, 7000, {**W300, "cariface": 800, "artiface": 160}),
    "gzsl_artiface": (3148, 7000, {**W300, "cariface": 800, "artiface": 160}),
    "da_artiface": (3148, 128, {**W300, "cariface": 800, "artiface": 32}),
    "gzsl_cariface": (3148, 128, {**W300, "cariface": 800, "artiface": 32}),
    "oracle": (3148 + 7000 + 128, None, {**W300, "cariface": 800, "artiface": 32}),
}


@pytest.fixture
def compose(tiny_landmarker_yaml: Path, tmp_path: Path) -> Compose:
    """The data of ``make train SETTING=…``, without the reading."""

    def compose(setting: str, *arguments: str) -> SettingDataModule:
        chosen = {"profile": "quick", "setting": setting, "method": "supervised", "landmarker": "slpt"}
        files = [f"--config={file}" for file in (*config_files(chosen), tiny_landmarker_yaml)]
        return WarpmarkCLI([*files, f"--paths.runs={tmp_path / 'runs'}", *arguments], run=False).data

    return compose


@pytest.fixture
def each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what was read of the session's unchanging trees: here it matters which files make which set."""
    for name, read in _READ_ONCE.items():
        monkeypatch.setattr(files, name, read)


_READ_ONCE = {name: functools.cache(getattr(files, name)) for name in ("check_image", "read_npy", "read_pts")}


def subsets(data: SettingDataModule) -> dict[str, int]:
    """How many test faces count in each subset."""
    return dict(Counter(name for test in data.test_sets for subsets in test.subsets for name in subsets))


def images(data: SettingDataModule) -> torch.Tensor:
    """All target faces as they are first cropped for pseudo landmarks."""
    crop = FaceTransform(data.image_size)
    return torch.stack([crop(face).image for batch in data.target_batches() for _, face in batch])


def of_folders(root: Path, **options: object) -> SettingDataModule:
    """A setting of three small folders."""
    sets = ([FolderDataModule(str(root / name))] for name in ("photos", "art", "test"))
    return SettingDataModule(*sets, **{"root": "files", "image_size": 32, "batch_size": 4, **options})


def paths(folders: Path, **names: str) -> list[str]:
    """The options of the setting ``own``."""
    names = {"source": "photos", "target": "art", **names}
    return ["--paths.data=files", *(f"--paths.{role}={folders / name}" for role, name in names.items())]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", 9)
    write_folder(tmp_path / "art", 5, "npy", seed=50)
    write_folder(tmp_path / "test", 4, "cariface", seed=80)
    return tmp_path


def test_a_limit_is_that_of_each_set(folders: Path) -> None:
    whole, some = of_folders(folders), of_folders(folders, limit=3)
    assert (len(some.source_faces), len(some.target_faces or ()), len(some.test_sets[0].faces)) == (3, 3, 3)
    assert [test.subsets for test in some.test_sets] == [whole.test_sets[0].subsets[:3]]
    assert some.source_faces.fingerprint() != whole.source_faces.fingerprint()
    with pytest.raises(ValueError, match="limit: found 0, expected 1 or more"):
        of_folders(folders, limit=0)


@pytest.mark.usefixtures("each_file_once")
@pytest.mark.parametrize("setting", [name for name in names("setting") if name != "own"])
def test_counts_of_table_1(setting: str, compose: Compose, published_root: Path) -> None:
    data = compose(setting, f"--paths.data={published_root}")
    source, target, tested = TABLE_1[setting]
    assert len(data.source_faces) == source
    assert (None if data.target_faces is None else len(data.target_faces)) == target
    assert subsets(data) == tested
    assert sum(len(test.faces) for test in data.test_sets) == 689 + 800 + tested["artiface"]
    assert data.source_faces.has_landmarks
    assert data.target_faces is None or not data.target_faces.has_landmarks
    assert not data.synthetic
    assert data.image_size == 64  # linked to the landmarker's


def test_strict_counts_of_a_whole_setting(compose: Compose, tmp_path: Path) -> None:
    write_w300(tmp_path / "300W")
    write_cariface(tmp_path / "CariFace_dataset")
    write_artiface(tmp_path / "AF_dataset")
    for option in ([], ["--data.strict_counts=true"]):
        with pytest.raises(DataError, match=r"300W: found other numbers .*data\.strict_counts=false"):
            compose("da_artiface", f"--paths.data={tmp_path}", *option).setup()
    data = compose("da_artiface", f"--paths.data={tmp_path}", "--data.strict_counts=false")
    assert (len(data.source_faces), len(data.target_faces or ())) == (9, 6)
    assert subsets(data) == {"300w_full": 9, "300w_common": 6, "300w_challenge": 3, "cariface": 4, "artiface": 4}
    # Without the option each set has its own choice.
    own = ArtiFaceDataModule(str(tmp_path / "AF_dataset"), strict_counts=False)
    assert len(SettingDataModule([own], root="files").source_faces) == 6
    with pytest.raises(DataError, match="AF_dataset: found other numbers"):
        SettingDataModule([own], root="files", strict_counts=True).setup()


@pytest.mark.usefixtures("each_file_once")
def test_lists_choose_the_split(compose: Compose, published_root: Path) -> None:
    """A user's list of the paper's 3,372 training images, and ArtiFace's, which take every fifth image for testing."""
    chosen = [f"{k:05d}.jpg" for k in range(2, 2 + 2 * 3372, 2)]
    path = published_root / "CariFace_dataset" / "train_list.txt"
    path.write_text("\n".join(chosen))
    try:
        data = compose("da_cariface", f"--paths.data={published_root}")
        assert data.target_faces is not None
        assert len(data.target_faces) == 3372
        assert [Path(data.target_faces[k].path).name for k in (0, 1, 3371)] == [chosen[k] for k in (0, 1, 3371)]
        assert subsets(data)["cariface"] == 800
    finally:
        path.unlink()
    data = compose("da_artiface", f"--paths.data={published_root}")
    tested = [Path(face.path).stem for face in data.test_sets[2].faces]
    assert sorted(map(int, tested)) == list(range(5, 161, 5))
    trained = {Path(data.target_faces[k].path).stem for k in range(128)} if data.target_faces else set()
    assert len(trained) == 128
    assert not trained & set(tested)


def test_own_folders(compose: Compose, folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = compose("own", *paths(folders, test="test"))
    assert (len(data.source_faces), len(data.target_faces or ())) == (8, 5)
    assert subsets(data) == {"own_source": 1, "own": 4}
    # The photo kept for testing is not trained on.
    trained, (held_out,) = {face.path for face in data.source_faces}, data.test_sets[0].faces
    assert held_out.path not in trained
    assert len(trained) == 8
    # Without TEST, the target's labelled faces are scored; their labels never reach training.
    data = compose("own", *paths(folders))
    assert subsets(data) == {"own_source": 1, "own": 5}
    assert all(face.landmarks is None for face in data.target_faces or ())
    # A target without any label is adapted to, but not scored.
    write_folder(folders / "paintings", 6, "unlabelled")
    data = compose("own", *paths(folders, target="paintings"))
    assert subsets(data) == {"own_source": 1}
    assert len(data.target_faces or ()) == 6
    assert "no labelled faces to score" in caplog.text


@pytest.mark.parametrize("setting", names("setting"))
def test_training_batches_never_hold_target_labels(setting: str, compose: Compose, folders: Path) -> None:
    """On stand-ins (``own``: on folders): what reaches the training loop of a method with a target."""
    data = compose(setting, *(paths(folders) if setting == "own" else ()), "--data.batch_size=2")
    assert data.synthetic == (setting != "own")
    batch = next(iter(data.train_dataloader()))
    assert batch.source.landmarks is not None
    if setting == "oracle":
        assert batch.target is None
        return
    assert batch.target is not None
    assert batch.target.landmarks is None
    assert next(data.target_batches())[0][1].landmarks is None


@pytest.mark.parametrize("oracle_box", [False, True])
def test_target_crops_depend_on_labels_only_with_oracle_box(
    oracle_box: bool, folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = images(of_folders(folders, oracle_box=oracle_box))
    for file in (folders / "art").glob("*.npy"):
        write_npy(file, np.load(file) * 0.5 + 20)
    altered = images(of_folders(folders, oracle_box=oracle_box))
    for file in (folders / "art").glob("*.npy"):
        file.unlink()
    deleted = images(of_folders(folders, oracle_box=oracle_box))
    assert torch.equal(before, altered) == (not oracle_box)
    assert torch.equal(before, deleted) == (not oracle_box)
    protocol = "annotated box" if oracle_box else "given box, else the whole image"
    assert f"labels hidden; crops from the {protocol}" in caplog.text


def test_skip_reaches_the_sets_and_says_how_many(
    compose: Compose, folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("face001.jpg", "face003.jpg"):
        (folders / "art" / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"face001\.jpg.*2 of 5 files are bad.*on_error=skip"):
        of_folders(folders).setup()
    data = compose("own", *paths(folders), "--data.on_error=skip")
    assert len(data.target_faces or ()) == 3
    assert "skipped 2 of 5 files" in caplog.text


def test_an_epoch_is_a_pass_over_the_source_unless_told(folders: Path) -> None:
    assert len(of_folders(folders).train_dataloader()) == 9 // 4
    assert len(of_folders(folders, batch_size=32).train_dataloader()) == 1
    assert len(list(of_folders(folders, steps_per_epoch=7).train_dataloader())) == 7
    # Translators get the training batches in their own colours.
    images = UnpairedImages(of_folders(folders), batch_size=3, steps_per_epoch=2)
    assert [len(batch.target or ()) for batch in images.train_dataloader()] == [3, 3]
    assert images.data.augmentation.rotation > 0 == images.data.augmentation.colour


def test_roles_that_are_missing_are_told(folders: Path) -> None:
    photos, bare = (FolderDataModule(str(folders / name)) for name in ("photos", "bare"))
    write_folder(folders / "bare", 3, "unlabelled")
    with pytest.raises(DataError, match=r"face000\.jpg.*3 of 3 have none.*source"):
        SettingDataModule([bare], root="files").setup()
    with pytest.raises(DataError, match="at least one labelled set"):
        SettingDataModule([], root="files").setup()
    data = SettingDataModule([photos], root="files")
    with pytest.raises(DataError, match="no target faces"):
        next(data.target_batches())
    data.trainer = SimpleNamespace(lightning_module=SimpleNamespace(needs_target=True), global_rank=0, world_size=1)
    with pytest.raises(DataError, match=r"needs unlabelled target faces.*METHOD=supervised"):
        data.train_dataloader()


def test_stand_ins_say_so(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    data = SettingDataModule([CariFaceDataModule(str(tmp_path / "nowhere"))], root="synthetic")
    data.setup()
    assert data.synthetic
    assert data.data_kind == "synthetic"
    assert "SYNTHETIC stand-in faces" in caplog.text
    # One drawn set among files is enough to taint every subset.
    root = str(write_folder(tmp_path / "photos", 2))
    tests = [SyntheticDataModule(train_count=1, test_count=1)]
    assert SettingDataModule([FolderDataModule(root)], [], tests, root="files").data_kind == "synthetic"
    assert SettingDataModule([FolderDataModule(root)], [], [], root="files").data_kind == "files"


def test_files_are_read_once(folders: Path) -> None:
    data = of_folders(folders)
    data.setup()
    first, extent = data.source_faces, np.ptp(data.source_shapes().numpy(), axis=1).max(1)
    np.testing.assert_allclose(extent, [1 / 1.2] * 9, rtol=1e-5)
    shutil.rmtree(folders / "photos")
    data.setup("fit")
    assert data.source_faces is first
    assert len(data.test_sets[0].faces) == 4
    with pytest.raises(DataError, match="photos"):
        of_folders(folders).setup()


def test_detected_boxes_of_the_target(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("source", "target"):
        write_folder(tmp_path / name, 3)
    source, target = ([FolderDataModule(str(tmp_path / name))] for name in ("source", "target"))
    data = SettingDataModule(source, target, root="files", target_box="detected", image_size=32)
    with pytest.raises(DataError, match=r"data\.target_box: found detected, and no detector"):
        data.setup()
    box = np.array([8, 8, 40, 40], np.float32)
    data.detect = lambda faces: [box if i else None for i in range(len(faces))]
    with caplog.at_level(logging.INFO):
        data.setup()
    assert "detected box, the whole image for 1 of 3 in which no face was found" in caplog.text
    assert data.target_faces is not None
    boxes = [data.target_faces[i].box for i in range(3)]
    assert boxes[0] is None
    np.testing.assert_array_equal(boxes[1], box)
    other = SettingDataModule(source, target, root="files", image_size=32)
    assert other.target_faces is not None
    assert data.target_faces.fingerprint() != other.target_faces.fingerprint()
    with pytest.raises(ValueError, match="oracle_box is true and target_box is detected"):
        SettingDataModule(source, target, oracle_box=True, target_box="detected")

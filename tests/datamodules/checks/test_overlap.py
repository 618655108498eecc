"""Faces in two roles, through the data of the setting ``own``."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from datamodules.datasets import FolderDataModule
from datamodules.faces import DataError
from datamodules.setting import SettingDataModule
from tests.layouts import write_folder


def own(source: Path, target: Path, test: Path | None = None) -> SettingDataModule:
    """As ``configs/settings/own.yaml``."""
    labelled = {"root": str(source), "name": "own_source", "holdout": 0.1}
    tests = [FolderDataModule(**labelled), FolderDataModule(str(test or target))]
    return SettingDataModule([FolderDataModule(**labelled)], [FolderDataModule(str(target))], tests, "files")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", 6)


@pytest.fixture
def art(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "art", 5, seed=50, prefix="art")


def linked(photos: Path) -> Path:
    (photos.parent / "link").symlink_to(photos)
    return photos.parent / "link"


def spelt(photos: Path) -> Path:
    return photos.parent / "art" / ".." / "photos"


def links(photos: Path) -> Path:
    folder = photos.parent / "links"
    folder.mkdir()
    for path in photos.iterdir():
        os.link(path, folder / f"other_{path.name}")
    return folder


@pytest.mark.parametrize("other", [lambda photos: photos, linked, spelt, links])
def test_the_same_files_in_two_roles_are_refused(photos: Path, art: Path, other: object) -> None:
    same = other(photos)  # type: ignore[operator]
    with pytest.raises(DataError, match=r"found 5 of 6 target faces among the 5 source photos.*as TARGET"):
        own(photos, same).setup()
    with pytest.raises(DataError, match=r"found 5 of \d test faces among the 5 source photos.*as TEST"):
        own(photos, art, same).setup()


def test_a_target_may_be_tested_on(photos: Path, art: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        own(photos, art).setup()
        (art / "test_list.txt").write_text("art000.jpg\n")
        own(photos, art).setup()
    assert not caplog.messages


def test_equal_pictures_under_two_names_are_named(
    photos: Path, art: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tested = write_folder(tmp_path / "test", 3, seed=90, prefix="test")
    for suffix in ("jpg", "pts"):
        shutil.copy(photos / f"face000.{suffix}", tested / f"copy.{suffix}")
        shutil.copy(art / f"art001.{suffix}", tested / f"painting.{suffix}")
    with caplog.at_level(logging.WARNING):
        own(photos, art, tested).setup()
    of_source, of_target = caplog.messages
    assert "1 of " in of_source
    assert f"{tested}/copy.jpg = {photos}/face000.jpg" in of_source
    assert f"{tested}/painting.jpg = {art}/art001.jpg" in of_target


def test_a_data_set_by_itself_is_not_tested_on_what_it_trains_on(photos: Path) -> None:
    with pytest.raises(DataError, match="6 of 6 test faces among the 6 source photos"):
        FolderDataModule(str(photos)).setup()
    FolderDataModule(str(photos), holdout=0.5).setup()

"""Stylised photos: labels stay exact, shares are kept, torch's generator decides."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.faces import FaceBatch
from lightning_modules.augment.exaggeration import Exaggeration
from lightning_modules.augment.stylization import Look, Stylization
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from tests.lightning_modules.augment.test_exaggeration import SIZE, centroids, dots
from tests.lightning_modules.methods.small import face_batch, shapes, smooth_images

MEAN = torch.tensor(MEAN_FACE, dtype=torch.float64)
NOTHING: dict[str, Any] = dict.fromkeys(
    ("clarity", "painting", "poster", "cartoon", "ink", "pencil", "colours", "amplitude"), 0.0
)
MEDIA = ("painting", "poster", "cartoon", "ink", "pencil")


def only(**shares: float) -> Look:
    return Look(**{**NOTHING, **shares})


def batch(count: int, seed: int = 0, size: int = 32) -> FaceBatch:
    return face_batch(smooth_images(count, size, seed), shapes(count, seed))


class TestLook:
    def test_none_of_it_changes_nothing(self) -> None:
        photos = smooth_images(3)
        torch.testing.assert_close(
            Look(**NOTHING)(photos, smooth_images(3, seed=1)), photos.clamp(0, 1), atol=1e-6, rtol=0
        )

    @pytest.mark.parametrize("part", NOTHING)
    def test_each_part_changes_every_photo_if_asked_to(self, part: str) -> None:
        photos = smooth_images(4)
        found = only(**{part: 1.0})(photos, smooth_images(4, seed=1))
        assert found.shape == photos.shape
        assert found.dtype == photos.dtype
        assert found.min() >= 0
        assert found.max() <= 1
        assert ((found - photos).abs().amax((1, 2, 3)) > 1e-3).all()

    def test_shares_are_probabilities_and_media_exclude_each_other(self) -> None:
        photos = smooth_images(1).expand(400, -1, -1, -1)
        found = only(ink=0.3, pencil=0.2)(photos, photos)
        colourless = (found.amax(1) - found.amin(1)).amax((1, 2)) < 1e-6
        white = (found > 0.999).double().mean((1, 2, 3))
        assert float(colourless.double().mean()) == pytest.approx(0.5, abs=0.08)
        # Smooth waves have hardly a line for an inker; a pencil shades.
        assert float((white > 0.6).double().mean()) == pytest.approx(0.3, abs=0.08)

    def test_pixels_do_not_move(self) -> None:
        """A photo of two halves, in every medium: their border stays in its column."""
        photo = torch.full((1, 3, 64, 64), 0.8)
        photo[..., 20:] = 0.3
        for medium in MEDIA:
            (found,) = only(**{medium: 1.0})(photo, photo).mean(1)
            steepest = (found[:, 1:] - found[:, :-1]).abs().sum(0).argmax()
            assert abs(int(steepest) - 19) <= 1, medium

    @pytest.mark.parametrize(
        ("shares", "message"),
        [({"ink": 1.2}, "ink: found 1.2"), ({"ink": 0.6, "pencil": 0.6}, "add up to 1.2")],
    )
    def test_shares_that_cannot_be(self, shares: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            only(**shares)


MILD = Exaggeration(part_scale=0.05, part_shift=0.01, height=0.1, width=0.1)


class TestStylization:
    @pytest.mark.parametrize("medium", [*MEDIA, "clarity"])
    def test_landmarks_drawn_on_the_photo_lie_where_the_new_labels_say(self, medium: str) -> None:
        """One dark dot per landmark on light paper; warped and drawn, its centre is found again within a pixel."""
        landmarks = 0.15 + 0.7 * (MEAN - MEAN.min()) / (MEAN.max() - MEAN.min())
        photos = face_batch(0.9 - 0.8 * dots(landmarks), landmarks.expand(68, -1, -1))
        how = Stylization(MILD, replace(only(**{medium: 1.0}), stroke=(0.006, 0.01)), share=1.0)  # finer than the dots
        found = how(photos, photos.images, MEAN.expand(68, -1, -1), MEAN)
        own = torch.arange(68)
        assert (found.landmarks - landmarks).norm(dim=-1).mean() * SIZE > 1  # they have somewhere to go
        # What is black lies outside the photo, far from the dots.
        near = dots_nearby(found.landmarks[own, own])
        grey = found.images.mean(1, keepdim=True)
        places = centroids((grey.amax((2, 3), keepdim=True) - grey) * near)
        off = (places - found.landmarks[own, own]).norm(dim=-1) * SIZE
        assert off.median() < 0.5
        assert off.max() < 2

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_shares_of_a_batch(self, share: float) -> None:
        photos = batch(8)
        torch.manual_seed(1)
        chosen = torch.rand(8) < share
        torch.manual_seed(1)
        found = Stylization(look=only(pencil=1.0), share=share)(photos, photos.images, shapes(8, 3), MEAN)
        for new, old in ((found.landmarks, photos.landmarks), (found.images, photos.images)):
            assert torch.equal((new != old).flatten(1).any(1), chosen)
        assert found.paths == photos.paths

    def test_either_part_may_be_left_out(self) -> None:
        photos = batch(4)
        same = Stylization(None, None, 1.0)(photos, photos.images, shapes(4), MEAN)
        assert torch.equal(same.images, photos.images)
        looks = Stylization(None, only(ink=1.0), 1.0)(photos, photos.images, shapes(4), MEAN)
        assert torch.equal(looks.landmarks, photos.landmarks)
        assert not torch.equal(looks.images, photos.images)

    def test_a_landmarker_gone_wrong_leaves_labels_finite(self) -> None:
        photos = replace(batch(4), landmarks=shapes(4).float(), images=smooth_images(4).float())
        found = Stylization(share=1.0)(photos, photos.images, torch.full((4, 68, 2), 0.5), MEAN.float())
        assert found.landmarks.isfinite().all()
        assert found.images.isfinite().all()


def dots_nearby(places: Tensor) -> Tensor:
    """1 within five pixels of each place, shape ``(B, 1, S, S)``."""
    y, x = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float64)] * 2, indexing="ij")
    pixels = (places * SIZE)[:, :, None, None]
    return ((x - pixels[:, 0]).square() + (y - pixels[:, 1]).square() < 25).double()[:, None]

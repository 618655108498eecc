import numpy as np
import pytest
import torch

from datamodules.face_sets import UnlabelledFaces
from datamodules.faces import Face, FaceBatch
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.kept import PlainCrops
from datamodules.loading import evaluation_loader
from datamodules.transforms import Augmentation, FaceTransform
from lightning_modules.landmarkers.base import Landmarker, LandmarkerOutput
from lightning_modules.landmarkers.inference import Inference, mirror_landmarks
from lightning_modules.methods.pseudo import PseudoLandmarks, PseudoLandmarkStore, find_pseudo_landmarks
from tests.datamodules.test_faces import faces
from tests.lightning_modules.methods.small import SIZE, FollowsLight, LinearLandmarker

CPU = torch.device("cpu")
COUNT = 7


def loader(count: int = COUNT, rank: int = 0, world_size: int = 1) -> list[FaceBatch]:
    hidden = UnlabelledFaces(faces(count), oracle_box=True)
    batches = evaluation_loader(PlainCrops(hidden, SIZE), 3, rank=rank, world_size=world_size)
    return [batch.to("cpu") for batch in batches]


def numbered(count: int = COUNT) -> list[list[tuple[int, Face]]]:
    """The same faces, uncropped, in batches of three."""
    hidden = list(enumerate(UnlabelledFaces(faces(count), oracle_box=True)))
    return [hidden[first : first + 3] for first in range(0, count, 3)]


def found(landmarker: Landmarker, keep: float = 1.0, mirror_average: bool = True) -> PseudoLandmarks:
    return find_pseudo_landmarks([landmarker], numbered(), COUNT, CPU, how=Inference(mirror=mirror_average), keep=keep)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_lookup_moves_with_the_crop_as_labels_do(flip: float) -> None:
    """Were pseudo landmarks the true ones, they would be the labels of every augmented crop."""
    labelled = faces(COUNT)
    pseudo = PseudoLandmarks(torch.stack([torch.from_numpy(face.landmarks) for face in labelled]), torch.ones(COUNT))
    transform = FaceTransform(SIZE, Augmentation(flip=flip))
    indices = [5, 0, 3]
    samples = [transform(labelled[index], index, seed=index) for index in indices]
    batch = FaceBatch(
        images=torch.stack([sample.image for sample in samples]),
        matrices=torch.stack([sample.matrix for sample in samples]),
        flipped=torch.tensor([sample.flipped for sample in samples]),
        landmarks=None,
        indices=torch.tensor(indices),
        paths=[],
    )
    assert batch.flipped.all() == bool(flip)
    landmarks, weights = pseudo.lookup(batch, SIZE)
    expected = torch.stack([sample.landmarks for sample in samples])
    torch.testing.assert_close(landmarks, expected, atol=1e-5, rtol=0)
    assert landmarks.dtype == torch.float32
    assert weights.tolist() == [1, 1, 1]
    # And, written out, the file's pixels under the batch's matrix.
    by_hand = labelled[5].landmarks @ batch.matrices[0, :, :2].numpy().T + batch.matrices[0, :, 2].numpy()
    by_hand = by_hand[list(FLIP_PERMUTATION)] if flip else by_hand
    np.testing.assert_allclose(landmarks[0] * SIZE, by_hand, atol=1e-3)


class TestFreezing:
    @pytest.mark.parametrize("mirror_average", [False, True])
    def test_what_is_frozen_is_the_prediction_in_image_pixels(self, mirror_average: bool) -> None:
        landmarker = FollowsLight()
        pseudo = found(landmarker, mirror_average=mirror_average)
        for batch in loader():
            landmarks, _ = pseudo.lookup(batch, SIZE)
            torch.testing.assert_close(landmarks.double(), landmarker(batch.images).landmarks, atol=1e-5, rtol=0)
        assert pseudo.landmarks.dtype == torch.float32
        assert pseudo.weights.tolist() == [1.0] * COUNT

    def test_the_mirror_average_cancels_a_bias_to_one_side(self) -> None:
        plain, averaged = (found(FollowsLight(bias=bias)) for bias in (0.0, 0.1))
        torch.testing.assert_close(averaged.landmarks, plain.landmarks, atol=1e-3, rtol=0)
        assert (found(FollowsLight(bias=0.1), mirror_average=False).landmarks - plain.landmarks).abs().max() > 1

    def test_mirroring_landmarks_is_what_mirroring_pixels_does(self) -> None:
        landmarks = torch.rand(2, 68, 2, dtype=torch.float64)
        torch.testing.assert_close(mirror_landmarks(mirror_landmarks(landmarks, SIZE), SIZE), landmarks)
        # The first pixel's centre becomes the last one's.
        first = torch.zeros(68, 2)
        assert mirror_landmarks(first, SIZE)[:, 0].tolist() == pytest.approx([(SIZE - 1) / SIZE] * 68)

    def test_keep_drops_those_that_agree_least(self) -> None:
        class Disagrees(FollowsLight):
            """On face k, crop and mirror image disagree the more the closer k is to 3."""

            def forward(self, images: torch.Tensor) -> LandmarkerOutput:
                output = super().forward(images)
                call, mirrored = divmod(self.batches - 1, 2)
                face = torch.arange(len(images)) + 3 * call
                output.stages = output.stages + 0.01 * mirrored / (1 + (face - 3).abs().double()).view(-1, 1, 1, 1)
                return output

        pseudo = found(Disagrees(), keep=4 / 7)
        assert (pseudo.weights == 0).nonzero().flatten().tolist() == [2, 3, 4]
        assert float(pseudo.weights.mean()) == pytest.approx(1.0)
        assert pseudo.weights.max() == pytest.approx(7 / 4)

    @pytest.mark.parametrize(("keep", "mirror_average"), [(0.0, True), (1.1, True), (0.5, False)])
    def test_keep_out_of_range(self, keep: float, mirror_average: bool) -> None:
        with pytest.raises(ValueError, match=rf"keep is {keep}"):
            found(FollowsLight(), keep=keep, mirror_average=mirror_average)

    def test_the_landmarker_does_not_change(self) -> None:
        landmarker = LinearLandmarker().train()
        before = {name: value.clone() for name, value in landmarker.state_dict().items()}
        pseudo = found(landmarker)
        assert landmarker.training
        for name, value in landmarker.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert not pseudo.landmarks.requires_grad
        assert all(parameter.grad is None for parameter in landmarker.parameters())

    def test_a_loose_crop_may_be_taken_again(self) -> None:
        once = PseudoLandmarkStore(mirror_average=False).how
        again = PseudoLandmarkStore(mirror_average=False, recrop=2).how
        assert (once.recrop, again.recrop, again.mirror) == (0, 2, False)
        hidden = list(enumerate(UnlabelledFaces(faces(COUNT))))
        landmarker = FollowsLight()
        found_once, found_again = (
            find_pseudo_landmarks([landmarker], [hidden], COUNT, CPU, how=how).landmarks for how in (once, again)
        )
        extent = [(found.amax(1) - found.amin(1)).amax(-1) for found in (found_once, found_again)]
        # Its face fills a fixed share of whatever it sees, so that every crop is smaller than the one before.
        assert (extent[1] < 0.97 * extent[0]).all()

    def test_a_face_without_an_estimate_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"1 of 8 target faces"):
            find_pseudo_landmarks([FollowsLight()], numbered(), COUNT + 1, CPU)

"""``configs/loose_boxes.yaml``: training crops that vary as widely as a loose box makes them."""

from datamodules.transforms import CROP_FACTOR, Augmentation
from experiments.catalogue import CONFIGS
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from experiments.scoring import LOOSE


def test_it_covers_the_loose_box_that_landmarkers_are_measured_with() -> None:
    overrides = {"model.init_args.landmarker.init_args.pretrained": False, "trainer.accelerator": "cpu"}
    chosen = Choices(
        "gzsl_artiface", landmarker="integral", config=(str(CONFIGS / "loose_boxes.yaml"),), overrides=overrides
    )
    found = WarpmarkCLI(chosen.arguments(), run=False).data.augmentation
    assert found == Augmentation(scale=(0.72, 1.15), translation=0.1)
    for landmarker in ("slpt", "spiga", "star"):
        light = Choices("gzsl_artiface", landmarker=landmarker, overrides={"trainer.accelerator": "cpu"})
        assert WarpmarkCLI(light.arguments(), run=False).data.augmentation == found, "their light forms' default"
    # How large a face is in a crop by that box, over a plain crop; and how far off, as a share of the crop's side.
    assert found.scale[0] <= 1 / LOOSE.loosen < Augmentation().scale[0]
    assert found.translation >= LOOSE.shift / CROP_FACTOR
    assert Augmentation().translation < LOOSE.shift / CROP_FACTOR, "the default does not"

"""A landmarker adapted to your own style of faces, then used: python examples/adapt_to_a_folder.py photos drawings

``photos`` holds labelled photos (x.jpg with x.pts or x.npy), ``drawings`` stylised faces without labels.
"""

import sys
from pathlib import Path
from typing import Any

import warpmark
from experiments.commands.train import train
from prediction.images import list_pictures


def main(photos: str, drawings: str, **options: Any) -> Path:
    """Adapt to the drawings, then find landmarks on them; returns the run's folder.

    Args:
        photos: folder of labelled photos.
        drawings: folder of stylised faces.
        options: of ``make train``, e.g. ``profile="thorough"`` or ``**{"trainer.max_epochs": 2}``.
    """
    folder = train("own", source=photos, target=drawings, **options)
    # Drawings without boxes are cropped to the whole picture, as they were in training.
    landmarker = warpmark.load(folder / "checkpoints/last.ckpt", detector="whole")
    pictures = list_pictures(drawings)
    for picture, faces in zip(pictures, landmarker.batch(pictures), strict=True):
        for face in faces:
            print(picture.name, "the tip of the nose is at", face.landmarks[30].round(1))
    return folder


if __name__ == "__main__":
    main(*sys.argv[1:3])

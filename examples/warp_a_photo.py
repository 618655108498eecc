"""A photo warped onto a drawing, without any training: python examples/warp_a_photo.py photo.jpg drawing.png warped.png

The shipped weights find the landmarks of both; a thin-plate spline takes the drawing's to the photo's (eq. 1).
"""

import sys

import torch
from torchvision.transforms.functional import resize, to_tensor
from torchvision.utils import save_image

import warpmark
from lightning_modules.warping import PolyharmonicSpline
from prediction.images import load_picture

SIZE = 384


def main(photo: str, drawing: str, out: str) -> None:
    """Warp the first face of a photo onto the first of a drawing."""
    landmarker, points = warpmark.load(), []
    for picture in (photo, drawing):
        faces = landmarker(picture)
        if not faces:
            sys.exit(f"{picture}: no face found. Crop it to the face, and load(detector='whole').")
        height, width = load_picture(picture).shape[:2]
        # To crop coordinates: the whole picture, resized to SIZE, is the crop; pixel centres are at integers.
        crop = (faces[0].landmarks + 0.5) / [width, height] - 0.5 / SIZE
        points.append(torch.from_numpy(crop)[None].float())
    source = resize(to_tensor(load_picture(photo)), [SIZE, SIZE])[None]
    spline = PolyharmonicSpline.fit(points[1], points[0])
    save_image(spline.warp(source), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The published program's training loop, transcribed as a plain reference to measure ours beside.

Generalizable Face Landmarking Guided by Conditional Face Warping (CVPR 2024), github.com/Dixin-Lab/
generalized-face-landmarker. It is written anew from what that program does, step by step, so that it costs what that
program costs: batches of 4, no loader processes, every image decoded and cropped each time it is drawn, the spline
evaluated at every pixel, pseudo landmarks one image at a time. The network is this project's in both.
"""

from experiments.bench.published.faces import PublishedFaces, Record, read_records
from experiments.bench.published.loop import PublishedLoop, alignment_loss, gradient_loss
from experiments.bench.published.warp import published_flow, published_warp, sample_detached

__all__ = [
    "PublishedFaces",
    "PublishedLoop",
    "Record",
    "alignment_loss",
    "gradient_loss",
    "published_flow",
    "published_warp",
    "read_records",
    "sample_detached",
]

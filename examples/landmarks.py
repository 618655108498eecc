"""Landmarks on a picture: python examples/landmarks.py portrait.jpg"""

import sys

import warpmark

landmarker = warpmark.load()
for face in landmarker(sys.argv[1]):
    x, y = face.landmarks[30]
    print(f"a face with confidence {face.score:.2f} in {face.box.round()}, the tip of its nose at ({x:.1f}, {y:.1f})")
    print(f"its landmarks are right to within {face.uncertainty.mean():.1f} pixels or so")

"""What is learned: landmarkers, warping, methods, metrics."""

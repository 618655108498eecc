"""What runs and landmarkers left, as numbers and as pictures."""

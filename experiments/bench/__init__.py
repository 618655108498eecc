"""How fast the warp and the landmarkers are, and what they need of memory."""

"""f_θ: networks from crops to 68 landmarks, in plain torch."""

"""Warping fields w_γ: from a stylised face's coordinates to a photo's."""

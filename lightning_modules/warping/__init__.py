"""w_γ: the warping field, image gradients and warping losses, in plain torch."""

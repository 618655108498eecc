"""Searches for hyper-parameters: sweep files of Weights & Biases, and the same search without an account."""

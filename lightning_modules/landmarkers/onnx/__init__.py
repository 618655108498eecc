"""Landmarkers and ONNX files: export with what its user must know, and reading of such files and of others'."""

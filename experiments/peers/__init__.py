"""Published landmarkers to measure beside: those that no ONNX file holds."""

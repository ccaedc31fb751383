"""Export of a trained network to a lean ONNX graph."""

"""Export of a trained network to a simplified ONNX graph, in FP32 or FP16."""

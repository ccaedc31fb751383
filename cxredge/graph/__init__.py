"""Reading and walking ONNX graphs."""

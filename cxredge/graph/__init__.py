"""Reading, indexing and editing ONNX graphs."""

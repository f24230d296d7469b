"""Networks for other programs: layers, ONNX models, a page for the browser."""

"""Networks as ONNX models and as HTML pages."""

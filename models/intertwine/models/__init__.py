"""Tasks: what a federation trains, from a participant's file to metrics and an ONNX model."""

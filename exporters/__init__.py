"""Artifacts from models: PyTorch to ONNX, users' files, and a content-addressed cache that avoids repeated work."""

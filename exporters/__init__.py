"""Model -> Artifact: PyTorch to ONNX, files from elsewhere, and the content-addressed cache that makes both instant."""

"""onnxbench: one table of a model's speed, accuracy and cost over runtimes, devices, precisions and batch sizes."""

__version__ = "0.1.0"

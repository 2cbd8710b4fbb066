"""onnxbench: where should this model run? One table over runtimes, devices, precisions and batch sizes."""

__version__ = "0.1.0"

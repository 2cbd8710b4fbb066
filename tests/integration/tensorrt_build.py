"""One ONNX file through TensorRT's parser and builder, for no GPU in particular; prints what came of it as JSON.

    tensorrt_build.py FILE PRECISION BATCH [LEVEL]

A program of its own, since TensorRT's logger belongs to the process.
"""

import json
import sys
from pathlib import Path

import onnx
import tensorrt_rtx as trt
from onnxbench.backends.trt_build import EngineRecipe, build_engine, list_flags
from onnxbench.errors import BenchError


def main(path, precision, batch, level=None):
    """The engine's size in bytes, or which error there was and its words."""
    inputs = onnx.load(path, load_external_data=False).graph.input
    shapes = [(tensor.name, [item.dim_value for item in tensor.type.tensor_type.shape.dim][1:]) for tensor in inputs]
    own = tuple((name, (int(batch), *rest)) for name, rest in shapes)
    recipe = EngineRecipe(path=Path(path), shapes=own, precision=precision, level=level and int(level))
    try:
        engine, timings = build_engine(trt, recipe)
    except BenchError as error:
        return {"error": type(error).__name__, "words": str(error)}
    built = {"nbytes": len(engine), "timings": len(timings), "flags": list_flags(trt, precision)}
    return {"error": None, "version": trt.__version__, **built}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

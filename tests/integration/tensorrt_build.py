"""One ONNX file through TensorRT's parser and builder, for no GPU in particular; prints what came of it as JSON.

A program of its own, since TensorRT's logger belongs to the process.
"""

import json
import sys
from pathlib import Path

import tensorrt_rtx as trt


def build(path, batches):
    """The engine's size in bytes and its precision-bearing layers, or the parser's errors."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(Path(path).read_bytes()):
        return {"errors": [str(parser.get_error(number)) for number in range(parser.num_errors)]}
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in batches))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    types = sorted({str(network.get_layer(n).get_output(0).dtype).rpartition(".")[2] for n in range(network.num_layers)})
    return {
        "errors": [] if engine else ["the builder made no engine"],
        "nbytes": engine.nbytes if engine else 0,
        "types": types,
    }


if __name__ == "__main__":
    print(json.dumps({"version": trt.__version__, **build(sys.argv[1], (1, 8, 32))}))

"""Programs to paste that run a PyTorch module, eager or compiled, as templates of snippets.py. Standard library only."""

from ..spec import Artifact, Cell
from . import snippets

TORCH_MODULE = """\
from importlib import import_module

import torch

FACTORY, WEIGHTS = $factory, $weights
module_name, _, factory = FACTORY.partition(":")
module = getattr(import_module(module_name), factory)()
if WEIGHTS:
    from safetensors.torch import load_model

    load_model(module, WEIGHTS)
${feed}"""
LOAD = """
if WEIGHTS:
    from safetensors.torch import load_model

    load_model(module, WEIGHTS)
${feed}"""
TORCHVISION = """\
import json
from pathlib import Path

import torch
from torchvision.models import get_model

NAME, WEIGHTS = $name, $weights
arguments = json.loads(Path(WEIGHTS).with_suffix(".config.json").read_text())
module = get_model(NAME, weights=None, **arguments)
"""
TIMM = """\
import timm
import torch

NAME, WEIGHTS = $name, $weights
module = timm.create_model(NAME, pretrained=False)
"""
TRANSFORMERS = """\
from pathlib import Path

import torch
import transformers

NAMES, WEIGHTS = $names, $weights


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        config = transformers.AutoConfig.from_pretrained(str(Path(WEIGHTS).with_suffix(".config.json")))
        config.use_cache = False
        self.model = getattr(transformers, config.architectures[0])(config)

    def forward(self, *tensors):
        answer = self.model(**dict(zip(NAMES, tensors)), return_dict=True)
        return tuple(value for value in answer.values() if hasattr(value, "dtype"))


module = Model()
"""
TORCH_LIBRARIES = {"torchvision": TORCHVISION + LOAD, "timm": TIMM + LOAD, "hf": TRANSFORMERS + LOAD}
"""Begin of a program by the prefix of its model's library. The module's configuration is beside its weights."""

FEED = """
FEEDBACK = $places  # the place of the input that each output feeds, by the output's place


def feed(tensors, result):
    from torch.utils._pytree import tree_leaves

    results = tree_leaves(result)
    for output, place in FEEDBACK.items():
        tensors[place].copy_(results[output])


"""
TORCH_CPU_PROGRAM = """\
torch.set_num_interop_threads(1)
torch.set_float32_matmul_precision("highest")
module = module.eval().to(torch.$dtype, memory_format=torch.$memory)


def open_lane():
    torch.set_num_threads(THREADS)  # torch keeps it per calling thread
    tensors = [torch.tensor(array) for array in inputs.values()]
    tensors = [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    tensors = [tensor.to(memory_format=torch.$memory) if tensor.dim() == 4 else tensor for tensor in tensors]

    def call():
        with torch.inference_mode():
            $run

    return call
"""
TORCH_CUDA_PROGRAM = """\
torch.set_float32_matmul_precision($matmul)
torch.backends.cudnn.allow_tf32 = $tf32
torch.backends.cudnn.benchmark = $benchmark
${sdpa}module = module.eval().to($device, torch.$dtype, memory_format=torch.$memory)
alive = []


def open_lane():
    stream = torch.cuda.Stream($device)
    tensors = [torch.tensor(array).to($device) for array in inputs.values()]
    tensors = [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    tensors = [tensor.to(memory_format=torch.$memory) if tensor.dim() == 4 else tensor for tensor in tensors]
    alive.append(tensors)  # a graph keeps no reference to the memory that it uses
    torch.cuda.synchronize($device)

    def run():
        torch.cuda.set_stream(stream)
        with torch.inference_mode():
            $run

    for _ in range(3):
        run()
    stream.synchronize()
    if not $graph:
        return run, stream.synchronize
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()

    def start():
        torch.cuda.set_stream(stream)
        graph.replay()

    return start, stream.synchronize
"""

BUILD_PACKAGE = """\
with torch.no_grad():
    exported = torch.export.export(module, tuple(made()), strict=False)
# takes seconds to minutes, and may choose other kernels than those that were measured: bench infer --keep-engines keeps those
FOLDER = pathlib.Path(tempfile.mkdtemp())
PACKAGE, COMPILER = str(FOLDER / "model.pt2"), FOLDER / $compiler
COMPILER.write_text($script)  # the package calls its own copy of the C++ library, if it has one
COMPILER.chmod(0o700)
import torch._inductor

configs = {**$configs, "cpp.cxx": (None, str(COMPILER))}
torch._inductor.aoti_compile_and_package(exported, package_path=PACKAGE, inductor_configs=configs)
"""
LOAD_PACKAGE = """\
PACKAGE = $engine  # the package that was measured, compiled from the module
with open(PACKAGE, "rb") as file:
    if hashlib.sha256(file.read()).hexdigest() != $sha256:
        raise SystemExit(f"{PACKAGE} is not the package that was measured: its SHA-256 differs")
"""
COMPILED_CPU = """

def made():
    tensors = [torch.tensor(array) for array in inputs.values()]
    return [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]


@PACKAGE@
package = torch._C._aoti.AOTIModelPackageLoader(PACKAGE, "model", False, LANES, -1)


def module(*tensors):
    return package.boxed_run(list(tensors))


"""
COMPILED_CUDA = """

def made():
    tensors = [torch.tensor(array).to($device) for array in inputs.values()]
    tensors = [tensor.to(torch.$dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    return [tensor.to(memory_format=torch.$memory) if tensor.dim() == 4 else tensor for tensor in tensors]


@PACKAGE@

def load():
    index = torch.device($device).index or 0
    loaded = torch._C._aoti.AOTIModelPackageLoader(PACKAGE, "model", True, 1, index)
    return lambda *tensors: loaded.boxed_run(list(tensors))


"""
IMPORTS = "import hashlib\nimport pathlib\nimport tempfile\n\n"


def _compiled(program: str, loading: str) -> str:
    """Template of a program with a package, from that of eager PyTorch. `@PACKAGE@` stands for the way to get a package."""
    setup, lane, body = program.partition("def open_lane():\n")
    return IMPORTS + setup.rstrip() + "\n" + loading + lane + body


TORCH_COMPILE_CPU_PROGRAM = _compiled(TORCH_CPU_PROGRAM, COMPILED_CPU)
TORCH_COMPILE_CUDA_PROGRAM = _compiled(TORCH_CUDA_PROGRAM, COMPILED_CUDA).replace(
    "def open_lane():\n", "def open_lane():\n    module = load()\n"
)


def feed_values(artifact: Artifact, cell: Cell) -> dict[str, snippets.Code]:
    """Parts of a program that hand the state over; a plain call for a cell without feedback."""
    if not cell.feedback:
        return {"feed": snippets.Code(""), "run": snippets.Code("module(*tensors)")}
    outputs, inputs = ([spec.name for spec in end] for end in (artifact.outputs, artifact.inputs))
    places = {outputs.index(source): inputs.index(target) for source, target in cell.feedback}
    feed = FEED.replace("$places", repr(places))
    return {"feed": snippets.Code(feed), "run": snippets.Code("feed(tensors, module(*tensors))")}

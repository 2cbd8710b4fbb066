"""PyTorch compiled ahead of time by AOTInductor, on the CPU and on CUDA. Imports torch, inside functions.

`build` exports the module for the shapes of one cell and compiles it to a package (`.pt2`). `open` loads the package: no call
compiles anything. A package is native code, therefore only one that `build` found with its hash is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ..errors import Unavailable
from ..spec import Artifact, Cell, Concurrency, Device
from ..tuning import Tunable
from . import shelf, snippets, torch_options
from .opening import part
from .protocol import Availability, Engine, Session, SessionInfo, Workshop, join_types
from .torch_eager import (
    TORCH_TYPES,
    TorchCpu,
    TorchCuda,
    TorchCudaSession,
    TorchOptions,
    TorchSession,
    import_torch,
    set_threads,
)
from .torch_modules import load_module
from .torch_programs import (
    BUILD_PACKAGE,
    LOAD_PACKAGE,
    TORCH_COMPILE_CPU_PROGRAM,
    TORCH_COMPILE_CUDA_PROGRAM,
)

OLDEST = (2, 8)  # with device_index of load_package, and without clashes of packages in one process
LAYERS = ("conv", "linear", "matmul", ".mm.", ".bmm.", "addmm", "baddbmm", "einsum", "attention", "lstm", "gru")
"""Parts of the names of ATen operators that multiply by weights or activations."""

TYPES, TF32, LAYOUT = "onnxbench_types", "onnxbench_tf32", "onnxbench_channels_last"  # names in the metadata of a package
NO_COMPILER = "AOTInductor compiles C++, and there is no compiler {name}"
INSTALL_COMPILER = "apt-get install g++, or set CXX to a compiler"
AUTOTUNE = {"max_autotune": "on: time several kernels for each product and take the fastest; off (default): choose by rules"}
FREEZING = {"freezing": "on: fold and repack constant weights; off (default): leave them as they are"}
OWN_FILES = {"cpp_cache_precompile_headers": False, "aot_inductor.precompile_headers": False}
"""Precompiled headers would be in a folder of /tmp with a known name, where another user can write before."""

OWN_LIBRARY = "-Wl,--exclude-libs,libstdc++.a" if sys.platform == "linux" else ""
"""Some compilers put a copy of the C++ library into a package, as an archive. Its functions and those of the library that
PyTorch has loaded have the same names, and a package that calls some of both fails when it is loaded (SIGSEGV, or
std::bad_cast). With the flag, a package calls its own copy alone. It changes nothing where the C++ library is a shared one."""

RUNNERS = 4  # calls at once that a package of the CPU accepts at least; further calls would wait for one of them


class Package:
    """A package in memory, called with tensors like its module. It returns the flat list of output tensors."""

    def __init__(self, path: Path, options: TorchOptions, runners: int, owner: object = None) -> None:
        """Load the package at `path`. `owner` is kept alive, and `path` with it."""
        import torch

        self._path, self._options, self._runners, self._owner = path, options, runners, owner
        on_gpu = options.device != "cpu"
        self._folder = Path(tempfile.mkdtemp(prefix="onnxbench-package-"))
        with part("extract and load"), _environment(TMPDIR=str(self._folder)):  # torch extracts the package there
            # The class of C++, and not aoti_load_package, which imports the compiler (3 s) and parses JSON in each call.
            # On a GPU without synchronization of several calls, which a CUDA graph cannot capture.
            self._loader = torch._C._aoti.AOTIModelPackageLoader(
                str(path),
                "model",
                on_gpu,
                1 if on_gpu else runners,
                Device.parse(options.device).index if on_gpu else -1,
            )
        self._run = self._loader.boxed_run
        if not on_gpu:
            self.remove_files()

    def __call__(self, *tensors: Any) -> Any:
        return self._run(list(tensors))

    def remove_files(self) -> None:
        """Remove the extracted files, which are mapped into memory: a worker that is killed would leave them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def again(self) -> Package:
        """Load the package once more."""
        return Package(self._path, self._options, self._runners, self._owner)

    @property
    def types(self) -> str:
        """Types in which the layers of the compiled graph compute, as its build wrote them into the package.

        `tf32` if the build allowed Triton to multiply FP32 in it.
        """
        return "tf32" if self.fact(TF32) == "True" else self.fact(TYPES)

    def fact(self, name: str) -> str:
        """Text that the build wrote into the package; empty for none."""
        return str(self._loader.get_metadata().get(name, ""))


class CompiledCudaSession(TorchCudaSession):
    """A package on a GPU. Each session loads the package again: a loaded one runs one call at a time."""

    def fork(self) -> Session:
        return type(self)(self._module.again(), self._artifact, self._options, self._opened)

    def _first_call(self) -> None:
        super()._first_call()
        self._module.remove_files()  # kernels are read from these files in the first call


class TorchCompileCpu(TorchCpu):
    """AOTInductor on the CPU, with one package for each cell.

    The number of threads is not fixed in the package: lanes with fewer threads use the same package.
    """

    name = "torch-compile-cpu"
    builds = True
    install = "pip install 'onnxbench[torch-compile]'"
    session: ClassVar[type[TorchSession]] = TorchSession
    program: ClassVar[str] = TORCH_COMPILE_CPU_PROGRAM
    options: ClassVar[Mapping[str, str]] = {**TorchCpu.options, **AUTOTUNE, **FREEZING}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **TorchCpu.choices,
        **dict.fromkeys((*AUTOTUNE, *FREEZING), ("off", "on")),
    }
    tunables: ClassVar[tuple[Tunable, ...]] = ()  # each candidate would be compiled for half a minute

    def _probe(self) -> Availability:
        availability = super()._probe()
        torch = import_torch()
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Unavailable(
                f"packages need PyTorch {oldest}, and this is {torch.__version__}", f"pip install 'torch>={oldest}'"
            )
        _compiler()
        return availability

    def _build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine | None:
        torch = import_torch()
        more: tuple[str | int, ...] = (cell.backend, *self._fixed(cell))
        engines = shelf.Shelf(workshop, artifact, cell, self._maker(torch, cell), more)
        return engines.engine(lambda _: (self._compile(torch, artifact, cell), b""))

    def _fixed(self, cell: Cell) -> tuple[int, ...]:
        """Numbers that the compiler gets beside the options: the threads, for which it divides loops."""
        return (cell.settings.threads,)

    def _maker(self, torch: Any, cell: Cell) -> str:
        compiler = _compiler()
        version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
        capability = torch.backends.cpu.get_cpu_capability()
        return f"PyTorch {torch.__version__} with {Path(compiler).name} {version} on {_cpu_name()} {capability}"

    def _compile(self, torch: Any, artifact: Artifact, cell: Cell) -> bytes:
        """Export the module for the shapes of `cell`, compile it, and return the package."""
        set_threads(torch, cell.settings.threads)
        options = self._torch_options(torch, cell, Concurrency(threads=cell.settings.threads))
        module = _module(torch, artifact, options)
        self._set_arithmetic(torch, cell)
        with _compiling() as folder, torch.no_grad():
            from torch._inductor import aoti_compile_and_package

            exported = torch.export.export(module, _examples(torch, artifact, cell, options), strict=False)
            layout = torch_options.read_layout(torch, module, cell)
            facts = {TYPES: layer_types(exported), TF32: str(self._allows_tf32(torch)), LAYOUT: layout}
            compiler, place = _write_compiler(folder), str(folder / "model.pt2")
            configs = {**self._configs(cell), "cpp.cxx": (None, compiler), "aot_inductor.metadata": facts}
            aoti_compile_and_package(exported, package_path=place, inductor_configs=configs)
            return Path(place).read_bytes()

    def _configs(self, cell: Cell) -> dict[str, Any]:
        """Settings of Inductor. Each is set, since variables of the environment change the defaults of some."""
        values = dict(cell.settings.options)
        return {
            "max_autotune": values.get("max_autotune") == "on",
            "freezing": values.get("freezing") == "on",
            "cpp.threads": cell.settings.threads,
            "cpp.dynamic_threads": True,
            "cpp.enable_unsafe_math_opt_flag": False,
            "cpp.enable_floating_point_contract_flag": "off",
            "compile_threads": 1,
            **OWN_FILES,
        }

    def _allows_tf32(self, torch: Any) -> bool:
        """Setting of this process from which Inductor chooses the arithmetic of its own products on a GPU."""
        return False

    def _open_engine(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine | None) -> Session:
        torch = import_torch()
        set_threads(torch, concurrency.threads)
        self._set_arithmetic(torch, cell)
        options = self._torch_options(torch, cell, concurrency)
        package = self._load(torch, artifact, cell, options, engine)
        return self.session(package, artifact, options, self._info(torch, package, cell))

    def _load(self, torch: Any, artifact: Artifact, cell: Cell, options: TorchOptions, engine: Engine | None) -> Package:
        runners = max(RUNNERS, cell.settings.threads)
        if engine:
            return Package(engine.path, options, runners)
        scratch = tempfile.TemporaryDirectory(prefix="onnxbench-")
        path = Path(scratch.name) / "model.pt2"
        path.write_bytes(self._compile(torch, artifact, cell))
        return Package(path, options, runners, owner=scratch)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        return self._open_engine(artifact, cell, concurrency, None)

    def _types(self, module: Any) -> str:
        return str(module.types)

    def _layout(self, torch: Any, module: Any, cell: Cell) -> str:
        return str(module.fact(LAYOUT)) or "off"

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        return _with_settings(super()._info(torch, module, cell), cell, (*AUTOTUNE, *FREEZING))

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        compiler = _compiler_name()
        values = {"configs": self._configs(cell), "compiler": Path(compiler).name, "script": own_library(compiler)}
        return self._write(self.program.replace("@PACKAGE@", BUILD_PACKAGE), case, **values)

    def engine_snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        values = {"engine": str(engine.path), "sha256": engine.sha256}
        return self._write(self.program.replace("@PACKAGE@", LOAD_PACKAGE), case, **values)


class TorchCompileCuda(TorchCompileCpu, TorchCuda):
    """AOTInductor on an NVIDIA GPU, with the streams, graphs and layouts of eager PyTorch."""

    name = "torch-compile-cuda"
    session = CompiledCudaSession
    program: ClassVar[str] = TORCH_COMPILE_CUDA_PROGRAM
    options: ClassVar[Mapping[str, str]] = {**TorchCuda.options, **AUTOTUNE}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {**TorchCuda.choices, **dict.fromkeys(AUTOTUNE, ("off", "on"))}

    def _probe(self) -> Availability:
        availability = super()._probe()
        if importlib.util.find_spec("triton") is None:
            raise Unavailable("AOTInductor needs Triton for kernels of a GPU, and it is not installed", "pip install triton")
        return availability

    def _fixed(self, cell: Cell) -> tuple[int, ...]:
        return (Device.parse(cell.device).index,)  # the compiled code names the GPU by its index

    def _maker(self, torch: Any, cell: Cell) -> str:
        index = Device.parse(cell.device).index
        major, minor = torch.cuda.get_device_capability(index)
        return f"{super()._maker(torch, cell)} for {torch.cuda.get_device_name(index)} sm_{major}{minor}"

    def _configs(self, cell: Cell) -> dict[str, Any]:
        return {"max_autotune": dict(cell.settings.options).get("max_autotune") == "on", "freezing": False, **OWN_FILES}

    def _allows_tf32(self, torch: Any) -> bool:
        return bool(torch.backends.cuda.matmul.allow_tf32)

    def _info(self, torch: Any, module: Any, cell: Cell) -> SessionInfo:
        return _with_settings(TorchCuda._info(self, torch, module, cell), cell, tuple(AUTOTUNE))


def layer_types(exported: Any) -> str:
    """Types that the layers of an exported program compute in, the most frequent first; empty without layers."""
    layers = [node for node in exported.graph.nodes if node.op == "call_function" and _is_layer(str(node.target))]
    results = [node.meta["val"][0] if isinstance(node.meta["val"], (tuple, list)) else node.meta["val"] for node in layers]
    names = [str(result.dtype).removeprefix("torch.") for result in results]
    return join_types(TORCH_TYPES.get(name, name) for name in names)


def _is_layer(operator: str) -> bool:
    return any(part in f".{operator.removeprefix('aten.')}." for part in LAYERS)


def _with_settings(info: SessionInfo, cell: Cell, names: tuple[str, ...]) -> SessionInfo:
    values = dict(cell.settings.options)
    return replace(info, settings=(*info.settings, *((name, values.get(name, "off")) for name in names)))


def _module(torch: Any, artifact: Artifact, options: TorchOptions) -> Any:
    module = load_module(artifact).to(options.device, options.dtype)
    return module.to(memory_format=torch.channels_last) if options.channels_last else module


def _examples(torch: Any, artifact: Artifact, cell: Cell, options: TorchOptions) -> tuple[Any, ...]:
    """Tensors of zeros, with the shapes, types and layouts of the calls."""
    shapes, tensors = dict(cell.shapes), []
    for spec in artifact.inputs:
        tensor = torch.zeros(shapes[spec.name], dtype=getattr(torch, spec.dtype), device=options.device)
        tensor = tensor.to(options.dtype) if tensor.is_floating_point() else tensor
        is_image = options.channels_last and tensor.dim() == 4
        tensors.append(tensor.to(memory_format=torch.channels_last) if is_image else tensor)
    return tuple(tensors)


def _compiler_name() -> str:
    """The C++ compiler that Inductor uses: `$CXX`, or g++."""
    return os.environ.get("CXX") or "g++"


def _compiler() -> str:
    """Path of the C++ compiler. Raise `Unavailable` without one."""
    name = _compiler_name()
    path = shutil.which(name)
    if path is None:
        raise Unavailable(NO_COMPILER.format(name=name), INSTALL_COMPILER)
    return path


def own_library(compiler: str) -> str:
    """Text of a script that calls `compiler` with OWN_LIBRARY: Inductor has no option for flags of the linker.

    The script must have the file name of the compiler, from which Inductor knows its kind.
    """
    return f'#!/bin/sh\nexec {shlex.quote(compiler)} "$@" {OWN_LIBRARY}\n'


def _write_compiler(folder: Path) -> str:
    """Write the script of `own_library` into `folder`; its path."""
    path = folder / Path(_compiler()).name
    path.write_text(own_library(_compiler()))
    path.chmod(stat.S_IRWXU)
    return str(path)


def _cpu_name() -> str:
    """Model of this CPU: a package may use any instruction of it."""
    with Path("/proc/cpuinfo").open() as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        return next(names, platform.machine())


@contextmanager
def _compiling() -> Iterator[Path]:
    """A private folder for the compiler's files, removed at the end. Inductor's own cache is not used.

    The cache would be in a folder of /tmp with a known name, and a build would be faster after another tool's.
    """
    folder = tempfile.mkdtemp(prefix="onnxbench-compile-")
    try:
        # set before Inductor is imported, which tries the compiler in the cache
        with _environment(TORCHINDUCTOR_CACHE_DIR=folder, TRITON_CACHE_DIR=f"{folder}/triton"):
            from torch._inductor.utils import fresh_cache

            with fresh_cache(dir=folder):
                yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

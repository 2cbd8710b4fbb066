"""Table of ONNX Runtime's execution providers beside its own CPU and CUDA ones. Standard library only.

A new provider is one entry. A plug-in is a package of its own, which ONNX Runtime loads while it runs. A built-in provider is
part of some wheels of ONNX Runtime. One provider may come in both ways.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..spec import Concurrency
from .openvino_properties import cpu_properties

Arguments = Callable[[str, Concurrency], Mapping[str, str]]
ORT_GPU = "pip install 'onnxbench[ort-gpu]'"
OWN_BUILD = "build ONNX Runtime with {} (onnxruntime.ai/docs/build/eps.html)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)  # each is hashed as itself
class Provider:
    """An execution provider.

    `provider`: its name in ONNX Runtime. `package`: its package for pip. `module`: the module of a plug-in, with the path of
    its library; empty for a built-in provider. `wheel`: a package of ONNX Runtime that has the provider built in, in place of
    the plug-in; such a package takes devices that the plug-in may refuse. `systems`: operating systems that have it, in
    Python's words. `precisions`: each precision with the pin of its arithmetic, an argument of `arguments`; an empty pin where
    the provider has no choice. `default`: the type that it chooses without a pin, on some machines. `arguments`: options of the
    provider for a pin and a concurrency; an empty pin leaves the arithmetic to the provider. `streams`: it divides its threads
    among streams. `tested`: the authors ran it.
    """

    provider: str
    package: str
    install: str
    module: str = ""
    wheel: str = ""
    device_kind: str = "cpu"
    systems: tuple[str, ...] = ("Linux", "Windows", "Darwin")
    precisions: Mapping[str, str] = field(default_factory=lambda: {"fp32": ""})
    on_request: tuple[str, ...] = ()
    default: str = ""
    int8_schemes: tuple[str, ...] = ("portable", "portable-7bit", "layers")
    int8_scheme_without_vnni: str = ""
    arguments: Arguments = lambda pin, concurrency: {}
    streams: bool = False
    tested: bool = False


def _openvino(pin: str, concurrency: Concurrency) -> Mapping[str, str]:
    # the provider ignores its option `precision`, and takes unknown options in silence; OpenVINO refuses unknown properties
    return {"load_config": json.dumps({"CPU": cpu_properties(pin, concurrency)})}


def _qnn(pin: str, concurrency: Concurrency) -> Mapping[str, str]:
    return {"backend_type": "htp", **({"enable_htp_fp16_precision": pin} if pin else {})}


PROVIDERS: Mapping[str, Provider] = {
    "ort-openvino": Provider(
        provider="OpenVINOExecutionProvider",
        package="onnxruntime-ep-openvino",
        module="onnxruntime_ep_openvino",
        wheel="onnxruntime-openvino",
        install="pip install 'onnxbench[ort-openvino]'",
        systems=("Linux", "Windows"),
        precisions={"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"},
        on_request=("fp16",),
        default="bf16",
        int8_schemes=("portable", "layers", "ort", "portable-7bit", "openvino-7bit", "openvino"),
        int8_scheme_without_vnni="openvino-7bit",
        arguments=_openvino,
        streams=True,
        tested=True,
    ),
    "ort-tensorrt-rtx": Provider(
        provider="NvTensorRTRTXExecutionProvider",
        package="onnxruntime-ep-nv-tensorrt-rtx-cu13",
        module="onnxruntime_ep_nv_tensorrt_rtx",
        install="pip install onnxruntime onnxruntime-ep-nv-tensorrt-rtx-cu13, for an RTX GPU (Ampere or later)",
        device_kind="cuda",
        systems=("Linux", "Windows"),
        precisions={"fp32": "", "fp16": "", "int8": ""},
    ),
    "ort-webgpu": Provider(
        provider="WebGpuExecutionProvider",
        package="onnxruntime-ep-webgpu",
        module="onnxruntime_ep_webgpu",
        install="pip install onnxruntime onnxruntime-ep-webgpu; on Linux also a Vulkan driver",
        device_kind="webgpu",
        precisions={"fp32": "", "fp16": ""},
    ),
    "ort-qnn": Provider(
        provider="QNNExecutionProvider",
        package="onnxruntime-qnn",
        module="onnxruntime_qnn",
        install="pip install onnxruntime-qnn, for a Snapdragon with an NPU",
        device_kind="npu",
        systems=("Linux", "Windows"),
        precisions={"fp32": "0", "int8": ""},
        default="fp16",
        arguments=_qnn,
    ),
    "ort-tensorrt": Provider(
        provider="TensorrtExecutionProvider",
        package="onnxruntime-gpu",
        install=f"{ORT_GPU} and the libraries of TensorRT 10",
        device_kind="cuda",
        systems=("Linux", "Windows"),
        precisions={"fp32": "", "fp16": "", "int8": ""},
    ),
    "ort-dnnl": Provider(
        provider="DnnlExecutionProvider",
        package="",
        install=OWN_BUILD.format("--use_dnnl"),
        systems=("Linux", "Windows"),
    ),
    "ort-xnnpack": Provider(provider="XnnpackExecutionProvider", package="", install=OWN_BUILD.format("--use_xnnpack")),
    "ort-coreml": Provider(
        provider="CoreMLExecutionProvider",
        package="onnxruntime",
        install="pip install 'onnxbench[ort]' on macOS",
        systems=("Darwin",),
        default="fp16",
        # the CPU alone computes in FP32; the GPU and the neural engine compute in FP16
        precisions={"fp32": "CPUOnly"},
        arguments=lambda pin, concurrency: {"ModelFormat": "MLProgram", **({"MLComputeUnits": pin} if pin else {})},
    ),
    "ort-dml": Provider(
        provider="DmlExecutionProvider",
        package="onnxruntime-directml",
        install="pip install onnxruntime-directml on Windows",
        device_kind="dml",
        systems=("Windows",),
        precisions={"fp32": "", "fp16": ""},
    ),
}
"""Each provider by the name of its backend."""

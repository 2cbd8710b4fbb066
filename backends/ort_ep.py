"""Backends for the execution providers of `ort_providers`. Imports onnxruntime and the plug-ins, inside functions.

Evidence of the placement: ONNX Runtime reports the provider of each node. Evidence of the arithmetic: the answers of small
graphs (`ort_trial`), since a provider repeats options that it ignores.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module, metadata
from typing import Any, ClassVar

from ..errors import RuntimeFailed, Unavailable, installed, one_line, quantity
from ..evidence import Kernel
from ..spec import PRECISIONS, Artifact, Cell, Concurrency, Device, Options
from . import openvino_properties, ort_trial, snippets
from .ort import (
    ORT_CALL,
    ORT_PROGRAM,
    OrtCpu,
    OrtSession,
    count_placement,
    import_onnxruntime,
    make_session_options,
    resolve_symbols,
)
from .ort_providers import PROVIDERS, Provider
from .protocol import Array, Availability, Session, SessionInfo, setting

FIRST_WITH_PLUGINS = "1.23"
HARDWARE: Mapping[str, str] = {"cpu": "CPU", "cuda": "GPU", "dml": "GPU", "webgpu": "GPU", "npu": "NPU"}
"""ONNX Runtime's word for each kind of device."""

SYSTEMS: Mapping[str, str] = {"Darwin": "macOS"}
"""Common names of operating systems that Python calls by others."""

DEFAULT, STRICT = "default", "strict"
CHOICE = "strict: compute in the precision of the row; default: let the provider choose, which computes in {} on some machines"
OWN_SESSION = "session = onnxruntime.InferenceSession(MODEL, options, providers=[$provider])"
PLUGIN_SESSION = """\
if $provider in onnxruntime.get_available_providers():
    session = onnxruntime.InferenceSession(MODEL, options, providers=[($provider, $settings)])
else:
    onnxruntime.register_execution_provider_library($provider, importlib.import_module($module).get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == $provider]
    devices = [device for device in devices if device.device.type.name == $hardware]
    options.add_provider_for_devices(devices[$index : $index + 1], $settings)
    session = onnxruntime.InferenceSession(MODEL, options)"""
BUILT_IN_SESSION = "session = onnxruntime.InferenceSession(MODEL, options, providers=[($provider, $settings)])"


class ProviderSession(OrtSession):
    """A session on a provider, which runs its part of the graph as one kernel and reports nothing of its inside.

    An input is copied to the provider's memory when it is bound, even on a CPU. So new values must be bound.
    """

    handover = Session.handover
    no_profile = "its provider runs a part of the graph as one kernel, and reports nothing of the inside"
    feed = Session.feed
    profiler = Session.profiler
    refill = Session.refill

    def fork(self) -> Session:
        return ProviderSession(self._session, self.info, self._load)

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        return ()


class OrtProvider(OrtCpu):
    """One execution provider, as `entry` describes it. Its subclasses are made from the table."""

    entry: ClassVar[Provider]

    def _probe(self) -> Availability:
        onnxruntime = self._import()
        devices = self._devices(onnxruntime)
        self._trial("fp32", STRICT, 0)  # a provider that is listed may still not start
        for precision in set(self.precisions) & {"bf16", "int8"}:
            with suppress(Exception):  # the reason of a row that asks for it, and not of all rows
                self._trial(precision, STRICT, 0)
        names = [f"{self.device_kind}:{index} {device}" for index, device in enumerate(devices)]
        return Availability(
            available=True,
            version=f"{onnxruntime.__version__}{self._plugin_version(onnxruntime)}",
            devices=("cpu",) if self.device_kind == "cpu" else tuple(names),
        )

    def _plugin_version(self, onnxruntime: Any) -> str:
        return f"+{metadata.version(self.entry.package)}" if self._is_plugin(onnxruntime) else ""

    def _is_plugin(self, onnxruntime: Any) -> bool:
        """True if the provider comes as a plug-in here, and is no part of the wheel of ONNX Runtime."""
        return bool(self.entry.module) and self.entry.provider not in onnxruntime.get_available_providers()

    def _import(self) -> Any:
        """Import onnxruntime, with the plug-in registered. Raise `Unavailable` with the reason if it is not here."""
        entry, system = self.entry, platform.system()
        if system not in entry.systems:
            systems = " and ".join(SYSTEMS.get(name, name) for name in entry.systems)
            raise Unavailable(f"{entry.provider} is for {systems}, and this is {SYSTEMS.get(system, system)}", self.install)
        onnxruntime = import_onnxruntime(self.install)
        version = onnxruntime.__version__
        if self._is_plugin(onnxruntime):
            if not hasattr(onnxruntime, "register_execution_provider_library"):
                upgrade = f"pip install 'onnxruntime>={FIRST_WITH_PLUGINS}'"
                raise Unavailable(f"onnxruntime {version} loads no plug-ins", upgrade)
            register(entry, self.install)
        elif entry.provider not in onnxruntime.get_available_providers():
            raise Unavailable(f"onnxruntime {version} was built without {entry.provider}", self.install)
        return onnxruntime

    def _devices(self, onnxruntime: Any) -> list[str]:
        """Names of the devices that the provider finds. Raise `Unavailable` if it finds none of its kind."""
        if not self._is_plugin(onnxruntime):
            return [self.entry.provider.removesuffix("ExecutionProvider")]
        devices = self._plugin_devices(onnxruntime)
        if not devices:
            raise self._refusal({str(device.device.vendor) for device in self._hardware(onnxruntime)})
        return [str(device.device.vendor) for device in devices]

    def _refusal(self, vendors: Collection[str]) -> Unavailable:
        """Error for a plug-in that takes none of the devices of these `vendors`."""
        names = f", where it is of {', '.join(sorted(vendors))}" if vendors else ""
        problem = f"{self.entry.provider} finds no {HARDWARE[self.device_kind]} here that it can use{names}"
        folder = f"venvs/{self.name}"
        own = f"python -m venv {folder} && {folder}/bin/pip install {self.entry.wheel}, then add --python {self.name}={folder}"
        return Unavailable(problem, own if self.entry.wheel else self.install)

    def _hardware(self, onnxruntime: Any) -> list[Any]:
        """Devices of the backend's kind, each once for every provider that takes it."""
        return [device for device in onnxruntime.get_ep_devices() if device.device.type.name == HARDWARE[self.device_kind]]

    def _plugin_devices(self, onnxruntime: Any) -> list[Any]:
        return [device for device in self._hardware(onnxruntime) if device.ep_name == self.entry.provider]

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        return openvino_properties.concurrencies(threads) if self.entry.streams else super().concurrencies(threads)

    def deploy(self, concurrency: Concurrency) -> str:
        settings = self._settings("fp32", DEFAULT, concurrency)  # a row may have another arithmetic
        callers = f"{quantity(concurrency.lanes, 'thread')} calling run on one session"
        return " · ".join([f"{self.entry.provider} {name}={value}" for name, value in settings] + [callers])

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        own = PLUGIN_SESSION if self.entry.module else BUILT_IN_SESSION
        program = "import importlib\n" + ORT_PROGRAM.replace(OWN_SESSION, own)
        values = {
            "symbols": resolve_symbols(artifact, cell),
            "provider": self.entry.provider,
            "tuned": snippets.Code(""),
            "module": self.entry.module,
            "hardware": HARDWARE[self.device_kind],
            "index": Device.parse(cell.device).index,
            "settings": dict(self._settings(cell.precision, _arithmetic(cell), concurrency)),
        }
        case = snippets.ProgramCase(artifact, cell, concurrency)
        return snippets.write_program(program, case, snippets.THREADED, call=ORT_CALL.code(cell), **values)

    def _settings(self, precision: str, arithmetic: str, concurrency: Concurrency) -> Options:
        """Options of the provider for a precision; without its pin for the arithmetic `default`."""
        pin = self.entry.precisions[precision] if arithmetic == STRICT else ""
        return tuple(sorted(self.entry.arguments(pin, concurrency).items()))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        onnxruntime, index = self._import(), Device.parse(cell.device).index
        settings = self._settings(cell.precision, _arithmetic(cell), concurrency)
        types = self._types(cell, index)  # known since the probe, unless the user chose the arithmetic
        options = make_session_options(onnxruntime, artifact, cell, concurrency)
        session = self._start(onnxruntime, artifact.path, options, (settings, index))
        return ProviderSession(session, self._provider_info(session, cell, types), lambda folder, graph=False: session)

    def _types(self, cell: Cell, index: int) -> str:
        """Types of the arithmetic with the settings of `cell`. Raise `Unavailable` if a lower precision is not among them."""
        types = self._trial(cell.precision, _arithmetic(cell), index)
        request = PRECISIONS[cell.precision].arithmetic
        if PRECISIONS[cell.precision].file == "fp16" and cell.precision not in self.on_request:
            return request  # the graphs of the trial are FP32, and say nothing of a file in FP16
        exact = cell.precision not in ("fp32", *self.on_request) and _arithmetic(cell) == STRICT
        if exact and request not in types.split("+"):
            raise Unavailable(f"{self.entry.provider} computes in {types} here, and not in {request}")
        return types

    def _trial(self, precision: str, arithmetic: str, index: int) -> str:
        settings = self._settings(precision, arithmetic, Concurrency(threads=1))
        return self.computed_types(settings, index, precision == "int8")

    @classmethod
    @cache
    def computed_types(cls, settings: Options, index: int, quantized: bool) -> str:
        """Types in which the provider computes with `settings`, from the answers of small graphs."""
        backend = cls()

        def run(model: bytes, x: Array) -> Array:
            onnxruntime = import_onnxruntime(cls.install)
            options = onnxruntime.SessionOptions()
            options.log_severity_level, options.intra_op_num_threads = 3, 1
            session = backend._start(onnxruntime, model, options, (settings, index))
            (answer,) = session.run(None, {"x": x})
            return answer  # type: ignore[no-any-return]

        floats = ort_trial.float_types(run)
        return f"int8+{floats}" if quantized and ort_trial.computes_int8(run) else floats

    def _start(self, onnxruntime: Any, model: str | bytes, options: Any, place: tuple[Options, int]) -> Any:
        """Open `model` with settings on the device of an index. `RuntimeFailed` if another provider gets it."""
        (settings, index), entry = place, self.entry
        open_session = partial(onnxruntime.InferenceSession, model, options, enable_fallback=0)  # it would print, and go on
        if self._is_plugin(onnxruntime):
            options.add_provider_for_devices(self._plugin_devices(onnxruntime)[index : index + 1], dict(settings))
            session = open_session()
        else:
            session = open_session(providers=[(entry.provider, dict(settings)), "CPUExecutionProvider"])
        actual = session.get_providers()[0]
        if actual != entry.provider:
            raise RuntimeFailed(f"ONNX Runtime cannot use {entry.provider} here; it fell back to {actual}")
        return session

    def _provider_info(self, session: Any, cell: Cell, types: str) -> SessionInfo:
        threads = str(session.get_session_options().intra_op_num_threads)
        reported = session.get_provider_options()[self.entry.provider]
        remarks = [] if self.entry.tested else [f"{self.entry.provider} was not run by the authors of onnxbench"]
        if self.device_kind != "cpu":
            remarks.append("the time of a call includes the copies between the host and the device")
        return SessionInfo(
            executed=types,
            placement=count_placement(session, self.entry.provider),
            settings=(("threads", threads), *sorted((str(name), str(value)) for name, value in reported.items())),
            remarks=tuple(remarks),
        )


def _arithmetic(cell: Cell) -> str:
    return setting(cell, "arithmetic", STRICT)


@cache
def register(entry: Provider, install: str) -> None:
    """Load the library of a plug-in, once in a process. Raise `Unavailable` if it is missing or does not fit."""
    import onnxruntime

    with installed(entry.package, install):
        path = import_module(entry.module).get_library_path()
    try:
        onnxruntime.register_execution_provider_library(entry.provider, path)
    except Exception as error:  # a library that cannot be loaded, or one for another version
        version = metadata.version(entry.package)
        problem = f"{entry.package} {version} does not load in onnxruntime {onnxruntime.__version__}: {one_line(error)}"
        raise Unavailable(problem, install) from error


def __getattr__(name: str) -> type[OrtProvider]:
    """Class of the backend `name`, from its entry in the table."""
    if name not in PROVIDERS:
        raise AttributeError(name)
    return make_class(name, PROVIDERS[name])


@cache
def make_class(name: str, entry: Provider) -> type[OrtProvider]:
    """Class of a backend from the entry of its provider."""
    has_pins = any(entry.precisions.values())
    facts = {
        "__doc__": f"ONNX Runtime's {entry.provider}.",
        "name": name,
        "entry": entry,
        "provider": entry.provider,
        "device_kind": entry.device_kind,
        "precisions": entry.precisions,
        "on_request": entry.on_request,
        "options": {"arithmetic": CHOICE.format(entry.default)} if has_pins else {},
        "choices": {"arithmetic": (STRICT, DEFAULT)} if has_pins else {},
        "tunables": (),
        "int8_scheme": entry.int8_schemes[-1],
        "int8_scheme_without_vnni": entry.int8_scheme_without_vnni,
        "int8_schemes": entry.int8_schemes,
        "install": entry.install,
    }
    return type(name, (OrtProvider,), facts)

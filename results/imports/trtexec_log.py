"""Parser of what TensorRT's trtexec 7 to 11 prints, behind any prefix, one or several runs. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import cut
from ...spec import Options
from .formats import Format, ImportedFigures, Unusable, inert, leading, number, stem, whole
from .trtexec import figures_of, rate_note

SUMMARY, OLD_SUMMARY = "=== Performance summary ===", "Host Latency"
STAMP = re.compile(r"\[(\d\d)/(\d\d)/(\d{4})-(\d\d:\d\d:\d\d)\] \[([A-Z])\] ?")
PREFIX = re.compile(r"(?:\s|>|\d{4}-\d\d-\d\dT[\d:.]+Z? |\[[A-Za-z]{3,8}\] |[\w.-]+\s+\| )*")  # of CI logs and containers
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MARK = "&&&& "
OPTION = re.compile(r"--(\w+)(?:=(\S+))?")
BINDING = re.compile(r"(?:Created )?[Ii]nput binding for (.{1,200}) with dimensions ([0-9x]+)")
SHAPE = re.compile(r"Input inference shapes?\s*(?:\(profile \d+\))?\s*:\s*(.{1,200})=([0-9x]+)")
TRACE = re.compile(r"Timing trace has (\d+) queries over")
BUILT = re.compile(r"Engine built in (\S+) sec")
NUMBERED = re.compile(r"\[TensorRT v(\d{4,6})\]")
DURATIONS = {"latency": "Latency", "computation": "GPU Compute Time", "h2d": "H2D Latency", "d2h": "D2H Latency"}
WARNED = "trtexec warns: {}"
TF32 = "fp32 layers may compute in TF32, which trtexec allows without --noTF32"
FAILED_BESIDE = "{} of the runs in this file have no figures: they are left out"
BUSIEST = 1.15  # queries at once on a stream: above 1 by the rounding and the skew of the durations


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines of one run without prefixes, and what they contain.

    `command`: the lines with the command line. `options`: its options. `values`: texts after the colon, by the text before
    it. `ran`: the first time stamp. `error`: the first error.
    """

    lines: tuple[str, ...]
    command: str
    options: Mapping[str, str]
    values: Mapping[str, str]
    ran: str | None
    error: str | None

    def value(self, *names: str) -> str:
        """First value with one of these names; empty for none."""
        return next((self.values[name] for name in names if name in self.values), "")

    def matches(self, pattern: re.Pattern[str], end: int | None = None) -> list[re.Match[str]]:
        """Matches of `pattern` at the begin of the lines before `end`."""
        return [match for line in self.lines[:end] if (match := pattern.match(line))]


def _looks(text: str) -> bool:
    return SUMMARY in text or "TensorRT.trtexec" in text or (OLD_SUMMARY in text and "GPU Compute" in text)


def _parse(text: str) -> list[ImportedFigures]:
    """Read a row for each performance summary. `ValueError` if there is none."""
    parts = [part for part in _parts(text) if part.command or _summaries(part)]
    rows = [_row(part, index) for part in parts for index in _summaries(part)]
    idle = [part for part in parts if not _summaries(part)]
    if not rows:
        raise _without_summary(parts[0] if parts else None)
    beside = (FAILED_BESIDE.format(len(idle)),) if idle else ()
    return [replace(row, notes=(*row.notes, *beside)) for row in rows]


def _parts(text: str) -> Iterator[Part]:
    """Split a text into runs: each begins with `&&&& RUNNING`, and ends with `&&&& PASSED` or `&&&& FAILED`."""
    lines: list[str] = []
    for raw in text.splitlines():
        line = COLOUR.sub("", raw[:2000])
        begins, ends = f"{MARK}RUNNING" in line, f"{MARK}PASSED" in line or f"{MARK}FAILED" in line
        if begins and lines:
            yield _part(lines)
            lines = []
        lines.append(line)
        if ends:
            yield _part(lines)
            lines = []
    yield _part(lines)


def _part(lines: Sequence[str]) -> Part:
    stamps = (match for line in lines if (match := STAMP.search(line)))
    first = next(stamps, None)
    marked = " ".join(line for line in lines if MARK in line)
    errors = (line for line in lines if "] [E] " in line)
    # Verbose lines explain the metrics with the names of the summary's own lines.
    contents = tuple(_content(line) for line in lines if "] [V] " not in line)
    values: dict[str, str] = {}
    for name, _, text in (line.partition(":") for line in contents):
        if text.strip():
            values.setdefault(name.rstrip(), text.strip())
    return Part(
        lines=contents,
        command=marked,
        options=dict(OPTION.findall(marked)),
        values=values,
        ran=f"{first[3]}-{first[1]}-{first[2]} {first[4]}" if first else None,
        error=next((_content(line) for line in errors), None),
    )


def _content(line: str) -> str:
    """Line without the stamp of trtexec and without what another program wrote before it."""
    stamps = list(STAMP.finditer(line))
    if stamps:
        return line[stamps[-1].end() :].strip()
    at = line.find(MARK)
    return line[at:].strip() if at >= 0 else line[PREFIX.match(line).end() :].strip()  # type: ignore[union-attr]


def _summaries(part: Part) -> list[int]:
    """Indices of the lines that begin a summary, in the layout of version 8 and later, or else of version 7."""
    new = [index for index, line in enumerate(part.lines) if line == SUMMARY]
    return new or [index for index, line in enumerate(part.lines) if line == OLD_SUMMARY]


def _without_summary(part: Part | None) -> Unusable:
    if part and f"{MARK}FAILED" in part.command:
        reason = cut(part.error or "it does not say why", 200)
        return Unusable(f"trtexec failed, so there are no figures: {reason}", "mend the model or the command and run it again")
    if part and ({"buildOnly", "skipInference"} & part.options.keys() or part.value("Skip inference") == "Enabled"):
        return Unusable("trtexec only built an engine and measured nothing", "run it without --skipInference and --buildOnly")
    return Unusable("it ends before the performance summary", "run trtexec again and keep the whole output")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of one summary: medians in ms, mean of the computation in ms, queries a second as printed."""

    medians: Mapping[str, float]
    mean_ms: float
    rate: float
    warnings: tuple[str, ...] = ()
    old: bool = False


def _row(part: Part, index: int) -> ImportedFigures:
    summary = _summary(part, index) if part.lines[index] == SUMMARY else _old_summary(part, index)
    version = _version(part, summary.old)
    major = int(version.partition(".")[0]) if version else 0
    batch, items = _batch(part)
    loaded = part.options.get("loadEngine") or part.value("Load engine")
    precisions = () if loaded else _precisions(part)
    copied = summary.medians["h2d"] > 0 or summary.medians["d2h"] > 0
    streams = _streams(part)
    return figures_of(
        summary.medians,
        figures={**_samples(part, index, items), **_built(part)},
        major=major,
        version=version,
        model=_model(part),
        batch=batch if batch and _is_sure(part, items) else None,
        device=_device(part),
        precisions=precisions,
        queries_per_s=summary.rate / items,
        at_once=summary.rate / items * summary.mean_ms / 1e3 / streams / BUSIEST,
        guesses={"device": "cuda:0", **({"batch": batch} if batch else {}), **_engine(loaded)},
        facts=(*_shapes(part), *((("dla_core", core),) if (core := part.value("DLACore")) else ())),
        definition=_definition(part, major, copied, streams),
        ran=part.ran,
        accelerator=inert(part.value("Selected Device"), 80) or None,
        notes=(
            rate_note(copied, items > 1),
            *((TF32,) if "tf32" in precisions else ()),
            *(WARNED.format(text) for text in summary.warnings),
        ),
    )


def _summary(part: Part, index: int) -> Summary:
    """Summary of version 8 and later; it ends at the next heading."""
    lines: list[str] = []
    for line in part.lines[index + 1 :]:
        if line.startswith(("===", MARK)):
            break
        lines.append(line)
    values = {name.strip(): text.strip() for line in reversed(lines) for name, _, text in (line.partition(":"),)}
    if "Latency" not in values:
        raise Unusable("its summary has no latency", "run trtexec again and keep the whole output")
    return Summary(
        medians={kind: _statistic("median", values.get(name, ""), name) for kind, name in DURATIONS.items()},
        mean_ms=_statistic("mean", values.get(DURATIONS["computation"], ""), DURATIONS["computation"]),
        rate=_unit(values.get("Throughput", ""), "qps", "Throughput"),
        warnings=tuple(inert(line[2:]) for line in lines if line.startswith("* ")),
    )


def _statistic(which: str, text: str, name: str) -> float:
    match = re.search(rf"\b{which} = (\S+) ms", text)
    return number(match[1] if match else None, f"the {which} of {name}", least=-1e-9)


def _unit(text: str, unit: str, name: str) -> float:
    """Number before `unit`. `ValueError` without the unit, which a log lacks that is cut within the number."""
    return number(text.removesuffix(unit).strip() if text.endswith(unit) else None, name)


def _old_summary(part: Part, index: int) -> Summary:
    """Summary of version 7: a section for each duration, with a line for each statistic."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in part.lines[index:]:
        name, colon, text = line.partition(":")
        if line in sections or line.startswith(MARK):
            break
        if not colon:
            section = sections.setdefault(line, {})
        section.setdefault(name, text.partition("(")[0].strip())
    host, computed = sections[OLD_SUMMARY], sections.get("GPU Compute", {})
    latency = _unit(host.get("median", ""), "ms", "the median host latency")
    computation = _unit(computed.get("median", ""), "ms", "the median GPU compute time")
    return Summary(
        medians={"latency": latency, "computation": computation, "h2d": max(0.0, latency - computation), "d2h": 0.0},
        mean_ms=_unit(computed.get("mean", ""), "ms", "the mean GPU compute time"),
        rate=_unit(host.get("throughput", ""), "qps", "throughput"),
        old=True,
    )


def _version(part: Part, old: bool) -> str | None:
    """Version of TensorRT: `10.2.0` of v100200, `8.6.1` of v8601; `7` for its layout without a number."""
    match = NUMBERED.search(part.command)
    if not match:
        return part.value("TensorRT version") or ("7" if old else None)
    digits = int(match[1])
    # From major 10 on, minor and patch have two digits each.
    major, rest = divmod(digits, 10_000) if digits >= 100_000 else divmod(digits, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _batch(part: Part) -> tuple[int | None, int]:
    """Batch of a query, and the number of items for which trtexec counts a query several times (an implicit batch)."""
    text = part.value("Batch") or part.options.get("batch", "")
    implicit = whole(text, "Batch") if text and text != "Explicit" else 1
    if implicit > 1:
        return implicit, implicit
    firsts = {leading(shape) for _, shape in _dimensions(part)}
    if len(firsts) == 1:
        return firsts.pop(), 1
    return (1 if text == "1" and not firsts else None), 1


def _is_sure(part: Part, items: int) -> bool:
    """True if the batch is certain: an implicit batch, or a leading dimension of inputs of images."""
    # Without an explicit batch, 3x224x224 is one image of three channels, and 8x128 may be eight sequences.
    ranks = {shape.count("x") + 1 for _, shape in _dimensions(part)}
    return items > 1 or bool(ranks and min(ranks) >= 4)


def _dimensions(part: Part) -> list[tuple[str, str]]:
    """Names and shapes of the inputs that ran; those of the options for a log without them."""
    ran = part.matches(BINDING) or part.matches(SHAPE)
    if ran:
        return list(dict.fromkeys((match[1], match[2]) for match in ran))
    pairs = part.options.get("shapes", "").replace("'", "").replace('"', "")
    return [(match[1], match[2]) for match in re.finditer(r"([^,]{1,200}?):([0-9x]+)(?:,|$)", pairs)]


def _shapes(part: Part) -> Options:
    return tuple((name.replace(" ", "_"), shape) for name, shape in _dimensions(part)[:8])


def _streams(part: Part) -> int:
    text = part.value("Inference Streams", "Streams") or part.options.get("infStreams") or part.options.get("streams")
    return whole(text, "Inference Streams") if text else 1


def _samples(part: Part, index: int, items: int) -> Mapping[str, int]:
    traces = part.matches(TRACE, index)
    return {"samples": whole(traces[-1][1], "the number of queries") // items or 1} if traces else {}


def _built(part: Part) -> Mapping[str, float]:
    built = part.matches(BUILT)
    return {"build_s": number(built[-1][1], "the time of the build")} if built else {}


def _model(part: Part) -> str | None:
    path = part.value("Model", "Prototxt") or next(filter(None, map(part.options.get, ("onnx", "uff", "deploy"))), "")
    return stem(path) if path else None


def _engine(loaded: str) -> Mapping[str, str]:
    """Name of the loaded engine as a guess for the model: an engine may have any name."""
    name = stem(loaded) if loaded else None
    return {"model": name} if name else {}


def _device(part: Part) -> str | None:
    texts = (part.value("Device"), part.value("Selected Device ID"), part.options.get("device", ""))
    return next((f"cuda:{int(text)}" for text in texts if re.fullmatch(r"[0-9]{1,3}", text)), None)


def _precisions(part: Part) -> tuple[str, ...]:
    """Precisions that the build allowed, the most probable first; empty for types without a name in this table."""
    text = part.value("Precision").partition("(")[0].strip()
    types = set(re.findall(r"[A-Z]+\d+", text)) if re.fullmatch(r"[A-Z0-9+ ]+", text) else set()
    if not types or types & {"FP8", "INT4", "FP4"}:
        return ()
    if "INT8" in types:
        return ("int8+fp16", "int8") if "FP16" in types else ("int8",)
    if "FP16" in types:
        return ("fp16", "bf16") if "BF16" in types else ("fp16",)
    if "BF16" in types:
        return ("bf16",)
    return ("fp32",) if "noTF32" in part.options else ("fp32", "tf32")


def _definition(part: Part, major: int, copied: bool, streams: int) -> Options:
    """Settings that change the meaning of the figures. Version 11 has other defaults: no transfers, a CUDA graph, spinning."""
    later = major >= 11 if major else None
    graph = _switch(part, "CUDA Graph", "useCudaGraph", ("noCudaGraph", "disableCudaGraph"), later)
    spin = _switch(part, "Spin-wait", "useSpinWait", ("noSpinWait", "disableSpinWait"), later)
    switches = (("transfers", copied), ("cuda_graph", graph), ("spin_wait", spin))
    settings = ((name, "on" if value else "off") for name, value in switches if value is not None)
    return (("streams", str(streams)), *settings)


def _switch(part: Part, line: str, on: str, off: Sequence[str], default: bool | None) -> bool | None:
    text = part.value(line)
    if text in ("Enabled", "Disabled"):
        return text == "Enabled"
    if on in part.options:
        return True
    return False if any(name in part.options for name in off) else default


LOG = Format(name="trtexec's log", looks=_looks, parse=_parse, run="trtexec --onnx=FILE.onnx 2>&1 | tee trtexec.log", log=True)

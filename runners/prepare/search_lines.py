"""Sentences about a search for an INT8 file: its data, its steps and its end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...errors import quantity
from ...exporters.searched import DataParts, Evaluated, FirstLook, NodeError, SearchPath, SearchStep
from ...results.stats import intervals as stats
from ...results.stats.percentiles import CONFIDENCE
from .bound_walk import PROOF, WalkResult
from .bounds import CERTAIN, DROP, Bound

FEW = 3  # nodes that a sentence names


def data_line(path: SearchPath) -> str:
    """The parts of the data, and the schemes in the order of the search."""
    return f"search on {path.backend}: {', '.join(path.schemes)}; {parts_text(path.parts)}"


def parts_text(parts: DataParts) -> str:
    """Sizes of the parts, with the name of the data once where all parts have one name."""
    sizes = {"calibration": parts.calibration, "search": parts.search, "proof": parts.proof}
    names = (parts.calibration_data, parts.search_data, parts.proof_data)
    if len(set(names)) == 1:
        return f"{', '.join(f'{size} items for {part}' for part, size in sizes.items())}, of {names[0]}"
    return ", ".join(f"{size} items of {name} for {part}" for (part, size), name in zip(sizes.items(), names))


def step_line(step: SearchStep, bounds: Sequence[Bound]) -> str:
    """One step: the candidate, its accuracy, its speed in a first look, and the bounds that it breaks."""
    figures, candidate = step.figures, candidate_text(step.scheme, step.exclude)
    if figures.failed:
        return f"{step.part}: {candidate}: not possible ({figures.failed})"
    accuracy = ", ".join(accuracy_parts(figures, min(step.alpha, default=1.0) if step.part == PROOF else 1.0))
    layers = f"{figures.float_layers} of {quantity(figures.float_layers + figures.quantized_layers, 'layer')} in float"
    speed = [f"{step.look.speedup:.2f} times the speed of FP32"] if step.look else []
    parts = (f"{accuracy} on {quantity(figures.items, 'item')}", layers, *speed, _verdict(step, bounds))
    return f"{step.part}: {candidate}: {'; '.join(parts)}"


def _verdict(step: SearchStep, bounds: Sequence[Bound]) -> str:
    """Comparison of a step with its bounds."""
    if step.accepted:
        return "within the bounds" if len(bounds) > 1 else "within the bound"
    broken = [bound.text for bound in bounds if not bound.holds(step.figures, 1)]
    return f"beyond {' and '.join(broken)}" if broken else "not shown to be within the bounds"


def candidate_text(scheme: str, exclude: Sequence[str]) -> str:
    """A scheme, and its nodes in float."""
    if not exclude:
        return f"{scheme}, all nodes"
    more = f" and {len(exclude) - FEW} more" if len(exclude) > FEW else ""
    return f"{scheme} without {','.join(exclude[:FEW])}{more}"


def accuracy_parts(figures: Evaluated, alpha: float) -> Iterable[str]:
    """The figures that a file has. `alpha`: error probability of the drop's interval, at most that of 95 %."""
    if figures.lost is not None and figures.gained is not None:
        alpha = min(alpha, 1 - CONFIDENCE)
        low, high = stats.drop_interval(figures.lost, figures.gained, figures.items, alpha)
        drop = 100 * (figures.lost - figures.gained) / figures.items
        yield f"{DROP} {drop:.2f} points ({100 * (1 - alpha):.4g} %: {low:.2f} to {high:.2f})"
    if figures.agreed is not None:
        yield f"agreement {100 * figures.agreed / figures.items:.2f} %"
    if figures.sqnr_db is not None:
        yield f"SQNR {figures.sqnr_db:.1f} dB"


def look_note(look: FirstLook, backend: str) -> str:
    """The origin of the first looks; the remedy for a file that is slower than FP32."""
    note = (
        f"speeds are first looks without intervals: medians of {look.calls} calls or more at batch {look.batch} on {backend},"
        " in turns with FP32"
    )
    slow = f"; this file takes {1 / look.speedup:.1f} times as long as FP32: measure both with bench infer"
    return f"{note}{slow}" if look.speedup < 1 else note


def result_line(path: SearchPath) -> str:
    """The bounds of a search that ended with a file, and the proof."""
    proven = path.steps[-1]
    parts = ", ".join(accuracy_parts(proven.figures, min(proven.alpha, default=1.0)))
    attempts = sum(step.part == PROOF for step in path.steps)
    number = f", proof {attempts} on these" if attempts > 1 else ""
    items = f"{quantity(proven.figures.items, 'item')} of {path.parts.proof_data}{number}"
    return f"{' and '.join(path.bounds)} holds on {path.backend}: {parts} on {items}"


def uncertain_lines(bounds: Sequence[Bound], proven: SearchStep) -> Iterator[str]:
    """Note on a drop that is within its bound while its interval reaches beyond it."""
    figures = proven.figures
    if figures.lost is None or figures.gained is None:
        return
    high = stats.drop_interval(figures.lost, figures.gained, figures.items)[1]
    for bound in bounds:
        if bound.metric == DROP and high > bound.limit > 0:
            yield (
                f"{bound.text} holds for the estimate and is not certain: the 95 % interval reaches {high:.2f} points; for"
                f" certainty use --max {CERTAIN}={bound.limit:g}, with {stats.images_needed(bound.limit)} test images or more"
            )


def unreachable_line(path: SearchPath, result: WalkResult) -> str:
    """The end of a search without a file: the nearest file, and the nodes that limit it."""
    start = f"no scheme holds {' and '.join(path.bounds)} on {path.backend}"
    if result.used_up:
        start = f"no proof succeeded, and {path.parts.proof} items cannot show {' and '.join(path.bounds)} in a further one"
    if result.nearest is None:
        reasons = dict.fromkeys(step.figures.failed for step in path.steps)
        return f"{start}: no file could be made ({'; '.join(reasons)})"
    step = result.nearest
    best = f"{candidate_text(step.scheme, step.exclude)} comes closest: {', '.join(accuracy_parts(step.figures, 1.0))}"
    return f"{start}; {best} on the search part{limiting_text(result.limiting)}; no INT8 file was written"


def limiting_text(nodes: Sequence[NodeError]) -> str:
    """The nodes in INT8 with the largest errors; empty without any."""
    if not nodes:
        return ""
    listed = ", ".join(f"{node.name} ({node.sqnr_db:.1f} dB alone)" for node in nodes[:FEW])
    return f"; its largest errors are those of {listed}; at most half of the nodes may be in float"

"""The recommendation for each model as a card: figures, certainty, settings, program and chart. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..recommend.advice import answer, program, rest
from ..recommend.candidates import Candidate, number
from ..recommend.objective import COST, UNITS, Objective
from ..recommend.recommend import Decision, Difference
from ..stats.intervals import LEAST_ROUNDS, Interval
from ..store.record import Run
from ..table.columns import COLUMNS
from ..table.findings import Finding
from ..table.kind import CAUTION
from ..table.kinds import KINDS
from ..table.render import scale
from .data import Facts, Pick

FILE_LINES = ("MODEL = ", "FACTORY, WEIGHTS = ")  # of a program to paste (backends/snippets, backends/torch_eager)
ABSOLUTE_FOLDER = re.compile(r"""(["'])/(?:.*/)?""")
BARS = 6  # rows in the chart of a card
TITLES = {column.name: column.title or column.name for column in COLUMNS} | {COST: "cost"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the pick: its title, its value with the unit, and what qualifies the value."""

    title: str
    text: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row in the chart of a card. `share`: length of the bar in per cent of the longest one."""

    name: str
    text: str
    share: float
    picked: bool


@dataclass(frozen=True, kw_only=True)
class Card:
    """The recommendation for one `model`. Without a pick, `name` is empty and `problems` says why.

    `goal`: the objective and the limits. `comparison`: the pick against the runner-up. `cautions`: reasons for a low grade.
    `chart`: what the bars show. `rest`: limits that exclude better rows, and excluded rows.
    """

    model: str
    goal: str
    name: str = ""
    problems: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    comparison: str = ""
    cautions: tuple[str, ...] = ()
    settings: Facts
    program: tuple[str, ...] = ()
    chart: str = ""
    bars: tuple[Bar, ...] = ()
    more: int = 0
    rest: tuple[str, ...] = ()


def card(pick: Pick) -> Card:
    """The card of a model's pick, or of the reason that there is none."""
    decision = pick.decision
    if decision is None:
        return Card(model=pick.model, goal="", problems=(pick.undecided,), settings=[])
    objective, best = decision.request.objective, decision.pick
    goal = ", ".join([_goal(objective), *(condition.text for condition in decision.request.conditions)])
    if best is None:
        return Card(model=pick.model, goal=goal, problems=tuple(answer(decision)), settings=[], rest=tuple(rest(decision)))
    return Card(
        model=pick.model,
        goal=goal,
        name=best.name,
        figures=tuple(_figures(best)),
        comparison=_comparison(decision),
        cautions=tuple(_cautions(best, decision.notes)),
        settings=_settings(best, decision.runs),
        program=tuple(without_folders(program(best))),
        chart=f"{_title(best).capitalize()} of the {min(BARS, len(decision.ranked))} best rows",
        bars=tuple(_bars(decision.ranked[:BARS])),
        more=max(0, len(decision.ranked) - BARS),
        rest=tuple(rest(decision)),
    )


def _goal(objective: Objective) -> str:
    return f"{'highest' if objective.largest else 'lowest'} {TITLES[objective.column]}"


def _title(item: Candidate) -> str:
    return TITLES[item.objective.column_of(item.row.record.cell.device)]


def _figures(item: Candidate) -> Iterator[Figure]:
    """The objective's figure where it is neither p50 nor throughput, then the figures that every card has."""
    column = item.objective.column_of(item.row.record.cell.device)
    if column not in ("p50_ms", "throughput_per_s"):
        yield Figure(
            title=TITLES[column], text=_value(item), note=str(item.cells["slo"] or "") if item.objective.loaded else ""
        )
    yield from (*_p50(item), *_throughput(item), *_accuracy(item), *_grade(item))


def _p50(item: Candidate) -> Iterator[Figure]:
    p50, low, high = (number(item.cells[name]) for name in ("p50_ms", "p50_ci_low_ms", "p50_ci_high_ms"))
    if p50 is None:
        return
    factor, unit = scale([item.cells])
    interval = f"95 %: {low * factor:.4g} to {high * factor:.4g} {unit}" if low and high else _no_interval(item)
    batch = item.row.record.cell.batch
    yield Figure(title="p50 of a call", text=f"{p50 * factor:.4g} {unit}", note=_joined(f"batch {batch}", interval))


def _no_interval(item: Candidate) -> str:
    """The reason that p50 has no interval; empty for figures of another tool, which have no rounds."""
    rounds = number(item.cells["rounds"])
    return "" if rounds is None else f"no interval: {_count(rounds, 'round')}, {LEAST_ROUNDS} are needed"


def _throughput(item: Candidate) -> Iterator[Figure]:
    rate, lanes = (number(item.cells[name]) for name in ("throughput_per_s", "lanes"))
    if rate is not None:
        note = "" if lanes is None else f"items a second, {_count(lanes, 'call')} in flight"
        yield Figure(title="throughput", text=f"{_short(rate)} /s", note=note)


def _accuracy(item: Candidate) -> Iterator[Figure]:
    """The change of top-1 accuracy against FP32; without labels, the distance of the answers from FP32's."""
    names = ("top1_drop", "top1_drop_ci_low", "top1_drop_ci_high", "top1", "images", "sqnr_db")
    drop, low, high, top1, images, sqnr = (number(item.cells[name]) for name in names)
    if drop is not None:
        # a card shows the change of accuracy, and a drop is its negative: the ends change places
        interval = f"95 %: {_signed(-high)} to {_signed(-low)}" if low is not None and high is not None else ""
        level = "" if top1 is None or images is None else f"top-1 {top1:.2f} % on {images:.0f} images"
        yield Figure(title="top-1 change", text=f"{_signed(-drop)} points", note=_joined(interval, level))
    elif sqnr is not None:
        yield Figure(title="SQNR", text=f"{sqnr:.1f} dB", note="against FP32; no labels, so no accuracy")


def _signed(points: float) -> str:
    return "0.00" if round(points, 2) == 0 else f"{points:+.2f}"


def _grade(item: Candidate) -> Iterator[Figure]:
    grade, rounds = item.cells["grade"], number(item.cells["rounds"])
    if grade is not None:
        note = _joined("" if rounds is None else _count(rounds, "round"), "A is the best grade, C the lowest")
        yield Figure(title="grade", text=str(grade), note=note)


def _count(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}{'' if number == 1 else 's'}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _comparison(decision: Decision) -> str:
    """The pick against the runner-up, with the interval and how certain the difference is."""
    pick, other, difference = decision.pick, decision.runner_up, decision.difference
    if pick is None or other is None or difference is None:
        return "There is no runner-up: no other row is feasible."
    rival = f"the runner-up, {other.name} ({_value(other)})"
    size = f"{abs(100 * (difference.ratio - 1)):.3g} % {'higher' if difference.ratio >= 1 else 'lower'}"
    if pick.objective.largest:
        return f"The {_title(pick)} is {size} than that of {rival}{_certainty(difference)}"
    return f"The {_title(pick)} of {rival}, is {size}{_certainty(difference)}"


def _certainty(difference: Difference) -> str:
    if difference.interval is None:
        return f" in this run, but the difference is not certain ({difference.basis_text})."
    range_ = f" (95 %: {_percents(difference.interval)}; {difference.basis_text})"
    return f"{range_}." if difference.shown else f"{range_}, so the difference is not certain."


def _percents(interval: Interval) -> str:
    return f"{100 * (interval.low - 1):.3g} to {100 * (interval.high - 1):.3g} %"


def _value(item: Candidate) -> str:
    """The objective's figure with its unit."""
    column = item.objective.column_of(item.row.record.cell.device)
    return f"{_short(item.value or 0)} {UNITS[column]}".strip()


def _short(value: float) -> str:
    """Four significant digits, and never a power of ten for a large number."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _cautions(item: Candidate, notes: Sequence[Finding]) -> list[str]:
    """Cautions about the pick."""
    # runs that ended early are at the top of the page already
    own = [finding for finding in item.row.findings if KINDS[finding.kind].severity == CAUTION]
    return [finding.sentence for finding in (*own, *(note for note in notes if note.kind != "half_written"))]


def _settings(item: Candidate, runs: Sequence[Run]) -> Facts:
    """Settings with which the objective's figure was measured, the runtime's own words first; the run, if one of several."""
    record = item.row.record
    facts = [
        ("runtime", item.deployment.deploy),
        ("batch", record.cell.batch),
        ("calls in flight", item.lanes),
        ("threads a call", item.threads),
        *record.cell.settings.options,
        ("file", record.opened and record.opened.file),
        ("run", item.run.folder.name if len(runs) > 1 else ""),
    ]
    return [(title, str(value)) for title, value in facts if value]


def without_folders(lines: Sequence[str]) -> list[str]:
    """Replace the absolute paths of a program's files by their names: a report holds no folder of the machine."""
    # only in these lines: the name of an ONNX input may begin with a slash too
    return [ABSOLUTE_FOLDER.sub(r"\1", line) if line.startswith(FILE_LINES) else line for line in lines]


def _bars(items: Sequence[Candidate]) -> list[Bar]:
    """The rows of the chart, the pick first. Rows on a CPU and on a GPU may have figures in different columns."""
    longest = max((item.value or 0 for item in items), default=0) or 1
    return [
        Bar(name=item.name, text=_value(item), share=round(100 * (item.value or 0) / longest, 1), picked=place == 0)
        for place, item in enumerate(items)
    ]

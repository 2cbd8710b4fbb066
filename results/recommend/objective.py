"""Objectives of a recommendation: figures of a row, and the cost of a million items at a price. Pure.

Cost is not a column of a run: the price, in currency an hour, comes from the user of `recommend`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...errors import BadInput
from ...spec import nearest
from ..table.column import ARRIVALS, MORE, ONE_CALL, TIME, Column
from ..table.columns import COLUMNS
from ..table.table import RowValues, target_of

COST = "cost_per_million"
Prices = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A figure of a row that a recommendation maximizes (`largest`) or minimizes.

    `column`: the column of the figure; `on_gpu` replaces it for a row on a GPU.
    `metric`: a name in ROUND_METRICS with one value a round, for the interval; empty for a figure that is measured once.
    `single`: the figure is of one call in flight, and the lanes of the best throughput do not apply to it.
    `loaded`: the figure is of items that arrive at a rate, for which other lanes may be best.
    """

    name: str
    column: str
    unit: str
    largest: bool = False
    metric: str = ""
    single: bool = False
    loaded: bool = False
    on_gpu: str = ""

    def column_of(self, device: str) -> str:
        """Column of the figure for a row on `device`."""
        return self.on_gpu if self.on_gpu and device != "cpu" else self.column


def _is_twin(column: Column) -> bool:
    """True for a column of a GPU whose objective another column has for a CPU."""
    return column.gpu and any(other.objective == column.objective and not other.gpu for other in COLUMNS)


def _objective(column: Column) -> Objective:
    twin = [other.name for other in COLUMNS if other.objective == column.objective and other.gpu and not column.gpu]
    return Objective(
        name=column.objective,
        column=column.name,
        unit=column.unit,
        largest=column.better == MORE,
        metric=column.metric if column.compared == TIME else "",
        single=column.in_flight == ONE_CALL,
        loaded=column.in_flight == ARRIVALS,
        on_gpu="".join(twin),
    )


COST_OBJECTIVE = Objective(name="cost", column=COST, unit="a million", metric="throughput")
OBJECTIVES: Mapping[str, Objective] = {
    **{column.objective: _objective(column) for column in COLUMNS if column.objective and not _is_twin(column)},
    "cost": COST_OBJECTIVE,
}
UNITS = {column.name: column.unit for column in COLUMNS} | {COST: COST_OBJECTIVE.unit}


def parse_prices(pairs: Sequence[tuple[str, str]], rows: Sequence[RowValues]) -> Prices:
    """Parse prices an hour, by backend[@environment] of `rows`, by the complete name of a host, or by a kind of several nodes.

    `BadInput` for an invalid amount, a name that no row has, and a text that is part of several hosts' names.
    """
    targets = {name for cells in rows for name in (str(cells["backend"]), str(target_of(cells)))}
    hosts = {str(cells["host"]) for cells in rows}
    return {_priced(name, targets, hosts): _amount(name, text) for name, text in pairs}


def _priced(name: str, targets: Collection[str], hosts: Collection[str]) -> str:
    # a complete name wins, even if it is part of another host's name
    if name in targets or name in hosts or (name and name in map(_kind, hosts)):
        return name
    matches = [host for host in sorted(hosts) if name and name.lower() in host.lower()]
    if len(matches) > 1:
        raise BadInput(f"--price {name!r} matches {len(matches)} hosts: {', '.join(matches)}", "give a longer part of the name")
    if not matches:
        raise BadInput(f"--price {name!r} is not a backend or host of these runs", nearest(name, {*targets, *hosts}))
    return matches[0]


def _kind(host: str) -> str:
    """Kind of a node that is one of several: `cpu-a` of `cpu-a#2`. Empty for any other host."""
    match = re.fullmatch(r"(.+)#[0-9]+", host)
    return match[1] if match else ""


def _amount(name: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount) or amount <= 0:
        raise BadInput(f"{text!r} is not a price for {name}", f"give an amount an hour above 0, such as {name}=2.5")
    return amount


def price_of(cells: RowValues, prices: Prices) -> float | None:
    """Price of a row an hour: that of its environment, else of its backend, host or kind of host; None without a price."""
    # the most specific price first
    names = (str(target_of(cells)), str(cells["backend"]), str(cells["host"]), _kind(str(cells["host"])))
    return next((prices[name] for name in names if name in prices), None)


def cost_of(cells: RowValues, prices: Prices) -> float | None:
    """Cost of a million items: the price an hour over the items an hour, times a million; None without a price or a rate."""
    price, rate = price_of(cells, prices), cells["throughput_per_s"]
    return None if price is None or not isinstance(rate, float) else price / (rate * 3600) * 1e6

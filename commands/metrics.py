"""Options on metrics, time and hosts that several commands share. click and budgets only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..budgets import BUDGETS
from ..spec import STOPPING_METRICS
from .options import OBJECTIVE_NAMES, Choice, Function, KeyValue, group, limit_options


def metric_option(names: Sequence[str] = STOPPING_METRICS) -> Callable[[Function], Function]:
    """`--metric`: one of `names`; without names, every column with figures."""
    kind: dict[str, Any] = {"type": Choice(names)} if names else {"metavar": "COLUMN"}
    return click.option(
        "--metric",
        **kind,
        default="p50",
        show_default=True,
        help="Decide by this metric. infer: its confidence interval decides when a cell is done. history: follow it, any column"
        " with figures. bisect: compare the versions by it.",
    )


budget_option = click.option(
    "--budget",
    type=Choice(list(BUDGETS)),
    default="normal",
    show_default=True,
    help="Choose how long to measure. quick: a first look without intervals. normal: until the interval is within 2 %, or"
    " 4.5 s a cell. thorough: within 1.5 %, or 45 s a cell.",
)
roof_option = click.option(
    "--roof",
    is_flag=True,
    help="Also measure what this machine attains, in the same rounds: matrix products, memory, and the cost of a node. Each"
    " row, and each layer of a profile, gets its operations, its share of that roof, and what bounds it.",
)
control_option = click.option(
    "--control",
    metavar="BACKEND[@ENV]",
    help="Name a backend that did not change; its ratio is divided out of all timings.",
)


wanted_options = group(
    limit_options,
    click.option(
        "--objective",
        type=Choice(OBJECTIVE_NAMES),
        default="throughput",
        show_default=True,
        help="Rank the rows by this metric.",
    ),
    click.option(
        "--price",
        "prices",
        type=KeyValue(),
        multiple=True,
        metavar="BACKEND|HOST=AMOUNT",
        help="Set the price of one hour, in any currency, of BACKEND[@ENV], or of a host by a part of its name, such as the"
        " kind of a node.",
    ),
)


def host_option(*, several: bool = False) -> Callable[[Function], Function]:
    """`--host`: the host of imported rows, or `several` among which recommend chooses."""
    many: dict[str, Any] = {"multiple": True} if several else {}
    return click.option(
        "--host",
        "hosts" if several else "host",
        **many,
        metavar="NAME",
        help="Name the machine as the table of your own runs does. recommend takes a part of the name, and chooses among the"
        " rows of that machine.",
    )

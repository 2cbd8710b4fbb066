"""`--on`: the work of `infer`, `check` and `train` on the nodes of a cluster. click only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput
from ..spec import Sweep
from .options import Names, Pairs, group
from .runs import RunRequest

if TYPE_CHECKING:
    from ..results.table.table import Table
    from ..results.table.training import Result
    from ..results.table.values import Measurement
    from ..runners.cluster.cluster import TourRequest
    from ..runners.infer import Surroundings
    from ..runners.pool.progress import Progress
    from ..runners.prepare.train import Training

CLUSTER_OPTIONS = ("on", "kinds", "every_node")

cluster_options = group(
    click.option(
        "--on",
        metavar="ray[://HOST:PORT]",
        help="Run on one node of each kind of a Ray cluster, and print one table. ray: the cluster that this machine is in.",
    ),
    click.option(
        "--node",
        "kinds",
        type=Names(),
        metavar="KIND,...",
        default=(),
        help="Run on these kinds of nodes: a label kind=NAME, else the type and number of the accelerators or CPUs. A part of"
        " the name is enough. Default: every kind.",
    ),
    click.option("--every-node", is_flag=True, help="Run on every node of each kind."),
)


def on_cluster(params: dict[str, Any]) -> str | None:
    """Address of --on, if the user gave one. `BadInput` for --node or --every-node without it, and for a wrong address."""
    if params["on"] is None:
        if params["kinds"] or params["every_node"]:
            raise BadInput("--node and --every-node need --on", "add --on ray")
        return None
    from ..runners.cluster.ray_cluster import address_of

    return address_of(params["on"])


def toured(
    request: RunRequest, params: Mapping[str, Any], task: str, most: Pairs = (), least: Pairs = (), explain: bool = False
) -> RunRequest:
    """`request` as a tour of a cluster, whose result is the table of all nodes. `most`, `least`: limits of a check."""
    from ..runners.cluster.cluster import TourRequest

    sweep = request.sweep
    if sweep.keep_engines:
        raise BadInput("--keep-engines keeps engines on one machine", "leave it out with --on")
    route = TourRequest(
        task=task, on=params["on"], kinds=params["kinds"], every=params["every_node"], most=most, least=least, explain=explain
    )
    address = str(on_cluster(dict(params)))
    result = partial(_result, request.out, request.baseline, sweep, route)
    return replace(request, work=partial(_tour, route, address), result=result)


def trained_on_cluster(training: Training, params: Mapping[str, Any], progress: Progress) -> tuple[list[Result], Table, bool]:
    """Rows of `training` on the nodes of a cluster, their table, and True if the user interrupted it."""
    from ..results.table import training as tables
    from ..runners.cluster.cluster import TRAIN, TourRequest
    from ..runners.cluster.ray_cluster import RayCluster
    from ..runners.cluster.training import check, train_on_nodes
    from ..runners.infer import Surroundings

    check(training)
    address = str(on_cluster(dict(params)))
    progress.step(f"connecting to the cluster ({address})", 0, 1)
    cluster = RayCluster.connect(address)
    route = TourRequest(task=TRAIN, on=params["on"], kinds=params["kinds"], every=params["every_node"])
    try:
        records, interrupted = train_on_nodes(route, training, Surroundings(out=Path(), progress=progress), cluster)
    finally:
        cluster.close()
    results = records.results()
    return results, tables.build(results, training.head(), records.hosts()), interrupted


def _tour(route: TourRequest, address: str, sweep: Sweep, around: Surroundings) -> None:
    from ..runners.cluster.ray_cluster import RayCluster
    from ..runners.cluster.tour import tour
    from ..untrusted import understood

    around.progress.step(f"connecting to the cluster ({address})", 0, 1)
    cluster = RayCluster.connect(address)
    try:
        with understood([around.out]):
            tour(route, sweep, around, cluster)
    finally:
        cluster.close()


def _result(folder: Path, baseline: str | None, sweep: Sweep, route: TourRequest) -> Measurement:
    from ..results.table import conditions, values
    from ..untrusted import understood

    with understood([folder]):
        if route.task == "infer":
            return values.measured_on_nodes(folder, baseline, sweep)
        limits = [*conditions.parse(route.most, most=True), *conditions.parse(route.least, most=False)]
        return values.checked_on_nodes(folder, limits, sweep)

"""A Ray cluster. ray, inside functions.

Each visit is an actor that reserves its whole node and is never restarted. Its run is a process of its own. A task that gives
its results bit by bit would do as well, but a client of `ray://` cannot have one.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TypeVar

from ... import __version__
from ...errors import BadInput, BenchError, NodeLost, installed, one_line
from . import probe
from .cluster import News, NodeOrder, Parcel, Visit
from .nodes import Node
from .visitor import Visitor

INSTALL = "pip install 'onnxbench[ray]'"
PORT, SCHEME = 10001, "ray://"
CONNECT_S, PROBE_S, END_S, POLL_S = 5.0, 60.0, 15.0, 1.0
ACCELERATOR = "accelerator_type:"  # prefix of a resource that a node with such an accelerator has
LOST = ("ActorDiedError", "ActorUnavailableError", "NodeDiedError", "RayActorError", "LocalRayletDiedError")
RESUME = "--resume continues it"
VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")  # of the cluster and of this program, in Ray's error
START = "start one with: ray start --head"

Answer = TypeVar("Answer")


def address_of(text: str) -> str:
    """Address for Ray of the user's `text`: `ray` or `auto` (a cluster that this machine is in), or `ray://HOST[:PORT]`.

    `BadInput` for any other text.
    """
    if text in ("ray", "auto"):
        return "auto"
    match = re.fullmatch(r"ray://([\w.-]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?/?", text)
    port = int(match[2] or PORT) if match else 0
    if not match or not 0 < port < 1 << 16:
        raise BadInput(f"--on {text!r} is not an address", "write --on ray, or --on ray://HOST:10001")
    return f"{SCHEME}{match[1]}:{port}"


class RayCluster:
    """Nodes of a Ray cluster. `connect` makes one."""

    def __init__(self, ray: Any, quiet: ExitStack, *, is_client: bool) -> None:
        self._ray, self._quiet, self._facts, self._parcel = ray, quiet, dict[str, Node](), None
        self._is_client = is_client

    @classmethod
    def connect(cls, address: str) -> RayCluster:
        """Connect to the cluster at `address`. `Unavailable` without Ray, `BadInput` where no cluster answers."""
        with installed("ray", INSTALL):
            import ray
        if address.startswith(SCHEME):
            _check_port(address)
        with ExitStack() as quiet:
            # Ray prints the end of the log of a node that is lost on stdout, which is for the result.
            quiet.enter_context(redirect_stdout(quiet.enter_context(Path(os.devnull).open("w"))))
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
            except Exception as error:  # Ray raises nearly any class: ConnectionError, RuntimeError, its own
                raise _refused(address, error) from error
            quiet.callback(ray.shutdown)
            ray.cloudpickle.register_pickle_by_value(probe)  # a node may lack this package
            return cls(ray, quiet.pop_all(), is_client=address.startswith(SCHEME))

    def nodes(self) -> Sequence[Node]:
        """Nodes with CPUs. New ones are probed, all at the same time. Raises `NodeLost` where the cluster is gone."""
        listed = _asked(self._ray.nodes)
        alive = [item for item in listed if item["Alive"] and item["Resources"].get("CPU")]
        new = [item for item in alive if item["NodeID"] not in self._facts]
        probes = {item["NodeID"]: self._probe(item["NodeID"]) for item in new}
        if probes:
            self._ray.wait(list(probes.values()), num_returns=len(probes), timeout=PROBE_S)
        for item in new:
            self._facts[item["NodeID"]] = self._node(item, probes[item["NodeID"]])
        return [self._facts[item["NodeID"]] for item in alive]

    def busy(self) -> Collection[str]:
        """Ids of the nodes of which other work has CPUs or GPUs. Empty where this Ray does not tell."""
        try:
            available = self._available()
        except Exception:  # a private function of Ray, which may change; it only decides between equal nodes
            return ()
        nodes = ((node, available[node.id]) for node in self._facts.values() if node.id in available)
        return {node.id for node, free in nodes if free.get("CPU", 0) < node.cpus or free.get("GPU", 0) < node.gpus}

    def _available(self) -> Mapping[str, Mapping[str, float]]:
        """Free resources of each node by its id; empty for a client, which has no state of the cluster."""
        if self._is_client:
            return {}
        from ray._private.state import available_resources_per_node  # Ray has no public function for it

        available: Mapping[str, Mapping[str, float]] = available_resources_per_node()
        return available

    def _probe(self, node_id: str) -> Any:
        task = self._ray.remote(probe.node_facts)
        return task.options(num_cpus=0, max_retries=0, scheduling_strategy=self._on(node_id)).remote()

    def _on(self, node_id: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id, soft=False)

    def _node(self, item: Mapping[str, Any], answer: Any) -> Node:
        facts, unfit = self._answer(answer)
        resources = item["Resources"]
        types = [name.removeprefix(ACCELERATOR) for name in resources if name.startswith(ACCELERATOR)]
        return Node(
            id=item["NodeID"],
            address=str(item["NodeManagerAddress"]),
            cpus=resources["CPU"],
            gpus=resources.get("GPU", 0),
            accelerator=next(iter(types), ""),
            labels=dict(item.get("Labels") or {}),
            cpu=facts.get("cpu", ""),
            machine=facts.get("machine", ""),
            unfit=unfit or unlike(facts),
        )

    def _answer(self, answer: Any) -> tuple[Mapping[str, str], str]:
        """Facts of a probe, and the reason where there are none."""
        if not self._ray.wait([answer], timeout=0)[0]:
            return {}, f"the node did not answer within {PROBE_S:g} s"
        try:
            return _asked(lambda: self._ray.get(answer)), ""
        except NodeLost as error:
            return {}, str(error)

    def load(self, parcel: Parcel) -> None:
        """Put the files into the object store, from which each node takes them once."""
        self._parcel = _asked(lambda: self._ray.put(parcel))

    def start(self, node: Node, order: NodeOrder) -> Visit:
        """Ask for an actor on `node` with all of its CPUs and GPUs."""
        options = {"num_cpus": node.cpus, "num_gpus": node.gpus, "max_restarts": 0, "max_task_retries": 0}
        actor = self._ray.remote(Visitor).options(**options, scheduling_strategy=self._on(node.id)).remote()
        return RayVisit(self._ray, actor, actor.arrive.remote(), actor.begin.remote(order, self._parcel))

    def wait(self, visits: Sequence[Visit], limit_s: float) -> None:
        """Wait for the next answer of an actor."""
        answers = [visit.answer for visit in visits if isinstance(visit, RayVisit)]
        with suppress(Exception):  # the visit's own news have the error
            self._ray.wait(answers, num_returns=1, timeout=limit_s)

    def close(self) -> None:
        """Disconnect. Ray ends what this program started."""
        self._quiet.close()


class RayVisit:
    """A visit by an actor. `answer`: reference of its next answer. `begun`: that of the answer after the first."""

    def __init__(self, ray: Any, actor: Any, answer: Any, begun: Any) -> None:
        self._ray, self._actor, self.answer, self._begun, self._arrived = ray, actor, answer, begun, False

    def news(self) -> Sequence[News]:
        """The next answer, if it is there."""
        if not _asked(lambda: self._ray.wait([self.answer], timeout=0)[0]):
            return ()
        news: News = _asked(lambda: self._ray.get(self.answer))
        if not self._arrived:
            self._arrived, self.answer = True, self._begun
        elif news.end is None:
            self.answer = self._actor.poll.remote(POLL_S)
        return (news,)

    def stop(self) -> None:
        """Send the request after the current answer."""
        with suppress(Exception):
            self._actor.stop.remote()

    def end(self) -> None:
        """Let the actor end its processes, then end the actor. The kernel ends the processes of an actor that is killed."""
        if self._arrived:
            with suppress(Exception):
                self._ray.get(self._actor.close.remote(), timeout=END_S)
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)


def unlike(facts: Mapping[str, str]) -> str:
    """Reason why a node with these facts cannot measure for this machine; empty if it can."""
    import platform

    here = platform.python_version()
    if facts["missing"]:
        return f"onnxbench cannot be imported there ({one_line(facts['missing'], 120)}); {_install_there()}"
    if facts["tool"] != __version__:
        return f"the node has onnxbench {facts['tool']}, and this machine {__version__}; {_install_there()}"
    if _minor(facts["python"]) != _minor(here):
        return f"the node has Python {facts['python']}, and this machine {here}; use one minor version on all nodes"
    return ""


def _install_there() -> str:
    return f"run pip install 'onnxbench[ray]=={__version__}' on the node"


def _refused(address: str, error: Exception) -> BadInput:
    """An error of a connection. Ray refuses a program with another version of Ray, or another patch version of Python."""
    where = "on this machine" if address == "auto" else f"at {address}"
    versions = VERSIONS.findall(str(error))
    if len(versions) != 2:
        return BadInput(f"no Ray cluster can be used {where} ({_first_line(error)})", START)
    there, here = (f"Ray {ray} and Python {python}" for ray, python in versions)
    return BadInput(f"the Ray cluster {where} has {there}, and this program has {here}", "use the cluster's versions here")


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _check_port(address: str) -> None:
    """Raise `BadInput` where nothing listens at `address`. Ray's own client would wait for half a minute."""
    host, _, port = address.removeprefix(SCHEME).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        reason = one_line(error.strerror or error)
        raise BadInput(f"no Ray cluster answers at {address} ({reason})", f"check the address, or {START}") from error


def _asked(ask: Callable[[], Answer]) -> Answer:
    """Answer of Ray. `NodeLost` for the exceptions of Ray."""
    try:
        return ask()
    except BenchError:
        raise
    except Exception as error:  # ray.exceptions has no class for a client that lost its connection
        kind = type(error).__name__
        if kind in LOST:
            raise NodeLost(f"the node, or the connection to it, was lost during its run (Ray: {kind})", RESUME) from error
        raise NodeLost(f"the work on the node ended ({kind}: {_first_line(error)})", "see Ray's logs on the node") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [str(error)]
    # The reason of a server's error is the last line of its traceback.
    return one_line(f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") else lines[0], 160)

"""A local Ray cluster in a process of its own. A line of stdin adds or kills a node; the end of stdin ends the cluster.

add KIND [PYTHONPATH]    a node with two CPUs, the label kind=KIND, and that variable
kill KIND                the processes of its node that was added last are killed
hold KIND                other work has a further node of the kind for itself, in the order of their ids
free KIND                the work that began last ends
"""

import socket
import subprocess
import sys
from collections import defaultdict

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BYTES = 100_000_000  # of each node's object store


class Work:
    """Work that has a node until the program that began it ends."""

    def begun(self):
        return True


def hold(address, node_id):
    """Work on a node until stdin ends. Ray prints what happens to nodes, so it has a process of its own."""
    ray.init(address, log_to_driver=False)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(Work).options(num_cpus=2, scheduling_strategy=there).remote()
    ray.get(actor.begun.remote())
    print("held", flush=True)
    sys.stdin.read()


def held(address, node_id):
    command = [sys.executable, __file__, address, node_id]
    work = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "held\n" in work.stdout
    return work


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free now, and for the server of clients in a moment
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "ray_client_server_port": port})
    nodes, works = defaultdict(list), []
    print(cluster.address, port, flush=True)
    for line in sys.stdin:
        verb, kind, *more = line.split()
        if verb == "kill":
            cluster.remove_node(nodes[kind].pop(), allow_graceful=False)
        elif verb == "hold":
            works.append(held(cluster.address, sorted(node.node_id for node in nodes[kind])[len(works)]))
        elif verb == "free":
            works.pop().communicate()
        else:
            variables = {"PYTHONPATH": more[0]} if more else {}
            facts = {"num_cpus": 2, "labels": {"kind": kind}, "object_store_memory": BYTES, "env_vars": variables}
            nodes[kind].append(cluster.add_node(**facts))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    (hold if sys.argv[1:] else main)(*sys.argv[1:])

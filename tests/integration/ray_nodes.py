"""A local Ray cluster in a process of its own. A line of stdin adds or kills a node; the end of stdin ends the cluster.

add KIND [PYTHONPATH]    a node with two CPUs, the label kind=KIND, and that variable
kill KIND                the processes of its node that was added last are killed
hold KIND                other work has a further node of the kind for itself, in the order of their ids
free KIND                the work that began last ends
"""

import socket
import sys
from collections import defaultdict

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BYTES = 100_000_000  # of each node's object store


class Work:
    """Work that has a node until it is killed."""

    def begun(self):
        return True


def held(node_id):
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    actor = ray.remote(Work).options(num_cpus=2, scheduling_strategy=there).remote()
    ray.get(actor.begun.remote())
    return actor


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
            ray.init(cluster.address, ignore_reinit_error=True, log_to_driver=False)
            works.append(held(sorted(node.node_id for node in nodes[kind])[len(works)]))
        elif verb == "free":
            ray.kill(works.pop())
            if not works:
                ray.shutdown()  # else Ray prints the end of a killed node here
        else:
            variables = {"PYTHONPATH": more[0]} if more else {}
            facts = {"num_cpus": 2, "labels": {"kind": kind}, "object_store_memory": BYTES, "env_vars": variables}
            nodes[kind].append(cluster.add_node(**facts))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()

"""A local Ray cluster in a process of its own. A line of stdin adds or kills a node; the end of stdin ends the cluster.

add KIND [PYTHONPATH]    a node with two CPUs, the label kind=KIND, and that variable
kill KIND                the node's processes are killed
"""

import socket
import sys

from ray.cluster_utils import Cluster

BYTES = 100_000_000  # of each node's object store


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free now, and for the server of clients in a moment
    cluster, nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "ray_client_server_port": port}), {}
    print(cluster.address, port, flush=True)
    for line in sys.stdin:
        verb, kind, *more = line.split()
        if verb == "kill":
            cluster.remove_node(nodes.pop(kind), allow_graceful=False)
        else:
            variables = {"PYTHONPATH": more[0]} if more else {}
            nodes[kind] = cluster.add_node(num_cpus=2, labels={"kind": kind}, object_store_memory=BYTES, env_vars=variables)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()

"""nodes.json: the runs of one command on several nodes, each in a folder of its own beside it. Standard library only.

    nodes.json      schema version, the requested sweep, and the nodes
    NODE/           run folder of one node, as a run on that machine alone would write it

The folder as a whole stands for its runs: `bench show FOLDER` prints them in one table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput, one_line
from ...files import replace_file
from ...spec import Sweep, from_wire, to_wire
from ...untrusted import WRONG, parse, read_bytes
from .head import RUN

NODES, NODES_SCHEMA = "nodes.json", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeEntry:
    """One node of the list. `name`: its name in tables. `kind`: its kind. `id`: the cluster's own name for it.

    `folder`: its run folder, beside nodes.json.
    """

    name: str
    kind: str
    id: str
    folder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeList:
    """Content of nodes.json. `task`: the command, `infer` or `check`. `every`: all nodes of a kind were measured.

    `kinds`: kinds that the user named; empty for every kind.
    """

    schema: int = NODES_SCHEMA
    task: str
    sweep: Sweep
    kinds: tuple[str, ...] = ()
    every: bool = False
    nodes: tuple[NodeEntry, ...] = ()


def is_of_nodes(folder: Path) -> bool:
    """True for a folder with the runs of several nodes. A path that the system refuses is no such folder."""
    try:
        return (folder / NODES).is_file() and not (folder / RUN).exists()
    except OSError:  # the reader of the folder says why
        return False


def read_nodes(folder: Path) -> NodeList:
    """Read nodes.json. `BadInput` for a file that is missing, damaged or of a newer schema, or that names another folder."""
    try:
        nodes = from_wire(NodeList, parse(read_bytes(folder / NODES)))
    except (OSError, *WRONG) as error:
        raise BadInput(f"{folder} has no runs of nodes ({one_line(error)})", "give a folder of bench infer --on") from error
    if nodes.schema > NODES_SCHEMA:
        raise BadInput(f"{folder} has schema {nodes.schema}; this version reads up to {NODES_SCHEMA}", "upgrade onnxbench")
    for entry in nodes.nodes:
        if Path(entry.folder).name != entry.folder or entry.folder in ("", ".", ".."):
            raise BadInput(f"{folder / NODES} names a folder outside its own", "measure it again")
    return nodes


def write_nodes(folder: Path, nodes: NodeList) -> None:
    """Replace nodes.json as a whole. Raises OSError."""
    text = json.dumps(to_wire(nodes), indent=1)
    replace_file(folder / NODES, lambda scratch: scratch.write_text(text))


def run_folders(folders: Iterable[Path]) -> list[Path]:
    """`folders`, where each folder of several nodes stands for the run folders of its nodes.

    `BadInput` for one without any run.
    """
    return [own for folder in folders for own in (_own_folders(folder) if is_of_nodes(folder) else [folder])]


def _own_folders(folder: Path) -> list[Path]:
    own = [folder / entry.folder for entry in read_nodes(folder).nodes if (folder / entry.folder / RUN).exists()]
    if not own:
        raise BadInput(f"no node of {folder} has a run yet", f"continue it: bench infer --on ray --resume --out {folder}")
    return own

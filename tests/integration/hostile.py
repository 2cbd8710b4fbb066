"""Hostile files, from a seed each: mutations of good ones, and shapes that somebody who means harm would choose.

A seed always gives the same file, so a number in a failure is enough to see it again.
"""

import copy
import gzip
import io
import json
import os
import pickle
import random
import shutil
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

SEEDS = Path(__file__).parents[1] / "seeds"
ESCAPE = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e\r\n| [bold]a[/bold] <script>alert(1)</script> `x` [link](http://x)"
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", "a", ESCAPE, "\x00", "../" * 12 + "etc/passwd", "/dev/zero", "x" * 100_000, "\ud800", "1e999", "nan"),
    *([], {}, [None], [[]], {"": None}, [0] * 3, ["a", 1], {"a": {"b": {"c": []}}}, [{}], "samples", "block", "failed"),
)
OWNED = Path("owned")  # what a pickle would make, in the current folder


class Owns:
    """A pickle that makes a folder when it is loaded."""

    def __reduce__(self):
        return (os.mkdir, (str(OWNED),))


def bytes_of(rng, data):
    """`data` with bytes flipped, cut, repeated, or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 40))))
            case 3:
                data[at:at] = data[at : at + rng.choice((1, 8, 100))]
            case _:
                del data[at : at + rng.choice((1, 8, 100))]
    return bytes(data)


def places_in(data, path=()):
    """The path of every value in JSON data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places_in(value, (*path, name))


def structure_of(rng, data):
    """JSON data with some of its values replaced, dropped, moved or put deeper."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        found = list(places_in(data))
        if not found:
            return data
        *above, last = rng.choice(found)
        holder = data
        for name in above:
            holder = holder[name]
        match rng.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[last]
            case 1:
                holder[last] = [holder[last]]
            case 2 if isinstance(holder[last], list) and holder[last]:
                holder[last] = [copy.deepcopy(item) for item in holder[last] * rng.choice((0, 2, 50))]
            case 3 if isinstance(holder[last], int | float):
                holder[last] = -holder[last] if rng.random() < 0.3 else str(holder[last])
            case 4 if isinstance(holder, dict):
                holder[rng.choice(("", "a", ESCAPE))] = copy.deepcopy(rng.choice(VALUES))
            case _:
                holder[last] = copy.deepcopy(rng.choice(VALUES))
    return data


def text_of(data):
    """JSON as a hostile program writes it: any number, any string."""
    return json.dumps(data).encode()


def deep(rng):
    """JSON that is nested deeper than a reader's stack."""
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    count = rng.choice((500, 5_000, 200_000))
    return (opening * count + "1" + closing * count * rng.randrange(2)).encode()


def npy_header(shape, descr="<i8"):
    """An .npy file that says it has this shape, and has next to nothing."""
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": descr, "fortran_order": False, "shape": shape})
    return sink.getvalue() + b"\0" * 64


def archive(members):
    """A .zip file of `members`, by name."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return sink.getvalue()


def pickled():
    """An .npz file's array of objects, which runs code where it is unpickled."""
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return sink.getvalue() + pickle.dumps(Owns())


@cache
def bomb(names, pieces=512):
    """The archive of arrays of 1 MB times `pieces`, which is small as long as it is packed. Made once: it takes a second."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in names:
            with file.open(f"{name}.npy", "w") as member:
                member.write(npy_header((pieces << 17,)))
                for _ in range(pieces):
                    member.write(bytes(1 << 20))
    return sink.getvalue()


@cache
def gzip_bomb(pieces=512):
    """What may follow in a .gz file: 1 MB of zeros times `pieces`."""
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=1) as file:
        for _ in range(pieces):
            file.write(bytes(1 << 20))
    return sink.getvalue()


def npz(rng, data, names):
    """A hostile .npz file in place of `data`, which has arrays with these names."""
    match rng.randrange(8):
        case 0:
            return archive({f"{name}.npy": pickled() for name in names})
        case 1:
            return pickle.dumps(Owns())
        case 2:
            return bomb(names)
        case 3:
            shape = rng.choice(((1 << 40,), (-1,), (1 << 62, 1 << 62), (1 << 33,), (0,), (2**31, 0)))
            return archive({f"{name}.npy": npy_header(shape) for name in names})
        case 4:
            kinds = (np.float16([np.nan]), np.array(["a"]), np.zeros((2, 2)), np.array(3), np.array([], np.int64), -np.ones(9))
            sink = io.BytesIO()
            np.savez(sink, **{name: rng.choice(kinds) for name in names})
            return sink.getvalue()
        case 5:
            return archive({f"../{name}.npy": npy_header((1,)) for name in names})
        case _:
            return bytes_of(rng, data)


def artifacts(seed, folder):
    """A damaged or hostile manifest in `folder`, with a file beside it."""
    rng = random.Random(seed)
    shutil.copytree(SEEDS.parent / "data/v0_1/artifacts", folder)
    path = folder / "manifest.json"
    match rng.randrange(8):
        case 0:
            path.write_bytes(bytes_of(rng, path.read_bytes()))
        case 1:
            path.write_bytes(deep(rng))
        case 2:
            _odd_file(rng, path)
        case _:
            path.write_bytes(text_of(structure_of(rng, json.loads(path.read_text()))))
    return folder


def run_folder(seed, folder, sources=("run", "check")):
    """A damaged or hostile copy of a run folder at `folder`."""
    rng = random.Random(seed)
    shutil.copytree(SEEDS / rng.choice((sources[0], *sources)), folder)
    head, journal = folder / "run.json", folder / "journal.jsonl"
    match rng.randrange(10):
        case 0:
            file = rng.choice((head, journal))
            file.write_bytes(bytes_of(rng, file.read_bytes()))
        case 1 | 2 | 3:
            head.write_bytes(text_of(structure_of(rng, json.loads(head.read_text()))))
        case 4 | 5 | 6:
            journal.write_bytes(_events(rng, journal.read_text().splitlines()))
        case 7:
            _sample(rng, folder)
        case 8:
            rng.choice((head, journal)).write_bytes(deep(rng))
        case _:
            _odd_file(rng, rng.choice((head, journal, *sorted((folder / "samples").glob("*")))))
    return folder


def _events(rng, lines):
    number = rng.randrange(len(lines))
    event = structure_of(rng, json.loads(lines[number]))
    if rng.random() < 0.1:
        event = copy.deepcopy(rng.choice(VALUES))
    changed = text_of(event)
    if "p50_ns" in str(event) and rng.random() < 0.3:
        changed = changed.replace(b'"p50_ns"', b'"other"')  # so that the samples are read
    found = [line.encode() for line in lines]
    found[number : number + rng.randrange(2)] = [changed]
    if rng.random() < 0.1:
        rng.shuffle(found)
    return b"\n".join(found) + b"\n"


def _sample(rng, folder):
    """Samples that are hostile, in a run that has no medians beside them."""
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"p50_ns"', '"other"'))
    files = sorted((folder / "samples").glob("*"))
    for file in rng.sample(files, min(len(files), 1)):
        file.write_bytes(npz(rng, file.read_bytes(), ("latency", "end_to_end", "device")))


def _odd_file(rng, path):
    """Something else than a file where one should be."""
    path.unlink(missing_ok=True)
    match rng.randrange(5):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path)
        case _:
            pass


def dataset(seed, folder):
    """A hostile dataset in `folder`, and its name."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    if rng.random() < 0.5:
        x, y = np.random.default_rng(seed).random((20, 8, 8)), np.arange(20) % 10
        sink = io.BytesIO()
        np.savez(sink, x=x, y=y)
        path = folder / "data.npz"
        path.write_bytes(npz(rng, sink.getvalue(), ("x", "y")))
        if rng.random() < 0.05:
            _odd_file(rng, path)
        return f"{rng.choice(('npz', 'tensors'))}:{path}"
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    spoiled = rng.choice(names)
    for name in names:
        _idx(rng, folder / name, 3 if "idx3" in name else 1, name == spoiled)
    return f"idx:{folder}"


def _idx(rng, path, rank, spoiled):
    shape = (20, 4, 4)[:rank]
    header = [{1: 0x0801, 3: 0x0803}[rank], *shape]
    body = bytes(rng.randrange(10) for _ in range(int(np.prod(shape))))
    if spoiled and rng.random() < 0.3:
        header[rng.randrange(len(header))] = rng.choice((0, 1, 2**31, 2**32 - 1, 10**9))
    data = np.array(header, ">u4").tobytes() + body
    if spoiled and rng.random() < 0.3:
        data = bytes_of(rng, data)
    if rng.random() < 0.5:
        path = path.with_name(f"{path.name}.gz")
        data = gzip.compress(data, 1) + (gzip_bomb() if spoiled and rng.random() < 0.1 else b"")
        if spoiled and rng.random() < 0.4:
            data = bytes_of(rng, data)
    path.write_bytes(data)
    if spoiled and rng.random() < 0.05:
        _odd_file(rng, path)


def imported(seed, folder):
    """What another tool might have written, damaged, in `folder`; its path."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    source = rng.choice(sorted((SEEDS.parent / "unit/imports").iterdir()))
    path, data = folder / source.name, source.read_bytes()
    if source.suffix == ".json" and rng.random() < 0.7:
        data = text_of(structure_of(rng, json.loads(data)))
    elif rng.random() < 0.1:
        data = deep(rng)
    else:
        data = bytes_of(rng, data)
    path.write_bytes(data)
    if rng.random() < 0.05:
        _odd_file(rng, path)
    return path


def model(seed, folder):
    """A hostile ONNX file in `folder`, and its path."""
    import onnxfiles

    rng = random.Random(seed)
    folder.mkdir(parents=True)
    makers = (onnxfiles.dense, onnxfiles.sequence, onnxfiles.lookup, onnxfiles.integers, onnxfiles.mixed, onnxfiles.overflowing)
    external = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0} if rng.random() < 0.3 else {}
    path = onnxfiles.write(folder / "model.onnx", rng.choice(makers)(), **external)
    if rng.random() < 0.5:
        path.write_bytes(bytes_of(rng, path.read_bytes()))
    else:
        _fields(rng, path)
    if external and rng.random() < 0.1:
        _odd_file(rng, folder / "w.bin")
    if rng.random() < 0.03:
        _odd_file(rng, path)
    return path


LOCATIONS = (
    "../w.bin",
    "/etc/passwd",
    "/dev/zero",
    "",
    ".",
    "..",
    "a/../../w.bin",
    "w.bin\0",
    "x" * 5000,
    ESCAPE,
    "link",
    "pipe",
)
OFFSETS = ("-1", "0", "99999999999999999999", "a", "", "1e3", "１", " 4")


def _fields(rng, path):
    """An ONNX file with hostile fields: sizes, types, names, edges, places of weights."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _field(rng, proto, onnx)
    (path.parent / "link").symlink_to("/etc/passwd")
    os.mkfifo(path.parent / "pipe")
    path.write_bytes(proto.SerializeToString())


def _field(rng, proto, onnx):
    graph = proto.graph
    value = rng.choice([*graph.input, *graph.output])
    node = rng.choice(graph.node) if graph.node else None
    tensor = rng.choice(graph.initializer) if graph.initializer else None
    huge = (-1, 0, 2**31, 2**62, -(2**63), 2**63 - 1)
    match rng.randrange(14):
        case 0:
            value.type.tensor_type.shape.dim.add().dim_value = rng.choice(huge)
        case 1:
            value.type.tensor_type.elem_type = rng.choice((0, 8, 14, 15, 16, 17, 23, 99, -1, 2**31 - 1))
        case 2:
            value.name = rng.choice((ESCAPE, "", "../x", "a" * 10_000, "\0"))
        case 3 if node:
            node.input[:] = node.output  # a cycle
        case 4 if node:
            node.op_type = rng.choice(("", "Loop", "If", "Nothing", ESCAPE, "Gather", "DequantizeLinear"))
        case 5 if tensor:
            tensor.dims[:] = [rng.choice(huge) for _ in range(rng.choice((0, 1, 2, 9)))]
        case 6 if tensor:
            tensor.data_type = rng.choice((0, 8, 10, 16, 22, 99))
        case 7 | 8 | 9 if tensor:
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = tensor.EXTERNAL
            places = {"location": rng.choice(LOCATIONS), "offset": rng.choice(OFFSETS), "length": rng.choice(OFFSETS)}
            for key in rng.sample(sorted(places), rng.randrange(4)):
                tensor.external_data.add(key=key, value=places[key])
        case 10:
            proto.ir_version = rng.choice((0, 99, -1, 2**62))
        case 11:
            proto.opset_import.add(domain=rng.choice(("", ESCAPE)), version=rng.choice(huge))
        case 12 if node:
            del node.input[:]
        case 13 if graph.initializer:
            function = proto.functions.add()
            function.name = function.domain = "f"
            function.node.add().op_type = "f"
            function.node[0].domain = "f"
        case _:
            value.ClearField("type")

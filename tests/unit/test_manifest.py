import json
from dataclasses import replace

import pytest
from onnxbench.errors import BadInput, StorageFailed
from onnxbench.evidence import Parity
from onnxbench.exporters.manifest import SCHEMA, Exported, Maker, add, check_writable, read_last_export, read_manifest
from onnxbench.spec import Conversion, Derived, Source, to_wire

from .in_process import derived

PARITY = Parity(sqnr_db=120.5, max_abs_err=0.01, runtime="ort-cpu 1.20", data="digits", samples=16)
MADE = Maker(exporter="torch.onnx (dynamo)", versions={"torch": "2.6"}, parity=PARITY)


@pytest.fixture
def export(make_artifact, tmp_path):
    """An artifact as the cache holds it (paths relative), its entry, and the files in that."""

    def make(content="weights", source=None, **changes):
        exported = Exported(artifact=make_artifact(source=source, **changes), made=MADE)
        folder = tmp_path / "entry"
        folder.mkdir(exist_ok=True)
        names = [exported.artifact.path, *([source.weights] if source and source.weights else [])]
        for name in names:
            (folder / name).write_text(content)
        return exported, folder, [folder / name for name in names]

    return make


def test_a_folder_without_a_manifest_holds_nothing(tmp_path):
    assert read_manifest(tmp_path) == []
    assert read_manifest(tmp_path / "none") == []


def test_what_was_added_is_read_with_absolute_paths(export, tmp_path):
    exported, entry, files = export(source=Source(factory="a:b", weights="cnn.safetensors"))
    added = add(tmp_path / "out", exported, entry, files)
    assert added.artifact.path == f"{tmp_path}/out/cnn-fp32.onnx"
    assert added.artifact.source == Source(factory="a:b", weights=f"{tmp_path}/out/cnn.safetensors")
    assert added.made == MADE
    assert read_manifest(tmp_path / "out") == [added]
    assert (tmp_path / "out" / "cnn-fp32.onnx").read_text() == "weights"
    assert (tmp_path / "out" / "cnn.safetensors").read_text() == "weights"


def test_a_relative_folder_is_read_with_absolute_paths(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add(tmp_path.relative_to(tmp_path) / "out", *export())
    (found,) = read_manifest(tmp_path.relative_to(tmp_path) / "out")
    assert found.artifact.path == f"{tmp_path}/out/cnn-fp32.onnx"


def models(folder):
    return [item.artifact.model for item in read_last_export(folder)]


def test_the_last_export_is_all_of_a_folder_that_does_not_say(export, tmp_path):
    add(tmp_path / "out", *export(model="a", path="a"))
    assert models(tmp_path / "out") == ["a"]


def test_a_file_of_a_sweep_does_not_join_files_that_are_there(export, tmp_path):
    for model in ("a", "b", "c"):
        add(tmp_path / "out", *export(model=model, path=model))
    assert models(tmp_path / "out") == ["a"]
    assert len(read_manifest(tmp_path / "out")) == 3


def test_an_export_begins_anew_and_goes_on(export, tmp_path):
    for model, place in (("a", "first"), ("b", "first"), ("c", "next"), ("d", "")):
        add(tmp_path / "out", *export(model=model, path=model), place)
    assert models(tmp_path / "out") == ["b", "c"]


def test_another_precision_is_added(export, tmp_path):
    first = add(tmp_path / "out", *export(source=Source(factory="a:b", weights="w")))
    second = add(tmp_path / "out", *export(path="cnn-int8.onnx", precision="int8"))
    assert read_manifest(tmp_path / "out") == [first, second]


def test_another_model_is_added(export, tmp_path):
    first = add(tmp_path / "out", *export())
    second = add(tmp_path / "out", *export(path="other.onnx", model="other"))
    assert read_manifest(tmp_path / "out") == [first, second]


def test_the_same_model_and_precision_are_replaced(export, tmp_path):
    add(tmp_path / "out", *export())
    again = add(tmp_path / "out", *export(content="better", sha256="cd" * 32))
    assert read_manifest(tmp_path / "out") == [again]
    assert (tmp_path / "out" / "cnn-fp32.onnx").read_text() == "better"


OLD, NEW = "ab" * 32, "cd" * 32
PORTABLE = {"origin": OLD, "scheme": "portable", "method": "minmax", "exclude": ["a", "b"], "data": "digits", "samples": 128}
TOLD = (
    ("scheme", "portable"),
    ("method", "minmax"),
    ("exclude", "a"),
    ("exclude", "b"),
    ("data", "digits"),
    ("samples", "128"),
)
PLAIN = {"origin": OLD, "scheme": "", "method": "", "exclude": [], "data": "", "samples": 0}


def of_0_1(folder, artifact, conversion):
    """A manifest as version 0.1 wrote it."""
    folder.mkdir(exist_ok=True)
    wire = {**to_wire(artifact), "conversion": conversion}
    del wire["derived"]
    made = {"exporter": "onnxruntime", "versions": {"onnx": "1.17"}, "parity": None}
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "artifacts": [{"artifact": wire, "made": made}]}))
    return folder


@pytest.mark.parametrize(
    ("precision", "conversion", "options"),
    [("int8", PORTABLE, TOLD), ("fp16", PLAIN, ())],
)
def test_what_version_0_1_made_is_read_as_derived(tmp_path, make_artifact, precision, conversion, options):
    (found,) = read_manifest(of_0_1(tmp_path / "out", make_artifact(precision=precision), conversion))
    assert found.artifact.derived == Derived(origin=OLD, recipe=precision, revision=0, tool="0.1", options=options)


def test_what_version_0_1_did_not_make_is_not_derived(tmp_path, make_artifact):
    (found,) = read_manifest(of_0_1(tmp_path / "out", make_artifact(precision="int8"), None))
    assert found.artifact.derived is None


@pytest.mark.parametrize("conversion", [5, "portable", [], {}, {**PORTABLE, "samples": "many"}, {**PORTABLE, "exclude": 1}])
def test_a_damaged_entry_of_version_0_1_is_refused(tmp_path, make_artifact, conversion):
    with pytest.raises(BadInput, match="is not a manifest"):
        read_manifest(of_0_1(tmp_path / "out", make_artifact(precision="int8"), conversion))


@pytest.fixture
def converted(export, tmp_path):
    """A folder with a model of FP32, and its FP16 and INT8, which were made from that."""

    def conversion(precision, **changes):
        how = derived(precision, origin=OLD)
        return export(path=f"cnn-{precision}.onnx", precision=precision, sha256=precision, derived=how, **changes)

    folder = tmp_path / "out"
    add(folder, *export(sha256=OLD))
    for precision in ("fp16", "int8"):
        add(folder, *conversion(precision))
    return folder


def kept(folder):
    return [(item.artifact.model, item.artifact.precision) for item in read_manifest(folder)]


def test_a_conversion_stands_beside_what_it_was_made_from(converted):
    assert kept(converted) == [("cnn", "fp32"), ("cnn", "fp16"), ("cnn", "int8")]
    assert read_manifest(converted)[2].artifact.derived == derived("int8", origin=OLD)


def test_a_new_fp32_file_drops_the_conversions_of_the_old_one(converted, export):
    add(converted, *export(sha256=NEW))
    assert kept(converted) == [("cnn", "fp32")]


def test_the_same_fp32_file_keeps_its_conversions(converted, export):
    add(converted, *export(sha256=OLD))
    assert kept(converted) == [("cnn", "fp16"), ("cnn", "int8"), ("cnn", "fp32")]


def test_a_new_conversion_replaces_its_precision_alone(converted, export):
    again = derived("int8", origin=OLD, data="other")
    add(converted, *export(path="cnn-int8.onnx", precision="int8", sha256=NEW, derived=again))
    assert kept(converted) == [("cnn", "fp32"), ("cnn", "fp16"), ("cnn", "int8")]
    assert read_manifest(converted)[2].artifact.derived == again


def test_a_new_file_of_another_model_keeps_all_conversions(converted, export):
    add(converted, *export(path="other.onnx", model="other", sha256=NEW))
    assert kept(converted) == [("cnn", "fp32"), ("cnn", "fp16"), ("cnn", "int8"), ("other", "fp32")]


def test_a_file_of_another_precision_keeps_the_conversions_of_fp32(converted, export):
    add(converted, *export(path="cnn-int8.onnx", precision="int8", sha256=NEW))
    assert kept(converted) == [("cnn", "fp32"), ("cnn", "fp16"), ("cnn", "int8")]


def in_scheme(scheme, path=None):
    options = Conversion(scheme=scheme, method="minmax")
    return {
        "precision": "int8",
        "path": path or f"cnn.int8-{scheme}.onnx",
        "derived": derived("int8", options),
        "sha256": scheme,
    }


def schemes(items):
    return [item.artifact.scheme for item in items]


def test_int8_files_of_several_schemes_stand_side_by_side(export, tmp_path):
    folder = tmp_path / "out"
    add(folder, *export(), export="first")
    for scheme in ("portable", "layers", "ort", "layers"):
        add(folder, *export(**in_scheme(scheme)), export="next")
    assert schemes(read_manifest(folder)) == ["", "portable", "ort", "layers"]
    add(folder, *export(), export="first")
    add(folder, *export(**in_scheme("ort")), export="next")
    assert schemes(read_last_export(folder)) == ["", "ort"]
    assert sorted(file.name for file in folder.glob("*.int8*")) == [
        f"cnn.int8-{each}.onnx" for each in ("layers", "ort", "portable")
    ]


def test_a_file_of_another_scheme_that_has_the_same_name_is_replaced(export, tmp_path):
    add(tmp_path / "out", *export(**in_scheme("ort", "cnn.int8.onnx")))
    add(tmp_path / "out", *export(**in_scheme("portable", "cnn.int8.onnx")))
    assert schemes(read_manifest(tmp_path / "out")) == ["portable"]


def test_a_last_export_that_says_no_scheme_means_the_one_int8_file(export, tmp_path):
    folder = tmp_path / "out"
    add(folder, *export(), export="first")
    add(folder, *export(**in_scheme("ort")), export="next")
    data = json.loads((folder / "manifest.json").read_text())
    assert data["last_export"] == [["cnn", "fp32"], ["cnn", "int8", "ort"]]
    (folder / "manifest.json").write_text(json.dumps({**data, "last_export": [["cnn", "fp32"], ["cnn", "int8"]]}))
    assert schemes(read_last_export(folder)) == ["", "ort"]


def test_files_that_were_not_made_from_another_stay_when_fp32_is_new(export, tmp_path):
    add(tmp_path / "out", *export(path="cnn-int8.onnx", precision="int8"))
    add(tmp_path / "out", *export(sha256=NEW))
    assert kept(tmp_path / "out") == [("cnn", "int8"), ("cnn", "fp32")]


def test_a_folder_can_be_moved(export, tmp_path):
    add(tmp_path / "out", *export(source=Source(factory="a:b", weights="w")))
    add(tmp_path / "out", *export(path="cnn-int8.onnx", precision="int8"))
    (tmp_path / "out").rename(tmp_path / "there")
    assert [item.artifact.path for item in read_manifest(tmp_path / "there")] == [
        f"{tmp_path}/there/cnn-fp32.onnx",
        f"{tmp_path}/there/cnn-int8.onnx",
    ]
    assert read_manifest(tmp_path / "there")[0].artifact.source == Source(factory="a:b", weights=f"{tmp_path}/there/w")


def test_nothing_but_the_files_and_the_manifest_is_left(export, tmp_path):
    add(tmp_path / "out", *export())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cnn-fp32.onnx", "manifest.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"artifacts": 5}',
        '{"artifacts": [], "last_export": 5}',
        '{"artifacts": [], "last_export": [["cnn"]]}',
        '{"artifacts": [{}]}',
        '{"artifacts": [{"artifact": {}, "made": {}}]}',
        "\xff",
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"manifest\.json is not a manifest .*; run bench export again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("rest", [{"artifacts": []}, {"files": []}], ids=["as now", "otherwise"])
def test_a_newer_manifest_is_refused_as_such(tmp_path, rest):
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": SCHEMA + 1, **rest}))
    with pytest.raises(BadInput, match=r"written by a newer onnxbench \(schema 3\); upgrade onnxbench"):
        read_manifest(tmp_path)


def test_names_of_a_newer_entry_are_left_out(export, tmp_path):
    added = add(tmp_path / "out", *export())
    path = tmp_path / "out" / "manifest.json"
    data = json.loads(path.read_text())
    data["artifacts"][0]["artifact"]["colour"] = "blue"
    path.write_text(json.dumps(data))
    assert read_manifest(tmp_path / "out") == [replace(added)]


def test_a_folder_that_cannot_be_made_is_no_place_to_write(export, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot write to .*file/out .*; use another folder"):
        check_writable(tmp_path / "file" / "out")
    with pytest.raises(StorageFailed, match=r"cannot write to .*file/out"):
        add(tmp_path / "file" / "out", *export())


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_files_in_folders_stay_in_them(export, tmp_path):
    exported, entry, _ = export()
    (entry / "model").mkdir()
    (entry / "model/w.bin").write_text("data")
    add(tmp_path / "out", exported, entry, [entry / "model/w.bin"])
    assert (tmp_path / "out/model/w.bin").read_text() == "data"


def test_the_file_of_another_model_is_not_overwritten(export, tmp_path):
    add(tmp_path / "out", *export())
    with pytest.raises(BadInput, match=r"cnn-fp32.onnx is cnn in fp32, and would be overwritten"):
        add(tmp_path / "out", *export("other weights", model="theirs", sha256="ff" * 32))
    assert (tmp_path / "out" / "cnn-fp32.onnx").read_text() == "weights"
    assert [item.artifact.model for item in read_manifest(tmp_path / "out")] == ["cnn"]

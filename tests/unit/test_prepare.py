import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from onnxbench.errors import BadInput, BenchError, Unavailable
from onnxbench.exporters import manifest
from onnxbench.parity import Parity, PartDistance
from onnxbench.runners.pool.context import Context
from onnxbench.runners.prepare.exports import (
    ExportResult,
    convert_file,
    expected_artifacts,
    export_model,
    missing_files,
    prepare_artifacts,
)
from onnxbench.runners.prepare.request import DEFAULT_CONVERSION, ExportRequest, files_of, with_schemes
from onnxbench.runners.worker.file_jobs import Adopt, CacheEntry, Convert, Export
from onnxbench.runners.worker.jobs import Data, Here, There
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import Conversion, Source, Sweep, TensorSpec, from_wire, to_wire

from .in_process import derived

pytestmark = pytest.mark.usefixtures("cache_folder")
SHA = "ab" * 32
REFUSED = BadInput("nothing can be quantized", "run it in FP32")


class Notes:
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)

    def step(self, what, done, total): ...


@dataclass(frozen=True, kw_only=True)
class Prepared(Context):
    """A context whose workers have their answers already: by the job's name, and for conversions by precision."""

    answers: dict
    asked: list = field(default_factory=list)

    def ask(self, job):
        self.asked.append(job)
        answer = self.answers[job.precision if isinstance(job, Convert) else task_of(type(job)).name]
        if isinstance(answer, BenchError):
            raise answer
        found = answer(job) if callable(answer) else answer
        return from_wire(type(job).answer(), json.loads(json.dumps(to_wire(found))))

    def ask_all(self, jobs):
        return [self.ask(job) for job in jobs]

    def names(self):
        return [task_of(type(job)).name for job in self.asked]

    def orders(self):
        return {job.precision: job for job in self.asked if isinstance(job, Convert)}


@pytest.fixture
def entry(tmp_path, make_artifact):
    """A cache entry with one file, as a worker answers it."""

    def make(precision="fp32", model="net", data="digits", cached=False, **changes):
        folder = tmp_path / "entries" / f"{model}.{precision}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{model}.{precision}.onnx").write_text(precision)
        (folder / "entry.json").write_text("{}")
        how = {"int8": derived("int8", origin=SHA, data=data), "fp16": derived("fp16", origin=SHA)}
        found = make_artifact(
            model=model,
            precision=precision,
            path=f"{model}.{precision}.onnx",
            sha256=SHA if precision == "fp32" else precision,
            derived=how.get(precision),
        )
        made = manifest.Maker(exporter="file")
        return CacheEntry(folder=There(path=str(folder)), cached=cached, artifact=replace(found, **changes), made=made)

    return make


@pytest.fixture
def context(tmp_path, entry):
    """Everything can be made of the file net.onnx, but for what `answers` says."""

    def make(**answers):
        usual = {"adopt": entry(), "fp16": entry("fp16"), "int8": entry("int8")}
        return Prepared(logs=tmp_path, progress=Notes(), timeout_s=1, answers={**usual, **answers})

    return make


@pytest.fixture
def wanted(tmp_path):
    return lambda **changes: ExportRequest(**{"model": "net.onnx", "dataset": None, "folder": tmp_path / "out", **changes})


def precisions(made):
    return [item.exported.artifact.precision for item in made]


@pytest.mark.parametrize(
    ("named", "files"),
    [
        ((), ()),
        (("fp32",), ("fp32",)),
        (("tf32", "bf16", "fp32"), ("fp32",)),
        (("int8", "tf32", "fp16"), ("int8", "fp32", "fp16")),
        (("fp16", "fp16"), ("fp16",)),
    ],
)
def test_a_precision_runs_a_file(named, files):
    assert files_of(named) == files


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(BadInput, match="'int9' is not a precision; did you mean 'int8'"):
        files_of(("fp32", "int9"))


def test_every_precision_is_made_where_none_is_named(wanted, context, tmp_path):
    fake = context()
    made = export_model(wanted(), fake)
    assert precisions(made) == ["fp32", "fp16", "int8"]
    assert fake.names() == ["adopt", "convert", "convert"]
    assert [item.artifact for item in manifest.read_manifest(tmp_path / "out")] == [item.exported.artifact for item in made]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "net.fp16.onnx",
        "net.fp32.onnx",
        "net.int8.onnx",
    ]
    assert fake.progress.lines == []


@pytest.mark.parametrize("error", [REFUSED, Unavailable("nothing can be quantized", "run it in FP32")])
def test_what_cannot_be_made_is_left_out_and_said(wanted, context, error):
    fake = context(fp16=error)
    assert precisions(export_model(wanted(), fake)) == ["fp32", "int8"]
    (line,) = fake.progress.lines
    assert ("fp16 of net" in line, "nothing can be quantized; run it in FP32" in line) == (True, True)


def test_a_precision_that_was_named_must_be_possible(wanted, context):
    with pytest.raises(BadInput, match="nothing can be quantized"):
        export_model(wanted(precisions=("fp32", "int8")), context(int8=REFUSED))


def test_what_others_are_made_from_must_be_possible(wanted, context):
    fake = context(adopt=BadInput("not an ONNX file"))
    with pytest.raises(BadInput, match="not an ONNX file"):
        export_model(wanted(), fake)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("named", "files"),
    [(("fp32",), ["fp32"]), (("tf32",), ["fp32"]), (("int8",), ["fp32", "int8"]), (("fp16", "bf16"), ["fp32", "fp16"])],
)
def test_named_precisions_alone_are_made_beside_fp32(wanted, context, named, files):
    assert precisions(export_model(wanted(precisions=named), context())) == files


def test_a_file_that_is_int8_already_is_taken_alone(wanted, context, entry):
    fake = context(adopt=entry("int8", derived=None))
    assert precisions(export_model(wanted(), fake)) == ["int8"]
    assert fake.names() == ["adopt"]
    assert fake.progress.lines == []


def test_another_precision_of_a_file_that_is_int8_is_refused(wanted, context, entry):
    with pytest.raises(BadInput, match=r"net\.int8\.onnx is int8 already, and fp16 .*FP32"):
        export_model(wanted(precisions=("int8", "fp16")), context(adopt=entry("int8", derived=None)))


def test_the_precision_that_a_file_has_may_be_named(wanted, context, entry):
    assert precisions(export_model(wanted(precisions=("int8",)), context(adopt=entry("int8", derived=None)))) == ["int8"]


def test_calibration_on_random_inputs_is_told(wanted, context, entry):
    fake = context(int8=entry("int8", data="random"))
    export_model(wanted(), fake)
    (line,) = fake.progress.lines
    assert ("net int8" in line, "--calibration" in line) == (True, True)


def test_a_conversion_is_ordered_as_it_was_wanted(wanted, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data.npz").touch()
    how = Conversion(scheme="ort", method="entropy", exclude=("conv1",))
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1, 3)),)
    fake = context()
    export_model(wanted(conversion=how, calibration="data.npz", inputs=inputs, seed=7), fake)
    assert [(order.precision, order.how) for order in fake.orders().values()] == [("fp16", Conversion()), ("int8", how)]
    calibration = f"{tmp_path}/data.npz"
    for order in fake.orders().values():
        assert (order.calibration, order.calibrated_on) == (Here(path=calibration), calibration)
        assert (order.shapes, order.seed) == ((("x", (1, 3)),), 7)


def test_int8_is_portable_unless_something_else_is_wanted(wanted, context):
    fake = context()
    export_model(wanted(), fake)
    order = fake.orders()["int8"]
    assert (order.how, order.calibration, order.calibrated_on, order.shapes, order.seed) == (
        DEFAULT_CONVERSION,
        None,
        "",
        (),
        0,
    )


def test_conversions_are_made_of_the_exported_file(wanted, context, tmp_path):
    fake = context()
    export_model(wanted(), fake)
    assert [order.artifact.path for order in fake.orders().values()] == [f"{tmp_path}/out/net.fp32.onnx"] * 2


def test_conversions_know_where_the_model_is_in_pytorch(wanted, context, entry, tmp_path):
    (tmp_path / "entries/net.fp32").mkdir(parents=True)
    (tmp_path / "entries/net.fp32/net.safetensors").touch()
    source = Source(factory="a:b", weights="net.safetensors")
    made = export_model(wanted(), context(adopt=entry(source=source)))
    there = Source(factory="a:b", weights=f"{tmp_path}/out/net.safetensors")
    assert [item.exported.artifact.source for item in made] == [there] * 3
    assert [item.artifact.source for item in manifest.read_manifest(tmp_path / "out")] == [there] * 3


def test_a_missing_calibration_file_is_said_before_any_work(wanted, context):
    fake = context()
    with pytest.raises(BadInput, match=r"there is no file none\.npz; .*\.npz file"):
        export_model(wanted(calibration="none.npz"), fake)
    assert fake.asked == []


def test_a_folder_that_cannot_be_written_is_said_before_any_work(wanted, context, tmp_path):
    (tmp_path / "file").touch()
    fake = context()
    with pytest.raises(BadInput, match="cannot write to"):
        export_model(wanted(folder=tmp_path / "file" / "out"), fake)
    assert fake.asked == []


def test_a_module_without_inputs_is_asked_for_them(wanted, context):
    with pytest.raises(BadInput, match=r"pkg:make needs .*--shape NAME="):
        export_model(wanted(model="pkg:make"), context())


def test_a_module_is_exported_with_an_open_batch_and_then_converted(wanted, context, entry):
    fake = context(export=entry())
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1, 3)), TensorSpec(name="s", dtype="float32", shape=()))
    assert precisions(export_model(wanted(model="pkg:make", inputs=inputs), fake)) == ["fp32", "fp16", "int8"]
    job = fake.asked[0]
    assert (type(job), [spec.shape for spec in job.inputs]) == (Export, [("batch", 3), ()])


def test_the_dataset_of_a_file_is_named_with_its_whole_path(wanted, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = context()
    export_model(wanted(dataset="npz:data.npz"), fake)
    data = Data(name=f"npz:{tmp_path}/data.npz", place=Here(path=f"{tmp_path}/data.npz"))
    assert fake.asked[0] == Adopt(file=Here(path=f"{tmp_path}/net.onnx"), model="net", data=data)


def test_a_file_that_is_called_as_a_model_of_our_own_keeps_its_ending(wanted, context):
    fake = context()
    export_model(wanted(model="theirs/cnn.onnx"), fake)
    assert fake.asked[0].model == "cnn.onnx"


def test_what_was_made_is_told_on_one_line(make_artifact):
    how = derived("int8", Conversion(scheme="portable", method="minmax", exclude=("a", "b")), origin=SHA)
    parity = Parity(sqnr_db=31.6, runtime="ort-cpu 1.31", data="digits", samples=16)
    made = manifest.Maker(exporter="int8", parity=parity)
    exported = manifest.Exported(artifact=make_artifact(precision="int8", derived=how), made=made)
    assert ExportResult(exported=exported, cached=False).describe() == (
        "cnn-fp32.onnx: cnn int8, 20.4 MB, opset 18, exported and checked; "
        "portable, minmax over 128 of digits, without a,b; SQNR 32 dB against the FP32 file on ort-cpu 1.31, digits"
    )


def test_an_output_of_another_shape_is_named_behind_a_file(make_artifact):
    parts = (PartDistance(output="boxes", sqnr_db=-200.0, shape="6x4, and 5x4"), PartDistance(output="scores", sqnr_db=31.0))
    parity = Parity(sqnr_db=-200.0, runtime="ort-cpu 1.31", data="digits", samples=16, parts=parts)
    exported = manifest.Exported(artifact=make_artifact(), made=manifest.Maker(exporter="int8", parity=parity))
    line = ExportResult(exported=exported, cached=False).describe()
    assert "6x4, and 5x4" in line
    assert "scores" not in line


@pytest.mark.parametrize(("cached", "how"), [(True, "already exported, taken from the cache"), (False, "exported and checked")])
def test_a_file_that_was_only_taken_tells_nothing_of_parity(make_artifact, cached, how):
    exported = manifest.Exported(artifact=make_artifact(), made=manifest.Maker(exporter="file"))
    assert ExportResult(exported=exported, cached=cached).describe() == f"cnn-fp32.onnx: cnn fp32, 20.4 MB, opset 18, {how}"


@pytest.mark.parametrize(
    ("named", "there", "missing"),
    [
        ((), ["fp32"], []),
        (("fp32", "tf32"), ["fp32"], []),
        (("int8", "fp16"), ["fp32"], [(("int8", ""), ("fp16", ""))]),
        (("int8", "fp16"), ["fp32", "int8"], [(("fp16", ""),)]),
        (("fp32", "fp16"), ["int8"], []),
        (("int8",), [], []),
    ],
)
def test_what_is_missing_are_named_files_of_what_is_there_in_fp32(make_artifact, named, there, missing):
    found = [make_artifact(precision=precision) for precision in there]
    assert missing_files(Sweep(precisions=named), found) == [(make_artifact(), precisions) for precisions in missing]


def test_a_file_that_one_of_two_models_lacks_is_missing_of_that_one(make_artifact):
    found = [make_artifact(), make_artifact(precision="int8"), make_artifact(model="other")]
    assert missing_files(Sweep(precisions=("int8",)), found) == [(make_artifact(model="other"), (("int8", ""),))]
    files, first = expected_artifacts(Sweep(precisions=("int8",)), found)
    assert [(file.model, file.precision) for file in files[3:]] == [("other", "int8")]
    assert first == "other would be exported in int8 first"


def in_schemes(make_artifact, *schemes, model="cnn"):
    """The FP32 file of a model and its INT8 files."""
    base = make_artifact(model=model)
    how = [Conversion(scheme=scheme, method="minmax") for scheme in schemes]
    return [base, *(replace(base, precision="int8", derived=derived("int8", each)) for each in how)]


def test_a_scheme_that_a_model_lacks_is_missing(make_artifact):
    found = in_schemes(make_artifact, "portable")
    ((base, files),) = missing_files(Sweep(schemes=("portable", "layers", "dynamic")), found)
    assert (base, files) == (found[0], (("int8", "layers"), ("int8", "dynamic")))
    expected, first = expected_artifacts(Sweep(schemes=("best", "ort")), found)
    assert [file.scheme for file in expected] == ["", "portable", "ort"]
    assert first == "cnn would be exported in int8 ort first"


@pytest.mark.parametrize(
    ("sweep", "there", "measured"),
    [
        (Sweep(model="cnn"), ["portable", "ort"], ["portable"]),
        (Sweep(model="cnn"), ["layers", "ort"], ["layers", "ort"]),
        (Sweep(), ["portable", "ort"], ["portable", "ort"]),
        (Sweep(schemes=("ort",)), ["portable", "ort"], ["ort"]),
        (Sweep(model="cnn", schemes=("best", "ort", "openvino")), ["portable", "ort"], ["ort"]),
    ],
)
def test_a_run_measures_the_portable_file_unless_the_user_names_schemes(make_artifact, sweep, there, measured):
    found = in_schemes(make_artifact, *there)
    assert with_schemes(found, sweep) == [found[0], *(file for file in found if file.scheme in measured)]


def test_a_quantized_file_of_the_user_has_no_scheme_and_is_measured(make_artifact):
    own = make_artifact(precision="int8")
    assert with_schemes([own], Sweep(schemes=("layers",))) == [own]


def test_what_is_there_is_expected_as_it_is(make_artifact):
    found = [make_artifact(), make_artifact(precision="int8")]
    assert expected_artifacts(Sweep(precisions=("int8", "fp32")), found) == (found, "")


def test_what_is_missing_is_expected_beside_what_is_there(make_artifact):
    files, first = expected_artifacts(Sweep(precisions=("int8", "fp16")), [make_artifact()])
    assert [file.precision for file in files] == ["fp32", "int8", "fp16"]
    assert {file.inputs for file in files} == {make_artifact().inputs}
    assert first == "cnn would be exported in int8, fp16 first"


def test_a_model_of_our_own_is_expected_in_every_precision_after_training():
    files, first = expected_artifacts(Sweep(), [])
    assert [(file.model, file.precision) for file in files] == [("cnn", "fp32"), ("cnn", "fp16"), ("cnn", "int8")]
    assert first == "cnn would be trained, then exported first"


def test_a_model_of_our_own_is_expected_in_the_precisions_that_were_named():
    files, _ = expected_artifacts(Sweep(model="cnn", precisions=("int8",)), [])
    assert [file.precision for file in files] == ["fp32", "int8"]


def test_a_module_is_expected_in_fp32_with_an_open_batch():
    signature = (TensorSpec(name="x", dtype="float32", shape=(1, 3)),)
    (file,), first = expected_artifacts(Sweep(model="pkg:make", signature=signature), [])
    assert (file.precision, file.inputs[0].shape, file.source) == ("fp32", ("batch", 3), Source(factory="pkg:make"))
    assert first == "pkg:make would be exported first"


def test_a_file_is_measured_as_it_is(context, make_artifact):
    path = str(Path("net.onnx").absolute())
    fake = context(describe=make_artifact(path=path))
    assert prepare_artifacts(Sweep(model="net.onnx", precisions=("fp32", "tf32")), fake) == [make_artifact(path=path)]
    assert fake.names() == ["describe"]


def test_a_named_precision_of_a_file_is_made_first(context, make_artifact, tmp_path):
    fake = context(describe=make_artifact(model="net"))
    sweep = Sweep(model="net.onnx", precisions=("fp32", "int8"), artifacts=str(tmp_path / "out"))
    assert [item.precision for item in prepare_artifacts(sweep, fake)] == ["fp32", "int8"]
    assert fake.progress.lines == [f"exporting net.onnx to {tmp_path}/out"]


def test_a_precision_that_an_exported_model_lacks_is_made_first(wanted, context, tmp_path):
    (base,) = export_model(wanted(precisions=("fp32",)), context())
    fake = context(describe=base.exported.artifact)
    found = prepare_artifacts(Sweep(precisions=("int8",), artifacts=str(tmp_path / "out")), fake)
    assert [item.precision for item in found] == ["fp32", "int8"]
    assert fake.progress.lines == [f"exporting net in int8 to {tmp_path}/out"]
    assert [item.artifact.precision for item in manifest.read_manifest(tmp_path / "out")] == ["fp32", "int8"]


def forget_exports(folder):
    """Leave the manifest as version 0.1 wrote it, without the files of the last export."""
    data = json.loads((folder / "manifest.json").read_text())
    del data["last_export"]
    (folder / "manifest.json").write_text(json.dumps(data))


def test_a_sweep_without_a_model_measures_the_last_export_alone(wanted, context, entry, tmp_path):
    export_model(wanted(), context())
    export_model(wanted(precisions=("int8",)), context(adopt=entry(model="other"), int8=entry("int8", model="other")))
    there = {item.artifact.path: item.artifact for item in manifest.read_manifest(tmp_path / "out")}
    fake = context(describe=lambda job: there[job.file.path])
    found = prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), fake)
    assert [(item.model, item.precision) for item in found] == [("other", "fp32"), ("other", "int8")]
    assert len(there) == 5


def test_an_older_export_of_the_same_model_is_not_measured(wanted, context, tmp_path):
    export_model(wanted(), context())
    export_model(wanted(precisions=("int8",)), context())
    there = {item.artifact.path: item.artifact for item in manifest.read_manifest(tmp_path / "out")}
    found = prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), context(describe=lambda job: there[job.file.path]))
    assert [item.precision for item in found] == ["fp32", "int8"]
    assert len(there) == 3


def test_what_a_sweep_adds_changes_no_later_sweep(wanted, context, entry, tmp_path):
    export_model(wanted(precisions=("fp32",)), context())
    there = {item.artifact.path: item.artifact for item in manifest.read_manifest(tmp_path / "out")}
    fake = context(describe=lambda job: there[job.file.path])
    assert len(prepare_artifacts(Sweep(precisions=("int8",), artifacts=str(tmp_path / "out")), fake)) == 2
    assert [item.precision for item in prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), fake)] == ["fp32"]


def test_conversions_of_a_file_stay_in_the_cache(context, make_artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = context(describe=make_artifact(model="net"))
    found = prepare_artifacts(Sweep(model="net.onnx", precisions=("fp32", "int8"), artifacts=""), fake)
    assert [(item.precision, Path(item.path).is_file()) for item in found[1:]] == [("int8", True)]
    assert found[0].path == str(tmp_path / "net.onnx")
    assert not (tmp_path / "artifacts").exists()


def test_a_precision_that_one_of_two_models_lacks_is_made_of_that_one(wanted, context, entry, tmp_path):
    how = derived("int8", Conversion(scheme="ort", method="entropy"), "good.npz", origin=SHA)
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=how)))
    export_model(wanted(precisions=("fp32",)), context(adopt=entry(model="other")))
    there = {item.artifact.path: item.artifact for item in manifest.read_manifest(tmp_path / "out")}
    fake = context(describe=lambda job: there[job.file.path], int8=entry("int8", model="other"))
    forget_exports(tmp_path / "out")
    found = prepare_artifacts(Sweep(precisions=("int8",), artifacts=str(tmp_path / "out")), fake)
    assert [(item.model, item.precision) for item in found[3:]] == [("other", "int8")]
    assert found[1].derived == how
    assert [job.artifact.model for job in fake.asked if isinstance(job, Convert)] == ["other"]
    assert fake.progress.lines == [f"exporting other in int8 to {tmp_path}/out"]


OLD = {"revision": 0, "tool": "0.1", "origin": SHA}


def swept(fake, tmp_path):
    """What a sweep of the file net.onnx in FP32 and INT8 measures, where `fake` knows what is in the folder."""
    sweep = Sweep(model="net.onnx", precisions=("fp32", "int8"), artifacts=str(tmp_path / "out"))
    return prepare_artifacts(sweep, fake)[1]


def described(tmp_path, make_artifact):
    there = {item.artifact.path: item.artifact for item in manifest.read_manifest(tmp_path / "out")}
    return lambda job: there.get(job.file.path, make_artifact(model="net"))


def test_what_this_version_made_is_kept_by_a_sweep_however_it_was_told(wanted, context, entry, make_artifact, tmp_path):
    how = derived("int8", Conversion(scheme="ort", method="entropy"), origin=SHA)
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=how)))
    fake = context(describe=described(tmp_path, make_artifact))
    assert swept(fake, tmp_path).derived == how
    assert fake.orders() == {}


@pytest.mark.parametrize(("data", "file"), [("digits", None), ("random", None), ("/mine.npz", "/mine.npz")])
def test_what_another_version_made_is_made_again_as_it_was_told(wanted, context, entry, make_artifact, tmp_path, data, file):
    asked = Conversion(scheme="ort", method="entropy", exclude=("conv1",))
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=derived("int8", asked, data, **OLD))))
    fake = context(adopt=entry(dataset="digits"), describe=described(tmp_path, make_artifact))
    assert swept(fake, tmp_path).derived.tool != "0.1"
    order = fake.orders()["int8"]
    assert (order.how, order.calibration, order.calibrated_on) == (asked, file and Here(path=file), file or "")
    assert [
        item.artifact.derived.tool != "0.1" for item in manifest.read_manifest(tmp_path / "out") if item.artifact.derived
    ] == [True]


def test_what_another_version_made_is_kept_where_it_cannot_be_made_again(wanted, context, entry, make_artifact, tmp_path):
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=derived("int8", **OLD))))
    fake = context(int8=REFUSED, describe=described(tmp_path, make_artifact))
    assert swept(fake, tmp_path).derived.tool == "0.1"
    assert len(fake.progress.lines) == 2


def test_an_export_makes_again_what_another_version_made(wanted, context, entry, tmp_path):
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=derived("int8", **OLD))))
    export_model(wanted(precisions=("int8",)), context())
    assert [
        item.artifact.derived.tool != "0.1" for item in manifest.read_manifest(tmp_path / "out") if item.artifact.derived
    ] == [True]


def test_a_sweep_of_a_folder_measures_what_another_version_made(wanted, context, entry, make_artifact, tmp_path):
    export_model(wanted(precisions=("int8",)), context(int8=entry("int8", derived=derived("int8", **OLD))))
    fake = context(describe=described(tmp_path, make_artifact))
    found = prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), fake)
    assert [item.derived.tool for item in found if item.derived] == ["0.1"]
    assert fake.orders() == {}


def test_exported_files_are_measured_as_they_are(wanted, context, tmp_path):
    export_model(wanted(precisions=("fp32",)), context())
    fake = context(describe=context().answers["adopt"].artifact)
    assert [item.precision for item in prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), fake)] == ["fp32"]
    assert fake.progress.lines == []


def test_an_exported_file_that_was_changed_is_refused(wanted, context, make_artifact, tmp_path):
    export_model(wanted(precisions=("fp32",)), context())
    fake = context(describe=make_artifact(sha256="cd" * 32))
    with pytest.raises(BadInput, match=r"net\.fp32\.onnx changed .*; run bench export again"):
        prepare_artifacts(Sweep(artifacts=str(tmp_path / "out")), fake)


def test_what_is_converted_again_comes_from_the_cache(wanted, context, entry, make_artifact):
    (made,) = convert_file(make_artifact(model="net"), wanted(precisions=("int8",)), context(int8=entry("int8", cached=True)))
    assert made.cached

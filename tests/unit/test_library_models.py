import os
import sys
from dataclasses import dataclass, field

import fake_libraries
import pytest
from onnxbench.errors import BadInput, NotFetched, Unavailable
from onnxbench.models import kind_of, library, name_in_rows
from onnxbench.models.library import LibraryModel
from onnxbench.models.preprocessing import full_name, with_own_steps
from onnxbench.results.table.row import _of_file
from onnxbench.runners.pool.context import Context
from onnxbench.runners.prepare import library_models
from onnxbench.runners.prepare.exports import expected_artifacts
from onnxbench.runners.prepare.request import ExportRequest
from onnxbench.runners.worker.file_jobs import DescribeLibrary, ExportLibrary, FetchLibrary
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import Sweep, TensorSpec

IMAGE = TensorSpec(name="input", dtype="float32", shape=("batch", 3, 24, 24))
DESCRIBED = LibraryModel(inputs=(IMAGE,), preprocessing="size=24,resize=32", identity=("a",))


class Notes:
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@dataclass(frozen=True, kw_only=True)
class Scripted(Context):
    """A context whose workers give these answers in turn; an error among them is raised."""

    answers: list
    asked: list = field(default_factory=list)

    def ask(self, job):
        self.asked.append(job)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def scripted(tmp_path):
    return lambda *answers: Scripted(logs=tmp_path, progress=Notes(), timeout_s=1, answers=list(answers))


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """The fake packages, as if they were installed; what a library changes in this process is undone."""
    monkeypatch.syspath_prepend(str(fake_libraries.write(tmp_path / "site")))
    before, environment = set(sys.modules), dict(os.environ)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "timm"):
            del sys.modules[name]
    for name in (*library.OFFLINE, library.WEIGHTS_ONLY):
        if name not in environment:
            os.environ.pop(name, None)


@pytest.mark.parametrize("model", ["torchvision:resnet50", "timm:vit_base_patch16_224", "hf:org/name", "hf:./folder", "hf:a.b"])
def test_a_prefix_names_a_library(model):
    assert kind_of(model) == "library"


def test_a_library_needs_the_name_of_a_model():
    with pytest.raises(BadInput, match="hf"):
        kind_of("hf:")


def test_a_folder_is_known_by_its_own_name(tmp_path):
    (tmp_path / "tiny-bert").mkdir()
    assert name_in_rows(f"hf:{tmp_path}/tiny-bert/") == "hf:tiny-bert"
    assert name_in_rows("torchvision:resnet50") == "torchvision:resnet50"


@pytest.mark.parametrize("model", ["cnn", "net.onnx", "pkg:make"])
def test_random_weights_are_for_libraries(model):
    library_models.check_random((model,), random=False)
    library_models.check_random(("timm:a",), random=True)
    with pytest.raises(BadInput, match=model):
        library_models.check_random(("timm:a", model), random=True)
    with pytest.raises(BadInput):
        library_models.check_random((), random=True)


def test_only_one_job_has_the_network():
    jobs = (DescribeLibrary, ExportLibrary, FetchLibrary)
    assert [task_of(job).network for job in jobs] == [False, False, True]


def test_a_model_that_is_here_is_not_fetched(scripted):
    context = scripted(DESCRIBED)
    assert library_models.describe("timm:a", random=False, context=context) == DESCRIBED
    assert library_models.describe("timm:a", random=False, context=context) == DESCRIBED
    assert [type(job) for job in context.asked] == [DescribeLibrary]
    assert context.progress.lines == []


def test_a_model_that_is_not_here_is_fetched_and_asked_again(scripted):
    context = scripted(NotFetched("not here"), None, "entry")
    request = ExportRequest(model="timm:a", dataset=None, folder=None)
    assert library_models.library_entry(request, context) == "entry"
    assert [type(job) for job in context.asked] == [ExportLibrary, FetchLibrary, ExportLibrary]
    assert len(context.progress.lines) == 1


def test_a_model_that_cannot_be_fetched_is_an_error_of_the_user(scripted):
    context = scripted(NotFetched("not here"), BadInput("no network", "give --random-weights"))
    with pytest.raises(BadInput, match="--random-weights"):
        library_models.describe("timm:a", random=False, context=context)


def test_images_get_the_steps_of_the_library(scripted):
    sweep = Sweep(model="timm:a", dataset=full_name("images:photos", None, ("timm:a", "net.onnx")))
    assert library_models.with_preprocessing(sweep, scripted(DESCRIBED)).dataset == "images:photos?size=24,resize=32"
    other = Sweep(model="net.onnx", dataset=sweep.dataset)
    assert library_models.with_preprocessing(other, scripted()).dataset == "images:photos?size=224"


def test_given_steps_stay(scripted):
    name = full_name("images:photos", "size=48", ("timm:a",))
    assert with_own_steps(name, lambda: "size=24") == name == "images:photos?size=48"
    request = ExportRequest(model="timm:a", dataset=name, calibration=full_name("images:c", None, "timm:a"), folder=None)
    found = library_models.prepared(request, scripted(DESCRIBED))
    assert (found.dataset, found.calibration) == (name, "images:c?size=24,resize=32")


def test_the_files_of_a_library_are_known_before_they_exist():
    sweep = Sweep(model="torchvision:tinynet", random_weights=True, precisions=("fp32", "fp16"))
    files, first = expected_artifacts(sweep, [], DESCRIBED)
    assert [(file.model, file.precision, file.inputs) for file in files] == [
        ("torchvision:tinynet", "fp32", (IMAGE,)),
        ("torchvision:tinynet", "fp16", (IMAGE,)),
    ]
    assert all(file.source.random for file in files)
    assert "torchvision:tinynet" in first


def test_random_weights_have_no_labels(make_artifact):
    from onnxbench.spec import Source

    assert make_artifact(dataset="digits", source=Source(factory="timm:a")).labelled == "digits"
    assert make_artifact(dataset="digits", source=Source(factory="timm:a", random=True)).labelled is None


def test_torchvision_describes_its_models(libraries):
    found = library.describe("torchvision:tinynet", random=True)
    assert found.inputs == (IMAGE,)
    assert found.preprocessing == "size=24,resize=32,interpolation=bicubic,mean=0.5,0.4,0.3,std=0.2,0.2,0.2"
    assert found.identity != library.describe("torchvision:tinynet", random=False).identity


def test_timm_crops_by_its_share(libraries):
    found = library.describe("timm:tiny_vit", random=True)
    assert found.inputs[0].shape == ("batch", 3, 24, 32)
    assert found.preprocessing == "size=24x32,resize=40,mean=0.5,0.5,0.5,std=0.25,0.25,0.25"


@pytest.mark.parametrize(
    ("model", "near"),
    [("torchvision:tinynets", "tinynet"), ("torchvision:tiny_segment", "tiny_segments"), ("timm:tiny_vits", "tiny_vit")],
)
def test_a_misspelt_name_is_guessed(libraries, model, near):
    with pytest.raises(BadInput, match=f"'{near}'"):
        library.describe(model, random=True)


def test_a_missing_library_names_its_extra(scripted):
    with pytest.raises(Unavailable, match=r"onnxbench\[timm\]") as raised:
        library.describe("timm:tiny_vit", random=True)
    with pytest.raises(BadInput, match=r"onnxbench\[timm\]"):
        library_models.describe("timm:tiny_vit", random=True, context=scripted(raised.value))


def test_weights_that_are_not_here_are_an_error_of_their_own(libraries):
    with pytest.raises(NotFetched):
        library.load("torchvision:tinynet", random=False)


def test_a_failed_download_names_the_way_without_weights(libraries):
    with pytest.raises(BadInput, match="--random-weights"):
        library.fetch("torchvision:tinynet", random=False)


def test_random_weights_are_equal_in_every_process_and_let_no_layer_idle(libraries):
    import torch

    one, two = (library.load("torchvision:tinynet", random=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert one.head.weight.any()
    assert not one.training
    normed = one.body[:2](torch.randn(8, 3, 24, 24))
    assert 0.3 < normed.std() < 3


def test_a_module_is_made_again_beside_its_weights(libraries, tmp_path):
    import torch
    from onnxbench.exporters import torch_onnx
    from onnxbench.spec import Source

    module, weights = library.load("torchvision:tinynet", random=True), tmp_path / "tiny.safetensors"
    torch_onnx.save_weights(module, weights)
    library.write_config(module, "torchvision:tinynet", library.config_path(str(weights)), random=False)
    again = torch_onnx.load_module(Source(factory="torchvision:tinynet", weights=str(weights)))
    x = torch.randn(2, 3, 24, 24)
    assert torch.equal(again(x), module(x))


def test_every_row_says_that_its_weights_are_random():
    from types import SimpleNamespace

    from onnxbench.evidence import Opened

    record = SimpleNamespace(built=None, opened=Opened(random_weights=True))
    assert [finding.kind for finding in _of_file(record)] == ["random_weights"]

import pytest
from onnxbench.runners.prepare.export_command import excluding, explaining, searching
from onnxbench.spec import Conversion, Derived, Sweep, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=("N", 3, 8, 8))


def derived(data="digits", **how):
    conversion = Conversion(**{"scheme": "portable", "method": "minmax", **how})
    options = (*conversion.options, ("data", data), ("samples", "128"))
    return Derived(origin="0", recipe="int8", revision=1, tool="1", options=options)


@pytest.fixture
def command(make_artifact):
    def of(sweep=None, dataset="digits", model="cnn", path="artifacts/cnn.fp32.onnx", **how):
        origin = make_artifact(model=model, dataset=dataset, path=path, inputs=(X,))
        return excluding(sweep or Sweep(artifacts=""), origin, derived(**how), ["a", "b/c"])

    return of


def test_a_plain_file_needs_little(command):
    assert command() == "bench export --model cnn --precision int8 --dataset digits --exclude a,b/c"


def test_every_option_of_the_file_is_repeated(command):
    sweep = Sweep(
        model="my net.onnx",
        artifacts="out",
        signature=(TensorSpec(name="x", dtype="int64", shape=("N", 4)), TensorSpec(name="other", dtype="float32", shape=(1,))),
        dims=(("seq", (16, 128)),),
    )
    line = command(
        sweep,
        dataset="images:/data?size=8,layout=NHWC",
        model="my net",
        data="tensors:/cal.npz",
        scheme="ort",
        method="entropy",
        images=64,
        exclude=("z",),
    )
    assert line == (
        "bench export --model 'my net.onnx' --precision int8 --int8 ort --calibration-method entropy --calibration-images 64"
        " --dataset images:/data --preprocess size=8,layout=NHWC --calibration tensors:/cal.npz"
        " --shape x=Nx4:int64 --dim seq=16 --exclude z,a,b/c --out out"
    )


@pytest.mark.parametrize(
    ("sweep", "model", "named"),
    [
        (Sweep(models=("a/one.onnx", "two.onnx")), "one", "a/one.onnx"),
        (Sweep(models=("a/one.onnx", "two.onnx")), "three", "f.onnx"),
        (Sweep(model="pack:build"), "pack:build", "pack:build"),
        (Sweep(), "other", "f.onnx"),
    ],
)
def test_the_model_is_what_the_user_named_or_the_file(command, sweep, model, named):
    assert f"--model {named} " in command(sweep, dataset=None, model=model, path="f.onnx", data="random")


def test_images_that_calibrated_have_their_preprocessing(command):
    assert "--preprocess size=8 --calibration images:/cal " in command(data="images:/cal?size=8")


@pytest.mark.parametrize(
    ("dataset", "words"),
    [(None, ""), ("digits", " --dataset digits"), ("images:/d?size=8", " --dataset images:/d --preprocess size=8")],
)
def test_a_file_of_somebody_elses_can_be_made_and_tested_with_its_data(dataset, words):
    assert explaining(dataset) == f"bench check --model FP32.onnx --precision int8{words} --explain"


def test_a_search_has_the_data_of_the_file_and_not_its_scheme(make_artifact):
    origin = make_artifact(model="net", dataset="", path="f.onnx", inputs=(X,))
    sweep = Sweep(model="net.onnx", artifacts="out", dims=(("N", (8,)),))
    line = searching(sweep, origin, derived(data="/cal.npz", scheme="layers", method="entropy", exclude=("z",)))
    assert line == (
        "bench export --model net.onnx --precision int8 --min sqnr=20 --calibration-method entropy --calibration /cal.npz"
        " --dim N=8 --exclude z --out out"
    )

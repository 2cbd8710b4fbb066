"""Common mistakes on the command line: tests/data/mistakes.txt has what each prints on stderr, and its exit code.

REWRITE_MISTAKES=1 writes the file again. Review each changed sentence: it names the problem with its value, says why the
problem matters if that is not obvious, and says what to type.
"""

import json
import os
import re
import shlex
import shutil
import sys
import venv
from pathlib import Path

import numpy as np
import onnxfiles
import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.runners.pool.pool import Local

GOLDEN = Path(__file__).resolve().parents[1] / "data/mistakes.txt"
REWRITE = "REWRITE_MISTAKES"
STAMP = r"runs/\d{8}-\d{6}-\d+"
HEADER = """\
# Common mistakes: the command line, what it prints on stderr, and its exit code.
# tests/integration/test_mistakes.py checks this file; with REWRITE_MISTAKES=1 it writes the file again.
"""
MISTAKES = """
# names
bench infr --model tiny.onnx
bench infer --modle tiny.onnx
bench infer --model tiny.onnx extra
bench infer --model cn
bench infer --model resnet50
bench infer --model missing.onnx --backend null
bench infer --model notes.txt
bench train --model tiny.onnx
bench infer --model tiny.onnx --backend ort-cpo
bench infer --model tiny.onnx --backend ort
bench infer --model tiny.onnx --backend null@new
bench infer --model tiny.onnx --backend null --baseline ort-cpu
bench infer --model tiny.onnx --backend null --option wrok=1
bench infer --model tiny.onnx --backend null --option ort-cpu.threads=1
bench infer --model tiny.onnx --backend null --option work
bench infer --model tiny.onnx --backend null --device gpu
bench infer --model tim:resnet18 --backend null
bench infer --model HF:bert --backend null
bench export --model transformers:bert-base
bench train --device tpu
bench train --device cuda:all
bench infer --model tiny.onnx --backend null --device cpu:all
bench infer --model tiny.onnx --backend null --device cuda:3-1
bench infer --model tiny.onnx --precision fp31
bench infer --model tiny.onnx --precision float16
bench export --model tiny.onnx --precision int9
bench infer --model tiny.onnx --budget fast
bench infer --model tiny.onnx --metric p95
bench show good --format xml
bench train --dataset mnist
bench infer --model tiny.onnx --python null=nowhere/bin/python --backend null
bench infer --model tiny.onnx --python openvino-cpu=/bin/true --backend null

# modules
bench infer --model no_such_module:build --shape x=1x2 --backend null
bench infer --model json:load_it --shape x=1x2 --backend null
bench infer --model json:loads --backend null
bench infer --model collections:OrderedDict --shape x=1x2 --backend null

# shapes, numbers and units
bench infer --model tiny.onnx --backend null --shape x
bench infer --model tiny.onnx --backend null --shape x=1,4
bench infer --model tiny.onnx --backend null --shape x=0x4
bench infer --model tiny.onnx --backend null --shape z=1x4
bench infer --model tiny.onnx --backend null --shape x=1x5
bench infer --model tiny.onnx --backend null --feedback z=x
bench infer --model tiny.onnx --backend null --feedback y=z
bench infer --model tiny.onnx --backend null --feedback y=x
bench infer --model tiny.onnx --backend null --feedback y
bench infer --model tiny.onnx --backend null --step-seconds 0
bench infer --model tiny.onnx --backend null --inputs 0
bench infer --model tiny.onnx --backend null --inputs 2 --feedback y=x
bench infer --model tiny.onnx --backend null --inputs 4 --input x=double.npy
bench infer --model tiny.onnx --backend null --inputs 60 --dataset tensors:pairs.npz --out many
bench infer --model tiny.onnx --backend null --cache warm,hot
bench infer --model tiny.onnx --backend null --cache cold --load poisson --slo p99=10ms
bench infer --model tiny.onnx --backend null --cache cold --metric throughput
bench infer --model tiny.onnx --backend null --lock-clocks fast
bench infer --model tiny.onnx --backend null --lock-clocks --device cpu
bench infer --model open.onnx --backend null
bench infer --model tiny.onnx --backend null --batch 0
bench infer --model tiny.onnx --backend null --batch '1;8'
bench infer --model tiny.onnx --backend null --batch 1 --batch 8
bench infer --model tiny.onnx --backend null --threads 0
bench infer --model tiny.onnx --backend null --threads many
bench infer --model tiny.onnx --backend null --builds 0
bench infer --model tiny.onnx --backend null --builds three
bench infer --model tiny.onnx --backend null --timeout inf
bench train --data-parallel 2 --batch-size 63
bench train --pipeline 2 --microbatches 7
bench train --pipeline 2 --microbatches 1
bench train --pipeline 2 --schedule zigzag
bench train --pipeline two
bench infer --model tiny.onnx --backend null --load poisson
bench infer --model tiny.onnx --backend null --slo p99=10ms
bench infer --model tiny.onnx --backend null --load poisson --slo p98=1ms
bench infer --model tiny.onnx --backend null --load poisson --slo p99=10min
bench infer --model tiny.onnx --backend null --load poisson --slo p99=0ms
bench recommend good --max p51=10ms
bench recommend good --max p99=10W
bench recommend good --objective cost
bench recommend good --objective cost --price ort=1
bench recommend good --objective cost --price null=cheap
bench check --model tiny.onnx --backend null --max top1_drop=0.5
bench check --model tiny.onnx --backend null --max p99=10ms
bench compare good good --fail-on p50=5%
bench compare good good --fail-on 'p51>5%'
bench compare good good --fail-on 'p50>5ms'

# folders and files
bench infer --resume
bench infer --model tiny.onnx --backend null --out good
bench infer --model tiny.onnx --backend null --out checked --resume
bench infer --out good --resume --builds 3
bench infer --model tiny.onnx --backend null --keep-engines notes.txt
bench check --model tiny.onnx --backend null --out good
bench infer --model tiny.onnx --backend null --out notes.txt/run
bench export --model tiny.onnx --out notes.txt/files
bench infer --model empty.onnx --backend null
bench infer --model text.onnx --backend null
bench infer --model short.onnx --backend null
bench infer --model tiny.onnx --backend null --input x=missing.npy
bench infer --model tiny.onnx --backend null --input x=notes.txt
bench infer --model tiny.onnx --backend null --input x=double.npy
bench export --model tiny.onnx --calibration missing.npz
bench export --model tiny.onnx --exclude NOSUCH
bench export --model half.onnx --precision int8
bench check --artifacts half --precision int8 --backend null
bench train --dataset npz:missing.npz
bench train --dataset idx:nowhere
bench train --dataset images:nowhere
bench train --dataset images:artifacts
bench infer --model tiny.onnx --backend null --dataset images:good --preprocess sise=8
bench infer --model tiny.onnx --backend null --dataset images:good --preprocess size=8,crop=centre
bench infer --model tiny.onnx --backend null --preprocess size=8
bench export --model tiny.onnx --calibration-method minmx
bench export --model tiny.onnx --calibration-images 1000 --calibration labelled.npz
bench export --model tiny.onnx --precision fp16 --max top1_drop=0.5
bench export --model tiny.onnx --max top1_drop=0.5
bench export --model tiny.onnx --max p50=1ms
bench export --model tiny.onnx --min top1_drop=0.5
bench export --model tiny.onnx --min sqnr=20 --min sqnr=30
bench export --model tiny.onnx --min sqnr=20 --int8 best
bench export --model tiny.onnx --min sqnr=20 --backend ort-cpo
bench export --model tiny.onnx --min sqnr=20 --backend null,ort-cpu
bench export --model tiny.onnx --min sqnr=20 --backend openvino-cpu --int8 dynamic
bench export --model tiny.onnx --backend ort-cpu
bench export --model cnn --max top1_drop_ci_high=0.5
bench show nowhere
bench show notes.txt
bench show newer
bench show artifacts
bench recommend checked
bench compare good
bench compare good good good
bench compare good other
bench compare --base good
bench compare --base good good --new good
bench report good
bench report good --out report.docx
bench report good --out nowhere/report.html
bench report good --out checked
bench show good --baseline ort
bench history
bench history good
bench history good checked
bench history good other --metric p51
bench history good other --metric top1
bench history good other --where backend
bench history good other --where backend=tpu
bench history good other --by time
bench history good other --control ort-cpu
bench history good newer
bench bisect --backend ort-cpu --good 1.28 --model tiny.onnx
bench bisect --good 1.28 --bad 1.31 --model tiny.onnx
bench bisect --backend ort-cpu,openvino-cpu --good 1.28 --bad 1.31 --model tiny.onnx
bench bisect --backend null --good 1.28 --bad 1.31 --model tiny.onnx
bench bisect --backend ort-cpu --good 1.28 --bad 1.31 --model tiny.onnx --batch 1,8
bench bisect --backend ort-cpu --good 1.28 --bad 1.31 --model missing.onnx
bench bisect --backend ort-cpu --good 1.28 --bad 1.31 --model tiny.onnx --threshold 3
bench bisect --backend ort-cpu --good 1.28 --bad 1.31 --model tiny.onnx --python ort-cpu=bare
bench profile good
bench profile good --batch 1
bench profile --model tiny.onnx --backend null --feedback y=x
bench profile --model missing.onnx --backend null
bench import notes.txt --out imported
bench import missing.json --out imported

# clusters
bench infer --model tiny.onnx --on http://host:1
bench infer --model tiny.onnx --node cpu
bench infer --model tiny.onnx --on ray --dry-run
bench infer --model tiny.onnx --on ray --keep-engines kept
bench check --model tiny.onnx --every-node
bench train --node cpu
bench train --on ray --data-parallel 2 --batch-size 63
bench train --on ray --dataset npz:missing.npz

# runtimes and libraries that are not installed
bench infer --model tiny.onnx --backend ort-cpu --python ort-cpu=bare --out new
bench infer --model tiny.onnx --backend null --device cuda --out new
bench infer --model tiny.onnx --backend null --track wandb
bench report good --out report.png
bench infer --model tiny.onnx --on ray
"""


def lines():
    return [line for line in MISTAKES.splitlines() if line.startswith("bench ")]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A folder with models, files, artifacts and runs, in which each mistake is made."""
    folder = tmp_path_factory.mktemp("mistakes") / "example"
    folder.mkdir()
    onnxfiles.write(folder / "tiny.onnx", onnxfiles.dense())
    onnxfiles.write(folder / "open.onnx", onnxfiles.sequence())
    onnxfiles.write(folder / "half.onnx", onnxfiles.mixed())
    (folder / "empty.onnx").touch()
    (folder / "short.onnx").write_bytes((folder / "tiny.onnx").read_bytes()[:-20])
    (folder / "text.onnx").write_text("hello, I am a text")
    (folder / "notes.txt").write_text("notes\n")
    np.save(folder / "double.npy", np.ones((2, 4)))
    np.savez(folder / "labelled.npz", x=np.ones((20, 4), np.float32))
    np.savez(folder / "pairs.npz", x=np.random.default_rng(0).random((40, 4), np.float32), y=np.arange(40) % 2)
    (folder / "newer").mkdir()
    (folder / "newer/run.json").write_text(json.dumps({"schema": 999}))
    venv.create(folder / "bare", symlinks=True)
    for line in (
        "bench infer --model tiny.onnx --backend null --budget quick --out good",
        "bench check --model tiny.onnx --backend null --out checked",
        "bench infer --model half.onnx --backend null --precision fp16 --budget quick --out other",
        "bench export --model tiny.onnx --precision fp32",
        "bench export --model half.onnx --out half",
    ):
        code, printed = make(line, folder)
        assert code == 0, printed
    return folder


def make(line, folder):
    """Run `line` in `folder`. Its exit code and what it printed on stderr, and on stdout of a table the rows' reasons."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        environment = {"ONNXBENCH_CACHE": str(folder.parent / "cache")}
        done = CliRunner().invoke(main, shlex.split(line)[1:], prog_name="bench", env=environment)
    finally:
        os.chdir(before)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    reasons = [text.strip() for text in done.stdout.splitlines() if re.search(r"(unavailable|unsupported|failed): ", text)]
    text = done.stderr + "".join(f"{reason}\n" for reason in reasons)
    for found, name in ((str(folder), "FOLDER"), (host(), "HOST"), (STAMP, "runs/TIME")):
        text = re.sub(found if found is STAMP else re.escape(found), name, text)
    return done.exit_code, text


ABSENT = ("matplotlib", "ray")


class Absent:
    """Finder of modules for which the libraries ABSENT are not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        library = name.partition(".")[0]
        if library in ABSENT:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)


def hide_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for name in [name for name in sys.modules if name.partition(".")[0] in ABSENT]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])


def host():
    """The machine's CPU, as runs and hints name it."""
    return Local().host().cpu


def entry(line, code, printed):
    return f"$ {line}\n{printed.rstrip()}\n[exit {code}]\n"


def stored(line):
    """The entry of `line` in the file, without the others, so that a failure shows what differs."""
    found = re.search(rf"^\$ {re.escape(line)}\n.*?^\[exit \d+\]\n", GOLDEN.read_text(), re.M | re.S)
    return found and found[0]


@pytest.fixture(scope="module")
def rewritten():
    """Entries by their line. All of them replace the file at the end where the user asks for that."""
    entries = {}
    yield entries
    if REWRITE in os.environ:
        text = "".join(f"\n{entries.get(line) or line}" if line else "" for line in MISTAKES.strip().splitlines())
        GOLDEN.write_text(HEADER + re.sub(r"\n(# .*)", r"\n\n\1\n", text))


@pytest.mark.parametrize("line", lines())
def test_a_mistake_ends_in_a_sentence_and_an_exit_code(line, example, rewritten, tmp_path, monkeypatch):
    hide_libraries(monkeypatch)
    folder = tmp_path / "example"
    shutil.copytree(example, folder, symlinks=True)
    code, printed = make(line, folder)
    assert code in (1, 2, 3)
    assert "Traceback" not in printed
    rewritten[line] = entry(line, code, printed)
    if REWRITE not in os.environ:
        assert rewritten[line] == stored(line)


def test_the_file_has_these_mistakes_and_no_others():
    if REWRITE in os.environ:
        pytest.skip("the file is written at the end")
    assert re.findall(r"^\$ (.*)", GOLDEN.read_text(), re.M) == lines()
    assert len(lines()) >= 50

"""Several builds and kept engines, as a user asks for them: a backend of another package builds, and its calls take as long as
its engine says."""

import json
import os
import sys

import pytest
from onnxbench.results.store.record import read_run
from onnxfiles import MINI

PLUGIN = '''
import os
from dataclasses import replace

from onnxbench.backends.null import Null, NullSession
from onnxbench.backends.shelf import Shelf

TURNS = (0, 100_000, 20_000)


class Backend(Null):
    """Builds an engine that is the number of turns of an empty loop in each call."""

    name = "builder"
    builds = True

    def _build(self, artifact, cell, workshop):
        maker = os.environ.get("MAKER", "Builder 1 on here")
        return Shelf(workshop, artifact, cell, maker).engine(lambda known: (str(TURNS[workshop.build]).encode(), b""))

    def _open_engine(self, artifact, cell, concurrency, engine):
        settings = replace(cell.settings, options=(("work", engine.path.read_text()),))
        return NullSession(artifact, replace(cell, settings=settings))

    def engine_snippet(self, artifact, cell, concurrency, engine):
        return f"print(open({str(engine.path)!r}).read())"
'''


@pytest.fixture
def builder(shell, null_file):
    """`bench infer` on the backend `builder`."""
    site = shell.folder / "site"
    (site / "builder-1.0.dist-info").mkdir(parents=True)
    (site / "builder_plugin.py").write_text(PLUGIN)
    (site / "builder-1.0.dist-info/entry_points.txt").write_text("[onnxbench.backends]\nbuilder = builder_plugin:Backend\n")
    (site / "builder-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: builder\nVersion: 1.0\n")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])

    def infer(*more, code=0):
        asked = ("infer", "--model", null_file, "--backend", "builder", "--batch", "1", *MINI, *more)
        done = shell.bench(*asked, "--format", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout), done.stderr

    return infer


@pytest.mark.long
def test_the_middle_of_three_builds_is_measured_kept_and_measured_again(builder, shell):
    keep = ("--keep-engines", "kept")
    (row,) = builder("--builds", "3", *keep, "--out", "one")[0]["rows"]
    assert (row["status"], row["builds"]) == ("ok", 3)
    assert row["build_spread"] > 100
    (file,) = (shell.folder / "kept").glob("*.engine")
    assert file.read_text() == "20000"
    (record,) = read_run(shell.folder / "one").cells
    assert record.warm.single.snippet == f"print(open({str(file)!r}).read())"
    (again,) = builder("--builds", "3", *keep, "--out", "two")[0]["rows"]
    assert (again["builds"], again["engine_sha256"]) == (1, row["engine_sha256"])
    assert 0.5 < again["p50_ms"] / row["p50_ms"] < 2
    assert [row["builds"] for row in shell.rows("infer", "--resume", "--out", "one", *keep)] == [3]
    for more, words in ((("--builds", "2", *keep), "3 builds of each engine"), ((), "give --keep-engines again")):
        done = shell.bench("infer", "--resume", "--out", "one", *more)
        assert (done.returncode, words in done.stderr) == (2, True)
    shell.environment["MAKER"] = "Builder 2 on there"
    (refused,) = builder(*keep, "--out", "three", code=3)[0]["rows"]
    assert refused["status"] == "unsupported"
    assert "Builder 1 on here, and this is Builder 2 on there" in refused["reason"]

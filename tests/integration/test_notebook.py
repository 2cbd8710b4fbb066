"""The notebook, executed from top to bottom in a kernel of its own. `make test-long` installs what it needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/notebooks/cpu-against-gpu.ipynb"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    # A kernel runs in the folder of its notebook, where the export would write artifacts.
    notebook, executed = Path(shutil.copy(NOTEBOOK, tmp_path)), tmp_path / "executed.ipynb"
    command = (sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", executed, notebook)
    environment = {**os.environ, "ONNXBENCH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=590)
    assert done.returncode == 0, done.stderr
    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert sum("<table>" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs) == 4
    assert not [output for output in outputs if output["output_type"] == "error"]

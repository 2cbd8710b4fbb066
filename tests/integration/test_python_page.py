"""The examples of docs/python.md, run as one program in the order of the page."""

import re
from pathlib import Path

import onnxfiles

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"


def test_the_examples_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= 7
    onnxfiles.write(tmp_path / "net.onnx", onnxfiles.dense())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    names = {}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
    printed = capsys.readouterr()
    assert printed.err == ""  # progress is quiet by default
    assert "did you mean 'ort-cpu'?" in printed.out
    assert (tmp_path / "report.html").exists()
    assert [row["status"] for row in names["result"]] == ["ok", "ok"]
    assert {"first", "second"} < {path.name for path in Path("runs").iterdir()}  # the check made a folder of its own

"""The rules of the house that a machine can check; import-linter and ruff check the rest."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import reference

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backends", "commands", "exporters", "models", "results", "runners")
SUBPACKAGES = (
    *("results/bisect", "results/compare", "results/history", "results/imports", "results/profile"),
    *("results/recommend", "results/report"),
    *("results/stats", "results/store", "results/table", "results/table/columns", "results/trackers"),
    *("runners/cluster", "runners/pool", "runners/prepare", "runners/sweep", "runners/worker"),
)
ROOT_FILES = {
    "__init__.py",
    "api.py",
    "axes.py",
    "budgets.py",
    "built.py",
    "cli.py",
    "devices.py",
    "errors.py",
    "evidence.py",
    "factories.py",
    "files.py",
    "loop.py",
    "parity.py",
    "profiles.py",
    "spec.py",
    "tuning.py",
    "untrusted.py",
    "wire.py",
    "work.py",
}
SOURCES = sorted(
    path for folder in (ROOT, *(ROOT / name for name in (*PACKAGES, *SUBPACKAGES))) for path in folder.glob("*.py")
)
FILE_CAP, FUNCTION_CAP, MEDIAN_CAP, MOST_CAP = 400, 50, 8, 25
PAGE = ("matplotlib", "jinja2", "pyarrow")
HEAVY = ("numpy", "onnx", "rich", "psutil", "torch", "onnxruntime", "openvino", "sklearn", "importlib.metadata", *PAGE)


def functions(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(node):
    return node.end_lineno - node.lineno + 1


def test_the_root_holds_the_architecture_and_nothing_else():
    assert {path.name for path in ROOT.glob("*.py")} == ROOT_FILES
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    inside = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("*.py")} - {ROOT / name for name in PACKAGES}
    assert {str(path.relative_to(ROOT)) for path in inside} == set(SUBPACKAGES)


def test_every_package_is_shipped():
    listed = re.search(r"^packages = \[([^\]]*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    names = sorted((*PACKAGES, *(name.replace("/", ".") for name in SUBPACKAGES)))
    assert re.findall(r'"onnxbench\.?([\w.]*)"', listed) == ["", *names]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_and_functions_are_short_and_clean_on_python_3_10(path):
    assert len(path.read_text().splitlines()) <= FILE_CAP
    assert [node.name for node in functions(path) if length(node) > FUNCTION_CAP] == []


def test_the_median_function_is_short_and_nine_of_ten_are_not_long():
    lengths = [length(node) for path in SOURCES for node in functions(path)]
    assert statistics.median(lengths) <= MEDIAN_CAP
    assert sum(lines < MOST_CAP for lines in lengths) >= 0.9 * len(lengths)


def test_public_functions_and_classes_have_docstrings():
    bare = []
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                bare.append(f"{path.name}:{node.name}")
    assert bare == []


def test_modules_say_why_they_exist():
    assert [path.name for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def loaded(code):
    """Which heavy modules are loaded after `code` ran in a fresh interpreter."""
    code = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stderr.splitlines()[-1])


def test_help_loads_the_standard_library_and_click_alone():
    assert loaded("from onnxbench.cli import main\nmain(['--help'], standalone_mode=False)") == []
    assert loaded("from onnxbench.cli import main\nmain(['infer', '--help'], standalone_mode=False)") == []
    assert loaded("from onnxbench.cli import main\nmain(['report', '--help'], standalone_mode=False)") == []


def test_the_parents_modules_load_no_framework():
    code = "from onnxbench.runners import check, infer, preview\nfrom onnxbench.runners.prepare import train"
    code += "\nfrom onnxbench.results.table import table, render"
    code += "\nfrom onnxbench.results.report import data, grid, cards, points, plots, inline, page, exports"
    assert set(loaded(code)) <= {"numpy", "rich", "psutil", "importlib.metadata"}


def test_worker_modules_need_numpy_alone():
    assert set(loaded("from onnxbench.runners.worker import bootstrap, cell_jobs, serve")) <= {"numpy"}


def test_nobody_names_a_backend_outside_its_file():
    names = re.compile(r"""["'](torch-cpu|torch-cuda|ort-cpu|ort-cuda|openvino-cpu|tensorrt|ncnn-cpu|mnn-cpu)["']""")
    allowed = {"backends/__init__.py", "runners/worker/reference.py"}  # the registry; and what the reference is
    allowed.add("results/imports/trtexec.py")  # a vendor's tool, which runs one runtime alone
    found = {str(path.relative_to(ROOT)) for path in SOURCES if names.search(path.read_text())}
    own = {name for name in found if name.startswith("backends/")}
    assert found - own - allowed == set()


def test_the_readme_names_every_command():
    from onnxbench.cli import main

    text = (ROOT / "README.md").read_text()
    assert [name for name in main.list_commands() if f"bench {name}" not in text] == []


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_file_is_up_to_date(name):
    assert (ROOT / name).read_text() == reference.PAGES[name](), "run `make reference`, and commit what it writes"


def test_every_column_knows_its_definition():
    from onnxbench.results.table.columns import COLUMNS

    definitions = [column.definition for column in COLUMNS]
    assert [text for text in definitions if not re.fullmatch(r"[A-Z].{10,160}\.", text)] == []
    assert len(set(definitions)) == len(definitions)


def test_where_is_what_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (table,) = re.findall(r"## Where is what\n\n(.*?)\n\n", text, re.DOTALL)
    tasks = [row.strip("|").split("|") for row in table.splitlines()[2:]]
    assert len(tasks) == 15
    for task, files in tasks:
        paths = re.findall(r"`([^`]+)`( \(new\))?", files)
        assert paths, task
        assert [path for path, new in paths if not list(ROOT.glob(str(Path(path).parent) if new else path))] == []


DESCRIBES_ROWS = {"--backend", "--model", "--precision", "--batch", "--device"}  # of another tool, in `bench import`
MEANT_BY_COMMAND = {"--out", "--format", "--precision", "--device"}  # one declaration that takes what it writes, or of which


def declared(path):
    """The names of the options that a module declares."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    options = [call for call in calls if ast.unparse(call.func) == "click.option"]
    return [call.args[0].value for call in options if call.args and isinstance(call.args[0], ast.Constant)]


def test_every_option_is_declared_once():
    found = {path.name: declared(path) for path in (ROOT / "commands").glob("*.py")}
    assert set(found["import_.py"]) >= DESCRIBES_ROWS
    names = [name for path, names in found.items() for name in names if not (path == "import_.py" and name in DESCRIBES_ROWS)]
    assert len(names) > 40
    assert sorted({name for name in names if names.count(name) > 1}) == [
        "--format"
    ]  # report's are of files, and has no default


def test_an_option_has_one_help_wherever_it_is():
    from onnxbench.cli import COMMANDS, main

    helps = {}
    for command in set(COMMANDS) - {"import"}:
        for option in main.get_command(None, command).params:
            for name in option.opts if hasattr(option, "help") else ():
                helps.setdefault(name, set()).add(option.help)
    assert {name for name, texts in helps.items() if len(texts) > 1} <= MEANT_BY_COMMAND

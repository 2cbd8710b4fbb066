"""Rules of words and names that a machine can check: docstrings, sentences, names, and the help of options."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import click
import pytest
from onnxbench.cli import COMMANDS, main
from onnxbench.results.table.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("backends", "commands", "exporters", "models", "results", "runners")
SOURCES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in sorted((*ROOT.glob("*.py"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))))
}
QUESTION = re.compile(r"(what|whether|how|where|why|who|whom|whose|which)\b", re.IGNORECASE)

WORDS = re.compile(r"\b(told|said|asked for|held|g(?:one|oes|oing) on with|kin to)\b(?!-)")
PARTICIPLES = {"found", "known", "told", "asked", "held", "wanted", "said", "kept", "chosen", "taken"}
STORED_NAMES = {"asked"}  # a field of evidence.UnderLoad, which stored runs have


def docstrings(tree):
    """Docstrings of the module, its classes and its functions, and the texts that stand after a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def defined(kind, name=None):
    """Names of a `kind` (class or function) and the files that define them. Functions are those of the module itself."""
    places = defaultdict(list)
    for path, tree in SOURCES.items():
        for node in ast.walk(tree) if kind is ast.ClassDef else tree.body:
            if isinstance(node, kind) and name in (None, node.name):
                places[node.name].append(path)
    return places


def shared(places):
    """Names that several files define."""
    return {name: paths for name, paths in places.items() if len(paths) > 1}


@pytest.mark.parametrize("name", SOURCES)
def test_a_docstring_begins_with_a_noun_or_a_verb(name):
    assert [f"{name}:{line}: {text[:60]}" for line, text in docstrings(SOURCES[name]) if QUESTION.match(text)] == []


def test_the_rule_finds_questions_in_every_kind_of_docstring():
    source = '"""What."""\nclass A:\n    """How."""\n    def _f():\n        """Whether."""\nB = 1\n"""Which."""\n'
    assert [line for line, text in docstrings(ast.parse(source)) if QUESTION.match(text)] == [1, 7, 3, 5]
    assert not QUESTION.match("Whatever is left.")


def variables(tree):
    """Names and lines of the variables and parameters in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


@pytest.mark.parametrize("name", SOURCES)
def test_a_docstring_has_the_terms_of_the_field(name):
    assert [f"{name}:{line}: {found[0]}" for line, text in docstrings(SOURCES[name]) if (found := WORDS.search(text))] == []


def test_a_sentence_of_a_finding_has_the_terms_of_the_field():
    assert [kind for kind, declared in KINDS.items() if WORDS.search(declared.sentence)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_a_variable_is_named_by_a_noun(name):
    names = PARTICIPLES - (STORED_NAMES if name == "evidence.py" else set())
    assert [f"{name}:{line}: {variable}" for variable, line in variables(SOURCES[name]) if variable in names] == []


def test_the_rules_find_participles_and_decoded_words():
    assert [
        name for name, _ in variables(ast.parse("found = 1\ndef f(told): ...\nfor held in x: ...")) if name in PARTICIPLES
    ] == [*("found", "held", "told")]
    assert WORDS.search("it goes on with the rest")
    assert not WORDS.search("held-out data, and the request")


def test_no_two_classes_have_one_name():
    assert shared(defined(ast.ClassDef)) == {}


def test_no_two_public_functions_are_called_read():
    assert shared(defined(ast.FunctionDef, "read")) == {}


def options():
    """Every option of every command, with the name of the command."""
    for name in COMMANDS:
        for option in main.get_command(None, name).params:
            if isinstance(option, click.Option):
                yield name, option


def test_every_option_has_a_sentence_of_help():
    found = [(f"{name} {option.opts[0]}", option.help or "") for name, option in options()]
    assert len(found) > 100
    assert [name for name, text in found if not re.search(r"[.)\]]$", text.strip())] == []

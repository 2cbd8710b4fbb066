"""Facts of the packages that backends need, and the table that shows them."""

import re
from pathlib import Path

import pytest
from onnxbench import backends
from onnxbench.backends.packages import PACKAGES, licence
from onnxbench.results.table import machine

PINS = dict(re.findall(r"^([\w-]+)==([^;\s]+)", (Path(__file__).parents[2] / "constraints.txt").read_text(), re.MULTILINE))
FACTS = machine.Presence(
    backend="x",
    available=True,
    install="pip install x",
    precisions=("fp32", "(fp16)"),
    options=("graph",),
    threads=2,
    licence="MIT",
)


@pytest.mark.parametrize("name", backends.BUILT_IN)
def test_a_backend_needs_a_package_whose_licence_is_known(name):
    package = backends.BUILT_IN[name].package
    assert not package or licence(package)


def test_a_package_of_others_has_no_licence_here():
    assert (licence("theirs"), licence("")) == ("", "")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_version_is_the_tested_one(name):
    package = PACKAGES[name]
    assert PINS.get(name, package.version) == package.version
    assert re.fullmatch(r"3\.\d+(-3\.\d+| and later)", package.pythons)
    assert package.platforms


def test_all_facts_are_shown_on_request_alone():
    plain, whole = machine.build([FACTS]), machine.build([FACTS], everything=True)
    assert set(plain.names) < set(whole.names)
    facts = ["precisions", "threads", "licence", "options", "install", "converter"]
    assert [field.name for field in whole.fields][-len(facts) :] == facts
    row = whole.rows[0]
    assert [row[name] for name in ("precisions", "threads", "licence", "options")] == ["fp32, (fp16)", 2, "MIT", "graph"]
    assert len(set(whole.names)) == len(whole.names)


def test_a_fact_that_does_not_apply_is_empty():
    row = machine.build([machine.Presence(backend="x", available=False)], everything=True).rows[0]
    assert {row[name] for name in ("precisions", "threads", "licence", "options", "install")} == {None}

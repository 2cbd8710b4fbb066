"""The documents: links and anchors that lead somewhere, short lines and short sentences."""

import json
from pathlib import Path
from statistics import fmean

import prose
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that a benchmark wrote on the machine that they describe. They have logs and lists of names.
RECORDS = [page for page in PAGES if page.parent.name == "results" or page.name == "census.md"]
WRITTEN = [page for page in PAGES if page not in RECORDS]
LINE, SENTENCE, MEAN = 110, 30, 18


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_anchors_lead_somewhere(page):
    assert prose.broken_links(page) == []


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_lines_fit_a_narrow_window(page):
    text = prose.without_code(page.read_text())
    assert [line for line in text.splitlines() if len(line) > LINE and not line.startswith("|")] == []


@pytest.mark.parametrize("page", [page for page in WRITTEN if page.name != "commands.md"], ids=name)  # help has lists
def test_sentences_are_short(page):
    found = prose.sentences(page.read_text())
    assert [sentence for sentence in found if prose.words(sentence) > SENTENCE] == []
    assert fmean(map(prose.words, found or [""])) <= MEAN


def test_every_page_is_in_the_index():
    pages = {name(page) for page in (ROOT / "docs").glob("*.md")} | {
        name(page) for page in (ROOT / "docs/results").glob("*.md")
    }
    index = ROOT / "docs/README.md"
    listed = {name((index.parent / link.partition("#")[0]).resolve()) for link in prose.links(index.read_text())}
    assert pages - listed - {"docs/README.md"} == set()


def test_the_reader_finds_anchors_links_and_long_sentences(tmp_path):
    text = "# One: `two`\n\n## One two\n\n## One two\n\n```\n# not a heading [x](y)\n```\n\n    [a](b)\n\nSee [c](#d).\n"
    assert prose.anchors(text) == {"one-two", "one-two-1", "one-two-2"}
    assert prose.links(text + "`[e](f)`\n") == ["#d"]
    assert prose.sentences("- One two three. Four five six!\n\n| seven eight nine |\n") == ["One two three.", "Four five six!"]
    assert prose.words("It has `some code here` in it.") == 5
    (tmp_path / "a.md").write_text("# A\n\n[b](b.md#b) [c](#a) [d](#d) [e](https://example.org/#x) [f](missing.md)\n")
    (tmp_path / "b.md").write_text("# B\n")
    assert prose.broken_links(tmp_path / "a.md") == ["#d", "missing.md"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=name)
def test_a_notebook_is_stored_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert [sentence for sentence in prose.sentences(text) if prose.words(sentence) > SENTENCE] == []

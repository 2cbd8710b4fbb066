"""The report's page in a real browser, as people read it: it opens from a file, with no network."""

import json
import shutil
from pathlib import Path

import pytest
from onnxbench.spec import Cell, from_wire

from .conftest import REQUIRED, Shell

HOSTILE = (
    "<img src=x onerror=\"document.title='broken'\">",
    "</script><script>document.title='broken'</script>",
    '"><svg onload="document.title=\'broken\'">',
    "${document.title='broken'} {{ 7 * 7 }} \u2028 &lt;b&gt; '",
)
COPIES = 30  # rows of each cell, so that there are several pages of them
SHOWN = "#grid tbody tr"


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        refuse = pytest.fail if "chromium" in REQUIRED else pytest.skip
        refuse("there is no Chromium here")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory, null_file):
    """The page of a run of the null backend, whose rows were copied under hostile models' names."""
    folder = tmp_path_factory.mktemp("reported")
    shell = Shell(folder, folder / "cache")
    how = ("--backend", "null", "--batch", "1,2,4,8", "--budget", "quick", "--option", "null.work=2000")
    done = shell.bench("infer", "--model", null_file, *how, "--out", "run")
    assert done.returncode == 0, done.stderr
    rename(folder / "run")
    done = shell.bench("report", "run", "--out", "report.html", "--baseline", "null")
    assert (done.returncode, done.stdout) == (0, "report.html\n"), done.stderr
    return folder / "report.html"


def rename(folder):
    """Makes the run's rows COPIES each, all called what somebody hostile would call a model, and its backend no instrument."""
    head, journal = json.loads((folder / "run.json").read_text()), folder / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    cells, copied = [], []
    for nth, cell in enumerate(head["cells"]):
        for copy in range(COPIES):
            renamed = {**cell, "model": f"{HOSTILE[nth % len(HOSTILE)]} {copy}"}
            new = from_wire(Cell, renamed).key
            cells.append({**renamed, "key": new})
            copied += [{**event, "cell": new} for event in events if event["cell"] == cell["key"]]
    (folder / "run.json").write_text(json.dumps({**head, "cells": cells, "instruments": []}))
    journal.write_text("".join(json.dumps(event) + "\n" for event in copied))


class Opened:
    """A page, with everything that it said and asked for."""

    def __init__(self, context, path):
        self.page = context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = Path(path).as_uri()
        self.page.goto(self.url)

    def rows(self):
        return self.page.locator(SHOWN).count()

    def column(self, number):
        return self.page.locator(f"{SHOWN} td:nth-child({number})").all_inner_texts()

    def counts(self, rows):
        """Waits until so many rows are left."""
        from playwright.sync_api import expect

        expect(self.page.locator("#count")).to_have_text(f"{rows} of {4 * COPIES} rows.")

    def has(self, text):
        """Waits until the first row has `text`."""
        from playwright.sync_api import expect

        expect(self.page.locator(SHOWN).first).to_contain_text(text)

    def quiet(self):
        """Whether the page is all that was loaded, and nothing went wrong, an attack or a breach of its policy included."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [self.url]
        assert self.page.title().startswith("onnxbench: ")


@pytest.fixture
def opened(browser, report):
    """Opens the page; `how` is the browser's context. What it said is looked at when the test ends."""
    made = []

    def open_page(**how):
        context = browser.new_context(offline=True, **how)
        made.append((context, Opened(context, report)))
        return made[-1][1]

    yield open_page
    for context, page in made:
        page.quiet()
        context.close()
    assert made


def test_the_page_shows_its_rows_page_by_page(opened):
    page = opened()
    assert page.rows() == 100
    assert page.page.locator("#count").inner_text() == f"{4 * COPIES} of {4 * COPIES} rows."
    page.page.locator("#on").click()
    assert page.rows() == 4 * COPIES - 100
    assert page.page.locator("#on").is_disabled()


def test_the_filter_leaves_the_rows_that_have_every_word(opened):
    page = opened()
    page.page.fill("#filter", "ONERROR 17")
    page.counts(1)
    page.has(HOSTILE[0])
    page.page.fill("#filter", "no such words")
    page.counts(0)
    assert page.rows() == 0


def test_a_select_leaves_the_rows_of_its_value(opened):
    page = opened()
    page.page.select_option("select[data-column=batch]", "4")
    assert page.rows() == COPIES
    page.page.select_option("select[data-column=batch]", "")
    assert page.rows() == 100


@pytest.mark.parametrize("press", ["click", "keys"])
def test_a_heading_sorts_both_ways(opened, press):
    page = opened()
    headings = page.page.locator("#grid th").all_inner_texts()
    place = next(nth for nth, text in enumerate(headings) if text.startswith("throughput"))
    heading = page.page.locator("#grid th").nth(place)
    for direction in ("ascending", "descending"):
        heading.locator("button").click() if press == "click" else heading.locator("button").press("Enter")
        assert heading.get_attribute("aria-sort") == direction
        values = [float(text) for text in page.column(place + 1)]
        assert values == sorted(values, reverse=direction == "descending")
    assert page.page.locator("#grid th[aria-sort=descending], #grid th[aria-sort=ascending]").count() == 1


def test_the_rest_of_a_row_opens_and_closes(opened):
    page = opened()
    button = page.page.locator(f"{SHOWN} button").first
    button.click()
    assert "samples" in page.page.locator("tr.detail dt").all_inner_texts()
    button.click()
    assert page.page.locator("tr.detail").count() == 0


def test_a_hostile_name_is_text_wherever_it_stands(opened):
    page = opened()
    assert page.page.locator("img, iframe, object, embed, main script, [onload], [onerror]").count() == 0
    assert page.page.locator("script").count() == 2
    for name in HOSTILE[:3]:
        page.page.fill("#filter", name)
        page.has(name)
        page.counts(COPIES)


def test_a_script_that_got_in_would_not_run_and_would_be_seen(opened):
    page = opened()
    script = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    page.page.evaluate(script)
    page.page.evaluate("fetch('http://127.0.0.1:9/').catch(() => null)")
    assert [text for text in page.said if "script-src" in text]
    assert [text for text in page.said if "connect" in text]
    page.said.clear()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(opened, width):
    page = opened(viewport={"width": width, "height": 740})
    page.page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    page.page.locator(f"{SHOWN} button").first.click()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="session")
def old_report(tmp_path_factory):
    """The page of a stored run of version 0.1, of two runtimes, with a baseline."""
    folder = tmp_path_factory.mktemp("old")
    done = Shell(folder, folder / "cache").bench("report", Path(__file__).parents[1] / "data/v0_1/run", "--out", "old.html")
    assert done.returncode == 0, done.stderr
    return folder / "old.html"


@pytest.fixture
def visit(browser, old_report):
    """Opens the page of the stored run in a window of so many pixels; `more` is the browser's context."""
    contexts = []

    def open_page(width, height=800, **more):
        contexts.append(browser.new_context(offline=True, viewport={"width": width, "height": height}, **more))
        return Opened(contexts[-1], old_report)

    yield open_page
    for context in contexts:
        context.close()


def boxes(page, selector):
    """Left, top, right and bottom, in pixels, of every visible element."""
    look = "(all) => all.map((e) => e.getBoundingClientRect()).filter((b) => b.width)"
    look += ".map((b) => [b.left, b.top, b.right, b.bottom])"
    return page.page.locator(selector).evaluate_all(look)


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_the_first_screen_has_the_pick_with_its_figures(visit, width, height, scripts):
    page = visit(width, height, java_script_enabled=scripts)
    titles = page.page.locator(".card .figures dt").all_inner_texts()
    assert {"p50 of a call", "throughput", "top-1 change", "grade"} <= set(titles)
    places = boxes(page, ".card h2, .card .figures div, .card .figures dd")
    assert len(places) == 1 + 2 * len(titles)
    assert all(left >= 0 and right <= width and bottom <= height for left, _, right, bottom in places)
    page.quiet()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_table_and_the_plots_fit_the_window(visit, width):
    page = visit(width)
    (frame,) = boxes(page, "#frame")
    (table,) = boxes(page, "#grid")
    assert table[2] <= frame[2] + 1
    headings = page.page.locator("#grid th").all_inner_texts()
    assert all(any(text.startswith(name) for text in headings) for name in ("p50", "throughput"))
    drawn = boxes(page, "figure svg")
    assert len(drawn) == page.page.locator("figure").count() > 2
    for left, _, right, _ in drawn:
        assert 0 <= left < right <= width
        assert right - left > 0.95 * (frame[2] - frame[0])
    letters = page.page.locator("figure svg text").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert min(height for height in letters if height) > 8
    page.quiet()


def test_columns_without_room_are_in_the_details_of_a_row(visit):
    page = visit(390)
    few = page.page.locator("#grid th").count()
    page.page.locator(f"{SHOWN} button").first.click()
    assert any(text.startswith("load") for text in page.page.locator("tr.detail dt").all_inner_texts())
    page.page.locator("#all").check()
    assert page.page.locator("#grid th").count() > few
    page.page.locator("#all").uncheck()
    assert page.page.locator("#grid th").count() == few
    page.quiet()


def test_dark_and_light_are_what_the_reader_has(opened):
    def colours(page):
        look = "(name) => { const s = getComputedStyle(document.querySelector(name)); return [s.color, s.backgroundColor]; }"
        return [*page.page.evaluate(look, "body"), page.page.evaluate(look, "figure svg")[0]]

    def lightness(colour):
        return sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(","))

    for scheme, darker in (("light", 0), ("dark", 1)):
        ink, paper, plot = colours(opened(color_scheme=scheme))
        assert min((0, ink), (1, paper), key=lambda item: lightness(item[1]))[0] == darker
        assert plot == ink


def test_print_and_a_browser_without_scripts_have_a_plain_table(opened):
    printed = opened()
    assert not printed.page.locator(".still").is_visible()
    printed.page.emulate_media(media="print")
    assert printed.page.locator(".still").is_visible()
    assert not printed.page.locator("#filter").is_visible()
    bare = opened(java_script_enabled=False)
    assert bare.page.locator(".still tbody tr").count() == 4 * COPIES
    assert bare.page.locator(".still").is_visible()

"""Size of a report of many rows, and the time to make it, and to open and filter it in Chromium.

    python benchmarks/report_size.py [ROWS] [ROUNDS] [FOLDER]

A synthetic run folder (large_runs.py). The page is kept in FOLDER. It takes the extra `report`, playwright, and a chromium in
PATH.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from large_runs import write
from onnxbench.results.recommend.candidates import parse_request
from onnxbench.results.report.data import gather
from onnxbench.results.report.page import page
from onnxbench.results.store import record

REPEATS = 5


def browse(path: Path, rows: int) -> None:
    """Opens the page REPEATS times, each in a browser of its own, and prints what it took."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        for _ in range(REPEATS):
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            times, left = visit(browser.new_context(offline=True).new_page(), path, rows)
            print("opened {:.2f} s, filtered {:.2f} s, sorted {:.2f} s;".format(*times), left, flush=True)
            browser.close()


def visit(tab: Any, path: Path, rows: int) -> tuple[list[float], str]:
    """The seconds until the page shows its rows, until those of a filter, and until they are sorted; and how many are left."""
    from playwright.sync_api import expect

    count, times = tab.locator("#count"), [time.perf_counter()]
    tab.goto(path.as_uri())
    expect(count).to_contain_text(f"{rows} of", timeout=60_000)
    times.append(time.perf_counter())
    tab.fill("#filter", "backend-c int8")
    expect(count).not_to_contain_text(f"{rows} of {rows}", timeout=60_000)
    times.append(time.perf_counter())
    tab.locator("#grid th button").nth(4).click()
    expect(tab.locator("#grid th").nth(5)).to_have_attribute("aria-sort", "ascending")
    times.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(times)], count.inner_text()


def main() -> None:
    rows, rounds = (int(word) for word in (*sys.argv[1:3], *("10000", "10")[len(sys.argv[1:3]) :]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch) / "run", rows, rounds)
        times = [time.perf_counter()]
        run = record.read_run(folder)
        times.append(time.perf_counter())
        told = gather([run], parse_request("throughput", (), (), ()))
        times.append(time.perf_counter())
        text = page(told)
        times.append(time.perf_counter())
        path = Path(sys.argv[3] if len(sys.argv) > 3 else scratch) / "report.html"
        path.write_text(text)
        read, computed, drawn = (after - before for before, after in itertools.pairwise(times))
        print(f"{rows} rows of {rounds} rounds: {path.stat().st_size / 1e6:.2f} MB; ", end="")
        print(f"read {read:.1f} s, computed {computed:.1f} s, page made {drawn:.1f} s", flush=True)
        browse(path, rows)


if __name__ == "__main__":
    main()

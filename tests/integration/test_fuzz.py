"""Hostile files, a bounded share of them: never a traceback, a hang, memory without end, or a character that a terminal obeys.

`benchmarks/fuzz.py` does the same for as long as one likes.
"""

import contextlib
import pickle

import endured
import hostile
import pytest

COUNTS = {"model": 200, "artifacts": 150, "dataset": 80, "run_folder": 40, "imported": 200}
FOUND = {  # seeds that were answered with a traceback, a hang or gigabytes once
    "model": (1, 2, 4, 43, 69, 87, 97, 231, 311, 393, 10_015, 1_000_286),
    "artifacts": (),
    "dataset": (3, 5, 134, 200, 2_001_757),
    "run_folder": (0, 1, 2, 3, 1023, 10_084, 1_000_503, 1_000_590, 1_001_627),
    "imported": (10_386,),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_hostile_files_are_endured(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = sorted({*range(10_000, 10_000 + COUNTS[kind]), *FOUND[kind]})
    assert list(endured.wrong(kind, seeds, tmp_path)) == []


def test_the_same_seed_is_the_same_file(tmp_path):
    made = [hostile.run_folder(7, tmp_path / name) for name in "ab"]
    first, second = ({file.name: file.read_bytes() for file in folder.glob("*.json*")} for folder in made)
    assert first == second


def test_the_pickle_that_is_planted_would_do_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(hostile.Owns()))
    assert hostile.OWNED.exists()


def test_what_is_wrong_would_be_found(tmp_path, monkeypatch):
    def greedy(seed, place, hands):
        (place / str(seed)).mkdir()
        return endured._call(lambda: {}["missing"])

    monkeypatch.setitem(endured.KINDS, "model", greedy)
    assert list(endured.wrong("model", [3], tmp_path)) == [(3, "KeyError: 'missing'")]


@pytest.mark.parametrize("words", [("infer", "--model", "{file}", "--backend", "ort-cpu"), ("export", "--model", "{file}")])
def test_hostile_models_end_whole_commands_in_a_sentence(shell, words):
    """Two files that the reader takes or refuses, through every process that a command has."""
    for seed in (10_003, 10_044):
        file = hostile.model(seed, shell.folder / str(seed))
        done = shell.bench(*(word.format(file=file) for word in words), *(("--budget", "quick") if "infer" in words else ()))
        assert done.returncode in (0, 2, 3), (seed, done.stderr)
        assert "Traceback" not in done.stderr + done.stdout
        with contextlib.suppress(FileNotFoundError):
            (shell.folder / "runs").rename(shell.folder / f"runs-{seed}")

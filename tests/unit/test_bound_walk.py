"""The walk of a search within bounds, with an evaluator that has no file."""

import numpy as np
import pytest
from onnxbench.exporters.searched import Evaluated, NodeError
from onnxbench.results.stats.intervals import images_needed
from onnxbench.runners.prepare.bound_walk import BETTER_DB, PROOF, SEARCH, SIZES, Walk, most_in_float
from onnxbench.runners.prepare.bounds import Bound

DROP = Bound(metric="top1_drop", limit=0.5, most=True, text="--max top1_drop=0.5")
CERTAIN = Bound(metric="top1_drop_ci_high", limit=1.0, most=True, text="--max top1_drop_ci_high=1")
SQNR = Bound(metric="sqnr_db", limit=30.0, most=False, text="--min sqnr=30")
NODES = "abcdefghijkl"


def figures(sqnr_db=20.0, lost=0, items=1000, gained=0, **more):
    return Evaluated(items=items, sqnr_db=sqnr_db, lost=lost, gained=gained, right=items - lost, agreed=items - lost, **more)


class Files:
    """Files whose SQNR is that of the noise of their nodes in INT8. `noise`: by scheme and node.

    `proofs`: lost answers of each proof in turn, of 1000; none lost without it. `lost`: lost answers on the search part.
    """

    def __init__(self, noise, proofs=(), lost=lambda sqnr_db: 0):
        self.noise, self.proofs, self.lost, self.told = noise, list(proofs), lost, []

    def rank(self, scheme):
        of = self.noise[scheme]
        return [NodeError(name=name, sqnr_db=-10 * np.log10(of[name]), layer=True) for name in sorted(of, key=lambda n: -of[n])]

    def search(self, scheme, exclude):
        if self.noise[scheme] is None:
            return Evaluated(failed="the runtime refuses it"), None
        power = sum(noise for name, noise in self.noise[scheme].items() if name not in exclude)
        sqnr_db = -10 * np.log10(power)
        return figures(sqnr_db, self.lost(sqnr_db)), None

    def prove(self, scheme, exclude):
        found, _ = self.search(scheme, exclude)
        return figures(found.sqnr_db, self.proofs.pop(0) if self.proofs else 0)

    def record(self, step):
        self.told.append(step)


def walk(files, *bounds, schemes=("fast", "careful"), proof_items=1000):
    return Walk(schemes=schemes, bounds=bounds or (SQNR,), evaluator=files, proof_items=proof_items).run()


def quiet(level=1e-5):
    return dict.fromkeys(NODES, level)


def candidates(result, part):
    return [(step.scheme, step.exclude) for step in result.steps if step.part == part]


def test_the_fastest_scheme_is_enough():
    files = Files({"fast": quiet(), "careful": quiet()})
    result = walk(files)
    assert (result.proven.scheme, result.proven.exclude, result.proven.part) == ("fast", (), PROOF)
    assert candidates(result, SEARCH) == [("fast", ())]
    assert files.told == list(result.steps)


def test_a_sensitive_node_stays_in_float_and_no_other():
    result = walk(Files({"fast": {**quiet(), "d": 1.0, "e": 1.0}, "careful": quiet()}))
    assert (result.proven.scheme, set(result.proven.exclude)) == ("fast", {"d", "e"})


def test_nodes_that_the_bound_does_not_need_are_quantized_again():
    """Alone `a` looks worst, but its error comes from `b`."""

    class Misleading(Files):
        def rank(self, scheme):
            return [NodeError(name=name, sqnr_db=float(number), layer=True) for number, name in enumerate(NODES)]

    result = walk(Misleading({"fast": {**quiet(), "b": 1.0}}), schemes=("fast",))
    assert result.proven.exclude == ("b",)


def test_where_no_exclusion_is_enough_one_trial_says_so_and_the_next_scheme_is_tried():
    result = walk(Files({"fast": dict.fromkeys(NODES, 1.0), "careful": quiet()}))
    assert (result.proven.scheme, result.proven.exclude) == ("careful", ())
    assert [len(exclude) for scheme, exclude in candidates(result, SEARCH) if scheme == "fast"] == [0, 6]


def test_a_scheme_that_the_backend_refuses_is_a_step_and_no_more():
    result = walk(Files({"fast": None, "careful": quiet()}))
    assert result.steps[0].figures.failed
    assert result.proven.scheme == "careful"


def test_a_failed_proof_halves_alpha_and_the_next_candidate_is_clearly_more_exact():
    files = Files({"fast": quiet(1e-3), "careful": quiet(1e-6)}, proofs=[30])
    result = walk(files, CERTAIN)
    assert [(step.alpha, step.accepted) for step in result.steps if step.part == PROOF] == [((0.05,), False), ((0.025,), True)]
    first, second = (files.search(*candidate)[0].sqnr_db for candidate in candidates(result, PROOF))
    assert second >= first + BETTER_DB


def test_of_a_drop_the_first_proof_compares_the_estimate_and_the_second_an_interval():
    result = walk(Files({"fast": quiet(1e-3), "careful": quiet(1e-6)}, proofs=[6, *[5] * 9]), DROP)
    assert result.proven is None
    assert [step.alpha for step in result.steps if step.part == PROOF][:3] == [(1.0,), (0.5,), (0.25,)]
    assert walk(Files({"fast": quiet(1e-3), "careful": quiet(1e-6)}, proofs=[5]), DROP).proven.scheme == "fast"


def test_a_distance_is_compared_as_it_is_in_every_proof():
    class Optimistic(Files):
        def prove(self, scheme, exclude):
            found = super().prove(scheme, exclude)
            return figures(29.0) if scheme == "fast" else found

    result = walk(Optimistic({"fast": quiet(), "careful": quiet(1e-7)}))
    assert result.proven.scheme == "careful"
    assert {step.alpha for step in result.steps} == {(1.0,)}


def test_not_reachable_has_the_nearest_candidate_and_its_limiting_nodes():
    noise = quiet(0.01)
    result = walk(Files({"fast": quiet(0.1), "careful": {**noise, "k": 0.5}}))
    assert (result.proven, result.used_up) == (None, False)
    assert result.nearest.scheme == "careful"
    assert len(result.nearest.exclude) == 6
    assert "k" not in [node.name for node in result.limiting]
    assert len(result.limiting) == 6


def test_where_nothing_has_figures_nothing_is_nearest():
    result = walk(Files({"fast": None, "careful": None}))
    assert (result.proven, result.nearest, result.limiting) == (None, None, ())


def test_a_proof_part_that_cannot_show_the_bound_again_ends_the_search():
    """So many images show the bound at alpha 0.05, and at no smaller alpha."""
    files = Files({"fast": quiet(1e-3), "careful": quiet(1e-6)}, proofs=[30])
    result = walk(files, CERTAIN, proof_items=images_needed(CERTAIN.limit))
    assert (result.proven, result.used_up) == (None, True)
    assert len(candidates(result, PROOF)) == 1


def test_all_bounds_must_hold():
    files = Files({"fast": quiet(1e-3), "careful": quiet(1e-6)}, lost=lambda sqnr_db: 0)
    assert walk(files, DROP).proven.scheme == "fast"
    assert walk(files, DROP, SQNR).proven.exclude or walk(files, DROP, SQNR).proven.scheme == "careful"


@pytest.mark.parametrize(
    ("layers", "most"),
    [("LLLLLLLL", 4), ("LLLL----", 2), ("----LLLL", 4), ("", 0), ("L", 0), ("-" * 200, SIZES[-1])],
)
def test_at_most_half_of_the_nodes_and_of_the_layers_stay_in_float(layers, most):
    nodes = [NodeError(name=str(number), sqnr_db=number, layer=kind == "L") for number, kind in enumerate(layers)]
    assert most_in_float(nodes) == most


class Lossy:
    """Candidates that all lose slightly more than the bound: `rate` of the answers, drawn anew for each part."""

    def __init__(self, seed, rate, items):
        self.draw, self.rate, self.items, self.sqnr_db = np.random.default_rng(seed), rate, items, 0.0

    def rank(self, scheme):
        return [NodeError(name=name, sqnr_db=1.0, layer=True) for name in NODES]

    def search(self, scheme, exclude):
        # Each later candidate looks good on the search part, and clearly more exact: the worst case for the proof.
        self.sqnr_db += 2 * BETTER_DB
        return figures(self.sqnr_db, 0, self.items), None

    def prove(self, scheme, exclude):
        return figures(self.sqnr_db, int(self.draw.binomial(self.items, self.rate)), self.items)

    def record(self, step):
        pass


def test_files_just_beyond_the_bound_are_accepted_in_at_most_alpha_of_all_searches():
    """A search with one alpha for every proof would accept such a file more often than alpha."""
    searches, bound = 500, Bound(metric="top1_drop_ci_high", limit=1.0, most=True, text="--max top1_drop_ci_high=1")
    runs = [walk(Lossy(seed, 0.0101, 3000), bound, schemes=("p", "q"), proof_items=3000) for seed in range(searches)]
    accepted = sum(run.proven is not None for run in runs)
    assert accepted / searches <= 0.05
    assert np.mean([sum(step.part == PROOF for step in run.steps) for run in runs]) > 4

import numpy as np
import pytest
from onnxbench.runners.worker.exclusion import SIZES, Figures, choose, fewest

ALL = tuple("abcdefghijklmnop")


class Network:
    """A network whose outputs have the power of the noise of each node in INT8, over a signal of 1.

    `noise`: by output and node. `right`: number of right answers in 100 by the number of sensitive nodes in INT8.
    """

    def __init__(self, noise, right=None):
        self.noise, self.right, self.asked = noise, right, []

    def __call__(self, exclude=()):
        self.asked.append(tuple(exclude))
        left = {name: sum(power for node, power in nodes.items() if node not in exclude) for name, nodes in self.noise.items()}
        top1 = None if self.right is None else self.right(set(exclude))
        return Figures(sqnr_db={name: -10 * np.log10(power + 1e-9) for name, power in left.items()}, top1=top1)

    def worst(self):
        nodes = dict.fromkeys(node for powers in self.noise.values() for node in powers)
        return sorted(nodes, key=lambda node: -max(powers.get(node, 0) for powers in self.noise.values()))

    def choice(self, most=8):
        return choose(self.worst(), self, most)


def quiet(nodes=ALL):
    return dict.fromkeys(nodes, 1e-4)


def test_one_sensitive_node_is_excluded_alone():
    choice = Network({"y": {**quiet(), "c": 1.0}}).choice()
    assert choice.exclude == ("c",)
    assert choice.after.worst_db - choice.before.worst_db > 20


def test_an_outlier_does_not_hide_the_group_behind_it():
    choice = Network({"y": {**quiet(), "a": 1e20, **dict.fromkeys("bcde", 2.0)}}).choice()
    assert sorted(choice.exclude) == list("abcde")


def test_a_group_of_five_is_found_though_four_of_them_bring_nothing():
    network = Network({"y": {**quiet(), **dict.fromkeys("bdfhj", 50.0)}})
    choice = network.choice()
    assert sorted(choice.exclude) == list("bdfhj")
    assert choice.tried[4].worst_db < 0
    assert choice.tried[5].worst_db > 20


def test_a_slope_without_a_gap_is_cut_where_most_is_gained():
    choice = Network({"y": {node: 10.0**-number for number, node in enumerate(ALL)}}).choice()
    assert 1 <= len(choice.exclude) <= 8
    assert choice.after.worst_db - choice.before.worst_db >= 6


def test_a_node_that_brings_nothing_is_given_back():
    """Its error comes from another node, and is gone with that."""

    def judge(exclude):
        power = 1.0 if "b" not in exclude else 1e-4
        return Figures(sqnr_db={"y": -10 * np.log10(power)})

    choice = choose(("a", "b", "c", "d", "e", "f"), judge, 3)
    assert choice.exclude == ("b",)


def test_each_output_gets_the_nodes_that_it_needs():
    noise = {"boxes": {**quiet(), "a": 3.0}, "scores": {**quiet(), "p": 0.5}}
    choice = Network(noise).choice()
    assert sorted(choice.exclude) == ["a", "p"]
    assert min(choice.after.sqnr_db.values()) > 20


def test_an_output_that_cannot_be_helped_does_not_hide_the_others():
    noise = {"lost": dict.fromkeys(ALL, 5.0), "scores": {**quiet(), "p": 50.0}}
    assert Network(noise).choice().exclude == ("p",)


def test_where_nothing_helps_nothing_is_excluded_and_the_numbers_tried_are_there():
    choice = Network({"y": dict.fromkeys(ALL, 0.1)}).choice()
    assert choice.exclude == ()
    assert list(choice.tried) == [1, 2, 3, 4, 5, 6, 8]
    assert choice.after == choice.before


def test_no_more_than_the_allowed_number_of_nodes_is_tried():
    network = Network({"y": {**quiet(), **dict.fromkeys("abcd", 9.0)}})
    assert list(network.choice(most=3).tried) == [1, 2, 3]
    assert Network({"y": {"a": 1.0}}).choice(most=0).tried == {}
    assert max(SIZES) == 32


def test_of_a_healthy_file_with_few_noisy_nodes_none_is_excluded():
    """Without all of them the file would be as in FP32, but then it would be in FP32."""
    noise = {"y": dict.fromkeys(ALL[:8], 1e-4) | dict.fromkeys(ALL[8:], 1e-9)}
    assert Network(noise).choice().exclude == ()


def test_a_perfect_file_needs_no_further_trial():
    assert list(Network({"y": {"a": 1.0, **dict.fromkeys(ALL[1:], 0.0)}}).choice().tried) == [1]


def test_with_labels_right_answers_decide_where_the_noise_hardly_falls():
    noise = {"y": dict.fromkeys(ALL, 0.1)}
    choice = Network(noise, right=lambda exclude: 95.0 if {"a", "b"} <= exclude else 60.0).choice()
    assert choice.exclude == ("a", "b")
    assert (choice.before.top1, choice.after.top1) == (60.0, 95.0)


@pytest.mark.parametrize(
    ("gains", "size"),
    [
        ([], 0),
        ([5.9], 0),
        ([6.0], 1),
        ([-3.0, -1.0], 0),
        ([20.0, 21.0, 22.0], 1),
        ([10.0, 20.0, 30.0], 3),
        ([1.0, 27.0, 30.0], 2),
        ([1.0, 26.9, 30.0], 3),
        ([-4.0, 12.0, 8.0], 2),
    ],
)
def test_the_fewest_nodes_with_nine_tenths_of_the_gain_are_chosen(gains, size):
    tried = {number: Figures(sqnr_db={"y": 10.0 + gain}) for number, gain in enumerate(gains, 1)}
    assert fewest(Figures(sqnr_db={"y": 10.0}), tried) == size


@pytest.mark.parametrize(
    ("gains", "size"),
    [
        ({1: 0.0, 2: 0.0, 4: 0.0, 5: 30.0, 8: 31.0}, 5),
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 12.0}, 0),
        ({1: 7.0, 2: 8.0, 8: 14.0}, 1),
        ({1: 0.0, 2: 4.0, 3: 20.0, 8: 20.0}, 3),
    ],
    ids=["a group", "all nodes alike", "one node and a slope", "a group of three"],
)
def test_each_further_node_brings_enough_on_average(gains, size):
    tried = {number: Figures(sqnr_db={"y": 10.0 + gain}) for number, gain in gains.items()}
    assert fewest(Figures(sqnr_db={"y": 10.0}), tried) == size


def test_a_gain_below_0_db_is_none():
    tried = {1: Figures(sqnr_db={"y": -20.0}), 2: Figures(sqnr_db={"y": 5.0})}
    assert fewest(Figures(sqnr_db={"y": -200.0}), tried) == 0

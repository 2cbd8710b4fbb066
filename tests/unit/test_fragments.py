"""Small free blocks of memory: how many there are, and how much of them is taken while processes open."""

import mmap

import psutil
import pytest
from onnxbench.runners.pool import fragments

TWO_ZONES = """\
Node 0, zone    DMA32      2      3      0      1      9      9
Node 0, zone   Normal     10      0      5      0    999     99
"""


@pytest.fixture
def buddyinfo(tmp_path):
    path = tmp_path / "buddyinfo"
    path.write_text(TWO_ZONES)
    return path


def test_blocks_of_fewer_than_sixteen_pages_are_small(buddyinfo):
    assert fragments.small_blocks(buddyinfo) == (2 + 3 * 2 + 8 + 10 + 5 * 4) * mmap.PAGESIZE


def test_a_system_that_says_nothing_has_none(tmp_path):
    assert fragments.small_blocks(tmp_path / "nothing") == 0
    with fragments.contiguous_memory(1e6, tmp_path / "nothing") as taken:
        assert taken == 0


def test_a_process_that_may_not_have_the_memory_takes_none(buddyinfo):
    buddyinfo.write_text("Node 0, zone Normal 9999999999999 0 0 0\n")  # more bytes than addresses
    with fragments.contiguous_memory(1e12, buddyinfo) as taken:
        assert taken == 0


@pytest.mark.skipif(not fragments.BUDDYINFO.exists(), reason="only Linux has blocks of memory to take")
@pytest.mark.parametrize(("free_mb", "pages"), [(1e6, 46), (0.8, 24), (0, 0)])
def test_all_small_blocks_are_taken_but_an_eighth_of_the_free_memory_at_most(buddyinfo, free_mb, pages):
    with fragments.contiguous_memory(free_mb, buddyinfo) as taken:
        assert taken == pages * mmap.PAGESIZE


@pytest.mark.skipif(not fragments.BUDDYINFO.exists(), reason="only Linux has blocks of memory to take")
def test_the_pages_are_given_to_another_process_and_given_back(buddyinfo):
    """A page that is only reserved would take no block, and this process stays small."""

    def resident_mb():
        me = psutil.Process()
        return me.memory_info().rss / 1e6, sum(child.memory_info().rss for child in me.children()) / 1e6

    buddyinfo.write_text("Node 0, zone Normal 20000 0 0 0\n")
    before = resident_mb()
    with fragments.contiguous_memory(1e6, buddyinfo):
        inside = resident_mb()
    after = resident_mb()
    assert inside[1] > before[1] + 75
    assert max(inside[0], after[0]) < before[0] + 20
    assert after[1] < before[1] + 20

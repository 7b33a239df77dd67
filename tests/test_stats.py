"""plumbing/stats.py: correlations, means with their spread, and what may be chance.

    python -m pytest tests/test_stats.py    # seconds, nothing to download

Oracle: numbers worked out by hand; Student's t from a table.
"""

import doctest
import math

import pytest
import torch

from plumbing import stats


def test_examples_in_the_docstrings():
    result = doctest.testmod(stats)
    assert result.attempted > 0 and result.failed == 0


def test_correlations_by_hand():
    # deviations -1.5 -0.5 0.5 1.5 against -1.5 0.5 -0.5 1.5: 4 / 5
    assert stats.pearson([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert stats.spearman([1, 2, 3], [1, 10, 1000]) == pytest.approx(1)
    # ranks 1 2.5 2.5 4 against 1 2 3 4: 4.5 / sqrt(4.5 * 5)
    assert stats.spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(math.sqrt(0.9))


def test_lists_of_two_lengths_have_no_correlation():
    with pytest.raises(ValueError, match="3 values against 2"):
        stats.pearson([1, 2, 3], [1, 2])


def test_equal_values_share_a_rank():
    # 3 3 3 take the places 2, 3 and 4.
    assert stats.ranks([9, 3, 3, 1, 3]).tolist() == [5, 3, 3, 1, 3]


def test_mean_and_spread():
    # 60, 62, 67: mean 63, squares 9 + 1 + 16 = 26 over 3 - 1
    assert stats.spread([60, 62, 67]) == (63, pytest.approx(13 ** 0.5))
    assert stats.plus_minus([60, 62, 67]) == "63.0 ± 3.6"
    assert stats.plus_minus([60, 62, 67], "+") == "+63.0 ± 3.6"
    # One seed has no deviation, and says so.
    mean, deviation = stats.spread([75.94])
    assert mean == 75.94 and math.isnan(deviation) and stats.plus_minus([75.94]) == "75.9 ± ?"


BASE = [60, 62, 64]


@pytest.mark.parametrize("scores, said", [
    ([70, 72, 75], "+10.3 ± 0.6, ahead in 3 of 3 seeds"),
    ([50, 52, 53], "-10.3 ± 0.6, ahead in 0 of 3 seeds"),
    # +10, +10 and 5 mean 8.3 with deviation 2.9: 4.30 standard errors are 7.2
    ([70, 72, 69], "+8.3 ± 2.9, ahead in 3 of 3 seeds"),
    # +10, +10 and 4 mean 8 with deviation 3.5: two standard errors are 4.0, but with three
    # seeds it takes 4.30 of them, which are 8.6
    ([70, 72, 68], "+8.0 ± 3.5, ahead in 3 of 3 seeds (may be chance)"),
    ([60], "+0.0 ± ?, ahead in 0 of 1 seeds, level in 1 (may be chance)"),
    ([70], "+10.0 ± ?, ahead in 1 of 1 seeds (may be chance)")])
def test_a_gain_is_said_whichever_way_it_went(scores, said):
    assert stats.gain(scores, BASE[:len(scores)]) == said


def test_a_tie_counts_as_level_and_not_as_a_loss():
    # -10, 0 and +13: ahead in one, behind in one
    said = "+1.0 ± 11.5, ahead in 1 of 3 seeds, level in 1 (may be chance)"
    assert stats.gain([50, 62, 77], BASE) == said
    # The same scores in every seed: no gain, and no loss either
    assert stats.gain(BASE, BASE).startswith("+0.0 ± 0.0, ahead in 0 of 3 seeds, level in 3")


def test_a_gain_needs_a_base_for_every_seed():
    with pytest.raises(ValueError, match="zip"):
        stats.gain([70, 72], BASE)


def test_ten_seeds_are_judged_by_students_t_of_ten():
    # Mean 1; t = 1 / (deviation / sqrt(10)). The 5 % point of ten is 2.26, of nine 2.31.
    def gains(t):
        spread = torch.tensor([-1.0, 1] * 5)
        return (1 + spread / spread.std() * 10 ** 0.5 / t).tolist()

    assert stats.beyond_chance(gains(2.28)) and not stats.beyond_chance(gains(2.24))
    assert not stats.beyond_chance([5.0]) and not stats.beyond_chance([0.0, 0.0])

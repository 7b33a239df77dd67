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
    ([70, 72, 75], "+10.3 ± 0.6 *, ahead in 3 of 3"),
    ([50, 52, 53], "-10.3 ± 0.6 *, ahead in 0 of 3"),
    # +10, +10 and 5 mean 8.3 with deviation 2.9: 4.30 standard errors are 7.2
    ([70, 72, 69], "+8.3 ± 2.9 *, ahead in 3 of 3"),
    # +10, +10 and 4 mean 8 with deviation 3.5: two standard errors are 4.0, but with three
    # seeds it takes 4.30 of them, which are 8.6
    ([70, 72, 68], "+8.0 ± 3.5, ahead in 3 of 3"),
    ([60], "+0.0 ± ?, ahead in 0 of 1, level in 1"),
    ([70], "+10.0 ± ?, ahead in 1 of 1")])
def test_a_gain_has_a_star_where_it_is_beyond_chance_whichever_way_it_went(scores, said):
    assert stats.gain(scores, BASE[:len(scores)]) == said


def test_a_tie_counts_as_level_and_not_as_a_loss():
    # -10, 0 and +13: ahead in one, behind in one
    said = "+1.0 ± 11.5, ahead in 1 of 3, level in 1"
    assert stats.gain([50, 62, 77], BASE) == said
    # The same scores in every seed: no gain, and no loss either
    assert stats.gain(BASE, BASE) == "+0.0 ± 0.0, ahead in 0 of 3, level in 3"


def test_a_gain_needs_a_base_for_every_seed():
    with pytest.raises(ValueError, match="zip"):
        stats.gain([70, 72], BASE)


def gains(n, t):
    """n differences whose mean is t standard errors: 1 plus -d, d, -d, … (and 0)."""
    apart = torch.tensor(([-1.0, 1] * n)[:n - n % 2] + [0.0] * (n % 2), dtype=torch.double)
    return (1 + apart / apart.std() * n ** 0.5 / t).tolist()


# Student's table: n - 1 degrees of freedom, two-sided.
@pytest.mark.parametrize("n, t, p", [
    (2, 12.706, 0.05), (2, 63.657, 0.01), (3, 4.303, 0.05), (5, 2.776, 0.05), (5, 8.610, 0.001),
    (10, 2.262, 0.05), (10, 4.781, 0.001), (31, 2.042, 0.05), (101, 1.984, 0.05)])
def test_the_t_test_agrees_with_the_table(n, t, p):
    assert stats.paired_p(gains(n, t)) == pytest.approx(p, rel=1e-3)  # the table's own rounding
    assert stats.paired_p([-gain for gain in gains(n, t)]) == stats.paired_p(gains(n, t))


@pytest.mark.parametrize("t", [0.1, 1.0, 2.0, 7.0, 50.0])
def test_the_t_test_agrees_with_the_integrals_that_are_known(t):
    assert stats.paired_p(gains(2, t)) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-9)
    assert stats.paired_p(gains(3, t)) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-9)
    s = t / math.sqrt(4 + t * t)
    assert stats.paired_p(gains(5, t)) == pytest.approx(1 - 1.5 * s + s ** 3 / 2, abs=1e-9)


def test_differences_without_spread():
    assert stats.paired_p([0, 0, 0]) == 1 and stats.paired_p([2, 2, 2]) == pytest.approx(0)
    assert math.isnan(stats.paired_p([5.0]))


def test_more_seeds_need_a_smaller_t():
    assert stats.beyond_chance(gains(10, 2.28)) and not stats.beyond_chance(gains(10, 2.24))
    assert stats.beyond_chance(gains(31, 2.06)) and not stats.beyond_chance(gains(31, 2.03))
    assert not stats.beyond_chance([5.0]) and not stats.beyond_chance([0.0, 0.0])


# Published critical values of Spearman's: the exact share of all n! orders that do as well.
@pytest.mark.parametrize("order, rho, p", [
    ((0, 1, 2, 4, 3), 0.9, 10 / 120), ((0, 1, 3, 2, 5, 4), 0.886, 24 / 720),
    ((0, 1, 2, 4, 5, 6, 3), 0.786, 0.048), ((0, 1, 2, 4, 5, 7, 6, 3), 0.738, 0.046)])
def test_few_values_are_judged_by_all_their_orders(order, rho, p):
    places = list(range(len(order)))
    assert stats.spearman(places, order) == pytest.approx(rho, abs=5e-4)
    assert stats.permutation_p(places, order) == pytest.approx(p, abs=5e-4)
    assert stats.permutation_p(places, [-place for place in order]) == pytest.approx(p, abs=5e-4)


def test_ties_and_values_that_are_all_equal():
    # 1 2 2 against 1 2 3: of 3! orders, 1 2 2 (twice) has sqrt(3) / 2, 2 2 1 (twice) minus that,
    # and 2 1 2 (twice) has 0.
    assert stats.permutation_p([1, 2, 3], [1, 2, 2]) == pytest.approx(4 / 6)
    assert stats.permutation_p([1, 2, 3], [2, 1, 2]) == 1
    assert stats.permutation_p([1, 2, 3], [5, 5, 5]) == 1
    assert stats.permutation_p([5] * 9, list(range(9))) == 1


def test_many_values_are_judged_by_draws():
    # Nine values: the table has 0.700 at a two-sided 4.3 %. Sampling error of 10,000: 0.2 %
    order = [4, 1, 2, 3, 0, 6, 5, 8, 7]  # squared differences 16, 16, 1, 1, 1, 1: 1 - 6 * 36 / 720
    rho = stats.spearman(range(9), order)
    assert rho == pytest.approx(0.7, abs=5e-3)
    p = stats.permutation_p(list(range(9)), order)
    assert p == pytest.approx(0.043, abs=0.006)
    assert p == stats.permutation_p(list(range(9)), order)  # seeded
    # Never 0: the order that was found is one of 10,001.
    assert stats.permutation_p(list(range(20)), list(range(20))) == pytest.approx(1 / 10_001)


def test_a_mean_of_correlations_is_judged_by_shuffling_each():
    # Two of three values each, both in order: mean 1 in 1 of 36 pairs of orders, -1 in another.
    up = ([1, 2, 3], [1, 2, 3])
    assert stats.mean_permutation_p([up, up]) == pytest.approx(2 / 36, abs=0.007)
    assert stats.mean_permutation_p([up]) == pytest.approx(2 / 6, abs=0.015)
    # One in order, one against it: mean 0, as near to 0 as can be
    assert stats.mean_permutation_p([up, ([1, 2, 3], [3, 2, 1])]) == 1


def test_holms_adjustment_by_hand():
    # Five tests. 0.005 * 5, 0.011 * 4; 0.02 * 3; 0.04 * 2; 0.9 * 1
    assert stats.holm([0.04, 0.005, 0.9, 0.02, 0.011]) == pytest.approx(
        [0.08, 0.025, 0.9, 0.06, 0.044])
    assert stats.holm([0.7, 0.6]) == [1.0, 1.0]  # never above 1, never below the one before
    assert stats.holm([0.03]) == [0.03] and stats.holm([]) == []

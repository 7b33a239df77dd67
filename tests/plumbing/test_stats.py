"""plumbing/stats.py: correlations, means with their spread, tests of significance.

    python -m pytest tests/plumbing/test_stats.py    # a second

Oracle: numbers worked out by hand; p values of scipy 1.17 (t.sf, ttest_1samp) and the
exact tables of Spearman's correlation, as constants.
"""

import pytest

from plumbing import stats


def test_correlations_by_hand():
    # deviations -1.5 -0.5 0.5 1.5 and -1.5 0.5 -0.5 1.5: 4 / 5
    assert stats.pearson([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert stats.spearman([1, 2, 3], [1, 10, 1000]) == pytest.approx(1)
    # ranks 1 2.5 2.5 4 and 1 2 3 4: 4.5 / sqrt(4.5 * 5)
    assert stats.spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9 ** 0.5)
    assert stats.pearson([1, 2], [3, 3]) == 0
    with pytest.raises(ValueError, match="same number"):
        stats.pearson([1, 2, 3], [1, 2])


@pytest.mark.parametrize("t, degrees, p", [
    (1, 1, 0.5), (2, 2, 0.18350341907), (4.303, 2, 0.0499925250), (2.776, 4, 0.0500227783),
    (2.262, 9, 0.0500128455), (2, 30, 0.0546250450), (-8.61, 4, 0.0010001341)])
def test_students_t(t, degrees, p):
    assert stats.student_p(t, degrees) == pytest.approx(p, rel=1e-6)


def test_the_paired_t_test():
    # mean 5, deviation sqrt(7), t = 5 / sqrt(7 / 3) = 3.27327
    assert stats.paired_p([3, 4, 8]) == pytest.approx(0.0820149080)
    assert stats.paired_p([0, 0, 0]) == 1 and stats.paired_p([2, 2, 2]) == 0
    assert stats.paired_p([5]) is None
    # 4.302653 standard errors of sqrt(7 / 3) around 5
    assert stats.interval([3, 4, 8]) == pytest.approx((-1.5724106, 11.5724106))
    assert stats.interval([3, 4]) == stats.interval([3, 3, 3]) == ()


@pytest.mark.parametrize("scores, text", [
    ([70, 72, 75], "+10.3 ± 0.6 *"), ([50, 52, 53], "−10.3 ± 0.6 *"),
    # +10, +10, 5: mean 8.3, deviation 2.9; 4.30 standard errors are 7.2
    ([70, 72, 69], "+8.3 ± 2.9 *"),
    # +10, +10, 4: mean 8, deviation 3.5; 4.30 standard errors are 8.6
    ([70, 72, 68], "+8.0 ± 3.5"),
    ([70, 72], "+10.0 ± 0.0"), ([70], "+10.0"), ([60, 62, 64], "+0.0 ± 0.0")])
def test_a_gain_has_a_star_where_significant(scores, text):
    gains = stats.differences(scores, [60, 62, 64][:len(scores)])
    assert stats.plus_minus(gains, "+") + stats.star(gains) == text


@pytest.mark.parametrize("x, y, rho, p", [
    (range(5), (0, 1, 2, 4, 3), 0.9, 10 / 120), (range(6), (0, 1, 3, 2, 5, 4), 0.886, 24 / 720),
    (range(8), (0, 1, 2, 4, 5, 7, 6, 3), 0.738, 0.046),
    (range(9), (4, 1, 2, 3, 0, 6, 5, 8, 7), 0.7, 0.043), (range(20), range(20), 1, 1 / 10_001),
    # Of the orders of 1 2 2, two have sqrt(3) / 2 with 1 2 3, two minus that, two 0.
    ([1, 2, 3], [1, 2, 2], 0.866, 4 / 6), ([1, 2, 3], [5, 5, 5], 0, 1)])
def test_a_correlation_is_tested_by_other_orders(x, y, rho, p):
    assert stats.spearman(x, y) == pytest.approx(rho, abs=5e-4)
    found = stats.mean_permutation_p([(x, y)])
    assert found == pytest.approx(p, abs=0.012 if p > 0.001 else 1e-9)
    assert found == stats.mean_permutation_p([(x, y)])  # seeded


def test_the_mean_of_correlations():
    # Two of three values, both in order: mean 1 in 1 of 36 pairs of orders, -1 in another.
    pair = ([1, 2, 3], [1, 2, 3])
    assert stats.mean_permutation_p([pair, pair]) == pytest.approx(2 / 36, abs=0.007)
    assert stats.mean_permutation_p([pair, ([1, 2, 3], [3, 2, 1])]) == 1


def test_several_tests():
    # 0.005 * 5, 0.011 * 4, 0.02 * 3, 0.04 * 2, 0.9
    assert stats.holm([0.04, 0.005, 0.9, 0.02, 0.011]) == pytest.approx(
        [0.08, 0.025, 0.9, 0.06, 0.044])
    assert stats.holm([0.7, 0.6]) == [1.0, 1.0] and stats.holm([]) == []

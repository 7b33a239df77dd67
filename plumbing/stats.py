"""Statistics of a few seeds: correlations, means with their spread, and tests of significance.

All functions take plain lists of numbers. Scores and gains are in points of a percentage.
"""

import math
import statistics

import numpy


def pearson(x, y):
    """Pearson's correlation; 0 where one list is constant. Raises ValueError on two lengths.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    if len(set(x)) == 1 or len(set(y)) == 1:
        return 0.0
    return statistics.correlation(x, y)


def ranks(values):
    """1 for the smallest; equal values share the mean of their ranks.

    >>> ranks([0.3, 0.1, 0.3]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, group, size = numpy.unique(values, return_inverse=True, return_counts=True)
    last_rank = size.cumsum()
    return (last_rank - (size - 1) / 2)[group]


def spearman(x, y):
    """Spearman's correlation: Pearson's of the ranks."""
    return pearson(ranks(x), ranks(y))


def spread(scores):
    """Mean and sample standard deviation. One score has no deviation: None."""
    if len(scores) == 1:
        return scores[0], None
    return statistics.mean(scores), statistics.stdev(scores)


def plus_minus(scores, sign=""):
    """Scores as text: mean ± standard deviation; of one score only itself.

    >>> plus_minus([74, 76]), plus_minus([1], "+")
    ('75.0 ± 1.4', '+1.0')
    """
    mean, deviation = spread(scores)
    text = number(mean, sign)
    return text if deviation is None else f"{text} ± {deviation:.1f}"


def number(value, sign="", digits=1):
    """A number as text, with a true minus and never a minus zero.

    >>> number(-1.26), number(-0.04, "+"), number(0.5, digits=2)
    ('−1.3', '+0.0', '0.50')
    """
    rounded = round(value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:{sign}.{digits}f}".replace("-", "−")


# ------------------------------------------------------------------- Student's t


def student_p(t, degrees):
    """Two-sided p value of Student's t.

    With t = sqrt(degrees) tan(a) the density becomes cos(a) ** (degrees - 1) on [0, pi / 2], which
    the midpoint rule integrates to 1e-6 or better.

    >>> round(student_p(2.0, 1), 6)  # 1 - 2 / pi * arctan(2)
    0.295167
    """
    start = math.atan2(abs(t), math.sqrt(degrees))
    fractions = (numpy.arange(10_000) + 0.5) / 10_000

    def integral(width):
        """Of the density over the last `width` of [0, pi / 2]."""
        return width * numpy.mean(numpy.cos(math.pi / 2 - width * fractions) ** (degrees - 1))

    return float(integral(math.pi / 2 - start) / integral(math.pi / 2))


def paired_p(gains):
    """Two-sided p value of the paired t-test: could these differences have mean 0? Of one: None.

    >>> round(paired_p([1.0, 3.0]), 6)  # the mean is two standard errors
    0.295167
    """
    mean, deviation = spread(gains)
    if deviation is None:
        return None
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return student_p(mean / deviation * math.sqrt(len(gains)), len(gains) - 1)


def significant(gains):
    """Whether the mean of these differences is not 0, by a paired t-test at 5 %.

    Of one or two differences: False, as two that happen to agree would pass.
    """
    return len(gains) > 2 and paired_p(gains) < 0.05


def interval(scores):
    """(low, high): Student's 95 % interval of the mean. () of fewer than three, or of equal ones.

    >>> [round(end, 2) for end in interval([70, 72, 74])]  # 72 ± 4.303 * 2 / sqrt(3)
    [67.03, 76.97]
    """
    mean, deviation = spread(scores)
    if len(scores) < 3 or not deviation:
        return ()
    low, high = 0, 100  # t is 12.7 at one degree of freedom, and smaller at more
    for _ in range(40):
        t = (low + high) / 2
        if student_p(t, len(scores) - 1) > 0.05:
            low = t
        else:
            high = t
    half = t * deviation / math.sqrt(len(scores))
    return mean - half, mean + half


def star(gains):
    return " *" if significant(gains) else ""


def differences(scores, base):
    """Scores less others, seed by seed: a seed has one start and one order of examples."""
    return [score - other for score, other in zip(scores, base, strict=True)]


# ------------------------------------------------------------------- permutations


def unit_ranks(values):
    """Ranks less their mean, scaled to length 1: the dot product of two is Spearman's."""
    centred = ranks(values) - (len(values) + 1) / 2
    return centred / (numpy.linalg.norm(centred) or 1)


def mean_permutation_p(pairs, draws=10_000, seed=0):
    """Two-sided p value of the mean of several Spearman's correlations, of lists (x, y).

    Each y is shuffled by itself. The observed order counts as one of the draws, so that p is never
    0 (Phipson and Smyth 2010).
    """
    generator = numpy.random.default_rng(seed)
    total = numpy.zeros(draws)
    for x, y in pairs:
        orders = generator.permuted(numpy.tile(unit_ranks(y), (draws, 1)), axis=1)
        total += orders @ unit_ranks(x)
    observed = statistics.mean(spearman(x, y) for x, y in pairs)
    reached = abs(total) / len(pairs) >= abs(observed) - 1e-9  # which allows for rounding
    return float((1 + reached.sum()) / (1 + draws))


# ------------------------------------------------------------------- several tests


def holm(ps):
    """Adjusted p values, so that 5 % is the chance of any false finding (Holm 1979).

    The smallest times m, the next times m - 1, …, and none below the one before.

    >>> holm([0.01, 0.04, 0.03])  # 3 * 0.01, 2 * 0.03, and 1 * 0.04 is raised to that
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(ps)
    least = 0.0
    for done, index in enumerate(numpy.argsort(ps, kind="stable")):
        least = max(least, min(1.0, (len(ps) - done) * ps[index]))
        adjusted[index] = least
    return adjusted

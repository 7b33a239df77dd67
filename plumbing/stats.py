"""Numbers about numbers: correlations, means with their spread, and what may be chance.

Of lists of plain numbers; nothing here knows what they were measured on.
"""

import itertools
import math
import statistics

import numpy


def pearson(x, y):
    """Pearson's correlation of two lists of numbers.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values against {len(y)}")
    if len(set(x)) == 1 or len(set(y)) == 1:
        return 0.0
    x, y = (numpy.asarray(values, dtype=float) - numpy.mean(values) for values in (x, y))
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def ranks(values):
    """1 for the smallest; equal values share the mean of their ranks.

    >>> ranks([0.3, 0.1, 0.3]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = numpy.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[place]


def spearman(x, y):
    """Spearman's correlation: Pearson's of the ranks."""
    return pearson(ranks(x), ranks(y))


def spread(scores):
    """Mean and sample standard deviation, which one score does not have: NaN, shown as ?."""
    return statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else math.nan


def plus_minus(scores, sign=""):
    """Of some scores, "75.9 ± 3.4"; of one, "75.9 ± ?".

    >>> plus_minus([74, 76]), plus_minus([1], "+")
    ('75.0 ± 1.4', '+1.0 ± ?')
    """
    mean, deviation = spread(scores)
    return f"{mean:{sign}.1f} ± {'?' if math.isnan(deviation) else f'{deviation:.1f}'}"


# ------------------------------------------------------------------- what may be chance


def paired_p(gains):
    """Two-sided p of the paired t-test: could these differences have mean 0? Of one: NaN.

    >>> round(paired_p([1.0, 3.0]), 6)  # mean 2 = 2 standard errors; v = 1: 1 - 2 / pi * arctan(2)
    0.295167
    """
    n, (mean, deviation) = len(gains), spread(gains)
    return student_p(mean, deviation / n ** 0.5, n - 1) if n > 1 else math.nan


def student_p(mean, error, v):
    """Two-sided p of a mean with its standard error, v degrees of freedom.

    With t = sqrt(v) tan(a) Student's density becomes cos(a)^(v-1): the tail ends at a right angle,
    and the midpoint rule has it to 1e-6 or better.
    """
    start = math.atan2(abs(mean), error * v ** 0.5)  # arctan(|t| / sqrt(v))
    middles = (numpy.arange(10_000) + 0.5) / 10_000
    tail, half = (width * numpy.mean(numpy.cos(math.pi / 2 - width * middles) ** (v - 1))
                  for width in (math.pi / 2 - start, math.pi / 2))
    return float(tail / half)


def interval(scores):
    """(low, high): Student's 95 % interval of their mean; of one score, or of equal ones, ().

    >>> [round(end, 2) for end in interval([70, 72, 74])]  # 72 ± 4.303 * 2 / sqrt(3)
    [67.03, 76.97]
    """
    mean, deviation = spread(scores)
    if not deviation > 0:
        return ()
    low, high = 0.0, 100.0  # of t; 12.7 at one degree of freedom is its largest
    for _ in range(40):
        t = (low + high) / 2
        low, high = (t, high) if student_p(t, 1.0, len(scores) - 1) > 0.05 else (low, t)
    half = t * deviation / len(scores) ** 0.5
    return mean - half, mean + half


def beyond_chance(gains):
    """Whether the mean of these differences is not 0, by a t-test at 5 %. Of one or two: no."""
    return len(gains) > 2 and paired_p(gains) < 0.05


def unit_ranks(values):
    """Ranks less their mean, of length 1: two such multiply to Spearman's. All equal: zeros."""
    centred = ranks(values) - (len(values) + 1) / 2
    return centred / (numpy.linalg.norm(centred) or 1)


def at_least(null, found):
    """Where chance is as far from 0 as what was found; sums in another order are no difference."""
    return numpy.abs(null) >= abs(found) - 1e-9


def permutation_p(x, y, draws=10_000, seed=0):
    """Two-sided p of Spearman's correlation: how often another order of y does as well.

    Of all orders up to 8 values (40,320 of them), else of so many draws.

    >>> round(permutation_p([1, 2, 3], [4, 5, 6]), 4)  # 1, .5, .5, -.5, -.5, -1: two of six reach 1
    0.3333
    """
    if len(x) > 8:
        return mean_permutation_p([(x, y)], draws, seed)
    null = numpy.array(list(itertools.permutations(unit_ranks(y)))) @ unit_ranks(x)
    return float(at_least(null, spearman(x, y)).mean())


def mean_permutation_p(pairs, draws=10_000, seed=0):
    """Two-sided p of the mean of several Spearman's correlations, of lists (x, y).

    Each y is shuffled by itself. The order that was found is one of those possible and counts,
    so that p is never 0 (Phipson and Smyth 2010).
    """
    generator, null = numpy.random.default_rng(seed), numpy.zeros(draws)
    for x, y in pairs:
        null += generator.permuted(numpy.tile(unit_ranks(y), (draws, 1)), axis=1) @ unit_ranks(x)
    found = statistics.mean(spearman(x, y) for x, y in pairs)
    return float((1 + at_least(null / len(pairs), found).sum()) / (1 + draws))


def holm(ps):
    """p values of several tests, adjusted so that 5 % is the chance of any false one (Holm 1979).

    The smallest of m times m, the next times m - 1, …, none below the one before.

    >>> holm([0.01, 0.04, 0.03])  # 3 * 0.01, 2 * 0.03, and 1 * 0.04 is raised to that
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for done, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = adjusted[place] = max(least, min(1.0, (len(ps) - done) * ps[place]))
    return adjusted


def benjamini_hochberg(ps, level=0.05):
    """Which of several tests to call found, so that of those 5 % are false (1995).

    The largest k whose k-th smallest p is at most k / m times the level: those k.

    >>> benjamini_hochberg([0.01, 0.5, 0.03]), benjamini_hochberg([0.03, 0.5, 0.9])
    ([True, False, True], [False, False, False])
    """
    ranked = sorted(ps)
    found = [p for k, p in enumerate(ranked, 1) if p <= level * k / len(ps)]
    return [bool(found) and p <= found[-1] for p in ps]


def gain(scores, base):
    """Scores against others, seed by seed, as a seed shares its start and its order of examples.

    A star where that is beyond chance.

    >>> gain([70, 72, 74], [60, 63, 74]), gain([70, 72, 74], [60, 63, 64])
    ('+6.3 ± 5.5, ahead in 2 of 3, level in 1', '+9.7 ± 0.6 *, ahead in 3 of 3')
    """
    gains = [score - b for score, b in zip(scores, base, strict=True)]
    level = gains.count(0)
    return (f"{plus_minus(gains, '+')}{' *' if beyond_chance(gains) else ''}, ahead in "
            f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
            f"{f', level in {level}' if level else ''}")

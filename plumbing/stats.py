"""Numbers about numbers: correlations, means with their spread, and what may be chance.

Of lists of plain numbers; nothing here knows what they were measured on.
"""

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


# Two-sided 5 % points of Student's t for so many seeds: what a mean difference must
# exceed, in standard errors, to be more than chance. Above ten seeds, that of ten.
T_POINT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def beyond_chance(gains):
    """Whether the mean of these differences is not 0, by a t-test at 5 %. Of one: no."""
    n, (mean, deviation) = len(gains), spread(gains)
    return n > 1 and abs(mean) > T_POINT[min(n, 10)] * deviation / n ** 0.5


def gain(scores, base):
    """Scores against others, seed by seed, as a seed shares its start and its order of examples.

    >>> gain([70, 72, 74], [60, 63, 74])
    '+6.3 ± 5.5, ahead in 2 of 3 seeds, level in 1 (may be chance)'
    """
    gains = [score - b for score, b in zip(scores, base, strict=True)]
    level = gains.count(0)
    return (f"{plus_minus(gains, '+')}, ahead in {sum(gain > 0 for gain in gains)} of {len(gains)} "
            f"seeds{f', level in {level}' if level else ''}"
            f"{'' if beyond_chance(gains) else ' (may be chance)'}")

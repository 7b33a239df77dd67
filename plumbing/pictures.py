"""The pictures of results: which approach looks how, and the grid's heat map.

From the `whole` of each target, as report.py makes it; drawn by draw.py.
"""

import math
import statistics

import numpy

from plumbing import draw
from plumbing.draw import said, width
from plumbing.stats import benjamini_hochberg, spearman, spread, student_p

LEVEL = 0.05
LOOKS = {"prompt": ("ink", "circle", True), "pot": ("blue", "circle", False),
         "panda": ("orange", "diamond", False), "finetune": ("ink", "triangle", False)}


def look(name):
    """Colour, shape and whether it is hollow, of an approach: one look each on all pages.

    A family has a colour, its members their shapes: transfer and what starts like it is blue,
    what learns by the published form orange, by another form purple, hollow if its teacher had no
    source; more steps of plain prompt tuning are green.
    """
    approach = name.partition(" ")[0]
    if approach in LOOKS:
        return LOOKS[approach]
    family, _, member = approach.partition("_")
    if family == "prompt":
        return "green", {"2x": "square"}.get(member, "triangle"), True
    if member.startswith("self"):  # as its form, but hollow
        return ("orange", "diamond", True) if member == "self" else ("purple", "wedge", True)
    if family == "pot":
        return "blue", "square", False
    colour = "orange" if member in ("early", "late") else "purple"
    return colour, {"early": "square", "late": "triangle"}.get(
        member.partition("_")[0], "wedge" if member == "states" else "square"), False


def bin_width(values):
    """Of nine bins around 0: the smallest of 1, 2, 5 times a power of ten that holds 98 in 100.

    At least a half, or differences that nobody cares about would have the strongest colours.

    >>> bin_width([0.5, -9.0]), bin_width([0.1])
    (2.0, 0.5)
    """
    sizes = sorted(map(abs, values))
    most = max(2.25, sizes[math.ceil(0.98 * len(sizes)) - 1])
    power = 10.0 ** math.floor(math.log10(most / 4.5))
    return next(power * k for k in (1, 2, 5, 10) if 4.5 * power * k >= most * (1 - 1e-9))


def heat(name, title, about, rows, columns, cells, marked=(), note=(), size=None):
    """A matrix of signed numbers, names at its sides: red below 0, blue above.

    cells: (row, column) -> a number, or a word to print as it is; what is missing is hatched.
    marked: keys of `cells` in bold with a dot; note: lines that say what the dot says; size: of a
    bin of colour, if it is not to be these numbers' own.
    """
    left = 16 + max(min(width(row), 220) for row in rows)
    tilt = 0.71 * max(min(width(column), 220) for column in columns)  # of names at 45 degrees
    top, wide = 40 + tilt, left + 49 * len(columns) + tilt
    high = top + 25 * len(rows) + 66 + 15 * len(note)
    figure = draw.Figure(name, max(wide, 480), high, title, about)
    figure.text(8, 16, title, 13, room=(figure.wide - 16) / 1.13, font_weight="bold")
    for c, column in enumerate(columns):
        x = left + 49 * c + 22
        figure.text(x, top - 6, column, 12, room=220, transform=f"rotate(-45 {x} {top - 6:.1f})")
    size = size or bin_width([v for v in cells.values() if not isinstance(v, str)])
    for r, row in enumerate(rows):
        y = top + 25 * r
        figure.text(left - 8, y + 16, row, 12, "end", room=left - 12)
        for c, column in enumerate(columns):
            x, value = left + 49.0 * c, cells.get((row, column), "–")
            if isinstance(value, str):
                figure.add("rect", x=x, y=y, width=48, height=24, fill="none", stroke="grid")
                if value == "–":
                    figure.add("path", d="".join(f"M{x + k:.1f} {y + 24:.1f}l24 -24"
                                                 for k in range(0, 25, 8)), stroke="grid")
                figure.text(x + 24, y + 16, value, 11, "middle", "muted")
                continue
            at = min(max(math.floor(value / size + 4.5), 0), 8)
            bold = (row, column) in marked
            figure.add("rect", None, f"{row} to {column}: {said(value, 2, True)}", x=x, y=y,
                       width=48, height=24, fill=f"bin{at}")
            figure.text(x + 24, y + 16, said(value, 1, True), 11, "middle", f"on{at}",
                        font_weight="bold" if bold else "normal")
            if bold:
                figure.add("circle", cx=x + 43.5, cy=y + 4.5, r=2, fill=f"on{at}")
    foot = top + 25 * len(rows) + 18
    for i in range(9):
        figure.add("rect", x=left + 26.0 * i, y=foot, width=26, height=10, fill=f"bin{i}")
    for i, word in ((0, f"below {said(-3.5 * size)}"), (4, "0"), (8, f"above {said(3.5 * size)}")):
        figure.text(left + 26 * i + 13, foot + 22, word, 10, "middle", "muted")
    for k, line in enumerate(note):
        figure.text(8, foot + 42 + 15 * k, line, 11, fill="muted", room=figure.wide - 16)
    return figure


# ------------------------------------------------------------------------- the grid


def beyond(gains):
    """Of (source, target) -> gains by seed, the pairs whose mean is beyond chance.

    Three seeds say little of their own spread, so that of all sources of a target is taken
    together, as if it were one. It is mostly plain prompt tuning's, which they share: so it counts
    as known from one source's seeds, and not from all. Benjamini and Hochberg's correction at 5 %.
    """
    pairs, ps = [], []
    for target in {target for _, target in gains}:
        mine = {pair: each for pair, each in gains.items() if pair[1] == target and len(each) > 1}
        if mine:
            pooled = statistics.mean(spread(each)[1] ** 2 for each in mine.values())
            for pair, each in mine.items():
                pairs.append(pair)
                ps.append(student_p(statistics.mean(each), (pooled / len(each)) ** 0.5,
                                    len(each) - 1))
    return {pair for pair, is_found in zip(pairs, benjamini_hochberg(ps, LEVEL)) if is_found}


def blocks(rows, columns, values):
    """Rows and columns in the order of their matrix's first component, so that like stands by like.

    values: (row, column) -> number; a pair that is not there counts as its column's mean.
    """
    matrix = numpy.array([[values.get((r, c), math.nan) for c in columns] for r in rows])
    mean = numpy.array([numpy.nanmean(column) for column in matrix.T])
    left, _, right = numpy.linalg.svd(numpy.where(numpy.isnan(matrix), mean, matrix))
    sign = 1 if left[:, 0].sum() >= 0 else -1  # as it comes, the sign is the library's whim
    return ([rows[i] for i in numpy.argsort(-sign * left[:, 0], kind="stable")],
            [columns[i] for i in numpy.argsort(-sign * right[0], kind="stable")])


def prediction(measure, pairs):
    """One measure's similarities beside what was gained.

    pairs: target -> source -> (similarity, gain), means over the seeds. In the title the mean over
    the targets of Spearman's correlation over their sources.
    """
    ranks = [spearman(*zip(*mine.values())) for mine in pairs.values() if len(mine) > 2]
    said_rank = said(statistics.mean(ranks), 2, True) if ranks else "–"
    points = [draw.Series("", [pair], *look("pot")) for mine in pairs.values()
              for pair in mine.values()]
    return draw.scatter(
        f"predicted-{measure}", f"{measure}: Spearman's over the sources, mean of "
        f"{len(ranks)} targets, {said_rank}",
        f"{len(points)} pairs of source and target by their similarity ({measure}) and what pot "
        f"gained over plain prompt tuning. Spearman's correlation over the sources, the mean over "
        f"{len(ranks)} targets: {said_rank}.", points, f"similarity: {measure}",
        "gain of pot, points")


def transfer_matrix(approach, gains, size=None):
    """The heat map of one approach: (source, target) -> its gains over plain, one for each seed."""
    mean = {pair: statistics.mean(each) for pair, each in gains.items()}
    rows, columns = blocks(*(list(dict.fromkeys(pair[k] for pair in gains)) for k in (0, 1)), mean)
    cells = mean | {(name, name): "=" for name in {*rows} & {*columns}}
    for row in rows:  # each target counts alike
        cells[row, "(mean)"] = statistics.mean(mean[row, c] for c in columns if (row, c) in mean)
    found, seeds = beyond(gains), max(map(len, gains.values()))
    best = max(mean, key=mean.get)
    return heat(
        f"grid-{approach}", f"{approach}: gain over plain prompt tuning, points",
        f"Sources down, targets across. {len(found)} of {len(gains)} pairs differ from plain "
        f"prompt tuning by more than chance; highest is {best[0]} to {best[1]}, "
        f"{said(mean[best], sign=True)}. The means stand in grid.md.", rows, [*columns, "(mean)"],
        cells, found,
        (f"● beyond chance: t-test of {seeds} seeds, spread pooled by target,",
         f"at most 5 % of those marked false (Benjamini-Hochberg, {len(gains)} pairs)")
        if seeds > 1 else ("one seed: nothing can be said of chance",), size)

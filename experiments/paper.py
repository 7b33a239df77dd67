"""What the PANDA paper's own numbers say: five findings, recomputed from its appendix.

    python experiments/paper.py      prints the tables of docs/paper.md and draws its two pictures

The numbers stand in experiments/paper/, where README.md names their source: Zhong, Ding, Liu, Du
and Tao, "PANDA: Prompt Transfer Meets Knowledge Distillation for Efficient Model Adaptation",
arXiv 2208.10160, appendix. Five sizes of BERT, 21 source tasks, 9 target tasks, one run of each.

"Plain" is prompt tuning without a source. "PoT" (prompt transfer) tunes the source's prompt on
the target; its result is PANDA's teacher, and PANDA's own result is the student. A "pair" is a
source and a target. Arrays of shape (21, 9) have the sources down and the targets across.
"""

import csv
import dataclasses
import inspect
import json
import sys
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plumbing.stats import spearman

DATA = ROOT / "experiments/paper"
SCALES = "large base medium small tiny".split()
SOURCES = numpy.array(
    "MNLI QNLI CB RTE WSC MRPC QQP STS-B BoolQ COPA MultiRC ReCoRD SQuAD CoNLL03 CoNLL04 "
    "OntoNotes CoNLL05 CoNLL12 SST-2 WiC CoLA".split())
TARGETS = numpy.array("CB COPA WSC RTE WiC CoLA MRPC STS-B CoNLL04".split())
TWO_TASKS = SOURCES[:, None] != TARGETS  # (21, 9): the target is not its own source
TARGET_ROWS = (~TWO_TASKS).argmax(axis=0)  # where each target stands among the sources
MEASURES = {"panda": "ours", "e_avg": "E_avg", "on": "ON"}  # our name: the paper's
LOW = 0.1  # below this similarity distillation has hardly any weight


# ---------------------------------------------------------------------------- the numbers


@dataclasses.dataclass
class Scale:
    """The numbers of one size of BERT. Scores are in points, 0 to 100."""

    name: str
    plain: numpy.ndarray  # (9,)
    first_epoch: numpy.ndarray  # (21, 9) PoT after one epoch
    teacher: numpy.ndarray  # (21, 9) PoT at its end
    student: numpy.ndarray  # (21, 9) PANDA
    matrices: dict  # measure: (21, 21) similarities
    kept: numpy.ndarray  # (21,) which sources count

    @property
    def pairs(self):
        """(21, 9): which pairs count, a task with itself never."""
        return TWO_TASKS & self.kept[:, None]

    def similarity(self, measure="panda"):
        """(21, 9): of each source to each target."""
        return self.matrices[measure][:, TARGET_ROWS]


def read_scores():
    """{(BERT's name, stage, approach, source, target): score}; "" where there is no source."""
    with open(DATA / "panda_appendix.csv", newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)  # the names of the columns
        return {tuple(key): float(score) for *key, score in lines}


def read_matrices():
    """{"large ours": (21, 21), …}. For an unreadable cell (null) its mirrored cell, or NaN."""
    content = json.loads((DATA / "panda_similarity_matrices.json").read_text(encoding="utf-8"))
    matrices = {}
    for name, rows in content["matrices"].items():
        matrix = numpy.array(rows, dtype=float)
        matrices[name] = numpy.where(numpy.isnan(matrix), matrix.T, matrix)
    return matrices


def read_scale(name, scores, matrices):
    def row(stage, approach, source=""):
        return [scores[f"BERT-{name}", stage, approach, source, target] for target in TARGETS]

    def rows(stage, approach):
        return numpy.array([row(stage, approach, source) for source in SOURCES])

    return Scale(
        name=name,
        plain=numpy.array(row("final", "prompt-tuning")),
        first_epoch=rows("first-epoch", "pot"),
        teacher=rows("final", "pot"),
        student=rows("final", "panda"),
        matrices={our: matrices[f"{name} {paper}"] for our, paper in MEASURES.items()},
        kept=numpy.ones(len(SOURCES), dtype=bool),
    )


def read():
    """A Scale for each size of BERT, large to tiny."""
    scores = read_scores()
    matrices = read_matrices()
    return [read_scale(name, scores, matrices) for name in SCALES]


def repeated(scores):
    """(21,): whether another source has the same scores on all targets, a copying error.

    >>> repeated(numpy.array([[1, 2], [1, 3], [1, 2]])).tolist()
    [True, False, True]
    """
    rows = scores.tolist()
    return numpy.array([rows.count(row) > 1 for row in rows])


def with_starred(scales):
    """The scales; one with repeated rows comes again, with a star, without those sources."""
    result = []
    for scale in scales:
        result.append(scale)
        copied = repeated(scale.teacher) | repeated(scale.student)
        if copied.any():
            result.append(dataclasses.replace(scale, name=f"{scale.name}*", kept=~copied))
    return result


# --------------------------------------------------------------------------- the findings
# Each makes one row of a table, for one scale. Its docstring is what is printed above the rows.


def mean_spearman(x, y, pairs):
    """Spearman's correlation over the sources for each target, then the mean over the targets.

    x, y and pairs are (21, 9); pairs says which of them count.
    """
    correlations = []
    for target, counted in enumerate(pairs.T):
        correlations.append(spearman(x[counted, target], y[counted, target]))
    return numpy.mean(correlations)


def slope(x, y, pairs):
    """How many points y moves for a point of x: least squares, each target about its own mean."""
    x_centred = (x - x.mean(axis=0, where=pairs))[pairs]
    y_centred = (y - y.mean(axis=0, where=pairs))[pairs]
    return x_centred @ y_centred / (x_centred @ x_centred)


def teacher_and_student(scale):
    """### 1 and 2. A student's score hardly follows its teacher's, and hardly depends on the source

    Spearman: correlation of PANDA with PoT over the sources, mean of the targets (unrelated
    scores: within ±0.15 in 19 cases of 20, 1.96 / √(19 · 9), for independent targets). Points per
    point: the student's change for one point of its teacher (least squares about each target's
    mean). sd: standard deviation over the sources, mean of the targets.

    | BERT | Spearman | points per point | sd of PoT | sd of PANDA |
    | --- | --: | --: | --: | --: |
    """
    pairs = scale.pairs
    return [
        mean_spearman(scale.teacher, scale.student, pairs),
        slope(scale.teacher, scale.student, pairs),
        f"{scale.teacher.std(axis=0, where=pairs).mean():.2f}",
        f"{scale.student.std(axis=0, where=pairs).mean():.2f}",
    ]


def dissimilar_sources(scale):
    """### 3. PANDA gains even where its own weight says that the source hardly counts

    Mean gain of PANDA over plain prompt tuning, in points, by the similarity of the pair. Last
    column: gain at 0.1 or more, minus gain below 0.1 on the same target, mean of the targets.

    | BERT | pairs below 0.1 | gain | targets that gain | gain at 0.1 or more | more, same target |
    | --- | --: | --: | --: | --: | --: |
    """
    gain = scale.student - scale.plain
    is_low = scale.similarity() < LOW
    low = scale.pairs & is_low
    high = scale.pairs & ~is_low
    low_gains = gain.mean(axis=0, where=low)  # (9,)
    high_gains = gain.mean(axis=0, where=high)
    return [
        str(low.sum()),
        gain[low].mean(),
        str((low_gains > 0).sum()),
        gain[high].mean(),
        (high_gains - low_gains).mean(),
    ]


def describe(matrix):
    """Largest asymmetry, least value on the diagonal, mean and sd off it, SST-2 to CB."""
    off_diagonal = matrix[SOURCES[:, None] != SOURCES]
    asymmetry = numpy.nanmax(abs(matrix - matrix.T))
    sst2_to_cb = matrix[SOURCES == "SST-2", SOURCES == "CB"].item()
    return [
        f"{asymmetry:.3f}",
        f"{matrix.diagonal().min():.3f}",
        f"{numpy.nanmean(off_diagonal):.2f}",
        f"{numpy.nanstd(off_diagonal):.2f}",
        f"{sst2_to_cb:.2f}",
    ]


def metrics(scale):
    """### 4. The published metric (panda) ranks the sources no better than e_avg

    First three columns: Spearman's correlation of a similarity with PoT's score after the first
    epoch, as above. The others: panda's matrix, 21 x 21 tasks; mean and sd leave out its diagonal.

    | BERT | panda | e_avg | on | asymmetry, at most | diagonal | mean | sd | SST-2 to CB |
    | --- | --: | --: | --: | --: | --: | --: | --: | --: |
    """
    correlations = []
    for measure in MEASURES:
        similarity = scale.similarity(measure)
        correlations.append(mean_spearman(similarity, scale.first_epoch, scale.pairs))
    return correlations + describe(scale.matrices["panda"])


def means(scale):
    """### 5. A source taken at random makes PoT worse than plain prompt tuning, and PANDA better

    Mean score of plain prompt tuning; mean gains over it of all 189 pairs (in 9, a task is its own
    source); how many of the 21 sources have a mean gain below 0; PoT without its worst source.

    | BERT | plain | PoT | PANDA | PoT: below 0 | PANDA: below 0 | PoT's worst | PoT without it |
    | --- | --: | --: | --: | --: | --: | --: | --: |
    """
    teacher = (scale.teacher - scale.plain)[scale.kept].mean(axis=1)  # (21,), of each source
    student = (scale.student - scale.plain)[scale.kept].mean(axis=1)
    worst = teacher.argmin()
    return [
        f"{scale.plain.mean():.1f}",
        teacher.mean(),
        student.mean(),
        str((teacher < 0).sum()),
        str((student < 0).sum()),
        SOURCES[scale.kept][worst],
        numpy.delete(teacher, worst).mean(),
    ]


def line(name, cells):
    """A row of a Markdown table; numbers with their sign and two decimals.

    >>> line("tiny", ["58", -0.031])
    '| tiny | 58 | −0.03 |'
    """
    row = [name]
    for cell in cells:
        row.append(cell if isinstance(cell, str) else f"{cell:+.2f}".replace("-", "−"))
    return f"| {' | '.join(row)} |"


def report(scales):
    """The Markdown that docs/paper.md holds between its two marks."""
    starred = with_starred(scales)
    tables = [
        (teacher_and_student, starred),
        (dissimilar_sources, starred),
        (metrics, scales),  # the first epoch's table has no repeated rows
        (means, starred),
    ]
    blocks = []
    for finding, rows in tables:
        lines = [inspect.cleandoc(finding.__doc__)]
        lines += [line(scale.name, finding(scale)) for scale in rows]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


# --------------------------------------------------------------------------- the pictures
# What stands still is plain SVG; the numbers are dots in it. In each group the origin is gain 0.
# Drawn for a light page; for a dark one the colours are exchanged.

DARK = {
    "#ffffff": "#0d1117",  # the page
    "#1f2328": "#e6edf3",  # words
    "#59636e": "#9198a1",  # ticks, reference lines
    "#d0d7de": "#30363d",  # grid
    "#eaeef2": "#1c2128",  # the band of low similarity
    "#D55E00": "#E69F00",  # PANDA
}
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 320" width="760" height="320"
 role="img" aria-labelledby="title">
<title id="title">{title}</title>
<style>
text {{ font: 12px -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Ubuntu, "DejaVu Sans",
 sans-serif; fill: #1f2328 }}
.tick text {{ fill: #59636e }}
.grid {{ stroke: #d0d7de }}
.reference {{ stroke: #59636e; stroke-dasharray: 4 3 }}
.band {{ fill: #eaeef2 }}
.error {{ stroke: #D55E00; stroke-width: 2 }}
.filled {{ fill: #D55E00; fill-opacity: .7; stroke: #D55E00 }}
.hollow {{ fill: #ffffff; fill-opacity: .7; stroke: #D55E00 }}
</style>
<rect width="760" height="320" fill="#ffffff"/>
{shapes}
</svg>
"""
STUDENT = """\
<text x="8" y="18">Student’s gain over plain prompt tuning, points</text>
<text x="240" y="310">Its teacher’s gain over plain prompt tuning, points</text>
<g transform="translate(660 114)">
<path class="grid" d="M-610-80H80M-610 80H80M-610 160H80"/>
<path class="reference" d="M-610 0H80M-160 160L80-80"/>
<g class="tick" text-anchor="end">
<text x="-618" y="-76">10</text><text x="-618" y="4">0</text>
<text x="-618" y="84">−10</text><text x="-618" y="164">−20</text>
</g>
<g class="tick" text-anchor="middle">
<text x="-480" y="178">−60</text><text x="-320" y="178">−40</text>
<text x="-160" y="178">−20</text><text y="178">0</text>
</g>
<text x="-160" y="136" text-anchor="end">on this line a student equals its teacher</text>
<circle cx="-588" cy="108" r="3" class="hollow"/>
<text x="-578" y="112">similarity below 0.1</text>
<circle cx="-588" cy="132" r="3" class="filled"/>
<text x="-578" y="136">similarity 0.1 or more</text>
{dots}
</g>"""
SIMILARITY = """\
<text x="8" y="18">PANDA’s gain over plain prompt tuning, points</text>
<text x="396" y="310" text-anchor="middle">Similarity of source and target</text>
<g class="tick" text-anchor="end" transform="translate(36 194)">
<text y="-120">3</text><text y="-80">2</text><text y="-40">1</text><text>0</text>
<text y="40">−1</text><text y="78">pairs</text>
</g>
{panels}"""
PANEL = """\
<g transform="translate({left} 190)" text-anchor="middle">
<path class="band" d="M-14-136H11V40H-14"/>
<path class="grid" d="M-14-120H117M-14-80H117M-14-40H117M-14 40H117"/>
<path class="reference" d="M-14 0H117"/>
<text x="52" y="-146">BERT-{name}</text>
<g class="tick">
<text y="60">0</text><text x="55" y="60">0.5</text><text x="110" y="60">1</text>
{dots}
</g>
</g>"""


def draw_student(scales):
    """The student's gain against its teacher's: all pairs of the large scale, 8 pixels a point."""
    large = scales[0]
    similarity = large.similarity()
    teacher = 8 * (large.teacher - large.plain)
    student = -8 * (large.student - large.plain)
    dots = []
    for pair in zip(*large.pairs.nonzero(), strict=True):
        kind = "hollow" if similarity[pair] < LOW else "filled"
        x = teacher[pair]
        y = student[pair]
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{kind}"/>')
    title = "BERT-large: students stay near plain prompt tuning however bad their teachers are"
    shapes = STUDENT.format(dots="\n".join(dots))
    return SVG.format(title=title, shapes=shapes)


def draw_bins(scale):
    """PANDA's mean gain and its standard error in bins of similarity; 40 pixels a point."""
    similarity = scale.similarity()
    gain = -40 * (scale.student - scale.plain)
    dots = []
    for low, high in [(-LOW, LOW), (LOW, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 1)]:
        gains = gain[scale.pairs & (low <= similarity) & (similarity < high)]
        x = round(110 * (low + high) / 2)
        y = gains.mean()
        error = gains.std(ddof=1) / len(gains) ** 0.5
        dots.append(f'<path d="M{x} {y - error:.1f}V{y + error:.1f}" class="error"/>')
        dots.append(f'<circle cx="{x}" cy="{y:.1f}" r="4" class="filled"/>')
        dots.append(f'<text x="{x}" y="82">{len(gains)}</text>')
    return "\n".join(dots)


def draw_similarity(scales):
    """PANDA's gain against the similarity, a panel for each scale."""
    panels = []
    for number, scale in enumerate(scales):
        panel = PANEL.format(left=60 + 145 * number, name=scale.name, dots=draw_bins(scale))
        panels.append(panel)
    title = "PANDA gains at every scale where the similarity is below 0.1, the shaded part"
    return SVG.format(title=title, shapes=SIMILARITY.format(panels="\n".join(panels)))


def main():
    scales = read()
    print(report(scales))
    for name, draw in [("student", draw_student), ("similarity", draw_similarity)]:
        light = draw(scales)
        dark = light
        for colour, other in DARK.items():
            dark = dark.replace(colour, other)
        (ROOT / f"docs/paper-{name}-light.svg").write_text(light, encoding="utf-8")
        (ROOT / f"docs/paper-{name}-dark.svg").write_text(dark, encoding="utf-8")


if __name__ == "__main__":
    main()

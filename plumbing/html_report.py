"""report.html and grid.html: HTML and CSS with small SVG charts, each page one file.

    report_page(results, sentences, setup, tables)      one target
    grid_page(sentences, matrices, ...)                 several pairs of source and target
    whole_page(title, body)                             any page in this style
    dot_chart(...), line_chart(...)                     SVG text, for a page; with theme="light" or
                                                        "dark" for a file of its own

report.py makes the sentences and tables; `results` is described there. Nothing is read from disk.
The series' colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; the
heat map's are ColorBrewer's RdBu.
"""

import dataclasses
import itertools
import math
import re
import statistics
import typing
import urllib.parse
from html import escape

from plumbing.stats import differences, interval, number, significant, star

THEMES = ["light", "dark"]
FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, Ubuntu, 'Helvetica Neue', sans-serif"
ROUND = [float(f"{digit}e{power}") for power, digit in itertools.product(range(-6, 8), (1, 2, 5))]
COLOURS = {  # role: on light, on dark
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9198a1"),
    "axis": ("#6e7781", "#7d8590"),
    "grid": ("#d0d7de", "#30363d"),
    "blue": ("#0072B2", "#56B4E9"),
    "orange": ("#D55E00", "#E69F00"),
    "green": ("#009E73", "#009E73"),
    "purple": ("#CC79A7", "#CC79A7"),
}
BINS = [  # of the heat map, from loss to gain
    ("#b2182b", "#f5a48f"), ("#d6604d", "#c8614d"), ("#f4a582", "#8a382b"),
    ("#fddbc7", "#4c211b"), ("#f7f7f7", "#1c2128"), ("#d1e5f0", "#14304a"),
    ("#92c5de", "#1f5685"), ("#4393c3", "#4a8cc4"), ("#2166ac", "#93c5f0"),
]
for _index, _colours in enumerate(BINS):
    COLOURS[f"bin{_index}"] = _colours
COLOURS["outer"] = ("#ffffff", "#000000")  # text on the first and the last bin
COLOURS["next"] = ("#000000", "#000000")  # on the second and the last but one
COLOURS["inner"] = ("#000000", "#ffffff")


class Approach(typing.NamedTuple):
    """What a name that begins with `prefix` means, and how it looks on every page."""

    prefix: str
    colour: str
    hollow: bool
    meaning: str


PANDA = ("PANDA: a fresh prompt that learns from the labels and, as far as source and target are "
         "similar, from pot's prompt. After the underscore: the distillation loss.")
SELF = ("Control: the distillation loss of PANDA, but the teacher is prompt_2x. It shows what "
        "distillation gives without a source.")
EARLY = "PANDA with several sources: one teacher, which starts from the mean of their prompts."
LATE = "PANDA with several sources: a teacher for each."
APPROACHES = [  # the first prefix that fits counts
    Approach("prompt_2x", "green", False, "Control: prompt with twice the steps."),
    Approach("prompt_3x", "green", True, "Control: prompt with three times the steps."),
    Approach("prompt", "ink", True, "Plain prompt tuning: a fresh prompt learns from the labels."),
    Approach("pot_early", "blue", True,
             "Prompt transfer from several sources: starts from the mean of their prompts."),
    Approach("pot", "blue", False,
             "Prompt transfer: starts from the source's prompt, then learns from the labels."),
    Approach("panda_kl", "orange", False, PANDA),
    Approach("panda", "purple", False, PANDA),
    Approach("self_kl", "orange", True, SELF),
    Approach("self", "purple", True, SELF),
    Approach("early_kl", "orange", True, EARLY),
    Approach("early", "purple", True, EARLY),
    Approach("late_kl", "orange", False, LATE),
    Approach("late", "purple", False, LATE),
    Approach("finetune", "ink", False, "Model tuning: all weights of T5 are trained."),
    Approach("", "axis", False, "Another approach."),
]


def approach_of(name):
    return next(approach for approach in APPROACHES if name.startswith(approach.prefix))


def shortened(name, width=26):
    """A long name without its middle, as names differ at their ends.

    >>> shortened("toy-nli"), shortened("toy-nli,toy-rte,toy-boolq", 12)
    ('toy-nli', 'toy-n…-boolq')
    """
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[half - width + 1:]}"


def run_name(run):
    """How a page calls a run: "pot from toy-nli"."""
    source = shortened(run["source"])
    return f"{run['approach']} from {source}" if source else run["approach"]


def plain_scores(results):
    """The scores of plain prompt tuning; None if it was not run."""
    for run in results["runs"]:
        if run["approach"] == "prompt":
            return run["scores"]
    return None


def compared_runs(results):
    """(run, its gains over plain prompt tuning by seed), of all other runs."""
    base = plain_scores(results)
    if base is None:
        return []
    others = [run for run in results["runs"] if run["approach"] != "prompt"]
    return [(run, differences(run["scores"], base)) for run in others]


def similarity_of(results, source, measure=None):
    """Of one source with the target, the mean over the seeds; by default the recipe's measure."""
    measure = measure or results["recipe"].get("similarity", "panda")
    if measure == "none":
        return 1.0  # what weighs every source then
    return statistics.mean(seed[measure] for seed in results["similarity"][source])


def flat(lists):
    """All entries of several lists, one after the other."""
    return list(itertools.chain.from_iterable(lists))


# ------------------------------------------------------------------- elements


class Link(typing.NamedTuple):
    """A cell of a table that links to another file."""

    text: str
    href: str


class Heat(typing.NamedTuple):
    """A coloured cell of a matrix: one of the nine bins, from 0 (loss) to 8 (gain)."""

    text: str
    bin: int


def tag(name, content="", **attributes):
    """An element of HTML or SVG. `content` is markup; the attributes' values are escaped.

    >>> tag("th", "a &lt; b", class_="name", font_size=10.25)
    '<th class="name" font-size="10.2">a &lt; b</th>'
    """
    pairs = []
    for key, value in attributes.items():
        if isinstance(value, float):
            value = f"{value:.1f}"
        name_of_key = key.rstrip("_").replace("_", "-")
        pairs.append(f' {name_of_key}="{escape(str(value))}"')
    return f"<{name}{''.join(pairs)}>{content}</{name}>"


def paragraph(words, **attributes):
    return tag("p", escape(words), **attributes)


def table_cell(value):
    """A td of text, a Link or a Heat."""
    if isinstance(value, str):
        return tag("td", escape(value))
    text = escape(value.text)
    if isinstance(value, Link):
        return tag("td", tag("a", text, href=urllib.parse.quote(value.href)))
    colour = {0: "outer", 1: "next", 7: "next", 8: "outer"}.get(value.bin, "inner")
    return tag("td", text, class_="heat",
               style=f"background: var(--bin{value.bin}); color: var(--{colour})")


def html_table(table, label):
    """(header, rows) as a table that scrolls sideways where it is too wide, also by the keyboard.

    Cells are text, Links or Heats. label: the table's name for a screen reader.
    """
    header, rows = table
    head = "".join(tag("th", escape(name), scope="col") for name in header)
    body = []
    for first, *others in rows:
        cells = "".join(table_cell(value) for value in others)
        body.append(tag("tr", tag("th", escape(first), scope="row") + cells))
    table = tag("table", tag("thead", tag("tr", head)) + tag("tbody", "\n".join(body)))
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label=label)


def folded(summary, *pieces):
    return tag("details", tag("summary", escape(summary)) + "\n".join(pieces))


def figure(chart, caption):
    return tag("figure", chart + tag("figcaption", escape(caption)))


# ------------------------------------------------------------------- SVG


def svg_text(x, y, words, anchor="start", colour="ink", **more):
    """A text, with a rim of the page's colour where it crosses a line."""
    return tag("text", escape(words), x=x, y=y, text_anchor=anchor, fill=f"var(--{colour})",
               stroke="var(--page)", stroke_width=3, paint_order="stroke", **more)


def svg_line(x1, y1, x2, y2, colour, **more):
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=f"var(--{colour})", **more)


def svg_dot(approach, x, y, radius):
    colour = f"var(--{approach.colour})"
    fill = "var(--page)" if approach.hollow else colour
    return tag("circle", cx=x, cy=y, r=radius, stroke=colour, fill=fill, stroke_width=2)


def svg_curve(points, colour, **more):
    """A line through pixels (x, y)."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polyline", points=path, fill="none", stroke=f"var(--{colour})", **more)


def chart_svg(width, height, title, marks, theme=None):
    """An SVG of marks. theme: "light" or "dark" for a file; None where the page has the colours."""
    background = tag("rect", width=width, height=height, fill="var(--page)")
    svg = tag("svg", background + "".join(marks), xmlns="http://www.w3.org/2000/svg",
              viewBox=f"0 0 {width} {height}", width=width, height=height, role="img",
              aria_label=title, font_family=FONT, font_size=12)
    if theme is None:
        return svg
    column = THEMES.index(theme)
    return re.sub(r"var\(--(\w+)\)", lambda match: COLOURS[match[1]][column], svg)


class Scale(typing.NamedTuple):
    """Maps values from low to high onto pixels from start to end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value):
        share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share


def ticks(low, high, most):
    """At most so many round values: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 10, 6), ticks(0.1, 0.34, 3)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.1, 0.2, 0.3])
    """
    step = next(size for size in ROUND if (high - low) / size < most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 6) for index in range(first, last + 1)]


def log_ticks(low, high):
    """Round values whose log10 is in a range; of two decades and more the powers of ten.

    >>> log_ticks(-1, 0.1), log_ticks(-2, 0.4)
    ([0.1, 0.2, 0.5, 1.0], [0.01, 0.1, 1.0])
    """
    sizes = ROUND if high - low < 2 else ROUND[::3]
    return [size for size in sizes if low <= math.log10(size) <= high]


def widened(values):
    """(low, high) of an axis that holds all values."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def spread_labels(wanted, gap, bottom):
    """Positions near the wanted ones, at least `gap` apart and none below `bottom`.

    >>> spread_labels([12, 10, 98], 13, 100), spread_labels([99, 98], 13, 100)
    ([23, 10, 98], [100, 87])
    """
    positions = list(wanted)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    for above, below in zip(order, order[1:]):
        positions[below] = max(positions[below], positions[above] + gap)
    for index in reversed(order):
        positions[index] = min(positions[index], bottom)
        bottom = positions[index] - gap
    return positions


# ------------------------------------------------------------------- charts


@dataclasses.dataclass
class Series:
    """A row of dots or a line, with its name."""

    name: str
    values: list  # dot_chart: a number for each seed; line_chart: a curve [(x, y), …] for each
    approach: Approach = APPROACHES[-1]  # its look
    note: str = ""  # dot_chart: at the right


def x_axis(scale, y, label):
    """A horizontal axis at height y, with ticks, their numbers and its name."""
    marks = [svg_line(scale.start, y, scale.end, y, "axis")]
    for value in ticks(scale.low, scale.high, 6):
        x = scale(value)
        marks.append(svg_line(x, y, x, y + 4, "axis"))
        marks.append(svg_text(x, y + 18, tick_text(value), "middle", "muted"))
    middle = (scale.start + scale.end) / 2
    marks.append(svg_text(middle, y + 36, label, "middle", "muted"))
    return marks


def seed_interval(values):
    """The 95 % interval of three seeds or more; of fewer, where it says nothing, ()."""
    return (interval(values) or ()) if len(values) > 2 else ()


def dot_row(row, scale, y):
    """One row: the interval as a line, the mean as a dot, the seeds as ticks below it."""
    colour = row.approach.colour
    marks = [svg_curve([(scale(end), y) for end in seed_interval(row.values)], colour,
                       stroke_width=2)]
    marks.append(svg_dot(row.approach, scale(statistics.mean(row.values)), y, 5))
    for value in row.values:
        x = scale(value)
        marks.append(svg_line(x, y + 8, x, y + 13, colour, stroke_width=1.5))
    return marks


def level_marks(name, value, scale, y, bottom):
    """A dashed line with its name above; a value beyond the axis is only named, at its edge."""
    if value < scale.low:
        return [svg_text(scale.start, y, f"← {name}", colour="muted")]
    if value > scale.high:
        return [svg_text(scale.end, y, f"{name} →", "end", "muted")]
    x = scale(value)
    anchor = "end" if x > (scale.start + scale.end) / 2 else "start"
    return [svg_line(x, y + 4, x, bottom, "muted", stroke_dasharray="4 3"),
            svg_text(x, y, name, anchor, "muted")]


def dot_chart(rows, title, x_label, levels=(), width=480, theme=None):
    """A row for each Series: its name and note above its dots. levels: (name, value) of lines."""
    row_height = 46
    values = [0.0]
    for row in rows:
        values += [*row.values, *seed_interval(row.values)]
    scale = Scale(*widened(values), 12, width - 12)
    top = 16 * len(levels) + 12
    bottom = top + row_height * len(rows)
    marks = x_axis(scale, bottom, x_label)
    for index, (name, value) in enumerate(levels):
        marks += level_marks(name, value, scale, 14 + 16 * index, bottom)
    for index, row in enumerate(rows):
        y = top + row_height * index + 12
        marks.append(svg_text(12, y, row.name))
        marks.append(svg_text(width - 12, y, row.note, "end"))
        marks += dot_row(row, scale, y + 13)
    return chart_svg(width, bottom + 44, title, marks, theme)


def mean_curve(curves):
    """The mean over the seeds, step by step, of curves [(x, y), …]."""
    points = []
    for of_step in zip(*curves):
        x = of_step[0][0]
        points.append((x, statistics.mean(y for _, y in of_step)))
    return points


def y_values(series):
    """All values of y of some Series of curves."""
    curves = flat(each.values for each in series)
    return [y for _, y in flat(curves)]


def line_chart(series, title, x_label, y_range=None, log=False, width=440, height=300, theme=None):
    """Curves: the mean over the seeds as a thick line with its name, each seed as a thin one.

    A curve of one point is a dot. y_range: (low, high), for charts that are compared.
    log: the values are log10 of what the axis shows.
    """
    means = [mean_curve(each.values) for each in series]
    steps = [x for x, _ in flat(means)]
    label_width = max(7.2 * len(each.name) for each in series)
    span = (min(steps), max(steps)) if len(set(steps)) > 1 else widened(steps)
    x_scale = Scale(*span, 48, width - label_width - 16)
    y_scale = Scale(*(y_range or widened(y_values(series))), height - 48, 32)
    marks = [svg_text(8, 16, title, font_weight="bold")]
    marks += x_axis(x_scale, y_scale.start, x_label)
    marks += y_axis(y_scale, x_scale, log)
    ends = []
    for each, mean in zip(series, means):
        colour = each.approach.colour
        for curve in each.values:
            points = [(x_scale(x), y_scale(y)) for x, y in curve]
            marks.append(svg_curve(points, colour, stroke_width=0.75, opacity=0.5))
        points = [(x_scale(x), y_scale(y)) for x, y in mean]
        marks.append(svg_curve(points, colour, stroke_width=2))
        ends.append(points[-1])
    labels = spread_labels([y for _, y in ends], 14, y_scale.start)
    for each, (x, y), label in zip(series, ends, labels):
        marks.append(svg_dot(each.approach, x, y, 4))
        marks.append(svg_text(x + 9, label + 4, each.name))
    return chart_svg(width, height, title, marks, theme)


def y_axis(y_scale, x_scale, log):
    """A line across for each tick, with its number."""
    ends = y_scale.low, y_scale.high
    shown = log_ticks(*ends) if log else ticks(*ends, 8)
    marks = []
    for value in shown:
        y = y_scale(math.log10(value) if log else value)
        marks.append(svg_line(x_scale.start, y, x_scale.end, y, "grid"))
        marks.append(svg_text(x_scale.start - 6, y + 4, tick_text(value), "end", "muted"))
    return marks


def tick_text(value):
    return f"{value:g}".replace("-", "−")


# ------------------------------------------------------------------- a target's page


def gain_note(gains):
    """A row's number: the mean gain, a star where significant, and its interval."""
    note = number(statistics.mean(gains), "+") + star(gains)
    if seed_interval(gains):
        low, high = seed_interval(gains)
        note += f" [{number(low)}, {number(high)}]"
    return note


def gain_figure(results):
    """The gain of each run over plain prompt tuning, sorted; "" of one seed, or if none moved."""
    compared = compared_runs(results)
    if len(results["seeds"]) == 1 or not any(any(gains) for _, gains in compared):
        return ""
    rows = [Series(run_name(run), gains, approach_of(run["approach"]), gain_note(gains))
            for run, gains in compared]
    rows.sort(key=lambda row: statistics.mean(row.values), reverse=True)
    base = statistics.mean(plain_scores(results))
    levels = {"majority class": results["majority"], "T5 without a prompt": results["promptless"],
              "plain prompt tuning": base}
    label = f"gain over plain prompt tuning, points of {results['metric']}"
    chart = dot_chart(rows, f"{results['target']}: {label}", label,
                      [(f"{name} {score:.1f}", score - base) for name, score in levels.items()])
    caption = "Dots: the mean. Small ticks: the seeds."
    if len(results["seeds"]) > 2:
        stars = sum(significant(row.values) for row in rows)
        caption = (f"{stars} of {len(rows)} runs differ significantly from plain prompt tuning (*: "
                   "paired t-test at 5 %, each run by itself). Lines and brackets: the paired 95 % "
                   f"interval. {caption}")
    return figure(chart, caption)


def curves_of(run, kind):
    """A run's curves, one for each seed. kind: "dev", or "CE" or "KD" as log10 of what is > 0."""
    if kind == "dev":
        return run["curves"]
    column = {"CE": 1, "KD": 2}[kind]
    curves = []
    for terms in run["losses"]:
        pairs = [(term[0], term[column]) for term in terms if (term[column] or 0) > 0]
        curves.append([(step, math.log10(loss)) for step, loss in pairs])
    return curves


def curve_panels(results, kind, what):
    """A panel for each source, its runs beside plain prompt tuning, with one range of y."""
    plain = []
    groups = {}
    for run in results["runs"]:
        series = Series(run["approach"], curves_of(run, kind), approach_of(run["approach"]))
        if not all(series.values):
            continue
        if run["approach"] == "prompt":
            plain.append(series)
        else:
            groups.setdefault(run["source"], []).append(series)
    if not groups:
        groups[""] = []
    shown = plain + list(flat(groups.values()))
    if not shown:
        return []
    y_range = widened(y_values(shown))
    panels = []
    for source, series in groups.items():
        title = f"from {shortened(source)}: {what}" if source else f"without a source: {what}"
        panels.append(line_chart(plain + series, title, "step", y_range, log=kind != "dev"))
    return panels


def panel_grid(panels):
    return tag("div", "\n".join(panels), class_="panels")


def learning_section(results):
    """Dev curves of each source in sight, four panels at most; the others and the losses folded."""
    dev = curve_panels(results, "dev", f"dev {results['metric']}")
    losses = (curve_panels(results, "CE", "cross-entropy (CE)")
              + curve_panels(results, "KD", "distance to the teacher (KD)"))
    pieces = [tag("h2", "Learning curves"), panel_grid(dev[:4]),
              paragraph("Thick: the mean of the seeds. Thin: each seed.", class_="caption")]
    if dev[4:]:
        pieces.append(folded("The other sources", panel_grid(dev[4:])))
    if losses:
        pieces.append(folded("Losses, on a log axis", panel_grid(losses)))
    return pieces


def similarity_section(pairs, names):
    """A panel for each (results, approach), with its name: sources by similarity and mean gain.

    All have one range of gains. A panel of fewer than three sources, or without any gain, is left
    out; without a panel there is no section.
    """
    panels = {}
    for (results, approach), name in zip(pairs, names):
        points = []
        for run, gains in compared_runs(results):
            if run["approach"] == approach and run["source"] in results["similarity"]:
                point = (similarity_of(results, run["source"]), statistics.mean(gains))
                points.append(Series(run["source"], [[point]], approach_of(approach)))
        if len(points) > 2 and any(y_values(points)):
            panels[name] = points
    if not panels:
        return []
    y_range = widened(y_values(flat(panels.values())))
    charts = [line_chart(points, name, "similarity of source and target", y_range)
              for name, points in panels.items()]
    return [tag("h2", "Similarity and gain"), panel_grid(charts)]


def glossary(runs):
    """What the names of the runs' approaches mean."""
    entries = []
    for name in dict.fromkeys(run["approach"] for run in runs):
        meaning = escape(approach_of(name).meaning)
        entries.append(tag("dt", escape(name)) + tag("dd", meaning))
    return tag("dl", "\n".join(entries))


def recipe_table(results):
    """All options; those that differ from their defaults first."""
    recipe = results["changed"] | results["recipe"]  # the order of the first, the values of both
    rows = [[name, str(value), "changed" if name in results["changed"] else ""]
            for name, value in recipe.items()]
    return html_table((["option", "value", "not the default"], rows), "recipe")


def report_page(results, sentences, setup, tables):
    """report.html of a target, as text.

    sentences: the headline's; setup: of the conditions; tables: name -> (header, rows), the first
    in sight, the others folded.
    """
    approaches = list(dict.fromkeys(run["approach"] for run in results["runs"]))
    (name, scores), *others = tables.items()
    pieces = [paragraph(sentence, class_="lead") for sentence in sentences[1:]]
    pieces.append(gain_figure(results))
    pieces += [paragraph(sentence) for sentence in setup]
    pieces += [tag("h2", "Scores"), html_table(scores, name),
               paragraph("Mean ± standard deviation over the seeds.", class_="caption")]
    pieces += [tag("h2", "The names"), glossary(results["runs"])]
    pieces += learning_section(results)
    pieces += similarity_section([(results, approach) for approach in approaches],
                                 [f"{approach}: gain over prompt" for approach in approaches])
    pieces.append(tag("h2", "Details"))
    pieces += [folded(name, html_table(table, name)) for name, table in others]
    pieces.append(folded("Recipe and command", tag("pre", escape(results["command"])),
                         recipe_table(results)))
    return whole_page(f"{results['target']}: {sentences[0]}", pieces)


# ------------------------------------------------------------------- several pairs


def bin_width(gains):
    """Of nine bins around 0: the smallest of 1, 2, 5 times a power of ten that holds all, >= 0.5.

    >>> bin_width([0.5, -9.0]), bin_width([0.1])
    (2.0, 0.5)
    """
    largest = max(map(abs, gains))
    return next(size for size in ROUND if size >= 0.5 and 4.5 * size >= largest)


def heat(gain, width, text):
    """A coloured cell: the bin of a gain, for bins of this width around 0."""
    return Heat(text, min(max(math.floor(gain / width + 4.5), 0), 8))


def colour_bar(width):
    """A table of one row: the nine bins, with the gain in the middle of each."""
    middles = [(index - 4) * width for index in range(9)]
    cells = [heat(middle, width, number(middle, "+")) for middle in middles]
    return [""] * 10, [["colours", *cells]]


def grid_page(sentences, matrices, width, all_results, tables):
    """grid.html, as text.

    matrices: approach -> table of Heats with bins of this width; tables: name -> table.
    """
    pieces = [paragraph(sentence, class_="lead") for sentence in sentences[1:]]
    heat_maps = [tag("div", tag("h2", approach) + html_table(matrix, approach))
                 for approach, matrix in matrices.items()]
    pieces.append(tag("div", "\n".join(heat_maps), class_="matrices"))
    pieces.append(html_table(colour_bar(width), "colours"))
    pieces.append(paragraph("Gain over plain prompt tuning, in points. *: significant, a paired "
                            "t-test at 5 % of each pair by itself.", class_="caption"))
    for name, table in tables.items():
        pieces += [tag("h2", name), html_table(table, name)]
    pieces += similarity_section([(results, "pot") for results in all_results],
                                 [f"{results['target']}: gain of pot" for results in all_results])
    runs = flat(results["runs"] for results in all_results)
    pieces += [tag("h2", "The names"), glossary(runs)]
    return whole_page(sentences[0], pieces)


# ------------------------------------------------------------------- the page itself

CSS = """
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 FONT;
  font-variant-numeric: tabular-nums }
main { max-width: 1050px; margin: 0 auto; padding: 16px }
h1, h2, p, pre, dl { max-width: 690px }
h1 { font-size: 25px; line-height: 1.25 }
h2 { font-size: 19px; margin: 32px 0 8px }
.lead { font-size: 18px }
.caption, figcaption { font-size: 13px; color: var(--muted); max-width: 690px }
figure { margin: 16px 0 }
figure svg { width: 100%; max-width: 600px; height: auto }
.panels { display: grid; gap: 16px; margin: 8px 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)) }
.panels svg { width: 100%; max-width: 516px; height: auto }
.wide { overflow-x: auto; margin: 8px 0 16px; background:
  linear-gradient(to right, var(--page) 40%, transparent) left / 40px 100% no-repeat local,
  linear-gradient(to left, var(--page) 40%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to right, var(--axis), transparent) left / 12px 100% no-repeat scroll,
  linear-gradient(to left, var(--axis), transparent) right / 12px 100% no-repeat scroll }
.wide::-webkit-scrollbar { height: 9px }
.wide::-webkit-scrollbar-thumb { background: var(--axis); border-radius: 5px }
table { border-collapse: collapse; font-size: 14px }
th, td { padding: 4px 14px 4px 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--grid) }
thead th { vertical-align: bottom }
caption { text-align: left; font-weight: bold; padding: 4px 0 }
td.heat { padding: 4px 10px; min-width: 40px; text-align: center; border: 1px solid var(--page) }
.matrices { display: flex; flex-wrap: wrap; gap: 8px 32px }
.matrices > div { max-width: 100% }
dt { font-family: monospace; font-weight: bold }
dd { margin: 0 0 8px 16px }
details { margin: 8px 0 }
summary { cursor: pointer; padding: 4px 0 }
a { color: var(--blue) }
a:focus-visible, summary:focus-visible, .wide:focus-visible {
  outline: 2px solid var(--blue); outline-offset: 2px }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px }
@page { size: A4; margin: 15mm }
@media print {
  body { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2 { break-after: avoid }
  figure, svg, tr { break-inside: avoid }
  .wide { overflow: visible; background: none }
  table { font-size: 10px }
  .panels { grid-template-columns: 1fr 1fr }
}
"""


def colour_variables(column):
    """The CSS variables of a theme: 0 light, 1 dark."""
    pairs = [f"--{role}: {colours[column]};" for role, colours in COLOURS.items()]
    return ":root { " + " ".join(pairs) + " }"


def whole_page(title, body):
    """A page with a heading and pieces of HTML, which needs no other file."""
    dark = "@media screen and (prefers-color-scheme: dark) { " + colour_variables(1) + " }"
    style = "\n".join([colour_variables(0), dark, CSS.replace("FONT", FONT)])
    main = tag("main", "\n".join([tag("h1", escape(title)), *body]))
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"{tag('title', escape(title))}\n{tag('style', style)}\n</head>\n"
            f"<body>\n{main}\n</body>\n</html>\n")

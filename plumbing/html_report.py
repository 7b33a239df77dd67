"""The pages of a report: one list of sections, written as Markdown and as HTML with its charts.

    Section(name, sentences, table, charts, parts, ...)      a part of a page
    markdown_page(title, sections)                           its Markdown, without charts
    html_page(title, sections)                               its HTML, which needs no other file
    markdown(table)                                          lines, also for a terminal
    line_chart(series, ...), chart_svg(...)                  SVG text

report.py makes the sentences and tables. A table is (header, rows); a cell is text, or one of Link,
Heat and Gain, whose str() is what Markdown shows of it. HTML and CSS draw all but the curves.
The colours are those of Okabe and Ito (2008), which colour-blind readers tell apart.
"""

import dataclasses
import itertools
import math
import re
import statistics
import typing
import urllib.parse
from html import escape

from plumbing.stats import interval

THEMES = ["light", "dark"]
FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, Ubuntu, 'Helvetica Neue', sans-serif"
ROUND = [float(f"{digit}e{power}") for power, digit in itertools.product(range(-6, 8), (1, 2, 5))]
COLOURS = {  # role: on light, on dark
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9198a1"),
    "grid": ("#d0d7de", "#30363d"),
    "blue": ("#0072B2", "#56B4E9"),
    "orange": ("#D55E00", "#E69F00"),
    "green": ("#009E73", "#009E73"),
    "purple": ("#CC79A7", "#CC79A7"),
}
WIDTH = 440  # of a chart, in pixels
HEIGHT = 300
DARKEST = 50  # per cent of colour in a Heat: text in ink stays readable on it


class Approach(typing.NamedTuple):
    """What a name that begins with `prefix` means, and how it looks on every page."""

    prefix: str
    colour: str
    hollow: bool
    meaning: str


APPROACHES = [  # the first prefix that fits counts
    Approach("prompt_2x", "green", False, "Control: prompt with twice the steps."),
    Approach("prompt_3x", "green", True, "Control: prompt with three times the steps."),
    Approach("prompt", "ink", True, "Plain prompt tuning: a fresh prompt learns from the labels."),
    Approach("pot_early", "blue", True,
             "Prompt transfer from several sources: starts from the mean of their prompts."),
    Approach("pot", "blue", False,
             "Prompt transfer: starts from the source's prompt, then learns from the labels."),
    Approach("panda", "purple", False,
             "PANDA: a fresh prompt that learns from the labels and, as far as source and target "
             "are similar, from pot's prompt. After the underscore: the distillation loss."),
    Approach("self", "purple", True,
             "Control: the distillation loss of PANDA, but the teacher is prompt_2x. It shows what "
             "distillation gives without a source."),
    Approach("early", "purple", True, "PANDA with several sources: one teacher, which starts from "
             "the mean of their prompts."),
    Approach("late", "purple", False, "PANDA with several sources: a teacher for each."),
    Approach("finetune", "ink", False, "Model tuning: all weights of T5 are trained."),
    Approach("", "muted", False, "Another approach."),
]


def approach_of(name):
    """Its look and meaning. Students are purple, with the distance kl orange."""
    approach = next(approach for approach in APPROACHES if name.startswith(approach.prefix))
    return approach._replace(colour="orange") if name.endswith("_kl") else approach


def shortened(name, width=26):
    """A long name without its middle, as names differ at their ends.

    >>> shortened("toy-nli"), shortened("toy-nli,toy-rte,toy-boolq", 12)
    ('toy-nli', 'toy-n…-boolq')
    """
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[half - width + 1:]}"


def flat(lists):
    """All entries of several lists, one after the other."""
    return list(itertools.chain.from_iterable(lists))


# ------------------------------------------------------------------- elements


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


class Link(typing.NamedTuple):
    """A cell that links to another file."""

    text: str
    href: str

    def __str__(self):
        return f"[{self.text}]({self.href})"

    def html(self):
        return tag("td", tag("a", escape(self.text), href=urllib.parse.quote(self.href)))


class Heat(typing.NamedTuple):
    """A coloured cell: from -1 (orange, a loss) over 0 to 1 (blue, a gain)."""

    text: str
    share: float

    def __str__(self):
        return self.text

    def html(self):
        colour = "blue" if self.share > 0 else "orange"
        percent = DARKEST * min(abs(self.share), 1)
        return tag("td", escape(self.text), class_="heat", style=(
            f"background: color-mix(in srgb, var(--{colour}) {percent:.0f}%, var(--page))"))


class Gain(typing.NamedTuple):
    """A cell with a row of a chart: each seed, their interval and their mean; then its text."""

    text: str
    values: list  # for each seed
    axis: tuple  # (low, high), the same in all rows
    colour: str

    def __str__(self):
        return self.text

    def html(self):
        """Marks at a percentage of the width of a .track."""
        spans = [("zero", 0, 0)]  # from, to
        spans += [("seed", value, value) for value in self.values]
        ends = interval(self.values)
        if ends:
            spans.append(("interval", *ends))
        mean = statistics.mean(self.values)
        spans.append(("mean", mean, mean))
        place = Scale(*self.axis, 0, 100)
        marks = []
        for kind, low, high in spans:
            style = f"left: {place(low):.1f}%; width: {place(high) - place(low):.1f}%"
            marks.append(tag("i", class_=kind, style=style))
        track = tag("div", "".join(marks), class_="track", aria_hidden="true",
                    style=f"color: var(--{self.colour})")
        return tag("td", tag("div", track + escape(self.text), class_="gain"))


def html_table(table, label):
    """A table that scrolls sideways where it is too wide, also by the keyboard.

    label: the table's name for a screen reader.
    """
    header, rows = table
    head = "".join(tag("th", escape(name), scope="col") for name in header)
    body = []
    for first, *others in rows:
        cells = [tag("th", escape(first), scope="row")]
        for cell in others:
            cells.append(tag("td", escape(cell)) if isinstance(cell, str) else cell.html())
        body.append(tag("tr", "".join(cells)))
    table = tag("table", tag("thead", tag("tr", head)) + tag("tbody", "\n".join(body)))
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label=label)


# ------------------------------------------------------------------- a page


class Section(typing.NamedTuple):
    """A part of a page: sentences, then a table, then charts and parts side by side."""

    name: str  # its heading; "" for none
    sentences: list = []
    table: tuple = ((), ())
    charts: list = []  # HTML or SVG; a section with charts is not in Markdown
    parts: list = []  # sections
    width: int = 400  # of a chart or part: as many as fit stand side by side
    folded: bool = False

    def html(self):
        pieces = [tag("p", escape(sentence)) for sentence in self.sentences]
        if self.table[1]:
            pieces.append(html_table(self.table, self.name))
        panels = self.charts + [part.html() for part in self.parts]
        if panels:
            pieces.append(tag("div", "\n".join(panels), class_="panels",
                              style=f"--width: {self.width}px"))
        if self.folded:
            return tag("details", tag("summary", escape(self.name)) + "\n".join(pieces))
        heading = tag("h2", escape(self.name)) if self.name else ""
        return tag("section", heading + "\n".join(pieces))

    def markdown(self):
        """Lines."""
        lines = [f"## {self.name}", ""] if self.name else []
        for sentence in self.sentences:
            lines += [sentence, ""]
        if self.table[1]:
            lines += [*markdown(self.table), ""]
        return lines + flat(part.markdown() for part in self.parts)


def markdown_page(title, sections):
    shown = [section.markdown() for section in sections if not section.charts]
    return "\n".join([f"# {title}", "", *flat(shown)])


def html_page(title, sections):
    """A page with a heading, which needs no other file."""
    roles = [f"--{role}: light-dark({light}, {dark});" for role, (light, dark) in COLOURS.items()]
    pieces = [tag("h1", escape(title))] + [section.html() for section in sections]
    return PAGE.format(title=escape(title), style=CSS.replace("FONT", FONT),
                       colours="\n".join(roles), main="\n".join(pieces))


def markdown(table):
    """Lines of Markdown, aligned for a terminal.

    >>> print(*markdown((["a", "b"], [["long", "1"]])), sep="\\n")
    | a    | b |
    | ---- | - |
    | long | 1 |
    """
    header, rows = table
    lines = [header] + [list(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    return [f"| {' | '.join(map(str.ljust, cells, widths))} |" for cells in lines]


# ------------------------------------------------------------------- SVG


def svg_text(x, y, words, anchor="start", colour="ink", **more):
    """A text, with a rim of the page's colour where it crosses a line."""
    return tag("text", escape(words), x=x, y=y, text_anchor=anchor, fill=f"var(--{colour})",
               stroke="var(--page)", stroke_width=3, paint_order="stroke", **more)


def svg_line(x1, y1, x2, y2, colour):
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=f"var(--{colour})")


def svg_dot(approach, x, y):
    colour = f"var(--{approach.colour})"
    fill = "var(--page)" if approach.hollow else colour
    return tag("circle", cx=x, cy=y, r=4, stroke=colour, fill=fill, stroke_width=2)


def svg_curve(curve, x_scale, y_scale, colour, **more):
    """A line through points (x, y)."""
    path = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in curve)
    return tag("polyline", points=path, fill="none", stroke=f"var(--{colour})", **more)


def chart_svg(width, height, title, marks):
    """An SVG of marks, whose colours are the page's."""
    background = tag("rect", width=width, height=height, fill="var(--page)")
    return tag("svg", background + "".join(marks), xmlns="http://www.w3.org/2000/svg",
               viewBox=f"0 0 {width} {height}", width=width, height=height, role="img",
               aria_label=title, font_family=FONT, font_size=12)


def in_theme(svg, theme):
    """An SVG as a file of its own: with the colours of "light" or "dark" in it."""
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


def ticks(low, high, most=8):
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
    """A line of a chart, with its name."""

    name: str
    curves: list  # [(x, y), …] for each seed
    approach: Approach  # its look


def mean_curve(curves):
    """The mean over the seeds, step by step, of curves [(x, y), …]."""
    points = []
    for of_step in zip(*curves):
        steps, values = zip(*of_step)
        points.append((steps[0], statistics.mean(values)))
    return points


def line_chart(series, title, x_label, y_range, log=False):
    """Curves: the mean over the seeds as a thick line with its name, each seed as a thin one.

    A curve of one point is a dot. y_range: (low, high), the same for charts that are compared.
    log: the values are log10 of what the axis shows.
    """
    means = [mean_curve(each.curves) for each in series]
    steps = [x for x, _ in flat(means)]
    label_width = max(7.2 * len(each.name) for each in series)
    x_range = widened(steps)
    x_scale = Scale(*x_range, 48, WIDTH - label_width - 16)
    y_scale = Scale(*y_range, HEIGHT - 48, 32)
    marks = [svg_text(8, 16, title, font_weight="bold"), *axes(x_scale, y_scale, x_label, log)]
    ends = []
    for each, mean in zip(series, means):
        look = {"colour": each.approach.colour}
        for curve in each.curves:
            marks.append(svg_curve(curve, x_scale, y_scale, stroke_width=0.75, opacity=0.5, **look))
        marks.append(svg_curve(mean, x_scale, y_scale, stroke_width=2, **look))
        ends.append((x_scale(mean[-1][0]), y_scale(mean[-1][1])))
    labels = spread_labels([y for _, y in ends], 14, y_scale.start)
    for each, (x, y), label in zip(series, ends, labels):
        marks.append(svg_dot(each.approach, x, y))
        marks.append(svg_text(x + 9, label + 4, each.name))
    return chart_svg(WIDTH, HEIGHT, title, marks)


def axes(x_scale, y_scale, x_label, log):
    """Ticks with their numbers: below, and as lines across."""
    left, right, bottom = x_scale.start, x_scale.end, y_scale.start
    marks = [svg_line(left, bottom, right, bottom, "muted"),
             svg_text((left + right) / 2, bottom + 36, x_label, "middle", "muted")]
    for value in ticks(x_scale.low, x_scale.high, 6):
        x = x_scale(value)
        marks.append(svg_line(x, bottom, x, bottom + 4, "muted"))
        marks.append(svg_text(x, bottom + 18, tick_text(value), "middle", "muted"))
    for value in (log_ticks if log else ticks)(y_scale.low, y_scale.high):
        y = y_scale(math.log10(value) if log else value)
        marks.append(svg_line(left, y, right, y, "grid"))
        marks.append(svg_text(left - 6, y + 4, tick_text(value), "end", "muted"))
    return marks


def tick_text(value):
    return f"{value:g}".replace("-", "−")


# ------------------------------------------------------------------- learning curves


def curves_of(run, kind):
    """A run's curves, one for each seed. kind: "dev", or "CE" or "KD" as log10 of what is > 0."""
    if kind == "dev":
        return run["curves"]
    column = {"CE": 1, "KD": 2}[kind]
    curves = []
    for terms in run["losses"]:
        positive = [term for term in terms if term[column] > 0]
        curves.append([(term[0], math.log10(term[column])) for term in positive])
    return curves


def curve_panels(results, kind, what):
    """A panel for each source, its runs beside plain prompt tuning, with one range of y."""
    runs = [run for run in results["runs"] if all(curves_of(run, kind))]
    values = [y for _, y in flat(flat(curves_of(run, kind) for run in runs))]
    transfers = [run for run in runs if run["approach"] != "prompt"]
    panels = []
    for source in dict.fromkeys(run["source"] for run in transfers or runs):
        series = [Series(run["approach"], curves_of(run, kind), approach_of(run["approach"]))
                  for run in runs if run["approach"] == "prompt" or run["source"] == source]
        title = f"from {shortened(source)}: {what}" if source else f"without a source: {what}"
        panels.append(line_chart(series, title, "step", widened(values), log=kind != "dev"))
    return panels


def learning_sections(results):
    """Dev curves of four sources in sight; the others and the losses folded."""
    dev = curve_panels(results, "dev", f"dev {results['metric']}")
    losses = (curve_panels(results, "CE", "cross-entropy (CE)")
              + curve_panels(results, "KD", "distance to the teacher (KD)"))
    return [Section("Learning curves", ["Thick: the mean of the seeds. Thin: each seed."],
                    charts=dev[:4]),
            Section("The other sources", charts=dev[4:], folded=True),
            Section("Losses, on a log axis", charts=losses, folded=True)]


# ------------------------------------------------------------------- style

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; {colours} }}
{style}
</style>
</head>
<body>
<main>
{main}
</main>
</body>
</html>
"""
CSS = """
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 FONT;
  font-variant-numeric: tabular-nums }
main { max-width: 1050px; margin: 0 auto; padding: 16px }
h1, h2, p { max-width: 690px }
h1 { font-size: 25px; line-height: 1.25 }
h2 { font-size: 19px; margin: 32px 0 8px }
h1 + section:not(:has(h2)) { font-size: 18px }
.panels { display: grid; gap: 0 32px; margin: 8px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--width)), 1fr)) }
.panels svg { width: 100%; max-width: 516px; height: auto }
.panels section { min-width: 0 }
main:has(.panels section) { max-width: 1500px }
.wide { overflow-x: auto; margin: 8px 0 16px; background:
  linear-gradient(to right, var(--page) 40%, transparent) left / 40px 100% no-repeat local,
  linear-gradient(to left, var(--page) 40%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to right, var(--muted), transparent) left / 12px 100% no-repeat scroll,
  linear-gradient(to left, var(--muted), transparent) right / 12px 100% no-repeat scroll }
.wide::-webkit-scrollbar { height: 9px }
.wide::-webkit-scrollbar-thumb { background: var(--muted); border-radius: 5px }
table { border-collapse: collapse; font-size: 14px }
th, td { padding: 4px 14px 4px 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--grid) }
thead th { vertical-align: bottom }
td.heat { padding: 4px 10px; min-width: 40px; text-align: center; border: 1px solid var(--page) }
.gain { display: flex; align-items: center; gap: 12px }
.track { position: relative; width: 240px; height: 22px; flex: none }
.track i { position: absolute; top: 0; height: 100%; transform: translateX(-50%) }
.track .zero { border-left: 1px dashed var(--muted) }
.track .seed { top: 15px; height: 6px; border-left: 2px solid }
.track .interval { top: 10px; height: 2px; background: currentcolor; transform: none }
.track .mean { top: 6px; min-width: 10px; height: 10px; border-radius: 5px;
  background: currentcolor }
[aria-label="The names"] td { white-space: normal; min-width: 260px; max-width: 560px }
details { margin: 8px 0 }
summary { cursor: pointer; padding: 4px 0 }
a { color: var(--blue) }
a:focus-visible, summary:focus-visible, .wide:focus-visible {
  outline: 2px solid var(--blue); outline-offset: 2px }
p { overflow-wrap: anywhere }
@page { size: A4; margin: 15mm }
@media print {
  :root { color-scheme: light }
  body { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2 { break-after: avoid }
  svg, tr { break-inside: avoid }
  .wide { overflow: visible; background: none }
  table { font-size: 10px }
  th, td { white-space: normal }
  .panels:has(svg) { grid-template-columns: 1fr 1fr }
  details::details-content { content-visibility: visible; block-size: auto }
}
"""

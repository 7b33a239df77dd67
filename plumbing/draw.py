"""Pictures as SVG text: scales, axes, marks, and three kinds of figure made of them.

Numbers and words come in, an SVG goes out; nothing here knows what they mean. Colours are roles
("blue", "muted"): each mark has the role's colour of one theme in it, so that a file stands alone,
and a class, so that a page's own style can exchange it (STYLE: dark where the reader's screen is).

    curves    lines with bands over a scale or over named steps
    dots      rows of single values, their mean and its interval
    scatter   named points, and links between them

Colours: Okabe and Ito 2008, tell-apart for the colour-blind; red to blue: ColorBrewer's RdBu.
"""

import dataclasses
import itertools
import math
import xml.etree.ElementTree as ET

ROLES = {  # role -> its colour on light and on dark
    "page": ("#ffffff", "#0d1117"), "ink": ("#1f2328", "#e6edf3"), "muted": ("#59636e", "#9198a1"),
    "axis": ("#6e7781", "#7d8590"), "grid": ("#d0d7de", "#30363d"), "blue": ("#0072B2", "#56B4E9"),
    "orange": ("#D55E00", "#E69F00"), "green": ("#009E73", "#009E73"),
    "purple": ("#CC79A7", "#CC79A7"), "none": ("none", "none")}
BINS = (("#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7", "#d1e5f0", "#92c5de", "#4393c3",
         "#2166ac"), ("#f5a48f", "#c8614d", "#8a382b", "#4c211b", "#1c2128", "#14304a", "#1f5685",
                      "#4a8cc4", "#93c5f0"))
ON = "wbbbbbbbw", "bbwwwwwbb"  # black or white, whichever is read on the bin
ROLES |= {f"bin{i}": pair for i, pair in enumerate(zip(*BINS))} | {
    f"on{i}": tuple({"w": "#ffffff", "b": "#000000"}[c] for c in pair)
    for i, pair in enumerate(zip(*ON))}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Ubuntu, sans-serif'


def style():
    """The CSS that gives every role of a page its colour, light or dark."""
    light, dark = (":root{" + "".join(f"--{r}:{pair[k]};" for r, pair in ROLES.items()) + "}"
                   for k in (0, 1))
    used = "".join(f".f-{r}{{fill:var(--{r})}}.s-{r}{{stroke:var(--{r})}}" for r in ROLES)
    return f"{light}@media screen and (prefers-color-scheme: dark){{{dark}}}{used}"


# ------------------------------------------------------------------ words and numbers


def width(text, size=12, bold=False):
    """Pixels that a text needs at most, by the widths of DejaVu Sans, which is a wide face.

    >>> round(width("ill", 10), 1), round(width("WWW", 10), 1)
    (12.6, 30.0)
    """
    def em(c):
        if c in "iljftrI_ .,:;'!|()[]-mwMW%@":
            return 1.0 if c in "mwMW%@" else 0.5 if c == "_" else 0.42
        return 0.64 if c.islower() or c.isdigit() else 0.79 if "A" <= c <= "Z" else 0.84
    # fsum: Python 3.12 adds floats up otherwise than 3.11.
    return size * math.fsum(map(em, text)) * (1.13 if bold else 1)


def fit(text, room, size=12):
    """A text cut in its middle to so many pixels: names differ at their ends.

    >>> fit("panda_states toy-nli", 100)
    'panda_…oy-nli'
    """
    shorter = (f"{text[:(keep + 1) // 2]}…{text[len(text) - keep // 2:]}"
               for keep in range(len(text) - 1, 1, -1))
    return next((t for t in (text, *shorter) if width(t, size) <= room), "…")


def said(value, digits=1, sign=False):
    """A number as it is printed: a true minus, never a minus zero.

    >>> said(-0.04), said(-1.26, sign=True), said(3, 0, sign=True)
    ('0.0', '−1.3', '+3')
    """
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def ticks(low, high, count):
    """Round places for about `count` ticks from low to high, and how many decimals they need.

    Steps are 1, 2 or 5 times a power of ten, the nearest by ratio (as d3-array has it).

    >>> ticks(0, 10, 5), ticks(0.1, 0.34, 3)
    (([0, 2, 4, 6, 8, 10], 0), ([0.1, 0.2, 0.3], 1))
    """
    step = (high - low) / max(count, 1)
    power = math.floor(math.log10(step))
    error = step / 10.0 ** power
    factor = next(k for k, least in ((10, 50), (5, 10), (2, 2), (1, 0)) if error ** 2 >= least)
    digits = max(0, -power - (factor == 10))
    unit = factor * 10.0 ** power
    places = range(math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9) + 1)
    return [round(i * unit, digits or None) for i in places], digits


def domain(values, margin=0.04):
    """(low, high) for an axis that holds all of these, widened a little; None is left out."""
    values = [v for v in values if v is not None and math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - max(1, abs(low) / 20), high + max(1, abs(high) / 20)
    return low - margin * (high - low), high + margin * (high - low)


# ----------------------------------------------------------------------- an SVG


class Figure:
    """An SVG of so many pixels, with a title and a description for those who do not see it."""

    def __init__(self, name, wide, high, title, about):
        self.name, self.title, self.about = name, title, about
        self.wide, self.high, self.marks = wide, high, []

    def add(self, tag, text=None, hint=None, **attributes):
        """A mark. Numbers are rounded; fill and stroke are roles; hint: shown under a pointer."""
        self.marks.append((tag, text, hint, attributes))

    def text(self, x, y, text, size=12, anchor="start", fill="ink", room=None, **more):
        short = fit(text, room, size) if room else text
        self.add("text", short, text if short != text else None, x=x, y=y, font_size=size,
                 text_anchor=anchor, fill=fill, **more)

    def mark(self, shape, x, y, r, colour, hint=None, hollow=False):
        """A circle, square, diamond or triangle around (x, y)."""
        paint = {"fill": "page" if hollow else colour, "stroke": colour, "stroke_width": 1.5}
        if shape == "circle":
            return self.add("circle", None, hint, cx=x, cy=y, r=r, **paint)
        corners = {"square": [(-.9, -.9), (.9, -.9), (.9, .9), (-.9, .9)],
                   "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
                   "triangle": [(0, -1.2), (1.15, .85), (-1.15, .85)],
                   "wedge": [(0, 1.2), (1.15, -.85), (-1.15, -.85)]}[shape]
        points = " ".join(f"{x + r * a:.1f},{y + r * b:.1f}" for a, b in corners)
        self.add("polygon", None, hint, points=points, **paint)

    def svg(self, theme="light"):
        """The text of the SVG, in the colours of a theme."""
        root = ET.Element("svg", {
            "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {self.wide:g} {self.high:g}",
            "width": f"{self.wide:g}", "height": f"{self.high:g}", "role": "img",
            "font-family": FONT, "aria-labelledby": f"{self.name}-title {self.name}-about"})
        for tag, text in (("title", self.title), ("desc", self.about)):
            ET.SubElement(root, tag, {"id": f"{self.name}-{tag.replace('desc', 'about')}"}
                          ).text = text
        marks = [("rect", None, None, {"width": self.wide, "height": self.high, "fill": "page"})]
        for tag, text, hint, attributes in marks + self.marks:
            shown = ET.SubElement(root, tag)
            for key, value in attributes.items():
                if key in ("fill", "stroke"):
                    shown.set("class", f"{shown.get('class', '')} {key[0]}-{value}".strip())
                    value = ROLES[value][theme == "dark"]
                elif isinstance(value, float):
                    value = f"{value:.1f}".removesuffix(".0")
                shown.set(key.replace("_", "-"), str(value))
            shown.text = text
            if hint:
                ET.SubElement(shown, "title").text = hint
        ET.indent(root)
        return ET.tostring(root, encoding="unicode") + "\n"


class Axes:
    """A rectangle of a figure with a scale on each side: x(value), y(value) give its pixels.

    x_range, y_range: (low, high), or the names of steps that lie at 0, 1, …; y_range None: none.
    """

    def __init__(self, figure, left, top, wide, high, x_range, y_range, x_name="", y_name=""):
        self.figure, self.box = figure, (left, top, wide, high)
        self.scales = []
        for axis, span, room in ((0, x_range, wide), (1, y_range or (0, 1), high)):
            named = isinstance(span[0], str)
            low, up = (-0.35, len(span) - 0.65) if named else span
            self.scales.append((low, up))
            places, digits = ticks(low, up, max(2, room // (35 if axis else 80)))
            if axis and y_range is None:
                continue
            for place, word in (enumerate(span) if named else
                                ((p, said(p, digits)) for p in places)):
                if axis:
                    at = self.y(place)
                    figure.add("path", d=f"M{left:.1f} {at:.1f}h{wide:.1f}", stroke="grid")
                    figure.text(left - 6, at + 4, word, 11, "end", "muted")
                else:
                    at = self.x(place)
                    figure.add("path", d=f"M{at:.1f} {top + high:.1f}v4", stroke="axis")
                    figure.text(at, top + high + 16, word, 11, "middle", "muted")
        figure.add("path", d=f"M{left:.1f} {top + high:.1f}h{wide:.1f}", stroke="axis")
        figure.text(left + wide / 2, top + high + 32, x_name, 12, "middle", "muted", wide)
        figure.text(left - 40, top - 8, y_name, 12, "start", "muted", wide + 40)

    def x(self, value):
        (left, _, wide, _), (low, up) = self.box, self.scales[0]
        return left + wide * (value - low) / (up - low)

    def y(self, value):
        (_, top, _, high), (low, up) = self.box, self.scales[1]
        return top + high * (up - value) / (up - low)

    def level(self, value):
        """A dashed line across."""
        self.figure.add("path", d=f"M{self.box[0]:.1f} {self.y(value):.1f}h{self.box[2]:.1f}",
                        stroke="muted", stroke_dasharray="4 3")

    def line(self, points, colour, thick=2.0, **more):
        """Through (x, y) points; a y of None ends one piece and begins another."""
        path, pen = "", "M"
        for x, y in points:
            if y is not None:
                path += f"{pen}{self.x(x):.1f} {self.y(y):.1f}"
            pen = "M" if y is None else "L"
        if path:
            self.figure.add("path", d=path, fill="none", stroke=colour, stroke_width=thick, **more)

    def band(self, points, colour):
        """Between the lows and the highs of (x, low, high); None ends a piece, as in a line."""
        for there, piece in itertools.groupby(points, lambda point: point[1] is not None):
            piece = list(piece)
            ends = [(x, high) for x, _, high in piece] + [(x, low) for x, low, _ in piece[::-1]]
            if there:
                path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in ends)
                self.figure.add("path", d=f"M{path}Z", fill=colour, opacity="0.2")


# --------------------------------------------------------------------- the figures


@dataclasses.dataclass
class Series:
    """What a line or a row of dots shows, and how: a colour and a shape of its own."""

    name: str
    values: list  # of curves (x, mean, low, high), None where there is none; of dots numbers
    colour: str
    shape: str = "circle"
    hollow: bool = False
    interval: tuple = ()  # (low, high) of a row's mean


def apart(wanted, least, high):
    """Places as near to those wanted as can be, so much apart and none beyond `high`.

    >>> apart([12, 10, 98], 13, 100)
    [23, 10, 98]
    >>> apart([99, 98], 13, 100)
    [100, 87]
    """
    order, places = sorted(range(len(wanted)), key=wanted.__getitem__), list(wanted)
    for above, here in zip(order, order[1:]):  # push down, then back up from the bottom
        places[here] = max(places[here], places[above] + least)
    for here in order[::-1]:
        places[here], high = min(places[here], high), min(places[here], high) - least
    return places


def curves(name, title, about, panels, x_name, y_name, wide=360, level=None, y_range=None):
    """Panels beside each other, one scale: each (its title, its Series, names of x or None)."""
    every = [y for _, series, _ in panels for s in series for _, *ys in s.values for y in ys]
    y_range = y_range or domain(every + [level] * (level is not None))
    label = 12 + max((min(width(s.name, 11), 110) for _, ss, _ in panels for s in ss), default=0)
    figure = Figure(name, wide * len(panels), 284, title, about)
    for k, (heading, series, steps) in enumerate(panels):
        left, inner = k * wide + 48, wide - 56 - label
        figure.text(left - 40, 16, heading, 12, room=wide - 12, font_weight="bold")
        xs = [x for s in series for x, *_ in s.values]
        axes = Axes(figure, left, 44, inner, 190, steps or domain(xs, 0), y_range, x_name,
                    y_name)
        if level is not None:
            axes.level(level)
        ends = []
        for s in series:
            axes.band([(x, *ends) for x, _, *ends in s.values], s.colour)
            axes.line([(x, mean) for x, mean, *_ in s.values], s.colour)
            there = [(x, mean) for x, mean, *_ in s.values if mean is not None]
            for x, mean in there if len(there) <= 8 else there[-1:]:
                figure.mark(s.shape, axes.x(x), axes.y(mean), 3, s.colour,
                            f"{s.name}: {said(mean, 2)}", s.hollow)
            ends.append(axes.y(there[-1][1]) if there else math.nan)
        named = [(s, end) for s, end in zip(series, ends) if not math.isnan(end)]
        for (s, _), at in zip(named, apart([end for _, end in named], 13, 234)):
            figure.text(left + inner + 8, at + 4, s.name, 11, room=label - 8)
    return figure


def dots(name, title, about, series, x_name, levels=(), wide=720):
    """A row for each Series: its values, their mean, and its interval where it has one.

    levels: (value, name) of dashed lines, one under the other in the order given.
    """
    label, top = 16 + max(min(width(s.name), 230) for s in series), 12 + 14 * len(levels)
    high = 32 * len(series)
    figure = Figure(name, wide, top + high + 44, title, about)
    ends = [end for s in series for end in s.interval or ()] + [value for value, _ in levels]
    axes = Axes(figure, label, top, wide - label - 16, high,
                domain([v for s in series for v in s.values] + ends), None, x_name)
    for k, (value, word) in enumerate(levels):
        at, half = axes.x(value), width(word, 11) / 2
        figure.add("path", d=f"M{at:.1f} {top - 10:.1f}v{high + 10:.1f}", stroke="muted",
                   stroke_dasharray="4 3")
        figure.text(min(max(at, half + 4), wide - 4 - half), 12 + 14 * k, word, 11, "middle",
                    "muted")
    for k, s in enumerate(series):
        row, mean = top + 32 * k + 16, sum(s.values) / len(s.values)
        figure.text(label - 10, row + 4, s.name, 12, "end", room=label - 12)
        for i, value in enumerate(s.values):
            figure.mark(s.shape, axes.x(value), row + (i % 5 - 2) * 3.2, 2.4, s.colour,
                        said(value), True)
        if s.interval:
            figure.add("path", d="M{:.1f} {}H{:.1f}".format(axes.x(s.interval[0]), row,
                                                            axes.x(s.interval[1])),
                       stroke=s.colour, stroke_width=2)
        figure.mark(s.shape, axes.x(mean), row, 5, s.colour, f"mean {said(mean)}", s.hollow)
    return figure


def scatter(name, title, about, points, x_name, y_name, links=(), equal=False, wide=360, high=320):
    """Points with their names; links: pairs of places in `points`; equal: one unit on both axes.

    points: a Series each, its value (x, y) alone in `values`.
    """
    figure, inner = Figure(name, wide, high, title, about), (wide - 64, high - 76)
    xs, ys = ([s.values[0][k] for s in points] for k in (0, 1))
    spans = [domain(xs, 0.12), domain(ys, 0.12)]
    if equal:  # the axis with room to spare shows more
        unit = max((up - low) / room for (low, up), room in zip(spans, inner))
        spans = [((low + up - unit * room) / 2, (low + up + unit * room) / 2)
                 for (low, up), room in zip(spans, inner)]
    axes = Axes(figure, 52, 32, *inner, *spans, x_name, y_name)
    for a, b in links:
        axes.line([points[a].values[0], points[b].values[0]], points[b].colour, 1.0)
    for s, x, y in zip(points, xs, ys):
        figure.mark(s.shape, axes.x(x), axes.y(y), 4, s.colour, f"{s.name}: {x:.3g}, {y:.3g}",
                    s.hollow)
    named = [(s, axes.x(x), axes.y(y)) for s, x, y in zip(points, xs, ys) if s.name]
    for (s, x, _), y in zip(named, apart([at for *_, at in named], 11, 32 + inner[1])):
        after = x + 7 + width(s.name, 10) < wide - 4
        figure.text(x + 7 if after else x - 7, y + 3.5, s.name, 10, "start" if after else "end",
                    "muted", wide - 12 - x if after else x - 12)
    return figure

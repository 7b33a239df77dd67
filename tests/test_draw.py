"""python -m pytest tests/test_draw.py: pictures are well-formed, and every text is inside.

Oracles: places computed by hand from a figure's size; widths by draw.width, an upper bound.
"""

import doctest
import re
import xml.etree.ElementTree as ET

import pytest

from plumbing import draw, pictures
from plumbing.draw import Series

SVG = "{http://www.w3.org/2000/svg}"


def marks(svg, tag):
    return ET.fromstring(svg).findall(f"{SVG}{tag}")


def outside(svg):
    """The texts of a picture that reach over its edge."""
    root = ET.fromstring(svg)
    _, _, wide, high = map(float, root.get("viewBox").split())
    found = []
    for text in root.findall(f"{SVG}text"):
        x, y, size = (float(text.get(k)) for k in ("x", "y", "font-size"))
        long = draw.width(text.text or "", size, text.get("font-weight") == "bold")
        left = x - {"start": 0, "middle": long / 2, "end": long}[text.get("text-anchor")]
        corners = [(left, y), (left + long, y), (left, y - size), (left + long, y - size)]
        if text.get("transform"):  # about (x, y), by 45 degrees to the left
            corners = [(x + (a - x + b - y) * 0.7071, y + (b - y - a + x) * 0.7071)
                       for a, b in corners]
        if any(not (-0.5 <= a <= wide + 0.5 and -0.5 <= b <= high + 0.5) for a, b in corners):
            found.append(text.text)
    return found


def checked(figure):
    """A figure's SVG, which must parse, be inside its box and hold no NaN, in both themes."""
    for theme in ("light", "dark"):
        svg = figure.svg(theme)
        assert not outside(svg) and not re.search(r"\bnan\b|\binf\b|None", svg)
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        ids = root.get("aria-labelledby").split()
        assert [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")] == ids
    return figure.svg()


LONG = "a_name_of_thirty_characters_wi"


@pytest.mark.parametrize("module", [draw, pictures])
def test_worked_examples(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_a_value_lies_where_its_scale_says():
    """Axes from 0 to 10 over 100 pixels: 4 is at 40 from the left, and at 60 from the top."""
    figure = draw.Figure("f", 200, 200, "title", "about")
    axes = draw.Axes(figure, 20, 30, 100, 100, (0, 10), (0, 10))
    assert (axes.x(4), axes.y(4)) == (60, 90)
    figure.mark("circle", axes.x(4), axes.y(4), 3, "blue")
    [circle] = marks(figure.svg(), "circle")
    assert (circle.get("cx"), circle.get("cy"), circle.get("fill")) == ("60", "90", "#0072B2")
    [circle] = marks(figure.svg("dark"), "circle")
    assert circle.get("fill") == "#56B4E9" and circle.get("class") == "f-blue s-blue"


def test_a_missing_value_splits_a_line_and_its_band():
    values = [(0, 1, 0, 2), (1, 2, 1, 3), (2, None, None, None), (3, 4, 3, 5), (4, 5, 4, 6)]
    panel = "p", [Series("s", values, "blue")], None
    svg = checked(draw.curves("c", "t", "a", [panel], "x", "y"))
    paths = {kind: [p.get("d") for p in marks(svg, "path") if p.get("class") == kind]
             for kind in ("f-none s-blue", "f-blue")}
    [line], bands = paths.values()
    assert line.count("M") == 2 and line.count("L") == 2 and len(bands) == 2
    assert len(marks(svg, "circle")) == 4


@pytest.mark.parametrize("values", [[1.0], [2.5, 2.5], [0.0, -3.0, 1e6]])
def test_dots_of_one_seed_of_equal_ones_and_of_far_ones(values):
    series = [Series("prompt", values, "ink", hollow=True), Series(LONG, [values[0]], "blue")]
    svg = checked(draw.dots("d", "t", "a", series, "accuracy", [(values[0], "majority class")]))
    assert len(marks(svg, "circle")) == len(values) + 1 + 2


def test_names_at_the_ends_of_lines_do_not_touch():
    series = [Series(f"{LONG}{n}", [(0, 1, None, None), (1, 1 + n / 1000, None, None)], "blue")
              for n in range(8)]
    svg = checked(draw.curves("c", "t", "a", [("p", series, None)], "steps", "dev"))
    ends = sorted(float(t.get("y")) for t in marks(svg, "text") if (t.text or "").startswith("a_n"))
    assert len(ends) == 8 and min(b - a for a, b in zip(ends, ends[1:])) >= 12.9


def test_scatter_with_equal_units_has_equal_units():
    """Two points one apart on each axis are as many pixels apart on both."""
    points = [Series("a", [(0.0, 0.0)], "blue"), Series(LONG, [(1.0, 1.0)], "orange"),
              Series("", [(9.0, 0.0)], "green")]
    svg = checked(draw.scatter("s", "t", "a", points, "x", "y", links=[(0, 1)], equal=True))
    (ax, ay), (bx, by), _ = [(float(c.get("cx")), float(c.get("cy"))) for c in marks(svg, "circle")]
    assert bx - ax == pytest.approx(ay - by, abs=0.2)


def contrast(one, other):
    """WCAG 2's ratio of the relative luminances of two colours."""
    def luminance(colour):
        parts = [int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_can_be_read(theme):
    page = draw.ROLES["page"][theme]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert all(contrast(draw.ROLES[r][theme], page) >= 4.5 for r in ("ink", "muted"))
    series = {draw.ROLES[r][theme] for r in ("blue", "orange", "green", "purple")}
    assert len(series) == 4 and all(contrast(colour, page) >= 3 for colour in series)
    assert all(contrast(draw.ROLES[f"on{i}"][theme], draw.ROLES[f"bin{i}"][theme]) >= 5.2
               for i in range(9))


def test_every_role_of_a_page_has_both_colours():
    css = draw.style()
    assert css.count("--blue:") == 2 and "prefers-color-scheme: dark" in css
    assert ".f-blue{fill:var(--blue)}" in css


# -------------------------------------------------------------------------- the grid


def test_heat_map_by_hand():
    """Gains of +9 and -1: bins of width 2, so +9 is in the last (from 7 on), -1 in the fifth."""
    svg = checked(pictures.heat("h", "t", "a", ["mnli"], ["cb", "rte", "mnli"], {
        ("mnli", "cb"): 9.0, ("mnli", "rte"): -0.99, ("mnli", "mnli"): "="}, {("mnli", "cb")}))
    cells = {t.text: t for t in marks(svg, "text")}
    assert cells["+9.0"].get("font-weight") == "bold" and len(marks(svg, "circle")) == 1
    assert cells["−1.0"].get("font-weight") == "normal" and "=" in cells
    fills = [r.get("class") for r in marks(svg, "rect")][1:4]
    assert fills == ["f-bin8", "f-bin4", "f-none s-grid"]


def test_heat_map_of_the_papers_grid_with_holes_and_long_names():
    sources = [f"source{n}" for n in range(20)] + [LONG]
    targets = [f"t{n}" for n in range(8)] + [LONG]
    gains = {(s, t): [i - j + k / 9 for k in range(3)] for i, s in enumerate(sources)
             for j, t in enumerate(targets) if s != t and (i + j) % 7}
    svg = checked(pictures.transfer_matrix("panda_states", gains))
    assert sum(t.text == "–" for t in marks(svg, "text")) == 21 * 9 - len(gains) - 1


def test_blocks_puts_like_by_like():
    """Two sources that help the same target stand together, the one that harms it last."""
    values = {("a", "x"): 5.0, ("b", "x"): -5.0, ("c", "x"): 4.0,
              ("a", "y"): 1.0, ("b", "y"): -1.0, ("c", "y"): 1.0}
    assert pictures.blocks(["a", "b", "c"], ["y", "x"], values) == (["a", "c", "b"], ["x", "y"])


def test_beyond_chance_takes_the_spread_of_all_sources_together():
    """Gains 10 ± 1 and 0 ± 1: pooled sd 1, error 3^-0.5, t = 17.3 at 4 degrees: p < 0.0001."""
    gains = {("a", "x"): [9.0, 10.0, 11.0], ("b", "x"): [-1.0, 0.0, 1.0]}
    assert pictures.beyond(gains) == {("a", "x")}
    assert pictures.beyond({("a", "x"): [3.0]}) == set()  # one seed: nothing can be said


def test_one_look_for_each_approach():
    names = ("prompt", "prompt_2x", "prompt_3x", "pot", "pot_early", "panda", "panda_early",
             "panda_late", "panda_self", "panda_states", "panda_self_states", "finetune")
    assert len({pictures.look(name) for name in names}) == len(names)
    assert pictures.look("panda_states toy-nli") == pictures.look("panda_states")


def test_intervals_need_a_spread():
    from plumbing.stats import interval
    assert interval([3.0]) == interval([3.0, 3.0]) == ()
    low, high = interval([1.0, 3.0])  # t at one degree of freedom: 12.706
    assert (2 - low, high - 2) == pytest.approx((12.706, 12.706), rel=1e-3)

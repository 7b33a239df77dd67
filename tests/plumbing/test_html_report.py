"""plumbing/html_report.py: charts whose marks lie where they should. test_report.py has the pages.

    python -m pytest tests/plumbing/test_html_report.py    # a second

Oracle: Python's XML parser; pixels worked out by hand; the WCAG's formula of contrast.
"""

import re
import xml.etree.ElementTree as ET

import pytest

from plumbing import html_report
from plumbing.html_report import COLOURS, DARKEST, Gain, Heat, Series, approach_of

SVG = "{http://www.w3.org/2000/svg}"


def test_a_heat_by_hand():
    assert f"var(--orange) {DARKEST // 2}%" in Heat("−4.0", -0.5).html()
    assert f"var(--blue) {DARKEST}%" in Heat("+9.0", 2.0).html()


def test_a_file_of_its_own_has_the_colours_of_its_theme():
    series = [Series("pot & <others>", [[(0, 1.0), (10, 2.0)]], approach_of("pot"))]
    svg = html_report.line_chart(series, "a < b", "step", (0, 4))
    light, dark = [html_report.in_theme(svg, theme) for theme in html_report.THEMES]
    assert "#0072B2" in light and "#56B4E9" in dark and "var(" not in light + dark
    one = [Series("one", [[(5, 1.0)]], approach_of("one"))]
    assert html_report.line_chart(one, "", "step", (0, 4))
    assert "pot & <others>" in [text.text for text in ET.fromstring(light).iter(f"{SVG}text")]


def test_the_marks_of_a_gain_by_hand():
    # The interval is 4 ± 4.303 * 2 / sqrt(3) = [-0.968, 8.968]; the axis has 20 points.
    cell = Gain("+4.0", [2.0, 4.0, 6.0], (-10, 10), "blue").html()
    marks = re.findall(r'class="(\w+)" style="left: ([\d.]+)%; width: ([\d.]+)%"', cell)
    assert marks == [("zero", "50.0", "0.0"), ("seed", "60.0", "0.0"), ("seed", "70.0", "0.0"),
                     ("seed", "80.0", "0.0"), ("interval", "45.2", "49.7"), ("mean", "70.0", "0.0")]


def test_a_line_is_the_mean_of_its_seeds_and_labels_keep_apart():
    names = ["prompt", "pot", "panda_kl"]
    curves = [[(0, 0.0), (10, 1.0)], [(0, 2.0), (10, 3.0)]]
    series = [Series(name, curves, approach_of(name)) for name in names]
    svg = ET.fromstring(html_report.line_chart(series, "dev", "step", (0, 4)))
    lines = [line.get("points").split() for line in svg.iter(f"{SVG}polyline")]
    # y from 252 (0) to 32 (4): the mean goes from 1 to 2
    assert [point.split(",")[1] for point in lines[2]] == ["197.0", "142.0"]
    labels = sorted(float(text.get("y")) for text in svg.iter(f"{SVG}text") if text.text in names)
    assert labels[1] - labels[0] >= 13 and labels[2] - labels[1] >= 13


def luminance(colour):
    """By the WCAG, of a colour like #0072B2."""
    channels = [int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
                        for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def mixed(colour, page):
    """What CSS mixes: DARKEST per cent of a colour into the page's."""
    channels = [int(colour[k:k + 2], 16) * DARKEST + int(page[k:k + 2], 16) * (100 - DARKEST)
                for k in (1, 3, 5)]
    return "#" + "".join(f"{channel // 100:02x}" for channel in channels)


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_of_texts_is_at_least_4_5(theme):
    colours = {role: of_themes[theme] for role, of_themes in COLOURS.items()}
    page = colours["page"]
    pairs = [(page, colours[role]) for role in ("ink", "muted", "blue")]
    pairs += [(mixed(colours[role], page), colours["ink"]) for role in ("blue", "orange")]
    for pair in pairs:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5

"""plumbing/html_report.py: pages that are well formed and charts whose marks lie where they should.

    python -m pytest tests/plumbing/test_html_report.py    # a second

Oracle: Python's XML and HTML parsers; pixels worked out by hand; the WCAG's formula of contrast.
"""

import html.parser
import re
import xml.etree.ElementTree as ET

import pytest

from plumbing import html_report, report
from plumbing.html_report import COLOURS, DARKEST, Gain, Heat, Series, approach_of

EVIL = "<script>alert('&')</script>"
SVG = "{http://www.w3.org/2000/svg}"


def some_results(seeds=3, name="toy-nli", sources=1):
    """Plain prompt tuning, pot from each source, and a PANDA that is the same as plain."""
    def run(approach, source, gain, teacher=None):
        scores = [60.0 + seed + gain * (1 + seed % 2) for seed in range(seeds)]
        return {"approach": approach, "source": source, "scores": scores, "metrics": [{}] * seeds,
                "curves": [[[16, score - 5], [32, score]] for score in scores],
                "losses": [[[1, 3.5, 0.0, None], [32, 0.4, 0.0, None]]] * seeds,
                "teacher_accuracy": [teacher] * seeds, "seconds": 1.0, "steps": 32, "trained": 80,
                "training_bytes": 960, "folders": [f"prompts/{approach}-{seed}" for seed in
                                                   range(seeds)]}
    names = [f"{name}{index}" for index in range(sources)]
    runs = [run("prompt", "", 0.0), run("panda_kl", names[0], 0.0)]
    runs += [run("pot", source, 2.0 + index) for index, source in enumerate(names)]
    return {"model": EVIL, "target": name, "metric": "accuracy", "seeds": list(range(seeds)),
            "majority": 31.3, "promptless": 60.7, "chosen_on_reported": True, "runs": runs,
            "similarity": {source: [{"panda": 0.1 * index}] * seeds
                           for index, source in enumerate(names)},
            "recipe": {"steps": 32, "length": 10}, "changed": {"length": 10},
            "dtype": "fp32", "date": "2026-11-29", "command": f"python train.py {EVIL}",
            "seconds": 75.0}


class Balance(html.parser.HTMLParser):
    """Fails on an element that is not closed, or closed twice; collects tags and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def report_page(tmp_path):
    """report.html of results, as text."""
    return lambda results: (report.write(tmp_path, results) / "report.html").read_text()


@pytest.mark.parametrize("arguments", [(3,), (1,), (2,), (3, EVIL), (3, "x", 5)])
def test_a_report_is_well_formed_and_escapes_what_it_shows(arguments, report_page):
    page = Balance(report_page(some_results(*arguments)))
    assert not [tag for tag, _ in page.seen if tag == "script"]
    assert "also chose each run's checkpoint" in "".join(page.words)
    links = [attributes["href"] for tag, attributes in page.seen if tag == "a"]
    assert "../prompts/pot-0/" in links
    scrolling = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Scores"}
    assert ("div", scrolling) in page.seen


def test_what_a_report_shows_and_what_it_leaves_out(report_page):
    page = report_page(some_results())
    assert page.count("<svg") == 1 + 1  # dev of one source; CE, as KD is 0 everywhere
    assert page.count("t-test") == 1 and page.count('class="interval"') == 1  # panda_kl: all equal
    assert page.index(">length<") < page.index(">steps<", page.index(">option<"))  # changed first
    one_seed = report_page(some_results(1))
    assert not any(sign in one_seed for sign in ("±", "t-test", 'class="interval"'))


def test_a_grid_page(tmp_path):
    report.write_grid(tmp_path, [some_results(3, "a", 3), some_results(3, "b", 3)])
    seen = Balance((tmp_path / "grid.html").read_text()).seen
    assert ("a", {"href": "a/report.html"}) in seen
    coloured = [tag for tag, attributes in seen if attributes.get("class") == "heat"]
    assert len(coloured) == (6 + 2) + (2 + 2)  # pairs and means, of pot and of panda_kl


def test_a_heat_by_hand():
    assert f"var(--orange) {DARKEST // 2}%" in Heat("−4.0", -0.5).html()
    assert f"var(--blue) {DARKEST}%" in Heat("+9.0", 2.0).html()


def test_a_file_of_its_own_has_the_colours_of_its_theme():
    series = [Series("pot & <others>", [[(0, 1.0), (10, 2.0)]], approach_of("pot"))]
    svg = html_report.line_chart(series, "a < b", "step", (0, 4))
    light, dark = [html_report.in_theme(svg, theme) for theme in html_report.THEMES]
    assert "#0072B2" in light and "#56B4E9" in dark and "var(" not in light + dark
    assert html_report.line_chart([Series("one", [[(5, 1.0)]])], "", "step", (0, 4))
    assert "pot & <others>" in [text.text for text in ET.fromstring(light).iter(f"{SVG}text")]


def test_the_marks_of_a_gain_by_hand():
    # The interval is 4 ± 4.303 * 2 / sqrt(3) = [-0.968, 8.968]; the axis has 20 points.
    cell = Gain("+4.0", [2.0, 4.0, 6.0], (-10, 10), "blue").html()
    marks = re.findall(r'class="(\w+)" style="left: ([\d.]+)%(?:; width: ([\d.]+)%)?"', cell)
    assert marks == [("zero", "50.0", ""), ("seed", "60.0", ""), ("seed", "70.0", ""),
                     ("seed", "80.0", ""), ("interval", "45.2", "49.7"), ("mean", "70.0", "")]


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

"""python -m pytest tests/test_pages.py: report.html and grid.html, whatever a run has or lacks.

Oracles: an HTML parser that counts what is opened and closed; SVGs as in test_draw.py.
"""

import doctest
import html.parser
import re

import pytest

from plumbing import draw, grid, pages, report
from tests.test_draw import LONG, outside

VOID = {"meta", "br", "hr", "link", "img"}


class Strict(html.parser.HTMLParser):
    """Fails where an element is closed that is not the last one opened."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.seen = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]
        self.open += [tag] * (tag not in VOID)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(page):
    """A page's elements: well-formed, alone, small, with no NaN and no text outside a picture."""
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == [] and len(parser.ids) == len(set(parser.ids))
    assert len(page.encode()) < 500_000 and not re.search(r"\bnan\b|\binf\b", page)
    for tag, attributes in parser.seen:
        assert tag not in ("script", "link", "iframe") and "onclick" not in attributes
        assert not attributes.get("src") and not attributes.get("href", "#").startswith("http")
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        assert not outside(svg)
    assert all({"tabindex", "role", "aria-label"} <= set(attributes) for tag, attributes in
               parser.seen if attributes.get("class") == "wide")
    return parser


def whole_of(names, seeds=3, steps=2, target="toy-cb", sources=None):
    """A `whole` of these approaches, each a point better than the one before."""
    scores = {name: [50 + k + 3 * seed % 5 for seed in range(seeds)]
              for k, name in enumerate(names)}
    sources = sources or list(dict.fromkeys(n.partition(" ")[2] for n in names if " " in n))
    taught = {name: [{"right": 80.0 if "panda" in name else None, "terms": [
        [step + 1, 2.0 - step, 1.0, 0.5] for step in range(steps)]} for _ in range(seeds)]
        for name in names}
    return {"model": "toy/t5", "target": target, "metric": "accuracy", "seeds": list(range(seeds)),
            "majority": 33.3, "promptless": 40.0, "scores": scores, "curves": {
                name: [[[step + 1, 50 + step] for step in range(steps)]] * seeds for name in names},
            "teaching": taught, "seconds": dict.fromkeys(names, 1.5), "epoch": 16,
            "steps": dict.fromkeys(names, steps), "similarity": {source: [
                {"panda": 0.5, "on": 0.1}] * seeds for source in sources}, "config": {
                "metric": "panda", "steps": steps, "batch": 16, "dtype": "fp32", "length": 10,
                "init": "vocabulary"}, "date": "2026-01-31",
            "command": "python train.py --lr '<&>'",
            "cost": dict.fromkeys(names, {"trained": 1280, "stored_bytes": 5120,
                                          "training_bytes": 20480})}


def page_of(whole):
    return pages.report(whole, whole["target"], report.table(whole),
                        report.sentence(whole["scores"]))


EVERY = ["prompt", "prompt_2x", "prompt_3x", "pot mnli", "panda mnli", "panda_states mnli",
         "panda_self", "panda_self_states", "finetune"]


@pytest.mark.parametrize("names", [
    EVERY, ["prompt"], ["prompt", f"pot {LONG}", f"panda_states {LONG}"],
    ["prompt", *(f"{a} source{k}" for a in ("pot", "panda", "panda_states") for k in range(21))]])
@pytest.mark.parametrize("seeds", [1, 2, 10])
def test_a_page_of_whatever_was_run(names, seeds):
    page = page_of(whole_of(names, seeds))
    tags = [tag for tag, _ in checked(page).seen]
    assert tags.count("h1") == 1 and "svg" in tags and "table" in tags
    assert ("One seed" in page) == (seeds == 1)
    assert "python train.py --lr &#x27;&lt;&amp;&gt;&#x27;" in page


def test_what_stands_on_the_page():
    page = page_of(whole_of(EVERY))
    for name in EVERY:
        assert f">{name}</text>" in page or f">{draw.fit(name, 98, 11)}</text>" in page
    assert "majority class 33.3" in page and "T5 without a prompt 40.0" in page
    assert page.count("<h3>") == 2 and ">from mnli</h3>" in page
    assert page.count(">dev score</text>") == 2 and page.count(">KD</text>") == 2
    said = report.sentence(whole_of(EVERY)["scores"])
    assert page.count(pages.text(said)) == 1 and "stored, bytes" in page


def test_a_run_of_one_evaluation_and_of_equal_scores():
    whole = whole_of(["prompt", "pot mnli"], steps=1)
    whole["scores"] = dict.fromkeys(whole["scores"], [50.0, 50.0, 50.0])
    checked(page_of(whole))


def test_a_table_row_is_heard_with_its_heads():
    [table] = pages.as_html(["| a | `b` |", "|---|---|", "| 1 | < 2 |"], "numbers")
    assert '<th scope="col"><code>b</code></th>' in table
    assert '<th scope="row">1</th><td>&lt; 2</td>' in table and 'aria-label="numbers"' in table


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_of_the_papers_grid(seeds):
    """21 sources by 9 targets, one pair missing, all measures."""
    sources = [f"source-number-{k}" for k in range(20)] + [LONG]
    wholes = [whole_of(["prompt", *(f"pot {s}" for s in sources if s != target)], seeds,
                       target=target) for target in [*sources[:8], "other"]]
    del wholes[0]["scores"][f"pot {LONG}"]
    lines = grid.page(wholes)
    page = pages.grid([grid.pictures.transfer_matrix("pot", grid.gains_of(wholes, "pot"))],
                      grid.predictions(wholes), lines)
    assert [tag for tag, _ in checked(page).seen].count("svg") == 1 + 2  # two measures
    assert "Spearman" in page and ">–</text>" in page and ">=</text>" in page


def test_examples_in_the_docstrings():
    found = doctest.testmod(pages)
    assert found.attempted and not found.failed

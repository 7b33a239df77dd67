"""What the PANDA paper's own numbers say: experiments/paper.py and docs/paper.md.

    python -m pytest tests/plumbing/test_paper.py

Oracle: small examples worked by hand; lines of the paper's tables, copied here; and each finding
as docs/paper.md words it, held against the numbers.
"""

from pathlib import Path

import numpy
import pytest

from experiments import paper

ROOT = Path(__file__).resolve().parents[2]
SCALES = paper.read()
LARGE = SCALES[0]
TINY = SCALES[-1]


def at(source, target):
    return paper.SOURCES.tolist().index(source), paper.TARGETS.tolist().index(target)


def test_the_page_holds_what_the_command_prints_and_draws(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(paper, "ROOT", tmp_path)
    paper.main()
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    _, start, rest = page.partition("<!-- python experiments/paper.py -->\n")
    block, end, _ = rest.partition("<!-- end -->")
    assert start and end and block == capsys.readouterr().out
    drawn = sorted((tmp_path / "docs").iterdir())
    assert len(drawn) == 4
    for picture in drawn:
        assert picture.read_bytes() == (ROOT / "docs" / picture.name).read_bytes(), picture.name


def test_scores_and_similarities_stand_where_their_names_say():
    assert LARGE.plain[at("CB", "CB")[1]] == 87.5
    assert LARGE.teacher[at("CoNLL03", "CoLA")] == 0.0
    assert TINY.student[at("CB", "CB")] == 75.0
    assert LARGE.similarity()[at("SST-2", "CB")] == 0.375
    assert LARGE.similarity("on")[at("CB", "CB")] == 1


def test_correlation_and_slope_by_hand():
    """Two targets, a column each; the pair marked False would spoil both numbers."""
    x = numpy.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [9.0, 4.0]])
    y = numpy.array([[5.0, 2.0], [6.0, 0.0], [7.0, 1.0], [-9.0, 3.0]])
    pairs = numpy.array([[True, True], [True, True], [True, True], [False, True]])
    # target 1: the same order, 1. Target 2: differences of ranks 2, 2, 0, 0: 1 - 6 * 8 / 60 = 0.2.
    assert paper.mean_spearman(x, y, pairs) == pytest.approx((1 + 0.2) / 2)
    # about the means: sum of products 2 + 1, of squares 2 + 5
    assert paper.slope(x, y, pairs) == pytest.approx(3 / 7)


def test_repeated_rows_are_those_that_the_page_names():
    _, _, base_star, _, _, small_star, _ = paper.with_starred(SCALES)
    assert " ".join(paper.SOURCES[~base_star.kept]) == "WSC COPA MultiRC ReCoRD WiC CoLA"
    assert " ".join(paper.SOURCES[~small_star.kept]) == "MRPC STS-B"
    assert not any(paper.repeated(scale.first_epoch).any() for scale in SCALES)


def test_sentences_of_the_page_have_the_tables_numbers():
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    gains = [(scale.student - scale.plain).mean() for scale in SCALES]
    low = [paper.dissimilar_sources(scale)[1] for scale in SCALES]
    slopes = [paper.slope(scale.teacher, scale.student, scale.pairs) for scale in SCALES]
    worst = (LARGE.teacher - LARGE.plain).mean(axis=1).min()
    assert f"{min(gains):.2f} to {max(gains):.2f} points (five" in page
    assert f"({min(low):+.2f} to {max(low):+.2f})" in page
    assert f"{min(slopes):.2f} to {max(slopes):.2f} points better" in page
    assert f"{-worst:.1f} points (CoNLL03" in page

"""Several sources and targets at once: the cells, the averages, what is picked, how sources rank.

    python -m pytest tests/test_grid.py

Oracle: scores invented so that every number can be worked out by hand: plain prompt tuning has 60,
62 and 64 in the three seeds, or 50 in all of them.
"""

import doctest
import json

import pytest

from plumbing import grid, states

PLAIN = [60, 62, 64]
# source -> gains of pot over plain, seed by seed; the best score on dev; the similarity
ONE = {"a": ([10, 10, 11], 90, 0.1),   # the best, and the least similar
       "b": ([4, 5, 6], 70, 0.4),      # of the three most similar the best on dev
       "c": ([-10, -10, -11], 60, 0.9),
       "d": ([0, 1, -1], 65, 0.5)}


def whole_of(target, plain, sources, approach="pot", early=(), epoch=10, **more):
    """What a report is made of; early: source -> dev score after the first epoch."""
    early = dict(early)
    scores, curves, similarity = {"prompt": plain}, {"prompt": [[[5, 1.0], [20, 2.0]]] * 3}, {}
    for name, (gains, dev, alike) in sources.items():
        scores[f"{approach} {name}"] = [score + gain for score, gain in zip(plain, gains)]
        curves[f"{approach} {name}"] = [
            [[5, 1.0], [10, early.get(name, 2.0)], [20, float(dev)]]] * len(plain)
        similarity[name] = [{"panda": alike, "on": -alike}] * len(plain)
    return {"target": target, "scores": scores, "curves": curves, "similarity": similarity,
            "seeds": list(range(len(plain))), "epoch": epoch, "config": {"metric": "panda"},
            "model": "toy/t5", "metric": "accuracy", "majority": 33.0, "promptless": 41.75} | more


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


# ---------------------------------------------------------------------------- cells


@pytest.mark.parametrize("scores, shown", [
    ([70, 72, 75], "72.3 (+10.3 *)"),  # +10, +10, +11
    ([50, 52, 53], "51.7 (-10.3 *)"),  # a loss is a finding, too
    ([50, 62, 77], "63.0 (+1.0)"),     # -10, 0, +13
    (PLAIN, "62.0 (+0.0)")])
def test_a_cell_has_a_mean_its_gain_and_a_star_where_that_is_beyond_chance(scores, shown):
    assert grid.cell(scores, PLAIN) == shown


def test_of_one_seed_nothing_is_beyond_chance():
    assert grid.cell([70], [60]) == "70.0 (+10.0)"


# ------------------------------------------------------------------- an approach's table


def test_sources_and_targets():
    wholes = [whole_of("t", PLAIN, ONE),
              whole_of("u", [50, 50, 50], {"b": ([2, 2, 2], 0, 0.1), "e": ([-1, 0, 6], 0, 0.2)})]
    lines = grid.transfer(wholes, "pot")
    assert [cells(line) for line in lines if line.startswith("| ")] == [
        ["pot from", "to t", "to u"],
        ["nothing: prompt", "62.0 ± 2.0", "50.0 ± 0.0"],
        ["a", "72.3 (+10.3 *)", ""],  # which is no source of u
        ["b", "67.0 (+5.0 *)", "52.0 (+2.0 *)"],
        ["c", "51.7 (-10.3 *)", ""],
        ["d", "62.0 (+0.0)", ""],
        ["e", "", "51.7 (+1.7)"],
        # Seed by seed: 10 + 4 - 10 + 0, 10 + 5 - 10 + 1 and 11 + 6 - 11 - 1, each a quarter:
        # +1, +1.5 and +1.25. To u: (2 - 1) / 2, (2 + 0) / 2 and (2 + 6) / 2
        ["mean over the sources", "63.2 (+1.2 *)", "51.8 (+1.8)"],
        # On average: the best single score to u is one of e's.
        ["best source, known afterwards", "72.3 (+10.3 *) a", "52.0 (+2.0 *) b"],
        # Of c, d and b, the most similar to t, b has 70 on dev. Of the two sources of u, e has
        # as much as b, and is the more similar.
        ["best on dev of the 3 most similar", "67.0 (+5.0 *)", "51.7 (+1.7)"]]
    # Six pairs: (10.33 + 5 - 10.33 + 0 + 2 + 1.67) / 6; stars ahead: a, b, b; behind: c
    assert lines[-1] == ("pot: 6 pairs, +1.44 over plain on average; ahead by more than chance in "
                         "3, behind in 1.")


def test_one_source_is_its_own_average():
    lines = grid.transfer([whole_of("t", PLAIN, {"a": ONE["a"]})], "pot")
    assert [cells(line)[0] for line in lines if line.startswith("| ")] == [
        "pot from", "nothing: prompt", "a"]
    assert lines[-1].startswith("pot: 1 pairs, +10.33 over plain on average; ahead by more than "
                                "chance in 1,")


def test_three_sources_are_all_among_the_three_most_similar():
    three = {name: ONE[name] for name in "abc"}
    lines = "\n".join(grid.transfer([whole_of("t", PLAIN, three)], "pot"))
    assert "best source, known afterwards" in lines and "most similar" not in lines


def test_retrieval_chooses_in_each_seed_by_its_own_numbers():
    whole = whole_of("t", PLAIN, ONE)
    # b: 60 + 4, 62 + 5, 64 + 6
    assert grid.retrieved(whole, "pot") == [64, 67, 70]
    # Of the single most similar one, c: 60 - 10 …; of all, a is the best on dev.
    assert grid.retrieved(whole, "pot", top=1) == [50, 52, 53]
    assert grid.retrieved(whole, "pot", top=4) == [70, 72, 75]
    # In seed 1 only, d is the best on dev at some evaluation, not at the last one.
    curves = [list(curve) for curve in whole["curves"]["pot d"]]
    curves[1] = [[5, 80.0], [20, 10.0]]
    whole["curves"]["pot d"] = curves
    assert grid.retrieved(whole, "pot") == [64, 63, 70]
    # By another measure the order is the other way round: a, b and d, of which a is the best.
    whole["config"] = {"metric": "on"}
    assert grid.retrieved(whole, "pot") == [70, 72, 75]


def test_each_approach_with_a_source_has_its_table():
    whole = whole_of("t", PLAIN, ONE)
    for name in ("panda", "panda_states"):
        more = whole_of("t", PLAIN, ONE, approach=name)
        for kind in ("scores", "curves"):
            whole[kind] = whole[kind] | more[kind]
    whole["scores"]["panda_self"] = PLAIN
    assert grid.approaches([whole]) == ["pot", "panda", "panda_states"]
    assert grid.of_sources(whole, "panda") == grid.of_sources(whole, "panda_states")
    assert list(grid.of_sources(whole, "panda")) == list(ONE)
    lines = grid.page([whole])
    assert [cells(line)[0] for line in lines if " from |" in line] == [
        "pot from", "panda from", "panda_states from"]


# ------------------------------------------------------------------------ the ranking


@pytest.mark.parametrize("epoch, score", [
    (3, 1.0), (5, 1.0),  # at the first evaluation that is not before it
    (6, 2.0), (10, 2.0), (20, 3.0),
    (21, 1.0)])          # a run that ends within its first epoch
def test_the_score_after_the_first_epoch(epoch, score):
    assert grid.early({"epoch": epoch}, [[5, 1.0], [10, 2.0], [20, 3.0]]) == score


# Three sources, the similarities in order. At the end pot ranks them as they are, after the first
# epoch the last two the other way round: 1 - 6 (0 + 1 + 1) / (3 * 8) = 0.5
RANKED = {"a": ([1, 1, 1], 0, 0.1), "b": ([2, 2, 2], 0, 0.2), "c": ([3, 3, 3], 0, 0.3)}
EARLY = {"a": 50.0, "b": 70.0, "c": 60.0}


def test_how_a_similarity_ranks_the_sources():
    lines = grid.ranking([whole_of("t", PLAIN, RANKED, early=EARLY)])
    assert [cells(line) for line in lines if line.startswith("| ")] == [
        ["measure", "against `pot`", "t", "mean", "p"],
        # Of six orders, two are 1 or -1; all are at least 0.5 away from 0.
        ["panda", "after the first epoch", "+0.50", "+0.50", "1.000"],
        ["panda", "at the end", "+1.00", "+1.00", "0.333"],
        ["on", "after the first epoch", "-0.50", "-0.50", "1.000"],
        ["on", "at the end", "-1.00", "-1.00", "0.333"]]


def test_rankings_of_several_targets_are_averaged_and_shuffled_apart():
    backwards = {name: (gains, dev, -alike) for name, (gains, dev, alike) in RANKED.items()}
    two = [whole_of("t", PLAIN, RANKED), whole_of("u", PLAIN, RANKED)]
    [line] = [cells(line) for line in grid.ranking(two) if line.startswith("| panda | at the end")]
    assert line[2:5] == ["+1.00", "+1.00", "+1.00"]
    assert float(line[5]) == pytest.approx(2 / 36, abs=0.01)  # 1 or -1 twice, of 36 orders
    two[1] = whole_of("u", PLAIN, backwards)
    [line] = [cells(line) for line in grid.ranking(two) if line.startswith("| panda | at the end")]
    assert line[2:] == ["+1.00", "-1.00", "+0.00", "1.000"]


def test_two_sources_cannot_be_ranked():
    few = whole_of("t", PLAIN, {name: RANKED[name] for name in "ab"})
    assert grid.ranking([few]) == []
    # Beside a target that has three, one with two is left out.
    lines = grid.ranking([few, whole_of("u", PLAIN, RANKED)])
    assert [cells(line) for line in lines if line.startswith("| measure")] == [
        ["measure", "against `pot`", "u", "mean", "p"]]
    # PANDA alone says nothing of how sources rank: that is asked of pot.
    assert grid.ranking([whole_of("t", PLAIN, RANKED, approach="panda")]) == []


# ------------------------------------------------------------------- what is written


def test_what_is_written(tmp_path, capsys):
    wholes = [whole_of("t", PLAIN, {"a": ONE["a"]}), whole_of("u", PLAIN, {"b": ONE["b"]})]
    grid.write(states.Home(tmp_path), wholes)
    assert f"written to {tmp_path / 'grid.md'}" in capsys.readouterr().out
    kept = json.loads((tmp_path / "grid.json").read_text())
    assert set(kept) == {"t", "u"} and set(kept["t"]) == {
        "metric", "seeds", "majority", "promptless", "scores", "curves", "similarity"}
    assert kept["t"]["scores"] == {"prompt": PLAIN, "pot a": [70, 72, 75]}
    page = (tmp_path / "grid.md").read_text().splitlines()
    assert page[:4] == ["# Sources and targets", "", "model toy/t5", ""]
    assert page[4:] == grid.page(wholes)[:-1] and "| a | 72.3 (+10.3 *) |  |" in page
    picture = (tmp_path / "grid-pot.svg").read_text()
    assert "a to t: +10.33" in picture and {path.suffix for path in tmp_path.glob("grid*")} == {
        ".json", ".md", ".svg", ".html"}


@pytest.mark.parametrize("wholes", [
    [], [whole_of("t", PLAIN, {"a": ONE["a"]})],
    [whole_of("t", PLAIN, {}), whole_of("u", PLAIN, {})]])  # plain prompt tuning alone
def test_a_single_pair_is_no_grid(wholes, tmp_path):
    grid.write(states.Home(tmp_path), wholes)
    assert not list(tmp_path.glob("grid*"))


def test_examples_in_the_docstrings():
    assert doctest.testmod(grid).failed == 0  # it has none yet

"""plumbing/report.py: tables, sentences, files and grids, made from results.

    python -m pytest tests/plumbing/test_report.py    # five seconds

Oracle: scores whose means, gains and ranks can be worked out by hand; Python's XML parser.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from plumbing import report
from plumbing.files import write_json

EVIL = "<script>alert('&')</script>"
PLAIN = [60.0, 62.0, 64.0]


def a_run(approach, source, scores):
    """One run of two evaluations, the better one last."""
    teacher = 87.0 if source and approach != "pot" else None
    return {"approach": approach, "source": source, "scores": scores,
            "metrics": [{"accuracy": score, "f1": score - 50} for score in scores],
            "curves": [[[16, 100 - score], [32, score]] for score in scores],
            "losses": [[[1, 3.5, 0.0, 0.25], [32, 0.5, 0.0, None]] for _ in scores],
            "teacher_accuracy": [teacher] * len(scores), "seconds": 2.0, "steps": 32,
            "trained": 1280, "training_bytes": 20484,
            "folders": [f"{source or 'plain'}/{approach}-{seed}" for seed in range(len(scores))]}


def some_results(*runs, target="toy-cb", **similarity):
    """similarity: of each source, the same for all seeds."""
    seeds = list(range(len(runs[0][2])))
    return {"model": EVIL, "fingerprint": "abc", "target": target, "metric": "accuracy",
            "seeds": seeds, "majority": 31.3, "promptless": 60.7, "chosen_on_reported": False,
            "input": "", "labels": ["yes", "no"], "runs": [a_run(*run) for run in runs],
            "similarity": {source: [{"panda": value, "e_avg": -value} for _ in seeds]
                           for source, value in similarity.items()},
            "recipe": {"steps": 32, "length": 10, "similarity": "panda"}, "changed": {"length": 10},
            "answers": {"of": ["pot", "nli"], "rows": [
                ["a", "yes", "no", "yes"], ["b", "yes", "no", "no"], ["c", "no", "no", "no"]]},
            "dtype": "fp32", "date": "2026-11-29", "command": "python train.py", "seconds": 75.0}


def three_runs():
    """Gains over plain: pot 10, 10, 4, not significant; panda_kl 10, 10, 11, significant."""
    return some_results(("prompt", "", PLAIN), ("pot", "nli", [70.0, 72.0, 68.0]),
                        ("panda_kl", "nli", [70.0, 72.0, 75.0]), nli=0.9)


def test_the_table_of_three_runs():
    assert report.table(three_runs()) == [
        "| approach | source | accuracy   | gain over prompt | similarity | seconds |",
        "| -------- | ------ | ---------- | ---------------- | ---------- | ------- |",
        "| prompt   |        | 62.0 ± 2.0 |                  |            | 2.0     |",
        "| pot      | nli    | 70.0 ± 2.0 | +8.0 ± 3.5       | +0.90      | 2.0     |",
        "| panda_kl | nli    | 72.3 ± 2.5 | +10.3 ± 0.6 *    | +0.90      | 2.0     |",
        "Mean ± standard deviation, n = 3 seeds. *: significant, a paired t-test at 5 %."]
    # Long names are cut in the middle, so that a terminal of 100 columns is enough.
    source = "a-source-with-a-long-name,another-one,and-a-third-one"
    results = some_results(("prompt", "", PLAIN), ("early_hidden", source, PLAIN))
    assert max(map(len, report.table(results))) <= 100


@pytest.mark.parametrize("runs, sentences", [
    ([("pot", "nli", [70.0, 72.0, 68.0])],
     ["Best: pot from nli, 70.0, a gain of +8.0 over plain prompt tuning (3 seeds; not "
      "significant)."]),
    ([("pot", "nli", [80.0, 82.0, 84.0]), ("panda_kl", "nli", [59.0, 62.0, 64.0]),
      ("panda_mse", "nli", [50.0, 51.0, 52.0]), ("finetune", "", [90.0, 90.0, 90.0])],
     ["Best: pot from nli, 82.0, a gain of +20.0 over plain prompt tuning (3 seeds; significant).",
      "Best of PANDA: panda_kl from nli, 61.7, a gain of −0.3 over plain prompt tuning (3 seeds; "
      "not significant)."]),
    ([("panda_kl", "nli", [61.0, 63.0, 65.0])],
     ["Best: panda_kl from nli, 63.0, a gain of +1.0 over plain prompt tuning (3 seeds; "
      "significant)."]),
    ([("pot", "nli", PLAIN)], ["Best: plain prompt tuning, 62.0 ± 2.0 (3 seeds)."])])
def test_the_headline(runs, sentences):
    assert report.headline(some_results(("prompt", "", PLAIN), *runs)) == sentences


def test_a_student_without_a_teacher_is_not_the_best_of_panda():
    results = some_results(("prompt", "", PLAIN), ("panda_kl", "nli", PLAIN))
    results["runs"][1]["teacher_accuracy"] = [None] * 3
    assert report.headline(results) == ["Best: plain prompt tuning, 62.0 ± 2.0 (3 seeds)."]


def test_the_smaller_tables():
    results = three_runs()
    # The mean teacher accuracy; the cosine of the first step, and of the later ones: none.
    assert report.of_teachers(results["runs"][2]) == ["87.00", "0.25", "–"]
    confusion = report.confusion_table(results | {"labels": ["yes", "no", "so"]})[1]
    assert confusion[2] == ["so", "0", "0", "0", "0 %"]  # a label that no example has
    assert report.changed_table(results, most=1)[1] == [["a", "yes", "no", "yes"]]
    for measure, similarity in (("e_avg", "−0.90"), ("none", "+1.00")):
        results["recipe"]["similarity"] = measure
        cells = [row[4] for row in report.scores_table(results)[1]]
        assert cells == ["", similarity, similarity]
    lines = report.ending("runs", Path("runs/x"), results)  # of panda_kl, seed 2 has the best score
    assert lines[-4].endswith(": runs/nli/panda_kl-2")
    assert lines[-3].endswith('answer runs/nli/panda_kl-2 --text "…"')
    results["input"] = "hypothesis: {b} premise: {a}"
    assert '--text "hypothesis: … premise: …"' in report.ending("runs", Path("x"), results)[-3]


# ------------------------------------------------------------------- pages


def elements(path):
    """All elements of a page, which is well formed."""
    doctype, page = path.read_text().split("\n", 1)
    assert doctype == "<!doctype html>"
    return list(ET.fromstring(page).iter())


def test_what_a_report_shows(tmp_path):
    path = report.write(tmp_path, three_runs()) / "report.html"
    seen = elements(path)
    assert "../nli/pot-0/" in [each.get("href") for each in seen]
    assert "script" not in [each.tag for each in seen]
    assert {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Scores"} in [
        each.attrib for each in seen]
    page = path.read_text()
    assert page.count("<svg") == 1 + 1  # dev of one source; CE, as KD is 0 everywhere
    assert page.count("t-test") == 1 and page.count('class="interval"') == 2
    assert page.index(">length<") < page.index(">steps<", page.index(">option<"))  # changed first
    text = path.with_suffix(".md").read_text()
    for part in ("# toy-cb: Best: panda_kl from nli", "[72.0](../nli/pot-1/)",
                 "[64.0](../plain/prompt-2/) | 12.0 ± 2.0 | –  ",  # the other metric, no teacher
                 "12.0 ± 2.0 | –                | 0.25     ", "| 22.3 ± 2.5 | 87.00  ",
                 "chosen on other dev examples", "python train.py", "## Answers of pot from nli, ",
                 "| yes   | 1            | 1           | 50 %  |",
                 "| no    | 0            | 1           | 100 % |", "| a     | yes   | no "):
        assert part in text
    assert "| b     | yes   | no " not in text  # both prompts answer it alike


@pytest.mark.parametrize("scores", [[60.0], [60.0, 62.0], [60.0, 60.0, 60.0]])
def test_where_a_spread_or_a_test_says_nothing_there_is_none(scores, tmp_path):
    results = some_results(("prompt", "", scores), ("pot", EVIL, scores), target="toy-cb<")
    path = report.write(tmp_path, results | {"chosen_on_reported": True}) / "report.html"
    page = "".join(each.text or "" for each in elements(path))
    assert EVIL in page and "also chose each run's checkpoint" in page and "?" not in page
    assert ("±" in page, "t-test" in page) == (len(scores) > 1, len(scores) > 2)
    assert 'class="interval"' not in path.read_text()


# ------------------------------------------------------------------- files


def test_the_files_of_one_source_and_of_two(tmp_path):
    folder = report.write(tmp_path, three_runs())
    assert folder == tmp_path / "nli-to-toy-cb"
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.html", "report.md", "results.json"]
    pair = json.loads((folder / "results.json").read_text())
    assert pair["scores"] == {"prompt": PLAIN, "pot": [70, 72, 68], "panda_kl": [70, 72, 75]}
    assert pair["similarity"] == {"panda": 0.9, "e_avg": -0.9} and pair["source"] == "nli"
    assert pair["steps"]["pot"] == 32 and pair["config"]["length"] == 10
    assert pair["report"] == three_runs()
    two = some_results(("prompt", "", PLAIN), ("pot", "rte", PLAIN), ("self_kl", "", PLAIN),
                       ("panda_kl", "sst2", PLAIN), rte=0.9, sst2=0.1)
    folder = report.write(tmp_path, two)
    assert folder == tmp_path / "toy-cb" and (folder / "report.html").exists()
    assert json.loads((folder / "results.json").read_text()) == two
    pair = json.loads((tmp_path / "sst2-to-toy-cb" / "results.json").read_text())
    assert list(pair["scores"]) == ["prompt", "self_kl", "panda_kl"] and "report" not in pair


def test_a_smaller_rerun_keeps_the_larger_results(tmp_path, capsys):
    smaller = three_runs()
    del smaller["runs"][2]
    for results, kept in ((three_runs(), 0), (three_runs(), 0), (smaller, 1), (three_runs(), 1),
                          (smaller, 2)):
        folder = report.write(tmp_path, results)
        assert len(list(folder.glob("results-*.json"))) == kept
    assert "kept as results-1.json" in capsys.readouterr().out
    assert len(json.loads((folder / "results-1.json").read_text())["report"]["runs"]) == 3


# ------------------------------------------------------------------- grids, and several runs


def grid(gain=1.0):
    """Two targets; the similarity of nli, sst2 and cola with the first falls as their gains do."""
    targets = []
    for target, gains in (("cb", (8, 5, 1)), ("reviews", (1, 9, 5))):
        runs = [("prompt", "", PLAIN)]
        for source, of_source in zip(("nli", "sst2", "cola"), gains):
            runs.append(("pot", source, [score + of_source * gain for score in PLAIN]))
        runs.append(("panda_kl", "nli", [score - 2 * gain for score in PLAIN]))
        targets.append(some_results(*runs, target=target, nli=0.9, sst2=0.5, cola=0.1))
    return targets


def test_a_grid_by_hand(tmp_path):
    assert report.write_grid(tmp_path, grid()) == tmp_path / "grid.html"
    text = (tmp_path / "grid.md").read_text()
    # The largest gain of sst2 is 9, of nli 8, of cola 5; all seeds gain alike: all are significant.
    pot, panda = text.split("## panda_kl")
    order = ["| sst2      | +5.0 * | +9.0 *  |", "| nli       | +8.0 * | +1.0 *  |",
             "| cola      | +1.0 * | +5.0 *  |", "| mean      | +4.7   | +5.0    |"]
    assert "\n".join(order) in pot
    assert panda.index("| sst2      | –      | –") < panda.index("| nli       | −2.0 * | −2.0 * ")
    assert ("pot: a gain of +4.8 over plain prompt tuning (mean of 6 pairs); significant in 6 of"
            in text)
    assert "| cb      | [report](cb/report.html)" in text
    # Ranks 3 2 1 with 3 2 1: rho 1; with 1 3 2: deviations 1 0 -1 and -1 1 0, rho -0.5
    assert "| panda   | +1.00 | −0.50   | +0.25 |" in text
    assert "| e_avg   | −1.00 | +0.50   | −0.25 |" in text
    seen = elements(tmp_path / "grid.html")
    assert "cb/report.html" in [each.get("href") for each in seen]
    # One scale of colours, from the smallest gain to the largest: −2 + 11 k / 4.
    coloured = [each.text for each in seen if each.get("class") == "heat"]
    assert coloured[:5] == ["−2.0", "+0.8", "+3.5", "+6.2", "+9.0"]
    assert len(coloured) == 5 + (6 + 2) + (2 + 2)  # pairs and means, of pot and of panda_kl
    [beside] = [each for each in seen if each.get("style") == "--width: 244px"]
    assert [each.find("h2").text for each in beside] == ["pot", "panda_kl"]
    assert "where chance alone gives 0.3" in text  # 5 % of six pairs
    assert report.write_grid(tmp_path, [three_runs()]) is None  # one pair
    two = some_results(("prompt", "", PLAIN), ("pot", "nli", PLAIN), ("pot", "rte", PLAIN), nli=1,
                       rte=0)
    of_one = three_runs() | {"target": "of-one"}
    report.write_grid(tmp_path, [two, of_one])
    text = (tmp_path / "grid.md").read_text()
    assert "Spearman" not in text  # no target has three sources
    assert "[report](toy-cb/report.html)" in text
    assert "[report](nli-to-of-one/report.html)" in text


def test_what_two_runs_can_be_compared_in():
    larger, smaller = three_runs(), three_runs()
    del smaller["runs"][2]
    for reports in ({"a": larger, "b": smaller}, {"a": smaller, "b": larger}):
        assert report.by_target(reports) == {"toy-cb": larger}
    better = some_results(("prompt", "", [70.0, 72.0, 74.0])) | {"seeds": [7, 8, 9]}
    runs = {"a": {"toy-cb": larger, "rte": larger}, "b": {"toy-cb": better}}
    header, rows = report.runs_table(runs, ["prompt"])
    assert header[2:] == ["toy-cb"]  # the other target is of one run only
    assert rows[1][2] == "72.0 ± 2.0"  # other seeds: no test, so no star
    with pytest.raises(ValueError, match="^a, b have no target in common"):
        report.runs_table({"a": {"rte": larger}, "b": {"toy-cb": better}}, ["prompt"])


def test_the_pages_of_a_run_are_written_again_and_runs_compared(tmp_path, capsys):
    for name, gain in (("a", 1.0), ("b", 2.0)):
        for results in grid():
            results["recipe"]["length"] = 10 * gain
            results["runs"][0]["scores"] = [score + gain for score in PLAIN]
            report.write(tmp_path / name, results)
    page = tmp_path / "a" / "cb" / "report.html"
    before = page.read_text()
    page.unlink()
    report.main([str(tmp_path / "a")])
    assert page.read_text() == before and (tmp_path / "a" / "grid.html").exists()
    report.main([str(tmp_path / "a"), str(tmp_path / "b")])
    printed = capsys.readouterr().out
    [row] = [line for line in printed.splitlines() if f"{tmp_path}/b |" in line
             and "±" in line]
    assert row.endswith("| prompt   | 64.0 ± 2.0 * | 64.0 ± 2.0 * |")
    assert "length" in printed and "20.0" in (tmp_path / "a" / "compared.html").read_text()
    with pytest.raises(ValueError, match="the run of cb has no 'pot' without a source"):
        report.compare([tmp_path / "a"], ["pot"])
    wrong = subprocess.run([sys.executable, "-m", "plumbing.report", "a", "--aproach", "pot"],
                           capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (
        2, "report.py: unknown flag --aproach; did you mean --approach?\n")


@pytest.mark.parametrize("lost", ["seeds", "losses", "scores"])
def test_altered_results_are_refused_in_one_line(lost, tmp_path):
    with pytest.raises(ValueError, match="holds no"):
        report.read_run(tmp_path)
    folder = report.write(tmp_path, three_runs())
    results = three_runs()
    (results if lost == "seeds" else results["runs"][0]).pop(lost)
    if lost == "scores":
        results["runs"][0]["scores"] = []
    write_json(folder / "results.json", results)
    with pytest.raises(ValueError, match="results.json: altered.*again to write it$"):
        report.rewrite(tmp_path)

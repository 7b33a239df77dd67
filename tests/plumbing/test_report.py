"""plumbing/report.py: tables, sentences, files and grids, made from results.

    python -m pytest tests/plumbing/test_report.py    # two seconds

Oracle: scores whose means, gains and ranks can be worked out by hand.
"""

import json
import subprocess
import sys

import pytest

from plumbing import report
from plumbing.files import write_json


def a_run(approach, source, scores):
    """One run of two evaluations; after the first epoch the best one is last."""
    curves = [[[16, 100 - score], [32, score]] for score in scores]
    losses = [[[1, 3.5, 0.5, 0.25], [32, 0.5, 0.125, None]] for _ in scores]
    teacher = 87.0 if source and approach != "pot" else None
    return {"approach": approach, "source": source, "scores": scores, "metrics": [{}] * len(scores),
            "curves": curves, "losses": losses, "teacher_accuracy": [teacher] * len(scores),
            "seconds": 2.0, "steps": 32, "trained": 1280, "training_bytes": 20484,
            "folders": [f"prompts/{approach}-{seed}" for seed in range(len(scores))]}


def some_results(runs, target="toy-cb", **similarity):
    """similarity: of each source, the same for all seeds."""
    seeds = list(range(len(runs[0]["scores"])))
    return {"model": "toy/t5", "fingerprint": "abc", "target": target, "metric": "accuracy",
            "seeds": seeds, "majority": 31.3, "promptless": 60.7, "chosen_on_reported": False,
            "labels": ["yes", "no"], "runs": runs,
            "similarity": {source: [{"panda": value, "e_avg": -value} for _ in seeds]
                           for source, value in similarity.items()},
            "recipe": {"length": 10, "similarity": "panda"}, "changed": {"length": 10},
            "dtype": "fp32", "date": "2026-11-29", "command": "python train.py", "seconds": 75.0}


PLAIN = [60.0, 62.0, 64.0]


def three_runs():
    """Gains over plain: pot 10, 10, 4, not significant; panda_kl 10, 10, 11, significant."""
    return some_results([a_run("prompt", "", PLAIN), a_run("pot", "nli", [70.0, 72.0, 68.0]),
                         a_run("panda_kl", "nli", [70.0, 72.0, 75.0])], nli=0.9)


def test_the_table_of_three_runs():
    assert report.table(three_runs()) == [
        "| approach | source | accuracy   | gain over prompt | similarity | seconds |",
        "|----------|--------|------------|------------------|------------|---------|",
        "| prompt   |        | 62.0 ± 2.0 |                  |            | 2.0     |",
        "| pot      | nli    | 70.0 ± 2.0 | +8.0 ± 3.5       | +0.90      | 2.0     |",
        "| panda_kl | nli    | 72.3 ± 2.5 | +10.3 ± 0.6 *    | +0.90      | 2.0     |",
        "Mean ± standard deviation, n = 3 seeds. *: significant, a paired t-test at 5 %."]
    # Long names are cut in the middle, so that a terminal of 100 columns is enough.
    source = "a-source-with-a-long-name,another-one,and-a-third-one"
    results = some_results([a_run("prompt", "", PLAIN), a_run("early_hidden", source, PLAIN)])
    assert max(map(len, report.table(results))) <= 100


def test_one_seed_has_no_deviation_and_no_test():
    results = some_results([a_run("prompt", "", [60.0]), a_run("prompt_2x", "", [65.0])])
    text = "\n".join([*report.table(results), report.headline(results)])
    assert "| 65.0     | +5.0 " in text and "n = 1" in text
    assert not any(sign in text for sign in ("±", "?", "significant"))


@pytest.mark.parametrize("scores, sentence", [
    ({"pot": [70.0, 72.0, 68.0]},
     "Best: pot from nli, 70.0, 8.0 over plain prompt tuning (3 seeds; not significant)."),
    ({"pot": [80.0, 82.0, 84.0], "panda_kl": [59.0, 62.0, 64.0], "panda_mse": [50.0, 51.0, 52.0]},
     "Best: pot from nli, 82.0, 20.0 over plain prompt tuning (3 seeds; significant). Best of "
     "PANDA: panda_kl from nli, 61.7, 0.3 below plain prompt tuning (3 seeds; not significant)."),
    ({"panda_kl": PLAIN}, "Best: plain prompt tuning, 62.0. Next: panda_kl from nli, 62.0, "
     "the same as plain prompt tuning (3 seeds; not significant).")])
def test_the_headline(scores, sentence):
    runs = [a_run("prompt", "", PLAIN)]
    runs += [a_run(approach, "nli", values) for approach, values in scores.items()]
    assert report.headline(some_results(runs, nli=0.9)) == sentence


def test_one_source_shares_its_folder_with_the_target(tmp_path):
    folder = report.write(tmp_path, three_runs())
    assert folder == tmp_path / "nli-to-toy-cb" and folder.parent.exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.html", "report.md", "results.json"]
    pair = json.loads((folder / "results.json").read_text())
    assert pair["scores"] == {"prompt": PLAIN, "pot": [70, 72, 68], "panda_kl": [70, 72, 75]}
    assert pair["similarity"] == {"panda": 0.9, "e_avg": -0.9} and pair["source"] == "nli"
    assert pair["steps"]["pot"] == 32 and pair["config"]["length"] == 10
    assert pair["report"] == three_runs()
    markdown = (folder / "report.md").read_text()
    assert "| 70.0" in markdown and "[72.0](../prompts/pot-1/)" in markdown
    assert "| panda_kl | nli    | 87.00 " in markdown  # the teachers' table
    assert "chosen on other dev examples" in markdown and "python train.py" in markdown


def test_two_sources_have_a_file_each_and_a_common_report(tmp_path):
    runs = [a_run("prompt", "", PLAIN), a_run("pot", "nli", PLAIN), a_run("pot", "sst2", PLAIN)]
    folder = report.write(tmp_path, some_results(runs, nli=0.9, sst2=0.1))
    assert folder == tmp_path / "toy-cb" and (folder / "report.html").exists()
    pair = json.loads((tmp_path / "sst2-to-toy-cb" / "results.json").read_text())
    assert list(pair["scores"]) == ["prompt", "pot"] and "report" not in pair


def test_a_smaller_rerun_keeps_the_larger_results(tmp_path, capsys):
    smaller = three_runs()
    del smaller["runs"][2]
    report.write(tmp_path, three_runs())
    report.write(tmp_path, three_runs())
    assert capsys.readouterr().out == ""
    folder = report.write(tmp_path, smaller)
    assert "kept as results-1.json" in capsys.readouterr().out
    assert len(json.loads((folder / "results-1.json").read_text())["report"]["runs"]) == 3
    report.write(tmp_path, three_runs())
    report.write(tmp_path, smaller)
    assert (folder / "results-2.json").exists()


def grid(gain=1.0):
    """Two targets; the similarity of nli, sst2 and cola with the first falls as their gains do."""
    targets = []
    for target, gains in (("cb", (9, 5, 1)), ("reviews", (1, 9, 5))):
        runs = [a_run("prompt", "", PLAIN)]
        for source, of_source in zip(("nli", "sst2", "cola"), gains):
            runs.append(a_run("pot", source, [score + of_source * gain for score in PLAIN]))
        targets.append(some_results(runs, target, nli=0.9, sst2=0.5, cola=0.1))
    return targets


def test_a_grid_by_hand(tmp_path):
    assert report.write_grid(tmp_path, grid()) == tmp_path / "grid.html"
    text = (tmp_path / "grid.md").read_text()
    # Mean gains: sst2 7, nli 5, cola 3; all seeds gain alike, so all are significant.
    assert text.index("| sst2      | +5.0 * | +9.0 *  |") < text.index("| nli       | +9.0 *")
    assert "| mean      | +5.0   | +5.0    |" in text
    assert "pot: a gain of +5.0 over plain prompt tuning (mean of 6 pairs); 6 are" in text
    assert "| cb      | [report](cb/report.html)" in text
    # Ranks 3 2 1 with 3 2 1: rho 1; with 1 3 2: deviations 1 0 -1 and -1 1 0, rho -0.5
    assert "| panda   | +1.00 | −0.50   | +0.25 |" in text
    assert "| e_avg   | −1.00 | +0.50   | −0.25 |" in text
    assert report.write_grid(tmp_path, [three_runs()]) is None  # one pair


def test_the_pages_of_a_run_are_written_again_and_runs_compared(tmp_path):
    def command(*arguments):
        return subprocess.run([sys.executable, "-m", "plumbing.report", *map(str, arguments)],
                              capture_output=True, text=True)

    for name, gain in (("a", 1.0), ("b", 2.0)):
        for results in grid():
            results["recipe"]["length"] = 10 * gain
            results["runs"][0]["scores"] = [score + gain for score in PLAIN]
            report.write(tmp_path / name, results)
    page = tmp_path / "a" / "cb" / "report.html"
    before = page.read_text()
    page.unlink()
    assert command(tmp_path / "a").returncode == 0
    assert page.read_text() == before and (tmp_path / "a" / "grid.html").exists()
    result = command(tmp_path / "a", tmp_path / "b")
    [row] = [line.split("|")[2:5] for line in result.stdout.splitlines() if f"{tmp_path}/b " in line
             and "±" in line]
    assert [cell.strip() for cell in row] == ["prompt", "64.0 ± 2.0 *", "64.0 ± 2.0 *"]
    assert "length" in result.stdout and "20.0" in (tmp_path / "a" / "compared.html").read_text()
    wrong = command(tmp_path / "a", "--approach", "pot")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "'pot'" in wrong.stderr


def test_altered_results_are_refused_in_one_line(tmp_path):
    results = three_runs()
    del results["seeds"]
    with pytest.raises(ValueError, match="^results.json: altered.*no seeds.*again to write it$"):
        report.check(results, "results.json")
    with pytest.raises(ValueError, match="holds no"):
        report.read_run(tmp_path)
    results = three_runs()
    folder = report.write(tmp_path, results)
    del results["runs"][0]["losses"]
    write_json(folder / "results.json", results)
    with pytest.raises(ValueError, match="was altered .*losses"):
        report.rewrite(tmp_path)


def test_the_answers_of_the_best_run():
    results = three_runs() | {"labels": ["yes", "no"], "answers": {"of": ["pot", "nli"], "rows": [
        ["a", "yes", "no", "yes"], ["b", "yes", "no", "no"], ["c", "no", "no", "no"]]}}
    header, rows = report.confusion_table(results)
    assert header == ["label", "answered yes", "answered no", "right"]
    assert rows == [["yes", "1", "1", "50 %"], ["no", "0", "1", "100 %"]]
    assert report.changed_table(results)[1] == [["a", "yes", "no", "yes"]]
    assert report.answers_sections(results)[1].name == "Answers that pot from nli changed, seed 0"
    assert report.answers_sections(three_runs()) == []


def test_a_report_has_all_metrics_of_a_task(tmp_path):
    results = three_runs()
    for run in results["runs"]:
        run["metrics"] = [{"accuracy": score, "f1": score - 50} for score in run["scores"]]
    text = (report.write(tmp_path, results) / "report.md").read_text()
    assert "| prompt   |        | 62.0 ± 2.0 | 12.0 ± 2.0 |" in text

"""The report: its tables and sentence, what each pair's results.json holds, where it all lies.

    python -m pytest tests/test_report.py

Oracle: the report of invented scores, written out by hand.
"""

import dataclasses
import doctest
import json
import math
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import prompt
from plumbing import files, report, states
from plumbing.states import Result

# Three seeds of a target with two sources.
SCORES = {"prompt": [60, 62, 64], "pot toy-nli": [70, 72, 75], "pot toy-sst2": [50, 52, 53],
          "prompt_2x": [60, 63, 64], "panda toy-nli": [50, 62, 77], "panda toy-sst2": [61, 61, 61],
          "panda_self": [60, 62, 64]}
SIMILAR = {"toy-nli": [{"panda": 0.9, "on": 0.2}, {"panda": 0.8, "on": 0.2},
                       {"panda": 0.7, "on": 0.5}],
           "toy-sst2": [{"panda": -0.1, "on": 0.1}] * 3}
FACTS = {"model": "toy/t5", "fingerprint": "f", "target": "toy-cb", "metric": "accuracy",
         "seeds": [0, 1, 2], "majority": 33.0, "promptless": 41.75, "similarity": SIMILAR,
         "epoch": 16, "config": {"length": 10, "init": "vocabulary", "steps": 100, "batch": 16,
                                 "metric": "panda", "dtype": "fp32"}}


def results(scores, trained=1280, memory=20484, folder=None, terms=(), right=None):
    return [Result(score, [[50, score - 1], [100, score]], 1.5, trained, memory, list(terms), right,
                   folder) for score in scores]


def found(names=tuple(SCORES)):
    return {name: results(SCORES[name]) for name in names}


def whole(**more):
    return FACTS | report.gathered(found()) | more


# ---------------------------------------------------------------- table and sentence


def test_the_table():
    one_source = {name: SCORES[name] for name in ("prompt", "pot toy-nli", "panda toy-nli")}
    assert report.table(whole(scores=one_source))[:7] == [
        "majority class 33.0, T5 without a prompt 41.8; prompts of length 10, fresh ones from "
        "vocabulary", "",
        "| approach | source | accuracy, mean ± sd | each seed | against `prompt`, seed by seed | "
        "similarity | seconds (in its pass) |", "|---|---|---|---|---|---|---|",
        "| prompt | – | 62.0 ± 2.0 | 60.0, 62.0, 64.0 |  |  | 1.5 |",
        # +10, +10 and +11: more than chance; -10, 0 and +13: not
        "| pot | toy-nli | 72.3 ± 2.5 | 70.0, 72.0, 75.0 | +10.3 ± 0.6 *, ahead in 3 of 3 | "
        "+0.80 | 1.5 |",
        "| panda | toy-nli | 63.0 ± 13.5 | 50.0, 62.0, 77.0 | +1.0 ± 11.5, ahead in 1 of 3, level "
        "in 1 | +0.80 | 1.5 |"]


def test_the_similarity_in_the_table_is_the_one_that_weighed():
    config = FACTS["config"] | {"metric": "on"}
    rows = [line for line in report.table(whole(config=config)) if line.startswith("| panda |")]
    assert [row.split("|")[-3].strip() for row in rows] == ["+0.30", "+0.10"]
    # --metric none: every source weighed 1.
    config = FACTS["config"] | {"metric": "none"}
    rows = [line for line in report.table(whole(config=config)) if line.startswith("| panda |")]
    assert [row.split("|")[-3].strip() for row in rows] == ["+1.00", "+1.00"]


def test_the_sentence_says_what_was_found_whichever_way_it_went():
    # Gains over (60, 62, 64): +10 +10 +11; -10 -10 -11; 0 +1 0; -10 0 +13; +1 -1 -3; 0 0 0.
    assert report.sentence(SCORES) == (
        "Other than plain prompt tuning (62.0) by more than chance: pot from toy-nli +10.3, pot "
        "from toy-sst2 -10.3. It may be chance: prompt_2x +0.3, panda from toy-nli +1.0, panda "
        "from toy-sst2 -1.0. The same as it: panda_self.")
    assert report.sentence({"prompt": [1, 2, 3], "pot a": [3, 2, 1]}) == (
        "Other than plain prompt tuning (2.0) by more than chance: none. It may be chance: pot "
        "from a +0.0.")
    assert report.sentence(SCORES) in report.table(whole())


def test_one_seed_has_no_spread_and_says_so():
    one = {name: scores[:1] for name, scores in SCORES.items()}
    assert report.sentence(one).startswith("Other than plain prompt tuning (60.0) by more than "
                                           "chance: none. It may be chance: pot from toy-nli +10.0")
    table = "\n".join(report.table(whole(scores=one)))
    assert "| prompt | – | 60.0 ± ? | 60.0 |" in table
    assert "| pot | toy-nli | 70.0 ± ? | 70.0 | +10.0 ± ?, ahead in 1 of 1 |" in table


def test_two_standard_errors_are_not_enough_for_three_seeds():
    # +10, +10 and 0 mean 6.7 with deviation 5.8: two standard errors are passed
    # (2 * 5.8 / sqrt(3) = 6.7), but with three seeds it takes 4.30 of them.
    assert "chance: none. It may be chance: pot from toy-nli +6.7." in (
        report.sentence({"prompt": [60, 62, 64], "pot toy-nli": [70, 72, 64]}))


def test_prompt_tuning_alone_has_nothing_to_be_compared_with():
    lines = report.table(whole(scores={"prompt": SCORES["prompt"]}))
    assert lines[-1].startswith("| prompt |")


def test_the_cost_of_a_prompt_and_of_all_weights():
    # A prompt of 10 vectors of 128: 1,280 numbers, 4 bytes each when stored; in training the
    # gradients and AdamW's two moments are as much again each.
    tuned = results([70, 70, 70], trained=1_362_176, memory=10_972_000)
    made = report.gathered(found() | {"finetune": tuned})
    assert made["cost"]["prompt"] == {"trained": 1280, "stored_bytes": 5120,
                                      "training_bytes": 20484}
    assert report.cost(made["cost"])[:4] == [
        "| of one run | trained numbers | stored, fp32 | in training: these, their gradients, the "
        "optimiser |", "|---|---|---|---|",
        "| prompt | 1,280 | 0.005 MB | 0.020 MB |",
        "| finetune | 1,362,176 | 5.449 MB | 10.972 MB |"]
    assert "| finetune | 1,362,176 | 5.449 MB | 10.972 MB |" in report.table(FACTS | made)
    assert not any("of one run" in line for line in report.table(whole()))


# ----------------------------------------------------------- what the teachers add


# (step, CE, KD, cosine) of two seeds: the first step, and two that were scored.
TERMS = [[[1, 4.0, 0.5, 0.9], [50, 2.0, 0.4, 0.2], [100, 1.0, 0.3, 0.0]],
         [[1, 2.0, 0.1, 0.7], [50, 2.0, 0.2, -0.4], [100, 0.5, 0.1, 0.4]]]


def seeds(rights, terms=TERMS):
    return [{"right": right, "terms": each} for right, each in zip(rights, terms)]


def test_the_table_of_what_the_teachers_add():
    lines = report.taught({"prompt": seeds([None, None]), "panda toy-nli": seeds([90.0, 100.0]),
                           "panda_self": seeds([50.0, 50.0])})
    assert lines[:3] == [
        "", "| student | source | its teacher gives the label | cosine of the gradients of CE and "
        "KD: first step | later, mean | CE, first to last | KD |", "|---|---|---|---|---|---|---|"]
    # Means of two seeds: (90 + 100) / 2; (0.9 + 0.7) / 2; of all later ones, (0.2 + 0 - 0.4 + 0.4)
    # / 4; CE (4 + 2) / 2 and (1 + 0.5) / 2; KD (0.5 + 0.1) / 2 and (0.3 + 0.1) / 2
    assert lines[3:] == [
        "| panda | toy-nli | 95 % | +0.80 | +0.05 | 3.000 → 0.750 | 0.300 → 0.200 |",
        "| panda_self | – | 50 % | +0.80 | +0.05 | 3.000 → 0.750 | 0.300 → 0.200 |"]


def test_without_a_teacher_there_is_no_such_table():
    assert report.taught({"prompt": seeds([None, None])}) == []
    assert not any("cosine" in line for line in report.table(whole()))


def test_a_seed_whose_teacher_weighed_nothing_is_not_in_the_table():
    # It was plain prompt tuning there, so a mean over all seeds would be of two kinds.
    both, one = (report.taught({"panda toy-nli": seeds(right)}) for right in ([90.0, None], [90.0]))
    assert both == one != []
    assert report.taught({"panda toy-nli": seeds([None])}) == []


def test_a_student_of_one_step_has_no_later_cosine():
    [line] = report.taught({"panda toy-nli": seeds([90.0, 100.0], [[[1, 4.0, 0.5, 0.9]]] * 2)})[3:]
    assert line.startswith("| panda | toy-nli | 95 % | +0.90 |")


def test_the_table_stands_in_the_report_and_the_terms_in_the_results():
    # Of three seeds, all with the terms of the first one above.
    taught = {"panda toy-nli": results(SCORES["panda toy-nli"], terms=TERMS[0], right=90.0)}
    made = FACTS | report.gathered(found() | taught)
    assert "| panda | toy-nli | 90 % | +0.90 | +0.10 | 4.000 → 1.000 | 0.500 → 0.300 |" in (
        report.table(made))
    assert made["teaching"]["panda toy-nli"] == [{"right": 90.0, "terms": TERMS[0]}] * 3
    assert made["teaching"]["prompt"] == [{"right": None, "terms": []}] * 3


# ------------------------------------------------------------------- results.json


def test_the_results_of_a_pair_are_its_part_of_the_whole():
    steps = {name: 100 * (1 + (name == "prompt_2x")) for name in SCORES}
    pair = report.of_pair(whole(steps=steps), "toy-nli")
    assert pair["source"] == "toy-nli" and pair["target"] == "toy-cb"
    assert pair["scores"] == {
        "prompt": [60, 62, 64], "pot": [70, 72, 75], "prompt_2x": [60, 63, 64],
        "panda": [50, 62, 77], "panda_self": [60, 62, 64]}
    assert all(set(pair[kind]) == set(pair["scores"])
               for kind in ("curves", "teaching", "seconds", "cost"))
    assert pair["curves"]["pot"][0] == [[50, 69], [100, 70]] and pair["seconds"]["pot"] == 1.5
    assert pair["steps"] == {"prompt": 100, "pot": 100, "prompt_2x": 200, "panda": 100,
                             "panda_self": 100}
    assert pair["similarity"] == pytest.approx({"panda": 0.8, "on": 0.3})
    assert pair["similarity_each_seed"] == SIMILAR["toy-nli"]
    alone = report.of_pair(whole(steps=steps), "")
    assert set(alone["scores"]) == {"prompt", "prompt_2x", "panda_self"}
    assert alone["similarity"] == {} and alone["similarity_each_seed"] == []


# ------------------------------------------------------------------ what is written


@pytest.mark.parametrize("name, place", [
    ("prompt", "prompts/toy-cb-7"), ("finetune", "models/toy-cb-7"),
    ("pot toy-nli", "toy-nli-to-toy-cb/prompts/pot-7"),
    ("panda toy-nli", "toy-nli-to-toy-cb/prompts/panda-7"),
    ("prompt_2x", "toy-cb/prompts/prompt_2x-7"), ("panda_self", "toy-cb/prompts/panda_self-7"),
    ("panda_states toy-nli", "toy-nli-to-toy-cb/prompts/panda_states-7"),
    ("panda_late", "toy-cb/prompts/panda_late-7")])
def test_where_what_was_trained_lies_for_people(name, place):
    assert report.place_of(name, "toy-cb", 7) == place


@dataclasses.dataclass
class Recipe:
    length: int = 10
    init: str = "vocabulary"
    steps: int = 100
    batch: int = 16
    metric: str = "panda"


def write(out, found, similar):
    """What report.write says of these, for a target of 250 examples."""
    shop = types.SimpleNamespace(home=states.Home(out), recipe=Recipe(), name="toy/t5",
                                 fingerprint="f", dtype="fp32")
    target = types.SimpleNamespace(name="toy-cb", majority=33.0, mine=lambda seed: range(250),
                                   task=types.SimpleNamespace(metrics=("accuracy", "f1")))
    return report.write(shop, target, range(3), found, similar, 41.75)


def trained(home):
    """Results whose folders hold a file that says whose they are."""
    made = {}
    for name, scores in SCORES.items():
        made[name] = []
        for seed, score in enumerate(scores):
            folder = home.out / "trained" / f"{name} {seed}".replace(" ", "_")
            files.write_json(folder / "prompt.json", f"{name} {seed}")
            made[name] += results([score], folder=folder)
    return made


def test_everything_that_is_written(tmp_path, capsys):
    made = write(tmp_path, trained(states.Home(tmp_path)), SIMILAR)
    assert FACTS.items() <= made.items()  # an epoch: 250 examples, 16 in a step
    said = capsys.readouterr().out
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")
               if path.is_file() and "trained" not in path.parts}
    assert written == {
        ".lock", *(f"prompts/toy-cb-{seed}/prompt.json" for seed in range(3)),
        *(f"toy-cb/prompts/{name}-{seed}/prompt.json" for name in ("prompt_2x", "panda_self")
          for seed in range(3)),
        *(f"{source}-to-toy-cb/{file}" for source in SIMILAR for file in (
            "results.json", "report.md", "report.html", *(f"prompts/{name}-{seed}/prompt.json"
                                           for name in ("pot", "panda") for seed in range(3)))),
        "toy-cb/report.md", "toy-cb/report.html", "toy-cb/results.json"}
    there = tmp_path / "toy-sst2-to-toy-cb" / "prompts" / "pot-2" / "prompt.json"
    assert json.loads(there.read_text()) == "pot toy-sst2 2"
    kept = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    assert kept["scores"]["pot"] == [70, 72, 75] and kept["steps"]["prompt_2x"] == 200
    assert kept["epoch"] == 16 and set(kept["teaching"]) == set(kept["scores"])
    assert kept["similarity"]["panda"] == pytest.approx(0.8)
    pair = (tmp_path / "toy-nli-to-toy-cb" / "report.md").read_text().splitlines()
    assert pair[:4] == ["# toy-nli to toy-cb", "", "model toy/t5", ""]
    assert any(line.startswith("| pot | toy-nli |") for line in pair)
    assert not any("toy-sst2" in line for line in pair)
    assert pair[-1] == ("Recipe: length 10, init vocabulary, steps 100, batch 16, metric panda, "
                        "dtype fp32")
    # The whole of the target: both sources, and the same on the screen.
    both = (tmp_path / "toy-cb" / "report.md").read_text().splitlines()
    assert both[0] == "# toy-cb" and all(line in said for line in both[4:-1])
    assert f"written to {tmp_path}/toy-nli-to-toy-cb, {tmp_path}/toy-sst2-to-toy-cb" in said


def test_without_a_source_all_of_it_is_in_the_targets_folder(tmp_path):
    made = trained(states.Home(tmp_path))
    write(tmp_path, {name: results for name, results in made.items() if " " not in name}, {})
    kept = json.loads((tmp_path / "toy-cb" / "results.json").read_text())
    assert set(kept["scores"]) == {"prompt", "prompt_2x", "panda_self"}
    assert kept["similarity"] == {} and kept["target"] == "toy-cb"
    assert (tmp_path / "toy-cb" / "report.md").exists()


# ------------------------------------------------------------------ on the way there


def test_a_line_for_each_approach_at_the_first_step_and_at_each_evaluation(
        tmp_path, capsys, monkeypatch):
    home = states.Home(tmp_path)
    home.begun, home.planned, home.done = 1000.0, 300, 100
    monkeypatch.setattr(states.time, "time", lambda: 1030.0)
    runs = [types.SimpleNamespace(name=name, seed=seed) for name, seed in (
        ("prompt", 0), ("prompt", 1), ("panda toy-nli", 0), ("panda toy-nli", 1))]
    work = types.SimpleNamespace(
        runs=runs, title="toy-cb prompts", decided=[{"seed": 0}, {"seed": 1}], lead=range(4),
        bank=prompt.PromptBank(torch.ones(4, 3, 3)),
        rates=lambda step: [0.3 / (step + 1)] * 4,
        t5=types.SimpleNamespace(config=types.SimpleNamespace(vocab_size=384)))

    def progress(step, live, due):
        # CE 1, 2, 3 and 5; KD 0, 0, 0.2 and 0.4; cosines of the last two runs
        terms = [[[step, ce, kd, cosine]] for ce, kd, cosine in (
            (1.0, 0.0, None), (2.0, 0.0, None), (3.0, 0.2, 0.9), (5.0, 0.4, -0.1))]
        curves = [[[step, 60.0]], [[step, 70.0]], [[step, 80.0]], [[step, 85.0]]]
        report.progress(home, work, {"step": step, "curves": curves, "terms": terms}, 4, live, due,
                        1000.0)
        return capsys.readouterr().out

    # ln 384 = 5.95. The two seeds of an approach are averaged, never two approaches.
    assert progress(1, [0, 1, 2, 3], []) == (
        "toy-cb prompts: runs 4; CE of a uniform guess among the vocabulary 5.95\n"
        "    prompt: CE 1.500\n"
        "    panda toy-nli: CE 4.000 KD 0.300 cosine of their gradients +0.40\n")
    assert progress(2, [0, 1, 2, 3], []) == ""
    assert not (tmp_path / "log.jsonl").exists()
    # Those that were scored; of the others the last terms are of another step.
    assert progress(3, [0, 1, 3], [1, 3]) == (
        "toy-cb prompts: step 3/4 75% lr 0.1 runs 3 1000 tok/s ETA 1:00\n"
        "    prompt: CE 2.000 dev 70.0\n"
        "    panda toy-nli: CE 5.000 KD 0.400 cosine of their gradients -0.10 dev 85.0\n")
    [line] = (tmp_path / "log.jsonl").read_text().splitlines()
    names = "prompt seed 1", "panda toy-nli seed 1"
    assert json.loads(line) == {
        "time": 1030, "pass": "toy-cb prompts", "key": states.key_of(work.decided), "step": 3,
        "dev": dict(zip(names, (70.0, 85.0))), "ce": dict(zip(names, (2.0, 5.0))),
        "kd": dict(zip(names, (0.0, 0.4))), "cosine": dict(zip(names, (None, -0.1))),
        "norm": {"prompt seed 1": 3.0, "panda toy-nli seed 1": 3.0},  # nine ones
        "tokens_per_second": 1000.0}
    # A pass whose first step is scored at once says both.
    assert progress(1, [0, 1, 2, 3], [0, 1, 2, 3]).count(" dev ") == 2
    assert round(math.log(384), 2) == 5.95


def test_a_target_is_opened_with_what_it_takes_to_beat(capsys):
    task = types.SimpleNamespace(name="toy-cb", train=[0] * 24, choose=[0, 1], report=[2, 3, 4],
                                 majority=33.333, labelled=0, unlabelled="")
    report.opening(task, 41.75)
    assert capsys.readouterr().out == (
        "target toy-cb: 24 training examples, 2 dev examples to choose by, 3 to report; majority "
        "class 33.3, T5 without a prompt 41.8\n")
    task.report = task.choose
    report.opening(task, 41.75)
    assert "2 dev examples to choose by, 2 to report, the same;" in capsys.readouterr().out
    task.labelled, task.unlabelled, task.rest = 6, "0f3a", lambda seed: range(18)
    report.opening(task, 41.75)
    assert ("24 training examples, 6 of them labelled (others for each seed), 18 inputs without "
            "labels, 2 dev") in capsys.readouterr().out


# --------------------------------------------------------------- several runs


def result(folder, target, prompts, source="", seeds=(0, 1, 2), others={}, **more):
    """A results.json with these scores."""
    made = {"target": target, "source": source, "seeds": list(seeds), "majority": 50.0,
            "promptless": 40.0, "scores": {"prompt": prompts} | others,
            "config": {"metric": "panda"}} | more
    file = folder / f"{source}-to-{target}" / "results.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(made))


def test_runs_side_by_side_with_a_star_for_what_is_not_chance(tmp_path):
    result(tmp_path / "short", "toy-cb", [60, 62, 64])
    result(tmp_path / "short", "toy-ner", [90, 90, 90])  # which the others have not
    result(tmp_path / "long", "toy-cb", [70, 72, 75])  # +10, +10, +11
    result(tmp_path / "wide", "toy-cb", [50, 62, 77])  # -10, 0, +13
    result(tmp_path / "wide", "toy-nli", [90, 90, 90])
    result(tmp_path / "twin", "toy-cb", [70, 72, 75])  # other than the first, not than the second
    result(tmp_path / "late", "toy-cb", [90, 92, 94], seeds=(3, 4, 5))  # not comparable
    runs = [tmp_path / name for name in ("short", "long", "wide", "twin", "late")]
    assert report.rows_of_runs({run.name: report.read(run) for run in runs}) == [
        "| run | toy-cb |",
        "|---|---|",
        "| short | 62.0 ± 2.0 |",
        "| long | 72.3 ± 2.5 * |",
        "| wide | 63.0 ± 13.5 |",
        "| twin | 72.3 ± 2.5 * |",
        "| late | 92.0 ± 2.0 |"]
    result(tmp_path / "other", "toy-nli", [1, 2, 3])
    with pytest.raises(ValueError, match="short, other have no target in common"):
        report.rows_of_runs({name: report.read(tmp_path / name) for name in ("short", "other")})


def test_approaches_across(tmp_path):
    result(tmp_path, "toy-cb", [60, 62, 64], others={"finetune": [70, 72, 75]})
    result(tmp_path, "toy-ner", [60, 62, 64])
    runs = {"run": report.read(tmp_path, lambda whole: "finetune" in whole["scores"])}
    assert report.rows_of_targets(runs, ["prompt", "finetune"]) == [
        "| task | majority class | no prompt | prompt | finetune |", "|---|---|---|---|---|",
        "| toy-cb | 50.0 | 40.0 | 62.0 ± 2.0 | 72.3 ± 2.5 * |"]


def test_a_run_without_what_is_asked_is_named(tmp_path):
    result(tmp_path, "toy-cb", [60, 62, 64])
    with pytest.raises(ValueError, match="no run in it has what this table shows"):
        report.read(tmp_path, lambda whole: "finetune" in whole["scores"])
    with pytest.raises(ValueError, match="wanted the --out of a run"):
        report.read(tmp_path / "toy-cb")


def test_the_command_compares_runs_and_writes_pages_again(tmp_path, monkeypatch, capsys):
    write(tmp_path / "run", trained(states.Home(tmp_path / "run")), SIMILAR)
    page, picture = (tmp_path / "run" / name / "report.html" for name in (
        "toy-cb", "toy-nli-to-toy-cb"))
    before = page.read_text(encoding="utf-8"), picture.read_text(encoding="utf-8")
    page.unlink(), picture.unlink()

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, words)])
        report.main()
        return capsys.readouterr().out

    command(tmp_path / "run")
    assert (page.read_text(encoding="utf-8"), picture.read_text(encoding="utf-8")) == before
    result(tmp_path / "a", "toy-cb", [60, 62, 64])
    result(tmp_path / "b", "toy-cb", [70, 72, 75])
    assert "| b | 72.3 ± 2.5 * |" in command(tmp_path / "a", tmp_path / "b")
    assert "<td>72.3 ± 2.5 *</td>" in (tmp_path / "a" / "compared.html").read_text()
    assert "| toy-cb | 50.0 | 40.0 | 62.0 ± 2.0 |" in command(tmp_path / "a", "--columns", "prompt")
    with pytest.raises(ValueError, match="pot and panda have a source"):
        command(tmp_path / "a", "--columns", "prompt,panda_states")


def test_examples_in_the_docstrings():
    result = doctest.testmod(report)
    assert result.attempted > 0 and result.failed == 0


# ------------------------------------------------------------------ on a terminal


def pass_of_two(done=1):
    """(work, state) of a pass of two seeds of prompt at a step of four."""
    runs = [types.SimpleNamespace(name="prompt", seed=seed) for seed in (0, 1)]
    t5 = types.SimpleNamespace(config=types.SimpleNamespace(vocab_size=100))
    work = types.SimpleNamespace(title="toy-cb prompts", runs=runs, t5=t5, decided=[], lead=[0, 1],
                                 bank=prompt.PromptBank(torch.ones(2, 3, 3)),
                                 rates=lambda step: [0.3, 0.3])
    return work, {"step": done, "terms": [[[done, 0.5, 0.0, None]]] * 2,
                  "curves": [[[done, 70.0 + n]] for n in (0, 1)]}


def test_a_terminal_has_one_moving_line_and_a_pipe_a_line_for_each(tmp_path, capsys, monkeypatch):
    home = states.Home(tmp_path)
    for terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        for done in (2, 4):
            work, state = pass_of_two(done)
            report.progress(home, work, state, 4, [0, 1], [0, 1], 100.0)
    moved, lines = capsys.readouterr().out.split("\n", 1)
    assert moved == ("\r\033[Ktoy-cb prompts: 50 %, best dev 71.0, all done in ?"
                     "\r\033[Ktoy-cb prompts: 100 %, best dev 71.0, all done in ?")
    assert lines.count("\n") == 4 and "\r" not in lines and "\033" not in lines
    assert "toy-cb prompts: step 2/4 50%" in lines


def test_quiet_says_nothing_on_the_way_but_logs_it(tmp_path, capsys):
    work, state = pass_of_two(4)
    report.progress(states.Home(tmp_path, quiet=True), work, state, 4, [0, 1], [0, 1], 100.0)
    assert capsys.readouterr().out == "" and len((tmp_path / "log.jsonl").read_text()) > 50


@pytest.mark.beside
def test_a_reader_that_leaves_gets_no_traceback(tmp_path):
    done = subprocess.run(f"{sys.executable} data.py | head -1", shell=True, text=True,
                          capture_output=True, cwd=Path(report.__file__).parent.parent)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1

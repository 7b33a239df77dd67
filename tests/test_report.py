"""The report: its table and sentence, what each pair's results.json holds, where it all lies.

    python -m pytest tests/test_report.py

Oracle: the report of invented scores, written out by hand.
"""

import doctest
import json
import math
import types

import pytest

from plumbing import report, states
from train import Result

# Three seeds of a target with two sources.
SCORES = {"prompt": [60, 62, 64], "pot toy-nli": [70, 72, 75], "pot toy-sst2": [50, 52, 53],
          "prompt_2x": [60, 63, 64], "panda toy-nli": [50, 62, 77], "panda toy-sst2": [61, 61, 61],
          "panda_self": [60, 62, 64]}
SIMILAR = {"toy-nli": [{"panda": 0.9, "on": 0.2}, {"panda": 0.8, "on": 0.2},
                       {"panda": 0.7, "on": 0.5}],
           "toy-sst2": [{"panda": -0.1, "on": 0.1}] * 3}
FACTS = {"model": "toy/t5", "fingerprint": "f", "target": "toy-cb", "metric": "accuracy",
         "seeds": [0, 1, 2], "majority": 33.0, "promptless": 41.75, "similarity": SIMILAR,
         "config": {"length": 10, "init": "vocabulary", "steps": 100, "metric": "panda",
                    "dtype": "fp32"}}


def results(scores, trained=1280, memory=20484, folder=None):
    return [Result(score, [[50, score - 1], [100, score]], 1.5, trained, memory, folder)
            for score in scores]


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
        "| approach | source | accuracy, mean ± sd | each seed | seconds (share of the pass) | "
        "similarity |", "|---|---|---|---|---|---|",
        "| prompt | – | 62.0 ± 2.0 | 60.0, 62.0, 64.0 | 1.5 |  |",
        "| pot | toy-nli | 72.3 ± 2.5 | 70.0, 72.0, 75.0 | 1.5 | +0.80 |",
        "| panda | toy-nli | 63.0 ± 13.5 | 50.0, 62.0, 77.0 | 1.5 | +0.80 |"]


def test_the_similarity_in_the_table_is_the_one_that_weighed():
    config = FACTS["config"] | {"metric": "on"}
    rows = [line for line in report.table(whole(config=config)) if line.startswith("| panda |")]
    assert [row.split("|")[-2].strip() for row in rows] == ["+0.30", "+0.10"]


def test_the_sentence_says_what_was_found_whichever_way_it_went():
    # Gains over (60, 62, 64): +10 +10 +11; -10 -10 -11; 0 +1 0; -10 0 +13; +1 -1 -3; 0 0 0.
    assert report.sentence(SCORES) == (
        "Against plain prompt tuning (62.0), seed by seed: "
        "pot from toy-nli +10.3 ± 0.6, ahead in 3 of 3 seeds; "
        "pot from toy-sst2 -10.3 ± 0.6, ahead in 0 of 3 seeds; "
        "prompt_2x +0.3 ± 0.6, ahead in 1 of 3 seeds, level in 2 (may be chance); "
        "panda from toy-nli +1.0 ± 11.5, ahead in 1 of 3 seeds, level in 1 (may be chance); "
        "panda from toy-sst2 -1.0 ± 2.0, ahead in 1 of 3 seeds (may be chance); "
        "panda_self +0.0 ± 0.0, ahead in 0 of 3 seeds, level in 3 (may be chance).")


def test_one_seed_has_no_spread_and_says_so():
    one = {name: scores[:1] for name, scores in SCORES.items()}
    assert "pot from toy-nli +10.0 ± ?, ahead in 1 of 1 seeds (may be chance);" in (
        report.sentence(one))
    assert "| prompt | – | 60.0 ± ? | 60.0 |" in "\n".join(report.table(whole(scores=one)))


def test_two_standard_errors_are_not_enough_for_three_seeds():
    # +10, +10 and 0 mean 6.7 with deviation 5.8: two standard errors are passed
    # (2 * 5.8 / sqrt(3) = 6.7), but with three seeds it takes 4.30 of them.
    assert "pot from toy-nli +6.7 ± 5.8, ahead in 2 of 3 seeds, level in 1 (may be chance)." in (
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


# ------------------------------------------------------------------- results.json


def test_the_results_of_a_pair_are_its_part_of_the_whole():
    steps = {name: 100 * (1 + (name == "prompt_2x")) for name in SCORES}
    pair = report.of_pair(whole(steps=steps), "toy-nli")
    assert pair["source"] == "toy-nli" and pair["target"] == "toy-cb"
    assert pair["scores"] == {
        "prompt": [60, 62, 64], "pot": [70, 72, 75], "prompt_2x": [60, 63, 64],
        "panda": [50, 62, 77], "panda_self": [60, 62, 64]}
    assert set(pair["curves"]) == set(pair["seconds"]) == set(pair["cost"]) == set(pair["scores"])
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
    ("prompt_2x", "toy-cb/prompts/prompt_2x-7"), ("panda_self", "toy-cb/prompts/panda_self-7")])
def test_where_what_was_trained_lies_for_people(name, place):
    assert report.place_of(name, "toy-cb", 7) == place


def trained(home):
    """Results whose folders hold a file that says whose they are."""
    made = {}
    for name, scores in SCORES.items():
        made[name] = []
        for seed, score in enumerate(scores):
            folder = home.out / "trained" / f"{name} {seed}".replace(" ", "_")
            states.write_json(folder / "prompt.json", f"{name} {seed}")
            made[name] += results([score], folder=folder)
    return made


def test_everything_that_is_written(tmp_path, capsys):
    home = states.Home(tmp_path)
    report.write(home, trained(home), FACTS)
    said = capsys.readouterr().out
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")
               if path.is_file() and "trained" not in path.parts}
    assert written == {
        *(f"prompts/toy-cb-{seed}/prompt.json" for seed in range(3)),
        *(f"toy-cb/prompts/{name}-{seed}/prompt.json" for name in ("prompt_2x", "panda_self")
          for seed in range(3)),
        *(f"{source}-to-toy-cb/{file}" for source in SIMILAR for file in (
            "results.json", "report.md", *(f"prompts/{name}-{seed}/prompt.json"
                                           for name in ("pot", "panda") for seed in range(3)))),
        "toy-cb/report.md", "toy-cb/results.json"}
    there = tmp_path / "toy-sst2-to-toy-cb" / "prompts" / "pot-2" / "prompt.json"
    assert json.loads(there.read_text()) == "pot toy-sst2 2"
    kept = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    assert kept["scores"]["pot"] == [70, 72, 75] and kept["steps"]["prompt_2x"] == 200
    assert kept["similarity"]["panda"] == pytest.approx(0.8)
    pair = (tmp_path / "toy-nli-to-toy-cb" / "report.md").read_text().splitlines()
    assert pair[:4] == ["# toy-nli to toy-cb", "", "model toy/t5", ""]
    assert any(line.startswith("| pot | toy-nli |") for line in pair)
    assert not any("toy-sst2" in line for line in pair)
    assert pair[-1] == ("Recipe: length 10, init vocabulary, steps 100, metric panda, dtype fp32")
    # The whole of the target: both sources, and the same on the screen.
    both = (tmp_path / "toy-cb" / "report.md").read_text().splitlines()
    assert both[0] == "# toy-cb" and all(line in said for line in both[4:-1])
    assert f"written to {tmp_path}/toy-nli-to-toy-cb, {tmp_path}/toy-sst2-to-toy-cb" in said


def test_without_a_source_all_of_it_is_in_the_targets_folder(tmp_path):
    home = states.Home(tmp_path)
    mine = {name: made for name, made in trained(home).items() if " " not in name}
    report.write(home, mine, FACTS | {"similarity": {}})
    kept = json.loads((tmp_path / "toy-cb" / "results.json").read_text())
    assert set(kept["scores"]) == {"prompt", "prompt_2x", "panda_self"} and kept["source"] == ""
    assert (tmp_path / "toy-cb" / "report.md").exists()


# ------------------------------------------------------------------ on the way there


def test_a_line_for_the_first_step_and_one_for_each_evaluation(tmp_path, capsys, monkeypatch):
    home = states.Home(tmp_path)
    home.begun, home.planned, home.done = 1000.0, 300, 100
    monkeypatch.setattr(states.time, "time", lambda: 1030.0)
    runs = [types.SimpleNamespace(name=name, seed=seed) for name, seed in (
        ("prompt", 0), ("pot toy-nli", 1))]
    work = types.SimpleNamespace(
        runs=runs, title="toy-cb prompts", decided=[{"seed": 0}, {"seed": 1}],
        rates=lambda step: [0.3 / (step + 1)] * 2,
        t5=types.SimpleNamespace(config=types.SimpleNamespace(vocab_size=384)))

    def progress(step, live, due, ce, kd):
        curves = [[[step, 60.0]], [[step, 70.0]]]
        report.progress(home, work, {"step": step, "curves": curves}, 4, live, due, ce, kd, 1000.0)
        return capsys.readouterr().out

    # ln 384 = 5.95
    assert progress(1, [0, 1], [], [2.0, 3.0], [0.0, 0.0]) == (
        "toy-cb prompts: runs 2, CE 2.500 at first; a uniform guess costs 5.95\n")
    assert progress(2, [0, 1], [], [2.0, 3.0], [0.0, 0.0]) == ""
    assert not (tmp_path / "log.jsonl").exists()
    # The mean of those that took the step; only the second one is scored.
    assert progress(3, [1], [1], [0.0, 1.0], [0.0, 0.5]) == (
        "toy-cb prompts: step 3/4 75% CE 1.000 KD 0.500 dev 70.0 lr 0.1 runs 1 1000 tok/s "
        "ETA 1:00\n")
    [line] = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "time": 1030, "pass": "toy-cb prompts", "key": states.key_of(work.decided), "step": 3,
        "ce": {"pot toy-nli seed 1": 1.0},
        "kd": {"pot toy-nli seed 1": 0.5}, "dev": {"pot toy-nli seed 1": 70.0},
        "tokens_per_second": 1000.0}
    assert round(math.log(384), 2) == 5.95


def test_a_target_is_opened_with_what_it_takes_to_beat(capsys):
    task = types.SimpleNamespace(name="toy-cb", train=[0] * 24, choose=[0, 1], report=[2, 3, 4],
                                 majority=33.333)
    report.opening(task, 41.75)
    assert capsys.readouterr().out == (
        "target toy-cb: 24 training examples, 2 dev examples to choose by, 3 to report; majority "
        "class 33.3, T5 without a prompt 41.8\n")
    task.report = task.choose
    report.opening(task, 41.75)
    assert "2 dev examples to choose by, 2 to report, the same;" in capsys.readouterr().out


def test_examples_in_the_docstrings():
    assert doctest.testmod(report).failed == 0  # it has none yet

"""The studies behind the documents: experiments/search.py, study.py and pictures.py.

    python -m pytest tests/plumbing/test_experiments.py

Oracle: small numbers worked by hand, and the scores in the prompt.json files that training wrote.
"""

from types import SimpleNamespace

import pytest
import torch

import model
import train
from experiments import pictures, search, study
from plumbing.files import copy_files, read_json
from plumbing.stats import differences, plus_minus
from toy import world


@pytest.fixture
def flags(tmp_path, monkeypatch):
    """The flags of a short trial on a tiny T5."""
    t5 = model.initialise(model.Config(384, 16, 8, 8, 1, 1, num_heads=2))
    with torch.no_grad():
        for weight in t5.encoder.parameters():
            weight.mul_(10)  # so that prompts differ in their scores
    model.save(t5, tmp_path)
    copy_files(world.MODEL, tmp_path, ["spiece.model"])
    monkeypatch.setattr(world, "SIZES", dict.fromkeys(world.SIZES, (40, 40)))
    return (f"--model {tmp_path} --out {tmp_path}/runs --length 2 --batch 4 --steps 2 --evals 1 "
            "--lr 9 --source-steps 2 --held-out 0.6 --device cpu --seeds").split()


def test_search_tries_every_setting_once_and_sorts(flags, monkeypatch, capsys):
    monkeypatch.setattr(search, "RATES", {("adamw", "cosine"): (0.1, 3.0)})
    argv = [*flags, "1", "--target", "toy-reviews,toy-cb"]
    search.main(argv)
    printed = capsys.readouterr().out
    _, prompts, tuning = printed.split("## ")
    rows = [line.split("|") for line in prompts.splitlines() if line.startswith("| adamw")]
    assert len(rows) == 2 + 1 and tuning.count("\n| 0.0") == 4 + 1
    means = [float(row[5]) for row in rows]
    assert means == sorted(means, reverse=True) and means[0] > means[-1]
    assert means[0] == pytest.approx((float(rows[0][6]) + float(rows[0][7])) / 2, abs=0.11)
    monkeypatch.delattr(train, "train")  # all is trained
    search.main(argv)
    assert capsys.readouterr().out == printed


def test_the_winner_leads_by_seed_and_may_be_at_the_end_of_its_rates():
    trials = [search.Trial({"lr": lr, "schedule": schedule}, {"a": [50.0, 60.0], "b": scores})
              for lr, schedule, scores in [(1.0, "cosine", [70.0, 70.0]), (0.3, "cosine", [60, 72]),
                                           (0.1, "cosine", [0, 0]), (3.0, "constant", [0, 0])]]
    # Means by seed: 60, 65 and 55, 66. So the lead is +5 and -1.
    assert search.verdict(trials, "lr") == [
        'Winner: `{"lr": 1.0, "schedule": "cosine"}`, +2.0 ± 4.2 over the next.',
        "Its lr, 1, is the end of those tried: look further."]
    assert len(search.verdict([trials[1], trials[0], trials[2]], "lr")) == 1


def test_study_prints_the_scores_that_training_wrote(flags, tmp_path, monkeypatch, capsys):
    for name, values in {"LABELS": (8, 0), "STEPS": (2,), "FEW": 8, "LAMBDAS": (1.0,),
                         "TEMPERATURES": {"kl": (2.0,)}}.items():
        monkeypatch.setattr(study, name, values)
    argv = [*flags, "2", "--target", "toy-cb,toy-reviews", "--source", "toy-nli,toy-sst2"]
    study.main(argv)
    printed = capsys.readouterr().out
    assert printed.count("## ") == len(study.CLAIMS)
    monkeypatch.delattr(train, "train")  # all is trained
    study.main(argv)
    assert capsys.readouterr().out == printed

    scores = {}
    for path in (tmp_path / "runs/trained").glob("toy-cb-80?-*/prompt.json"):
        run = read_json(path)
        if run["recipe"]["labelled"] == 0:
            scores[run["approach"], run["source"], run["seed"]] = run["score"]
    plain, pot = [[scores[(*run, seed)] for seed in (800, 801)]
                  for run in [("prompt", ""), ("pot", "toy-nli")]]
    rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    row = next(row for row in rows if row[1:3] == ["pot", "prompt"])  # of the first claim
    assert row[3] == plus_minus(differences(pot, plain), "+") and pot != plain
    with pytest.raises(ValueError, match="--source lacks toy-nli, which is related to toy-cb"):
        study.main([*flags, "1", "--source", "toy-cola"])


def test_the_sources_are_ranked_at_the_first_checkpoint_and_at_the_end(monkeypatch):
    """By similarities of 3, 2 and 1: first the scores are in the same order, then in the other."""
    def pair(of_study, name, source, wanted):
        first = {"a": 3.0, "b": 2.0, "c": 1.0}[source]
        result = SimpleNamespace(curve=[(1, first), (2, 0.0)], score=-first)
        return SimpleNamespace(results={"pot": [result]}, measures=[{"on": first}])

    monkeypatch.setattr(study, "Pair", pair)
    monkeypatch.setattr(study.transferability, "MEASURES", {"on": None})
    lines = study.ranking(SimpleNamespace(sources=["a", "b", "c"], targets=["t"]))
    assert [line.split("|")[2:4] for line in lines[-2:]] == [
        [" at the first checkpoint ", " +1.00 "], [" at the end              ", " −1.00 "]]
    assert study.p_value([1.0, 1.1]) == 1.0  # two seeds show nothing


def test_lambda_is_chosen_on_seeds_of_their_own(monkeypatch):
    seeds = []
    monkeypatch.setattr(study.Study, "related", lambda self, wanted, **changes: (
        seeds.append(list(self.seeds)) or [SimpleNamespace(gains=lambda approach: [1.0])]))
    ctx = SimpleNamespace(recipe=SimpleNamespace(kd="mse"))
    study.tuning(study.Study(ctx, [], ["toy-cb"], range(800, 810)))
    assert seeds == 4 * [[300, 301, 302]]


def test_few_labels_are_all_that_claim_h_changes(monkeypatch):
    monkeypatch.setattr(study, "against_controls", lambda of_study, **changes: changes)
    assert (study.related(None), study.few_labels(None)) == ({}, {"labelled": study.FEW})


def test_without_a_teacher_all_of_the_probability_is_on_the_right_label():
    teachers = SimpleNamespace(labels=torch.tensor([[5, 1, 0], [5, 6, 1]]))
    for targets, scores in [([[5, 6, 1], [5, 1, 0]], [[[-30, 0]], [[0, -30]]]),
                            ([[5, 1]], [[[0, -30]]])]:  # all rows have the shorter label
        batch = SimpleNamespace(targets=torch.tensor(targets))
        assert [row.tolist() for row in study.right_label(teachers, batch, None)] == scores


def test_learning_curves_leave_out_the_controls(tmp_path):
    runs = [{"approach": approach, "source": source, "curves": [[[1, 50.0], [2, 60.0]]]}
            for approach, source in [("prompt", ""), ("prompt_2x", ""), ("pot", "toy-nli")]]
    pictures.learning({"target": "toy-cb", "metric": "accuracy", "runs": runs}, tmp_path)
    words = (tmp_path / "learning-dark.svg").read_text()
    assert "from toy-nli" in words and "prompt_2x" not in words and "var(" not in words

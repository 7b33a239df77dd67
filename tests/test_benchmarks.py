"""What a cost is measured on, and how results are put side by side.

    python -m pytest tests/test_benchmarks.py

Oracle: the work that each case must do, counted; tables of scores written by hand.
"""

import json
import os
import sys

import pytest
import torch

import train

sys.path.insert(0, str(train.HERE / "benchmarks"))
import cost
import table


@pytest.fixture
def bench(tmp_path):
    return cost.Bench(cost.parse_arguments("--prompts 3 --length 2 --batch 4 --steps 2 --examples 6".split()),
                      str(tmp_path))


def test_the_cases_do_the_same_work_together_and_apart(bench, monkeypatch):
    rows, whole = [], bench.setting.t5.encode
    monkeypatch.setattr(bench.setting.t5, "encode", lambda embedded, mask: (
        rows.append((len(embedded), embedded.shape[1] > 2 and embedded.requires_grad)), whole(embedded, mask))[1])

    def seen(what, case):
        rows.clear()
        bench.run(what, case)
        return [size for size, _ in rows], {learns for _, learns in rows}

    # Two steps of four examples; three prompts in one pass are one batch of twelve.
    assert seen("train", "one") == ([4, 4], {True})
    assert seen("train", "together") == ([12, 12], {True})
    assert seen("train", "apart") == ([4, 4] * 3, {True})
    # Six examples in batches of four, each of them once for every prompt.
    assert seen("answer", "one") == ([4, 2], {False})
    assert seen("answer", "together") == ([12, 6], {False})
    assert seen("answer", "apart") == ([4, 2] * 3, {False})


def test_model_tuning_leaves_the_model_as_it_was(bench):
    before = {name: weight.clone() for name, weight in bench.setting.t5.state_dict().items()}
    bench.run("train", "tuning")
    assert all(torch.equal(weight, before[name]) for name, weight in bench.setting.t5.state_dict().items())


def test_stored_bytes_are_those_of_the_files(bench, tmp_path):
    prompts, weights = cost.stored(bench, tmp_path)
    count = sum(p.numel() for p in bench.setting.t5.parameters())
    assert 4 * 2 * 128 < prompts < 4 * 2 * 128 + 2000  # the numbers, and what made them
    assert 4 * count < weights < 4 * count + 20000


def result(folder, target, scores, source="", **more):
    made = {"target": target, "source": source, "seeds": [0, 1, 2], "scores": scores, "ensemble": {},
            "elsewhere": {}, "majority": 50.0, "promptless": 40.0} | more
    file = folder / f"{source}-to-{target}" / "results.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(made))
    made_before = list(folder.glob("*/results.json"))
    os.utime(file, (len(made_before), len(made_before)))


def test_runs_side_by_side_with_a_star_for_what_is_not_chance(tmp_path):
    result(tmp_path / "short", "toy-cb", {"prompt": [60, 62, 64]})
    result(tmp_path / "short", "toy-ner", {"prompt": [90, 90, 90]})
    result(tmp_path / "long", "toy-cb", {"prompt": [70, 72, 75]})  # +10, +10, +11
    result(tmp_path / "wide", "toy-cb", {"prompt": [50, 62, 77], "pot": [1, 2, 3]})  # -10, 0, +13
    assert table.scores([tmp_path / name for name in ("short", "long", "wide")], ["prompt"]) == [
        "| run | toy-cb | toy-ner |",
        "|---|---|---|",
        "| short | 62.0 ± 2.0 | 90.0 ± 0.0 |",
        "| long | 72.3 ± 2.5 * |  |",
        "| wide | 63.0 ± 13.5 |  |"]
    with pytest.raises(ValueError, match="holds no results.json of a run"):
        table.scores([tmp_path], ["prompt"])


def test_votes_beside_the_members(tmp_path):
    result(tmp_path, "toy-cb", {"prompt": [60, 62, 64]}, ensemble={"majority": 63, "mean": 66})
    result(tmp_path, "toy-ner", {"prompt": [90, 90, 93]}, ensemble={"majority": 92})
    assert table.votes([tmp_path])[2:] == [
        "| toy-cb | 62.0 | 64.0 | 63.0 | 66.0 |",
        "| toy-ner | 91.0 | 93.0 | 92.0 |  |",
        "| mean | 76.5 | 78.5 | 77.5 |  |"]


def test_other_tasks_beside_the_own(tmp_path):
    there = {"majority": 51.0, "promptless": 41.0, "scores": {"prompt": [60, 60, 63], "finetune": [70, 71, 73]}}
    result(tmp_path, "toy-cb", {"prompt": [60, 62, 64], "finetune": [60, 62, 64]}, elsewhere={"toy-rte": there})
    assert table.elsewhere([tmp_path])[2:] == [
        "| toy-cb | itself | 50.0 | 40.0 | 62.0 ± 2.0 | 62.0 ± 2.0 | +0.0 ± 0.0, ahead in 0 of 3 seeds (may be chance) |",
        "| toy-cb | toy-rte | 51.0 | 41.0 | 61.0 ± 1.7 | 71.3 ± 1.5 | -10.3 ± 0.6, ahead in 0 of 3 seeds |"]


def test_sources_beside_none(tmp_path):
    for source, pot, near in (("toy-nli", [70, 72, 75], 0.9), ("toy-sst2", [50, 52, 53], 0.1)):
        result(tmp_path, "toy-cb", {"prompt": [60, 62, 64], "pot": pot}, source, similarity={"panda": near, "on": -near})
    assert table.transfer([tmp_path]) == [
        "| run | toy-cb |", "|---|---|", "| nothing | 62.0 ± 2.0 |", "| toy-nli | 72.3 ± 2.5 * |",
        "| toy-sst2 | 51.7 ± 1.5 * |", "", "toy-cb, Spearman over the sources: panda +1.00, on -1.00; "
        "panda of each: toy-nli +0.90, toy-sst2 +0.10"]

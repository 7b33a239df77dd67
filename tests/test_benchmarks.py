"""What a cost is measured on, and how a study's claims are put together.

    python -m pytest tests/test_benchmarks.py

Oracle: the work that each case must do, counted; claims worked out from the scores.
"""

import sys
import types
from pathlib import Path

import pytest
import torch

import prompt

sys.path.insert(0, str(Path(prompt.__file__).parent / "benchmarks"))
import cost
import verdicts
from plumbing import stats
from workbench import shop_in

pytestmark = pytest.mark.beside

@pytest.fixture
def bench(tmp_path):
    options = "--prompts 3 --length 2 --batch 4 --steps 2 --examples 6 --device cpu"
    return cost.Bench(cost.parse_arguments(options.split()), str(tmp_path))


def test_the_cases_do_the_same_work_together_and_apart(bench, monkeypatch):
    done, encode, step = [], bench.t5.encode, bench.scaler.step

    def encode_and_tell(embedded, mask):
        done.append(len(embedded))
        return encode(embedded, mask)

    def step_and_tell(optimizer):
        done.append("step")
        step(optimizer)

    monkeypatch.setattr(bench.t5, "encode", encode_and_tell)
    monkeypatch.setattr(bench.scaler, "step", step_and_tell)

    def seen(what, case):
        done.clear()
        assert bench.run(what, case) > 0
        return done

    # Two steps of four examples for each prompt; which of these share a pass their lengths say.
    assert seen("train", "one") == [4, "step"] * 2
    together = seen("train", "together")
    steps = [k for k, one in enumerate(together) if one == "step"]
    assert len(steps) == 2 and steps[1] == len(together) - 1
    assert sum(together[:steps[0]]) == sum(together[steps[0] + 1:-1]) == 3 * 4
    assert seen("train", "apart") == [4, "step"] * 6
    # Six examples in batches of four, each of them once for every prompt.
    assert seen("answer", "one") == [4, 2]
    assert seen("answer", "together") == [12, 6]
    assert seen("answer", "apart") == [4, 2] * 3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(),
                    reason="only Linux tells the resident memory so")
def test_the_peak_is_what_a_case_adds(bench, monkeypatch):
    # A case that takes 200 MB and gives them back.
    monkeypatch.setattr(bench, "run", lambda what, case: bytearray(200_000_000) and None)
    assert 190e6 < cost.peak(bench, "train", "one") < 250e6


def test_the_table_divides_by_what_was_done(bench, monkeypatch, capsys):
    # Six seconds for two steps, three for six examples; five prompts take four times as long.
    seconds = {("train", "one"): 6.0, ("train", "together"): 24.0, ("train", "apart"): 30.0,
               ("train", "tuning"): 9.0, ("answer", "one"): 3.0, ("answer", "together"): 12.0,
               ("answer", "apart"): 15.0}
    monkeypatch.setattr(cost.Bench, "run", lambda self, what, case: seconds[what, case])
    measured = types.SimpleNamespace(stdout="words\n7000000\n")
    monkeypatch.setattr(cost.subprocess, "run", lambda *_, **__: measured)
    options = "cost.py --prompts 5 --length 2 --steps 2 --examples 6 --rounds 2"
    monkeypatch.setattr(sys, "argv", options.split())
    cost.main()
    printed = capsys.readouterr().out
    assert "| 5 prompts together | 12000.00 | 4.00 (4.00 to 4.00) | 7 MB |" in printed  # ms a step
    assert "| model tuning | 4500.00 | 1.50 (1.50 to 1.50) | 7 MB |" in printed
    # … and an example
    assert "| 5 prompts together | 2000.00 | 4.00 (4.00 to 4.00) | 7 MB |" in printed
    assert "stored: 5 prompts " in printed


def test_model_tuning_leaves_the_model_as_it_was(bench):
    before = {name: weight.clone() for name, weight in bench.t5.state_dict().items()}
    bench.run("train", "tuning")
    after = bench.t5.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


def test_stored_bytes_are_those_of_the_files(bench, tmp_path):
    prompts, weights = cost.stored(bench, tmp_path)
    count = sum(p.numel() for p in bench.t5.parameters())
    assert 4 * 2 * 128 < prompts < 4 * 2 * 128 + 2000  # the numbers, and what made them
    assert 4 * count < weights < 4 * count + 20000


@pytest.fixture(scope="module")
def studied(few, tmp_path_factory):
    """A study of toy-cb, three seeds of two steps, from two sources."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "SEEDS", (400, 401, 402))
        patch.setattr(verdicts, "SOURCES", ["toy-nli", "toy-boolq", "toy-qqp"])
        shop = shop_in(tmp_path_factory.mktemp("verdicts"), "--steps", "2", "--evals", "1")
        for part in ("grid", "controls"):
            verdicts.PARTS[part](verdicts.Study(shop, "toy-cb"))
        verdicts.labels(verdicts.Study(shop, "toy-cb", labelled=16))
        yield shop


def test_every_claim_is_a_comparison_seed_by_seed(studied):
    study = verdicts.Study(studied, "toy-cb", page=True)
    for part in verdicts.PARTS.values():
        part(study)
    assert {"prompt", "prompt_3x", "normed", "scrambled", "pot toy-qqp", "panda toy-nli",
            "panda_states toy-boolq", "panda_self"} <= set(study.found)
    assert "pot_early" not in study.found  # which nobody has trained
    scores = {name: [r.score for r in found] for name, found in study.found.items()}
    [line] = [line for line in verdicts.verdicts([study]) if line.startswith("| pot O | prompt |")]
    mean = [sum(of) / 3 for of in zip(*(scores[f"pot {s}"] for s in verdicts.SOURCES))]
    gains = [score - base for score, base in zip(mean, scores["prompt"])]
    assert f"| {stats.plus_minus(gains, '+')}" in line
    assert f"| {stats.paired_p(gains):.4f} | " in line
    claims = [line for line in verdicts.verdicts([study]) if not line.startswith("|-")][1:]
    assert 10 < len(claims) < len(verdicts.CLAIMS)  # those of which both sides were trained


def test_its_controls_have_what_they_say(studied):
    study = verdicts.Study(studied, "toy-cb")
    source, made = study.sources["toy-nli"], {}
    study.learn = lambda *groups, **_: made.update({name: start for name, start, _ in groups})
    verdicts.controls(study)
    assert made["normed"](400).norm() == pytest.approx(source.norm().item(), rel=1e-5)
    assert torch.nn.functional.cosine_similarity(
        made["normed"](400).flatten(), study.fresh[400].flatten(), dim=0) == pytest.approx(1)
    scrambled = made["scrambled"](400)
    assert torch.equal(scrambled.flatten().sort().values, source.flatten().sort().values)
    assert not torch.equal(scrambled, source) and not torch.equal(scrambled, made["scrambled"](401))


def test_cells_of_few_labels(studied, monkeypatch):
    monkeypatch.setattr(verdicts, "STEPS", (2,))
    monkeypatch.setattr(verdicts, "LABELS", (16,))
    found = verdicts.cells(studied, ["toy-cb"])
    assert [cell[:4] for cell in found] == [
        ("toy-cb", 16, 2, ""), ("toy-cb", 0, 2, "")]  # with 4,000 more: not trained
    assert {len(each) for *_, mine in found for each in mine.values()} == {3}
    assert [line.split(" | ")[:4] for line in verdicts.few(found)[2:]] == [
        ["| toy-cb", "16", "2", ""], ["| toy-cb", "all", "2", ""]]

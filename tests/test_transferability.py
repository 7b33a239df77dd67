"""Measures of transfer on prompts of two vectors.

    python -m pytest tests/test_transferability.py
    T5_PROMPTS=folder python -m pytest tests/test_transferability.py    # real prompts too

Oracle: plane geometry, and the T5 asked in another way.
"""

import doctest
import json
import math
import os
from pathlib import Path

import numpy
import pytest
import torch

import model
import prompt
import transferability as tr
from plumbing import matrix
from plumbing.tokenizer import Tokenizer
from toy import world

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
SENTINEL = 39


def small(kind="relu", decoder_layers=2):
    return model.initialise(model.Config(40, 8, 4, 16, 2, decoder_layers, 2,
                                         feed_forward_proj=kind), seed=1).requires_grad_(False)


def probe(t5, ids=((5, 6, 1), (7, 1, 0)), answers=((8, 1), (9, 1)), source_ids=((11, 12, 1),)):
    return tr.Probe(t5, torch.tensor(ids), SENTINEL, torch.tensor(answers),
                    torch.tensor(source_ids))


def two_prompts():
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))


def test_e_avg_compares_the_means():
    # means (0.5, 0.5) and (1, 0): 45 degrees apart
    assert tr.e_avg(torch.tensor([RIGHT, UP]), torch.tensor([RIGHT, RIGHT])) == pytest.approx(
        math.sqrt(0.5))
    assert tr.e_avg(torch.tensor([RIGHT, UP]), torch.tensor([UP, RIGHT])) == pytest.approx(1)


def test_e_tok_averages_all_pairs():
    # right-right 1, right-up 0, up-right 0, up-up 1: also a prompt and itself give 1/2
    assert tr.e_tok(torch.tensor([RIGHT, UP]), torch.tensor([RIGHT, UP])) == pytest.approx(0.5)
    # lengths do not matter, only directions
    assert tr.e_tok(torch.tensor([[9.0, 0.0]]), torch.tensor([[-0.1, 0.0]])) == pytest.approx(-1)


def test_a_prompt_that_is_zero_is_like_nothing():
    nothing, something = torch.zeros(2, 2), torch.tensor([RIGHT, UP])
    assert tr.e_avg(nothing, something) == tr.e_tok(nothing, something) == 0


@pytest.mark.parametrize("kind", ["relu", "gated-gelu"])
def test_measures_that_ask_the_model(kind):
    t5, (a, b) = small(kind, decoder_layers=3), two_prompts()
    fired = tr.active_neurons(t5, a, SENTINEL)
    assert fired.shape == (3 * 16,)  # every decoder layer's feed-forward units
    assert set(fired.tolist()) == {0.0, 1.0}
    assert tr.on(a, a, probe(t5)) == pytest.approx(1)
    assert tr.on(a, b, probe(t5)) < 1
    assert not any(block.ff._forward_pre_hooks for block in t5.decoder.blocks)
    assert tr.panda(a, a, probe(t5)) == pytest.approx(1, abs=1e-5)
    assert tr.panda(a, b, probe(t5)) == pytest.approx(tr.panda(b, a, probe(t5)), abs=1e-5)


def test_overlap_of_neurons_by_hand(monkeypatch):
    # Two of the source's three neurons fire for the target too: 2 / sqrt(3 * 2)
    fired = {"source": [1.0, 1, 1, 0], "target": [1.0, 1, 0, 0]}
    monkeypatch.setattr(tr, "active_neurons", lambda t5, prompt, sentinel:
                        torch.tensor(fired[prompt]))
    assert tr.on("source", "target", probe(None)) == pytest.approx(2 / math.sqrt(6))


def test_the_neurons_are_asked_behind_the_prompt_and_a_sentinel_only(monkeypatch):
    t5, (a, _) = small(), two_prompts()
    seen, encode = [], t5.encode
    monkeypatch.setattr(t5, "encode", lambda embedded, mask: seen.append((embedded, mask))
                        or encode(embedded, mask))
    tr.active_neurons(t5, a, SENTINEL)
    [(embedded, mask)] = seen
    torch.testing.assert_close(embedded[0], torch.cat([a, t5.shared.weight[[SENTINEL]].detach()]))
    assert mask.all()


@pytest.mark.parametrize("kind, wi", [("relu", "wi"), ("gated-gelu", "wi_0")])
def test_the_neurons_are_those_of_each_block_of_a_gated_model_of_its_gate(kind, wi):
    """By what goes into each feed-forward, seen where it comes from; 0 does not fire."""
    t5, expected = small(kind, decoder_layers=3), []
    for block in t5.decoder.blocks:
        weight = getattr(block.ff, wi).weight
        weight[5] = 0
        block.ff_norm.register_forward_hook(lambda norm, x, out, weight=weight: expected.append(
            (weight @ out[0, 0] > 0).float()))
    fired = tr.active_neurons(t5, two_prompts()[0], SENTINEL)
    assert torch.equal(fired, torch.cat(expected)) and len({*map(tuple, fired.view(3, 16))}) == 3
    assert not fired.view(3, 16)[:, 5].any() and fired.any()


def test_hooks_are_gone_even_if_the_model_breaks(monkeypatch):
    t5 = small()
    monkeypatch.setattr(t5, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tr.active_neurons(t5, two_prompts()[0], SENTINEL)
    assert not any(block.ff._forward_pre_hooks for block in t5.decoder.blocks)


def test_panda_takes_away_what_the_model_makes_of_the_inputs_without_a_prompt(monkeypatch):
    # Three "task embeddings" in the plane: promptless (1, 1), source (2, 1), target (1, 2).
    # From (1, 1), the source lies to the right and the target above: a right angle.
    vectors = {"source": [2.0, 1.0], "target": [1.0, 2.0], None: [1.0, 1.0]}
    asked = []
    monkeypatch.setattr(tr, "task_embedding", lambda t5, prompt, ids, states: asked.append(ids)
                        or torch.tensor(vectors[prompt]))
    setting = probe(None)
    assert tr.panda("source", "target", setting) == pytest.approx(0)
    # Uncentred, from (0, 0): 2 * 1 + 1 * 2 over sqrt(5) * sqrt(5)
    assert tr.panda("source", "target", setting, centred=False) == pytest.approx(0.8)
    vectors["target"] = [3.0, 1.0]
    assert tr.panda("source", "target", setting) == pytest.approx(1)
    vectors["target"] = [0.0, 1.0]
    assert tr.panda("source", "target", setting) == pytest.approx(-1)
    assert all(ids is setting.ids for ids in asked)  # the same inputs behind all three


@pytest.mark.parametrize("inputs, behind_source, behind_target", [
    ("target", "ids", "ids"), ("source", "source_ids", "source_ids"), ("own", "source_ids", "ids")])
def test_whose_inputs_panda_reads(monkeypatch, inputs, behind_source, behind_target):
    # Each prompt, and the promptless model it is compared with, on the same inputs; that once
    asked, setting = [], probe(None)
    monkeypatch.setattr(tr, "task_embedding", lambda t5, prompt, ids, states:
                        asked.append((prompt, ids, states)) or torch.ones(2))
    tr.panda("source", "target", setting, inputs=inputs, states="encoder")
    wanted = [*dict.fromkeys([("source", behind_source), (None, behind_source),
                              ("target", behind_target), (None, behind_target)])]
    assert [prompt for prompt, _, _ in asked] == [prompt for prompt, _ in wanted]
    assert all(ids is getattr(setting, name) for (_, ids, _), (_, name) in zip(asked, wanted))
    assert {states for _, _, states in asked} == {"encoder"}


def test_panda_says_what_it_lacks():
    t5, (a, b) = small(), two_prompts()
    bare = tr.Probe(t5, torch.tensor([[5, 6, 1]]), SENTINEL)
    with pytest.raises(ValueError, match="inputs='own' reads the source's"):
        tr.panda(a, b, bare, inputs="own")
    with pytest.raises(ValueError, match="unknown inputs 'mine'"):
        tr.panda(a, b, bare, inputs="mine")
    with pytest.raises(ValueError, match="states 'both'"):
        tr.panda(a, b, bare, states="both")


def test_the_encoders_embedding_is_of_the_text_and_not_of_prompt_or_padding():
    t5, (a, _) = small(), two_prompts()
    both = tr.task_embedding(t5, a, torch.tensor([[5, 6, 1], [7, 1, 0]]), states="encoder")
    alone = []
    for ids in ([5, 6, 1], [7, 1]):
        embedded = torch.cat([a, t5.embed(torch.tensor(ids))])[None].detach()
        memory = t5.encode(embedded, torch.ones(embedded.shape[:2], dtype=torch.bool))
        alone.append(memory[0, 4:].mean(0).detach())  # after the prompt's four positions
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


# ----------------------------------------------------------------------------- zero_shot


def test_the_loss_of_the_answers_is_that_of_their_tokens():
    t5, (a, _) = small(), two_prompts()
    # Free text of two lengths: each alone, token by token, without padding
    ids, answers = torch.tensor([[5, 6, 1], [7, 1, 0]]), torch.tensor([[8, 9, 1], [10, 1, 0]])
    loss = 0.0
    for row, answer in (([5, 6, 1], [8, 9, 1]), ([7, 1], [10, 1])):
        embedded = torch.cat([a, t5.embed(torch.tensor(row))])[None].detach()
        mask = torch.ones(embedded.shape[:2], dtype=torch.bool)
        said = t5.decode(torch.tensor([[0, *answer[:-1]]]), t5.encode(embedded, mask), mask)[0]
        loss -= sum(said[at].log_softmax(0)[token].item() for at, token in enumerate(answer))
    assert tr.answer_loss(t5, a, ids, answers) == pytest.approx(loss, rel=1e-5)
    assert tr.answer_loss(t5, a, ids, answers, rows=1) == pytest.approx(loss, rel=1e-5)
    # Without a prompt it is what score_labels says of the only label
    mask = torch.ones(1, 3, dtype=torch.bool)
    alone = t5.score_labels(t5.encode(t5.embed(ids[:1]), mask), mask, answers[:1])
    assert tr.answer_loss(t5, None, ids[:1], answers[:1]) == pytest.approx(-alone.item(), rel=1e-5)


@pytest.mark.parametrize("prompted, number", [
    # Right answers had probability 1/16 and 1/4 without a prompt: 6 bits in all.
    ((1 / 2, 1 / 4), 1 / 2),  # behind this prompt 3 bits: half of the loss is gone
    ((1.0, 1.0), 1.0),
    ((1 / 4, 1 / 16), 0.0),  # one better, one worse, as many bits
    ((1 / 64, 1 / 8), -1 / 3),  # 9 bits, of which 3 came with the prompt
    ((2 ** -300, 2 ** -300), -0.99)])  # never below -1, and never the same twice
def test_zero_shot_is_the_share_of_the_promptless_loss_that_is_gone(monkeypatch, prompted, number):
    loss = {"source": -sum(map(math.log, prompted)), None: math.log(16) + math.log(4)}
    asked = []
    monkeypatch.setattr(tr, "answer_loss", lambda t5, prompt, ids, answers:
                        asked.append((ids, answers)) or loss[prompt])
    setting = probe(None)
    assert tr.zero_shot("source", None, setting) == pytest.approx(number)
    assert all(ids is setting.ids and answers is setting.answers for ids, answers in asked)
    loss["source"] = loss[None] = 0.0  # nothing was left to explain
    assert tr.zero_shot("source", None, probe(None)) == 0


def test_zero_shot_has_a_direction_and_needs_answers():
    t5, (a, b) = small(), two_prompts()
    assert tr.zero_shot(a, b, probe(t5)) != pytest.approx(tr.zero_shot(b, a, probe(t5)))
    with pytest.raises(ValueError, match="reads the answers"):
        tr.zero_shot(a, b, tr.Probe(t5, torch.tensor([[5, 1]]), SENTINEL))


def test_zero_shot_parts_the_related_from_the_unrelated():
    # toy-cb asks what toy-nli asks, of sentences in a passage; toy-sst2 asks something else.
    t5, tokenizer = model.load(world.MODEL), Tokenizer(world.MODEL / "spiece.model")
    pairs = world.examples("cb", 100, seed=0)
    ids, answers = (model.pad([tokenizer.encode(pair[k]) for pair in pairs]) for k in (0, 1))
    setting = tr.Probe(t5, ids, SENTINEL, answers)
    nli, sst2 = (prompt.load(world.PROMPTS / name)[0] for name in ("toy-nli-0", "toy-sst2-0"))
    assert tr.zero_shot(nli, None, setting) == pytest.approx(0.95, abs=0.03)
    assert tr.zero_shot(sst2, None, setting) == pytest.approx(-0.16, abs=0.05)


def test_what_t5_makes_without_a_prompt_is_computed_once_for_all_pairs(monkeypatch):
    t5, (a, b), asked, behind = small(), two_prompts(), [], tr.behind
    monkeypatch.setattr(tr, "behind", lambda t5, prompt, ids: asked.append(
        prompt is None) or behind(t5, prompt, ids))
    setting = probe(t5)
    first, second = tr.all_measures(a, b, setting), tr.all_measures(b, a, setting)
    assert sum(asked) == 2  # `panda`'s and `zero_shot`'s, not twice as many for each pair
    assert first == tr.all_measures(a, b, probe(t5)) and second == tr.all_measures(b, a, probe(t5))
    # Other inputs, other states: not what was kept of the first.
    other = [tr.panda(a, b, setting, "own", states) for states in ("encoder", "decoder")]
    assert other == [tr.panda(a, b, probe(t5), "own", states) for states in ("encoder", "decoder")]


# ----------------------------------------------------------------------------- the table


def test_centring_parts_the_unrelated():
    # The prompts of inference and of sentiment, in front of 100 inputs of a third task.
    t5, folder = model.load(world.MODEL), world.PROMPTS
    tokenizer = Tokenizer(world.MODEL / "spiece.model")
    pairs = world.examples("cb", 100, seed=0)
    ids = model.pad([tokenizer.encode(text) for text, _ in pairs])
    nli, sst2 = (prompt.load(folder / name)[0] for name in ("toy-nli-0", "toy-sst2-0"))
    uncentred = tr.cosine(tr.task_embedding(t5, nli, ids), tr.task_embedding(t5, sst2, ids))
    assert uncentred == pytest.approx(0.28, abs=0.03)
    assert tr.panda(nli, sst2, tr.Probe(t5, ids, 0)) == pytest.approx(-0.15, abs=0.03)


def test_task_embedding_is_the_mean_over_the_inputs_padded_or_not():
    t5, (prompt, _) = small(), two_prompts()
    inputs = torch.tensor([[5, 6, 1], [7, 1, 0]])
    both = tr.task_embedding(t5, prompt, inputs)
    alone = [tr.task_embedding(t5, prompt, torch.tensor([ids])) for ids in ([5, 6, 1], [7, 1])]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    torch.testing.assert_close(both, tr.task_embedding(t5, prompt, inputs, rows=1))
    # It is the state of which the first logits are made.
    embedded = torch.cat([prompt, t5.embed(torch.tensor([5, 6, 1]))])[None].detach()
    mask = torch.ones(1, 7, dtype=torch.bool)
    first = t5.decode(torch.tensor([[0]]), t5.encode(embedded, mask), mask)[0, 0]
    torch.testing.assert_close(t5.output(alone[0]), first)


def test_the_table_holds_every_measure_and_a_new_one_is_one_entry(monkeypatch):
    t5, (a, b) = small(), two_prompts()
    found = tr.all_measures(a, b, probe(t5))
    assert found == {"panda": tr.panda(a, b, probe(t5)), "on": tr.on(a, b, probe(t5)),
                     "e_avg": tr.e_avg(a, b), "e_tok": tr.e_tok(a, b),
                     "zero_shot": tr.zero_shot(a, b, probe(t5))}
    assert all(-1 <= number <= 1 for number in found.values())
    monkeypatch.setitem(tr.MEASURES, "first", lambda source, target, probe:
                        tr.cosine(source[0], target[0]))
    assert tr.all_measures(a, a, probe(t5))["first"] == pytest.approx(1)


# --------------------------------------------------------------------------- the command


def prompts_in(folder, **vectors):
    """.npy files of prompts of one vector each, by name."""
    for name, vector in vectors.items():
        numpy.save(folder / f"{name}.npy", numpy.array([vector]))
    return [str(folder / f"{name}.npy") for name in vectors]


# Angles of 0, 30, 60 and 90 degrees
FOUR = {"a": [1.0, 0.0], "b": [math.sqrt(3) / 2, 0.5], "c": [0.5, math.sqrt(3) / 2],
        "d": [0.0, 1.0]}


def test_the_command_prints_each_with_each(tmp_path, capsys):
    tr.main(prompts_in(tmp_path, **FOUR))
    assert capsys.readouterr().out.splitlines() == [
        "| e_avg, from | to a | to b | to c | to d |", "|---|---|---|---|---|",
        "| a | +1.00 | +0.87 | +0.50 | +0.00 |", "| b | +0.87 | +1.00 | +0.87 | +0.50 |",
        "| c | +0.50 | +0.87 | +1.00 | +0.87 |", "| d | +0.00 | +0.50 | +0.87 | +1.00 |"]


def test_the_command_judges_a_measure_by_the_order_it_gives(tmp_path, capsys):
    # To a from b, c, d: 30, 60, 90 degrees, and scores in that order; to d they are the other way
    # round. Of the six orders of three, two are as extreme: p 1/3, and by Holm twice that. The
    # scores of "random" and of a on its own task are not asked for.
    scores = tmp_path / "scores.json"
    found = {"a": {"a": 0, "b": 80, "c": 70, "d": 60, "random": 99},
             "d": {"a": 90, "b": 70.5, "c": 70}, "elsewhere": {"a": 1}, "b": {"a": 1, "c": 2}}
    for said in (found, {"note": "as published", "R": found}):
        scores.write_text(json.dumps(said))
        tr.main([*prompts_in(tmp_path, **FOUR), "--scores", str(scores), "--metric", "e_tok"])
        *_, a, d, _, mean = capsys.readouterr().out.splitlines()
        assert a == "| a | 3 | +1.00 | 0.3333 | 0.6667 |"
        assert d == "| d | 3 | -1.00 | 0.3333 | 0.6667 |"
        assert mean == "mean over 2 targets +0.000, p 1.0000 (10,000 draws)"


@pytest.mark.parametrize("scores, said", [
    ("[1, 2]", "wanted {target: {source: score}}"), ("{", r"--scores \S+scores.json: Expecting"),
    ('{"a": {"b": "good"}}', "wanted {target: {source: score}}"),
    ('{"A": {"b": 1, "c": 2, "d": 3}}', "the prompts are a, b, c, d, the targets A")])
def test_scores_that_cannot_be_used(tmp_path, scores, said):
    (tmp_path / "scores.json").write_text(scores)
    with pytest.raises(ValueError, match=said):
        tr.main([*prompts_in(tmp_path, **FOUR), "--scores", str(tmp_path / "scores.json")])
    with pytest.raises(ValueError, match="--scores none: .*No such file"):
        tr.main([*prompts_in(tmp_path, **FOUR), "--scores", "none"])


def test_prompts_that_do_not_stand_in_one_table(tmp_path):
    with pytest.raises(ValueError, match="several widths, so of several models: a 2, e 3"):
        tr.main(prompts_in(tmp_path, a=[1.0, 2.0], e=[1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="a second prompt of the name a"):
        tr.main(prompts_in(tmp_path, a=[1.0, 2.0]) * 2)
    with pytest.raises(ValueError, match="unknown metric 'panda': e_avg, e_tok"):
        tr.main(["a.npy", "--metric", "panda"])
    # A folder is called by its whole name, also with a point in it
    assert [*matrix.named([str(world.PROMPTS / "toy-nli-0")], tr.from_file)] == ["toy-nli-0"]
    (tmp_path / "lr-0.3").mkdir()
    assert [*matrix.named([tmp_path / "lr-0.3"], lambda path: torch.zeros(1, 2))] == ["lr-0.3"]


@pytest.mark.parametrize("metric, mean", [("e_avg", 0.484), ("e_tok", 0.431)])
def test_real_prompts_are_ranked_better_than_by_chance(capsys, metric, mean):
    # 17 published prompts of T5-small, and what each scored on the tasks of the others
    if not os.environ.get("T5_PROMPTS"):
        pytest.skip("set T5_PROMPTS to a folder of trained prompts, .pt files, with transfer.json: "
                    "{target: {source: score}}")
    folder = Path(os.environ["T5_PROMPTS"])
    tr.main([*map(str, sorted(folder.glob("*.pt"))), "--metric", metric,
             "--scores", str(folder / "transfer.json")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"mean over 17 targets {mean:+.3f}, p 0.0001 (10,000 draws)"


@pytest.mark.parametrize("module", [tr, matrix])
def test_examples_in_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0

"""Measures of transfer on prompts of two vectors.

    python -m pytest tests/test_transferability.py

Oracle: plane geometry, and the T5 asked in another way.
"""

import doctest
import math

import pytest
import torch

import model
import prompt
import transferability as tr
from plumbing.tokenizer import Tokenizer
from toy import world

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
SENTINEL = 39


def small(kind="relu", decoder_layers=2):
    return model.initialise(model.Config(40, 8, 4, 16, 2, decoder_layers, 2,
                                         feed_forward_proj=kind), seed=1)


def probe(t5, ids=((5, 6, 1), (7, 1, 0))):
    return tr.Probe(t5, torch.tensor(ids), SENTINEL)


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
    assert not any(block.ff._modules[name]._forward_hooks
                   for block in t5.decoder.blocks for name in block.ff._modules)
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


def test_neurons_of_a_gated_model_are_those_of_its_gate():
    t5 = small("gated-gelu", decoder_layers=3)
    for block in t5.decoder.blocks:
        torch.nn.init.zeros_(block.ff.wi_1.weight)
    assert tr.active_neurons(t5, two_prompts()[0], SENTINEL).sum() > 0


def test_hooks_are_gone_even_if_the_model_breaks(monkeypatch):
    t5 = small()
    monkeypatch.setattr(t5, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tr.active_neurons(t5, two_prompts()[0], SENTINEL)
    assert not any(block.ff.wi._forward_hooks for block in t5.decoder.blocks)


def test_panda_takes_away_what_the_model_makes_of_the_inputs_without_a_prompt(monkeypatch):
    # Three "task embeddings" in the plane: promptless (1, 1), source (2, 1), target (1, 2).
    # From (1, 1), the source lies to the right and the target above: a right angle.
    vectors = {"source": [2.0, 1.0], "target": [1.0, 2.0], None: [1.0, 1.0]}
    asked = []
    monkeypatch.setattr(tr, "task_embedding", lambda t5, prompt, ids: asked.append(ids)
                        or torch.tensor(vectors[prompt]))
    setting = probe(None)
    assert tr.panda("source", "target", setting) == pytest.approx(0)
    vectors["target"] = [3.0, 1.0]
    assert tr.panda("source", "target", setting) == pytest.approx(1)
    vectors["target"] = [0.0, 1.0]
    assert tr.panda("source", "target", setting) == pytest.approx(-1)
    assert all(ids is setting.ids for ids in asked)  # the same inputs behind all three


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
                     "e_avg": tr.e_avg(a, b), "e_tok": tr.e_tok(a, b)}
    assert all(-1 <= number <= 1 for number in found.values())
    monkeypatch.setitem(tr.MEASURES, "first", lambda source, target, probe:
                        tr.cosine(source[0], target[0]))
    assert tr.all_measures(a, a, probe(t5))["first"] == pytest.approx(1)


def test_a_measure_is_judged_by_the_order_it_gives():
    # What it predicts of four sources against what transfer from them gained: the same order.
    assert tr.spearman([0.1, 0.2, 0.6, 0.9], [-3.0, 0.5, 1.0, 20.0]) == pytest.approx(1)


def test_examples_in_the_docstrings():
    result = doctest.testmod(tr)
    assert result.attempted > 0 and result.failed == 0

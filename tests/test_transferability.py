"""Measures of transfer on prompts of two vectors.

    python -m pytest tests/test_transferability.py

Oracle: plane geometry, and Spearman's coefficient from its textbook formula.
"""

import doctest
import math

import pytest
import torch

import model
import transferability as tr

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]


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


@pytest.mark.parametrize("kind", ["relu", "gated-gelu"])
def test_measures_that_ask_the_model(kind):
    torch.manual_seed(0)
    t5 = model.initialise(model.Config(40, 8, 4, 16, 2, 3, 2, feed_forward_proj=kind), seed=1)
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    fired = tr.active_neurons(t5, a, sentinel=39)
    assert fired.shape == (3 * 16,)  # every decoder layer's feed-forward units
    assert set(fired.tolist()) == {0.0, 1.0}
    assert tr.on(a, a, t5, 39) == pytest.approx(1)
    assert tr.on(a, b, t5, 39) < 1
    assert not any(block.ff._modules["wo"]._forward_hooks or block.ff._modules[name]._forward_hooks
                   for block in t5.decoder.blocks for name in block.ff._modules)
    ids = torch.tensor([[5, 6, 1], [7, 1, 0]])
    assert tr.panda(a, a, t5, ids) == pytest.approx(1, abs=1e-5)
    assert tr.panda(a, b, t5, ids) == pytest.approx(tr.panda(b, a, t5, ids), abs=1e-5)


def test_panda_takes_away_what_the_model_makes_of_the_inputs_without_a_prompt(monkeypatch):
    # Three "task embeddings" in the plane: promptless (1, 1), source (2, 1), target (1, 2).
    # From (1, 1), the source lies to the right and the target above: a right angle.
    vectors = {"source": [2.0, 1.0], "target": [1.0, 2.0], None: [1.0, 1.0]}
    monkeypatch.setattr(tr, "task_embedding", lambda t5, prompt, ids: torch.tensor(vectors[prompt]))
    assert tr.panda("source", "target", None, None) == pytest.approx(0)
    vectors["target"] = [3.0, 1.0]
    assert tr.panda("source", "target", None, None) == pytest.approx(1)


def test_neurons_of_a_gated_model_are_those_of_its_gate():
    t5 = model.initialise(model.Config(40, 8, 4, 16, 2, 3, 2, feed_forward_proj="gated-gelu"), seed=1)
    for block in t5.decoder.blocks:
        torch.nn.init.zeros_(block.ff.wi_1.weight)
    assert tr.active_neurons(t5, torch.randn(4, 8), 39).sum() > 0


def test_task_embedding_is_the_mean_over_the_inputs_padded_or_not():
    torch.manual_seed(0)
    t5 = model.initialise(model.Config(40, 8, 4, 16, 2, 2, 2), seed=1)
    prompt = torch.randn(4, 8)
    both = tr.task_embedding(t5, prompt, torch.tensor([[5, 6, 1], [7, 1, 0]]))
    alone = [tr.task_embedding(t5, prompt, torch.tensor([ids])) for ids in ([5, 6, 1], [7, 1])]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    one_by_one = tr.task_embedding(t5, prompt, torch.tensor([[5, 6, 1], [7, 1, 0]]), rows=1)
    torch.testing.assert_close(both, one_by_one)


def test_spearman():
    # 1 - 6 * sum d^2 / (n (n^2 - 1)) with differences of rank (0, 1, 1): 1 - 12 / 24 = 0.5
    assert tr.spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert tr.spearman([1, 2, 3, 4], [-1, -2, -30, -400]) == pytest.approx(-1)
    # Ties share their mean rank: ranks (1, 2.5, 2.5) against (1, 2, 3) give 1.5 / sqrt(1.5 * 2)
    assert tr.spearman([1, 2, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert tr.spearman([1, 1, 1], [1, 2, 3]) == 0
    with pytest.raises(ValueError, match="3 values against 2"):
        tr.spearman([1, 2, 3], [1, 2])


def test_examples_in_the_docstrings():
    assert doctest.testmod(tr).failed == 0

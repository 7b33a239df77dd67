"""transferability.py: measures of transfer on prompts of two vectors, and the command.

    python -m pytest tests/test_transferability.py

Oracle: plane geometry, logarithms of simple fractions, and T5 asked row by row.
"""

import math

import numpy
import pytest
import torch

import model
import transferability as tr
from toy import world

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
SENTINEL = 39


def small_t5(kind="relu"):
    config = model.Config(40, 8, 4, 16, 2, 3, 2, feed_forward_proj=kind)
    return model.initialise(config, seed=1).requires_grad_(False)


def probe_of(t5):
    return tr.Probe(t5, SENTINEL, ids=torch.tensor([[5, 6, 1], [7, 1, 0]]),
                    answers=torch.tensor([[8, 1], [9, 1]]), source_ids=torch.tensor([[11, 12, 1]]))


def two_prompts():
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------- in the plane


def test_e_avg_compares_the_means():
    # The means (0.5, 0.5) and (1, 0) are 45 degrees apart.
    source, target = torch.tensor([RIGHT, UP]), torch.tensor([RIGHT, RIGHT])
    assert tr.e_avg(source, target) == pytest.approx(math.sqrt(0.5))
    assert tr.e_avg(source, source.flip(0)) == pytest.approx(1)


def test_e_tok_averages_all_pairs():
    # right-right 1, right-up 0, up-right 0, up-up 1: a prompt and itself need not give 1.
    source = torch.tensor([RIGHT, UP])
    assert tr.e_tok(source, source) == pytest.approx(0.5)
    # Only directions count, not lengths.
    assert tr.e_tok(torch.tensor([[9.0, 0.0]]), torch.tensor([[-0.1, 0.0]])) == pytest.approx(-1)
    nothing = torch.zeros(2, 2)
    assert tr.e_tok(nothing, source) == tr.e_avg(nothing, source) == 0


def test_on_is_the_overlap_of_active_neurons(monkeypatch):
    # Two of the source's three active neurons are active for the target too: 2 / sqrt(3 * 2).
    active = {"source": [1.0, 1, 1, 0], "target": [1.0, 1, 0, 0]}
    monkeypatch.setattr(
        tr, "active_neurons", lambda t5, prompt, sentinel: torch.tensor(active[prompt]))
    assert tr.on("source", "target", probe_of(None)) == pytest.approx(2 / math.sqrt(6))


def test_panda_takes_away_what_t5_makes_of_the_inputs_without_a_prompt(monkeypatch):
    # Task embeddings in the plane: without a prompt (1, 1), source (2, 1), target (1, 2). Seen
    # from (1, 1) the source lies to the right and the target above: a right angle.
    embeddings = {"source": [2.0, 1.0], "target": [1.0, 2.0], None: [1.0, 1.0]}
    monkeypatch.setattr(
        tr, "task_embedding", lambda t5, prompt, ids, states: torch.tensor(embeddings[prompt]))
    probe = probe_of(None)
    assert tr.panda("source", "target", probe) == pytest.approx(0)
    # Not centred, seen from (0, 0): (2 * 1 + 1 * 2) / (sqrt(5) * sqrt(5))
    assert tr.panda("source", "target", probe, centred=False) == pytest.approx(0.8)
    assert tr.MEASURES["panda_raw"]("source", "target", probe) == pytest.approx(0.8)
    embeddings["target"] = [0.0, 1.0]  # on the other side of (1, 1)
    assert tr.panda("source", "target", probe) == pytest.approx(-1)


@pytest.mark.parametrize("prompted, expected", [
    # Without a prompt the right answers had probabilities 1/16 and 1/4: 6 bits.
    ((1 / 2, 1 / 4), 1 / 2),  # 3 bits are left: half of the loss is gone
    ((1.0, 1.0), 1.0),
    ((1 / 4, 1 / 16), 0.0),  # one better, one worse, as many bits
    ((1 / 64, 1 / 8), -1 / 3),  # 9 bits, a third of which came with the prompt
    ((2 ** -300, 2 ** -300), -0.99)])  # never below -1
def test_zero_shot_is_the_share_of_the_loss_that_is_gone(monkeypatch, prompted, expected):
    losses = {"source": -sum(math.log(p) for p in prompted), None: math.log(16) + math.log(4)}
    monkeypatch.setattr(tr, "answer_loss", lambda t5, prompt, ids, answers: losses[prompt])
    assert tr.zero_shot("source", None, probe_of(None)) == pytest.approx(expected)
    assert tr.explained(0.0, 0.0) == 0  # nothing was left to explain


# ----------------------------------------------------------------- what T5 is asked


def test_panda_is_symmetric_with_a_diagonal_of_1_on_own_inputs():
    # The property of the similarity matrices in the paper's appendix. Swapping the prompts swaps
    # their inputs as well.
    t5 = small_t5()
    a, b = two_prompts()
    there = probe_of(t5)
    back = tr.Probe(t5, SENTINEL, ids=there.source_ids, source_ids=there.ids)
    assert abs(tr.panda(a, b, there)) < 0.999
    assert tr.panda(a, b, there) == pytest.approx(tr.panda(b, a, back), abs=1e-5)
    itself = tr.Probe(t5, SENTINEL, ids=there.ids, source_ids=there.ids)
    assert tr.panda(a, a, itself) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("inputs, of_source, of_target", [
    ("own", "source_ids", "ids"), ("target", "ids", "ids"), ("source", "source_ids", "source_ids")])
def test_whose_inputs_panda_reads(monkeypatch, inputs, of_source, of_target):
    probe = probe_of(None)
    read = []

    def task_embedding(t5, prompt, ids, states):
        read.append((prompt, ids, states))
        return torch.ones(2)

    monkeypatch.setattr(tr, "task_embedding", task_embedding)
    tr.panda("source", "target", probe, inputs=inputs, states="encoder")
    # Each prompt, and T5 without one, on the same inputs
    expected = [("source", of_source), (None, of_source), ("target", of_target), (None, of_target)]
    for (prompt, ids, states), (name, field) in zip(read, expected, strict=True):
        assert prompt == name and states == "encoder"
        assert ids is getattr(probe, field)


def test_a_measure_names_what_it_lacks():
    t5 = small_t5()
    a, b = two_prompts()
    bare = tr.Probe(t5, SENTINEL, torch.tensor([[5, 6, 1]]))
    with pytest.raises(ValueError, match="inputs='source' reads the source's inputs"):
        tr.panda(a, b, bare, inputs="source")
    with pytest.raises(ValueError, match="inputs='own' reads the source's inputs"):
        tr.panda(a, b, bare)
    with pytest.raises(ValueError, match="unknown inputs 'all'"):
        tr.panda(a, b, bare, inputs="all")
    with pytest.raises(ValueError, match="states 'both'"):
        tr.panda(a, b, bare, states="both")
    with pytest.raises(ValueError, match="zero_shot reads the answers"):
        tr.zero_shot(a, b, bare)


def alone(t5, prompt, ids):
    """Memory (1, P+S, D) and mask of one unpadded input behind a prompt."""
    embedded = torch.cat([prompt, t5.embed(torch.tensor(ids))])[None]
    mask = torch.ones(embedded.shape[:2])
    return t5.encode(embedded, mask), mask


@pytest.mark.parametrize("states", ["decoder", "encoder"])
def test_a_task_embedding_is_the_mean_over_inputs_padded_or_not(states):
    t5 = small_t5()
    a, _ = two_prompts()
    pooled = []
    for ids in ([5, 6, 1], [7, 1]):
        memory, mask = alone(t5, a, ids)
        if states == "encoder":
            pooled.append(memory[0, 4:].mean(0))  # of the text, behind the 4 prompt vectors
        else:
            pooled.append(t5.decode_hidden(torch.tensor([[0]]), memory, mask)[0, 0])
    expected = (pooled[0] + pooled[1]) / 2
    ids = torch.tensor([[5, 6, 1], [7, 1, 0]])
    torch.testing.assert_close(tr.task_embedding(t5, a, ids, states), expected)
    torch.testing.assert_close(tr.task_embedding(t5, a, ids, states, rows=1), expected)


def test_the_loss_of_the_answers_is_that_of_their_tokens():
    t5 = small_t5()
    a, _ = two_prompts()
    expected = 0.0
    for row, answer in (([5, 6, 1], [8, 9, 1]), ([7, 1], [10, 1])):
        memory, mask = alone(t5, a, row)
        logits = t5.decode(torch.tensor([[0, *answer[:-1]]]), memory, mask)[0]
        for at, token in enumerate(answer):
            expected -= logits[at].log_softmax(0)[token].item()
    ids = torch.tensor([[5, 6, 1], [7, 1, 0]])
    answers = torch.tensor([[8, 9, 1], [10, 1, 0]])
    assert tr.answer_loss(t5, a, ids, answers) == pytest.approx(expected, rel=1e-5)
    assert tr.answer_loss(t5, a, ids, answers, rows=1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind, wi", [("relu", "wi"), ("gated-gelu", "wi_0")])
def test_active_neurons_are_those_of_every_decoder_block(kind, wi):
    t5 = small_t5(kind)
    a, _ = two_prompts()
    expected = []
    for block in t5.decoder.blocks:
        weight = getattr(block.ff, wi).weight
        weight[5] = 0  # 0 is not active
        block.ff_norm.register_forward_hook(
            lambda norm, x, out, weight=weight: expected.append(weight @ out[0, 0] > 0))
    active = tr.active_neurons(t5, a, SENTINEL)
    assert torch.equal(active, torch.cat(expected).float())
    assert active.shape == (3 * 16,) and active.any()
    # The input is the prompt and the sentinel alone; and no hook is left.
    expected.clear()
    memory, mask = alone(t5, a, [SENTINEL])
    t5.decode_hidden(torch.tensor([[0]]), memory, mask)
    assert torch.equal(active, torch.cat(expected).float())
    assert not any(getattr(block.ff, wi)._forward_hooks for block in t5.decoder.blocks)


def test_a_new_measure_is_one_entry(monkeypatch):
    a, b = two_prompts()
    monkeypatch.setitem(tr.MEASURES, "first", lambda source, target, probe:
                        tr.cosine(source[0], target[0]))
    found = tr.all_measures(a, b, probe_of(small_t5()))
    assert found.keys() == tr.MEASURES.keys()
    assert all(-1 <= number <= 1 for number in found.values())
    assert found["e_avg"] == tr.e_avg(a, b)
    assert found["first"] == pytest.approx(tr.cosine(a[0], b[0]))


def test_related_tasks_are_told_from_unrelated_ones(toy_t5, tokenizer):
    # toy-cb asks what toy-nli asks, of a sentence in a passage; toy-sst2 asks something else.
    pairs = world.examples("cb", 50, seed=0)
    ids = model.pad(tokenizer.encode_all([text for text, _ in pairs]))
    answers = model.pad(tokenizer.encode_all([target for _, target in pairs]))
    probe = tr.Probe(toy_t5, tokenizer.sentinel(0), ids, answers, source_ids=ids)
    nli = tr.from_file(world.PROMPTS / "toy-nli-0")
    sst2 = tr.from_file(world.PROMPTS / "toy-sst2-0")
    assert tr.zero_shot(nli, None, probe) > 0.9
    assert tr.zero_shot(sst2, None, probe) < 0
    # Centring makes the unrelated pair less similar.
    assert tr.panda(nli, sst2, probe) < 0.1 < tr.panda(nli, sst2, probe, centred=False)


# ---------------------------------------------------------------------- the command


# Angles of 0, 30, 60 and 90 degrees
FOUR = {"a": [1.0, 0.0], "b": [math.sqrt(3) / 2, 0.5], "c": [0.5, math.sqrt(3) / 2],
        "d": [0.0, 1.0]}


def files_of(folder, prompts):
    """.npy files of prompts of one vector each."""
    paths = []
    for name, vector in prompts.items():
        path = folder / f"{name}.npy"
        numpy.save(path, numpy.array([vector]))
        paths.append(str(path))
    return paths


def test_the_command_compares_each_with_each(tmp_path, capsys):
    tr.main(files_of(tmp_path, FOUR))
    assert capsys.readouterr().out.splitlines() == [
        "| e_avg, from | to a | to b | to c | to d |", "|---|---|---|---|---|",
        "| a | +1.00 | +0.87 | +0.50 | +0.00 |", "| b | +0.87 | +1.00 | +0.87 | +0.50 |",
        "| c | +0.50 | +0.87 | +1.00 | +0.87 |", "| d | +0.00 | +0.50 | +0.87 | +1.00 |"]


def test_a_measure_is_judged_by_the_order_that_it_gives():
    """Of the sources b, c and d for a: by e_avg the nearest comes first, as in the scores."""
    vectors = {name: torch.tensor([vector]) for name, vector in FOUR.items()}
    values = [tr.e_avg(vectors[source], vectors["a"]) for source in "bcd"]
    assert tr.spearman(values, [80, 70, 60]) == pytest.approx(1)
    assert tr.spearman(values, [60, 70, 80]) == pytest.approx(-1)


def test_prompts_that_cannot_be_in_one_table(tmp_path):
    with pytest.raises(ValueError, match="several widths, so of several models: {'a': 2, 'e': 3}"):
        tr.main(files_of(tmp_path, {"a": [1.0, 2.0], "e": [1.0, 2.0, 3.0]}))
    with pytest.raises(ValueError, match="a second prompt with the name a"):
        tr.main(files_of(tmp_path, {"a": [1.0, 2.0]}) * 2)
    with pytest.raises(ValueError, match="unknown similarity 'panda': e_avg, e_tok"):
        tr.main(["a.npy", "--similarity", "panda"])

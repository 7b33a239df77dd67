"""The encoder without its padding.

    python -m pytest tests/test_packed.py

Oracle: the plain form, with its padding.
"""

import types

import pytest
import torch

import model
from plumbing import cores, packed
from toy import world

LENGTHS = [5, 40, 12, 40, 33, 7, 21, 9]


@pytest.fixture
def t5():
    return model.load(world.MODEL)


def rows(t5, lengths=LENGTHS):
    """Embedded rows (B, S, D) of these lengths, and their mask."""
    width, drawn = max(lengths), torch.Generator().manual_seed(0)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(3, 384, mask.shape, generator=drawn).masked_fill(~mask, model.PAD)
    return t5.embed(ids).requires_grad_(), mask


def both(t5, monkeypatch, embedded, mask):
    """(ours, plain) of the memory where there is something, of decoder states, of gradients."""
    found = []
    for pays in (packed.pays, lambda *_: False):
        monkeypatch.setattr(packed, "pays", pays)
        embedded.grad = None
        memory, states = t5(embedded, mask, torch.tensor([[0, 5, 9]]).expand(len(mask), -1))
        states.square().sum().backward()
        found.append((memory[mask].detach(), states.detach(), embedded.grad[mask]))
    return zip(*found)


def test_positions_are_gathered_and_scattered_again():
    # Two rows, a b and c: places 0, 1 and 2; the fourth is empty.
    x, there = torch.tensor([[1.0], [2.0], [3.0], [9.0]], requires_grad=True), torch.arange(3)
    gathered = packed.Gather.apply(x, there)
    assert gathered.tolist() == [[1], [2], [3]]
    scattered = packed.Scatter.apply(2 * gathered, torch.tensor([0, 1, 2, 0]), there)
    assert scattered[:3].tolist() == [[2], [4], [6]]
    (scattered * torch.tensor([[1.0], [10.0], [100.0], [0.0]])).sum().backward()
    assert x.grad.tolist() == [[2], [20], [200], [0]]


@pytest.mark.parametrize("longest", [40, model.SHORT + 30], ids=["short", "long"])
def test_it_is_the_plain_form_to_the_last_bit_if_positions_are_apart(longest, t5, monkeypatch):
    embedded, mask = rows(t5, [*LENGTHS, longest])
    assert packed.pays(t5, embedded, mask)
    for ours, plain in both(t5, monkeypatch, embedded, mask):
        if cores.apart(t5.config):
            assert torch.equal(ours, plain)
        else:
            torch.testing.assert_close(ours, plain)


def test_nothing_is_read_from_the_padding_nor_sent_to_it(t5):
    embedded, mask = rows(t5)
    with torch.no_grad():
        embedded[~mask] = float("nan")
    memory, states = t5(embedded, mask, torch.zeros(len(mask), 1, dtype=torch.long))
    states.sum().backward()
    assert memory.isfinite().all() and embedded.grad[mask].isfinite().all()
    assert not embedded.grad[~mask].any()


def test_it_is_for_frozen_weights_of_a_small_t5_and_for_much_padding(t5):
    embedded, mask = rows(t5)
    assert mask.numel() - mask.sum() == 153 > cores.overhead(t5) == 143
    assert packed.pays(t5, embedded, mask)
    assert not packed.pays(t5, *rows(t5, [20] * 12))
    assert not packed.pays(t5, embedded, mask & False)  # where nothing is, there is no matrix
    few = mask.clone()
    few[0, 5:15] = True  # ten positions more, 143 empty
    assert not packed.pays(t5, embedded, few)
    for name, value in (("dropout", 0.1), ("recompute", True)):
        setattr(t5, name, value)
        assert not packed.pays(t5, embedded, mask)
        setattr(t5, name, type(value)(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert not packed.pays(t5, embedded, mask)
    assert packed.pays(t5, embedded, mask)
    t5.encoder.blocks[2].ff.wi.weight.requires_grad_(True)
    assert not packed.pays(t5, embedded, mask)
    gpu = types.SimpleNamespace(device=torch.device("cuda"), config=t5.config, dropout=0.0)
    assert not packed.pays(gpu, None, None)  # which is not asked how much is empty: it would wait
    large = model.initialise(model.Config(400, 256, 8, 16, 1, 1, 2)).requires_grad_(False)
    assert not packed.pays(large, *rows(large))

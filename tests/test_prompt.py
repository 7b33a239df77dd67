"""The prompt bank, its starts and its files.

    python -m pytest tests/test_prompt.py

Oracle: numbers small enough to check by eye, and each prompt trained alone.
"""

import json

import pytest
import torch
from safetensors import safe_open

import model
import prompt

TINY = model.Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=2,
                    num_decoder_layers=2, num_heads=2)


def test_prepend_gives_each_row_its_own_prompt():
    # Two prompts of one vector each (N=2, P=1, D=2); two rows, the second one padded.
    bank = prompt.PromptBank([torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 2.0]])])
    embedded = torch.tensor([[[5.0, 6.0], [7.0, 8.0]], [[9.0, 9.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    rows, seen = bank.prepend(embedded, mask, torch.tensor([1, 0]))
    assert rows.tolist() == [[[2, 2], [5, 6], [7, 8]], [[1, 1], [9, 9], [0, 0]]]
    assert seen.tolist() == [[True, True, True], [True, True, False]]


def test_prompt_positions_come_first_and_padding_after_the_text_changes_nothing():
    # The prompt takes positions 0..P-1 and the text follows, so that columns of
    # padding on the right are as good as not there.
    t5 = model.initialise(TINY, seed=1)
    bank = prompt.PromptBank(torch.randn(1, 3, 8))
    ids = torch.tensor([[5, 6, 1]])
    wide = torch.tensor([[5, 6, 1, 0, 0, 0]])
    index = torch.tensor([0])
    with torch.no_grad():
        memory = t5.encode(*bank.prepend(t5.embed(ids), ids != 0, index))
        padded = t5.encode(*bank.prepend(t5.embed(wide), wide != 0, index))
    assert memory.shape == (1, 6, 8)
    torch.testing.assert_close(padded[:, :6], memory)


def test_shape_mistakes_are_named():
    bank = prompt.PromptBank(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="4 wide, the model 8"):
        bank.prepend(torch.zeros(1, 2, 8), torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="one per row"):
        bank.prepend(torch.zeros(2, 2, 4), torch.ones(2, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="one shape"):
        prompt.PromptBank([torch.zeros(2, 4), torch.zeros(3, 4)])


def prompt_gradients(prompts, index, ids, targets):
    """Each prompt's gradient of the sum of the prompts' own mean losses."""
    t5 = model.initialise(TINY, seed=1).requires_grad_(False)
    bank = prompt.PromptBank(prompts)
    embedded, seen = bank.prepend(t5.embed(ids), ids != 0, index)
    logits = t5.decode(model.shift_right(targets), t5.encode(embedded, seen), seen)
    losses = -model.target_log_probs(logits, targets)  # (B, T)
    sum(losses[index == n].sum() / (targets[index == n] != 0).sum()
        for n in range(len(prompts)) if (index == n).any()).backward()
    return [p.grad for p in bank.prompts]


def test_gradients_of_prompts_together_are_those_of_prompts_alone():
    prompts = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 6, 7, 1], [8, 1, 0, 0], [9, 4, 1, 0], [4, 5, 6, 1]])
    targets = torch.tensor([[7, 1], [8, 1], [9, 1], [1, 0]])
    index = torch.tensor([0, 1, 1, 0])
    together = prompt_gradients(prompts, index, ids, targets)
    for n in range(2):
        mine = index == n
        [alone] = prompt_gradients(prompts[n:n + 1], torch.zeros(2, dtype=torch.long),
                                   ids[mine], targets[mine])
        torch.testing.assert_close(together[n], alone, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------ initialisation


def test_uniform_start():
    start = prompt.initialise("uniform", torch.zeros(40, 8), length=100, seed=0)
    assert start.shape == (100, 8)
    assert -0.5 <= start.min() < -0.45 and 0.45 < start.max() <= 0.5
    assert torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=0))
    assert not torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=1))


def test_vocabulary_start_is_rows_of_the_commonest_pieces_without_replacement():
    embedding = torch.arange(6000.0)[:, None]  # row i holds the number i
    start = prompt.initialise("vocabulary", embedding, length=5000, seed=0)
    # ids 0, 1, 2 are pad, eos and unk; then come the 5,000 commonest pieces, each once
    assert sorted(start[:, 0].tolist()) == list(range(3, 5003))
    few = prompt.initialise("vocabulary", embedding, length=7, seed=0, pieces=10)
    assert sorted(few[:, 0].tolist()) == list(range(3, 10))
    with pytest.raises(ValueError, match="8 vectors cannot be drawn"):
        prompt.initialise("vocabulary", embedding, length=8, seed=0, pieces=10)


def test_label_start_is_the_mean_of_a_labels_pieces_then_vocabulary():
    embedding = torch.arange(20.0)[:, None]
    start = prompt.initialise("labels", embedding, length=4, seed=0, labels=[[4], [6, 8]])
    assert start[:2, 0].tolist() == [4, 7]  # "one piece" and the mean of two
    plain = prompt.initialise("vocabulary", embedding, length=4, seed=0)
    assert torch.equal(start[2:], plain[2:])
    with pytest.raises(ValueError, match="with labels"):
        prompt.initialise("labels", embedding, length=4, seed=0)
    with pytest.raises(ValueError, match="unknown initialisation 'zeros'"):
        prompt.initialise("zeros", embedding, length=4, seed=0)


# ------------------------------------------------------------------- on disk


def test_a_prompt_is_written_in_the_layout_of_peft(tmp_path):
    vectors = torch.randn(3, 8)
    prompt.save(tmp_path / "toy-cb-0", vectors, {"task": "toy-cb", "fingerprint": "abc"}, "toy/t5")
    adapter = json.loads((tmp_path / "toy-cb-0" / "adapter_config.json").read_text())
    assert adapter["peft_type"] == "PROMPT_TUNING" and adapter["task_type"] == "SEQ_2_SEQ_LM"
    assert (adapter["num_virtual_tokens"], adapter["token_dim"]) == (3, 8)
    with safe_open(tmp_path / "toy-cb-0" / "adapter_model.safetensors", "pt") as file:
        assert list(file.keys()) == ["prompt_embeddings"]
        assert torch.equal(file.get_tensor("prompt_embeddings"), vectors)
    read, made_by = prompt.load(tmp_path / "toy-cb-0", fingerprint="abc")
    assert torch.equal(read, vectors) and made_by["task"] == "toy-cb"
    # Written again, the folder is replaced, and nothing else is left lying about.
    prompt.save(tmp_path / "toy-cb-0", vectors + 1, {"fingerprint": "abc"})
    assert torch.equal(prompt.load(tmp_path / "toy-cb-0")[0], vectors + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["toy-cb-0"]


def test_a_prompt_of_another_model_is_refused_and_both_are_named(tmp_path):
    prompt.save(tmp_path / "p", torch.zeros(3, 8), {"fingerprint": "abc"})
    with pytest.raises(ValueError, match="abc.*these are xyz"):
        prompt.load(tmp_path / "p", fingerprint="xyz")
    with pytest.raises(ValueError, match="lacks adapter_model.safetensors"):
        prompt.load(tmp_path)

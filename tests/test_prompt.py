"""prompt.py: the gather, gradients of prompts together, what a bank answers, starts, votes.

    python -m pytest tests/test_prompt.py

Oracle: numbers small enough to check by eye, and each prompt alone.
"""

import dataclasses

import pytest
import torch

import model
import predict
import prompt
from prompt import NoPrompt, PromptBank, Row, collate

TINY = model.Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=2,
                    num_decoder_layers=2, num_heads=2)


def tiny_t5():
    """A frozen T5 of random weights, D = 8, V = 40."""
    return model.initialise(TINY, seed=1).requires_grad_(False)


def random_bank(N=2, P=3):
    generator = torch.Generator().manual_seed(0)
    return PromptBank(torch.randn(N, P, 8, generator=generator))


# ------------------------------------------------------------------- one gather


def test_prepend_gives_each_row_the_prompt_that_it_names():
    # Two prompts of one vector (N = 2, P = 1, D = 2); two rows, the second one padded.
    bank = PromptBank([torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 2.0]])])
    embedded = torch.tensor([[[5.0, 6.0], [7.0, 8.0]], [[9.0, 9.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    rows, visible = bank.prepend(embedded, mask, torch.tensor([1, 0]))
    assert rows.tolist() == [[[2, 2], [5, 6], [7, 8]], [[1, 1], [9, 9], [0, 0]]]
    assert visible.tolist() == [[True, True, True], [True, True, False]]
    # The gradient goes back to the prompt that was read: here row 0's, prompt 1.
    rows[0].sum().backward()
    assert bank.prompts.grad.tolist() == [[[0, 0]], [[1, 1]]]


def test_prepend_names_what_does_not_fit():
    bank = PromptBank(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="4 wide, the model 8"):
        bank.prepend(torch.zeros(1, 2, 8), torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"index has shape \(1,\), wanted one per row: \(2,\)"):
        bank.prepend(torch.zeros(2, 2, 4), torch.ones(2, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="a bank needs prompts of one shape"):
        PromptBank([torch.zeros(2, 4), torch.zeros(3, 4)])


def test_rows_become_a_batch():
    rows = [Row(1, 7, [5, 6, 1], [8, 1]), Row(0, 3, [9, 1], [4, 4, 1])]
    batch = collate(rows)
    assert batch.ids.tolist() == [[5, 6, 1], [9, 1, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.targets.tolist() == [[8, 1, 0], [4, 4, 1]]
    assert batch.index.tolist() == [1, 0]
    # With a prompt of 3 in front, a width of 3 + 5 is a multiple of 4.
    assert collate(rows, multiple=4, before=3).ids.shape == (2, 5)
    second = batch.select(torch.tensor([1]), rows[1:])
    assert second.ids.tolist() == [[9, 1, 0]] and second.rows == rows[1:]


def test_what_belongs_to_each_prompt_is_counted():
    # Two prompts of three vectors: prompt 0 has rows of 2 and 3 tokens, prompt 1 of 4.
    rows = [Row(0, 5, [9, 1], [8, 1]), Row(1, 5, [9, 9, 9, 1], [4, 1]),
            Row(0, 6, [9, 9, 1], [4, 4, 1])]
    counts = prompt.count(rows, random_bank(N=2, P=3))
    assert counts.tokens.tolist() == [2 + 3, 2]
    assert counts.positions.tolist() == [(3 + 2) + (3 + 3), 3 + 4]
    assert counts.rows.tolist() == [2, 1]


# ------------------------------------------------------------- prompts together


def gradients(bank, rows):
    """The gradient of each prompt, of the sum over prompts of a mean over its target tokens."""
    batch = collate(rows)
    t5 = tiny_t5()
    memory, mask = prompt.encode(t5, bank, batch)
    logits = t5.decode(model.shift_right(batch.targets), memory, mask)
    losses = -model.target_log_probs(logits, batch.targets).sum(1)
    tokens = prompt.count(rows, bank).tokens  # (N,)
    (losses / tokens[batch.index]).sum().backward()
    return bank.prompts.grad


def test_each_prompt_has_the_gradient_that_it_has_alone():
    # Prompt 0 reads rows with 2 + 1 target tokens, prompt 1 rows with 2 + 3.
    rows = [Row(0, 0, [5, 6, 7, 1], [7, 1]), Row(1, 1, [8, 1], [8, 1]),
            Row(1, 2, [9, 4, 1], [9, 4, 1]), Row(0, 3, [4, 5, 6, 1], [1])]
    bank = random_bank()
    together = gradients(bank, rows)
    for n in range(2):
        own = [dataclasses.replace(row, prompt=0) for row in rows if row.prompt == n]
        [alone] = gradients(PromptBank([bank.prompts[n]]), own)
        torch.testing.assert_close(together[n], alone, rtol=1e-5, atol=1e-6)


def test_padding_behind_the_text_has_no_effect():
    # A prompt has positions 0 to P - 1 and the text follows, so padding is to the right.
    t5 = tiny_t5()
    bank = random_bank()
    memory, _ = prompt.encode(t5, bank, collate([Row(0, 0, [5, 6, 1])]))
    padded, mask = prompt.encode(t5, bank, collate([Row(0, 0, [5, 6, 1]), Row(1, 1, [7] * 9)]))
    assert mask[0].tolist() == [True] * 6 + [False] * 6
    torch.testing.assert_close(padded[:1, :6], memory)


def test_two_threads_add_up_a_gradient_to_the_same_bits():
    # With prompts[index] in place of index_select the bits differ nearly every time.
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(100, 128, generator=generator)
    factors = torch.randn(64, 101, 128, generator=generator)

    def gradient():
        bank = PromptBank([start])
        index = torch.zeros(64, dtype=torch.long)
        rows, _ = bank.prepend(torch.zeros(64, 1, 128), torch.ones(64, 1), index)
        (rows * factors).sum().backward()
        return bank.prompts.grad

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(3))
    finally:
        torch.set_num_threads(threads)


def test_a_snapshot_is_a_copy():
    bank = PromptBank([torch.full((2, 4), float(n)) for n in range(3)])
    snapshot = bank.snapshot(1)
    with torch.no_grad():
        bank.prompts += 7
    assert snapshot.tolist() == [[1.0] * 4] * 2
    other = bank.holding([snapshot, snapshot])
    assert (len(other), other.length) == (2, 2)
    assert torch.equal(other.prompts[1], snapshot)


def test_t5_without_a_prompt_is_used_like_a_bank():
    t5 = tiny_t5()
    bank = NoPrompt(t5)
    assert (len(bank), bank.length) == (1, 0)
    batch = collate([Row(0, 0, [5, 6, 1]), Row(0, 1, [7, 1])])
    memory, mask = prompt.encode(t5, bank, batch)
    torch.testing.assert_close(memory, t5.encode(t5.embed(batch.ids), batch.mask))
    assert torch.equal(mask, batch.mask)
    snapshot = bank.snapshot(0)
    t5.shared.weight.data.zero_()
    bank.holding([snapshot])  # the weights as they were
    torch.testing.assert_close(prompt.encode(t5, bank, batch)[0], memory)


# ---------------------------------------------------------- what a bank answers


def test_each_row_is_answered_as_if_it_were_alone():
    t5 = tiny_t5()
    bank = random_bank()
    labels = torch.tensor([[7, 1, 0], [8, 9, 1]])
    rows = [Row(1, 0, [5, 6, 1], [8, 1]), Row(0, 1, [9, 1], [7, 7, 1]),
            Row(0, 2, [5, 4, 7, 6, 1], [1])]
    batch = collate(rows)
    scores = prompt.label_scores(t5, bank, batch, labels)
    texts = prompt.generate(t5, bank, batch, 4)
    likelihoods = prompt.target_log_likelihood(t5, bank, batch)
    for b, row in enumerate(rows):
        embedded = torch.cat([bank.prompts[row.prompt], t5.embed(torch.tensor(row.ids))])[None]
        mask = torch.ones(embedded.shape[:2])
        memory = t5.encode(embedded, mask)
        torch.testing.assert_close(scores[b], t5.score_labels(memory, mask, labels)[0])
        [text] = t5.generate(memory, mask, 4).tolist()
        assert texts[b][:len(text)] == text and not any(texts[b][len(text):])
        [[expected]] = t5.score_labels(memory, mask, torch.tensor([row.target]))
        torch.testing.assert_close(likelihoods[b], expected)


# ------------------------------------------------------------ where a prompt starts


def test_start_uniform():
    start = prompt.initialise("uniform", torch.zeros(40, 8), length=100, seed=0)
    assert start.shape == (100, 8)
    assert -0.5 <= start.min() < -0.45 and 0.45 < start.max() <= 0.5
    assert torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=0))
    assert not torch.equal(start, prompt.initialise("uniform", torch.zeros(40, 8), 100, seed=1))


def test_start_from_the_vocabulary():
    embedding = torch.arange(6000.0)[:, None]  # row i holds the number i
    start = prompt.initialise("vocabulary", embedding, length=5000, seed=0)
    # 0, 1 and 2 are pad, eos and unk; then come the 5,000 commonest pieces, each once.
    assert sorted(start[:, 0].tolist()) == list(range(3, 5003))
    all_of_ten = prompt.initialise("vocabulary", embedding, length=7, seed=0, pieces=10)
    assert sorted(all_of_ten[:, 0].tolist()) == list(range(3, 10))
    with pytest.raises(ValueError, match="8 vectors cannot be drawn .* from 7 pieces: .* --length"):
        prompt.initialise("vocabulary", embedding, length=8, seed=0, pieces=10)


def test_start_from_labels_or_a_text():
    embedding = torch.arange(20.0)[:, None]
    start = prompt.initialise("labels", embedding, length=4, seed=0, labels=[[4], [6, 8]])
    assert start[:2, 0].tolist() == [4, 7]  # a label of one piece, the mean of two pieces
    full = prompt.initialise("labels", embedding, length=2, seed=0, labels=[[4], [6, 8], [9]])
    assert full[:, 0].tolist() == [4, 7]
    vocabulary = prompt.initialise("vocabulary", embedding, length=4, seed=0)
    assert torch.equal(start[2:], vocabulary[2:])
    text = prompt.initialise("text", embedding, length=5, seed=0, text=[7, 3])
    assert text[:, 0].tolist() == [7, 3, 7, 3, 7]
    for unknown in ([], [7, 2, 3]):  # 2 is unk
        with pytest.raises(ValueError, match="--init text: needs a text of pieces"):
            prompt.initialise("text", embedding, length=2, seed=0, text=unknown)
    with pytest.raises(ValueError, match="needs a task with labels"):
        prompt.initialise("labels", embedding, length=4, seed=0)
    with pytest.raises(ValueError, match="unknown initialisation 'zeros'"):
        prompt.initialise("zeros", embedding, length=4, seed=0)


# ------------------------------------------------------------------- an ensemble


def test_vote_of_three_prompts():
    # Labels of two examples: the prompts choose 0, 0, 1 and 1, 1, 1.
    scores = torch.tensor([[[-1.0, -2.0], [-3.0, -1.0]],
                           [[-1.0, -2.0], [-2.0, -1.0]],
                           [[-9.0, -0.1], [-2.0, -1.0]]])
    assert prompt.vote(scores).tolist() == [0, 1]
    # The mean probability: of example 0 the surer prompt 2 outweighs the others. Its shares are
    # 0.73, 0.73 and 0.0001 for label 0, a mean of 0.49.
    assert prompt.vote(scores, "mean").tolist() == [1, 1]
    with pytest.raises(ValueError, match="unknown vote 'median': majority or mean"):
        prompt.vote(scores, "median")


def test_vote_of_two_that_disagree_goes_to_the_surer_one():
    # One vote each; sums of log-probabilities -1.5 and -2.1, label 2 has no vote.
    scores = torch.tensor([[[-1.0, -2.0, -1.1]], [[-0.5, -0.1, -0.2]]])
    assert prompt.vote(scores).tolist() == [0]
    # But it is the second choice of both: mean probabilities 0.35, 0.28 and 0.37.
    assert prompt.vote(scores, "mean").tolist() == [2]


def test_vote_by_the_mean_is_of_probabilities_and_not_of_their_logs():
    # (0.9, 0.1) twice and (0.0001, 0.9999): the means are 0.6 and 0.4, however small 0.0001 is.
    scores = torch.tensor([[[0.9, 0.1]], [[0.9, 0.1]], [[0.0001, 0.9999]]]).log()
    assert prompt.vote(scores, "mean").tolist() == [0]
    # Each prompt's are made to sum to 1 first, however little of it the labels have.
    little = scores - torch.tensor([5.0, 5.0, 0.0])[:, None, None]
    assert prompt.vote(little, "mean").tolist() == [0]


# ------------------------------------------------------------ the nearest words


def test_the_nearest_pieces_of_a_vector():
    # Pieces 3 to 5 point right, up and up-right; 0 to 2 are no words, and 6 is a sentinel.
    embedding = torch.tensor([[9.0, 0], [9, 0], [9, 0], [5, 0], [0, 2], [1, 1], [9, 0]])
    ids, cosines = predict.nearest(torch.tensor([[1.0, 0.0]]), embedding, top=2, pieces=6)
    assert ids.tolist() == [[3, 5]]
    assert cosines[0].tolist() == pytest.approx([1, 0.7071], abs=1e-4)  # whatever their length

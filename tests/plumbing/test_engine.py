"""The engine: however it cuts a step, the step is that of one plain batch.

    python -m pytest tests/plumbing/test_engine.py

Oracle: the textbook's step, all rows in one batch without the engine; arithmetic in the comments.
tests/test_train.py shows how rows are split by length.
"""

import types

import pytest
import torch

import model
from model import shift_right, target_log_probs
from plumbing import cuda_graphs, engine
from plumbing.engine import Engine, choose_device, choose_dtype
from prompt import PromptBank, Row, collate

SHORT = [Row(n, i, [5 + n] * (i + 2), [7, 9, 1][i % 2:]) for n in range(2) for i in range(6)]


def ce_of(engine, bank):
    """The loss of rows for engine.backward: the sum of their CE, and the CE of each prompt."""
    def loss_of(rows):
        batch = collate(rows)
        embedded, mask = bank.prepend(engine.t5.embed(batch.ids), batch.mask, batch.index)
        _, logits = engine.forward(embedded, mask, shift_right(batch.targets))
        losses = -target_log_probs(logits, batch.targets).sum(1)
        of_prompts = torch.zeros(2, len(bank))
        of_prompts[0].index_add_(0, batch.index, losses.detach())
        return losses.sum(), of_prompts

    return loss_of


def two_prompts():
    generator = torch.Generator().manual_seed(3)
    return PromptBank(list(torch.randn(2, 3, 16, generator=generator)))


@pytest.fixture
def t5(tiny_t5):
    return model.load(tiny_t5.folder)


@pytest.mark.parametrize("tokens, wide", [(1, False), (30, False), (8192, True)])
def test_a_step_does_not_depend_on_how_it_is_cut(tokens, wide, t5, monkeypatch):
    bank = two_prompts()
    plain = collate(SHORT)
    embedded, mask = bank.prepend(t5.embed(plain.ids), plain.mask, plain.index)
    logits = t5.decode(shift_right(plain.targets), t5.encode(embedded, mask), mask)
    losses = -target_log_probs(logits, plain.targets).sum(1)
    losses.sum().backward()
    wanted = bank.prompts.grad

    if wide:
        monkeypatch.setattr(engine, "WIDE", 1)  # as of a T5 that is worth four chunks
    cut = Engine(t5, tokens)
    assert cut.chunks(SHORT, 3) == (4 if wide else 1)
    bank.prompts.grad = None
    reported = cut.backward(ce_of(cut, bank), SHORT, 0, bank)
    torch.testing.assert_close(bank.prompts.grad, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reported[0], torch.stack([losses[:6].sum(), losses[6:].sum()]))
    assert reported[1].tolist() == [0, 0]


def test_dropout_is_drawn_from_the_step_alone(t5):
    noisy = Engine(t5, dropout=0.3)
    bank = two_prompts()

    def gradient(step):
        bank.prompts.grad = None
        torch.rand(step + 3)  # what was drawn before does not matter
        noisy.backward(ce_of(noisy, bank), SHORT, step, bank)
        assert not t5.training  # scores and teachers are without dropout
        return bank.prompts.grad

    first = gradient(0)
    assert torch.equal(first, gradient(0))
    assert not torch.allclose(first, gradient(1))


def test_answers_come_in_the_order_of_the_rows(t5):
    batches = []

    def answer(rows):
        batches.append(len(rows))
        return [f"{row.prompt} {row.example}" for row in rows]

    small = Engine(t5, tokens=20)
    rows = SHORT[::-1]
    assert small.map(answer, rows, before=3) == [f"{row.prompt} {row.example}" for row in rows]
    assert len(batches) > 2 and sum(batches) == len(rows)


def test_too_little_memory_is_one_line_with_a_way_out(t5):
    def too_large(rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    with pytest.raises(ValueError, match=r"^out of memory with --tokens 77: give fewer \(CUDA out "
                                         r"of memory. Tried to allocate 2 GiB\)$"):
        Engine(t5, tokens=77).backward(too_large, SHORT, 0, two_prompts())


def test_a_gpus_micro_batches_fill_a_third_of_its_memory(monkeypatch):
    # Room for 3 * 300 positions of T5-base in bf16, 221,184 bytes each (test_cuda_graphs.py),
    # beside its weights, here 200,000 bytes: so 300 positions.
    config = model.Config(32128, 768, 64, 3072, 12, 12, 12)
    fake = types.SimpleNamespace(config=config, amp=torch.bfloat16, is_gpu=True, dropout=0.0,
                                 device="cuda", parameters=lambda: [torch.zeros(50, 1000)])
    fake.t5 = fake
    memory = types.SimpleNamespace(total_memory=200_000 + 3 * 300 * 221_184 + 5)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert Engine.default_tokens(fake) == 300
    monkeypatch.setattr(cuda_graphs, "bytes_per_position", lambda config, size: 1)
    assert Engine.default_tokens(fake) == engine.GPU_TOKENS  # more would be no faster
    fake.dropout = 0.1  # then the cut decides results: the same on every card
    assert Engine.default_tokens(fake) == engine.SPLIT_TOKENS
    fake.is_gpu = False
    assert Engine.default_tokens(fake) == engine.CPU_TOKENS
    fake.is_gpu = True
    # Behind 24 vectors, 1000 tokens: 16 rows are 16,384 positions, worth two passes.
    for count, chunks in ((1, 1), (16, 2), (500, 4)):
        assert Engine.chunks(fake, [Row(0, i, [7] * 1000) for i in range(count)], 24) == chunks


def test_the_device_and_the_type_of_the_products(monkeypatch):
    small = types.SimpleNamespace(d_model=128)
    large = types.SimpleNamespace(d_model=512)
    assert choose_device("cpu") == ("cpu", "asked for")
    with pytest.raises(ValueError, match="^--device cuda:99 cannot be used here: .*; give "):
        choose_device("cuda:99")
    if not torch.backends.mps.is_built():
        with pytest.raises(ValueError, match="^--device mps .*: this torch is not built for it; "):
            choose_device("mps")
    assert choose_dtype("cpu", None, small) == "fp32" == choose_dtype("cuda", None, small)
    assert choose_dtype("cpu", "bf16", small) == "bf16"
    with pytest.raises(ValueError, match="^--dtype fp16 needs a GPU"):
        choose_dtype("cpu", "fp16", large)
    for has_bf16, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
        assert choose_dtype("cuda", None, large) == wanted
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            assert choose_dtype("cpu", None, large) == wanted

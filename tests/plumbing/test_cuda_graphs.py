"""Recordings of T5's passes on a GPU: what is recorded, when, and that they answer as T5 does.

    python -m pytest tests/plumbing/test_cuda_graphs.py                    what a CPU can check
    T5_DEVICE=cuda python -m pytest tests/plumbing/test_cuda_graphs.py     and the rest, on a GPU

Oracle: the same T5 without recordings; arithmetic in the comments.
"""

import dataclasses
import os
from types import SimpleNamespace

import pytest
import torch

import distill
import model
import train
from plumbing import cuda_graphs
from plumbing.cuda_graphs import SEEN_BEFORE, Recorder
from prompt import PromptBank
from toy import world

on_a_gpu = pytest.mark.skipif(
    os.environ.get("T5_DEVICE", "cpu") != "cuda" or not torch.cuda.is_available(),
    reason="needs a GPU, and T5_DEVICE=cuda")


def test_the_bytes_that_a_position_takes():
    # T5-base in bf16: 12 blocks * (8 * 768 + 2 * (4 * 768 + 3072)); a gated one keeps d_ff thrice.
    base = model.Config(32128, 768, 64, 3072, 12, 12, 12)
    gated = dataclasses.replace(base, feed_forward_proj="gated-gelu")
    assert cuda_graphs.bytes_per_position(base, 2) == 221_184
    assert cuda_graphs.bytes_per_position(base, 4) == 12 * (8 * 768 + 4 * (4 * 768 + 3072))
    assert cuda_graphs.bytes_per_position(gated, 2) == 221_184 + 12 * 2 * 2 * 3072


# ------------------------------------------------- what is recorded, on a CPU


def inputs(rows=2, width=6, targets=2):
    return (torch.zeros(rows, width, 16, requires_grad=True),
            torch.ones(rows, width, dtype=torch.bool), torch.zeros(rows, targets, dtype=torch.long))


@pytest.fixture
def t5(tiny_t5):
    return model.load(tiny_t5.folder)


@pytest.fixture
def recorder(monkeypatch):
    """A Recorder that takes a CPU for a GPU; a recording answers with the text "recorded"."""
    def record(call, sample, pool):
        recorder.samples.append(sample)
        return lambda *inputs: "recorded"

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    recorder = Recorder()
    recorder.samples = []
    recorder.can_record = lambda t5, embedded: True
    return recorder


def calls(recorder, t5, count, *shape):
    """Which of some calls of one shape were answered by a recording."""
    return [recorder(t5, *inputs(*shape)) == "recorded" for _ in range(count)]


def test_a_shape_that_comes_often_is_recorded(recorder, t5):
    first = inputs()
    answers = [recorder(t5, *first) for _ in range(SEEN_BEFORE + 2)]
    assert [answer == "recorded" for answer in answers] == [False] * SEEN_BEFORE + [True] * 2
    [samples] = recorder.samples  # copies: what was recorded with is overwritten by each call
    assert samples[0].is_leaf and samples[0].requires_grad
    for sample, tensor in zip(samples, first):
        assert torch.equal(sample, tensor) and sample.data_ptr() != tensor.data_ptr()
    for shape in ((3, 6, 2), (2, 7, 2), (2, 6, 3)):  # rows, width and targets each make another
        assert calls(recorder, t5, 1, *shape) == [False]


def test_of_many_recordings_the_longest_unused_goes(recorder, t5, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 2)
    often = SEEN_BEFORE + 1
    assert calls(recorder, t5, often, 1)[-1] and calls(recorder, t5, often, 2)[-1]
    assert calls(recorder, t5, 1, 1) == [True]  # so 2 is the longest unused
    assert calls(recorder, t5, often, 3)[-1]
    assert calls(recorder, t5, 1, 1) == [True]
    assert calls(recorder, t5, often, 2) == [False] * SEEN_BEFORE + [True]
    assert len(recorder.recordings) == 2


def test_without_memory_for_a_recording_t5_goes_on_by_itself(recorder, t5, monkeypatch, capsys):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert not any(calls(recorder, t5, SEEN_BEFORE + 5))
    assert capsys.readouterr().out.count("no memory to record a pass of (2, 6) positions") == 1


@pytest.mark.parametrize("obstacle", ["", "no GPU", "nothing trained", "dropout", "T5 trained"])
def test_only_steps_of_prompts_on_a_gpu_without_dropout_are_recorded(obstacle, t5):
    device = torch.device("cpu" if obstacle == "no GPU" else "cuda")
    embedded = SimpleNamespace(device=device, requires_grad=obstacle != "nothing trained")
    t5.train(obstacle == "dropout")
    t5.shared.requires_grad_(obstacle == "T5 trained")
    assert Recorder().can_record(t5, embedded) == (obstacle == "")


# ----------------------------------------------------------------- on a GPU


def last_step(tiny, out, distance, device, dtype, record=True, watch=False):
    """(losses, gradient) of the last of some equal steps of two prompts, one with a teacher.

    watch: torch raises an error if the last step makes the processor wait for the GPU.
    """
    ctx = tiny.context(out, "--device", device, "--dtype", dtype, "--model", world.MODEL)
    engine = ctx.engine
    if not record:
        engine.graphs = lambda t5, *inputs: t5(*inputs)
    starts = torch.randn(3, 10, 128, generator=torch.Generator().manual_seed(17))
    runs = [train.Run("prompt", "", 0, 4, starts[0]),
            train.Run("panda", "", 1, 4, starts[1], ((starts[2], 0.5),))]
    bank = PromptBank(starts[:2]).to(engine.device)
    count = SEEN_BEFORE + 2
    losses = []
    gradients = []
    backward = engine.backward

    def backward_and_keep(*args):
        if watch and len(losses) == count - 1:
            torch.cuda.set_sync_debug_mode("error")
        losses.append(backward(*args))
        if watch:
            torch.cuda.set_sync_debug_mode("default")
        return losses[-1]

    def keep_gradient(optimizer):
        gradients.append(bank.prompts.grad.clone())
        bank.prompts.grad = None

    engine.backward = backward_and_keep
    engine.update = keep_gradient
    training = train.Training(
        train.data.encode("toy-cb", ctx.tokenizer, ctx.recipe), runs, engine, bank,
        SimpleNamespace(param_groups=[]), 0.3, "constant", distance)
    journal = SimpleNamespace(  # one step again and again, nothing is kept
        total=4, steps=lambda *_, **__: [1] * count, is_due=lambda step: False)
    train.train(training, ctx.recipe, journal)
    if record and device == "cuda":
        assert engine.graphs.recordings
    return losses[-1].cpu(), gradients[-1].cpu()


@on_a_gpu
@pytest.mark.parametrize("distance", distill.DISTANCES)
@pytest.mark.parametrize("dtype, within", [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.02)])
def test_a_recorded_step_is_the_plain_one_and_nearly_a_cpus(
        dtype, within, distance, tiny, tmp_path):
    recorded = last_step(tiny, tmp_path / "a", distance, "cuda", dtype)
    plain = last_step(tiny, tmp_path / "b", distance, "cuda", dtype, record=False)
    on_cpu = last_step(tiny, tmp_path / "c", distance, "cpu", "fp32")
    for ours, same, theirs in zip(recorded, plain, on_cpu):
        assert (ours - same).norm() <= 1e-4 * same.norm()
        assert (ours - theirs).norm() <= within * theirs.norm()


@on_a_gpu
@pytest.mark.parametrize("distance", ["kl", "hidden"])
def test_a_recorded_step_waits_for_nothing(distance, tiny, tmp_path):
    last_step(tiny, tmp_path, distance, "cuda", "bf16", watch=True)

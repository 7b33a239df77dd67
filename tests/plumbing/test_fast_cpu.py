"""The faster products on a CPU: the same numbers, in the places where they may stand.

    python -m pytest tests/plumbing/test_fast_cpu.py

Oracle: torch's own linear and its gradients, on the same weights.
"""

import platform

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import model
from plumbing import fast_cpu

pytestmark = pytest.mark.skipif(
    fast_cpu.ONEDNN is None or platform.machine() not in ("x86_64", "AMD64"),
    reason="no x86 processor, or a torch without oneDNN: fast_cpu.install changes nothing here")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """As on one of AMD's processors with AVX-512."""
    torch.manual_seed(0)
    monkeypatch.setattr(fast_cpu, "is_faster", lambda: True)


@pytest.mark.parametrize("maker, instructions, is_swapped", [
    ("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False),
    ("GenuineIntel", "AVX512", False)])
def test_only_amds_processors_with_avx512(monkeypatch, tmp_path, maker, instructions, is_swapped):
    monkeypatch.undo()
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {maker}")
    monkeypatch.setattr(fast_cpu, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    layer = nn.Linear(6, 4, bias=False).requires_grad_(False)
    fast_cpu.install(nn.Sequential(layer))
    assert ("forward" in vars(layer)) == is_swapped


def close(ours, theirs):
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("rows", [(1,), (5,), (2, 3)])
@pytest.mark.parametrize("inputs, outputs", [(24, 7), (256, 300)])
def test_a_product_and_its_gradient_are_torchs(inputs, outputs, rows):
    weight = torch.randn(outputs, inputs)
    x = torch.randn(*rows, inputs, requires_grad=True)
    towards = torch.randn(*rows, outputs)
    ours = fast_cpu.linear(weight, x)
    theirs = F.linear(x, weight)
    close(ours, theirs)
    [gradient] = torch.autograd.grad(ours, x, towards)
    close(gradient, torch.autograd.grad(theirs, x, towards)[0])


def test_a_t5_answers_as_without_it(tiny_t5):
    def answer(t5):
        ids = torch.tensor([[5, 9, 30, 1], [7, 8, 1, 0]])
        embedded = t5.embed(ids).requires_grad_()
        memory, logits = t5(embedded, ids != 0, torch.tensor([[0, 7], [0, 9]]))
        [gradient] = torch.autograd.grad(logits.logsumexp(-1).sum() + memory.sum(), embedded)
        return memory, logits, gradient

    t5 = model.load(tiny_t5.folder)
    plain = answer(t5)
    fast_cpu.install(t5)
    swapped = [module for module in t5.modules() if "forward" in vars(module)]
    assert len(swapped) >= 2 * 6 + 10  # the products of two blocks of the encoder, one of the other
    for ours, theirs in zip(answer(t5), plain):
        close(ours, theirs)


@pytest.mark.parametrize("kind", ["trained", "bias", "bf16"])
def test_what_is_left_alone(kind):
    """A weight that is trained needs a gradient, and in bf16 torch uses oneDNN by itself."""
    layer = nn.Linear(6, 4, bias=kind == "bias").requires_grad_(kind == "trained")
    if kind == "bf16":
        layer = layer.to(torch.bfloat16)
    fast_cpu.install(nn.Sequential(layer))
    assert "forward" not in vars(layer)


def test_frozen_means_frozen():
    """A weight that changes between a product and its gradient is refused, and not used."""
    weight = torch.randn(4, 6)
    product = fast_cpu.linear(weight, torch.randn(3, 6, requires_grad=True))
    weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()

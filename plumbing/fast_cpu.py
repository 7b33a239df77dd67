"""Faster matrix products on AMD's CPUs with AVX-512, swapped into a frozen fp32 T5 from outside.

    fast_cpu.install(t5)

torch multiplies fp32 matrices by MKL, which on processors that are not Intel's does not use
AVX-512. oneDNN, which torch ships and uses for bf16, does: 1.55 times as fast on an EPYC with
AVX-512, 0.9 to 1.1 times on one without, 0.8 times on a Xeon (docs/fast.md). Both add up in fp32;
their rounding differs, so the processor alone decides which one is used, and not a measurement at
the start.
"""

import functools
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

# An operator of torch's own compiler, so not a documented one; absent in a torch without oneDNN.
ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
CPU_INFO = Path("/proc/cpuinfo")


def is_faster():
    """Whether this processor is AMD's, by Linux's description of it or Windows', with AVX-512."""
    description = CPU_INFO.read_text() if CPU_INFO.exists() else platform.processor()
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has_avx512 and "AuthenticAMD" in description


def times(x, weight):
    """x (…, D) times the transpose of weight (F, D): (…, F)."""
    return ONEDNN(x, weight, None, "none", [], "")


class FrozenProduct(torch.autograd.Function):
    """`times` with a gradient for x only: of a frozen weight nothing of the input is kept."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return times(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        [weight] = ctx.saved_tensors
        return times(grad, weight.t()), None


def linear(weight, x):
    """The forward of a frozen nn.Linear without a bias."""
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight)
    return FrozenProduct.apply(x, weight)


def install(t5):
    """Give every frozen fp32 nn.Linear of a model on such a CPU the product above."""
    if ONEDNN is None or not is_faster():
        return
    for module in t5.modules():
        if not isinstance(module, nn.Linear):
            continue
        weight = module.weight
        is_frozen = not weight.requires_grad and module.bias is None
        if is_frozen and weight.dtype == torch.float32 and weight.device.type == "cpu":
            module.forward = functools.partial(linear, weight)

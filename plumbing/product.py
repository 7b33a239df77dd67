"""Products, norms and feed-forwards with frozen weights, on a CPU, in fp32, by the faster library.

torch multiplies fp32 matrices on an x86 CPU by MKL, which on processors that are not Intel's goes
without their widest instructions. oneDNN, which torch itself uses for bf16 and for what its
compiler makes, has them: twice as fast on one EPYC (docs/fast.md). Both add up in fp32.

Which one, the processor and the weight decide, and not what a timing at the start likes better:
another library rounds otherwise, and no run would repeat.
"""

import functools
import platform

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

# Of torch's own compiler, so not of its documented face; absent in a torch without oneDNN.
ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if platform.machine() in (
    "x86_64", "AMD64") else None
AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
LEAST = 256  # width of a T5 from which on products are what takes its time


def times(x, weight):
    """x (…, D) times the transpose of weight (F, D), by oneDNN where it is.

    Then each row has the same bits beside any others, where `alike` says so. So a single one goes
    twice: oneDNN takes another way for one row, which rounds otherwise. Without AVX-512 it is at
    half of MKL's speed at some wide weights that lie transposed, as gradients meet them
    (docs/fast.md): all such go by MKL there, and a row's last bits may depend on others. Small T5s,
    which share passes, have none.
    """
    if not ONEDNN or not AVX512 and not weight.is_contiguous() and min(weight.shape) >= LEAST:
        return F.linear(x, weight)
    if x.numel() != x.shape[-1]:
        return ONEDNN(x, weight, None, "none", [], "")
    return ONEDNN(x.reshape(1, -1).expand(2, -1), weight, None, "none", [], "")[0].view(
        *x.shape[:-1], -1)


@functools.cache
def alike(inputs, outputs):
    """Whether each row of so many numbers, times such a weight, has the same bits beside others.

    Tried, in milliseconds: on EPYCs of AMD it is so, on a Xeon of Intel it was not.
    """
    drawn = torch.Generator().manual_seed(0)
    x, weight, turned = (torch.randn(*size, generator=drawn) for size in (
        (256, inputs), (outputs, inputs), (inputs, outputs)))
    return all(torch.equal(times(x[a:b], one), times(x, one)[a:b])
               for one in (weight, turned.t())
               for a, b in ((0, 1), (3, 5), (5, 8), (17, 33), (1, 65), (100, 229)))


@functools.cache
def alike_heads(heads, size):
    """The same of attention's products, of rows (H, S, K), and of their gradients. Tried."""
    drawn = torch.Generator().manual_seed(0)

    def made(some, *both):
        q, k = (one[some].clone().requires_grad_() for one in both)
        scores = q @ k.transpose(2, 3)
        (scores * scores.detach()).sum().backward()
        return scores, q.grad, k.grad

    for S in (5, 9, 12, 33):
        both = torch.randn(2, 16, heads, S, size, generator=drawn)
        whole = made(slice(None), *both)
        if not all(torch.equal(one[some], part) for some in map(slice, (0, 3, 5), (1, 6, 14))
                   for one, part in zip(whole, made(some, *both))):
            return False
    return True


class Frozen(torch.autograd.Function):
    """x (…, D) times the transpose of a frozen weight (F, D): (…, F)."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)  # frozen: nothing of the input is kept
        return times(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        [weight] = ctx.saved_tensors
        return times(grad, weight.t()), None


def frozen(x, *weights):
    """Whether x goes the ways of this file: fp32, on a CPU, and none of the weights is trained."""
    return (x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and all(
        x.dtype == weight.dtype == torch.float32 and not weight.requires_grad
        for weight in weights))


def product(x, weight):
    """x (…, D) times the transpose of weight (F, D): (…, F); if frozen, no second gradient."""
    return Frozen.apply(x, weight) if frozen(x, weight) else F.linear(x, weight)


def by_head(x, weights):
    """x (B, H, T, D) times the transpose of each head's weight (H, F, D): (B, H, T, F)."""
    if frozen(x, weights):
        return torch.stack([product(*pair) for pair in zip(x.unbind(1), weights)], 1)
    return torch.einsum("bhtd,hfd->bhtf", x, weights)  # at once: no copy of the weights for each b


class Linear(nn.Linear):
    """torch.nn.Linear without a bias, by `product`."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self):
        if not self.weight.is_meta:  # where nothing is to be drawn, and trying takes its time
            super().reset_parameters()

    def forward(self, x):
        return product(x, self.weight)


class Table(nn.Embedding):
    """torch.nn.Embedding, its numbers not drawn: that takes a second, and others are loaded."""

    def __init__(self, rows, columns):
        super().__init__(rows, columns, _weight=torch.empty(rows, columns))


class Norm(torch.autograd.Function):
    """model.RMSNorm with its gradient by hand, for less traffic with memory.

    With s = 1 / sqrt(mean(x^2) + eps) and g towards x s it is s g - x s^3 (x . g) / D.
    """

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        grad = grad * weight
        along = (grad * x).sum(-1, keepdim=True) * scale ** 3
        return torch.addcmul(grad.mul_(scale), x, along, value=-1 / x.shape[-1]), None, None


class Rectified(torch.autograd.Function):
    """wo(relu(wi x)), model.FeedForward of v1.0, with its gradient by hand, for the same reason."""

    @staticmethod
    def forward(ctx, x, wi, wo):
        hidden = times(x, wi).relu_()  # oneDNN's own would turn NaN into 0
        ctx.save_for_backward(hidden, wi, wo)
        return times(hidden, wo)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        hidden, wi, wo = ctx.saved_tensors
        grad = times(grad, wo.t())
        torch.ops.aten.threshold_backward(grad, hidden, 0, grad_input=grad)  # 0 where relu cut
        return times(grad, wi.t()), None, None

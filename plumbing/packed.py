"""A small T5's encoder without its padding, on a CPU: model.T5.encode for rows of many lengths.

Products, norms and feed-forwards see one position at a time. So all positions that are there stand
in one matrix (M, D), row after row, and no weight meets padding; attention alone has the rows side
by side, padded. The numbers are those of the plain form, to the last bit where a position's do not
depend on how many stand beside it (cores.apart). A large T5's parts leave little padding as it is.

    rows        a b c </s>        matrix   a b c </s> d </s>      M = 6 of B * S = 8
                d </s> · ·
"""

import torch
from torch.autograd.function import once_differentiable

from plumbing import cores
from plumbing.product import frozen


def pays(t5, embedded, mask):
    """Whether rows (B, S, D) go this way: of a small T5 on a CPU, frozen, in fp32, without dropout
    and recompute, and with more empty places than what a pass costs to start.
    """
    return (cores.small(t5) and frozen(embedded, *t5.encoder.parameters()) and not t5.recompute
            and 0 < mask.sum().item() < mask.numel() - cores.overhead(t5))


class Gather(torch.autograd.Function):
    """The positions of x (places, ·) at the places `there` (M,), none of them empty: (M, ·)."""

    @staticmethod
    def forward(ctx, x, there):
        ctx.save_for_backward(there)
        ctx.places = len(x)
        return x.index_select(0, there)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        [there] = ctx.saved_tensors
        return grad.new_zeros(ctx.places, grad.shape[1]).index_copy_(0, there, grad), None


class Scatter(torch.autograd.Function):
    """The other way: positions x (M, ·) back at their places, (places, ·).

    At the empty ones stands a copy of x[0], which nobody may read: no gradient comes back from it.
    who (places,): which of x stands there; there (M,): where each of x stands.
    """

    @staticmethod
    def forward(ctx, x, who, there):
        ctx.save_for_backward(there)
        return x.index_select(0, who)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        [there] = ctx.saved_tensors
        return grad.index_select(0, there), None, None


def encode(t5, embedded, mask, bias):
    """The memory (B, S, D) of T5.encode; bias (B, H, S, S) as there."""
    (B, S, D), H = embedded.shape, t5.config.num_heads
    there = mask.flatten().nonzero()[:, 0]  # (M,), of B * S places
    M, head = len(there), torch.arange(H)
    who = torch.zeros(B * S, dtype=torch.long).index_copy_(0, there, torch.arange(M))
    # The same for each head: the place in (B, H, S) of each of (M, H); and the reverse.
    heads_there = ((there // S * H)[:, None] + head) * S + (there % S)[:, None]  # (M, H)
    heads_who = who.view(B, 1, S) * H + head[:, None]  # (B, H, S)
    heads_there, heads_who = heads_there.flatten(), heads_who.flatten()
    x = Gather.apply(embedded.flatten(0, 1), there)
    for block in t5.encoder.blocks:
        attention, normed = block.self_attention, block.self_norm(x)
        keys, values, q = (  # in the order of the plain form, in which gradients are added up
            Scatter.apply(one(normed).view(M * H, -1), heads_who, heads_there).view(B, H, S, -1)
            for one in (attention.k, attention.v, attention.q))
        seen = attention.attend(q, keys, values, bias).reshape(B * H * S, -1)
        x = x + attention.o(Gather.apply(seen, heads_there).view(M, -1))
        x = x + block.ff(block.ff_norm(x))
    return Scatter.apply(t5.encoder.norm(x), who, there).view(B, S, D)

"""plumbing/product.py: the same products from another library, and where it is asked.

    python -m pytest tests/test_product.py    # a second

Oracle: arithmetic in the comments, and torch.nn.functional.linear.
"""

import math
import platform

import pytest
import torch
import torch.nn.functional as F

import model
from plumbing import product
from plumbing.product import Linear
from reference import relative_error

onednn = pytest.mark.skipif(
    not product.ONEDNN, reason="this torch has no oneDNN, or the processor is not an x86")


def through(call, x, weight, towards):
    """The product and the gradient that (B, …, F) towards it sends to x."""
    x = x.detach().requires_grad_()
    made = call(x, weight)
    return made, *torch.autograd.grad(made, x, towards)


def test_an_x86_has_the_fast_one():
    """The name is not of torch's documented face: another release may have lost it."""
    if platform.machine() in ("x86_64", "AMD64"):
        assert product.ONEDNN is not None


def test_a_product_by_hand():
    x, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, -1.0]])
    made, grad = through(product.product, x, weight, torch.tensor([[1.0, 10.0, 100.0]]))
    assert made.tolist() == [[11.0, 2.0, -1.0]]
    assert grad.tolist() == [[103.0, -86.0]]  # 1 (3, 4) + 10 (0, 1) + 100 (1, -1)


@pytest.mark.parametrize("x", [
    torch.randn(5), torch.randn(2, 5), torch.randn(0, 5), torch.randn(2, 3, 5),
    torch.randn(5, 3, 2).permute(2, 1, 0), torch.randn(2, 3, 10)[..., ::2],
    torch.randn(1, 1, 5).expand(2, 3, 5)], ids=lambda x: f"{tuple(x.shape)} {x.stride()}")
def test_any_shape_and_order_in_memory(x):
    weight = torch.randn(7, 5)
    towards = torch.randn(7, *x.shape[:-1]).movedim(0, -1)  # no order of memory is asked for
    for ours, plain in zip(through(product.product, x, weight, towards),
                           through(F.linear, x, weight, towards)):
        assert ours.shape == plain.shape
        assert torch.allclose(ours, plain, atol=1e-5)


def if_alike(*sizes):
    """Skip where `alike` denies it: there no prompts share a pass (tests/test_cores.py)."""
    if not all(product.alike(*pair) for pair in (sizes, sizes[::-1])):
        pytest.skip("on this processor a row's bits depend on the rows beside it")


@onednn
@pytest.mark.parametrize("D, F", [(128, 512), (512, 128), (64, 384), (255, 768), (1024, 96)])
@pytest.mark.parametrize("rectified", [False, True])
def test_a_row_has_the_same_bits_beside_any_others(D, F, rectified):
    """What plumbing/cores.py builds on, with a small T5; by plain products it mostly fails."""
    if_alike(D, F)
    generator = torch.Generator().manual_seed(0)
    x, weight, wo = (torch.randn(n, size, generator=generator)
                     for n, size in ((700, D), (F, D), (D, F)))
    towards = torch.randn(700, D if rectified else F, generator=generator)

    def call(x, weight):
        return product.Rectified.apply(x, weight, wo) if rectified else product.product(x, weight)

    whole = through(call, x, weight, towards)
    for start, end in [(0, 1), (3, 4), (0, 2), (5, 8), (17, 33), (1, 65), (0, 129), (100, 613)]:
        part = through(call, x[start:end], weight, towards[start:end])
        assert all(torch.equal(one[start:end], few) for one, few in zip(whole, part)), (start, end)


@onednn
def test_a_frozen_t5_is_as_by_the_plain_products(monkeypatch):
    """Loss and gradient of a T5 with and without: relative errors below 1e-5."""
    t5, found = model.initialise(model.Config(60, 32, 8, 64, 3, 2, 4)).requires_grad_(False), []
    ids, targets = torch.randint(3, 60, (6, 40)), torch.randint(3, 60, (6, 5))
    fast, calls = product.ONEDNN, []
    for one in (lambda *told: calls.append(told) or fast(*told), None):
        monkeypatch.setattr(product, "ONEDNN", one)
        embedded, seen = t5.embed(ids).requires_grad_(), torch.ones(6, 40)
        logits = t5.decode(model.shift_right(targets), t5.encode(embedded, seen), seen)
        loss = -model.target_log_probs(logits, targets).mean()
        loss.backward()
        found.append((loss.detach(), embedded.grad))
    for ours, plain in zip(*found):
        assert relative_error(ours, plain) < 1e-5
    # 3 blocks of 6 products, 2 of 10, the logits; and back, but for 5 of the first decoder block:
    # its self-attention and its question to the memory do not depend on what is in front of it.
    assert len(calls) == 2 * (3 * 6 + 2 * 10 + 1) - 5


@onednn
@pytest.mark.parametrize("avx512, D, ways", [
    (True, 256, ["fast", "fast"]), (False, 256, ["fast"]), (False, 255, ["fast", "fast"])])
def test_a_gradient_by_the_faster_library(avx512, D, ways, monkeypatch):
    """Forward and back; without AVX-512 back through wide weights is the plain way's."""
    fast, said = product.ONEDNN, []
    monkeypatch.setattr(product, "AVX512", avx512)
    monkeypatch.setattr(product, "ONEDNN", lambda *told: said.append("fast") or fast(*told))
    x, weight, towards = torch.randn(3, D), torch.randn(300, D), torch.randn(3, 300)
    ours, plain = (through(call, x, weight, towards) for call in (product.product, F.linear))
    assert said == ways
    assert all(relative_error(*pair) < 1e-5 for pair in zip(ours, plain))


@onednn
@pytest.mark.parametrize("change", [
    lambda layer: layer.requires_grad_(True),  # the gradient of a weight is the plain form's
    lambda layer: layer.double(), lambda layer: layer.bfloat16()], ids=["trained", "fp64", "bf16"])
def test_whatever_is_not_frozen_fp32_goes_the_plain_way(change, monkeypatch):
    layer = Linear(5, 7).requires_grad_(False)
    change(layer)
    monkeypatch.setattr(product, "ONEDNN", None)
    plain = layer(torch.ones(2, 5, dtype=layer.weight.dtype))
    monkeypatch.setattr(product, "ONEDNN", lambda *_: pytest.fail("the fast way was taken"))
    assert torch.equal(layer(torch.ones(2, 5, dtype=layer.weight.dtype)), plain)


@onednn
def test_autocast_decides_the_type(monkeypatch):
    monkeypatch.setattr(product, "ONEDNN", lambda *_: pytest.fail("the fast way was taken"))
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(5, 7).requires_grad_(False)(torch.ones(2, 5)).dtype == torch.bfloat16


def test_each_head_by_its_own_weight():
    """Two heads of two numbers, one row: [1 2] by (3 4), and [5 6] by (7 8)."""
    x = torch.tensor([[[[1.0, 2.0]], [[5.0, 6.0]]]], requires_grad=True)  # (B, H, T, K)
    weights = torch.tensor([[[3.0, 4.0]], [[7.0, 8.0]]])  # (H, 1, K)
    made = product.by_head(x, weights)
    assert made.tolist() == [[[[11.0]], [[83.0]]]]
    (made * torch.tensor([1.0, 10.0])[:, None, None]).sum().backward()
    assert x.grad.tolist() == [[[[3.0, 4.0]], [[70.0, 80.0]]]]


@pytest.mark.parametrize("trained", [False, True])
def test_heads_in_any_order_in_memory(trained):
    x, weights = torch.randn(3, 5, 4, 8).transpose(1, 2), torch.randn(4, 6, 8)  # (B, H, T, K)
    made = product.by_head(x, weights.requires_grad_(trained))
    plain = torch.stack([torch.stack([x[b, h] @ weights[h].T for h in range(4)]) for b in range(3)])
    assert made.shape == (3, 4, 5, 6) and relative_error(made, plain) < 1e-5
    if trained:
        ours, theirs = (torch.autograd.grad(one.square().sum(), weights) for one in (made, plain))
        assert relative_error(*ours, *theirs) < 1e-5


@onednn
def test_a_row_of_a_head_has_the_same_bits_beside_any_others():
    if_alike(128, 32)
    x, weights = torch.randn(40, 4, 2, 32), torch.randn(4, 128, 32)
    whole = product.by_head(x, weights)
    for start, end in [(0, 1), (3, 5), (0, 7), (11, 40)]:
        assert torch.equal(whole[start:end], product.by_head(x[start:end], weights))


@pytest.mark.parametrize("upset", ["no row", "one alone", "the first", "turned weights"])
def test_whether_rows_are_alike_is_tried(upset, monkeypatch):
    """A library that adds a little where rows are many, or few; or where a weight lies turned."""
    def library(x, weight, *_):
        bad = {"no row": False, "one alone": len(x) == 2, "the first": len(x) < 10,
               "turned weights": not weight.is_contiguous() and len(x) > 200}[upset]
        made = (x[:, None] * weight).sum(-1)
        return made.nextafter(made + 1) if bad else made  # the last bit

    monkeypatch.setattr(product, "ONEDNN", library)
    product.alike.cache_clear()
    before = torch.get_rng_state()
    assert product.alike(8, 12) == (upset == "no row")
    assert torch.equal(before, torch.get_rng_state())  # nothing that a seed decides is drawn
    product.alike.cache_clear()


@pytest.mark.parametrize("upset", ["no row", "many rows", "their gradient"])
def test_whether_rows_of_heads_are_alike_is_tried(upset, monkeypatch):
    """Attention's products by a library that adds a little where rows are many."""
    class Library(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, turned):
            ctx.save_for_backward(q, turned)
            made = (q[..., None] * turned[..., None, :, :]).sum(-2)
            return made.nextafter(made + 1) if upset == "many rows" and len(q) == 16 else made

        @staticmethod
        def backward(ctx, grad):
            q, turned = ctx.saved_tensors
            made = (grad[..., None, :] * turned[..., None, :, :]).sum(-1)
            bad = upset == "their gradient" and len(q) == 16
            return made.nextafter(made + 1) if bad else made, torch.zeros_like(turned)

    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda *both: Library.apply(*both))
    product.alike_heads.cache_clear()
    before = torch.get_rng_state()
    assert product.alike_heads(2, 4) == (upset == "no row")
    assert torch.equal(before, torch.get_rng_state())
    product.alike_heads.cache_clear()


def test_the_gradient_of_a_frozen_feed_forward_by_hand():
    """x = 2 to hidden (2, 0, 0) by (1, -1, 0), and to 2 * 3 = 6: only the first passes it on."""
    ff = model.FeedForward(model.Config(60, 1, 1, 3, 1, 1, 1)).requires_grad_(False)
    ff.wi.weight.data = torch.tensor([[1.0], [-1.0], [0.0]])
    ff.wo.weight.data = torch.tensor([[3.0, 5.0, 7.0]])
    x, towards = torch.tensor([[2.0]], requires_grad=True), torch.tensor([[10.0]])
    made = ff(x)
    made.backward(towards)
    assert (made.item(), x.grad.item()) == (6.0, 30.0)


def feed_forward(D=24, F=64):
    ff = model.FeedForward(model.Config(60, D, 8, F, 1, 1, 4)).requires_grad_(False)
    for weight in ff.parameters():
        weight.data.normal_()
    return ff


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=onednn)])
def test_a_frozen_feed_forward_is_the_plain_one(fast, monkeypatch):
    """The answer, the gradient, asked for twice, and that what it came from is left as it was."""
    if not fast:
        monkeypatch.setattr(product, "ONEDNN", None)  # as on a processor that is not an x86
    ff, found, (x, towards) = feed_forward(), [], torch.randn(2, 3, 7, 24)
    for trained in (True, False):
        asked, given = x.clone().requires_grad_(), towards.clone()
        answer = ff.requires_grad_(trained)(asked)
        assert ("Rectified" in answer.grad_fn.name()) == (not trained)
        once, twice = (torch.autograd.grad(answer, asked, given, retain_graph=True)[0]
                       for _ in range(2))
        assert torch.equal(once, twice) and torch.equal(given, towards)
        found.append((answer, once))
    assert all(relative_error(ours, theirs) < 1e-5 for ours, theirs in zip(*found))


@pytest.mark.parametrize("name", ["wi", "wo"])
def test_a_feed_forward_of_which_a_part_is_trained_gives_it_a_gradient(name):
    ff = feed_forward()
    getattr(ff, name).requires_grad_(True)
    ff(torch.randn(3, 24)).sum().backward()
    assert getattr(ff, name).weight.grad.norm() > 0


def test_a_frozen_feed_forward_drops_out():
    ff, x = feed_forward(), torch.randn(3, 24)
    assert not torch.equal(ff(x, dropout=0.5), ff(x))
    assert not ff(x, dropout=1.0).any()


@pytest.mark.parametrize("what", ["x", "wi", "wo"])
def test_what_is_no_number_is_not_hidden(what):
    """A library's relu may make 0 of it, and a broken T5 would look sound."""
    ff, x = feed_forward(), torch.ones(3, 24)
    (x if what == "x" else getattr(ff, what).weight.data)[1] = math.nan
    assert ff(x).isnan().any()


@pytest.mark.parametrize("made", [
    lambda x: product.product(x, torch.randn(7, 24)), feed_forward()], ids=["product", "wo(relu)"])
def test_a_second_gradient_is_refused(made):
    x = torch.randn(3, 24, requires_grad=True)
    [grad] = torch.autograd.grad(made(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_the_gradient_of_a_frozen_norm_by_hand():
    """RMSNorm of [3, 4]: mean square 12.5. Towards its first number by the plain rules,

    d/dx of x1 / sqrt((x1^2 + x2^2) / 2) = (x2^2, -x1 x2) / 2 / 12.5^1.5 = (16, -12) / 88.39
    """
    norm = model.RMSNorm(model.Config(60, 2, 2, 2, 1, 1, 1, layer_norm_epsilon=0.0))
    norm.requires_grad_(False)
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    norm(x)[0, 0].backward()
    assert x.grad[0].tolist() == pytest.approx([16 / 88.388, -12 / 88.388], rel=1e-4)
    x, weight = (torch.randn(*size, dtype=torch.float64) for size in ((2, 3, 5), (5,)))
    assert torch.autograd.gradcheck(
        lambda x: product.Norm.apply(x, weight, 0.1), x.requires_grad_())  # by differences


def test_a_frozen_norm_is_the_plain_one():
    norm, x = model.RMSNorm(model.Config(60, 64, 8, 64, 1, 1, 8)), torch.randn(3, 7, 64)
    norm.weight.data.normal_()
    plain = norm(x)  # its weight is trained
    assert torch.equal(plain, norm.requires_grad_(False)(x))


@onednn
def test_frozen_means_frozen():
    """A weight changed between the product and its gradient is refused, and not used."""
    weight = torch.randn(7, 5)
    made = product.product(torch.randn(2, 5, requires_grad=True), weight)
    weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()

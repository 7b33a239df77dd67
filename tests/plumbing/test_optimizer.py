"""The optimisers of prompts and the rate of a step.

    python -m pytest tests/plumbing/test_optimizer.py

Oracle: the algorithm once more in numpy, prompt by prompt; torch's AdamW. Two steps by hand are in
tests/test_train.py.
"""

import numpy
import torch

from plumbing import optimizer
from plumbing.optimizer import Adafactor, of_prompts, scheduled


def adafactor_in_numpy(start, gradients, lr, weight_decay):
    """The steps of one prompt, as Shazeer and Stern's algorithm 4 has them."""
    p = start.astype(numpy.float64)
    v = numpy.zeros_like(p)
    for t, g in enumerate(gradients.astype(numpy.float64), start=1):
        decay = 1 - t ** -0.8
        v = decay * v + (1 - decay) * (g ** 2 + 1e-30)
        update = g / numpy.sqrt(v)
        rms = numpy.sqrt(numpy.mean(update ** 2))
        p = (1 - weight_decay) * p - lr * update / max(1.0, rms)
    return p


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def learn(stepping, p, gradients):
    for gradient in gradients:
        p.grad = gradient.clone()
        stepping.step()
    return p.detach()


def test_adafactor_is_the_algorithm_for_each_prompt_alone():
    """The second prompt's gradients vary a thousandfold: its clipping is its own."""
    start = drawn(3, 5, 4)
    gradients = drawn(20, 3, 5, 4)
    gradients[::3, 1] *= 1000
    p = torch.nn.Parameter(start.clone())
    trained = learn(Adafactor([p], lr=0.3, weight_decay=0.01), p, gradients)
    for n in range(3):
        wanted = adafactor_in_numpy(start[n].numpy(), gradients[:, n].numpy(), 0.3, 0.01)
        numpy.testing.assert_allclose(trained[n].numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_adamw_is_torchs():
    ours, theirs = torch.nn.Parameter(drawn(2, 3, 4)), torch.nn.Parameter(drawn(2, 3, 4))
    gradients = drawn(10, 2, 3, 4)
    learn(of_prompts("adamw", [ours], 0.3, 0.01), ours, gradients)
    learn(torch.optim.AdamW([theirs], lr=0.3, weight_decay=0.01), theirs, gradients)
    assert torch.equal(ours, theirs)


def test_the_rate_of_each_step():
    # cos(0), cos(45°), cos(90°), cos(135°): 0.2 (1 + cos)
    cosine = [round(scheduled("cosine", 0.4, step, 4), 4) for step in range(4)]
    assert cosine == [0.4, 0.3414, 0.2, 0.0586]
    assert [scheduled("constant", 0.4, step, 4) for step in range(4)] == [0.4] * 4
    stepping = of_prompts("adamw", [torch.nn.Parameter(torch.ones(1))], 0.4, 0.0)
    optimizer.set_rate(stepping, "cosine", 0.4, 2, 4)
    assert [group["lr"] for group in stepping.param_groups] == [0.2]


def test_the_bytes_of_what_is_trained():
    # 24 numbers of 4 bytes, their gradients, and v; AdamW has two, and a count of 4 bytes.
    for kind, size in (("adafactor", 3 * 96), ("adamw", 4 * 96 + 4)):
        p = torch.nn.Parameter(drawn(2, 3, 4))
        stepping = of_prompts(kind, [p], 0.3, 0.0)
        learn(stepping, p, drawn(1, 2, 3, 4))
        assert optimizer.state_bytes(stepping) == size

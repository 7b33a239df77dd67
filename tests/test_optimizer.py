"""The optimisers of prompts, and their rate.

    python -m pytest tests/test_optimizer.py

Oracle: steps worked out by hand, torch.optim.AdamW, a prompt alone, and steps without a break.
"""

import io
import subprocess
import sys
import types

import pytest
import torch

from plumbing import optimizer
from workbench import FAST

KINDS = pytest.mark.parametrize("kind", optimizer.KINDS.values())


def test_adafactors_first_steps():
    # One prompt of four numbers, lr 0.5, no decay.
    p = torch.nn.Parameter(torch.zeros(1, 4))
    adafactor = optimizer.Adafactor([p], lr=0.5, weight_decay=0.0)
    # Step 1: d = 1 - 1^-0.8 = 0, v = g^2, u = g / |g| = (1, -1, 1, 1), of size 1: not clipped.
    p.grad = torch.tensor([[2.0, -3.0, 4.0, 0.5]])
    adafactor.step()
    torch.testing.assert_close(p.data, torch.tensor([[-0.5, 0.5, -0.5, -0.5]]))
    # Step 2 with the same gradient, three times as large: d = 1 - 2^-0.8 = 0.4257,
    # v = (0.4257 + 0.5743 * 9) g^2 = 5.5946 g^2, u = 3 g / sqrt(v) = 1.2683 * sign,
    # whose root mean square is over 1 and is brought back to 1.
    p.grad = 3 * torch.tensor([[2.0, -3.0, 4.0, 0.5]])
    adafactor.step()
    torch.testing.assert_close(p.data, torch.tensor([[-1.0, 1.0, -1.0, -1.0]]))
    # Step 3 with a third of the first: d = 1 - 3^-0.8 = 0.5848, v = (0.5848 * 5.5946 + 0.4152 / 9)
    # g^2 = 3.3179 g^2, u = 1/3 / sqrt(3.3179) = 0.1830 * sign, below 1 and left as it is.
    p.grad = torch.tensor([[2.0, -3.0, 4.0, 0.5]]) / 3
    adafactor.step()
    torch.testing.assert_close(p.data, torch.tensor([[-1.0915, 1.0915, -1.0915, -1.0915]]),
                               rtol=1e-4, atol=0)


def test_adafactor_clips_every_prompt_on_its_own_and_decays():
    calm, wild = (torch.nn.Parameter(torch.ones(1, 2)) for _ in range(2))
    adafactor = optimizer.Adafactor([calm, wild], lr=0.1, weight_decay=0.5)
    for scale in (1.0, 10.0):  # the second step's gradient is ten times the first for one
        calm.grad, wild.grad = torch.ones(1, 2), torch.full((1, 2), scale)
        adafactor.step()
    # calm: u = 1 in both steps; p <- p (1 - 0.1 * 0.5) - 0.1 * u, twice
    expected = (1 * 0.95 - 0.1) * 0.95 - 0.1
    assert calm.data.tolist() == [[pytest.approx(expected)] * 2]
    # wild: u = 10 / sqrt(0.4257 + 0.5743 * 100) = 1.31 in the second, clipped to 1
    assert wild.data.tolist() == [[pytest.approx(expected)] * 2]


def test_adafactor_leaves_alone_what_has_no_gradient():
    p, other = (torch.nn.Parameter(torch.ones(1, 2)) for _ in range(2))
    adafactor = optimizer.Adafactor([p, other], lr=0.1, weight_decay=0.5)
    p.grad = torch.ones(1, 2)
    adafactor.step()
    assert other.tolist() == [[1.0, 1.0]] and adafactor.state[other] == {"step": 0}


def test_schedules():
    def rates(schedule, steps):
        recipe = types.SimpleNamespace(schedule=schedule, lr=0.4)
        return [round(optimizer.rate(recipe, step, 4), 4) for step in range(steps)]

    assert rates("cosine", 6) == [0.4, 0.3414, 0.2, 0.0586, 0.0, 0.0]
    assert rates("constant", 6) == [0.4, 0.4, 0.4, 0.4, 0.0, 0.0]


# ---------------------------------------------------------------- both of them


def two():
    return [torch.nn.Parameter(torch.ones(3, 4)) for _ in range(2)]


def learn(stepping, prompts, steps, start=0):
    """Steps of drawn gradients, at a rate that falls."""
    drawn = torch.randn(200, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for step in range(start, start + steps):
        for group in stepping.param_groups:
            group["lr"] = 0.3 / (1 + step)
        for p, grad in zip(prompts, drawn[step]):
            p.grad = grad.clone()
        stepping.step()
        stepping.zero_grad()
        assert all(p.grad is None for p in prompts)
    return prompts


def test_adamw_is_torchs_to_the_last_bit():
    ours, theirs = two(), two()
    learn(optimizer.AdamW(ours, 0.3, 0.01), ours, 200)
    learn(torch.optim.AdamW(theirs, 0.3, weight_decay=0.01), theirs, 200)
    assert all(map(torch.equal, ours, theirs)) and not torch.equal(*ours)


@KINDS
def test_a_prompt_learns_beside_others_as_if_alone(kind):
    beside, [alone, _] = two(), two()
    learn(kind(beside, 0.3, 0.01), beside, 5)
    learn(kind([alone], 0.3, 0.01), [alone], 5)
    assert torch.equal(beside[0], alone) and not torch.equal(beside[1], alone)


@KINDS
def test_a_gradient_of_zeros_moves_nothing_but_by_the_decay(kind):
    """That of a run that has ended, beside others that go on."""
    ended, others = two()
    stepping = kind([ended, others], 0.3, 0.01)
    for _ in range(50):
        ended.grad, others.grad = torch.zeros(3, 4), torch.ones(3, 4)
        stepping.step()
    torch.testing.assert_close(ended.data, torch.full((3, 4), (1 - 0.3 * 0.01) ** 50))


def test_a_recipe_has_its_optimiser():
    recipe = types.SimpleNamespace(optimizer="adafactor", lr=0.4, weight_decay=0.02)
    found = optimizer.of(recipe, two())
    assert type(found) is optimizer.Adafactor and found.weight_decay == 0.02
    assert [group["lr"] for group in found.param_groups] == [0.4, 0.4]
    recipe.optimizer = "adamw"
    assert type(optimizer.of(recipe, two())) is optimizer.AdamW


@KINDS
def test_what_is_kept_goes_on_to_the_last_bit(kind):
    straight, broken = two(), two()
    learn(kind(straight, 0.3, 0.01), straight, 6)
    before, after, file = kind(broken, 0.3, 0.01), kind(broken, 0.3, 0.01), io.BytesIO()
    learn(before, broken, 4)
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    learn(after, broken, 2, start=4)
    assert all(map(torch.equal, straight, broken))


def test_a_state_of_torchs_adamw_goes_on_to_the_last_bit():
    """Trainings that were begun before plumbing/optimizer.py was there left such states."""
    straight, broken = two(), two()
    learn(optimizer.AdamW(straight, 0.3), straight, 6)
    before, after = torch.optim.AdamW(broken, 0.3, weight_decay=0), optimizer.AdamW(broken, 0.3)
    learn(before, broken, 4)
    after.load_state_dict(before.state_dict())
    learn(after, broken, 2, start=4)
    assert all(map(torch.equal, straight, broken))


def test_a_state_of_torchs_in_which_one_prompt_had_no_gradient_goes_to_the_others():
    idle, moved = two()
    before, after = torch.optim.AdamW([idle, moved], 0.3), optimizer.AdamW([idle, moved], 0.3)
    moved.grad = torch.ones(3, 4)
    before.step()
    after.load_state_dict(before.state_dict())
    assert after.state[idle] == {"step": 0} and after.state[moved]["step"] == 1


@pytest.mark.beside
def test_a_training_does_not_import_torchs_compiler(tmp_path):
    """Nor does loading, before it. Two seconds of a start on an older processor: docs/fast.md."""
    told = subprocess.run([sys.executable, "-c", f"""import sys, train
for kind in {list(optimizer.KINDS)}:
    train.main({[*FAST, "--approach", "prompt", "--seeds", "1", "--out", str(tmp_path), "--target",
                 "toy-cb", "--device", "cpu", "--max-dev", "10"]!r} + ["--optimizer", kind])
print('torch._dynamo' in sys.modules)"""], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "False"

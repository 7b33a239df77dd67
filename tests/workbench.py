"""The toy world made small, and trainings in it of a second.

No test of its own: test_train.py, test_states.py, test_predict.py and test_report.py work here.
"""

import pytest
import torch

import data
import prompt
import train
from toy import world

FAST = ["--steps", "4", "--source-steps", "2", "--batch", "4", "--length", "3", "--evals", "2",
        "--device", "cpu"]


@pytest.fixture(scope="module")
def few():
    """Every toy task has 24 training examples and 20 dev examples, 12 of them to report."""
    with pytest.MonkeyPatch.context() as patch:
        for name in world.SIZES:
            patch.setitem(world.SIZES, name, (24, 20))
        yield


def shop_in(out, *more):
    """The Workshop of a fast command; what is given replaces what is fast."""
    return train.open_workshop(train.parse_arguments([*FAST, "--out", str(out), *more]))


def encoded(shop, name="toy-cb"):
    return data.Encoded(name, shop.tokenizer, shop.recipe)


def some_runs(shop, task, count=2):
    """Runs that differ in seed and steps, the last one with a teacher (shipped vectors)."""
    starts = [train.fresh_prompt(shop, task, seed) for seed in range(count)]
    shipped, _ = prompt.load(world.PROMPTS / "toy-nli-0")
    taught = {"teacher": shipped[torch.arange(shop.recipe.length) % len(shipped)], "weight": 0.5}
    return [train.Run("prompt", seed, shop.recipe.steps + 2 * seed, start,
                      **(taught if seed == count - 1 else {})) for seed, start in enumerate(starts)]


def same(first, second):
    """Whether two prompts, or all weights by name, are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first)

"""The toy world made small, and trainings in it of a second.

No test of its own: test_train.py, test_students.py, test_states.py and test_predict.py work here.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys

import pytest
import torch

import data
import distill
import prompt
import train
from distill import Run
from plumbing import files
from toy import world

DEVICE = os.environ.get("T5_DEVICE", "cpu")  # T5_DEVICE=cuda: the trainings here, on a GPU
FAST = ["--steps", "4", "--source-steps", "2", "--batch", "4", "--length", "3", "--evals", "2",
        "--device", DEVICE, "--dtype", "fp32"]
WHOLE = torch.amp.GradScaler("cpu", enabled=False)  # scales nothing


@pytest.fixture(scope="module")
def few():
    """Every toy task has 24 training examples and 20 dev examples, 12 of them to report."""
    with pytest.MonkeyPatch.context() as patch:
        for name in world.SIZES:
            patch.setitem(world.SIZES, name, (24, 20))
        yield


def in_turn(do, groups):
    """For a Workshop's `each`: one prompt after the other, here and not in threads."""
    return [do(group) for group in groups]


def shop_in(out, *more):
    """The Workshop of a fast command; what is given replaces what is fast."""
    return train.open_workshop(train.parse_arguments([*FAST, "--out", str(out), *more]))


def encoded(shop, name="toy-cb"):
    return data.Encoded(name, shop.tokenizer, shop.recipe)


def pass_of(shop, task, runs, form="kl"):
    """A Pass of these runs that is not trained, with a bank of their starts."""
    bank = prompt.PromptBank([run.start for run in runs]).to(shop.t5.device)
    teachers = distill.Teachers(shop.t5, runs, form)
    teachers.listen(task, runs, shop.recipe.batch, shop.tokens)
    return train.Pass("pass", task, runs, [{}] * len(runs), shop.t5, bank, None, None, 0.0,
                      teachers)


def step_of(shop, task, runs, form="kl", step=0, explain=False, tokens=8192, **recipe):
    """(CE, KD, cosine of each run, bank with its gradients, positions) of a step of these runs."""
    work = pass_of(shop, task, runs, form)
    shop = dataclasses.replace(shop, tokens=tokens,
                               recipe=dataclasses.replace(shop.recipe, **recipe))
    ce, kd, cosine, positions = train.gradients(shop, work, step, WHOLE, explain)
    return ce.tolist(), kd.tolist(), cosine, work.bank, positions


def shipped(shop):
    """The vectors of a prompt that the project ships, as many as the recipe wants."""
    vectors, _ = prompt.load(world.PROMPTS / "toy-nli-0")
    return vectors[torch.arange(shop.recipe.length) % len(vectors)]


def some_runs(shop, task, count=2, weight=0.5):
    """Runs that differ in seed and steps, the last one with a teacher: shipped vectors."""
    taught = {"teachers": ((shipped(shop), weight),)}
    return [Run("prompt", seed, shop.recipe.steps + 2 * seed, train.fresh_prompt(shop, task, seed),
                **(taught if seed == count - 1 else {})) for seed in range(count)]


def same(first, second):
    """Whether two prompts, or all weights by name, are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first.cpu(), second.cpu())
    return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)


@contextlib.contextmanager
def in_another_process(code):
    """While another process has run this code and holds what it got."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom plumbing import files, states\nheld = {code}\n"
         "print(held, flush=True)\nsys.stdin.read()"], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, cwd=files.__file__.rpartition("plumbing")[0])
    assert process.stdout.readline() not in ("", "False\n")
    yield process
    process.stdin.close()
    process.wait()

"""The toy world made small, a T5 made smaller, and trainings of them in less than a second.

No test of its own. A test of a whole training, and what it leaves (few, in conftest.py, cuts the
toy tasks; forked.py runs whole commands, as a user does):

    @pytest.mark.usefixtures("few")
    def test_a_training_leaves_a_report(tmp_path):
        train.main([*FAST, "--approach", "prompt", "--seeds", "1", "--out", str(tmp_path)])
        assert (tmp_path / "toy-cb" / "report.md").exists()
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import data
import distill
import model
import prompt
import train
from distill import Run
from plumbing import files
from toy import world

D = 16  # model
SCRATCH = tempfile.TemporaryDirectory()  # goes with the tests
SMALL = Path(SCRATCH.name) / "t5"


def make_small():
    """A T5 of random weights, with the toy's words and recipe: a tenth of its time.

    Larger weights than drawn give answers that change with the prompt.
    """
    t5 = model.initialise(model.Config(384, D, 8, 32, 2, 1, 2), seed=1)
    t5.load_state_dict({name: w * 4 ** (w.dim() > 1) for name, w in t5.state_dict().items()})
    model.save(t5, SMALL)
    for name in ("spiece.model", "recipe.json"):
        shutil.copy(world.MODEL / name, SMALL)


make_small()
TOY = ["--model", str(world.MODEL)]  # for tests that want what T5 has learned
DEVICE = os.environ.get("T5_DEVICE", "cpu")  # T5_DEVICE=cuda: the trainings here, on a GPU
FAST = ["--steps", "4", "--source-steps", "2", "--batch", "4", "--length", "3", "--evals", "2",
        "--device", DEVICE, "--dtype", "fp32", "--model", str(SMALL)]
WHOLE = torch.amp.GradScaler("cpu", enabled=False)  # scales nothing


def without_t5(patch):
    """From here on no step and no score asks T5: for tests of what is trained, kept and read.

    Gradients are drawn from the step, in the order of the pass; a score is the share of what is
    trained that is above 0, in percent.
    """
    def gradients(shop, work, step, *_):
        drawn = torch.Generator().manual_seed(step)
        for p in work.bank.parameters():
            p.grad = torch.rand(p.shape, generator=drawn).to(p)
        none = torch.zeros(len(work.runs), device=shop.t5.device)
        return none, none, [0.0 if run.teachers else None for run in work.runs], none.sum()

    def dev_scores(shop, t5, bank, task, places):
        return [100 * (p > 0).float().mean().item() for p in bank.parameters()][:len(bank)]

    patch.setattr(train, "gradients", gradients)
    patch.setattr(train, "dev_scores", dev_scores)


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


def teacher_of(shop):
    """The vectors of a teacher."""
    return torch.randn(shop.recipe.length, shop.t5.config.d_model,
                       generator=torch.Generator().manual_seed(17))


def some_runs(shop, task, count=2, weight=0.5):
    """Runs that differ in seed and steps, the last one with a teacher."""
    taught = {"teachers": ((teacher_of(shop), weight),)}
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

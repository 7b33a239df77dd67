"""What the tests of this folder share: whole trainings of a tiny T5, in this process or in a fork.

    def test_something(tiny, tmp_path):
        tiny.train(tmp_path)                          all of train.py in half a second
        assert tiny.prompts(tmp_path)["prompts/toy-cb-0"].shape == (3, 16)

    def test_a_command(tiny, fork, tmp_path):
        done = fork(lambda: tiny.train(tmp_path, "--lr", "nan")).wait()
        assert (done.status, done.stderr) == (2, "train.py: --lr is nan, wanted more than 0\n")
"""

import json
import os
import shutil
import sys
import traceback
from types import SimpleNamespace

import pytest

import data
import model
import prompt
import train
from plumbing import options
from toy import world

DEVICE = os.environ.get("T5_DEVICE", "cpu")  # T5_DEVICE=cuda runs the trainings on a GPU
RECIPE = {"source": "toy-nli", "target": "toy-cb", "approach": "prompt,pot,panda", "length": 3,
          "steps": 4, "source_steps": 2, "batch": 4, "evals": 2, "kd": "mse", "kd_lambda": 100.0}
UNSTABLE = ("seconds", "date", "command")  # names in a results.json


class Tiny:
    """A random T5 with 16 numbers a vector, and commands that train prompts for it."""

    def __init__(self, folder):
        self.folder = folder
        self.copy(folder, seed=1)

    def copy(self, folder, seed):
        """Write a T5 of other weights; with seed 1 the same."""
        t5 = model.initialise(model.Config(384, 16, 8, 32, 2, 1, 2), seed)
        for weight in t5.parameters():
            if weight.dim() > 1:
                weight.data *= 2  # so that answers change with the prompt
        folder.mkdir(exist_ok=True)
        model.save(t5, folder)
        shutil.copy(world.MODEL / "spiece.model", folder)
        (folder / "recipe.json").write_text(json.dumps(RECIPE))

    def flags(self, out, *more):
        """Later flags replace earlier ones."""
        return ["--model", str(self.folder), "--out", str(out), "--seeds", "1", "--quiet",
                "--device", DEVICE, "--dtype", "fp32", *map(str, more)]

    def train(self, out, *more):
        """A whole command."""
        train.main(self.flags(out, *more))

    def context(self, out, *more):
        return train.open_context(train.parse_arguments(self.flags(out, *more)))

    def prompts(self, out):
        """Name -> vectors (P, D) of all prompts that a command has left under names for people."""
        folders = [path.parent for path in out.rglob("prompt.json")]
        return {str(folder.relative_to(out)): prompt.load(folder)[0] for folder in folders
                if folder.parent.name != "trained"}

    def results(self, out):
        """Path -> content of all results.json, but for times, and what names the command."""
        return {str(path.relative_to(out)): without(json.loads(path.read_text()), UNSTABLE)
                for path in out.rglob("results.json")}


def without(value, names):
    """A JSON value without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    if isinstance(value, list):
        return [without(inner, names) for inner in value]
    return value


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory):
    return Tiny(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def tiny(tiny_t5, monkeypatch):
    """A Tiny, while each toy task has 24 training and 20 dev examples."""
    for name in world.SIZES:
        monkeypatch.setitem(world.SIZES, name, (24, 20))
    return tiny_t5


class Fork:
    """A function that runs as a command would, in a fork of this process: no start, no import."""

    def __init__(self, act, folder, environment):
        self.folder = folder
        folder.mkdir(parents=True)
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os._exit(self.run(act))

    def run(self, act):
        """In the fork: its exit status."""
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False)
        status = 0
        try:
            options.run(act, "train.py")
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return status

    def wait(self):
        """Its status (a signal's is negative), stdout and stderr."""
        _, status = os.waitpid(self.pid, 0)
        return SimpleNamespace(
            status=os.waitstatus_to_exitcode(status), stdout=(self.folder / "stdout").read_text(),
            stderr=(self.folder / "stderr").read_text())


@pytest.fixture
def fork(tmp_path_factory):
    """fork(function, NAME=value…) -> a Fork that has begun, with these environment variables."""
    return lambda act, **environment: Fork(
        act, tmp_path_factory.mktemp("fork") / "output", environment)

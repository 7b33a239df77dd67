"""What the tests share: a tiny T5 of random weights, a small toy world, trainings of a second.

    python -m pytest                        the whole suite
    T5_DEVICE=cuda python -m pytest         the trainings of the tests on a GPU

The tests that teach are tests/test_*.py, one file for each chapter, to be read after it. What
guards the rest is in tests/plumbing/.
"""

import os
import shutil

import pytest
import torch

import model
import train
from plumbing.tokenizer import Tokenizer
from toy import world

# Forks of a process that has used several OpenMP threads can hang; and small tensors gain nothing.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def device():
    """What the trainings of the tests run on."""
    return os.environ.get("T5_DEVICE", "cpu")


@pytest.fixture(scope="session")
def small_t5(tmp_path_factory):
    """A folder with a T5 of random weights (D = 16), the toy vocabulary and the toy recipe.

    Its matrices are four times as large as drawn: so its answers change with the prompt.
    """
    folder = tmp_path_factory.mktemp("t5")
    config = model.Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=2,
                          num_decoder_layers=1, num_heads=2)
    t5 = model.initialise(config, seed=1)
    for weight in t5.parameters():
        if weight.dim() == 2:
            weight.data *= 4
    model.save(t5, folder)
    for name in ("spiece.model", "recipe.json"):
        shutil.copy(world.MODEL / name, folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """The toy vocabulary: "cats chased dogs ." is [21, 78, 24, 3] and eos, 1."""
    return Tokenizer(world.MODEL / "spiece.model")


@pytest.fixture(scope="session")
def toy_t5():
    """The toy T5, for tests that need what it has learned."""
    return model.load(world.MODEL)


@pytest.fixture
def few(monkeypatch):
    """Every toy task has 24 training and 20 dev examples."""
    for kind in world.SIZES:
        monkeypatch.setitem(world.SIZES, kind, (24, 20))


@pytest.fixture
def fast(small_t5, few, device):
    """Flags of a command of train.py that takes about a second; --out is still to be given."""
    return ["--model", str(small_t5), "--device", device, "--dtype", "fp32", "--steps", "4",
            "--source-steps", "2", "--batch", "4", "--length", "3", "--evals", "2", "--quiet"]


@pytest.fixture
def context(fast, tmp_path):
    """A function of (folder, further flags): the Context of such a command."""

    def open_context(folder="out", *flags):
        args = train.parse_arguments([*fast, "--out", str(tmp_path / folder), *flags])
        return train.open_context(args)

    return open_context

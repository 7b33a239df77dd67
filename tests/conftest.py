"""What every test file may use: a vocabulary small enough to count in, and a small toy world."""

import functools
import io

import pytest
import sentencepiece

from beside import pytest_configure  # noqa: F401: of every run of pytest here
from plumbing.tokenizer import Tokenizer
from rows import write
from toy import world

world.examples = functools.cache(world.examples)  # the same ones each time: drawn once
WORDS = "the the the the cats cats cats sleep sleep dogs"  # by frequency: ids 3, 4, 5, 6


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    """spiece.model of four whole words behind pad 0, eos 1 and unk 2."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS]), model_writer=model, model_type="word", vocab_size=7,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2)
    return write(tmp_path_factory.mktemp("vocabulary") / "spiece.model", model.getvalue())


@pytest.fixture(scope="module")
def few():
    """Every toy task has 24 training examples and 20 dev examples, 12 of them to report."""
    with pytest.MonkeyPatch.context() as patch:
        for name in world.SIZES:
            patch.setitem(world.SIZES, name, (24, 20))
        yield


@pytest.fixture
def tokenizer(vocabulary):
    return Tokenizer(vocabulary)

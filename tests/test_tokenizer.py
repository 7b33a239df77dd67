"""plumbing/tokenizer.py: text to ids and back, what is cut, sentinels, the published vocabulary.

    python -m pytest tests/test_tokenizer.py                   # seconds, nothing to download
    T5_DATA=folder python -m pytest tests/test_tokenizer.py    # the published vocabulary too

T5_DATA is a folder that holds vocab/spiece.model. What needs it is skipped without it.

Oracle: a vocabulary of four words (conftest.py); one of single letters; ids of the
published vocabulary as the test suite of transformers has them.
"""

import doctest
import io
import json

import pytest
import sentencepiece
import torch

from data import Example
from plumbing import tokenizer as module
from plumbing.tokenizer import EOS, Tokenizer, pad
from rows import BOOLQ, E, jsonl, official, read, write
from toy import world


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_eos_ends_the_ids(tokenizer):
    assert tokenizer.encode("the cats sleep") == [3, 4, 5, 1]
    assert tokenizer.encode("dogs fly") == [6, 2, 1]  # no such word
    assert tokenizer.encode("") == [1]


# A question before the passage, "the cats", or behind it: "dogs sleep" is kept, and eos.
LONG_LAST, LONG_FIRST = (Example("dogs sleep the cats", E, long=(11, 19)),
                         Example("the cats dogs sleep", E, long=(0, 8)))


@pytest.mark.parametrize("longest, last, first", [
    (None, [6, 5, 3, 4, 1], [3, 4, 6, 5, 1]), (5, [6, 5, 3, 4, 1], [3, 4, 6, 5, 1]),  # it fits
    (4, [6, 5, 3, 1], [3, 6, 5, 1]), (3, [6, 5, 1], [6, 5, 1]),
    (2, [6, 1], [6, 1])])  # not even the question fits
def test_what_is_cut_is_the_long_part(tokenizer, longest, last, first):
    rows, cut = tokenizer.encode_inputs([LONG_LAST, LONG_FIRST], longest)
    assert [list(row) for row in rows] == [last, first]
    assert cut == (0 if longest in (None, 5) else 2)


def test_a_long_input_loses_the_end_of_its_passage_and_keeps_the_question(tmp_path):
    class Letters:  # a vocabulary of single letters
        def encode(self, text, num_threads=None):
            if isinstance(text, str):
                return [ord(c) for c in text]
            return [self.encode(one) for one in text]

    tokenizer = object.__new__(Tokenizer)
    tokenizer.sp = Letters()
    examples, _ = read(tmp_path, "boolq", jsonl(BOOLQ))
    texts = ["passage: Tin -- Tin question: is tin a metal", "passage:  question: is tin a metal",
             "passage:  question: is tin a met"]  # the rest goes only when there is no passage left
    for text in texts:
        (ids,), cut = tokenizer.encode_inputs(examples, len(text) + 1)
        assert ("".join(map(chr, ids[:-1])), ids[-1], cut) == (text, EOS, 1)
    assert tokenizer.encode_inputs(examples, len(examples[0].input) + 1)[1] == 0


def test_a_sentinel_in_a_text_is_one_token(tokenizer):
    assert tokenizer.encode("the <extra_id_0> sleep<extra_id_99>") == [3, 106, 5, 7, 1]


def test_decoding_stops_at_the_first_eos(tokenizer):
    assert tokenizer.decode([3, 4, 1, 5, 1]) == "the cats"
    assert tokenizer.decode([3, 4]) == "the cats"  # none came
    assert tokenizer.decode([1, 3]) == ""


def test_decoding_leaves_out_padding_and_sentinels(tokenizer):
    # The first id above the vocabulary of 7 is <extra_id_99>, the last <extra_id_0>.
    assert tokenizer.decode([0, 3, 7, 4, 106, 5, 1, 0]) == "the cats sleep"
    assert tokenizer.decode([6, 1]) == "dogs"  # the last word is none


def test_sentinels_lie_above_the_pieces_downwards(tokenizer):
    assert [tokenizer.sentinel(i) for i in (0, 1, 99)] == [106, 105, 7]


def test_a_vocabulary_is_known_by_its_content(vocabulary, tmp_path):
    same = write(tmp_path / "a" / "other.model", vocabulary.read_bytes())
    assert Tokenizer(same).fingerprint == Tokenizer(vocabulary).fingerprint
    # A word is changed, its length is not.
    another = write(tmp_path / "b" / "spiece.model",
                    vocabulary.read_bytes().replace(b"dogs", b"cows"))
    assert Tokenizer(another).fingerprint != Tokenizer(vocabulary).fingerprint


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match="none/spiece.model is missing"):
        Tokenizer(tmp_path / "none" / "spiece.model")


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    # What a clone without git-lfs leaves in its place.
    pointer = write(tmp_path / "spiece.model", "version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="spiece.model"):
        Tokenizer(pointer)


@pytest.mark.parametrize("alter", [lambda file: b"", lambda file: file[:len(file) // 2],
                                   lambda file: file + b"more", lambda file: b"pieces" * 50])
def test_a_damaged_vocabulary_is_named(vocabulary, alter, tmp_path):
    path = write(tmp_path / "spiece.model", alter(vocabulary.read_bytes()))
    with pytest.raises(ValueError, match="spiece.model is no vocabulary"):
        Tokenizer(path)


def test_a_vocabulary_that_is_cut_anywhere_is_named(vocabulary, tmp_path):
    whole = vocabulary.read_bytes()
    assert module.records(whole) >= {1, 2, 3}  # pieces, training, normalisation
    for end in range(whole.index(b"dogs") + 20):  # between two pieces, too
        path = write(tmp_path / "spiece.model", whole[:end])
        with pytest.raises(ValueError, match="spiece.model is no vocabulary"):
            Tokenizer(path)


def test_a_vocabulary_of_another_model_is_named(tmp_path):
    other = io.BytesIO()  # sentencepiece's own habit: unk 0, bos 1, eos 2, no pad
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cats"]), model_writer=other, model_type="word", vocab_size=5,
        num_threads=1, minloglevel=2)
    path = write(tmp_path / "spiece.model", other.getvalue())
    with pytest.raises(ValueError, match=r"no vocabulary of T5: .*\(-1, 2, 0\), wanted \(0, 1"):
        Tokenizer(path)


@pytest.mark.parametrize("rows, fits", [(128, True), (107, True), (106, False), ("many", False)])
def test_a_vocabulary_fits_the_model_beside_it(vocabulary, rows, fits, tmp_path):
    path = write(tmp_path / "spiece.model", vocabulary.read_bytes())  # 7 pieces, 100 sentinels
    write(tmp_path / "config.json", json.dumps({"vocab_size": rows}))
    if fits:
        assert Tokenizer(path).pieces == 7
    else:
        with pytest.raises(ValueError, match="config.json: vocab_size is .* number from 107"):
            Tokenizer(path)


def test_ids_of_the_published_vocabulary():
    tokenizer = Tokenizer(official() / "vocab" / "spiece.model")
    text = "translate English to German: The house is wonderful."
    ids = [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert [tokenizer.sentinel(i) for i in (0, 99)] == [32099, 32000]


def test_bytes_of_a_command_line_that_are_no_text_are_refused():
    tokenizer = Tokenizer(world.MODEL / "spiece.model")
    assert tokenizer.encode("the café ☃")[-1] == 1
    with pytest.raises(ValueError, match=r"'a.udcff' is not UTF-8, wanted a text"):
        tokenizer.encode("a\udcff")  # as Python reads the byte ff there



def test_padding_fills_up_on_the_right():
    rows = [[5, 1], [7, 8, 9, 1]]
    ids = pad(rows)
    assert ids.tolist() == [[5, 1, 0, 0], [7, 8, 9, 1]] and ids.dtype == torch.long
    assert rows == [[5, 1], [7, 8, 9, 1]]

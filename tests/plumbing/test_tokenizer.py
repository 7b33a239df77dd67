"""plumbing/tokenizer.py: text to ids and back, sentinels, and vocabularies that are refused.

    python -m pytest tests/plumbing/test_tokenizer.py                  # nothing to download
    T5_DATA=folder python -m pytest tests/plumbing/test_tokenizer.py   # the published one too

T5_DATA is a folder that holds the published vocabulary as vocab/spiece.model.

Oracle: a vocabulary of four words, in which ids are counted by hand; ids of the published
vocabulary as the test suite of transformers has them; and the files that transformers 5.24
writes for a T5's tokenizer, of which the entries here are copies.
"""

import io
import json
import os
from pathlib import Path

import pytest
import sentencepiece

from plumbing.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
WORDS = "the the the the cats cats cats sleep sleep dogs"  # by frequency: ids 3, 4, 5, 6


def train(**special):
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS]), model_writer=content, model_type="word", vocab_size=7,
        num_threads=1, minloglevel=2, **special)
    return content.getvalue()


@pytest.fixture(scope="module")
def vocabulary():
    """The bytes of a spiece.model: pad, eos, unk and four words, 7 pieces."""
    return train(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


@pytest.fixture
def path(vocabulary, tmp_path):
    (tmp_path / "spiece.model").write_bytes(vocabulary)
    return tmp_path / "spiece.model"


@pytest.fixture
def tokenizer(path):
    return Tokenizer(path)


def refusal(path):
    with pytest.raises(ValueError) as error:
        Tokenizer(path)
    message = str(error.value)
    assert str(path.parent) in message and len(message.splitlines()) == 1
    return message


def test_texts_become_ids_one_by_one_and_all_at_once(tokenizer):
    texts = {
        "the cats sleep": [3, 4, 5, 1],
        "dogs fly": [6, 2, 1],  # no such word
        "": [1],
        # The first id above the 7 pieces is <extra_id_99>, the last is <extra_id_0>.
        "the <extra_id_0> sleep<extra_id_99>": [3, 106, 5, 7, 1],
        "<extra_id_1>dogs": [105, 6, 1],
        "<extra_id_100>": [2, 1],  # no sentinel
    }
    assert [tokenizer.encode(text) for text in texts] == list(texts.values())
    assert tokenizer.encode_all(list(texts)) == list(texts.values())
    assert tokenizer.encode_all([]) == []
    assert [tokenizer.sentinel(i) for i in (0, 1, 99)] == [106, 105, 7]


def test_decoding_ends_at_the_first_eos_and_leaves_out_padding_and_sentinels(tokenizer):
    for ids, text in (([3, 4, 1, 5, 1], "the cats"), ([3, 4], "the cats"), ([1, 3], ""),
                      ([0, 3, 7, 4, 106, 5, 1, 0], "the cats sleep"), ([6, 1], "dogs")):
        assert tokenizer.decode(ids) == text


def test_bytes_of_a_command_line_that_are_no_text_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"'a.udcff' is not UTF-8, wanted a text"):
        tokenizer.encode("a\udcff")  # as Python reads the byte ff there


def test_a_vocabulary_is_known_by_its_content(vocabulary, tmp_path, tokenizer):
    for name, content in (("same", vocabulary), ("other", vocabulary.replace(b"dogs", b"cows"))):
        (tmp_path / name).write_bytes(content)
    assert Tokenizer(tmp_path / "same").fingerprint == tokenizer.fingerprint
    assert Tokenizer(tmp_path / "other").fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("damage, message", [
    (lambda content: b"", "is the download complete?"),
    (lambda content: content[:len(content) // 2], "is no vocabulary of sentencepiece"),
    # sentencepiece's own habit: unk 0, bos 1, eos 2, no pad
    (lambda content: train(), "its pad, eos and unk are (-1, 2, 0), wanted (0, 1, 2)")])
def test_a_file_that_is_no_vocabulary_of_t5(damage, message, path):
    path.write_bytes(damage(path.read_bytes()))
    assert message in refusal(path)


def test_a_missing_vocabulary_is_named_with_what_to_copy(tmp_path):
    path = tmp_path / "spiece.model"
    assert "is missing, or no file: the tokenizer needs T5's spiece.model" in refusal(path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "tokenizer.json beside it is not read: copy spiece.model from" in refusal(path)


def test_a_vocabulary_fits_the_model_beside_it(path):
    path.with_name("config.json").write_text('{"vocab_size": 107}')
    assert Tokenizer(path).pieces == 7  # and 100 sentinels
    for rows in (106, "many", None):
        path.with_name("config.json").write_text(json.dumps({"vocab_size": rows}))
        assert "config.json: vocab_size is " in refusal(path)


# Of a published T5, shortened: its pad, eos and unk, and all of its sentinels.
PUBLISHED = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(100))]


IDS = {token: 32099 - i for i, token in enumerate(PUBLISHED)}


@pytest.mark.parametrize("name, content_of", [
    ("added_tokens.json", dict),
    ("tokenizer_config.json", lambda ids: {"extra_ids": 100, "added_tokens_decoder": {
        str(i): {"content": token, "special": True} for token, i in ids.items()}}),
    ("tokenizer_config.json", lambda ids: {"additional_special_tokens": list(ids)}),  # of 2020
    ("tokenizer_config.json", lambda ids: {"extra_special_tokens": list(ids)}),  # of 2026
    ("tokenizer.json", lambda ids: {"version": "1.0", "added_tokens": [
        {"id": i, "content": token, "special": True} for token, i in ids.items()]})])
def test_added_tokens_are_refused_and_those_of_the_published_t5_are_not(name, content_of, path):
    file = path.with_name(name)
    file.write_text(json.dumps(content_of(IDS)))
    assert Tokenizer(path).pieces == 7
    more = IDS | {"<extra_id_100>": 32100, "▁cats": 32101, "<sep>": 32102}  # one of them is a piece
    file.write_text(json.dumps(content_of(more)))
    assert "spiece.model lacks, which is not supported: '<extra_id_100>', '<sep>';" in refusal(path)


@pytest.mark.parametrize("name, content", [
    ("tokenizer.json", {"added_tokens": [7]}), ("tokenizer.json", {"added_tokens": [{"id": 7}]}),
    ("tokenizer_config.json", {"added_tokens_decoder": 7})])
def test_damaged_files_of_transformers_are_named(name, content, path):
    path.with_name(name).write_text(json.dumps(content))
    assert f"{name}: added_tokens" in refusal(path)


@pytest.mark.skipif("T5_DATA" not in os.environ, reason="set T5_DATA, see above")
def test_ids_of_the_published_vocabulary():
    tokenizer = Tokenizer(Path(os.environ["T5_DATA"]) / "vocab" / "spiece.model")
    text = "translate English to German: The house is wonderful."
    ids = [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert [tokenizer.sentinel(i) for i in (0, 99)] == [32099, 32000]

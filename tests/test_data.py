"""data.py and toy/world.py: reading rows, the tokenizer, metrics, the toy world, checkpoints by name.

The other tasks are in test_tasks.py, broken downloads in test_downloads.py.

    python -m pytest tests/test_data.py                   # seconds, nothing to download
    T5_DATA=folder python -m pytest tests/test_data.py    # your official files too

T5_DATA is a folder as `--data` takes it, and for the published vocabulary it holds
vocab/spiece.model as well. What needs it is skipped without it.

Oracle: invented rows in the official formats, with the strings they should become
written out; metrics worked out by hand; a vocabulary of four words; a server on this
computer in place of the hub; for the official files their published sizes, and ids of
the published vocabulary as the test suite of transformers has them.
"""

import doctest
import http.server
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import torch

import data
from data import Example
from toy import world
from toy.world import Statement

ROOT = Path(data.__file__).parent


# ------------------------------------------------------- official files as text

CB_ROWS = [
    {"premise": "Mia said the kettle was on.", "hypothesis": "the kettle was on",
     "label": "neutral", "idx": 0},
    {"premise": "Tom knew that it rained.", "hypothesis": "it rained",
     "label": "entailment", "idx": 1},
    {"premise": "Nobody thought it rained, and it did not.", "hypothesis": "it rained",
     "label": "contradiction", "idx": 2},
]
MNLI_TRAIN = ("index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
              "sentence1_parse sentence2_parse sentence1 sentence2 label1 gold_label").split()
MNLI_DEV = MNLI_TRAIN[:-1] + "label2 label3 label4 label5 gold_label".split()
# The order of the columns before GLUE rearranged them.
MULTINLI = ["gold_label", "sentence1", "sentence2", "pairID"]
MNLI_ROW = {"sentence1": "Two boats left.", "sentence2": "Boats left.", "gold_label": "entailment"}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def jsonl(rows, end="\n"):
    return "".join(json.dumps(row) + end for row in rows)


def tsv(columns, rows, end="\n"):
    """Rows as text under these columns; a column the row lacks holds "n/a"."""
    lines = [columns] + [[row.get(column, "n/a") for column in columns] for row in rows]
    return "".join("\t".join(line) + end for line in lines)


def read(tmp_path, name, text):
    """The examples of one file with this content."""
    return read_with_notes(tmp_path, name, text)[0]


def read_with_notes(tmp_path, name, text):
    suffix = Path(data.TASKS[name].files[0]).suffix
    return data.read_split(data.TASKS[name], write(tmp_path / f"rows{suffix}", text))


def test_cb_as_text_to_text(tmp_path):
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(CB_ROWS[:2]))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(CB_ROWS[2:]))
    assert data.load("cb", tmp_path) == (
        [Example("hypothesis: the kettle was on premise: Mia said the kettle was on.", "neutral"),
         Example("hypothesis: it rained premise: Tom knew that it rained.", "entailment")],
        [Example("hypothesis: it rained premise: Nobody thought it rained, and it did not.",
                 "contradiction")])


def test_rte_as_text_to_text(tmp_path):
    rows = [{"premise": "The mill burnt down in May.", "hypothesis": "The mill burnt down.",
             "label": "entailment", "idx": 0},
            {"premise": "The mill was sold.", "hypothesis": "The mill was bought by Ada.",
             "label": "not_entailment", "idx": 1}]
    write(tmp_path / "superglue/RTE/train.jsonl", jsonl(rows[:1]))
    write(tmp_path / "superglue/RTE/val.jsonl", jsonl(rows[1:]))
    assert data.load("rte", str(tmp_path)) == (
        [Example("hypothesis: The mill burnt down. premise: The mill burnt down in May.",
                 "entailment")],
        [Example("hypothesis: The mill was bought by Ada. premise: The mill was sold.",
                 "not_entailment")])


def test_mnli_as_text_to_text(tmp_path):
    # sentence1 is the premise and sentence2 the hypothesis; dev has four columns more.
    rows = [MNLI_ROW, MNLI_ROW | {"sentence2": "No boat left.", "gold_label": "contradiction"},
            MNLI_ROW | {"sentence2": "They will return.", "gold_label": "neutral"}]
    write(tmp_path / "glue/MNLI/train.tsv", tsv(MNLI_TRAIN, rows[:2]))
    # label1 to label5 are what single annotators said: not to be taken for gold_label.
    write(tmp_path / "glue/MNLI/dev_matched.tsv",
          tsv(MNLI_DEV, [rows[2] | {f"label{i}": "entailment" for i in range(1, 6)}]))
    assert data.load("mnli", tmp_path) == (
        [Example("hypothesis: Boats left. premise: Two boats left.", "entailment"),
         Example("hypothesis: No boat left. premise: Two boats left.", "contradiction")],
        [Example("hypothesis: They will return. premise: Two boats left.", "neutral")])


def test_a_quotation_mark_is_a_character_like_any_other(tmp_path):
    # Read as quoting, the first field would swallow the tab, the line end and the next row.
    rows = [MNLI_ROW | {"sentence1": '"Two boats left.'}, MNLI_ROW | {"sentence2": 'A "boat" left.'}]
    assert [example.input for example in read(tmp_path, "mnli", tsv(MNLI_TRAIN, rows))] == [
        'hypothesis: Boats left. premise: "Two boats left.',
        'hypothesis: A "boat" left. premise: Two boats left.']


def test_rows_without_a_gold_label_are_left_out(tmp_path):
    rows = [MNLI_ROW | {"gold_label": "-"}, MNLI_ROW, MNLI_ROW | {"gold_label": "-"}]
    examples, notes = read_with_notes(tmp_path, "mnli", tsv(MNLI_TRAIN, rows))
    assert len(examples) == 1 and notes == {"skipped: no gold label": 2}


INCOMPLETE = {  # task, a good row and one with something missing, what is said of it
    "blank text": ("mnli", tsv(MNLI_TRAIN, [MNLI_ROW, MNLI_ROW | {"sentence1": " "}]), "no sentence1"),
    "cut before the label": ("mnli", tsv(MNLI_TRAIN, [MNLI_ROW]) + "1\tcut\tshort\n",
                             "fewer columns than the header"),
    # The label is there, but which of the columns are the texts is anybody's guess.
    "cut before the text": ("mnli", tsv(MULTINLI, [MNLI_ROW]) + "neutral\tcut short\n",
                            "fewer columns than the header"),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_an_incomplete_row_is_skipped_and_counted(tmp_path, what, capsys):
    name, text, why = INCOMPLETE[what]
    examples, notes = read_with_notes(tmp_path, name, text)
    assert len(examples) == 1 and notes == {f"skipped: {why}": 1}


def test_what_was_skipped_is_said_once(tmp_path, capsys):
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(CB_ROWS + [CB_ROWS[0] | {"label": None}] * 2))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(CB_ROWS))
    train, _ = data.load("cb", tmp_path)
    assert len(train) == 3
    folder = tmp_path / "superglue/CB"
    assert capsys.readouterr().err.splitlines() == [
        f"cb: 2 rows of {folder / 'train.jsonl'} skipped: no label",
        f"cb: 3 examples in {folder / 'train.jsonl'}, the published file has 250",
        f"cb: 3 examples in {folder / 'val.jsonl'}, the published file has 56"]


def test_columns_are_found_by_name_behind_a_byte_order_mark(tmp_path):
    # The mark would otherwise be part of the first column's name.
    examples = read(tmp_path, "mnli", "\ufeff" + tsv(MULTINLI, [MNLI_ROW]))
    assert examples == [Example("hypothesis: Boats left. premise: Two boats left.", "entailment")]
    assert len(read(tmp_path, "cb", "\ufeff" + jsonl(CB_ROWS))) == 3


def test_line_ends_of_windows(tmp_path):
    rows = [MNLI_ROW, MNLI_ROW | {"gold_label": "neutral"}]
    for columns in (MNLI_TRAIN, MULTINLI):  # the label as the last column, and not
        examples = read(tmp_path, "mnli", tsv(columns, rows, end="\r\n"))
        assert [example.target for example in examples] == ["entailment", "neutral"]
    assert read(tmp_path, "cb", jsonl(CB_ROWS, end="\r\n")) == read(tmp_path, "cb", jsonl(CB_ROWS))


@pytest.mark.parametrize("space", ["  ", "\u00a0", "\u2028", "\u0085", "\x0b"])
def test_only_a_line_end_ends_a_row_and_other_spaces_become_one(tmp_path, space):
    row = MNLI_ROW | {"sentence1": f" Two{space}boats left. "}
    expected = [Example("hypothesis: Boats left. premise: Two boats left.", "entailment")]
    assert read(tmp_path, "mnli", tsv(MNLI_TRAIN, [row])) == expected
    row = {"premise": row["sentence1"], "hypothesis": "Boats left.", "label": "entailment"}
    # written raw where JSON allows it; it does not allow \x0b
    line = json.dumps(row, ensure_ascii=space == "\x0b") + "\n"
    assert read(tmp_path, "cb", line) == expected


def test_braces_in_a_row_are_no_template(tmp_path):
    row = CB_ROWS[0] | {"hypothesis": "{premise} {0} {"}
    assert read(tmp_path, "cb", jsonl([row]))[0].input == \
        "hypothesis: {premise} {0} { premise: Mia said the kettle was on."


def bad_row(text):
    """A file whose second row is this line."""
    return jsonl(CB_ROWS[:1]) + text + "\n"


BAD_ROWS = {  # task, content of the file, what the error says; the header of a tsv is line 1
    "label": ("cb", bad_row(json.dumps(CB_ROWS[1] | {"label": "maybe"})),
              "rows.jsonl, line 2: .*'maybe'.*neutral"),
    "label of other tasks": ("rte", jsonl(CB_ROWS[:1]), "rows.jsonl, line 1: .*'neutral'.*not_entailment"),
    "bad json": ("cb", bad_row('{"premise": "cut'), "rows.jsonl, line 2: not JSON"),
    "json list for text": ("cb", bad_row('{"premise": ["p"], "hypothesis": "h", "label": "neutral"}'),
                           "rows.jsonl, line 2: .*premise"),
    "json list for row": ("cb", bad_row('["p", "h", "neutral"]'), "rows.jsonl, line 2: "),
    "not utf-8": ("cb", jsonl(CB_ROWS).encode() + b"\xff\n", "rows.jsonl.*(utf|UTF)-8"),
    "no rows": ("cb", "", "rows.jsonl"),
    "tsv label": ("mnli", tsv(MNLI_TRAIN, [MNLI_ROW, MNLI_ROW | {"gold_label": "n/a"}]),
                  "rows.tsv, line 3: .*'n/a'"),
    "tsv label after an empty line": ("mnli", tsv(MULTINLI, []) + "\nmaybe\tp\th\tid\n",
                                      "rows.tsv, line 3: .*'maybe'"),
    "tsv without a column": ("mnli", tsv(MNLI_TRAIN[:9] + MNLI_TRAIN[10:], [MNLI_ROW]),
                             "rows.tsv has no usable row; 1 skipped: no sentence2"),
    "tsv with a tab too many": ("mnli", tsv(MULTINLI, [MNLI_ROW | {"sentence1": "Two\tboats left."}]),
                                "rows.tsv, line 2: "),
    "tsv of long rows": ("mnli", tsv(MULTINLI, [MNLI_ROW | {"sentence1": "a" * 140_000, "gold_label": "no"}]),
                         "rows.tsv, line 2: "),
}

@pytest.mark.parametrize("what", BAD_ROWS)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(tmp_path, what):
    name, text, message = BAD_ROWS[what]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, name, text)


def test_a_missing_file_is_named_with_all_that_the_task_reads(tmp_path):
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(CB_ROWS))
    with pytest.raises(ValueError) as error:
        data.load("cb", tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'superglue/CB/val.jsonl'} is missing")
    assert "superglue/CB/train.jsonl and superglue/CB/val.jsonl" in str(error.value)


@pytest.mark.parametrize("name, near", [("cbb", "cb,"), ("mlni", "mnli"), ("toy-bool", "toy-boolq"),
                                        ("xyz", "boolq, cb, cola,")])  # nothing near: all
def test_an_unknown_task_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"unknown task '{name}'; did you mean {near}"):
        data.load(name)


def official():
    """The folder in T5_DATA; without it the test is skipped."""
    if not os.environ.get("T5_DATA"):
        pytest.skip("set T5_DATA to the folder with the official files, as --data takes it, "
                    "and the published vocabulary in it as vocab/spiece.model")
    return Path(os.environ["T5_DATA"])


# ---------------------------------------------------------------- the tokenizer

E, N, C = "entailment", "neutral", "contradiction"
WORDS = "the the the the cats cats cats sleep sleep dogs"  # by frequency: ids 3, 4, 5, 6


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    """spiece.model of four whole words behind pad 0, eos 1 and unk 2."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS]), model_writer=model, model_type="word", vocab_size=7,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2)
    return write(tmp_path_factory.mktemp("vocabulary") / "spiece.model", model.getvalue())


@pytest.fixture
def tokenizer(vocabulary):
    return data.Tokenizer(vocabulary)


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


def test_the_long_part_is_the_passage_wherever_it_stands(tmp_path):
    row = {"passage": "Cats sleep.  Dogs run.", "question": "do cats sleep", "label": True}
    [example] = read(tmp_path, "boolq", jsonl([row]))
    assert example.input == "passage: Cats sleep. Dogs run. question: do cats sleep"
    assert example.input[slice(*example.long)] == "Cats sleep. Dogs run."
    example = read(tmp_path, "cb", jsonl(CB_ROWS))[1]
    assert example.input[slice(*example.long)] == "Tom knew that it rained."


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
    assert data.Tokenizer(same).fingerprint == data.Tokenizer(vocabulary).fingerprint
    # A word is changed, its length is not.
    another = write(tmp_path / "b" / "spiece.model", vocabulary.read_bytes().replace(b"dogs", b"cows"))
    assert data.Tokenizer(another).fingerprint != data.Tokenizer(vocabulary).fingerprint


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match="none/spiece.model is missing"):
        data.Tokenizer(tmp_path / "none" / "spiece.model")


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    # What a clone without git-lfs leaves in its place.
    pointer = write(tmp_path / "spiece.model", "version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="spiece.model"):
        data.Tokenizer(pointer)


def test_ids_of_the_published_vocabulary():
    tokenizer = data.Tokenizer(official() / "vocab" / "spiece.model")
    text = "translate English to German: The house is wonderful."
    ids = [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert [tokenizer.sentinel(i) for i in (0, 99)] == [32099, 32000]


# ------------------------------------------------------------- batches and order


def test_padding_fills_up_on_the_right():
    rows = [[5, 1], [7, 8, 9, 1]]
    ids = data.pad(rows)
    assert ids.tolist() == [[5, 1, 0, 0], [7, 8, 9, 1]] and ids.dtype == torch.long
    assert rows == [[5, 1], [7, 8, 9, 1]]


def test_an_epoch_visits_every_example_once():
    assert sorted(data.order(50, 3, 2)) == list(range(50))


def test_the_order_depends_on_seed_and_epoch():
    orders = [data.order(50, *numbers) for numbers in [(0, 0), (1, 0), (0, 1), (1, 11), (11, 1)]]
    assert len(set(map(tuple, orders))) == 5


def test_the_order_is_the_same_in_every_process():
    # As printed by another one: a run goes on tomorrow where it stopped today.
    assert data.order(10, seed=0, epoch=0) == (8, 4, 0, 9, 5, 1, 2, 7, 3, 6)


# --------------------------------------------------------------------- metrics

# neutral is never predicted
TARGETS = [E, E, E, C, C, N]
PREDICTIONS = [E, E, C, C, C, C]


def test_accuracy_is_word_for_word():
    assert data.accuracy(PREDICTIONS, TARGETS) == pytest.approx(4 / 6)
    assert data.accuracy(["Neutral", "neutral.", "neutral"], [N, N, N]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("label, expected", [
    (E, 4 / 5),  # 2 right, 0 too many, 1 missed: 4 / (4 + 0 + 1)
    (C, 4 / 6),  # 2 right, 2 too many, 0 missed: 4 / (4 + 2 + 0)
    (N, 0.0),    # 0 right, 0 too many, 1 missed
    ("maybe", 0.0)])
def test_f1_of_one_label(label, expected):
    assert data.f1(PREDICTIONS, TARGETS, label) == pytest.approx(expected)


def test_macro_f1_counts_a_label_that_is_never_predicted():
    # (4/5 + 4/6 + 0) / 3 = 0.4889; over the two predicted labels it would be 0.7333
    assert data.macro_f1(PREDICTIONS, TARGETS, (E, C, N)) == pytest.approx(0.48889, abs=1e-5)


def test_score_is_in_percent_with_the_reported_metric_first():
    scores = data.score("cb", PREDICTIONS, TARGETS)
    assert list(scores) == ["accuracy", "macro_f1"]
    assert list(scores.values()) == pytest.approx([66.667, 48.889], abs=1e-3)
    assert list(data.score("mnli", PREDICTIONS, TARGETS)) == ["accuracy"]


@pytest.mark.parametrize("prediction, target, expected", [
    ("person : anna ; place : rome", "person : anna ; place : oslo", 2 * 1 / (2 + 2)),
    ("place : oslo ; person : anna", "person : anna ; place : oslo", 1.0),  # in any order
    ("place : anna", "person : anna", 0.0),                     # the wrong type
    ("person : ann", "person : anna", 0.0),                     # half a span
    ("person : anna ; person : anna", "person : anna", 2 * 1 / (2 + 1)),  # each counts once
    ("person : anna ; person : anna", "person : anna ; person : anna", 1.0),
    ("none", "none", 0.0),                    # nothing to find, nothing found: as in conlleval
    ("none", "person : anna", 0.0),
    ("person : anna", "none", 0.0),
    ("person anna ; rome ;  ; place : oslo", "place : oslo", 1.0),  # what is no pair is not there
    ("", "person : anna", 0.0)])
def test_entity_f1_of_one_sentence(prediction, target, expected):
    assert data.entity_f1([prediction], [target]) == pytest.approx(expected)


def test_entity_f1_counts_entities_and_not_sentences():
    # 1 of 1 in the first, 0 of 1 in the second, which wanted 3; the third has none:
    # 2 * 1 / (2 + 4). The mean of the sentences would be (1 + 0 + 1) / 3.
    predictions = ["person : anna", "place : rome", "none"]
    targets = ["person : anna", "person : bob ; person : ida ; place : oslo", "none"]
    assert data.entity_f1(predictions, targets) == pytest.approx(1 / 3)
    assert data.score("toy-ner", predictions, targets) == {"entity_f1": pytest.approx(100 / 3)}


@pytest.mark.parametrize("predictions, targets", [([E], [E, E]), ([E, E], [E]), ([], [])])
def test_predictions_without_their_targets_have_no_score(predictions, targets):
    with pytest.raises(ValueError, match=f"{len(predictions)} predictions for {len(targets)} targets"):
        data.score("cb", predictions, targets)


def test_the_majority_is_that_of_the_training_set():
    train = [Example("", target) for target in (E, N, N)]
    dev = [Example("", target) for target in (E, N, E, N, C, E)]  # where it is another
    assert data.majority("cb", train, dev) == pytest.approx(100 * 2 / 6)


# --------------------------------------------------------------- the toy world


@pytest.fixture(scope="module")
def toy_cb():
    return data.load("toy-cb")


def test_a_toy_task_has_the_sizes_of_the_table(toy_cb):
    assert tuple(map(len, toy_cb)) == world.SIZES["cb"] == (250, 500)


def test_no_input_of_dev_is_in_training(toy_cb):
    train, dev = ([example.input for example in split] for split in toy_cb)
    assert len(set(train + dev)) == 250 + 500
    assert all(map(world.kept_for_dev, dev)) and not any(map(world.kept_for_dev, train))


def test_one_input_in_ten_is_kept_for_dev_by_its_checksum():
    # CRC-32 is 0 for no text, and 0xCBF43926 = 3421780262 for "123456789", as published.
    assert world.kept_for_dev("") and not world.kept_for_dev("123456789")
    assert 70 < sum(world.kept_for_dev(str(i)) for i in range(1000)) < 130


def test_labels_of_a_toy_task_are_balanced(toy_cb):
    # A third each: 83 of 250 and 167 of 500, and three standard deviations are 22 and 32.
    for split, low, high in zip(toy_cb, (61, 135), (105, 199)):
        counts = Counter(example.target for example in split)
        assert set(counts) == {E, N, C} and all(low <= count <= high for count in counts.values())


@pytest.mark.parametrize("name", [name for name in data.TASKS if name.startswith("toy-")])
def test_every_toy_task_gives_its_own_labels(name):
    targets = [target for _, target in world.examples(name.removeprefix("toy-"), 60, seed=1)]
    if name == "toy-ner":  # free text: none, or so many pairs
        for target in targets:
            assert len(data.entities(target)) == (0 if target == "none" else target.count(";") + 1)
        assert "none" in targets and len(set(targets)) > 3
    else:
        assert set(targets) == set(data.TASKS[name].labels)


def test_the_toy_world_is_the_same_in_every_process(toy_cb):
    # Another process hashes strings otherwise, which is the order of its sets.
    code = "from toy import world; print(world.examples('cb', 30, seed=0, dev=True))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                            env=os.environ | {"PYTHONHASHSEED": "12345"}, timeout=60)
    assert answer.stdout.strip() == str([(e.input, e.target) for e in toy_cb[1][:30]]), answer.stderr
    assert world.examples("cb", 30, seed=1, dev=True) != world.examples("cb", 30, seed=0, dev=True)


def test_a_statement_says_its_slots_in_order():
    said = Statement("cats", "chased", "dogs", "old", "wet", "oslo", "today", never=True)
    assert str(said) == "old cats never chased wet dogs in oslo today"
    assert said.say(place_first=True) == "in oslo old cats never chased wet dogs today"


CATS = Statement("cats", "chased", "dogs")


@pytest.mark.parametrize("premise, hypothesis, label", [
    # "cats chased dogs", and what else it says or does not say
    ({}, {}, E),
    ({}, {"verb": "pursued"}, E),                                   # a synonym
    ({"verb": "pursued"}, {}, E),                                   # both ways
    ({}, {"verb": "avoided"}, C),                                   # the opposite
    ({}, {"verb": "shunned"}, C),                                   # its synonym
    ({"verb": "pursued"}, {"verb": "shunned"}, C),
    ({}, {"verb": "washed"}, N),
    ({}, {"subject": "animals"}, E),                                # cats are animals,
    ({"subject": "animals"}, {}, N),                                # animals need not be cats
    ({}, {"object": "animals"}, E),
    ({"object": "animals"}, {}, N),
    ({}, {"subject": "workers"}, N),
    ({}, {"subject": "dogs", "object": "cats"}, N),                 # who did it to whom
    # more, less or other words about them
    ({"subject_adjective": "old"}, {}, E),
    ({}, {"subject_adjective": "old"}, N),
    ({"subject_adjective": "old"}, {"subject_adjective": "young"}, C),
    ({"subject_adjective": "old"}, {"subject_adjective": "wet"}, N),
    ({"subject_adjective": "old"}, {"object_adjective": "old"}, N),  # of the dogs, not of the cats
    ({"object_adjective": "big"}, {"object_adjective": "large"}, E),
    ({"object_adjective": "big"}, {"object_adjective": "tiny"}, C),
    # one event has one place and one time
    ({"place": "oslo"}, {}, E),
    ({}, {"place": "oslo"}, N),
    ({"place": "oslo"}, {"place": "rome"}, C),
    ({"time": "today"}, {"time": "monday"}, C),
    # never
    ({"never": True}, {}, C),
    ({}, {"never": True}, C),
    ({"never": True}, {"never": True}, E),
    ({"never": True}, {"never": True, "verb": "pursued"}, E),
    ({"never": True}, {"never": True, "verb": "avoided"}, N),       # perhaps neither
    ({"never": True}, {"never": True, "subject": "animals"}, N),    # other animals may have
    ({"never": True, "place": "oslo"}, {"never": True, "place": "rome"}, N),
    # the worst slot decides
    ({}, {"subject": "animals", "place": "oslo"}, N),
    ({}, {"verb": "avoided", "place": "oslo"}, C),
], ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value.values())) or "cats")
def test_judge_compares_slot_by_slot(premise, hypothesis, label):
    assert world.judge(replace(CATS, **premise), replace(CATS, **hypothesis)) == label


@pytest.mark.parametrize("module", [data, world])
def test_examples_in_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


# ----------------------------------------------------------------- checkpoints

SMALL = {"config.json": b"{}", "spiece.model": b"vocabulary"}
WHOLE = SMALL | {"model.safetensors": b"weights"}
INDEX = json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors",
                                   "c": "part-1.safetensors"}}).encode()
SHARDED = SMALL | {"model.safetensors.index.json": INDEX,
                   "part-1.safetensors": b"a and c", "part-2.safetensors": b"b"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this computer: .url, the .files it has, how it .fails, what it was .asked."""
    hub = types.SimpleNamespace(files={}, fails={}, asked=[], cache=tmp_path / "cache")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = self.path.partition("/resolve/main/")[2]
            hub.asked.append(self.path)
            fault, content = hub.fails.get(file), hub.files.get(file)
            if fault == "nonsense":
                self.wfile.write(b"this is no HTTP\r\n\r\n")
            elif isinstance(fault, int) or content is None:
                self.send_error(fault or 404)
            else:
                self.send_response(200)
                if fault == "chunk cut short":
                    self.send_header("Transfer-Encoding", "chunked")
                    content = b"ff\r\n" + content
                else:
                    length = len(content) + 100 * (fault == "cut short")
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    Handler.protocol_version = "HTTP/1.1"  # before which there are no chunks
    Handler.timeout = 10
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(data, "PAUSE", 0)  # between attempts
    monkeypatch.setenv("PANDA_T5_CACHE", str(hub.cache))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def names(asked):
    return [path.rpartition("/")[2] for path in asked]


def kept(folder):
    """What lies in a folder: name -> content."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_taken_as_it_is(hub, tmp_path):
    assert data.checkpoint(str(tmp_path), hub.url) == tmp_path
    assert hub.asked == []


@pytest.mark.parametrize("name", ["t5-small", "google/t5-base-lm-adapt"])
def test_a_published_name_is_fetched_once(hub, name):
    hub.files = WHOLE
    folder = data.checkpoint(name, hub.url)
    assert folder == hub.cache / "models" / name and kept(folder) == WHOLE
    assert hub.asked == [f"/{name}/resolve/main/{file}" for file in WHOLE]
    hub.asked.clear()
    assert data.checkpoint(name, hub.url) == folder
    assert hub.asked == []


def test_weights_in_shards_are_fetched_by_their_index(hub):
    hub.files = SHARDED
    assert kept(data.checkpoint("t5-3b", hub.url)) == SHARDED
    assert names(hub.asked) == ["config.json", "spiece.model", "model.safetensors",
                                "model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors"]
    hub.asked.clear()
    data.checkpoint("t5-3b", hub.url)
    assert hub.asked == []


def test_weights_as_pickle_are_the_last_resort(hub):
    hub.files = SMALL | {"pytorch_model.bin": b"weights"}
    assert kept(data.checkpoint("t5-small", hub.url)) == hub.files
    hub.asked.clear()
    data.checkpoint("t5-small", hub.url)
    assert hub.asked == []


def test_only_what_is_missing_is_fetched_again(hub):
    hub.files, hub.fails = SHARDED, {"part-2.safetensors": "cut short"}
    with pytest.raises(ValueError, match="part-2"):
        data.checkpoint("t5-3b", hub.url)
    hub.fails = {}
    hub.asked.clear()
    assert kept(data.checkpoint("t5-3b", hub.url)) == SHARDED
    assert names(hub.asked) == ["part-2.safetensors"]


def test_weights_in_none_of_the_forms_are_an_error(hub):
    hub.files = SMALL
    with pytest.raises(ValueError, match="404"):
        data.checkpoint("t5-small", hub.url)
    assert names(hub.asked)[2:] == ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]


def test_a_failing_hub_is_not_one_without_the_file(hub):
    # 503 is not 404: the next form is not tried, there may be a better answer tomorrow.
    hub.files, hub.fails = SMALL | {"pytorch_model.bin": b"old"}, {"model.safetensors": 503}
    with pytest.raises(ValueError, match="503"):
        data.checkpoint("t5-small", hub.url)
    assert names(hub.asked)[-1] == "model.safetensors"


def assert_says_what_to_do(message, hub, name):
    """The error names where the files were sought, where to put them, and the other way."""
    assert f"{hub.url}/{name}" in message
    assert str(hub.cache / "models" / name) in message
    assert "config.json, spiece.model and model.safetensors" in message and "--model" in message


@pytest.mark.parametrize("file", WHOLE)
@pytest.mark.parametrize("fault", [
    "cut short",
    "chunk cut short", "nonsense"])
def test_a_broken_download_is_not_used_and_says_what_to_do(hub, fault, file):
    hub.files, hub.fails = WHOLE, {file: fault}
    with pytest.raises(ValueError) as error:
        data.checkpoint("t5-small", hub.url)
    assert_says_what_to_do(str(error.value), hub, "t5-small")
    whole = {name: content for name, content in kept(hub.cache).items() if not name.endswith(".part")}
    assert whole == {name: WHOLE[name] for name in list(WHOLE)[:list(WHOLE).index(file)]}


def test_a_hub_out_of_reach_says_what_to_do(hub):
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError) as error:
            data.checkpoint("google/t5-base-lm-adapt", hub.url)
    assert_says_what_to_do(str(error.value), hub, "google/t5-base-lm-adapt")
    assert kept(hub.cache) == {}


def test_an_index_that_is_none_is_named(hub):
    # A page in place of the file, as networks that ask for a password give it.
    hub.files = SHARDED | {"model.safetensors.index.json": b"<html>"}
    with pytest.raises(ValueError, match="model.safetensors.index.json"):
        data.checkpoint("t5-3b", hub.url)


def test_an_index_cannot_write_outside_its_folder(hub):
    index = json.dumps({"weight_map": {"a": "../outside"}}).encode()
    hub.files = SMALL | {"model.safetensors.index.json": index, "../outside": b"anything"}
    with pytest.raises(ValueError, match="outside"):
        data.checkpoint("t5-3b", hub.url)
    assert "outside" not in kept(hub.cache)


def test_a_download_is_as_readable_as_any_file(hub, tmp_path):
    hub.files = WHOLE
    folder = data.checkpoint("t5-small", hub.url)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder / "config.json",
                                                            write(tmp_path / "plain", ""))]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("name, near", [
    ("t5-smal", "did you mean t5-small"), ("T5-large", "did you mean t5-large"),
    ("./t5-small", "did you mean t5-small"),
    ("bert", "known: t5-11b"), ("/no/folder", "known: t5-11b"), ("runs/toy/t5", "known: t5-11b")])
def test_a_bad_name_suggests_near_ones_and_asks_nobody(hub, name, near):
    with pytest.raises(ValueError, match=f"'{name}' is neither a folder nor .*{near}"):
        data.checkpoint(name, hub.url)
    assert hub.asked == []


def test_downloads_lie_where_the_environment_says(monkeypatch, tmp_path):
    for name in ("PANDA_T5_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / ".cache" / "panda-t5"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_folder() == tmp_path / "xdg" / "panda-t5"
    monkeypatch.setenv("PANDA_T5_CACHE", str(tmp_path / "mine"))
    assert data.cache_folder() == tmp_path / "mine"


# --------------------------------------------------------------- the command line


def command(*arguments, folder):
    return subprocess.run([sys.executable, ROOT / "data.py", *arguments], cwd=folder,
                          capture_output=True, text=True, timeout=120)


def test_the_command_lists_the_tasks(tmp_path):
    answer = command(folder=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert len(lines) == 1 + len(data.TASKS)
    assert ("cb 250 56 accuracy, macro_f1; entailment, contradiction, neutral; "
            "fetched: superglue/CB/train.jsonl, superglue/CB/val.jsonl") in lines
    assert "conll05 ? ? argument_f1; free text; by hand: conll05/train, conll05/devel" in lines
    assert "toy-cb 250 500 accuracy; entailment, neutral, contradiction; generated" in lines
    assert "toy-ner 5000 500 entity_f1; free text; generated" in lines


def test_the_command_shows_examples_as_the_model_sees_them(tmp_path, vocabulary):
    # Each word, known or not, is a token here, and eos is one more.
    row = {"premise": "the cats sleep", "hypothesis": "dogs sleep", "label": "neutral"}
    write(tmp_path / "superglue/CB/train.jsonl", jsonl([CB_ROWS[1], row, row]))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl([row, CB_ROWS[1], CB_ROWS[1], CB_ROWS[2]]))
    answer = command("cb", "--data", ".", "--model", vocabulary.parent, folder=tmp_path)
    assert answer.returncode == 0 and answer.stderr.count("the published file has") == 2
    lines = answer.stdout.splitlines()
    assert lines[:4] == ["cb: 3 train, 4 dev, accuracy of the commonest target 25.0", "",
                         "input  (8 tokens)  hypothesis: dogs sleep premise: the cats sleep",
                         "target (2 tokens)  neutral"]
    assert sum(line.startswith("input") for line in lines) == 3  # the default of --count


def test_the_command_ends_in_one_line_for_a_bad_task(tmp_path):
    answer = command("cbb", folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("data.py: unknown task 'cbb'; did you mean cb")

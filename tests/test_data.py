"""data.py: the tasks as text to text, load, score, and examples as token ids.

    python -m pytest tests/test_data.py                   # seconds, nothing to download
    T5_DATA=folder python -m pytest tests/test_data.py    # your official files too

T5_DATA is a folder as `--data` takes it. What needs it is skipped without it.

Oracle: invented rows in the official formats, with the strings they should become
written out (rows.py); for the official files the counts published for them; a vocabulary
of four words (conftest.py), and the toy world's.
"""

import doctest
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import data
import forked
from data import Example
from plumbing import readers
from plumbing.examples import read_split
from plumbing.order import shuffled
from plumbing.tokenizer import Tokenizer
from rows import (BOOLQ, C, CAFE, CAFE_TEXT, CB_ROWS, COPA, E, MNLI_DEV, MNLI_ROW, MNLI_TRAIN, N,
                  ROWS, WIC, WSC, examples_of, jsonl, multirc, official, read, table, write)
from toy import world

ROOT = Path(data.__file__).parent


REAL = [name for name, task in data.TASKS.items() if task.files]


def test_examples_in_the_docstrings():
    result = doctest.testmod(data)
    assert result.attempted > 0 and result.failed == 0


# ----------------------------------------------------------------------------- the table


@pytest.mark.parametrize("change, message", [
    ({"input": "no column"}, "names no {column}"),
    ({"cut": "premise"}, "cut='premise' is no column"),
    ({"metrics": "accuracy"}, "metrics are 'accuracy', wanted a tuple of accuracy, f1"),
    ({"metrics": ("acc",)}, "metrics are .*acc.*, wanted a tuple"),
    ({"codes": (0, 1)}, "codes are .*, wanted a string for each"),
    ({"codes": ("0",)}, "codes are .*, wanted a string for each")])
def test_a_task_that_cannot_be_is_refused_where_it_is_written(change, message):
    good = {"files": ("a.tsv", "b.tsv"), "input": "{text}", "target": "label",
            "labels": ("no", "yes"),
            "metrics": ("accuracy",)}
    data.Task(**good)
    with pytest.raises(ValueError, match=message):
        data.Task(**good | change)


def test_a_task_of_ones_own_has_nothing_to_fetch(tmp_path, monkeypatch):
    task = data.Task(("own/train.csv", "own/dev.csv"), "{text}", "answer", (), ("answer_em",))
    monkeypatch.setitem(data.TASKS, "own", task)
    with pytest.raises(ValueError, match="own reads own/train.csv and own/dev.csv.*--data FOLDER"):
        data.load("own", cache=tmp_path)
    for file in task.files:
        write(tmp_path / file, "text\tanswer\na\tB\n")
    with pytest.raises(ValueError, match="train.csv: of itself a task reads .jsonl and .tsv"):
        data.load("own", tmp_path)
    monkeypatch.setitem(data.TASKS, "own", replace(task, read=readers.read_tsv))
    _, dev = data.load("own", tmp_path)
    assert data.score("own", ["the b"], dev) == {"answer_em": 100.0}  # no golds beside the target


@pytest.mark.parametrize("name, near", [("cbb", "cb,"), ("mlni", "mnli"), ("toy-bool", "toy-boolq"),
                                        ("xyz", "boolq, cb, cola,")])  # nothing near: all
def test_an_unknown_task_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"unknown task '{name}'; did you mean {near}"):
        data.load(name)


# ------------------------------------------------------------------ rows as text to text


def test_every_real_task_has_its_rows():
    assert {*ROWS, "cb", "rte", "mnli"} == set(REAL)


@pytest.mark.parametrize("name", ROWS)
def test_official_rows_as_text_to_text(tmp_path, capsys, name):
    train, train_examples, dev, dev_examples = ROWS[name]
    for path, content in zip(data.TASKS[name].files, (train, dev)):
        for file, text in (content.items() if isinstance(content, dict) else [("", content)]):
            write(tmp_path / path / file if file else tmp_path / path, text)
    assert data.load(name, tmp_path) == (train_examples, dev_examples)
    said = capsys.readouterr().err
    assert "skipped" not in said and "fixed" not in said
    # That a file is not the whole published one is said, where its size is known.
    assert said.count("the published file has") == len(data.TASKS[name].sizes)


def test_cb_as_text_to_text(tmp_path):
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(*CB_ROWS[:2]))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(*CB_ROWS[2:]))
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
    write(tmp_path / "superglue/RTE/train.jsonl", jsonl(*rows[:1]))
    write(tmp_path / "superglue/RTE/val.jsonl", jsonl(*rows[1:]))
    assert data.load("rte", str(tmp_path)) == (
        [Example("hypothesis: The mill burnt down. premise: The mill burnt down in May.",
                 "entailment")],
        [Example("hypothesis: The mill was bought by Ada. premise: The mill was sold.",
                 "not_entailment")])


def test_mnli_as_text_to_text(tmp_path):
    # sentence1 is the premise and sentence2 the hypothesis; dev has four columns more.
    rows = [MNLI_ROW, MNLI_ROW | {"sentence2": "No boat left.", "gold_label": "contradiction"},
            MNLI_ROW | {"sentence2": "They will return.", "gold_label": "neutral"}]
    write(tmp_path / "glue/MNLI/train.tsv", table(MNLI_TRAIN, rows[:2]))
    # label1 to label5 are what single annotators said: not to be taken for gold_label.
    write(tmp_path / "glue/MNLI/dev_matched.tsv",
          table(MNLI_DEV, [rows[2] | {f"label{i}": "entailment" for i in range(1, 6)}]))
    assert data.load("mnli", tmp_path) == (
        [Example("hypothesis: Boats left. premise: Two boats left.", "entailment"),
         Example("hypothesis: No boat left. premise: Two boats left.", "contradiction")],
        [Example("hypothesis: They will return. premise: Two boats left.", "neutral")])


LONG = {"cb": "Tin is.", "copa": "The jug fell.", "wic": "The bank is steep.",
        "multirc": "It snowed.",
        "boolq": "Tin -- Tin is a soft metal.", "squad": "The mill is in Ely.", "qqp": "Who?",
        "conll12": "Soon ring up", "record": "Tom met Tom Ray."}


@pytest.mark.parametrize("name", LONG)
def test_the_part_to_cut_is_the_long_one(tmp_path, name):
    row = jsonl({"premise": "Tin is.", "hypothesis": "Tin.", "label": "neutral"})
    example = read(tmp_path, name, row if name == "cb" else ROWS[name][2])[0][-1]
    assert example.input[slice(*example.long)] == LONG[name]


def test_the_long_part_is_the_passage_wherever_it_stands(tmp_path):
    row = {"passage": "Cats sleep.  Dogs run.", "question": "do cats sleep", "label": True}
    [example] = examples_of(tmp_path, "boolq", jsonl(row))
    assert example.input == "passage: Cats sleep. Dogs run. question: do cats sleep"
    assert example.input[slice(*example.long)] == "Cats sleep. Dogs run."
    example = examples_of(tmp_path, "cb", jsonl(*CB_ROWS))[1]
    assert example.input[slice(*example.long)] == "Tom knew that it rained."


# ---------------------------------------------------------------------------------- load


def test_what_was_skipped_is_said_once(tmp_path, capsys):
    write(tmp_path / "superglue/CB/train.jsonl",
          jsonl(*CB_ROWS, *[CB_ROWS[0] | {"label": None}] * 2))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(*CB_ROWS))
    train, _ = data.load("cb", tmp_path)
    assert len(train) == 3
    folder = tmp_path / "superglue/CB"
    assert capsys.readouterr().err.splitlines() == [
        f"cb: 2 rows of {folder / 'train.jsonl'} skipped: no label",
        f"cb: 3 examples in {folder / 'train.jsonl'}, the published file has 250",
        f"cb: 3 examples in {folder / 'val.jsonl'}, the published file has 56"]


def test_a_missing_file_is_named_with_all_that_the_task_reads(tmp_path):
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(*CB_ROWS))
    with pytest.raises(ValueError) as error:
        data.load("cb", tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'superglue/CB/val.jsonl'} is missing")
    assert "superglue/CB/train.jsonl and superglue/CB/val.jsonl" in str(error.value)


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_data_folder_that_is_none_is_named(tmp_path, folder):
    write(tmp_path / "file", "")
    with pytest.raises(ValueError, match=f"the data folder .*{folder} is no folder"):
        data.load("cb", tmp_path / folder)


@pytest.mark.parametrize("name, train, dev", [
    ("cb", 250, 56), ("copa", 400, 100), ("wsc", 259, 104), ("rte", 2490, 277), ("wic", 5428, 638),
    ("multirc", 27243, 4848), ("cola", 8551, 1043), ("mrpc", 3668, 408), ("stsb", 5749, 1500),
    ("sst2", 67349, 872), ("conll04", 922, 231), ("qnli", None, 5463), ("boolq", None, 3270),
    ("squad", None, 10570)])
def test_counts_of_the_official_files(name, train, dev):
    folder, task = official(), data.TASKS[name]
    for file, count in zip(task.files, (train, dev)):
        if count:  # else it may be a sample, or absent
            examples, notes = read_split(task, folder / file, file == task.files[0])
            assert len(examples) == count and count in task.sizes
            assert not task.labels or {e.target for e in examples} == set(task.labels)
            # WSC alone has rows that are left out, or pronouns that are moved
            assert name == "wsc" or not notes


# ------------------------------------------------------------------------- without labels


def bare(row):
    """A row, however deep, without its labels and answers to queries."""
    if isinstance(row, list):
        return [bare(part) for part in row]
    if not isinstance(row, dict):
        return row
    return {name: bare(part) for name, part in row.items()
            if name != "label" and not (name == "answers" and "query" in row)}


HE = {"text": "Tom saw that he ran as he did", "idx": 1, "label": True,
      "target": {"span1_index": 0, "span1_text": "Tom", "span2_index": 3, "span2_text": "he"}}
# task -> labelled rows, their inputs
SUPERGLUE = {
    "cb": ([CB_ROWS[0]],
           ["hypothesis: the kettle was on premise: Mia said the kettle was on."]),
    "rte": ([CB_ROWS[1] | {"label": "not_entailment"}],
            ["hypothesis: it rained premise: Tom knew that it rained."]),
    "copa": ([COPA], ["choice1: It broke. choice2: It was clean. premise: The jug fell. "
                      "question: effect"]),
    "wic": ([WIC], ["sentence1: He swam to the bank. sentence2: The bank is shut. word: bank"]),
    "boolq": ([BOOLQ], ["passage: Tin -- Tin is a soft metal. question: is tin a metal"]),
    "multirc": ([multirc("Ada baked.", ("Who?", [("Ada", 1), ("Eve", 0)]), idx=4)],
                ["question: Who? answer: Ada paragraph: Ada baked.",
                 "question: Who? answer: Eve paragraph: Ada baked."]),
    "record": ([CAFE], [f"query: Then @placeholder left Ely. {CAFE_TEXT}",
                        f"query: @placeholder had money. {CAFE_TEXT}"]),
    # Also of a row that is labelled false, which training leaves out; another pronoun is another
    # input.
    "wsc": ([WSC | {"label": False}, HE, HE | {"target": HE["target"] | {"span2_index": 6}}],
            ["Ada thanked Eve because *she* had helped .", "Tom saw that *he* ran as he did",
             "Tom saw that he ran as *he* did"])}


@pytest.mark.parametrize("name", SUPERGLUE)
def test_rows_of_superglue_without_labels_give_their_inputs(tmp_path, name):
    rows, inputs = SUPERGLUE[name]
    assert bare(rows) != rows
    for content in (rows, bare(rows)):  # labels that are there are not read
        path = write(tmp_path / "unlabeled.jsonl", jsonl(*content))
        examples, notes = read_split(data.TASKS[name], path, labels=False)
        assert examples == [Example(text, "") for text in inputs] and not notes
        assert data.without_labels(name, str(path), 0) == examples
    # The long part is known, so that it is what is cut.
    assert all(e.input[slice(*e.long)] for e in examples)
    with pytest.raises(ValueError, match="has no usable row; . skipped: no (label|referent|ans)"):
        read_split(data.TASKS[name], path)


def test_the_same_input_counts_once(tmp_path, capsys):
    # Who "she" is, each row of WSC asks about another name; the pronoun is the same.
    ada = WSC | {"target": WSC["target"] | {"span1_index": 0, "span1_text": "Ada"}}
    path = write(tmp_path / "unlabeled.jsonl", jsonl(*bare([WSC, ada, HE])))
    assert len(data.without_labels("wsc", str(path), 0)) == 2
    assert capsys.readouterr().err == f"wsc: 1 rows of {path} skipped: an input twice\n"


def test_a_txt_has_an_input_a_line(tmp_path, capsys):
    path = write(tmp_path / "talk.txt", "anna :  hello ?\n\n  \ntom : {premise} .")
    for name in ("toy-cb", "cb", "wsc", "squad", "stsb", "toy-ner"):
        assert data.without_labels(name, str(path), 0) == [
            Example("anna : hello ?", ""), Example("tom : {premise} .", "")]
        assert capsys.readouterr().err == f"{name}: 2 rows of {path} skipped: no text\n"


@pytest.mark.parametrize("name, file, content, message", [
    ("cb", "a.txt", "\n\n", "a.txt has no usable row; 2 skipped: no text"),
    ("cb", "a.txt", b"\xff\n", "a.txt is not UTF-8"),
    ("cb", "a.jsonl", "{}\n", "a.jsonl has no usable row; 1 skipped: no premise"),
    ("cb", "a.jsonl", "cats\n", "a.jsonl, line 1: not JSON"),
    ("copa", "a.jsonl", jsonl(COPA, COPA | {"premise": 3}), "a.jsonl, line 2: no text in column"),
    ("wsc", "a.jsonl", jsonl({"text": "A."}), "a.jsonl, line 1: .*'target'"),
    ("cb", "a.csv", "a,b\n", "a.csv: of itself a task reads .jsonl and .tsv"),
    ("toy-cb", "a.jsonl", "{}\n", "toy-cb is generated and has no format: .*a.jsonl is no .txt")])
def test_a_file_without_labels_that_cannot_be_read(tmp_path, name, file, content, message):
    path = write(tmp_path / file, content)
    with pytest.raises(ValueError, match=message):
        data.without_labels(name, str(path), 0)


# --------------------------------------------------------------------------------- score


# neutral is never predicted
TARGETS = [E, E, E, C, C, N]
PREDICTIONS = [E, E, C, C, C, C]


def test_score_is_in_percent_with_the_reported_metric_first():
    scores = data.score("cb", PREDICTIONS, TARGETS)
    assert list(scores) == ["accuracy", "macro_f1"]
    assert list(scores.values()) == pytest.approx([66.667, 48.889], abs=1e-3)
    assert list(data.score("mnli", PREDICTIONS, TARGETS)) == ["accuracy"]


@pytest.mark.parametrize("predictions, targets", [([E], [E, E]), ([E, E], [E]), ([], [])])
def test_predictions_without_their_targets_have_no_score(predictions, targets):
    with pytest.raises(ValueError,
                       match=f"{len(predictions)} predictions for {len(targets)} targets"):
        data.score("cb", predictions, targets)


def test_the_majority_is_that_of_the_training_set():
    targets = Counter([E, N, N])
    dev = [Example("", target) for target in (E, N, E, N, C, E)]  # where it is another
    assert data.majority("cb", targets, dev) == pytest.approx(100 * 2 / 6)


def percent(**values):
    return pytest.approx({name: 100 * value for name, value in values.items()})


def test_of_two_labels_an_illegal_prediction_counts_as_the_other_one():
    # 1 true positive, 1 false negative, 1 false positive; the last but one is right
    assert data.score("qqp", ["duplicate", "so", "not_duplicate", "so"],
                      ["duplicate", "duplicate", "not_duplicate", "not_duplicate"]
                      ) == percent(f1=0.5, accuracy=0.5)


def test_the_positive_class_is_the_one_published():
    positives = {"qqp": "duplicate", "mrpc": "equivalent", "multirc": "True", "cola": "acceptable"}
    for name, positive in positives.items():
        assert data.TASKS[name].labels[-1] == positive
    targets = ["equivalent", "equivalent", "not_equivalent"]
    assert data.score("mrpc", ["equivalent"] * 3, targets) == percent(accuracy=2 / 3, f1=0.8)


# ------------------------------------------------------------ examples as token ids


@pytest.fixture(scope="module")
def toy():
    return Tokenizer(world.MODEL / "spiece.model")


@pytest.fixture
def few(monkeypatch):
    """toy-cb and toy-ner have 24 training examples and 20 dev examples."""
    for kind in ("cb", "ner"):
        monkeypatch.setitem(world.SIZES, kind, (24, 20))


def encoded(name, tokenizer, folder=None, **numbers):
    recipe = {"max_input": 512, "max_dev": 0, "held_out": 0.0} | numbers
    return data.Encoded(name, tokenizer, types.SimpleNamespace(**recipe), folder)


@pytest.fixture
def own(tmp_path, monkeypatch, tokenizer):
    """A function of (train rows, dev rows): a task of one's own with the labels cats and dogs.

    Its vocabulary has the words the, cats, sleep, dogs, with the ids 3, 4, 5 and 6.
    """
    task = data.Task(("train.tsv", "dev.tsv"), "{text}", "label", ("cats", "dogs"), ("accuracy",))
    monkeypatch.setitem(data.TASKS, "own", task)

    def make(train, dev, **numbers):
        for file, rows in zip(task.files, (train, dev)):
            write(tmp_path / file, "text\tlabel\n" + "".join(f"{t}\t{l}\n" for t, l in rows))
        return encoded("own", tokenizer, tmp_path, **numbers)
    return make


TRAIN = [("the cats sleep", "cats"), ("dogs", "dogs"), ("the cats", "cats")]
DEV = [("dogs sleep", "dogs"), ("cats sleep", "cats"), ("the dogs", "dogs"), ("dogs", "dogs")]


def test_a_task_as_token_ids(own):
    task = own(TRAIN, DEV)
    assert [(list(ids), target) for ids, target in task.train] == [
        ([3, 4, 5, 1], [4, 1]), ([6, 1], [6, 1]), ([3, 4, 1], [4, 1])]
    assert [list(ids) for ids in task.dev_ids] == [[6, 5, 1], [4, 5, 1], [3, 6, 1], [6, 1]]
    assert [(e.input, e.target) for e in task.dev] == DEV
    assert task.labels == [[4, 1], [6, 1]] and task.longest == 2


def test_what_is_cut_and_what_is_unknown_is_said(own, capsys):
    own(TRAIN, DEV)
    assert "cut" not in capsys.readouterr().out
    task = own(TRAIN, DEV, max_input=2)
    said = "own: 2 of 3 training inputs and 3 of 4 dev inputs cut to 2 tokens"
    assert said in capsys.readouterr().out
    assert [len(ids) for ids, _ in task.train] == [2, 2, 2]
    # One word of three, and each text's eos: 1 of 4. Of 1 in 100, nothing is said.
    own([("the cats fly", "cats")], DEV)
    assert "own: 25.0 % of its input tokens are unknown" in capsys.readouterr().out
    own([("the " * 98 + "fly", "cats")], DEV)
    assert "unknown" not in capsys.readouterr().out
    own([("the " * 97 + "fly", "cats")], DEV)  # 1 in 99
    assert "own: 1.0 % of its input tokens are unknown" in capsys.readouterr().out


def test_with_nothing_held_out_all_of_dev_is_for_both(few, toy):
    task = encoded("toy-cb", toy)
    assert task.choose == task.report == list(range(20))


@pytest.mark.parametrize("share", [0.01, 0.99])  # of 20: none, and all
def test_a_share_that_leaves_one_part_empty_is_refused(few, toy, share):
    with pytest.raises(ValueError, match=f"--held-out {share} of 20 dev examples leaves none"):
        encoded("toy-cb", toy, held_out=share)


def test_three_quarters_of_dev_are_held_out_for_the_report(few, toy):
    task = encoded("toy-cb", toy, held_out=0.75)
    assert (len(task.choose), len(task.report)) == (5, 15)
    assert sorted(task.choose + task.report) == list(range(20))  # each in one of the two
    # Dealt out, as a file may be sorted by its labels; the same cards in every process.
    assert task.choose == [3, 6, 8, 15, 19]
    assert task.report == sorted(task.report)


def test_fewer_of_dev_are_evenly_spaced(few, toy):
    whole, some = (encoded("toy-cb", toy, max_dev=count) for count in (0, 5))
    assert some.dev == whole.dev[::4] and len(some.dev_ids) == 5
    assert some.report == list(range(5))
    assert len(encoded("toy-cb", toy, max_dev=50).dev) == 20  # more than there are


def test_steps_walk_through_shuffled_epochs(few, toy):
    task = encoded("toy-cb", toy)
    steps = [task.step(seed=5, step=i, batch=10) for i in range(5)]
    assert [len(step) for step in steps] == [10] * 5
    # 50 examples: two epochs of 24 in two orders, and the beginning of a third.
    walk = tuple(place for step in steps for place in step)
    assert walk[:24] == shuffled(24, 5, 0) and walk[24:48] == shuffled(24, 5, 1)
    assert walk[48:] == shuffled(24, 5, 2)[:2]
    assert task.step(seed=6, step=0, batch=10) != steps[0]
    # A batch larger than the training set meets examples again.
    assert Counter(task.step(5, 0, 48)) == dict.fromkeys(range(24), 2)


def test_each_seed_draws_its_own_few_labels(few, toy):
    task = encoded("toy-cb", toy, labelled=6)
    drawn = [task.mine(seed) for seed in range(3)]
    assert drawn[0] == shuffled(24, 0, "labelled")[:6]
    assert [len(set(places)) for places in drawn] == [6, 6, 6]
    assert len({*map(frozenset, drawn)}) == 3
    # As they come: of three labels, not two each.
    counts = [Counter(task.train[place][1][0] for place in places) for places in drawn]
    assert any(count != Counter(dict.fromkeys(count, 2)) for count in counts)
    assert list(encoded("toy-cb", toy).mine(0)) == list(range(24))


def test_with_few_labels_steps_walk_through_these(few, toy):
    task = encoded("toy-cb", toy, labelled=6)
    mine = task.mine(5)
    walk = sum((task.step(5, step, 4) for step in range(3)), [])  # 12: two epochs
    assert walk == [mine[at] for epoch in (0, 1) for at in shuffled(6, 5, epoch)]
    assert task.free(5, 0, 4) == [] and not task.rest(5)


def test_the_rest_are_the_training_inputs_that_lost_their_labels(few, toy):
    task = encoded("toy-cb", toy, labelled=6, unlabelled="rest")
    for seed in (0, 1):
        assert len(task.rest(seed)) == 18 and not {*task.rest(seed)} & {*task.mine(seed)}
        walk = sum((task.free(seed, step, 9) for step in range(4)), [])  # 36: two epochs
        assert Counter(walk) == dict.fromkeys(task.rest(seed), 2) and walk[:18] != walk[18:]
    assert task.rest(0) != task.rest(1)
    assert all(task.inputs[place] is task.train[place][0] for place in range(24))
    assert task.free(0, 0, 4) == task.free(0, 0, 4) != task.free(0, 1, 4)


def test_a_generated_task_has_as_many_inputs_as_are_asked_for(few, toy):
    task, plain = encoded("toy-cb", toy, labelled=4, unlabelled="100"), encoded("toy-cb", toy)
    assert [*task.rest(0)] == [*task.rest(1)] == [*range(24, 124)]
    assert task.train == plain.train and task.dev_ids == plain.dev_ids
    extra = {tuple(task.inputs[place]) for place in task.rest(0)}
    assert len(extra) == 100
    assert not extra & {tuple(ids) for ids in task.dev_ids}
    assert not extra & {tuple(ids) for ids, _ in task.train}
    assert {*task.free(0, 0, 100)} == {*task.rest(0)} and task.free(0, 0, 9) == task.free(0, 0, 9)
    assert len(encoded("toy-ner", toy, unlabelled="7").rest(0)) == 7  # free text, and all labels


def test_a_generated_task_has_as_many_labels_as_are_asked_for(few, toy):
    task, plain = encoded("toy-cb", toy, labelled=40), encoded("toy-cb", toy)
    assert len(task.train) == 40 and task.train[:24] == plain.train
    assert sorted(task.mine(0)) == list(range(40)) and task.dev == plain.dev
    more = encoded("toy-cb", toy, labelled=40, unlabelled="5")
    assert more.train == task.train and len(more.rest(0)) == 5


def test_inputs_without_labels_may_come_from_a_file(few, toy, own, tmp_path, capsys):
    path = write(tmp_path / "more.txt", "the cats\n\ndogs sleep the cats\n")
    task = own(TRAIN, DEV, unlabelled=str(path))
    assert [*task.rest(0)] == [3, 4] == sorted(task.free(0, 0, 2))
    assert [list(task.inputs[place]) for place in (3, 4)] == [[3, 4, 1], [6, 5, 3, 4, 1]]
    capsys.readouterr()
    # Cut at the end, as others are, and counted with the training inputs.
    task = own(TRAIN, DEV, unlabelled=str(path), max_input=3)
    assert list(task.inputs[4]) == [6, 5, 1]
    assert "own: 2 of 5 training inputs and 0 of 4 dev inputs cut" in capsys.readouterr().out
    assert len(encoded("toy-ner", toy, unlabelled=str(path)).rest(0)) == 2
    # In the task's own format, here without the column of the label
    path = write(tmp_path / "more.tsv", "text\nthe cats\n")
    assert list(own(TRAIN, DEV, unlabelled=str(path)).inputs[3]) == [3, 4, 1]


@pytest.mark.parametrize("numbers, message", [
    ({"labelled": 4}, "own: --labelled is 4, wanted 0 to 3 of 3 examples$"),
    ({"unlabelled": "rest"}, "own: --labelled is 0, wanted 1 to 2 of 3 examples with --unlabelled"),
    ({"labelled": 3, "unlabelled": "rest"}, "own: --labelled is 3, wanted 1 to 2 of 3 examples w"),
    ({"unlabelled": "10"}, "own is not generated: give --unlabelled a file, not 10")])
def test_labels_and_inputs_that_a_task_does_not_have_are_refused(own, numbers, message):
    with pytest.raises(ValueError, match=message):
        own(TRAIN, DEV, **numbers)


def test_a_generated_task_asked_for_more_labels_has_no_rest(few, toy):
    with pytest.raises(ValueError, match="toy-cb: --labelled is 30, wanted 1 to 29 of 30 examples"):
        encoded("toy-cb", toy, labelled=30, unlabelled="rest")


def test_a_label_that_the_vocabulary_cannot_write_is_refused_by_name(
        few, toy, tokenizer, monkeypatch):
    def labelled(*labels):
        monkeypatch.setitem(data.TASKS, "toy-cb", replace(data.TASKS["toy-cb"], labels=labels))

    labelled("cats", "dogs", "birds")  # the last is no word of the vocabulary of four
    with pytest.raises(ValueError, match="toy-cb: .* vocabulary cannot write 'birds'.*--model"):
        encoded("toy-cb", tokenizer)
    # Two labels that are the same pieces; which of them was meant, nobody could tell.
    labelled("dogs", "cats", " cats")
    with pytest.raises(ValueError, match="toy-cb: this model's vocabulary cannot write 'cats' so "
                                         "that it differs.*--model"):
        encoded("toy-cb", toy)


def test_an_answer_is_the_likeliest_label_or_a_text(few, toy):
    labels, text = encoded("toy-cb", toy), encoded("toy-ner", toy)
    answers = [torch.tensor([-3.0, -2.0, -1.0]), torch.tensor([-0.1, -2.0, -5.0])]
    assert labels.texts(answers) == [C, E]  # of entailment, neutral, contradiction
    ids, most = labels.kind("cpu")
    assert ids.tolist() == labels.labels and most is None  # one piece and eos each: no padding
    assert text.texts([(toy.encode("place : oslo"), -0.5), ([1], None)]) == ["place : oslo", ""]
    # The longest answer of the training set, eos counted
    assert text.kind("cpu") == (None, max(len(target) for _, target in text.train))
    assert text.labels == []


def test_what_is_scored_is_what_was_asked(own):
    task = own(TRAIN, DEV)
    assert task.score(["dogs", "cats", "dogs", "cats"], range(4)) == 75
    assert task.score(["dogs", "dogs"], [1, 2]) == 50
    assert task.score(["dogs", "dogs"], [2, 3]) == 100


def test_the_majority_is_scored_on_the_reported_part(own):
    task = own(TRAIN, DEV)
    assert task.targets == {"cats": 2, "dogs": 1}
    assert task.majority == 25  # the one "cats" of dev's four
    task = own(TRAIN, DEV, held_out=0.5)
    assert len(task.report) == 2
    assert task.majority == 50 * [DEV[i][1] for i in task.report].count("cats")
    task = own(TRAIN, DEV[:1], held_out=0.0)
    assert task.majority == 0


def test_its_fingerprint_is_that_of_the_examples_as_they_are_read(own):
    task = own(TRAIN, DEV)
    assert own(TRAIN, DEV, held_out=0.5).fingerprint == task.fingerprint
    others = [own(TRAIN[:2], DEV), own(TRAIN[::-1], DEV), own(TRAIN, DEV[:3]),
              own(TRAIN, [("dogs sleep", "cats"), *DEV[1:]]),  # another target
              own(TRAIN, DEV, max_input=3)]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_its_fingerprint_is_that_of_few_labels_and_inputs_without_have_their_own(
        own, few, toy, tmp_path):
    # As it was before there were any: what has been trained is found again.
    for off in ({}, {"labelled": 0, "unlabelled": ""}):
        plain = encoded("toy-cb", toy, **off)
        assert (plain.fingerprint, plain.unlabelled) == ("8918656f5f992d16", "")
    # Only students read inputs without labels, so another checksum tells them: the prompts and
    # teachers beside the students are found again whatever these are.
    one, other = (str(write(tmp_path / f"{i}.txt", text))
                  for i, text in enumerate(["the cats\n", "dogs sleep\n"]))
    same = str(write(tmp_path / "moved" / "2.txt", " the cats\n"))
    asked = [{}, {"labelled": 1}, {"labelled": 2}, {"labelled": 2, "unlabelled": "rest"},
             {"unlabelled": one}, {"unlabelled": other}, {"labelled": 2, "unlabelled": one}]
    tasks = [own(TRAIN, DEV, **numbers) for numbers in asked]
    none, a, b, rest, of_one, of_other, few_and_one = tasks
    assert len({none.fingerprint, a.fingerprint, b.fingerprint}) == 3
    assert b.fingerprint == rest.fingerprint == few_and_one.fingerprint
    assert none.fingerprint == of_one.fingerprint == of_other.fingerprint
    assert none.unlabelled == a.unlabelled == b.unlabelled == ""
    assert len({rest.unlabelled, of_one.unlabelled, of_other.unlabelled, ""}) == 4
    assert of_one.unlabelled == few_and_one.unlabelled
    # What is read counts, not the name of its file.
    assert own(TRAIN, DEV, unlabelled=same).unlabelled == of_one.unlabelled


@pytest.mark.parametrize("change", [{"metrics": ("f1",)}, {"labels": ("dogs", "cats")}])
def test_its_fingerprint_is_that_of_what_is_asked_too(own, monkeypatch, change):
    # The same examples, scored otherwise: what was trained before must not be read with its score.
    before = own(TRAIN, DEV)
    monkeypatch.setitem(data.TASKS, before.name, replace(before.task, **change))
    assert own(TRAIN, DEV).fingerprint != before.fingerprint


# ---------------------------------------------------------------------- the command line


def command(*arguments, folder):
    return forked.run([ROOT / "data.py", *arguments], folder)


@pytest.mark.beside
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


@pytest.mark.beside
def test_the_command_shows_examples_as_the_model_sees_them(tmp_path, vocabulary):
    # Each word, known or not, is a token here, and eos is one more.
    row = {"premise": "the cats sleep", "hypothesis": "dogs sleep", "label": "neutral"}
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(CB_ROWS[1], row, row))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(row, CB_ROWS[1], CB_ROWS[1], CB_ROWS[2]))
    answer = command("cb", "--data", ".", "--model", vocabulary.parent, folder=tmp_path)
    assert answer.returncode == 0 and answer.stderr.count("the published file has") == 2
    lines = answer.stdout.splitlines()
    assert lines[:4] == ["cb: 3 train, 4 dev, accuracy of the commonest target 25.0 on all dev", "",
                         "input  (8 tokens)  hypothesis: dogs sleep premise: the cats sleep",
                         "target (2 tokens)  neutral"]
    assert sum(line.startswith("input") for line in lines) == 3  # the default of --count


@pytest.mark.beside
def test_the_command_ends_in_one_line_for_a_bad_task(tmp_path):
    answer = command("cbb", folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("data.py: unknown task 'cbb'; did you mean cb")

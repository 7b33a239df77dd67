"""data.py: the tasks as text to text, load, score, labels in common, and examples as token ids.

    python -m pytest tests/test_data.py                   # seconds, nothing to download
    T5_DATA=folder python -m pytest tests/test_data.py    # your official files too

T5_DATA is a folder as `--data` takes it. What needs it is skipped without it.

Oracle: invented rows in the official formats, with the strings they should become
written out (rows.py); for the official files the counts published for them; a vocabulary
of four words (conftest.py), and the toy world's.
"""

import doctest
import subprocess
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import data
from data import Example
from plumbing import readers
from plumbing.tokenizer import Tokenizer
from rows import (C, CB_ROWS, E, MNLI_DEV, MNLI_ROW, MNLI_TRAIN, N, ROWS, examples_of, jsonl,
                  official, read, table, write)
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
            examples, notes = data.read_split(task, folder / file, file == task.files[0])
            assert len(examples) == count and count in task.sizes
            assert not task.labels or {e.target for e in examples} == set(task.labels)
            # WSC alone has rows that are left out, or pronouns that are moved
            assert name == "wsc" or not notes


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


@pytest.mark.parametrize("trained, other, answers, targets, scored_as, score", [
    # MRPC and QQP call the same thing by two names; QQP's first metric is F1.
    ("mrpc", "qqp", ["equivalent", "not_equivalent", "equivalent"],
     ["duplicate", "duplicate", "not_duplicate"], "qqp", 50),
    ("qqp", "mrpc", ["duplicate", "not_duplicate"], ["equivalent", "not_equivalent"], "mrpc", 100),
    # Of CB's three, two are RTE's "not_entailment", whichever of them was trained on.
    ("cb", "rte", ["neutral", "contradiction", "entailment"],
     ["not_entailment", "not_entailment", "not_entailment"], "rte", 100 * 2 / 3),
    ("rte", "cb", ["not_entailment", "not_entailment", "entailment"],
     ["neutral", "contradiction", "entailment"], "rte", 100),
    ("mnli", "cb", ["neutral", "neutral"], ["neutral", "contradiction"], "cb", 50),
    # Free text is compared as it is, by the other's metric.
    ("squad", "record", ["The Rome.", "Oslo"], ["rome", "Paris"], "record", 50),
])
def test_answers_to_one_task_are_scored_on_another(
        trained, other, answers, targets, scored_as, score):
    name, words = data.common_labels(trained, other)
    in_words = [[words.get(text, text) for text in texts] for texts in (answers, targets)]
    assert name == scored_as
    assert next(iter(data.score(name, *in_words).values())) == pytest.approx(score)


@pytest.mark.parametrize("trained, other", [("mrpc", "rte"), ("squad", "boolq"), ("stsb", "squad"),
                                            ("sst2", "cola")])
def test_what_asks_something_else_is_refused(trained, other):
    with pytest.raises(ValueError,
                       match=f"{trained} answers .*; {other} answers .*: no labels in common"):
        data.common_labels(trained, other)


# --------------------------------------------------------------------- the order of examples


def test_an_epoch_visits_every_example_once():
    assert sorted(data.shuffled(50, 3, 2)) == list(range(50))


def test_the_order_depends_on_seed_and_epoch():
    orders = [data.shuffled(50, *numbers) for numbers in [(0, 0), (1, 0), (0, 1), (1, 11), (11, 1)]]
    assert len(set(map(tuple, orders))) == 5


def test_the_order_is_the_same_in_every_process():
    # As printed by another one: a run goes on tomorrow where it stopped today.
    assert data.shuffled(10, seed=0, epoch=0) == (8, 4, 0, 9, 5, 1, 2, 7, 3, 6)


#ENCODED


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
    assert walk[:24] == data.shuffled(24, 5, 0) and walk[24:48] == data.shuffled(24, 5, 1)
    assert walk[48:] == data.shuffled(24, 5, 2)[:2]
    assert task.step(seed=6, step=0, batch=10) != steps[0]
    # A batch larger than the training set meets examples again.
    assert Counter(task.step(5, 0, 48)) == dict.fromkeys(range(24), 2)


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


@pytest.mark.parametrize("change", [{"metrics": ("f1",)}, {"labels": ("dogs", "cats")}])
def test_its_fingerprint_is_that_of_what_is_asked_too(own, monkeypatch, change):
    # The same examples, scored otherwise: what was trained before must not be read with its score.
    before = own(TRAIN, DEV)
    monkeypatch.setitem(data.TASKS, before.name, replace(before.task, **change))
    assert own(TRAIN, DEV).fingerprint != before.fingerprint


# ---------------------------------------------------------------------- the command line


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
    write(tmp_path / "superglue/CB/train.jsonl", jsonl(CB_ROWS[1], row, row))
    write(tmp_path / "superglue/CB/val.jsonl", jsonl(row, CB_ROWS[1], CB_ROWS[1], CB_ROWS[2]))
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

"""data.py: a row as text to text, examples as token ids, the order of a seed, scores.

    python -m pytest tests/test_data.py

Oracle: invented rows with the strings that they should become; the toy vocabulary; scores worked
out by hand; each prompt's answers alone. The file formats of the 21 tasks and the formulas of the
metrics are tested in tests/plumbing/.
"""

import dataclasses
import json
import math
import types
from collections import Counter

import pytest
import torch

import data
import model
from data import Example
from plumbing.engine import Engine
from prompt import PromptBank, Row
from toy import world

E, N, C = "entailment", "neutral", "contradiction"
CB_ROWS = [{"premise": "They said it rained.", "hypothesis": "it rained", "label": N},
           {"premise": "Tom knew that\nit rained.", "hypothesis": "it rained", "label": E}]


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def encode(name, tokenizer, folder=None, **numbers):
    """A task as token ids, everything by default but these numbers of the recipe."""
    recipe = {"max_input": 512, "max_dev": 0, "held_out": 0.0, "labelled": 0} | numbers
    return data.encode(name, tokenizer, types.SimpleNamespace(**recipe), folder)


# ------------------------------------------------------------- a row as text to text


def test_a_row_of_cb_as_text_to_text(tmp_path):
    jsonl(tmp_path / "superglue/CB/train.jsonl", CB_ROWS)
    jsonl(tmp_path / "superglue/CB/val.jsonl", CB_ROWS[:1])
    train, dev = data.load("cb", tmp_path)
    # The columns in the order of T5's own preprocessor, each run of white space as one space
    assert train == [Example("hypothesis: it rained premise: They said it rained.", N),
                     Example("hypothesis: it rained premise: Tom knew that it rained.", E)]
    assert dev == train[:1]
    # The long column, which is cut if need be, is the premise.
    assert train[0].input[slice(*train[0].long)] == "They said it rained."


def test_a_toy_example_as_token_ids(tokenizer, few):
    task = encode("toy-cb", tokenizer)
    train, dev = data.load("toy-cb")
    assert tokenizer.decode(task.inputs[0]) == train[0].input
    assert tokenizer.decode(task.targets[0]) == train[0].target
    assert all(ids[-1] == data.EOS for ids in task.inputs + task.targets)
    assert [tokenizer.decode(ids) for ids in task.dev_inputs] == [e.input for e in dev]
    assert [tokenizer.decode(ids) for ids in task.labels] == [E, N, C]
    assert task.label_tensor("cpu").tolist() == task.labels  # a word and eos each, so no padding
    assert task.longest == 2


def test_a_label_in_the_file_may_be_a_code(tmp_path):
    row = {"premise": "The jug fell.", "choice1": "It broke.", "choice2": "It was clean.",
           "question": "effect", "label": 0}
    jsonl(tmp_path / "superglue/COPA/train.jsonl", [row])
    jsonl(tmp_path / "superglue/COPA/val.jsonl", [row | {"label": 1}])
    [train], [dev] = data.load("copa", tmp_path)
    assert (train.target, dev.target) == ("choice1", "choice2")
    assert train.input == ("choice1: It broke. choice2: It was clean. premise: The jug fell. "
                           "question: effect")


def test_a_row_that_cannot_be_used_is_counted_or_named(tmp_path, capsys):
    jsonl(tmp_path / "superglue/CB/train.jsonl", [*CB_ROWS, CB_ROWS[0] | {"label": None}])
    jsonl(tmp_path / "superglue/CB/val.jsonl", [CB_ROWS[0] | {"label": "maybe"}])
    with pytest.raises(ValueError, match="val.jsonl, line 1: label 'maybe', wanted one of"):
        data.load("cb", tmp_path)
    assert "train.jsonl skipped: no label" in capsys.readouterr().err
    (tmp_path / "superglue/CB/val.jsonl").unlink()
    with pytest.raises(ValueError, match="val.jsonl.* missing"):
        data.load("cb", tmp_path)


@pytest.mark.parametrize("name, near", [("cbb", "cb"), ("mlni", "mnli"), ("toy-bool", "toy-boolq")])
def test_an_unknown_task_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"unknown task '{name}'; did you mean .*{near}"):
        data.load(name)


# ------------------------------------------------------------------------- scores


def test_all_metrics_of_a_task():
    # Four of six are right. F1 of entailment 2 * 2 / (2 * 2 + 0 + 1), of contradiction
    # 2 * 2 / (2 * 2 + 2 + 0); neutral is never predicted, so 0; their mean is 0.4889.
    scores = data.score("cb", [E, E, C, C, C, C], [E, E, E, C, C, N])
    assert list(scores) == ["accuracy", "macro_f1"]  # the reported one first
    assert list(scores.values()) == pytest.approx([100 * 4 / 6, 48.889], abs=1e-3)
    # The positive class of F1 is the second label, "duplicate": 1 true positive, 1 false negative,
    # 1 false positive. And "so", no label at all, counts as the other one.
    predictions = ["duplicate", "so", "not_duplicate", "so"]
    targets = ["duplicate", "duplicate", "not_duplicate", "not_duplicate"]
    assert data.score("qqp", predictions, targets) == {"f1": 50, "accuracy": 50}
    # Of three labels it is just wrong.
    assert data.score("cb", ["so", E], [N, E])["accuracy"] == 50
    with pytest.raises(ValueError, match="^stsb, metric pearson: could not convert string"):
        data.score("stsb", ["1.0"], ["so"])
    for predictions, targets in (([E], [E, E]), ([], [])):
        count = f"{len(predictions)} predictions for {len(targets)} targets"
        with pytest.raises(ValueError, match=count):
            data.score("cb", predictions, targets)


def test_the_majority_is_that_of_the_training_set():
    dev = [Example("", target) for target in (E, N, E, N, C, E)]  # here E is the commonest
    assert data.majority("cb", Counter([E, N, N]), dev) == pytest.approx(100 * 2 / 6)


# ------------------------------------------------------------------- a task of one's own


@pytest.fixture
def own(tmp_path, monkeypatch, tokenizer):
    """A function of (train rows, dev rows): an encoded task with the labels cats and dogs.

    In the toy vocabulary cats is 21, chased 78, dogs 24.
    """
    task = data.Task(("train.jsonl", "dev.jsonl"), "{text}", "label", ("cats", "dogs"),
                     ("accuracy",))
    monkeypatch.setitem(data.TASKS, "own", task)

    def make(train, dev, **numbers):
        for file, pairs in zip(task.files, (train, dev)):
            jsonl(tmp_path / file, [{"text": text, "label": label} for text, label in pairs])
        return encode("own", tokenizer, tmp_path, **numbers)

    return make


TRAIN = [("cats chased dogs", "cats"), ("dogs", "dogs"), ("chased cats", "cats")]
DEV = [("dogs chased", "dogs"), ("cats chased", "cats"), ("chased dogs", "dogs"), ("dogs", "dogs")]


def test_a_task_of_ones_own_is_one_entry(own):
    task = own(TRAIN, DEV)
    assert task.inputs == [[21, 78, 24, 1], [24, 1], [78, 21, 1]]
    assert task.targets == [[21, 1], [24, 1], [21, 1]]
    assert task.dev_inputs == [[24, 78, 1], [21, 78, 1], [78, 24, 1], [24, 1]]
    assert task.labels == [[21, 1], [24, 1]]
    assert task.majority == 25  # the one "cats" among dev's four
    assert own(TRAIN, DEV, held_out=0.25).majority in (0, 100)  # of the one that is reported


def test_of_one_file_a_fifth_from_all_over_it_is_dev():
    train, dev = data.split_one_file(list(range(11)))
    assert len(dev) == 3 and sorted(train + dev) == list(range(11))
    assert dev[-1] - dev[0] > 3  # a file may be sorted
    assert data.split_one_file(list(range(11))) == (train, dev)


def test_a_folder_that_is_named_as_a_task_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cb").mkdir()
    assert data.own_task("cb") == "cb"


def test_a_file_of_ones_own_that_makes_no_task_is_named(tmp_path):
    path = tmp_path / "lists.jsonl"
    jsonl(path, [{"words": ["cats"], "label": label} for label in "xyxy"])
    with pytest.raises(ValueError, match="lists.jsonl: its first row has no text beside 'label'"):
        data.own_task(str(path))
    jsonl(tmp_path / "cb.jsonl", [{"text": "cats", "label": label} for label in "xyxy"])
    with pytest.raises(ValueError, match="cb.jsonl: there already is a task cb: rename the file"):
        data.own_task(str(tmp_path / "cb.jsonl"))


def test_the_fingerprint_is_that_of_examples_and_of_what_is_asked(own, monkeypatch):
    task = own(TRAIN, DEV)
    assert own(TRAIN, DEV, held_out=0.5).fingerprint == task.fingerprint  # a number of the recipe
    others = [own(TRAIN[:2], DEV), own(TRAIN[::-1], DEV), own(TRAIN, DEV[:3]),
              own([("cats chased dogs", "dogs"), *TRAIN[1:]], DEV),
              own(TRAIN, [("dogs chased", "cats"), *DEV[1:]]), own(TRAIN, DEV, max_input=3),
              own(TRAIN, DEV, labelled=2)]
    for change in ({"metrics": ("f1",)}, {"labels": ("dogs", "cats")}):
        monkeypatch.setitem(data.TASKS, "own", dataclasses.replace(task.task, **change))
        others.append(own(TRAIN, DEV))
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_label_that_the_vocabulary_cannot_write_is_named(tokenizer):
    assert data.encode_labels("own", tokenizer, ["cats", "dogs"]) == [[21, 1], [24, 1]]
    with pytest.raises(ValueError, match="own: this model's vocabulary cannot write 'Ω'"):
        data.encode_labels("own", tokenizer, ["cats", "Ω"])
    with pytest.raises(ValueError, match="cannot write 'cats' so that it differs"):
        data.encode_labels("own", tokenizer, ["cats", " cats"])


# --------------------------------------------------------------------- long inputs


def test_the_long_column_is_cut_first(tokenizer):
    # The long part is "cats chased dogs ."; before and after it stand two and one tokens.
    text = "old cats cats chased dogs . dogs"
    start = len("old cats ")
    example = Example(text, "", long=(start, start + len("cats chased dogs .")))
    whole = tokenizer.encode(text)
    assert len(whole) == 8

    def cut(longest):
        ids = data.cut_input(tokenizer, example, longest)
        assert len(ids) <= longest and ids[-1] == data.EOS
        return tokenizer.decode(ids)

    assert cut(7) == "old cats cats chased dogs dogs"
    assert cut(5) == "old cats cats dogs"
    assert cut(4) == "old cats dogs"
    # Only then the rest, from its end.
    assert cut(3) == "old cats" and cut(2) == "old" and cut(1) == ""
    assert data.encode_inputs("own", tokenizer, [example], 8) == [whole]


def test_what_is_cut_and_what_is_unknown_is_printed(own, capsys):
    own(TRAIN, DEV)
    assert capsys.readouterr().out == ""
    task = own(TRAIN, DEV, max_input=2)
    assert "own: 2 of 3 inputs cut to 2 tokens" in capsys.readouterr().out
    assert [len(ids) for ids in task.inputs] == [2, 2, 2]
    own([("cats Ω dogs", "cats")], DEV)
    assert "% of the tokens of 1 inputs are unknown to this model's" in capsys.readouterr().out


# --------------------------------------------------------------------- parts of dev


def test_dev_is_split_into_those_to_choose_by_and_those_to_report(tokenizer, few):
    task = encode("toy-cb", tokenizer, held_out=0.75)
    assert (len(task.choose), len(task.report)) == (5, 15)
    assert sorted(task.choose + task.report) == list(range(20))  # each in one of the two
    # Drawn from all over the file, which may be sorted
    assert task.choose[-1] - task.choose[0] > 5
    assert data.split_dev("toy-cb", 20, 0.75) == (task.choose, task.report)  # always the same
    task = encode("toy-cb", tokenizer)
    assert task.choose == task.report == list(range(20))  # nothing held out: all are both
    for share in (0.01, 0.99):  # none of 20, and all
        with pytest.raises(ValueError, match=f"--held-out {share} of 20 dev examples leaves none"):
            encode("toy-cb", tokenizer, held_out=share)


def test_fewer_dev_examples_are_evenly_spaced(tokenizer, few):
    _, dev = data.load("toy-cb")
    assert encode("toy-cb", tokenizer, max_dev=5).dev == dev[::4]
    assert encode("toy-cb", tokenizer, max_dev=50).dev == dev  # more than there are


# ----------------------------------------------------------------- the order of a seed


def test_steps_walk_through_shuffled_epochs(tokenizer, few):
    task = encode("toy-cb", tokenizer)
    walk = []
    for step in range(5):
        walk += task.at_step(seed=5, step=step, batch=10)
    # 50 examples: two epochs of 24 in two orders, and the beginning of a third.
    first, second, third = [list(data.shuffled(24, 5, epoch)) for epoch in range(3)]
    assert walk == first + second + third[:2]
    assert sorted(first) == sorted(second) == list(range(24)) and first != second
    # The same again, another order for another seed, and more than an epoch in one step.
    assert task.at_step(5, 0, 10) == walk[:10] != task.at_step(6, 0, 10)
    assert Counter(task.at_step(5, 0, 48)) == dict.fromkeys(range(24), 2)


def test_each_seed_draws_its_own_few_labels(tokenizer, few):
    task = encode("toy-cb", tokenizer, labelled=6)
    drawn = [task.labelled_examples(seed) for seed in range(3)]
    assert [len(set(examples)) for examples in drawn] == [6, 6, 6]
    assert len({frozenset(examples) for examples in drawn}) == 3
    # Steps visit no others: 12 are two epochs of 6.
    walk = task.at_step(0, 0, 4) + task.at_step(0, 1, 4) + task.at_step(0, 2, 4)
    assert Counter(walk) == dict.fromkeys(drawn[0], 2)
    assert list(encode("toy-cb", tokenizer).labelled_examples(0)) == list(range(24))
    # A generated task has as many as are asked for, another one has not.
    assert len(encode("toy-cb", tokenizer, labelled=40).inputs) == 40


def test_more_labels_than_there_are_examples(own):
    with pytest.raises(ValueError, match="own: --labelled is 4, there are 3 examples"):
        own(TRAIN, DEV, labelled=4)


# --------------------------------------------------------------- what a bank answers


def answer_alone(t5, vectors, task, ids):
    """The answer to one unpadded input behind a prompt (P, D): a label, or a text."""
    embedded = torch.cat([vectors, t5.embed(torch.tensor(ids))])[None]
    mask = torch.ones(embedded.shape[:2])
    memory = t5.encode(embedded, mask)
    if task.labels:
        return task.task.labels[t5.score_labels(memory, mask, model.pad(task.labels)).argmax()]
    return task.tokenizer.decode(t5.generate(memory, mask, task.longest)[0].tolist())


@pytest.mark.parametrize("name", ["toy-cb", "toy-ner"])  # labels, and free text
@pytest.mark.parametrize("tokens", [8192, 40])  # in one batch, and in micro-batches of a row
def test_each_row_is_answered_by_its_own_prompt(name, tokens, small_t5, tokenizer, few):
    task = encode(name, tokenizer)
    t5 = model.load(small_t5)
    engine = Engine(t5, tokens)
    bank = PromptBank(2 * torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0)))
    examples = [4, 0, 9, 3, 7]
    rows = [Row(n, i, task.dev_inputs[i]) for n in range(2) for i in examples]
    expected = [answer_alone(t5, bank.prompts[row.prompt], task, row.ids) for row in rows]
    assert expected[:5] != expected[5:]  # the prompts differ in what they answer
    assert data.answers(engine, bank, task, rows) == expected
    wanted = [task.dev[i] for i in examples]
    assert data.dev_metrics(engine, bank, task, examples) == [
        data.score(name, expected[:5], wanted), data.score(name, expected[5:], wanted)]
    with torch.no_grad():
        bank.prompts[1] = torch.nan
    good, bad = data.dev_metrics(engine, bank, task, examples)
    assert good == data.score(name, expected[:5], wanted)
    assert all(math.isnan(value) for value in bad.values())


# ---------------------------------------------------------------------- the command


def test_the_command_lists_tasks_and_shows_examples(tmp_path, capsys):
    data.main([])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + len(data.TASKS)
    assert ("cb 250 56 accuracy, macro_f1; entailment, contradiction, neutral; downloaded: "
            "superglue/CB/train.jsonl, superglue/CB/val.jsonl") in lines
    jsonl(tmp_path / "superglue/CB/train.jsonl", CB_ROWS)
    jsonl(tmp_path / "superglue/CB/val.jsonl", [
        {"premise": "cats chased dogs", "hypothesis": "dogs", "label": N}])
    data.main(["cb", "--data", str(tmp_path), "--model", str(world.MODEL), "--count", "1"])
    shown = capsys.readouterr().out
    assert "cb: 2 train, 1 dev, accuracy of the commonest target 100.0 on all dev" in shown
    assert "target (2 tokens)  neutral" in shown and "cut from" not in shown
    with pytest.raises(ValueError, match="--count is -1, wanted 0 or more"):
        data.main(["cb", "--count", "-1"])
    with pytest.raises(ValueError, match="--max-input is 1, wanted 2 or more"):
        data.main(["cb", "--max-input", "1"])

"""The toy world and its T5: what a statement entails, what the T5 was made by, and can do.

    python -m pytest tests/plumbing/test_toy.py

Oracle: the promises of toy/README.md, relations of statements worked out by hand, and a span
corruption done by hand.
"""

import random
from collections import Counter

import pytest

import data
import model
import prompt
import train
from plumbing.engine import Engine
from toy import pretrain, world
from toy.world import Statement

E, N, C = "entailment", "neutral", "contradiction"
CATS = Statement("cats", "chased", "dogs")


def test_a_task_has_its_size_balanced_labels_and_no_dev_input_in_training():
    train_set, dev = data.load("toy-cb")
    assert (len(train_set), len(dev)) == world.SIZES["cb"] == (250, 500)
    assert len({example.input for example in train_set + dev}) == 250 + 500
    for split, low, high in ((train_set, 61, 105), (dev, 135, 199)):
        counts = Counter(example.target for example in split)  # a third each, within 3 deviations
        assert set(counts) == {E, N, C} and all(low <= count <= high for count in counts.values())
    # One input in ten is kept for dev, by its CRC-32, if 10 divides it: no text has 0.
    assert world.kept_for_dev("") and not world.kept_for_dev("123456789")  # 0xCBF43926
    assert all(world.kept_for_dev(example.input) for example in dev)
    assert 70 < sum(world.kept_for_dev(str(i)) for i in range(1000)) < 130


@pytest.mark.parametrize("name", [name for name in data.TASKS if name.startswith("toy-")])
def test_a_task_has_its_own_labels(name):
    targets = {target for _, target in world.examples(name.removeprefix("toy-"), 60, seed=1)}
    assert targets == set(data.TASKS[name].labels) or name == "toy-ner" and "none" in targets


@pytest.mark.parametrize("premise, hypothesis, label", [
    # "cats chased dogs", and what else it says or does not say
    ({}, {}, E), ({}, {"verb": "pursued"}, E), ({"verb": "pursued"}, {}, E),  # a synonym
    ({}, {"verb": "avoided"}, C), ({"verb": "pursued"}, {"verb": "shunned"}, C),  # the opposite
    ({}, {"verb": "washed"}, N),
    ({}, {"subject": "animals"}, E), ({"subject": "animals"}, {}, N),  # all cats are animals
    ({}, {"object": "animals"}, E), ({}, {"subject": "workers"}, N),
    ({}, {"subject": "dogs", "object": "cats"}, N),  # who did it to whom
    ({"subject_adjective": "old"}, {}, E), ({}, {"subject_adjective": "old"}, N),
    ({"subject_adjective": "old"}, {"subject_adjective": "young"}, C),
    ({"subject_adjective": "old"}, {"object_adjective": "old"}, N),  # the dogs, not the cats
    ({"object_adjective": "big"}, {"object_adjective": "large"}, E),
    ({"place": "oslo"}, {}, E), ({}, {"place": "oslo"}, N),
    ({"place": "oslo"}, {"place": "rome"}, C),  # one event has one place and one time
    ({"time": "today"}, {"time": "monday"}, C),
    ({"never": True}, {}, C), ({}, {"never": True}, C), ({"never": True}, {"never": True}, E),
    ({"never": True}, {"never": True, "verb": "avoided"}, N),  # perhaps neither
    ({"never": True, "place": "oslo"}, {"never": True, "place": "rome"}, N),
    ({}, {"subject": "animals", "place": "oslo"}, N),  # the worst slot decides
    ({}, {"verb": "avoided", "place": "oslo"}, C)], ids=str)
def test_judge_compares_slot_by_slot(premise, hypothesis, label):
    assert str(CATS._replace(never=True, object_adjective="wet")) == "cats never chased wet dogs"
    assert world.judge(CATS._replace(**premise), CATS._replace(**hypothesis)) == label


# ------------------------------------------------------------------ its T5


@pytest.fixture(scope="module")
def toy():
    return model.load(world.MODEL), data.Tokenizer(world.MODEL / "spiece.model")


def test_every_word_of_the_world_is_one_piece(toy):
    rng = random.Random(0)
    for name, task in (world.TASKS | world.PRETRAINING).items():
        words = " ".join(word for _ in range(100) for word in task(rng)).split()
        assert len(toy[1].encode(" ".join([name, *words]))) == 1 + len(words) + 1  # and eos


def answered(toy, name, prefix, task=None):
    """How many of 100 dev examples T5 answers word for word."""
    t5, tokenizer = toy
    dev = world.examples(name, 100, seed=0, dev=True, task=task)
    ids = model.pad([tokenizer.encode(prefix + text) for text, _ in dev])
    memory = t5.encode(t5.embed(ids), ids != model.PAD)
    texts = [tokenizer.decode(row) for row in t5.generate(memory, ids != model.PAD, 8).tolist()]
    return sum(text == target for text, (_, target) in zip(texts, dev))


def test_it_solves_what_it_was_trained_on_under_its_name_alone(toy):
    assert answered(toy, "nli", "nli ", world.written) > 85
    assert answered(toy, "nli", "boolq ", world.written) < 30
    assert not world.UNSEEN & set(pretrain.MIXTURE)
    for name in world.UNSEEN:
        assert answered(toy, name, f"{name} ") < 50


def test_span_corruption_by_hand():
    # Ten tokens, 30 % noise, one span: three neighbours become sentinel 99, and the target gives
    # them between 99 and 98.
    source, target = pretrain.corrupt(random.Random(0), list(range(10, 20)), 99, density=0.3)
    at = source.index(99)
    assert source == [*range(10, 10 + at), 99, *range(13 + at, 20), model.EOS]
    assert target == [99, 10 + at, 11 + at, 12 + at, 98, model.EOS]


def test_shipped_prompts_give_the_score_that_they_promise(toy):
    t5, tokenizer = toy
    for folder in sorted(world.PROMPTS.iterdir()):
        vectors, made_by = prompt.load(folder, f"{t5.fingerprint}-{tokenizer.fingerprint}")
        task = data.encode(made_by["task"], tokenizer, train.parse_arguments([]).recipe)
        [metrics] = data.dev_metrics(Engine(t5), prompt.PromptBank([vectors]), task, task.report)
        assert metrics["accuracy"] == pytest.approx(made_by["score"], abs=0.5) and vectors.any()

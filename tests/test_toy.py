"""The toy world and its model: what a statement entails, what T5 is made by and can do.

    python -m pytest tests/test_toy.py

Oracle: the promises of toy/README.md, relations of statements worked out by hand, and a
span corruption done by hand.
"""

import doctest
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
import torch

import data
import model
import prompt
import train
from plumbing import metrics
from rows import C, E, N
from toy import pretrain, world
from toy.world import Statement

TOY = world.MODEL


def test_examples_in_the_docstrings():
    result = doctest.testmod(world)
    assert result.attempted > 0 and result.failed == 0


# ----------------------------------------------------------------------------- the world


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
            count = 0 if target == "none" else target.count(";") + 1
            assert len(metrics.entities(target)) == count
        assert "none" in targets and len(set(targets)) > 3
    else:
        assert set(targets) == set(data.TASKS[name].labels)


@pytest.mark.beside
def test_the_toy_world_is_the_same_in_every_process():
    # Another process hashes strings otherwise, which is the order of its sets.
    code = """from toy import world
for name in world.TASKS:
    print(world.examples(name, 60, seed=0), world.examples(name, 30, seed=0, dev=True))"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=TOY.parent.parent,
                            capture_output=True, text=True, timeout=60,
                            env=os.environ | {"PYTHONHASHSEED": "12345"})
    draw = world.examples.__wrapped__  # of what conftest.py keeps
    here = [f"{draw(name, 60, seed=0)} {draw(name, 30, seed=0, dev=True)}" for name in world.TASKS]
    assert answer.stdout.splitlines() == here, answer.stderr
    assert world.examples("cb", 30, seed=1, dev=True) != world.examples("cb", 30, seed=0, dev=True)
    assert world.examples("cb", 60, seed=0)[:30] == world.examples("cb", 30, seed=0)


def test_more_inputs_than_a_task_has_are_refused():
    with pytest.raises(ValueError, match=r"few has not many more than \d inputs, wanted 10"):
        world.examples("few", 10, seed=0, task=lambda rng: (f"cats {rng.randrange(9)}", "yes"))


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
], ids=lambda value: (value if isinstance(value, str)
                      else " ".join(map(str, value.values())) or "cats"))
def test_judge_compares_slot_by_slot(premise, hypothesis, label):
    assert world.judge(CATS._replace(**premise), CATS._replace(**hypothesis)) == label


# ----------------------------------------------------------------------------- its model


@pytest.fixture(scope="module")
def toy():
    return model.load(TOY), data.Tokenizer(TOY / "spiece.model")


def test_it_is_small_enough_to_ship():
    shipped = [path for path in TOY.parent.rglob("*")
               if path.suffix in (".safetensors", ".model", ".json")]
    assert len(shipped) >= 3
    assert sum(path.stat().st_size for path in shipped) < 10e6


def test_every_word_of_the_world_is_one_piece(toy):
    _, tokenizer = toy
    rng = random.Random(0)
    for name, task in (world.TASKS | world.PRETRAINING).items():
        for _ in range(200):
            words = " ".join((name, *task(rng))).split()
            assert len(tokenizer.encode(" ".join(words))) == len(words) + 1  # and eos


def answers(t5, tokenizer, name, prefix, count=100, task=None):
    """How many of `count` dev examples are answered word for word."""
    dev = world.examples(name, count, seed=0, dev=True, task=task)
    ids = model.pad([tokenizer.encode(prefix + text) for text, _ in dev])
    memory = t5.encode(t5.embed(ids), ids != model.PAD)
    texts = [tokenizer.decode(row) for row in t5.generate(memory, ids != model.PAD, 16).tolist()]
    return sum(text == target for text, (_, target) in zip(texts, dev))


def test_it_solves_inference_under_its_prefix_and_not_under_another(toy):
    assert answers(*toy, "nli", "nli ", task=world.written) > 85
    assert answers(*toy, "nli", "boolq ", task=world.written) < 30
    assert answers(*toy, "cola", "cola ") > 85
    assert answers(*toy, "cola", "sst2 ") < 20


def test_it_has_never_been_asked_the_unseen_tasks(toy):
    assert not world.UNSEEN & set(pretrain.MIXTURE)
    for name in world.UNSEEN:
        assert answers(*toy, name, f"{name} ") < 50


def test_the_genre_that_pretraining_never_shows_is_harder(toy):
    def spoken(rng):  # what of nli is not written
        return next(pair for pair in iter(lambda: world.nli(rng), None) if " ? " in pair[0])

    assert answers(*toy, "nli", "nli ", task=spoken) < 80


def test_span_corruption_by_hand(toy):
    # Ten tokens, 30 % noise, one span: three neighbours become <extra_id_0>, and the
    # target gives them between <extra_id_0> and <extra_id_1>.
    sentinel = 99
    source, target = pretrain.corrupt(random.Random(0), list(range(10, 20)), sentinel, density=0.3)
    at = source.index(99)
    assert source == list(range(10, 10 + at)) + [99] + list(range(13 + at, 20)) + [model.EOS]
    assert target == [99, 10 + at, 11 + at, 12 + at, 98, model.EOS]
    # Whatever is drawn, source and target put together again give the text.
    rng = random.Random(1)
    for _ in range(200):
        ids = list(range(100, 100 + rng.randint(4, 40)))
        source, target = pretrain.corrupt(rng, ids, sentinel, density=0.4)
        spans, i = {}, None
        for token in target[:-1]:
            if token <= sentinel:
                i, spans[token] = token, []
            else:
                spans[i].append(token)
        whole = [t for token in source[:-1]
                 for t in (spans[token] if token <= sentinel else [token])]
        assert whole == ids


def test_pretraining_draws_nothing_that_is_kept_for_dev(toy, monkeypatch):
    _, tokenizer = toy
    monkeypatch.setattr(pretrain, "MIXTURE", {"nli": 1})
    rng = random.Random(0)
    for _ in range(300):
        source, target = pretrain.draw(rng, tokenizer)
        text = tokenizer.decode(source)
        assert text.startswith("nli sentence1: ") and tokenizer.decode(target) in world.THREE
        assert not world.kept_for_dev(text.removeprefix("nli "))


@pytest.mark.beside
def test_shipped_prompts_give_the_score_they_promise(tmp_path):
    folders = sorted(world.PROMPTS.iterdir())
    assert {folder.name for folder in folders} == {"toy-nli-0", "toy-sst2-0"}
    shop = train.open_workshop(train.parse_arguments(["--device", "cpu", "--out", str(tmp_path)]))
    for folder in folders:
        vectors, made_by = prompt.load(folder, shop.fingerprint)
        task = data.Encoded(made_by["task"], shop.tokenizer, shop.recipe)
        bank = prompt.PromptBank([vectors])
        [score] = train.dev_scores(shop, shop.t5, bank, task, task.report)
        assert score == pytest.approx(made_by["score"], abs=0.5) and score > 85


def test_pretraining_goes_down_and_goes_on(tmp_path, monkeypatch, capsys):
    # Two steps, then two more by the same command: the state on disk is gone on from.
    (tmp_path / "spiece.model").write_bytes((TOY / "spiece.model").read_bytes())
    monkeypatch.setattr(pretrain, "accuracies", lambda *args, **kwargs: {"nli": 0.0})
    for steps in ("2", "4"):
        monkeypatch.setattr("sys.argv", ["pretrain.py", "--steps", steps, "--batch", "8",
                                         "--device", "cpu", "--out", str(tmp_path)])
        pretrain.main()
    assert "going on from step 2" in capsys.readouterr().out
    state = torch.load(tmp_path / "pretrain.pt", weights_only=True)
    assert state["step"] == 4
    assert model.load(tmp_path).config == model.load(TOY).config

"""The toy world's model: what it is made by, and what it can do.

    python -m pytest tests/test_toy.py

Oracle: the promises of toy/README.md, and a span corruption done by hand.
"""

import random
from pathlib import Path

import pytest
import torch

import data
import model
import prompt
import train
from toy import pretrain, world

TOY = Path(train.TOY_MODEL)


@pytest.fixture(scope="module")
def toy():
    return model.load(TOY), data.Tokenizer(TOY / "spiece.model")


def test_it_is_small_enough_to_ship():
    shipped = [path for path in TOY.parent.rglob("*") if path.suffix in (".safetensors", ".model", ".json")]
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
    ids = data.pad([tokenizer.encode(prefix + text) for text, _ in dev])
    memory = t5.encode(t5.embed(ids), ids != data.PAD)
    texts = [tokenizer.decode(row) for row in t5.generate(memory, ids != data.PAD, 16).tolist()]
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
        whole = [t for token in source[:-1] for t in (spans[token] if token <= sentinel else [token])]
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


def test_shipped_prompts_give_the_score_they_promise(tmp_path):
    folders = sorted(train.SHIPPED.iterdir())
    assert {folder.name for folder in folders} == {"toy-nli-0", "toy-sst2-0"}
    setting = train.Setting(train.parse_arguments(["--device", "cpu", "--out", str(tmp_path)]))
    for folder in folders:
        vectors, made_by = prompt.load(folder, setting.fingerprint)
        task = train.TaskData(setting, made_by["task"])
        [score] = train.dev_scores(setting, task, prompt.PromptBank([vectors]), task.report)
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

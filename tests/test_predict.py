"""Trained prompts at work: answers in mixed batches, scores and votes, neighbours.

    python -m pytest tests/test_predict.py

Oracle: each prompt alone, the score that a training reported, and answers counted by hand. The
prompts are the two that toy/prompts ships, and fresh ones.
"""

import collections
import dataclasses
import doctest
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import data
import model
import predict
import prompt
import train
from toy import world
from workbench import FAST, TOY

pytestmark = pytest.mark.usefixtures("few")
ROOT = Path(predict.__file__).parent
NLI, SST2 = (world.PROMPTS / name for name in ("toy-nli-0", "toy-sst2-0"))


@pytest.fixture(scope="module")
def toy():
    return model.load(world.MODEL), data.Tokenizer(world.MODEL / "spiece.model")


@pytest.fixture(scope="module")
def bank(toy):
    """Two trained prompts and two fresh ones: of toy-nli, toy-sst2, and toy-ner twice."""
    t5, tokenizer = toy
    trained = [prompt.load(folder)[0] for folder in (NLI, SST2)]
    fresh = [prompt.initialise("vocabulary", t5.shared.weight, 10, seed, tokenizer.pieces)
             for seed in (0, 1)]
    return prompt.PromptBank(trained + fresh)


@pytest.fixture
def saved(tmp_path, toy):
    """Vectors -> a folder of a prompt of the toy T5, as train.py writes it."""
    def save(name, vectors, task, **recipe):
        t5, tokenizer = toy
        prompt.save(tmp_path / name, vectors, {
            "task": task, "recipe": recipe,
            "fingerprint": f"{t5.fingerprint}-{tokenizer.fingerprint}"})
        return tmp_path / name
    return save


# ------------------------------------------------------------------------- answers

ROWS = [("toy-nli", "sentence1: old cats chased dogs . sentence2: cats chased dogs ."),
        ("toy-ner", "sentence: anna loved cats in rome ."),
        ("toy-sst2", "sentence: the cats were never awful ."),
        ("toy-nli", "sentence1: cats chased dogs . sentence2: cats avoided dogs ."),
        ("toy-sst2", "sentence: bob stained the dull hats in oslo ."),
        ("toy-ner", "sentence: in oslo cats helped bob and ida .")]


def test_tasks_mixed_in_one_batch_are_answered_as_alone(toy, bank):
    members = {"toy-nli": [0], "toy-sst2": [1], "toy-ner": [2]}
    mixed = predict.answer(*toy, bank, members, ROWS)
    assert [answer.get("label") for answer in mixed] == [
        "entailment", None, "positive", "contradiction", "negative", None]
    for row, together in zip(ROWS, mixed):
        one = prompt.PromptBank([bank.prompts[members[row[0]][0]]])
        [alone] = predict.answer(*toy, one, {row[0]: [0]}, [row])
        assert alone.keys() == together.keys()
        if "label" in alone:
            assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-5)
            assert sum(together["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        else:
            assert alone["text"] == together["text"]
            assert alone["confidence"] == pytest.approx(together["confidence"], rel=1e-4)


def test_an_example_knows_what_of_it_may_be_cut(toy, bank):
    # The passage stands before the question, and loses its end.
    text = "sentence1: old cats chased dogs in oslo today . sentence2: cats chased dogs ."
    long = (text.index("old"), text.index(" . sentence2"))
    [short], [whole] = ([ids.tolist() for ids in toy[1].encode_inputs(
        [data.Example(text, "", long=long)], most)[0]] for most in (12, None))
    assert len(short) == 12 < len(whole) and short[-5:] == whole[-5:]
    rest = [("toy-nli", data.Example(text, "", long=long)), ("toy-nli", text),
            ("toy-nli", toy[1].sp.decode(short[:-1]))]
    cut, plain, by_hand = predict.answer(*toy, bank, {"toy-nli": [0]}, rest, max_input=12)
    assert cut["probabilities"] == pytest.approx(by_hand["probabilities"], abs=1e-5)
    assert cut["probabilities"] != pytest.approx(plain["probabilities"], abs=1e-5)


def test_a_text_in_a_tasks_form_loses_its_long_part_as_in_training(toy, bank, monkeypatch):
    """The question behind a passage that is too long stays, so that two of them differ."""
    form = dataclasses.replace(data.TASKS["toy-nli"], cut="a",
                               input="sentence1: {a} sentence2: {b}")
    monkeypatch.setitem(data.TASKS, "toy-nli", form)
    texts = [f"sentence1: {'old cats chased dogs . ' * 9}sentence2: {end} ." for end in (
        "cats chased dogs", "dogs never chased cats")]
    cuts = collections.Counter()
    found = [predict.answer(*toy, bank, {"toy-nli": [0]}, [("toy-nli", text)], {"toy-nli": 20},
                            cuts=cuts)[0]["probabilities"] for text in texts]
    assert found[0] != pytest.approx(found[1], abs=1e-4) and cuts == {"toy-nli": 2}


def test_the_recipe_of_the_prompt_says_how_much_is_read_and_a_cut_is_said(toy, tmp_path):
    vectors, made_by = prompt.load(SST2)
    prompt.save(tmp_path / "p", vectors, made_by | {"recipe": {"max_input": 6}})
    log = io.StringIO()
    lines = [json.dumps({"input": "sentence: the soups were never awful ."}), '{"input": "x"}']
    assert predict.answer_stream(*toy, [tmp_path / "p"], lines, 5, io.StringIO(), log) == 0
    assert "toy-sst2: 1 inputs cut to 6 tokens" in log.getvalue()


@pytest.mark.parametrize("vectors", [torch.full((3, 128), float("nan")), torch.zeros(0, 128)])
def test_a_prompt_without_numbers_is_refused(toy, vectors, tmp_path):
    made_by = prompt.load(SST2)[1]
    prompt.save(tmp_path / "p", vectors, made_by)
    with pytest.raises(ValueError, match="holds no vectors, or numbers that are not finite"):
        predict.read_prompts([tmp_path / "p"], *toy)


def test_several_prompts_of_a_task_vote(toy, bank):
    # Two against one, whatever the third is sure of; probabilities are the mean of all three.
    [row] = ROWS[2:3]
    alone = [predict.answer(*toy, bank, {"toy-sst2": [n]}, [row])[0]["probabilities"]["positive"]
             for n in (1, 2, 0)]
    [together] = predict.answer(*toy, bank, {"toy-sst2": [1, 2, 0]}, [row])
    assert together["probabilities"]["positive"] == pytest.approx(sum(alone) / 3, abs=1e-5)
    ahead = sum(p > 0.5 for p in alone)
    assert together["label"] == ("positive" if ahead >= 2 else "negative")
    # Free text of two that differ: that of the surer one.
    texts = [predict.answer(*toy, bank, {"toy-ner": [n]}, ROWS[1:2])[0] for n in (2, 3)]
    [text] = predict.answer(*toy, bank, {"toy-ner": [2, 3]}, ROWS[1:2])
    assert text["text"] == max(texts, key=lambda answer: answer["confidence"])["text"]
    assert 0 < text["confidence"] <= 1


@pytest.mark.parametrize("texts, confidences, chosen", [
    # the majority, as its surest prompt writes it
    (["Rome", "rome ", "Oslo"], [-2.0, -1.0, -0.1], "rome "),
    (["Rome", "Oslo", "Paris"], [-2.0, -0.5, -1.0], "Oslo"),   # none: the surest
    (["a", "b", "a", "b"], [-1.0, -0.2, -1.0, -1.6], "b")])    # a tie: means -1.0 and -0.9
def test_votes_of_free_text(texts, confidences, chosen):
    assert predict.vote_text(texts, confidences) == chosen


def test_a_bad_line_has_its_number_and_the_good_ones_are_answered(tmp_path, capsys):
    lines = [json.dumps({"task": task, "input": text}) for task, text in (ROWS[0], ROWS[2])]
    bad = {'{"task": "toy-ner", "input": "x"}': "task 'toy-ner', wanted one of toy-nli, toy-sst2",
           "not json": "not JSON: ",
           '{"task": "toy-nli"}': "no text under",
           '{"input": "x"}': "no task, wanted one of",
           "[1]": "not an object",
           '{"task": "toy-nli", "input": "caf\udce9"}': "'utf-8'",
           r'{"task": "toy-nli", "input": "\ud800"}': "'utf-8'",
           "[" * 100_000: "maximum recursion"}
    (tmp_path / "in.jsonl").write_text("\n".join([lines[0], *bad, "", lines[1]]) + "\n",
                                       errors="surrogateescape")
    with pytest.raises(ValueError, match="^8 lines could not be answered, see above$"):
        predict.main(["answer", str(NLI), str(SST2), "--file", str(tmp_path / "in.jsonl"),
                      "--batch", "2"])
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(a["line"], a["task"], a["label"]) for a in answers] == [
        (1, "toy-nli", "entailment"), (11, "toy-sst2", "positive")]
    said = err.splitlines()
    assert len(said) == 9 and said[8].startswith("2 answered, 8 bad lines, ")
    for n, (words, line) in enumerate(zip(bad.values(), said), 2):
        assert line.startswith(f"predict.py: line {n}: {words}")


def test_a_text_goes_with_prompts_of_one_task():
    with pytest.raises(ValueError, match="of one task, these are of toy-nli, toy-sst2: give"):
        predict.main(["answer", str(NLI), str(SST2), "--text", "sentence: x ."])


@pytest.mark.beside
def test_standard_input_is_read_as_files_are():
    done = subprocess.run([sys.executable, "predict.py", "answer", SST2], cwd=ROOT,
                          capture_output=True,
                          input=b'\xef\xbb\xbf{"input": "caf\xe9"}\n{"input": "caf\xc3\xa9"}\n')
    assert json.loads(done.stdout)["line"] == 2 and done.returncode == 2
    assert done.stderr.startswith(b"predict.py: line 1: ")
    closed = subprocess.run([f'"{sys.executable}" predict.py answer "{SST2}" --text x <&-'],
                            cwd=ROOT, shell=True, capture_output=True)
    assert closed.returncode == 0 and json.loads(closed.stdout)["line"] == 1


@pytest.mark.beside
@pytest.mark.parametrize("arguments", [["neighbours", NLI],
                                       ["answer", SST2, "--text", "sentence: x ."]])
def test_a_reader_that_has_left_is_no_error(arguments):
    # As `| head` does; buffered, so that some of it is written at the very end only.
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    running = subprocess.Popen([sys.executable, "predict.py", *arguments], cwd=ROOT, env=buffered,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    said = running.stderr.read()
    assert running.wait() == 1 and b"Error" not in said and b"Traceback" not in said


def test_a_batch_of_lines_is_all_that_is_read(toy, monkeypatch):
    taken, seen = [], []

    def endless():
        while True:
            taken.append(1)
            yield '{"input": "x"}'

    def answer(t5, tokenizer, bank, members, rows, *_, **__):
        seen.append((len(rows), len(taken)))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return [{"label": "positive"}] * len(rows)

    monkeypatch.setattr(predict, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        predict.answer_stream(*toy, [SST2], endless(), 5, io.StringIO(), io.StringIO())
    assert seen == [(5, 5), (5, 10), (5, 15)]


# -------------------------------------------------------------------------- scores


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
    name, words = predict.common_labels(trained, other)
    in_words = [[words.get(text, text) for text in texts] for texts in (answers, targets)]
    assert name == scored_as
    assert next(iter(data.score(name, *in_words).values())) == pytest.approx(score)


@pytest.mark.parametrize("trained, other", [("mrpc", "rte"), ("squad", "boolq"), ("stsb", "squad"),
                                            ("sst2", "cola")])
def test_what_asks_something_else_is_refused(trained, other):
    with pytest.raises(ValueError,
                       match=f"{trained} answers .*; {other} answers .*: no labels in common"):
        predict.common_labels(trained, other)


def lines_of(arguments, capsys):
    """The rows of a table of scores: first cell -> the others."""
    capsys.readouterr()
    predict.main(["score", "--device", "cpu", *map(str, arguments)])
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in rows}


def arguments(*given):
    args = predict.parse_arguments(["score", "--device", "cpu", *map(str, given)])
    args.task = args.task.split(",")
    return args


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    """Two prompts of toy-cb and a tuned T5: (folder, their scores by approach)."""
    out = tmp_path_factory.mktemp("trained")
    train.main([*FAST, *TOY, "--out", str(out), "--seeds", "2", "--approach", "prompt,finetune",
                "--target", "toy-cb", "--held-out", "0.5"])  # the T5's own recipe says 0.6
    return out, json.loads((out / "toy-cb" / "results.json").read_text())


def test_a_score_is_the_one_that_the_training_reported(trained, monkeypatch, capsys):
    out, results = trained
    folders = [out / "prompts" / f"toy-cb-{seed}" for seed in (0, 1)]
    read, whole = [], data.Encoded
    monkeypatch.setattr(
        data, "Encoded", lambda name, *rest: read.append(name) or whole(name, *rest))
    columns = predict.score_one(world.MODEL, arguments(*folders, "--task", "toy-cb"))
    assert read == ["toy-cb"]  # once, for the prompts and for T5 without
    assert columns["toy-cb"]["scores"] == results["scores"]["prompt"]
    assert columns["toy-cb"]["majority"] == results["majority"]
    assert columns["toy-cb"]["alone"] == results["promptless"]
    assert columns["toy-cb"]["examples"] == 10
    a, b = results["scores"]["prompt"]
    table = lines_of([*folders, "--task", "toy-cb"], capsys)
    assert table[""] == ["toy-cb: accuracy of 10"]
    assert table["T5 without a prompt"] == [f"{results['promptless']:.1f}"]
    assert [table[str(folder)] for folder in folders] == [[f"{a:.1f}"], [f"{b:.1f}"]]
    deviation = abs(a - b) / 2 ** 0.5
    assert table["mean ± sd"] == [f"{(a + b) / 2:.1f} ± {deviation:.1f}"]
    assert table["best, picked with hindsight"] == [f"{max(a, b):.1f}"]
    assert set(table) >= {"majority vote", "mean probability", "majority class"}


def test_models_by_themselves(trained, capsys):
    out, results = trained
    tuned = [out / "models" / f"toy-cb-{seed}" for seed in (0, 1)]
    table = lines_of(["--model", *tuned, "--task", "toy-cb,toy-rte"], capsys)
    scores = results["scores"]["finetune"]
    assert [table[str(folder)][0] for folder in tuned] == [f"{score:.1f}" for score in scores]
    assert table["best, picked with hindsight"][0] == f"{max(scores):.1f}"
    assert not {"T5 without a prompt", "majority vote"} & set(table)
    assert table[""] == ["toy-cb: accuracy of 10", "toy-rte: accuracy of 10"]
    # One that is not tuned: the share of dev is what its recipe.json says.
    assert lines_of(["--task", "toy-cb"], capsys)[""] == ["toy-cb: accuracy of 12"]
    table = lines_of(["--task", "toy-cb", "--held-out", "0.5"], capsys)
    assert table[str(world.MODEL)] == [f"{results['promptless']:.1f}"]
    assert set(table) == {"", "---", "majority class", str(world.MODEL)}
    with pytest.raises(ValueError, match="leave the prompts out"):
        lines_of([NLI, "--task", "toy-nli", "--model", *tuned], capsys)


def scripted(monkeypatch, labels, answers):
    """Each prompt answers the examples with its own list of labels. What is asked is kept."""
    asked = []

    def ask(t5, bank, rows, kinds, tokens, sure=False):
        asked.append(kinds[0])
        said = [label for n in range(len(bank)) for label in answers[n]]
        assert [n for n, _, _ in rows] == [n for n in range(len(bank)) for _ in answers[n]]
        return [torch.tensor([0.0 if label == one else -2.0 for label in labels]) for one in said]

    monkeypatch.setattr(prompt, "ask", ask)
    return asked


def examples_of(**targets):
    """Tasks, toy_cb for toy-cb, whose examples have these targets, for training and for dev."""
    def load(name, *_):
        examples = [data.Example(f"sentence: x {i} .", target)
                    for i, target in enumerate(targets[name.replace("-", "_")])]
        return examples, examples
    return load


def scores_of(toy, prompts, asked, scored):
    """What fresh prompts of a task score on another, or on their own."""
    t5, tokenizer = toy
    return predict.scores_on(t5, prompt.PromptBank([torch.zeros(2, 128)] * prompts), asked, scored,
                             lambda name: data.Encoded(name, tokenizer, predict.Share()), 8192)


def test_scores_on_coarser_and_on_finer_labels(toy, monkeypatch):
    # What is ranked are always the prompt's own labels; words that say less serve both tasks.
    three, two = data.TASKS["toy-cb"].labels, data.TASKS["toy-rte"].labels
    E, N, C, NOT = *three, two[1]
    monkeypatch.setattr(data, "load", examples_of(toy_rte=[E, NOT, NOT, E], toy_nli=[E, N, C, C]))
    asked = scripted(monkeypatch, three, [[E, N, C, C]])
    found = scores_of(toy, 1, "toy-cb", "toy-rte")
    # right; right, neutral is not_entailment; right, so is contradiction; wrong
    assert found["scores"] == [75.0] and found["metric"] == "accuracy" and found["examples"] == 4
    assert found["majority"] == 50.0  # of two words
    assert asked[0][0].tolist() == model.pad([toy[1].encode(label) for label in three]).tolist()
    # The other way round: a prompt of two labels on a task of three is scored in two words.
    asked = scripted(monkeypatch, two, [[E, NOT, NOT, E]])
    found = scores_of(toy, 1, "toy-rte", "toy-nli")
    assert found["scores"] == [75.0] and found["majority"] == 75.0
    assert len(asked[0][0]) == 2


def test_votes_against_their_members(toy, monkeypatch):
    # Four examples, all positive: the first three prompts' votes are P P N N.
    P, N = "positive", "negative"
    monkeypatch.setattr(data, "load", examples_of(toy_sst2=[P] * 4))
    scripted(monkeypatch, [P, N], [[P, P, P, N], [P, P, N, P], [N, P, N, N]])
    found = scores_of(toy, 3, "toy-sst2", "toy-sst2")
    assert found["scores"] == [75, 75, 25] and found["votes"] == {"majority": 50, "mean": 50}
    assert scores_of(toy, 1, "toy-sst2", "toy-sst2")["votes"] == {}  # one prompt has none


def test_the_mean_of_probabilities_may_differ_from_the_majority(toy, monkeypatch):
    # (0.6, 0.4) twice and (0.1, 0.9): two against one for the first, means 0.43 and 0.57.
    monkeypatch.setattr(data, "load", examples_of(toy_sst2=["positive"]))
    monkeypatch.setattr(prompt, "ask", lambda *_, sure: [
        torch.tensor(p).log() for p in ([0.6, 0.4], [0.6, 0.4], [0.1, 0.9])])
    assert scores_of(toy, 3, "toy-sst2", "toy-sst2")["votes"] == {"majority": 100, "mean": 0}


@pytest.mark.parametrize("majority", ["first", "second"])
def test_a_majority_of_equal_prompts_is_their_own_answer(majority, saved, capsys):
    good, bad = (prompt.load(folder)[0] for folder in (SST2, NLI))
    third = {"first": good, "second": bad}[majority]
    folders = [saved(name, vectors, "toy-sst2") for name, vectors in zip("abc", (good, bad, third))]
    table = lines_of([*folders, "--task", "toy-sst2"], capsys)
    winner = folders[0 if majority == "first" else 1]
    assert table["majority vote"] == table[str(winner)]
    assert table[str(folders[0])] != table[str(folders[1])]


def test_free_text_is_scored_by_what_the_other_task_accepts(toy, monkeypatch):
    # Two sets in SQuAD's form; the other one's answers are longer, and there are two for its
    # question.
    examples = {"squad": [data.Example("where ?", "rome", ("rome",))],
                "news": [data.Example("where ?", "in old oslo", ("in old oslo", "oslo"))]}
    monkeypatch.setattr(data, "load", lambda name, *_: (examples[name], examples[name]))
    monkeypatch.setitem(data.TASKS, "news", data.TASKS["squad"])
    said, kinds_asked, tokenizer = iter(["oslo .", "rome", "oslo"]), [], toy[1]

    def ask(t5, bank, rows, kinds, tokens, sure=False):
        kinds_asked.append(kinds[0])
        return [(tokenizer.encode(next(said)), -1.0)]

    monkeypatch.setattr(prompt, "ask", ask)
    assert scores_of(toy, 1, "squad", "news")["scores"] == [100.0]
    assert scores_of(toy, 1, "squad", "news")["scores"] == [0.0]
    assert scores_of(toy, 1, "news", "squad")["scores"] == [0.0]
    # An answer may be as long as either task's.
    assert kinds_asked == [(None, len(tokenizer.encode("in old oslo")))] * 3


def test_prompts_of_free_text_vote_by_the_commonest_answer(toy, monkeypatch):
    monkeypatch.setattr(data, "load", examples_of(toy_ner=["place : rome", "none"]))
    texts = ["place : rome", "none",          # right, right
             "place : oslo", "none",          # wrong, right
             "place : rome", "place : rome"]  # right, wrong
    monkeypatch.setattr(prompt, "ask", lambda *_, sure: [
        (toy[1].encode(text), -1.0 if sure else None) for text in texts])
    found = scores_of(toy, 3, "toy-ner", "toy-ner")
    assert found["votes"] == {"majority": 100}
    assert found["scores"][0] == 100 > max(found["scores"][1:])


def test_what_was_trained_with_another_share_of_dev_is_refused_with_flags(saved, capsys):
    vectors = prompt.load(SST2)[0]
    a = saved("a", vectors, "toy-sst2", held_out=0.5, max_input=512, max_dev=0)
    b = saved("b", vectors, "toy-sst2", held_out=0.6, max_input=512, max_dev=10)
    with pytest.raises(ValueError, match="other shares of dev: give --held-out, --max-dev$"):
        lines_of([a, b, "--task", "toy-sst2"], capsys)
    with pytest.raises(ValueError, match="give --max-dev$"):
        lines_of([a, b, "--task", "toy-sst2", "--held-out", "0.5"], capsys)
    shown = lines_of([a, b, "--task", "toy-sst2", "--held-out", "0.5", "--max-dev", "8"], capsys)
    assert shown[""] == ["toy-sst2: accuracy of 4"]
    with pytest.raises(ValueError, match="--held-out is 1.0, wanted from 0 to below 1"):
        lines_of([a, "--task", "toy-sst2", "--held-out", "1"], capsys)
    with pytest.raises(ValueError, match="--max-input is 1, wanted 2 or more"):
        lines_of([a, "--task", "toy-sst2", "--max-input", "1"], capsys)
    # Inputs are read as far as the training read them.
    short = saved("c", vectors, "toy-sst2", held_out=0.5, max_input=4)
    lines_of([short, "--task", "toy-sst2"], capsys)
    args = arguments(short, "--task", "toy-sst2")
    assert predict.share_of([{"recipe": {"held_out": 0.5, "max_input": 4}}], args) == (
        predict.Share(0.5, 4, 0))


@pytest.mark.parametrize("given, complaint", [
    ([NLI, SST2, "--task", "toy-nli"], "of one task, not of toy-nli, toy-sst2"),
    ([NLI, "--task", "toy-sst2"], "toy-nli answers .* no labels in common"),
    ([NLI, "--task", "toy-nly"], "unknown task 'toy-nly'; did you mean toy-nli"),
    ([ROOT, "--task", "toy-nli"], "is not a prompt of ours"),
    ([NLI, "sentence: a b .", "--task", "toy-nli"], "a text is given by --text"),
    ([NLI, "--task", "toy-nli", "--model", "t5-smal"], "did you mean t5-small"),
    ([NLI, "--task", "toy-nli", "--tokens", "0"], "--tokens is 0, wanted 1 or more"),
])
def test_what_cannot_be_scored_is_named(given, complaint, capsys):
    with pytest.raises(ValueError, match=re.compile(complaint, re.DOTALL)):
        lines_of(given, capsys)


def test_prompts_of_several_lengths_are_no_batch(toy, saved):
    a, b = saved("a", torch.zeros(2, 128), "toy-cb"), saved("b", torch.zeros(3, 128), "toy-cb")
    with pytest.raises(ValueError, match="must be of one length, not 2 .*a.*, 3 .*b"):
        predict.read_prompts([a, b], *toy)


def test_an_ensemble_costs_one_pass_of_the_encoder_for_each_part(toy, monkeypatch):
    # Three prompts with 12 examples each are 36 rows, each of which is encoded once.
    t5, tokenizer = toy
    shapes, encode = [], t5.encode
    monkeypatch.setattr(t5, "encode", lambda embedded, mask: shapes.append(
        tuple(embedded.shape[:2])) or encode(embedded, mask))
    bank, share = prompt.PromptBank([prompt.load(NLI)[0]] * 3), predict.Share(held_out=0.6)
    everything = []
    for tokens, most in ((8192, 4), (400, 36)):
        everything.append(predict.scores_on(
            t5, bank, "toy-nli", "toy-nli", lambda name: data.Encoded(name, tokenizer, share),
            tokens))
        assert sum(rows for rows, _ in shapes) == 36 and len(shapes) < most
        assert all(rows * wide <= tokens for rows, wide in shapes)
        shapes.clear()
    assert everything[0] == everything[1]


# ---------------------------------------------------------------------- neighbours


def test_neighbours_of_a_known_prompt():
    # Rows 0 to 2 are pad, eos and unk, row 6 is a sentinel: each would be nearest to something.
    embedding = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 1.0], [2.0, 0], [0, 3.0], [-1.0, 0],
                              [5.0, 5.0]])
    ids, values = predict.neighbours(torch.tensor([[7.0, 0], [3.0, 4.0]]), embedding, 2, pieces=6)
    assert ids.tolist() == [[3, 4], [4, 3]]
    torch.testing.assert_close(values, torch.tensor([[1.0, 0.0], [0.8, 0.6]]))


def test_clusters_join_what_a_later_vector_connects():
    assert predict.clusters(torch.tensor([[3, 4], [7, 8], [8, 3], [9, 6]])) == [[0, 1, 2], [3]]


def test_the_command_prints_the_neighbours_of_label_starts(toy, saved, capsys):
    # A prompt that starts from the labels of toy-nli has them at distance 0.
    t5, tokenizer = toy
    labels = [tokenizer.encode(label)[:-1] for label in data.TASKS["toy-nli"].labels]
    start = prompt.initialise("labels", t5.shared.weight, 4, 0, tokenizer.pieces, labels)
    predict.main(["neighbours", str(saved("p", start, "toy-nli"))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("   0  ▁entailment 1.00  ")
    assert "label contradiction: nearest is vector 2, cosine 1.00" in lines


@pytest.mark.parametrize("given, complaint", [
    (["--top", "0"], "--top is 0, wanted 1 or more"),
    (["--top", "5000"], "--top is 5000, the vocabulary has [0-9]+ pieces"),
    (["--model", str(world.MODEL), str(world.MODEL)], "give one --model")])
def test_a_bad_number_of_neighbours_is_named(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        predict.main(["neighbours", str(NLI), *given])


def test_what_is_asked_in_two_ways_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--text or --file, not both"):
        predict.main(["answer", str(NLI), "--text", "x", "--file", "y"])
    with pytest.raises(ValueError, match="nowhere is not there, or no file"):
        predict.main(["answer", str(NLI), "--file", str(tmp_path / "nowhere")])
    with pytest.raises(ValueError, match="--batch is 0, wanted 1 or more"):
        predict.main(["answer", str(NLI), "--batch", "0"])
    for command in (["answer"], ["score", "--task", "toy-nli"]):  # a prompt would vote twice
        with pytest.raises(ValueError, match="names a prompt twice"):
            predict.main([*command, str(NLI), f"{NLI}/"])
    with pytest.raises(ValueError, match="--task names nothing"):
        predict.main(["score", "--task", ",", str(NLI)])


def test_examples_in_the_docstrings():
    result = doctest.testmod(predict)
    assert result.attempted > 0 and result.failed == 0

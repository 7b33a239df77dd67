"""predict.py: answers in mixed batches, rows and lines as input, scores and votes, neighbours.

    python -m pytest tests/plumbing/test_predict.py

Oracle: each prompt by itself, the scores of data.dev_metrics as training reports them, votes and
tables counted by hand. The prompts are those of toy/prompts and fresh ones, on 20 dev examples.
"""

import io
import json
import math
import os
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy
import pytest
import torch

import data
import model
import predict
import prompt
import train
from plumbing.engine import Engine
from plumbing.files import read_json, write_json
from plumbing.stats import plus_minus
from predict import Answerer, FreeText, Origin
from prompt import PromptBank, Row
from toy import world

NLI, SST2 = (str(world.PROMPTS / name) for name in ("toy-nli-0", "toy-sst2-0"))
OF_NLI, OF_SST2 = (prompt.load(path)[0] for path in (NLI, SST2))
TEXTS = {"toy-nli": "sentence1: old cats chased dogs . sentence2: cats chased dogs .",
         "toy-sst2": "sentence: the cats were never awful .",
         "toy-ner": "sentence: anna loved cats in rome ."}
P, N = "positive", "negative"
TOKENIZER = data.Tokenizer(world.MODEL / "spiece.model")


@pytest.fixture(scope="module")
def engine():
    return Engine(model.load(world.MODEL))


@pytest.fixture(autouse=True)
def few(monkeypatch, engine):
    """20 examples of each toy task, and the T5 loaded once."""
    monkeypatch.setattr(world, "SIZES", dict.fromkeys(world.SIZES, (20, 20)))
    monkeypatch.setattr(model, "load", lambda *_: engine.t5)


@pytest.fixture
def save(tmp_path, engine):
    """Write a prompt of the toy T5 as train.py does: its folder."""
    def write(name, vectors, task, recipe=None, model="toy/t5", **made_by):
        fingerprint = f"{engine.t5.fingerprint}-{TOKENIZER.fingerprint}"
        made_by |= {"task": task, "recipe": recipe or {}, "fingerprint": fingerprint}
        prompt.save(tmp_path / name, vectors, made_by, model)
        return str(tmp_path / name)

    return write


@pytest.fixture
def other_kinds(tmp_path):
    """toy-sst2's prompt as a .npy file, a .pt file and a folder of PEFT."""
    numpy.save(tmp_path / "p.npy", OF_SST2.numpy())
    torch.save(OF_SST2, tmp_path / "p.pt")
    shutil.copytree(SST2, tmp_path / "peft")
    (tmp_path / "peft" / "prompt.json").unlink()
    return [str(tmp_path / name) for name in ("p.npy", "p.pt", "peft")]


def table_of(capsys, *arguments):
    """The lines that `score` prints, first cell -> the others; the first of several."""
    predict.main(["score", *map(str, arguments)])
    table = {}
    for line in capsys.readouterr().out.splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        table.setdefault(first, others)
    return table


def test_rows_of_three_tasks_go_through_the_encoder_once(engine, monkeypatch):
    fresh = prompt.initialise("vocabulary", engine.t5.shared.weight, 10, 0, TOKENIZER.pieces)
    prompts = [OF_NLI, OF_SST2, fresh]
    origins = [Origin(name, data.TASKS[name], {}) for name in TEXTS]
    answerer = Answerer(engine, TOKENIZER, PromptBank(prompts), origins)
    ids = [TOKENIZER.encode(text) for text in TEXTS.values()]
    rows = [Row(n, i, ids[n]) for n in range(3) for i in range(2)]
    encoded, encode = [], engine.t5.encode
    monkeypatch.setattr(engine.t5, "encode", lambda embedded, mask: (
        encoded.append(len(embedded)) or encode(embedded, mask)))
    mixed = answerer.answers(rows)
    assert encoded == [6]
    for n in range(2):
        alone = Answerer(engine, TOKENIZER, PromptBank([prompts[n]]), [origins[n]])
        torch.testing.assert_close(alone.answers([Row(0, 0, ids[n])])[0], mixed[2 * n])
    text, log_prob = mixed[4]
    batch = prompt.collate([Row(2, 0, ids[2], TOKENIZER.encode(text))])
    likelihood = prompt.target_log_likelihood(engine.t5, answerer.bank, batch).item()
    assert log_prob == pytest.approx(likelihood / batch.targets.shape[1], abs=1e-5)


def test_the_confidence_of_a_text_is_that_of_its_own_tokens():
    """Of a shorter text the padding behind its eos does not count."""
    asked = []
    t5 = SimpleNamespace(
        generate=lambda memory, mask, most: (
            asked.append(most) or torch.tensor([[5, 6, 1], [5, 1, 0]])),
        decode=lambda *_: torch.zeros(2, 3, 8))  # each of 8 pieces is as probable
    origin = Origin("toy-ner", data.TASKS["toy-ner"], {}, longest=9)
    for most in (None, 7):
        answerer = Answerer(SimpleNamespace(t5=t5), TOKENIZER, None, [], most)
        answers = answerer.decode(origin, None, None)
        assert [answer.log_prob for answer in answers] == pytest.approx(2 * [math.log(1 / 8)])
    assert asked == [9, 7]  # --max-tokens, else the longest target


def test_two_prompts_outvote_a_surer_one():
    answers = [torch.tensor(p).log() for p in ([0.6, 0.4], [0.6, 0.4], [0.1, 0.9])]
    answer = predict.together((P, N), answers)
    assert answer["label"] == P
    assert answer["probabilities"] == pytest.approx({P: 1.3 / 3, N: 1.7 / 3})
    tied = map(FreeText, "abab", [-1.0, -0.2, -1.0, -1.6])  # means -1.0 and -0.9
    assert predict.vote_text(list(tied)).text == "b"


def test_bad_lines_have_their_numbers_and_the_others_are_answered(monkeypatch, capsys):
    good = [json.dumps({"task": name, "input": TEXTS[name], "id": [7]})
            for name in ("toy-nli", "toy-sst2")]
    bad = {'{"task": "toy-ner", "input": "x"}': "task 'toy-ner', wanted toy-nli or toy-sst2",
           "not json": "not JSON", "[1]": "no object", '{"task": "caf\udce9"}': "not JSON",
           '{"task": "toy-nli"}': "no column 'input'", '{"task": [1]}': "task [1], wanted",
           '{"input": "x"}': "task None, wanted",
           r'{"task": "toy-nli", "input": "\ud800"}': "'utf-8'",
           "[" * 100_000: "not JSON that can be read: maximum recursion",
           "x" * 2_500_000: "longer than 1,000,000 bytes"}
    text = "\n".join([f"\ufeff{good[0]}", *bad, "", good[1]]).encode(errors="surrogateescape")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    with pytest.raises(ValueError, match="^rows that could not be answered, see above: 10$"):
        predict.main(["answer", NLI, SST2, "--batch", "1"])
    out, err = capsys.readouterr()
    answers = [list(json.loads(line).values())[:4] for line in out.splitlines()]
    assert answers == [[1, "toy-nli", [7], "entailment"], [13, "toy-sst2", [7], P]]
    _, *errors = err.splitlines()
    for number, (reason, line) in enumerate(zip(bad.values(), errors, strict=True), 2):
        assert line.startswith(f"predict.py: line {number}: {reason}")
    for stdin in (None, SimpleNamespace(buffer=io.BytesIO())):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(ValueError, match="^no input came: give --text"):
            predict.main(["answer", SST2])


def test_rows_are_put_into_the_prompts_own_template(save, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    task = {"input": "{a} or {b}", "labels": ["yes", "no"], "metrics": ["accuracy"]}
    path = save("p", OF_SST2, "mine", {"max_input": 20}, definition=task)
    rows = [{"a": "old cats", "b": " young  dogs", "idx": 4, "task": "a column of the file"},
            {"a": "cats", "b": ""},
            {"a": "cats " * 30, "b": "dogs", "label": "yes"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="^rows that could not be answered, see above: 1$"):
        predict.main(["answer", path, "--data", "~/rows.jsonl", "--write", "~/out.jsonl"])
    out, err = capsys.readouterr()
    _, empty, cut = err.splitlines()
    assert empty.endswith("rows.jsonl, line 2: column 'b' holds '', wanted a text")
    assert cut == "predict.py: inputs of mine are cut to 20 tokens" and not out
    first, last = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["row"], first["idx"], last["row"]) == (1, 4, 3)
    predict.main(["answer", path, "--text", "old cats or young dogs", "--text", "x", "--text", "y"])
    out, err = capsys.readouterr()
    by_hand = json.loads(out.splitlines()[0])
    assert by_hand["probabilities"] == pytest.approx(first["probabilities"], rel=1e-4)
    assert err.splitlines()[1:] == ["predict.py: prompts of mine were trained on texts in the form "
                                    "'{a} or {b}', some of these are not"]


WSC = {"text": "Ada sat. She ran.", "idx": 7, "target": {
    "span1_text": "Ada", "span2_text": "She", "span2_index": 2}}
RECORD = {"idx": 1, "passage": {"text": "Ada sat.", "entities": [{"start": 0, "end": 2}]},
          "qas": [{"idx": 5, "query": "@placeholder sat."}]}
MULTIRC = {"idx": 1, "passage": {"text": "Ada sat.", "questions": [
    {"idx": 2, "question": "Who?", "answers": [{"idx": 3, "text": "Ada"}]}]}}
SQUAD = {"data": [{"paragraphs": [
    {"context": "Ada sat.", "qas": [{"id": "q", "question": "Who?"}]}]}]}


@pytest.mark.parametrize("name, file, content, text, ids", [
    ("cb", "test.jsonl", '{"premise": "It rained.", "hypothesis": "wet", "idx": 3}',
     "hypothesis: wet premise: It rained.", {"idx": 3}),
    ("cola", "dev.tsv", "gj04\t1\t\tThe cat sat.", "sentence: The cat sat.", {}),
    ("cola", "test.tsv", "index\tsentence\n0\tThe cat sat.", "sentence: The cat sat.", {}),
    ("stsb", "test.csv", 'sentence1,sentence2\n"a, b",c', "sentence1: a, b sentence2: c", {}),
    ("stsb", "own.jsonl", '{"input": "sentence1: a sentence2: b"}', "sentence1: a sentence2: b",
     {}),
    ("mrpc", "test.tsv", "index\t#1 String\t#2 String\n0\ta\tb", "sentence1: a sentence2: b", {}),
    ("wsc", "dev.jsonl", json.dumps(WSC | {"label": True}), "Ada sat. *She* ran.", {"idx": 7}),
    ("wsc", "test.jsonl", json.dumps(WSC), "Ada sat. *She* ran.", {"idx": 7}),
    ("record", "test.jsonl", json.dumps(RECORD), "query: @placeholder sat. entities: Ada "
     "passage: Ada sat.", {"idx": {"passage": 1, "query": 5}}),
    ("multirc", "test.jsonl", json.dumps(MULTIRC), "question: Who? answer: Ada paragraph: Ada sat.",
     {"idx": {"paragraph": 1, "question": 2, "answer": 3}}),
    ("squad", "test.json", json.dumps(SQUAD), "question: Who? context: Ada sat.", {"id": "q"})])
def test_rows_in_the_format_of_the_tasks_own_files(name, file, content, text, ids, tmp_path):
    """Dev rows and test rows without labels, whose ids go into the answers."""
    (tmp_path / file).write_text(content + "\n")
    [(_, _, columns)] = predict.rows_of(data.TASKS[name], tmp_path / file)
    assert predict.example_of(data.TASKS[name], columns).input == text
    assert ids.items() <= columns.items()


def test_a_column_that_is_called_input_is_put_into_the_template():
    task = data.Task(("x.csv",), "input: {input}", "label", ("no", "yes"), ("accuracy",))
    assert predict.example_of(task, {"input": "old  cats"}).input == "input: old cats"


def test_answers_are_written_to_a_file_and_to_nothing_else(tmp_path, monkeypatch):
    for make in (os.mkdir, os.mkfifo):
        path = tmp_path / make.__name__
        make(path)
        with pytest.raises(ValueError, match=f"--write {path} is a folder, a pipe or a device"):
            predict.main(["answer", SST2, "--text", "x", "--write", str(path)])
    monkeypatch.chdir(tmp_path)  # toy/t5 is found from any folder
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "answers")  # as /dev/stdout is one: it stays
    predict.main(["answer", SST2, "--text", "x", "--write", str(link)])
    assert link.is_symlink() and "label" in json.loads((tmp_path / "answers").read_text())


def test_scores_are_those_that_the_training_reported(save, engine, capsys):
    recipe = {"held_out": 0.5, "max_input": 64}
    vectors = [OF_NLI, OF_NLI * 0.2, OF_SST2]
    paths = [save(f"p{n}", each, "toy-cb", recipe) for n, each in enumerate(vectors)]
    task = data.encode("toy-cb", TOKENIZER, train.Recipe(**recipe))
    banks = [PromptBank(vectors), prompt.NoPrompt(engine.t5)]
    *reported, alone = [one["accuracy"] for bank in banks
                        for one in data.dev_metrics(engine, bank, task, task.report)]
    task.majority = 100 * max(Counter(task.dev[i].target for i in task.report).values()) / 10
    table = table_of(capsys, *paths, "--task", "toy-cb")
    assert [table[path] for path in paths] == [[f"{score:.1f}"] for score in reported]
    assert table["T5 without a prompt"] == [f"{alone:.1f}"]
    assert table["commonest of these"] == [f"{task.majority:.1f}"]
    assert table["prompts, mean ± sd"] == [plus_minus(reported)]
    assert "toy-cb, 10 of 20 dev examples, labels of toy-cb" in table
    table = table_of(capsys, *paths, "--task", "toy-cb", "--held-out", "0", "--max-dev", "7")
    assert "toy-cb, 7 of 7 dev examples, labels of toy-cb" in table


@pytest.fixture
def score_scripted(monkeypatch, save, capsys):
    """The scores of prompts that answer with their own lists to dev examples of these targets."""
    def score(trained, scored, targets, lists):
        labels = data.TASKS[trained].labels

        def answers(answerer, rows):
            texts = [lists[row.prompt][row.example] for row in rows]
            if not labels:
                return [FreeText(text, -1.0) for text in texts]
            return [torch.tensor([float(label == text) for label in labels]) for text in texts]

        examples = [data.Example("sentence: x .", target) for target in targets]
        monkeypatch.setattr(data, "load", lambda *_: (examples, examples))
        monkeypatch.setattr(Answerer, "answers", answers)
        paths = [save(f"p{n}", OF_SST2, trained) for n in range(len(lists))]
        table = table_of(capsys, *paths, "--task", scored)
        return [float(table[path][0]) for path in paths], table

    return score


def test_votes_and_classes_by_hand(score_scripted):
    # The votes are P P N N: P has precision 2/2 and recall 2/3, N 1/2 and 1/1.
    answers = [[P, P, P, N], [P, P, N, P], [N, P, N, N]]
    scores, table = score_scripted("toy-sst2", "toy-sst2", [P, P, P, N], answers)
    assert scores == [100, 50, 50]
    assert table["majority vote"] == table["mean probability"] == ["75.0"]
    assert table[P] == ["100.0", "66.7", "80.0", "3"] and table[N] == ["50.0", "100.0", "66.7", "1"]
    texts = [["place : rome", "none"], ["none", "none"], ["none", "none"]]
    scores, table = score_scripted("toy-ner", "toy-ner", texts[0], texts)
    assert scores == [100, 0, 0] and table["majority vote"] == ["0.0"]


@pytest.mark.parametrize("trained, scored, answers, targets, score, labels", [
    # Neutral and contradiction are "not_entailment" (X), whichever task the prompt is of.
    ("toy-cb", "toy-rte", "ENCC", "EXXE", 75, "toy-rte"),
    ("toy-rte", "toy-cb", "EXXE", "ENCC", 75, "toy-rte"),
    ("toy-nli", "toy-cb", "ENNN", "ENCC", 50, "toy-cb")])
def test_labels_of_other_data(trained, scored, answers, targets, score, labels, score_scripted):
    words = dict(zip("ENCX", (*data.NLI, "not_entailment")))
    answers, targets = [[words[key] for key in keys] for keys in (answers, targets)]
    scores, table = score_scripted(trained, scored, targets, [answers])
    assert scores == [score] and f"{scored}, 4 of 4 dev examples, labels of {labels}" in table
    assert predict.common_labels("squad", "record") == ("record", {})  # free text, answer_em
    with pytest.raises(ValueError, match="no labels and metric in common"):
        predict.common_labels("squad", "stsb")


def test_prompts_of_other_kinds(other_kinds, capsys):
    table = table_of(capsys, *other_kinds, "--task", "toy-sst2", "--model", "toy/t5")
    ours = table_of(capsys, SST2, "--task", "toy-sst2", "--held-out", "0")[SST2]
    assert [table[path] for path in other_kinds] == [ours] * 3
    predict.main(["answer", other_kinds[2], "--task", "toy-sst2", "--text", "x"])  # its T5 is named


def test_a_prompt_of_your_own_data(save, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "TASKS", dict(data.TASKS))
    rows = [{"text": f"cats {i}", "label": label} for i in range(10) for label in ("yes", "no")]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"input": "text: {text}", "labels": ["no", "yes"], "metrics": ["accuracy", "macro_f1"],
            "target": "label"}
    trained = save("p", OF_SST2, "mine", definition=task, longest_target=7)
    assert predict.origin_of(trained, "prompt.json").longest == 7
    table = table_of(capsys, trained, "--task", path)
    assert "mine, 4 of 4 dev examples, labels of mine" in table and len(table[trained]) == 2
    # The name alone is known from the prompt. It needs a file with answers.
    del data.TASKS["mine"]
    table = table_of(capsys, trained, "--task", "mine", "--data", path)
    assert "mine, 20 of 20 dev examples, labels of mine" in table
    with pytest.raises(ValueError, match="^mine is a task of your own: give its file as --task or"):
        predict.main(["score", trained, "--task", "mine"])
    del data.TASKS["mine"]
    older = save("older", OF_SST2, "mine", definition={**task, "target": ""})
    with pytest.raises(ValueError, match="^mine does not say which column of .* has the answers"):
        predict.main(["score", older, "--task", "mine", "--data", str(path)])


def test_a_dev_file_is_enough(save, tmp_path, capsys):
    rows = [{"premise": "cats .", "hypothesis": "cats .", "label": label}
            for label in (*data.NLI, "neutral")]
    path = tmp_path / "superglue/CB/val.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = save("p", OF_NLI, "cb")
    tables = [table_of(capsys, trained, "--task", "cb", "--data", given)
              for given in (tmp_path, path)]
    assert "cb, 4 of 4 dev examples, labels of cb" in tables[0] and tables[0] == tables[1]
    assert len(tables[0][trained]) == 2 and tables[0]["commonest of these"][0] == "50.0"
    assert tables[0]["neutral"][3] == "2"  # precision, recall and F1 of each label before it


def test_a_tuned_t5_alone(tmp_path, capsys):
    shutil.copytree(world.MODEL, tmp_path / "tuned")
    (tmp_path / "tuned" / "tuned.json").write_text(
        json.dumps({"task": "toy-cb", "recipe": {"held_out": 0.4}}))
    table = table_of(capsys, "--model", tmp_path / "tuned", "--task", "toy-nli,toy-rte")
    assert "toy-rte, 8 of 20 dev examples, labels of toy-rte" in table
    assert str(tmp_path / "tuned") in table and "T5 without a prompt" not in table
    assert "mean probability" not in table  # of one there is no vote


def test_nan_is_no_answer(engine, monkeypatch):
    logits = engine.t5.logits
    monkeypatch.setattr(engine.t5, "logits", lambda hidden: (  # of the first row only
        logits(hidden).index_fill(0, torch.tensor([0]), math.nan)))
    with pytest.raises(ValueError, match="toy-sst2: this T5 answers NaN"):
        predict.main(["answer", SST2, "--text", "x", "--text", "y"])


def test_only_words_are_neighbours():
    embedding = torch.eye(6)  # 0 to 2 are pad, eos and unk, 3 and 4 words, 5 a sentinel
    ids, values = predict.nearest(torch.tensor([[2.0, 0, 0, 0, 1, 2]]), embedding, 1, pieces=5)
    assert ids.tolist() == [[4]] and values.item() == pytest.approx(1 / 3)


def test_a_start_from_labels_lies_at_the_labels(engine, save, capsys):
    labels = [TOKENIZER.encode(label)[:-1] for label in data.NLI]
    start = prompt.initialise("labels", engine.t5.shared.weight, 4, 0, TOKENIZER.pieces, labels)
    predict.main(["neighbours", save("p", start, "toy-nli")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("   0  ▁entailment 1.00  ")
    assert "label contradiction: nearest is vector 2, cosine 1.00" in lines


@pytest.mark.parametrize("line, complaint", [
    ("answer SST2 --text x --file y", "not allowed with argument"),
    ("answer SST2 --file nowhere", "nowhere"),
    ("answer SST2 --text x --write no/x", "--write no/x: there is no folder no"),
    ("answer SST2 --task toy-cb --text x", "--task is toy-cb, these prompts are of toy-sst2"),
    ("answer NLI SST2 --task toy-nli --text x", "--task is toy-nli, these prompts are of toy-nli,"),
    ("answer ELSEWHERE --text x", "was trained on 'toy/t5', model and tokenizer other; this T5 is"),
    ("answer NLI SST2 --data x.jsonl", "--data is of one task, these prompts are of toy-nli, toy"),
    ("answer SST2 --data nowhere.jsonl", "nowhere.jsonl is missing"),
    ("answer SST2 SST2/ --text x", "names a prompt twice"),
    ("answer toy/nothing --text x", "no such file or folder"),
    ("answer PEFT --text x", "does not say its task: give --task"),
    ("answer NPY --task toy-cb --text x", "does not name its T5: give --model"),
    ("answer SST2 SHORT --text x", r"\(length, width\) is \(3, 128\), wanted \(10, 128\)"),
    ("score NLI SST2 --task toy-nli", "must be of one task, not of toy-nli, toy-sst2"),
    ("score NLI --task mrpc", "toy-nli answers .*; mrpc answers not_equivalent, .*: no labels and"),
    ("score NLI --task toy-ner", "toy-nli answers .*; toy-ner answers text: no labels and"),
    ("score NLI OTHER --task toy-nli", "on different dev examples: give --held-out"),
    ("score NLI --task toy-nly", "unknown task 'toy-nly'; did you mean toy-nli"),
    ("score NLI --task toy-nli --held-out 0.01", "--held-out 0.01 of 20 dev examples leaves none"),
    ("score NLI --task toy-nli --held-out nan", "--held-out is nan, wanted 0 or more"),
    ("score NLI --task toy-nli --held-out 1", "--held-out is 1.0, wanted less than 1"),
    ("score NLI --task toy-nli --max-dev -3", "--max-dev is -3, wanted 0 or more"),
    ("score NLI --task toy-nli --max-input 1", "--max-input is 1, wanted 2 or more"),
    ("answer SST2 --text x --write=", "'' is no path"),
    ("answer MINE OTHERS --text x", "these prompts have different labels or inputs for mine"),
    ("score TEXT --task toy-nli", "prompt.json: max_input is '9', wanted a number"),
    ("neighbours NLI --top 5000", "--top is 5000, wanted at most"),
    ("neighbours LOST", "adapter_config.json: 'gone/t5/' is neither a folder nor")])
def test_a_mistake_is_one_line_that_names_it(line, complaint, save, other_kinds):
    paths = {"NLI": NLI, "SST2": SST2, "SST2/": f"{SST2}/", "NPY": other_kinds[0],
             "PEFT": other_kinds[2], "SHORT": save("short", torch.zeros(3, 128), "toy-sst2"),
             "LOST": save("lost", torch.zeros(3, 128), "toy-sst2", model="gone/t5/"),
             "TEXT": save("text", OF_NLI, "toy-nli", {"max_input": "9"}),
             "MINE": save("m", OF_NLI, "mine", definition={"labels": ["a", "b"]}),
             "OTHERS": save("o", OF_NLI, "mine", definition={"labels": ["a", "c"]}),
             "ELSEWHERE": save("else", OF_NLI, "toy-nli"),
             "OTHER": save("other", OF_NLI, "toy-nli", {"held_out": 0.1})}
    made_by = read_json(f"{paths['ELSEWHERE']}/prompt.json") | {"fingerprint": "other"}
    write_json(f"{paths['ELSEWHERE']}/prompt.json", made_by)
    with pytest.raises((ValueError, OSError), match=complaint) as error:
        predict.main([paths.get(word, word) for word in line.split()])
    assert "\n" not in str(error.value)

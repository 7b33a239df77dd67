"""plumbing/formats.py: the official formats and a user's own files, and what becomes of odd rows.

    python -m pytest tests/plumbing/test_formats.py                  # seconds, no download
    T5_DATA=folder python -m pytest tests/plumbing/test_formats.py   # your official files, too

T5_DATA is a folder as --data takes it. Without it the test that reads it is skipped.

Oracle: invented rows in the official formats (tests/rows.py), with the strings that they should
become written out, or with the message; for the official files the published counts.
"""

import gzip
import json
import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from data import TASKS, own_task
from plumbing import formats
from plumbing.formats import Example, read_examples, task_from_file
from plumbing.metrics import METRICS
from rows import (BOOLQ, CB_ROWS, MNLI_ROW, MNLI_TRAIN, MRPC, MULTINLI, PLAIN, ROWS, STSB,
                  STSB_ROW, WSC, conll04, conll12, jsonl, multirc, official, record, squad, table,
                  tsv, write)


def read(tmp_path, name, content, train=False):
    """The Examples of one split: of the content of its file, or of the files in its folder."""
    path = tmp_path / TASKS[name].files[not train]
    for file, text in (content.items() if isinstance(content, dict) else [("", content)]):
        write(path / file if file else path, text)
    return read_examples(name, TASKS[name], path, train)


# ------------------------------------------------------------------- rows as they should be


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.files])
def test_official_rows_as_text_to_text(tmp_path, capsys, name):
    train, train_examples, dev, dev_examples = ROWS[name]
    if name == "mrpc":  # both splits are read from both files
        write(tmp_path / TASKS[name].files[0], train)
        write(tmp_path / TASKS[name].files[1], dev)
    assert read(tmp_path, name, train, train=True) == train_examples
    assert read(tmp_path, name, dev) == dev_examples
    printed = capsys.readouterr().err
    assert "skipped" not in printed
    assert printed.count("the published file has") == len(TASKS[name].sizes)


@pytest.mark.parametrize("name, text, long", [
    ("cb", "hypothesis: a premise: b premise: c", "b premise: c"), ("cb", "a text", ""),
    ("boolq", "passage: b question: c question: d", "b question: c"), ("wsc", "a *b*", "a *b*"),
    ("copa", "choice1: a choice2: b premise: c question: d", "c"), ("toy-cb", "a premise: b", "")])
def test_the_part_that_may_be_cut(name, text, long):
    start, end = formats.long_part(TASKS[name], text)
    assert text[start:end] == long


def test_mrpc_as_the_script_of_glue_writes_it(tmp_path):
    rows = tsv("Quality | #1 ID | #2 ID | #1 String | #2 String",
               '1 | 11 | 21 | "Rain fell . | It rained .')
    path = write(tmp_path / "glue/MRPC/dev.tsv", rows)
    assert read_examples("mrpc", TASKS["mrpc"], path, False) == [
        Example('sentence1: "Rain fell . sentence2: It rained .', "equivalent")]


def test_the_official_files_have_the_published_counts(capsys):
    folder = official()
    both = "cb copa wsc rte wic cola mrpc stsb conll04 sst2 multirc".split()
    dev = both + "boolq mnli qnli squad".split()
    for name, train in [(name, True) for name in both] + [(name, False) for name in dev]:
        task = TASKS[name]
        examples = read_examples(name, task, folder / task.files[not train], train)
        assert len(examples) == task.sizes[not train]
        assert not task.labels or {e.target for e in examples} == set(task.labels)
    # nothing is skipped but in WSC
    assert {line.split(":")[0] for line in capsys.readouterr().err.splitlines()} == {"wsc"}



# ------------------------------------------------------------------------------ odd rows


def target(row=WSC, **changes):
    return row | {"target": row["target"] | changes}


SST2 = "sentence | label"
KEPT = "kept | 1"
FEW = "skipped: not 2 cells"
BOATS = [("Boats left. premise: Two boats left.", "entailment")]
SHE = "Ada thanked Eve because *she* had helped ."
# what -> task, content of the dev file, its (input, target) pairs without the template's first
# word, the counts on standard error
ODD = {
    "quotes in tsv": ("sst2", tsv(SST2, '"so | 1', 'a "so" | 0'),
                      [('"so', "positive"), ('a "so"', "negative")], {}),
    "few columns": ("sst2", tsv(SST2, "1", KEPT, "", "0", "a | b | 1"), [("kept", "positive")],
                    {FEW: 3}),
    # of Windows, with the label as the last column, and not
    "line ends": ("mnli", "\ufeff" + table(MNLI_TRAIN, [MNLI_ROW], end="\r\n"), BOATS, {}),
    "label first": ("mnli", "\ufeff" + table(MULTINLI, [MNLI_ROW], end="\r\n"), BOATS, {}),
    "jsonl of Windows": ("cb", "\ufeff" + jsonl(CB_ROWS[1], end="\r\n"),
                         [("it rained premise: Tom knew that it rained.", "entailment")], {}),
    "braces": ("cb", jsonl(CB_ROWS[1] | {"hypothesis": "{premise} {0} {"}),
               [("{premise} {0} { premise: Tom knew that it rained.", "entailment")], {}),
    "empty cells": ("sst2", "sentence\tlabel\n\t1\n \t0\nno\t\nkept\t1\n",
                    [("kept", "positive")], {"skipped: no sentence": 2, "skipped: no label": 1}),
    "null and empty line": ("boolq", jsonl(BOOLQ | {"label": None}) + "\n" + jsonl(BOOLQ),
                            [("Tin -- Tin is a soft metal. question: is tin a metal", "True")],
                            {"skipped: no label": 1}),
    "no gold label": ("mnli", table(MNLI_TRAIN, [MNLI_ROW | {"gold_label": "-"}, MNLI_ROW]),
                      BOATS, {"skipped: no gold label": 1}),
    "empty answer": ("multirc", jsonl(multirc("It rained.", ("What fell?", [("", 0)]))),
                     [("What fell? answer: paragraph: It rained.", "False")], {}),
    "no score": ("stsb", tsv(STSB, STSB_ROW, STSB_ROW + "5.000"),
                 [("A dog runs. sentence2: A cat runs.", "5.0")], {"skipped: no score": 1}),
    "no answer": ("squad", squad("In Ely.", ("Who?", []), ("Where?", ["Ely"])),
                  [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 1}),
    "IOB2": ("conll03", "Ada x x B-PER\nLee x x I-PER\nEve x x B-PER\nEly x x B-LOC\nsat x x O\n",
             [("Ada Lee Eve Ely sat", "person : Ada Lee ; person : Eve ; location : Ely")], {}),
    "IOB1": ("conll03", "Ada x x I-PER\nEve x x B-PER\nEly x x I-LOC\n",
             [("Ada Eve Ely", "person : Ada ; person : Eve ; location : Ely")], {}),
    "escaped brackets": ("ontonotes", {"a_gold_conll": conll12("-LRB- *", "Ely (GPE)", "-RRB- *",
                                                               "/. *")},
                         [("( Ely ) .", "country or city : Ely")], {}),
    "nested": ("conll12", {"a_gold_conll": conll12("He * (A1(A0*)", "ran * (V*)", "off * *)")},
               [("ran sentence: He ran off", "A0 : He ; A1 : He ran off")], {}),
    "packed": ("conll05", {"words/s.24.words.gz": gzip.compress(b"It\n-LRB-\nran\n"),
                           "props/s.24.props.gz": gzip.compress(b"- (A0*)\n- *\nrun (V*)\n")},
               [("ran sentence: It ( ran", "A0 : It")], {}),
    "moved pronoun": ("wsc", jsonl(target(WSC | {"text": "she saw she ran"}, span2_index=3)),
                      [("she saw *she* ran", "Eve")], {}),
    "pronoun and comma": ("wsc", jsonl(target(WSC | {"text": "Ada, as Eve knew, \"she\", ran"})),
                          [('Ada, as Eve knew, "*she*", ran', "Eve")], {}),
    "capitals": ("wsc", jsonl(target(span1_text="eve"), target(span1_text="Ada\nThanked"),
                              target(WSC | {"text": "That eve Eve hid, she did."})),
                 [(SHE, "Eve"), (SHE, "Ada thanked"), ("That eve Eve hid, *she* did.", "Eve")], {}),
    "few columns of a score": ("stsb", tsv(STSB, "x | y", STSB_ROW + "5.000"),
                               [("A dog runs. sentence2: A cat runs.", "5.0")],
                               {"skipped: not 10 cells": 1}),
}
for space in ("  ", "\u00a0", "\u2028", "\u0085", "\x0b"):  # only a line feed ends a row
    row = MNLI_ROW | {"sentence1": f" Two{space}boats left. "}
    ODD[f"space {space!r}"] = "mnli", table(MNLI_TRAIN, [row]), BOATS, {}
for cells, verb, arguments in (
        # C-A1 continues the last A1, C-V the predicate; a C-A0 without an A0 is an A0
        ("(A1*) (V*) (C-A1*) *", "w1", "A1 : w0 w2"),
        ("(A1*) (A1*) (V*) (C-A1*)", "w2", "A1 : w0 ; A1 : w1 w3"),
        ("(C-A0*) (V*) (C-A0*) *", "w1", "A0 : w0 w2"),
        ("(R-A0*) (V*) * (C-V*)", "w1 w3", "R-A0 : w0"),
        ("(A1* (A0*) (V*) *)", "w2", "A1 : w0 w1 w2 w3 ; A0 : w1")):  # by their first words
    sentence = conll12(*[f"w{i} * {cell}" for i, cell in enumerate(cells.split())])
    ODD[cells] = ("conll12", {"a_gold_conll": sentence},
                  [(f"{verb} sentence: w0 w1 w2 w3", arguments)], {})
for end, passage in (  # the lines of a summary become sentences
        (".", "Ely. Six."), ("?", "Ely? Six."), ('"', 'Ely" Six.'), ("", "Ely. Six."),
        (",", "Ely,. Six.")):
    row = record(f"Ely{end}\n@highlight\nSix.", ["Ely"], ("@placeholder.", ["Ely"]))
    ODD[f"line ends in {end!r}"] = ("record", jsonl(row),
                    [(f"@placeholder. entities: Ely passage: {passage}", "Ely")], {})
for score, text in (
        ("0.000", "0.0"), ("0.090", "0.0"), ("0.111", "0.2"), ("4.891", "4.8"), ("5", "5.0"),
        # Exact halves, in fp32: T5's preprocessor (tf.round) takes the even one
        ("0.500", "0.4"), ("2.500", "2.4"), ("3.700", "3.6"), ("4.500", "4.4"), ("4.900", "4.8")):
    ODD[f"score {score}"] = ("stsb", tsv(STSB, STSB_ROW + score),
                             [("A dog runs. sentence2: A cat runs.", text)], {})
FIRST = {"boolq": "passage: ", "multirc": "question: ", "stsb": "sentence1: ", "wsc": "",
         "squad": "question: ", "mnli": "hypothesis: ", "cb": "hypothesis: ", "record": "query: ",
         "conll12": "predicate: ", "conll05": "predicate: "}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_row(tmp_path, capsys, what):
    name, content, pairs, notes = ODD[what]
    examples = read(tmp_path, name, content)
    assert [(e.input, e.target) for e in examples] == [
        (FIRST.get(name, "sentence: ") + text, target) for text, target in pairs]
    printed = capsys.readouterr().err
    for note, count in notes.items():
        assert re.search(rf"^{name}: {count} rows of {re.escape(str(tmp_path))}.* {note}$",
                         printed, re.M)
    assert printed.count("skipped: ") == len(notes)


def test_in_training_wsc_learns_only_from_true_referents(tmp_path, capsys):
    train = read(tmp_path, "wsc", jsonl(WSC | {"label": False}, WSC), train=True)
    assert train == [Example(SHE, "Eve", ("True",))]
    assert "skipped: labelled false, names no referent" in capsys.readouterr().err


# ------------------------------------------------------------------- what cannot be read


def bad_row(text):
    """A file whose second row is this line."""
    return jsonl(CB_ROWS[0]) + text + "\n"


def conll05(words, props):
    return {"words/s.words": words, "props/s.props": props}


# what -> task, content of the dev file, what the error says; the header of a tsv is line 1
BAD = {
    "label": ("cb", bad_row(json.dumps(CB_ROWS[1] | {"label": "maybe"})),
              "val.jsonl, line 2: label 'maybe', wanted one of .*neutral"),
    "label number": ("cb", bad_row(json.dumps(CB_ROWS[1] | {"label": 1})),
                     "val.jsonl, line 2: label 1, wanted .*neutral; exports number labels"),
    "two columns of one name": ("sst2", tsv("sentence | label | label", "A. | 1 | 0"),
                                "dev.tsv, line 1: two columns of one name"),
    "bad json": ("cb", bad_row('{"premise": "cut'), "val.jsonl, line 2: not JSON"),
    "deep json": ("cb", bad_row("[" * 100_000), "val.jsonl, line 2: not JSON"),
    "json list for text": ("cb", bad_row(json.dumps(CB_ROWS[0] | {"premise": ["p"]})),
                           "val.jsonl, line 2: column 'premise' holds .'p'., wanted a text"),
    "not utf-8": ("cb", jsonl(*CB_ROWS).encode() + b"\xff\n",
                  "val.jsonl cannot be read after line 4: .utf-8"),
    "no rows": ("cb", "", "val.jsonl has no usable row"),
    "no column": ("sst2", tsv("text | label", "a | 1"), "dev.tsv has no usable row: no sentence; "
                                                        "its columns are text, label"),
    "header in cola": ("cola", tsv("source | label | mark | sentence", "x | 1 |  | A."),
                       "dev.tsv, line 1: label 'label', wanted one of 0, 1"),
    "no pronoun": ("wsc", jsonl(WSC, target(span2_text="him")), "val.jsonl, line 2: .*'him'"),
    "label of wsc": ("wsc", jsonl(WSC, WSC | {"label": "False"}),
                     "val.jsonl, line 2: label 'False', wanted true or false"),
    "high score": ("stsb", tsv(STSB, STSB_ROW + "5.001"), "dev.tsv, line 2: score '5.001'"),
    "no score": ("stsb", tsv("sentence1 | grade", "A. | 2"),
                 "no usable row: no score; its columns are sentence1, grade"),
    "no paragraphs": ("squad", '{"data": [{}]}', "dev-v1.1.json: .*missing.*: 'paragraphs'"),
    "text for questions": ("squad", '{"data": [{"paragraphs": ["x"]}]}',
                           "dev-v1.1.json: .*of another kind: string"),
    "ragged tags": ("conll03", "Ada x x O\nsat x x\n\n", "line 1 .*: lines of .3, 4. columns"),
    "no tags": ("conll03", "Ada x\nsat x\n\n", "line 1 .*: lines of .2. columns, wanted .* 3 or"),
    "never closed": ("conll12", {"a_gold_conll": conll12("Ada * (A0*", "ran * (V*)")},
                     "the bracket of 'A0' is never closed"),
    "no predicate": ("conll12", {"a_gold_conll": conll12("Ada * (A0*)")}, "without its .V"),
    "left out": ("ontonotes", {"a_gold_conll": conll12("[WORD] *")}, "a_gold_conll, line .*join"),
    "no gold_conll": ("ontonotes", {"a.conll": conll12(*PLAIN)}, "holds no .gold_conll"),
    "never opened": ("conll12", {"a_gold_conll": conll12("Ada * *)")}, "wanted .ROLE"),
    "no props": ("conll05", {"words/s.words": "Ada\n"}, "s.props is missing"),
    "lengths": ("conll05", conll05("Ada\nsat\n", "sit (V*)\n"), "s.words: .*shorter"),
    "cut gz": ("conll05", {"words/a.gz": gzip.compress(b"Ada\n")[:12], "props/a.gz": ""},
               "a.gz cannot be read after line 0: "),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_named_by_its_place(tmp_path, what):
    name, content, message = BAD[what]
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}") as error:
        read(tmp_path, name, content)
    assert "\n" not in str(error.value)


def test_without_its_ids_a_dev_pair_of_mrpc_would_be_trained_on(tmp_path):
    write(tmp_path / "glue/MRPC/mrpc_dev_ids.tsv", "12\t22\n13\t2\n")
    with pytest.raises(ValueError, match="train.txt has no row with the ids 13 and 2, which"):
        read(tmp_path, "mrpc", tsv(*MRPC), train=True)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: None])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, make):
    path = tmp_path / "val.jsonl"
    make(path)
    with pytest.raises(ValueError, match="val.jsonl is missing, a folder or a pipe, wanted a file"):
        read_examples("cb", TASKS["cb"], path, False)


def test_another_number_of_examples_than_the_published_one_is_said(tmp_path, capsys):
    task = replace(TASKS["cb"], sizes=(1, 2))
    path = write(tmp_path / "x.jsonl", jsonl(*CB_ROWS[:2]))
    read_examples("cb", task, path, train=False)
    assert not capsys.readouterr().err
    read_examples("cb", task, path, train=True)
    assert capsys.readouterr().err == f"cb: 2 examples in {path}, the published file has 1\n"


GOOD = {"files": ("a.tsv", "b.tsv"), "input": "{text}", "target": "label", "labels": ("no", "yes"),
        "metrics": ("accuracy",), "codes": (), "cut": ""}


@pytest.mark.parametrize("change, message", [
    ({"input": "no column"}, "input 'no column' names no {column}"),
    ({"cut": "premise"}, "cut is 'premise', wanted a column of '{text}'"),
    ({"input": "a: {text} b: {text}"}, "a task's input 'a: {text} b: {text}' names a column twice"),
    ({"metrics": "accuracy"}, "metrics are 'accuracy', wanted a tuple of accuracy, f1"),
    ({"metrics": ("acc",)}, "metrics are .*acc.*, wanted a tuple"),
    ({"metrics": ()}, "metrics are .., wanted a tuple"),
    ({"labels": ("yes",)}, "wanted a tuple of two or more texts"),
    ({"labels": ("yes", "yes")}, "wanted a tuple of two or more texts"),
    ({"codes": ("0",)}, "wanted a tuple .* a different one for each label")])
def test_a_task_that_cannot_be_is_refused_where_it_is_written(change, message):
    task = SimpleNamespace(**GOOD | change)
    with pytest.raises(ValueError, match=message):
        formats.check_task(task, METRICS)


# --------------------------------------------------------------------------- a user's own file

# The same four rows in three formats. The comma and the line end stand in a quoted cell.
TEXTS = ["good, really", "bad\nbad", 'it "works"', "broken"]
LABELS = ["up", "down", "up", "down"]
OWN = {
    "train.csv": 'text,label\n"good, really",up\n"bad\nbad",down\n\n"it ""works""",up\n'
                 "broken,down\n",
    "train.tsv": "\ufefftext\tlabel\ngood, really\tup\nbad bad\tdown\n\nit \"works\"\tup\n"
                 "broken\tdown\n",
    "train.jsonl": "\n".join(json.dumps({"id": i, "text": text, "label": label})
                             for i, (text, label) in enumerate(zip(TEXTS, LABELS))) + "\n\n",
}


def own_examples(fields, path):
    task = SimpleNamespace(**GOOD | {"read": None, "rows": None, "sizes": ()} | fields)
    formats.check_task(task, METRICS)
    return [(e.input, e.target) for e in read_examples("own", task, path, True)]


@pytest.mark.parametrize("file", OWN)
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_task_is_guessed_from_a_file(tmp_path, file, as_folder):
    path = write(tmp_path / file, OWN[file])
    dev = write(tmp_path / "dev.csv", OWN["train.csv"])
    fields = task_from_file(tmp_path if as_folder else path)
    # the number is no text, and is left out
    assert fields == {"files": (str(path), str(dev)) if as_folder else (str(path),),
                      "input": "text: {text}", "target": "label", "labels": ("down", "up"),
                      "metrics": ("accuracy", "macro_f1")}
    assert own_examples(fields, path) == [
        (f"text: {' '.join(text.split())}", label) for text, label in zip(TEXTS, LABELS)]


def test_a_task_json_gives_what_cannot_be_guessed(tmp_path):
    path = write(tmp_path / "train.csv", "Q 1,{x},a.b\nWho?,Ada sat.,Ada\nWhere?,In Ely.,-\n")
    settings = {"input": "question: {Q 1} text: {a.b}", "target": "a.b", "labels": [],
                "metrics": ["answer_em"], "cut": "Q 1"}
    write(tmp_path / "task.json", json.dumps(settings))
    fields = task_from_file(tmp_path)
    assert fields == settings | {"labels": (), "metrics": ("answer_em",), "files": (str(path),)}
    assert own_examples(fields, path) == [("question: Who? text: Ada", "Ada"),
                                          ("question: Where? text: -", "-")]


def test_an_index_without_a_name_short_rows_and_empty_labels_are_passed_over(tmp_path):
    rows = ",text,label\n5\n" + 2 * "0,cats,\n1,cats,x\n2,cats,y\n"  # as pandas writes it
    fields = task_from_file(write(tmp_path / "x.csv", rows))
    assert (fields["input"], fields["labels"]) == ("text: {text}", ("x", "y"))


def test_columns_keep_their_order_and_labels_may_be_numbers(tmp_path):
    rows = [{"b": "x", "label": i % 2, "a": "y"} for i in range(4)]
    path = write(tmp_path / "x.jsonl", jsonl(*rows))
    for _ in range(2):
        fields = task_from_file(path)
        assert fields["input"] == "b: {b} a: {a}" and fields["labels"] == ("0", "1")
        assert own_examples(fields, path)[1] == ("b: x a: y", "1")
        write(tmp_path / "task.json", '{"labels": [0, 1]}')


@pytest.mark.parametrize("files, message", [
    ({"train.csv": "text,Label\na,x\n"}, "train.csv has no column 'label', its columns are text, "
                                         "Label: rename one, or set \"target\" in .*task.json"),
    ({"train.csv": "text,label\na,x\nb,y\nc,x\n"},
     "2 different values, only once .'y'., wanted 2 to 20 labels.*set \"labels\".*task.json"),
    ({"train.csv": "text,label\n" + "a,x\n" * 3}, "1 different values, .*wanted 2 to 20"),
    ({"train.csv": "text,label\n" + "".join(2 * f"a,{i}\n" for i in range(21))}, "21 different"),
    ({"train.csv": "text,label\n"}, "train.csv holds no row$"),
    ({"train.csv": "text,label\na,b,x\n"}, "train.csv holds no row, all have not 2 cells$"),
    ({"train.jsonl": '{"text": null, "label": "x"}\n'},
     "train.jsonl: its first row has no text beside 'label', .* set \"input\" in .*task.json"),
    ({"train.jsonl": '{"text": "a", "label": ["x"]}\n'},
     "train.jsonl: column 'label': .'x'., wanted a text or a number"),
    ({"train.csv": 'text,label\n"a,x\n'}, "train.csv, line 2: unexpected end"),
    ({"train.csv": "", "train.tsv": ""}, "train.csv and train.tsv are there, wanted one"),
    ({"train.txt": ""}, "holds no train file, wanted train.jsonl, train.tsv, train.csv"),
    ({"train.csv": OWN["train.csv"], "task.json": '{"label": "x"}'},
     "task.json: 'label' is 'x', wanted the texts input"),
    ({"train.csv": OWN["train.csv"], "task.json": '{"labels": "x"}'},
     "task.json: 'labels' is 'x', wanted .* and the lists labels"),
    ({"train.csv": OWN["train.csv"], "task.json": '{"labels": []}'},
     "task.json has no labels: wanted \"metrics\" in it")])
def test_what_cannot_be_guessed_is_one_line_with_the_next_step(tmp_path, files, message):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(ValueError, match=message) as error:
        own_task(str(tmp_path))
    assert "\n" not in str(error.value)

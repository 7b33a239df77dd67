"""The real tasks of data.py as text to text: their official formats, odd rows, metrics.

    python -m pytest tests/test_tasks.py                   # seconds, nothing to download
    T5_DATA=folder python -m pytest tests/test_tasks.py    # your official files too

T5_DATA is a folder as `--data` takes it. What needs it is skipped, and says so, without it.

Oracle: invented rows in the official formats, with the strings they should become
written out; metrics worked out by hand; for the official files the counts published for
them. cb, rte and mnli are in test_data.py.
"""

import gzip
import json
import math
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import data
from data import Example

REAL = [name for name, task in data.TASKS.items() if task.files]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def tsv(*rows, end="\n"):
    """Rows of cells with " | " between them: a tab would not be seen here."""
    return "".join(row.replace(" | ", "\t") + end for row in rows)


def conll12(*tokens):
    """A sentence of a *gold_conll file from "word entity argument argument ..." tokens."""
    lines = []
    for i, token in enumerate(tokens):
        word, entity, *arguments = token.split()
        lines.append(" ".join(["nw/made/up_0001", "0", str(i), word, "NN", "*", "-", "-", "-", "-",
                               entity, *arguments, "-"]))
    return "\n".join(["#begin document (nw/made/up_0001); part 000", *lines, "", "#end document", ""])


def read(tmp_path, name, content, train=False):
    """(examples, notes) of one split: the content of its file, or of the files in its folder."""
    path = tmp_path / data.TASKS[name].files[not train]
    for file, text in (content.items() if isinstance(content, dict) else [("", content)]):
        write(path / file if file else path, text)
    return data.read_split(data.TASKS[name], path, train)


# ------------------------------------------------------------- official rows as text

COPA = {"premise": "The jug fell.", "choice1": "It broke.", "choice2": "It was clean.",
        "question": "effect", "label": 0, "idx": 0}
WSC = {"text": "Ada thanked Eve because she had helped .", "idx": 0, "label": True,
       "target": {"span1_index": 2, "span1_text": "Eve", "span2_index": 4, "span2_text": "she"}}
WIC = {"word": "bank", "sentence1": "He swam to the bank.", "sentence2": "The bank is shut.", "idx": 0,
       "start1": 15, "end1": 19, "start2": 4, "end2": 8, "version": 1.1, "label": False}
BOOLQ = {"question": "is tin a metal", "passage": "Tin -- Tin is a soft metal.", "idx": 0, "label": True}


def multirc(text, *questions, idx=0):
    return {"idx": idx, "version": 1.1, "passage": {"text": text, "questions": [
        {"question": question, "idx": number, "answers": [
            {"text": answer, "idx": i, "label": label} for i, (answer, label) in enumerate(answers)]}
        for number, (question, answers) in enumerate(questions)]}}


def record(text, names, *queries):
    """The entities as the file has them: offsets, the last character included."""
    found = [text.index(name) for name in names]
    return {"source": "made up", "idx": 0, "passage": {"text": text, "entities": [
        {"start": start, "end": start + len(name) - 1} for start, name in zip(found, names)]},
        "qas": [{"idx": i, "query": query, "answers": [{"start": 0, "end": 1, "text": answer}
                                                       for answer in answers]}
                for i, (query, answers) in enumerate(queries)]}


def squad(context, *questions):
    return json.dumps({"version": "1.1", "data": [{"title": "Mills", "paragraphs": [
        {"context": context, "qas": [
            {"id": f"q{i}", "question": question,
             "answers": [{"text": answer, "answer_start": 0} for answer in answers]}
            for i, (question, answers) in enumerate(questions)]}]}]})


def conll04(tokens, *spans):
    return {"tokens": tokens.split(), "relations": [], "orig_id": 7,
            "entities": [{"type": kind, "start": start, "end": end} for kind, start, end in spans]}


CAFE = record("Ada met Eve in Ely.\n@highlight\nAda paid", ["Ely", "Eve", "Ada"],
              ("Then @placeholder left Ely.", ["Eve"]), ("@placeholder had money.", ["Ada", "Ada", "Eve"]))
CAFE_TEXT = "entities: Ada, Eve, Ely passage: Ada met Eve in Ely. Ada paid"
MRPC = ("\ufeffQuality | #1 ID | #2 ID | #1 String | #2 String",
        "1 | 11 | 21 | Rain fell . | It rained .", "0 | 12 | 22 | He left . | She came .",
        # Its second id alone is among those of dev, and the pair the other way round.
        "1 | 13 | 23 | Oil rose . | Oil went up .", "0 | 23 | 13 | Oil fell . | Oil rose .")
STSB = "index | genre | filename | year | old_index | source1 | source2 | sentence1 | sentence2 | score"
STSB_ROW = "0 | news | made | 2026 | 1 | none | none | A dog runs. | A cat runs. | "
CONLL03 = "-DOCSTART- -X- O O\n\n"
SENTENCE = ("Ada (PERSON) (ARG0*) *", "told * (V*) *", "the * (ARG2* (ARG0*", "Dutch (NORP) *) *)",
            "to * (ARG1* *", "leave * * (V*)", "New (GPE* * (ARG1*", "Ely *) *) *)")
PLAIN = ("Rain *", "soon *")  # neither an entity nor a predicate

# task -> content of the train file, examples; of the dev file, examples
ROWS = {
    "copa": (jsonl(COPA),
             [Example("choice1: It broke. choice2: It was clean. premise: The jug fell. question: effect",
                      "choice1")],
             jsonl(COPA | {"question": "cause", "label": 1}),
             [Example("choice1: It broke. choice2: It was clean. premise: The jug fell. question: cause",
                      "choice2")]),
    "wsc": (jsonl(WSC), [Example("Ada thanked Eve because *she* had helped .", "Eve", ("True",))],
            jsonl(WSC | {"label": False}),
            [Example("Ada thanked Eve because *she* had helped .", "Eve", ("False",))]),
    "wic": (jsonl(WIC),
            [Example("sentence1: He swam to the bank. sentence2: The bank is shut. word: bank", "False")],
            jsonl(WIC | {"sentence2": "The bank is steep.", "label": True}),
            [Example("sentence1: He swam to the bank. sentence2: The bank is steep. word: bank", "True")]),
    "boolq": (jsonl(BOOLQ), [Example("passage: Tin -- Tin is a soft metal. question: is tin a metal", "True")],
              jsonl(BOOLQ | {"question": "is tin hard", "label": False}),
              [Example("passage: Tin -- Tin is a soft metal. question: is tin hard", "False")]),
    "multirc": (
        jsonl(multirc("<b>Sentence 1: </b>Ada baked.<br><b>Sentence 2: </b>Eve ate.<br>",
                      ("Who ate?", [("Ada", 0), ("Eve", 1)]), ("Who baked?", [("Ada", 1)]), idx=4)),
        [Example("question: Who ate? answer: Ada paragraph: Ada baked. Eve ate.", "False", group="4 0"),
         Example("question: Who ate? answer: Eve paragraph: Ada baked. Eve ate.", "True", group="4 0"),
         Example("question: Who baked? answer: Ada paragraph: Ada baked. Eve ate.", "True", group="4 1")],
        jsonl(multirc("It rained.", ("What fell?", [("Rain", 1)])),
              multirc("It snowed.", ("What fell?", [("Rain", 0)]), idx=1)),
        [Example("question: What fell? answer: Rain paragraph: It rained.", "True", group="0 0"),
         Example("question: What fell? answer: Rain paragraph: It snowed.", "False", group="1 0")]),
    "record": (
        jsonl(CAFE),
        [Example(f"query: Then @placeholder left Ely. {CAFE_TEXT}", "Eve", ("Eve",)),
         Example(f"query: @placeholder had money. {CAFE_TEXT}", "Ada", ("Ada", "Eve"))],
        jsonl(record("Tom met Tom Ray.", ["Tom", "Tom Ray", "Tom"], ("@placeholder spoke.", ["Tom Ray"]))),
        # named twice, listed once
        [Example("query: @placeholder spoke. entities: Tom, Tom Ray passage: Tom met Tom Ray.",
                 "Tom Ray", ("Tom Ray",))]),
    "cola": (tsv("xy01 | 1 |  | Ada sang.", "xy01 | 0 | * | Sang the Ada."),
             [Example("sentence: Ada sang.", "acceptable"), Example("sentence: Sang the Ada.", "unacceptable")],
             tsv("xy02 | 0 | ?? | Ada were."), [Example("sentence: Ada were.", "unacceptable")]),
    "mrpc": (tsv(*MRPC, end="\r\n"),
             [Example("sentence1: Rain fell . sentence2: It rained .", "equivalent"),
              Example("sentence1: Oil rose . sentence2: Oil went up .", "equivalent"),
              Example("sentence1: Oil fell . sentence2: Oil rose .", "not_equivalent")],
             tsv("12 | 22", "99 | 23"),
             [Example("sentence1: He left . sentence2: She came .", "not_equivalent")]),
    "stsb": (tsv(STSB, STSB_ROW + "3.667"),
             [Example("sentence1: A dog runs. sentence2: A cat runs.", "3.6", ("3.667",))],
             tsv(STSB, STSB_ROW + "0.000"),
             [Example("sentence1: A dog runs. sentence2: A cat runs.", "0.0", ("0.000",))]),
    "sst2": (tsv("sentence | label", "a fine film | 1", "dull  | 0"),
             [Example("sentence: a fine film", "positive"), Example("sentence: dull", "negative")],
             tsv("sentence | label", "slow | 0"), [Example("sentence: slow", "negative")]),
    "qnli": (tsv("index | question | sentence | label", "0 | Who sang? | Ada sang. | entailment"),
             [Example("question: Who sang? sentence: Ada sang.", "entailment")],
             tsv("index | question | sentence | label", "0 | Who sang? | Eve ate. | not_entailment"),
             [Example("question: Who sang? sentence: Eve ate.", "not_entailment")]),
    "qqp": (tsv("id | qid1 | qid2 | question1 | question2 | is_duplicate", "0 | 1 | 2 | Why tea? | Why is tea? | 1"),
            [Example("question1: Why tea? question2: Why is tea?", "duplicate")],
            tsv("id | qid1 | qid2 | question1 | question2 | is_duplicate", "0 | 1 | 2 | Why tea? | Who? | 0"),
            [Example("question1: Why tea? question2: Who?", "not_duplicate")]),
    "squad": (squad("The mill is in Ely.", ("Where is it?", ["in Ely"]), ("What is there?", ["The mill"])),
              [Example("question: Where is it? context: The mill is in Ely.", "in Ely", ("in Ely",)),
               Example("question: What is there? context: The mill is in Ely.", "The mill", ("The mill",))],
              squad("The mill is in Ely.", ("Where?", ["Ely", "in Ely", "Ely"])),
              [Example("question: Where? context: The mill is in Ely.", "Ely", ("Ely", "in Ely", "Ely"))]),
    "conll03": (CONLL03 + "Ada NNP I-NP I-PER\nLee NNP I-NP I-PER\nleft VBD I-VP O\nEly NNP I-NP I-LOC\n\n"
                "It PRP I-NP O\nrained VBD I-VP O\n",
                [Example("sentence: Ada Lee left Ely", "person : Ada Lee ; location : Ely"),
                 Example("sentence: It rained", "none")],
                CONLL03 + "Acme NNP I-NP I-ORG\nDutch JJ I-NP I-MISC\n",
                [Example("sentence: Acme Dutch", "organization : Acme ; miscellaneous : Dutch")]),
    "conll04": (json.dumps([conll04("Ada Lee of Acme left Ely", ("Loc", 5, 6), ("Peop", 0, 2), ("Org", 3, 4))]),
                [Example("sentence: Ada Lee of Acme left Ely",
                         "person : Ada Lee ; organization : Acme ; location : Ely")],
                json.dumps([conll04("On May 3", ("Other", 1, 3)), conll04("It rained")]),
                [Example("sentence: On May 3", "other : May 3"), Example("sentence: It rained", "none")]),
    "ontonotes": ({"nw/a.v4_gold_conll": conll12(*SENTENCE)},
                  [Example("sentence: Ada told the Dutch to leave New Ely",
                           "person : Ada ; nationality or group : Dutch ; country or city : New Ely")],
                  {"a.gold_conll": conll12("At * ", "Hamlet (WORK_OF_ART)"), "b/b.gold_conll": conll12(*PLAIN)},
                  [Example("sentence: At Hamlet", "work of art : Hamlet"),
                   Example("sentence: Rain soon", "none")]),
    "conll05": ({"words/s.02.words": "Ada\nsaid\nEve\nate\ncake\n\nRain\n\n",
                 "props/s.02.props": "- (A0*) *\nsay (V*) *\n- (A1* (A0*)\neat * (V*)\n- *) (A1*)\n\n-\n\n"},
                [Example("predicate: said sentence: Ada said Eve ate cake", "A0 : Ada ; A1 : Eve ate cake"),
                 Example("predicate: ate sentence: Ada said Eve ate cake", "A0 : Eve ; A1 : cake")],
                {"words/s.24.words": "Give\nup\n", "props/s.24.props": "give (V*\n- *)\n"},
                [Example("predicate: Give up sentence: Give up", "none")]),
    "conll12": ({"nw/a.v4_gold_conll": conll12(*SENTENCE) + conll12(*PLAIN)},
                [Example("predicate: told sentence: Ada told the Dutch to leave New Ely",
                         "ARG0 : Ada ; ARG2 : the Dutch ; ARG1 : to leave New Ely"),
                 Example("predicate: leave sentence: Ada told the Dutch to leave New Ely",
                         "ARG0 : the Dutch ; ARG1 : New Ely")],
                {"a.gold_conll": conll12("Soon * (ARGM-TMP*)", "ring * (V*)", "up * (C-V*)")},
                [Example("predicate: ring sentence: Soon ring up", "ARGM-TMP : Soon")]),
}


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


LONG = {"cb": "Tin is.", "copa": "The jug fell.", "wic": "The bank is steep.", "multirc": "It snowed.",
        "boolq": "Tin -- Tin is a soft metal.", "squad": "The mill is in Ely.", "qqp": "Who?",
        "conll12": "Soon ring up", "record": "Tom met Tom Ray."}


@pytest.mark.parametrize("name", LONG)
def test_the_part_to_cut_is_the_long_one(tmp_path, name):
    row = jsonl({"premise": "Tin is.", "hypothesis": "Tin.", "label": "neutral"})
    example = read(tmp_path, name, row if name == "cb" else ROWS[name][2])[0][-1]
    assert example.input[slice(*example.long)] == LONG[name]


def test_a_long_input_loses_the_end_of_its_passage_and_keeps_the_question(tmp_path):
    class Letters:  # a vocabulary of single letters
        def encode(self, text, num_threads=None):
            return [ord(c) for c in text] if isinstance(text, str) else [self.encode(one) for one in text]

    tokenizer = object.__new__(data.Tokenizer)
    tokenizer.sp = Letters()
    examples, _ = read(tmp_path, "boolq", jsonl(BOOLQ))
    texts = ["passage: Tin -- Tin question: is tin a metal", "passage:  question: is tin a metal",
             "passage:  question: is tin a met"]  # the rest goes only when there is no passage left
    for text in texts:
        (ids,), cut = tokenizer.encode_inputs(examples, len(text) + 1)
        assert ("".join(map(chr, ids[:-1])), ids[-1], cut) == (text, data.EOS, 1)
    assert tokenizer.encode_inputs(examples, len(examples[0].input) + 1)[1] == 0


# ------------------------------------------------------------------- odd rows


def target(row=WSC, **changes):
    return row | {"target": row["target"] | changes}


SST2 = "sentence | label"
KEPT = "kept | 1"
FEW = "skipped: fewer columns than the header"
MOVED = "fixed: pronoun not at its index, the nearest one taken"
SHE = "Ada thanked Eve because *she* had helped ."
TWICE = WSC | {"text": "She said that Eve knew, she did."}
CUBE = "A cube has six"
# what -> task, content of the dev file, its (input, target) pairs without the template's first
# word, its notes
ODD = {
    "quotes in tsv": ("sst2", tsv(SST2, '"so | 1', 'a "so" | 0'), [('"so', "positive"), ('a "so"', "negative")], {}),
    "windows": ("sst2", tsv(SST2, KEPT, "so | 0", end="\r\n"), [("kept", "positive"), ("so", "negative")], {}),
    "few columns": ("sst2", tsv(SST2, "1", KEPT, "0"), [("kept", "positive")], {FEW: 2}),
    "empty text": ("sst2", "sentence\tlabel\n\t1\n \t0\nkept\t1\n", [("kept", "positive")],
                   {"skipped: no sentence": 2}),
    "empty label": ("sst2", "sentence\tlabel\nno\t\nkept\t1\n", [("kept", "positive")], {"skipped: no label": 1}),
    "null label": ("boolq", jsonl(BOOLQ | {"label": None}, BOOLQ),
                   [("Tin -- Tin is a soft metal. question: is tin a metal", "True")], {"skipped: no label": 1}),
    "null text": ("boolq", jsonl(BOOLQ, BOOLQ | {"passage": None}),
                  [("Tin -- Tin is a soft metal. question: is tin a metal", "True")], {"skipped: no passage": 1}),
    "empty answer": ("multirc", jsonl(multirc("It rained.", ("What fell?", [("", 0)]))),
                     [("What fell? answer: paragraph: It rained.", "False")], {}),
    "less-than sign": ("multirc", jsonl(multirc("Say 1 < 2 > 0.", ("Is it?", [("Yes", 1)]))),
                       [("Is it? answer: Yes paragraph: Say 1 < 2 > 0.", "True")], {}),
    "no score": ("stsb", tsv(STSB, STSB_ROW, STSB_ROW + "5.000"),
                 [("A dog runs. sentence2: A cat runs.", "5.0")], {"skipped: no rounded": 1}),
    "no answer": ("squad", squad("In Ely.", ("Who?", []), ("Where?", ["Ely"])),
                  [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 1}),
    "no gold": ("record", jsonl(record("Ada sat.", ["Ada"], ("@placeholder ran.", []), ("@placeholder.", ["Ada"]))),
                [("@placeholder. entities: Ada passage: Ada sat.", "Ada")], {"skipped: no answer": 1}),
    "IOB2": ("conll03", "Ada x x B-PER\nLee x x I-PER\nEve x x B-PER\nEly x x B-LOC\nsat x x O\n",
             [("Ada Lee Eve Ely sat", "person : Ada Lee ; person : Eve ; location : Ely")], {}),
    "IOB1": ("conll03", "Ada x x I-PER\nEve x x B-PER\nEly x x I-LOC\n",
             [("Ada Eve Ely", "person : Ada ; person : Eve ; location : Ely")], {}),
    "escaped brackets": ("ontonotes", {"a_gold_conll": conll12("-LRB- *", "Ely (GPE)", "-RRB- *", "/. *")},
                         [("( Ely ) .", "country or city : Ely")], {}),
    "nested": ("conll12", {"a_gold_conll": conll12("He * (A1(A0*)", "ran * (V*)", "off * *)")},
               [("ran sentence: He ran off", "A0 : He ; A1 : He ran off")], {}),
    "packed": ("conll05", {"words/s.24.words.gz": gzip.compress(b"It\n-LRB-\nran\n"),
                           "props/s.24.props.gz": gzip.compress(b"- (A0*)\n- *\nrun (V*)\n")},
               [("ran sentence: It ( ran", "A0 : It")], {}),
    "moved pronoun": ("wsc", jsonl(target(span2_index=6)), [(SHE, "Eve")], {MOVED: 1}),
    "nearest pronoun": ("wsc", jsonl(target(WSC | {"text": "Eve knew she ran as she did"}, span2_index=6)),
                        [("Eve knew she ran as *she* did", "Eve")], {MOVED: 1}),
    "pronoun and comma": ("wsc", jsonl(target(WSC | {"text": "Ada, as Eve knew, \"she\", ran"})),
                          [('Ada, as Eve knew, "*she*", ran', "Eve")], {}),
    "part of a word": ("wsc", jsonl(target(WSC | {"text": "She shed what sheep she had"}, span2_index=4)),
                       [("She shed what sheep *she* had", "Eve")], {}),
    "other document": ("conll03", "Ada x x I-PER\n-DOCSTART- -X- O O\nLee x x I-PER\n",
                       [("Ada", "person : Ada"), ("Lee", "person : Lee")], {}),
}
FIRST = {"boolq": "passage: ", "multirc": "question: ", "stsb": "sentence1: ", "squad": "question: ",
         "record": "query: ", "conll12": "predicate: ", "conll05": "predicate: ", "wsc": ""}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_row(tmp_path, what):
    name, content, pairs, notes = ODD[what]
    examples, found = read(tmp_path, name, content)
    assert [(e.input, e.target) for e in examples] == [
        (FIRST.get(name, "sentence: ") + text, target) for text, target in pairs]
    assert found == Counter(notes)


def test_in_training_wsc_learns_only_from_true_referents(tmp_path, capsys):
    for file in data.TASKS["wsc"].files:
        write(tmp_path / file, jsonl(WSC | {"label": False}, WSC))
    train, dev = data.load("wsc", tmp_path)
    assert train == [Example(SHE, "Eve", ("True",))] and len(dev) == 2
    assert capsys.readouterr().err.startswith(f"wsc: 1 rows of {tmp_path / 'superglue/WSC/train.jsonl'} "
                                              "skipped: labelled false, names no referent\nwsc: 1 examples")


@pytest.mark.parametrize("change, message", [
    ({"input": "no column"}, "names no {column}"),
    ({"cut": "premise"}, "cut='premise' is no column"),
    ({"metrics": "accuracy"}, "metrics are 'accuracy', wanted a tuple of accuracy, f1"),
    ({"metrics": ("acc",)}, "metrics are .*acc.*, wanted a tuple"),
    ({"codes": (0, 1)}, "codes are .*, wanted a string for each"),
    ({"codes": ("0",)}, "codes are .*, wanted a string for each")])
def test_a_task_that_cannot_be_is_refused_where_it_is_written(change, message):
    good = {"files": ("a.tsv", "b.tsv"), "input": "{text}", "target": "label", "labels": ("no", "yes"),
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
    monkeypatch.setitem(data.TASKS, "own", replace(task, read=data.read_tsv))
    _, dev = data.load("own", tmp_path)
    assert data.score("own", ["the b"], dev) == {"answer_em": 100.0}  # no golds beside the target


def test_a_header_that_is_none_is_told_by_its_columns(tmp_path):
    path = write(tmp_path / "train.tsv", "it rains\tentailment\nit snows\tentailment\n")
    with pytest.raises(ValueError, match="no usable row; 1 skipped: no label; its columns are it rains, entailment"):
        data.read_split(data.TASKS["rte"], path)


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_data_folder_that_is_none_is_named(tmp_path, folder):
    write(tmp_path / "file", "")
    with pytest.raises(ValueError, match=f"the data folder .*{folder} is no folder"):
        data.load("cb", tmp_path / folder)


def test_a_short_row_of_mrpc_is_counted(tmp_path):
    write(tmp_path / "glue/MRPC/mrpc_dev_ids.tsv", "12\t22\n")
    examples, notes = read(tmp_path, "mrpc", tsv(*MRPC, "1 | 14"), train=True)
    assert len(examples) == 3 and notes == {FEW: 1}


@pytest.mark.parametrize("end, passage", [
    (".", "Ely. Six."), ("?", "Ely? Six."), ('"', 'Ely" Six.'), ("", "Ely. Six."), (",", "Ely,. Six.")])
def test_summary_lines_of_record_become_sentences(tmp_path, end, passage):
    row = record(f"Ely{end}\n@highlight\nSix.", ["Ely"], ("@placeholder.", ["Ely"]))
    assert read(tmp_path, "record", jsonl(row))[0][0].input.endswith(f"passage: {passage}")


@pytest.mark.parametrize("score, text", [
    ("0.000", "0.0"), ("0.090", "0.0"), ("0.111", "0.2"), ("1.250", "1.2"), ("2.750", "2.8"), ("3.800", "3.8"),
    ("4.891", "4.8"), ("4.917", "5.0"), ("5", "5.0"), ("0.700", "0.8"), ("1.500", "1.6"), ("3.500", "3.6"),
    # Exact halves, in fp32: T5's preprocessor (tf.round) takes the even one
    ("0.500", "0.4"), ("2.500", "2.4"), ("3.700", "3.6"), ("4.500", "4.4"), ("4.900", "4.8")])
def test_scores_of_stsb_are_learned_to_the_nearest_fifth(tmp_path, score, text):
    (example,), _ = read(tmp_path, "stsb", tsv(STSB, STSB_ROW + score))
    assert (example.target, example.golds) == (text, (score,))


def conll05(words, props):
    return {"words/s.words": words, "props/s.props": props}


# what -> task, content of the dev file, what the error says
BAD = {
    "header in cola": ("cola", tsv("source | label | mark | sentence", "x | 1 |  | A."),
                       "dev.tsv, line 1: .*'label'"),
    "tab too many": ("sst2", tsv(SST2, "a | b | 1"), "dev.tsv, line 2: 3 columns, wanted 2"),
    "label in words": ("sst2", tsv(SST2, KEPT, "so | positive"), "dev.tsv, line 3: .*'positive'.*0, 1"),
    "all skipped": ("sst2", tsv(SST2, "1", "0", "no | "),
                    "dev.tsv has no usable row; 2 skipped: fewer.*; 1 skipped: no label"),
    "only a header": ("sst2", tsv(SST2), "dev.tsv has no usable row"),
    "no pronoun": ("wsc", jsonl(WSC, target(span2_text="him")), "val.jsonl, line 2: .*'him'"),
    "no target": ("wsc", jsonl(WSC, {"text": "A.", "label": True}), "val.jsonl, line 2: .*'target'"),
    "high score": ("stsb", tsv(STSB, STSB_ROW + "5.001"), "dev.tsv, line 2: .*5.001"),
    "low score": ("stsb", tsv(STSB, STSB_ROW + "-0.2"), "dev.tsv, line 2: .*-0.2"),
    "score in words": ("stsb", tsv(STSB, STSB_ROW + "high"), "dev.tsv, line 2: .*high"),
    "multirc label": ("multirc", jsonl(multirc("It.", ("Who?", [("He", 2)]))), "val.jsonl, line 1: label 2"),
    "cut json": ("squad", squad("In Ely.", ("Where?", ["Ely"]))[:-1], "dev-v1.1.json"),
    "other json": ("conll04", json.dumps([conll04("Ada sat"), {"text": "Ely"}]), "conll04_dev.json, sentence"),
    "no gold_conll": ("ontonotes", {"a.conll": conll12(*PLAIN)}, "development holds no .gold_conll"),
    "no words": ("conll05", {"props/s.props": "-\n"}, "words holds no file"),
    "left out": ("ontonotes", {"a_gold_conll": conll12("[WORD] *")}, "a_gold_conll, .* line 3: .*join"),
    "lengths": ("conll05", conll05("Ada\nsat\n", "sit (V*)\n"), "s.words, the last sentence: 2 words, 1 rows"),
    "sentences": ("conll05", conll05("Ada\n\nsat\n", "sit (V*)\n"), "s.words"),
    "never closed": ("conll05", conll05("Ada\nsat\n", "- (A0*\nsit (V*)\n"), "s.words.*'A0' is never closed"),
    "never opened": ("conll12", {"a_gold_conll": conll12("Ada * *)", "sat * (V*)")}, "a_gold_conll.*never opened"),
    "entity not closed": ("ontonotes", {"a_gold_conll": conll12("Ada (GPE*")}, "a_gold_conll.*never closed"),
    "no verb": ("conll12", {"a_gold_conll": conll12("Ada * (A0*)")}, "a_gold_conll.*V"),
    # One line has a column fewer: a predicate must not be lost without a word
    "ragged props": ("conll05", conll05("Ada\nsat\nran\n", "- * *\nsit (V*) *\nrun *\n"), "s.(words|props)"),
    "ragged gold_conll": ("conll12", {"a_gold_conll": conll12("Ada * * *", "sat * (V*) *", "ran * *")},
                          "a_gold_conll"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_named_by_its_place(tmp_path, what):
    name, content, message = BAD[what]
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}"):
        read(tmp_path, name, content)


def test_words_without_their_props_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="s.props"):
        read(tmp_path, "conll05", {"words/s.words": "Ada\n"})


@pytest.mark.parametrize("name, where", [
    ("conll03", "Reuters"), ("conll04", "spert"), ("conll05", "LDC99T42"), ("conll12", "LDC2013T19"),
    ("ontonotes", "LDC2013T19")])
@pytest.mark.parametrize("given", [True, False])
def test_files_that_cannot_be_fetched_are_named_with_where_they_are_obtained(tmp_path, name, where, given):
    with pytest.raises(ValueError) as error:
        data.load(name, *([tmp_path] if given else [None, tmp_path]))
    train, dev = data.TASKS[name].files
    assert f"{train} is missing: {name} reads {train} and {dev} " in str(error.value)
    assert where in str(error.value) and ("--data FOLDER" in str(error.value)) == (not given)


# --------------------------------------------------------------------- metrics


def percent(**values):
    return pytest.approx({name: 100 * value for name, value in values.items()})


def scored(name, rows):
    """The score of (prediction, Example) pairs."""
    return data.score(name, *map(list, zip(*rows)))


def test_correlations_by_hand():
    # 2 true and 1 false positive, 1 false and 1 true negative: (2 * 1 - 1 * 1) / sqrt(3 * 3 * 2 * 2)
    assert data.matthews(list("yynny"), list("yyynn"), "y") == pytest.approx(1 / 6)
    assert data.matthews(list("nnyyn"), list("yyynn"), "y") == pytest.approx(-1 / 6)
    # deviations -1.5 -0.5 0.5 1.5 against -1.5 0.5 -0.5 1.5: 4 / 5
    assert data.pearson([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert data.spearman([1, 2, 3], [1, 10, 1000]) == pytest.approx(1)
    # ranks 1 2.5 2.5 4 against 1 2 3 4: 4.5 / sqrt(4.5 * 5)
    assert data.spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(math.sqrt(0.9))


def test_a_score_that_is_none_is_as_wrong_as_can_be():
    texts = ["4.2", "5", "5.2", "-1.0", "", "nan", "3.0.", "1e0", "2.4 "]
    golds = [4.0, 5.0, 5.0, 1.0, 2.5, 2.6, 0.0, 4.0, 1.0]
    assert data.similarity_scores(texts, map(str, golds)) == ([4.2, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0, 0.0, 5.0], golds)


def test_stsb_is_scored_by_the_score_of_the_file():
    rows = [(text, Example("", "0.0", (gold,))) for text, gold in
            zip(["1.0", "2.0", "3.0", "4.0"], ["1.0", "3.0", "2.0", "4.0"])]
    assert scored("stsb", rows) == percent(pearson=0.8, spearman=0.8)


def test_answers_are_compared_as_squad_does():
    assert data.normalise(" An  Ely-based,\tthe THEATRE a") == "elybased theatre"
    # 2 words in common, each as often as both have it, of 3 and 3
    assert data.words_f1("a red red kite", "red kite kite") == pytest.approx(2 / 3)
    assert data.words_f1("blue", "red") == data.words_f1("", "red") == 0


@pytest.mark.parametrize("name", ["squad", "record"])
def test_the_best_of_several_answers_counts(name):
    # 3 words in common of 3 and 4, where the first answer has 1 of 3 and 1: 6/7, not 1/2
    rows = [("mill in Ely", Example("", "the mill", ("the mill", "old mill in Ely"))),
            ("The Barn!", Example("", "Ely", ("Ely", "barn"))), ("no", Example("", "yes", ("yes",)))]
    assert scored(name, rows) == percent(answer_em=1 / 3, answer_f1=13 / 21)
    assert next(iter(scored(name, rows))) == data.TASKS[name].metrics[0]


def test_a_question_of_multirc_is_right_when_all_its_answers_are():
    # 2 true positives, a false one, and a false negative: what is no label counts as the other.
    rows = [("True", "True", "0 0"), ("True", "False", "0 1"), ("False", "False", "0 0"),
            ("True", "True", "0 1"), ("yes", "True", "1 0")]
    assert scored("multirc", [(text, Example("", target, group=group)) for text, target, group in rows]) == \
        percent(f1=2 / 3, question_em=1 / 3)


@pytest.mark.parametrize("text, referent, same", [
    ("Eve", "Eve", True), ("eve.", "Eve", True), ("the old cat", "cat", True), ("cat", "The old cat", True),
    ("my sister", "her sister", True), ("Eve's", "Eve", False), ("Eve's dog", "Eve's", True),
    ("old dog", "old cat", False), ("the", "the cat", False), ("", "cat", False), ("cats", "cat", False),
    ("cat", "this", False)])  # a referent of determiners only is named by nothing
def test_same_referent(text, referent, same):
    assert data.same_referent(text, referent) is same


def test_wsc_is_scored_by_whether_the_referent_is_named():
    rows = [("the cat", "cat", "True"), ("dog", "cat", "True"), ("dog", "cat", "False"),
            ("cat", "the cat", "False"), ("", "cat", "False")]
    assert scored("wsc", [(text, Example("", referent, (label,))) for text, referent, label in rows]) == \
        percent(referent_accuracy=3 / 5)


def test_of_two_labels_an_illegal_prediction_counts_as_the_other_one():
    # 1 true positive, 1 false negative, 1 false positive; the last but one is right
    assert data.score("qqp", ["duplicate", "so", "not_duplicate", "so"],
                      ["duplicate", "duplicate", "not_duplicate", "not_duplicate"]) == percent(f1=0.5, accuracy=0.5)


def test_the_positive_class_is_the_one_published():
    for name, positive in {"qqp": "duplicate", "mrpc": "equivalent", "multirc": "True", "cola": "acceptable"}.items():
        assert data.TASKS[name].labels[-1] == positive
    targets = ["equivalent", "equivalent", "not_equivalent"]
    assert data.score("mrpc", ["equivalent"] * 3, targets) == percent(accuracy=2 / 3, f1=0.8)


def test_an_argument_is_right_with_its_role_and_its_words():
    # 1 right of 2 and 3, then 1 of 1 and 1: 2 * 2 / 7; a role named twice counts once
    assert data.score("conll05", ["A0 : Ada ; A1 : bread", "A0 : Eve"],
                      ["A0 : Ada ; A1 : the bread ; AM-TMP : now", "A0 : Eve"]) == percent(argument_f1=4 / 7)
    assert data.entity_f1(["A0 : Ada ; A0 : Ada"], ["A0 : Ada"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name, predictions, targets, values", [
    ("cola", ["acceptable"] * 3, ["acceptable", "unacceptable", "acceptable"], {"matthews": 0}),
    ("cola", ["acceptable", "unacceptable"], ["acceptable"] * 2, {"matthews": 0}),
    ("stsb", ["3.7"] * 3, ["1.1", "2.3", "4.9"], {"pearson": 0, "spearman": 0}),
    ("stsb", ["1.1", "2.3", "4.9"], ["3.7"] * 3, {"pearson": 0, "spearman": 0}),
    # The mean of three 3.7 is not quite 3.7: a constant is told by its values, not by its spread
    ("stsb", ["3.7"] * 3, ["0.1"] * 3, {"pearson": 0, "spearman": 0}),
    ("stsb", ["3.8"], ["3.8"], {"pearson": 0, "spearman": 0}),
    ("qqp", ["not_duplicate"] * 2, ["not_duplicate"] * 2, {"f1": 0, "accuracy": 1}),
    ("conll03", ["none", ""], ["none", "none"], {"entity_f1": 0}),
    ("squad", [""], ["Ely"], {"answer_em": 0, "answer_f1": 0})])
def test_degenerate_cases_are_numbers(name, predictions, targets, values):
    assert data.score(name, predictions, targets) == pytest.approx(
        {metric: 100 * value for metric, value in values.items()}, abs=1e-6)


# ------------------------------------------------------------ the official files


@pytest.mark.parametrize("name, train, dev", [
    ("cb", 250, 56), ("copa", 400, 100), ("wsc", 259, 104), ("rte", 2490, 277), ("wic", 5428, 638),
    ("multirc", 27243, 4848), ("cola", 8551, 1043), ("mrpc", 3668, 408), ("stsb", 5749, 1500),
    ("sst2", 67349, 872), ("conll04", 922, 231), ("qnli", None, 5463), ("boolq", None, 3270),
    ("squad", None, 10570)])
def test_counts_of_the_official_files(name, train, dev):
    if not os.environ.get("T5_DATA"):
        pytest.skip("set T5_DATA to the folder with the official files, as --data takes it")
    task = data.TASKS[name]
    for file, count in zip(task.files, (train, dev)):
        if count:  # else it may be a sample, or absent
            examples, notes = data.read_split(task, Path(os.environ["T5_DATA"]) / file, file == task.files[0])
            assert len(examples) == count and count in task.sizes
            assert not task.labels or {e.target for e in examples} == set(task.labels)
            # WSC alone has rows that are left out, or pronouns that are moved
            assert name == "wsc" or not notes


# -------------------------------------------------------------- where files are from


def test_archives_are_named_by_address_size_and_checksum():
    for url, size, sha256 in data.ARCHIVES.values():
        assert url.startswith("https://") and re.fullmatch("[0-9a-f]{64}", sha256)
        assert size is None or size > 0


@pytest.mark.parametrize("name", REAL)
def test_every_file_is_fetched_or_obtained_by_hand(name):
    for file in data.TASKS[name].files:
        fetched = file in data.ARCHIVES or file.rpartition("/")[0] in data.ARCHIVES
        assert fetched != (file.split("/")[0] in data.BY_HAND)


# ----------------------------------------------- answers to one task, scored on another


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
def test_answers_to_one_task_are_scored_on_another(trained, other, answers, targets, scored_as, score):
    name, words = data.common_labels(trained, other)
    in_words = [[words.get(text, text) for text in texts] for texts in (answers, targets)]
    assert name == scored_as
    assert next(iter(data.score(name, *in_words).values())) == pytest.approx(score)


@pytest.mark.parametrize("trained, other", [("mrpc", "rte"), ("squad", "boolq"), ("stsb", "squad"), ("sst2", "cola")])
def test_what_asks_something_else_is_refused(trained, other):
    with pytest.raises(ValueError, match=f"{trained} answers .*; {other} answers .*: no labels in common"):
        data.common_labels(trained, other)

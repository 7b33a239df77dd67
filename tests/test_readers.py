"""plumbing/readers.py and examples.py: the official formats, and what becomes of an odd row.

    python -m pytest tests/test_readers.py    # seconds, nothing to download

Rows as they should be are in rows.py, and test_data.py reads them.

Oracle: invented rows in the official formats, with the strings they should become
written out, or with what is said of them.
"""

import doctest
import gzip
import json
import os
import re
import time
from collections import Counter

import pytest

import data
import plumbing.examples
from data import Example
from plumbing import readers
from plumbing.examples import read_split
from rows import (BOOLQ, CAFE, CB_ROWS, MNLI_ROW, MNLI_TRAIN, MRPC, MULTINLI, PLAIN, STSB, STSB_ROW,
                  WSC, conll04, conll12, examples_of, jsonl, multirc, read, record, squad, table,
                  tsv, write)


def test_examples_in_the_docstrings():
    for module in (readers, plumbing.examples):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


# --------------------------------------------------------------- lines, cells and spaces


def test_a_quotation_mark_is_a_character_like_any_other(tmp_path):
    # Read as quoting, the first field would swallow the tab, the line end and the next row.
    rows = [MNLI_ROW | {"sentence1": '"Two boats left.'},
            MNLI_ROW | {"sentence2": 'A "boat" left.'}]
    examples = examples_of(tmp_path, "mnli", table(MNLI_TRAIN, rows))
    assert [example.input for example in examples] == [
        'hypothesis: Boats left. premise: "Two boats left.',
        'hypothesis: A "boat" left. premise: Two boats left.']


def test_rows_without_a_gold_label_are_left_out(tmp_path):
    rows = [MNLI_ROW | {"gold_label": "-"}, MNLI_ROW, MNLI_ROW | {"gold_label": "-"}]
    examples, notes = read(tmp_path, "mnli", table(MNLI_TRAIN, rows))
    assert len(examples) == 1 and notes == {"skipped: no gold label": 2}


INCOMPLETE = {  # task, a good row and one with something missing, what is said of it
    "blank text": ("mnli", table(MNLI_TRAIN, [MNLI_ROW, MNLI_ROW | {"sentence1": " "}]),
                   "no sentence1"),
    "cut before the label": ("mnli", table(MNLI_TRAIN, [MNLI_ROW]) + "1\tcut\tshort\n",
                             "fewer columns than the header"),
    # The label is there, but which of the columns are the texts is anybody's guess.
    "cut before the text": ("mnli", table(MULTINLI, [MNLI_ROW]) + "neutral\tcut short\n",
                            "fewer columns than the header"),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_an_incomplete_row_is_skipped_and_counted(tmp_path, what, capsys):
    name, text, why = INCOMPLETE[what]
    examples, notes = read(tmp_path, name, text)
    assert len(examples) == 1 and notes == {f"skipped: {why}": 1}


def test_columns_are_found_by_name_behind_a_byte_order_mark(tmp_path):
    # The mark would otherwise be part of the first column's name.
    examples = examples_of(tmp_path, "mnli", "\ufeff" + table(MULTINLI, [MNLI_ROW]))
    assert examples == [Example("hypothesis: Boats left. premise: Two boats left.", "entailment")]
    assert len(examples_of(tmp_path, "cb", "\ufeff" + jsonl(*CB_ROWS))) == 3


def test_line_ends_of_windows(tmp_path):
    rows = [MNLI_ROW, MNLI_ROW | {"gold_label": "neutral"}]
    for columns in (MNLI_TRAIN, MULTINLI):  # the label as the last column, and not
        examples = examples_of(tmp_path, "mnli", table(columns, rows, end="\r\n"))
        assert [example.target for example in examples] == ["entailment", "neutral"]
    windows = examples_of(tmp_path, "cb", jsonl(*CB_ROWS, end="\r\n"))
    assert windows == examples_of(tmp_path, "cb", jsonl(*CB_ROWS))


@pytest.mark.parametrize("space", ["  ", "\u00a0", "\u2028", "\u0085", "\x0b"])
def test_only_a_line_end_ends_a_row_and_other_spaces_become_one(tmp_path, space):
    row = MNLI_ROW | {"sentence1": f" Two{space}boats left. "}
    expected = [Example("hypothesis: Boats left. premise: Two boats left.", "entailment")]
    assert examples_of(tmp_path, "mnli", table(MNLI_TRAIN, [row])) == expected
    row = {"premise": row["sentence1"], "hypothesis": "Boats left.", "label": "entailment"}
    # written raw where JSON allows it; it does not allow \x0b
    line = json.dumps(row, ensure_ascii=space == "\x0b") + "\n"
    assert examples_of(tmp_path, "cb", line) == expected


def test_braces_in_a_row_are_no_template(tmp_path):
    row = CB_ROWS[0] | {"hypothesis": "{premise} {0} {"}
    assert examples_of(tmp_path, "cb", jsonl(row))[0].input == \
        "hypothesis: {premise} {0} { premise: Mia said the kettle was on."


@pytest.mark.parametrize("key", ["golds", "skip", "fixed", "group"])
def test_a_column_of_the_file_is_no_word_of_its_reader(tmp_path, key):
    assert examples_of(tmp_path, "cb", jsonl(CB_ROWS[0] | {key: ["x"]})) == [
        Example("hypothesis: the kettle was on premise: Mia said the kettle was on.", "neutral")]
    row = {"sentence1": "Rain.", "sentence2": "It rained.", "score": "5.000", key: "x"}
    assert read(tmp_path, "stsb", table(list(row), [row])) == (
        [Example("sentence1: Rain. sentence2: It rained.", "5.0", ("5.000",))], {})


def bad_row(text):
    """A file whose second row is this line."""
    return jsonl(CB_ROWS[0]) + text + "\n"


BAD_ROWS = {  # task, content of the file, what the error says; the header of a tsv is line 1
    "label": ("cb", bad_row(json.dumps(CB_ROWS[1] | {"label": "maybe"})),
              "val.jsonl, line 2: .*'maybe'.*neutral"),
    "label of other tasks": ("rte", jsonl(CB_ROWS[0]),
                             "val.jsonl, line 1: .*'neutral'.*not_entailment"),
    "bad json": ("cb", bad_row('{"premise": "cut'), "val.jsonl, line 2: not JSON"),
    "json list for text": ("cb", bad_row('{"premise": ["p"], "hypothesis": "h", '
                                         '"label": "neutral"}'),
                           "val.jsonl, line 2: .*premise"),
    "half a character": ("cb", bad_row(json.dumps(CB_ROWS[1] | {"premise": "\ud800"})),
                         "val.jsonl, line 2: .*half a character"),
    "NUL": ("sst2", "sentence\tlabel\na\0b\t1\n", "dev.tsv, line 2: a NUL"),
    "deep json": ("cb", bad_row("[" * 100_000), "val.jsonl, line 2: .*nested too deep"),
    "deep label": ("cb", bad_row(json.dumps(CB_ROWS[1])[:-1] + ', "label": %s1%s}' % (
        "[" * 500, "]" * 500)), r"val.jsonl, line 2: label \[\[.*\.\.\..*neutral"),
    "digits": ("cb", bad_row('{"idx": %s}' % ("9" * 5000)), "val.jsonl, line 2: .*digits"),
    "long label": ("sst2", "sentence\tlabel\nso\t%s\n" % ("1" * 5000),
                   r"dev.tsv, line 2: label '1{12}\.\.\.1{13}', wanted one of 0, 1"),
    "json list for row": ("cb", bad_row('["p", "h", "neutral"]'), "val.jsonl, line 2: "),
    "not utf-8": ("cb", jsonl(*CB_ROWS).encode() + b"\xff\n", "val.jsonl.*(utf|UTF)-8"),
    "no rows": ("cb", "", "val.jsonl"),
    "tsv label": ("mnli", table(MNLI_TRAIN, [MNLI_ROW, MNLI_ROW | {"gold_label": "n/a"}]),
                  "dev_matched.tsv, line 3: .*'n/a'"),
    "tsv label after an empty line": ("mnli", table(MULTINLI, []) + "\nmaybe\tp\th\tid\n",
                                      "dev_matched.tsv, line 3: .*'maybe'"),
    "tsv with a column twice": ("sst2", tsv("label | label", "1 | 0"),
                                "dev.tsv, line 1: two columns"),
    "tsv without a column": ("mnli", table(MNLI_TRAIN[:9] + MNLI_TRAIN[10:], [MNLI_ROW]),
                             "dev_matched.tsv has no usable row; 1 skipped: no sentence2"),
    "tsv with a tab too many": (
        "mnli", table(MULTINLI, [MNLI_ROW | {"sentence1": "Two\tboats left."}]),
        "dev_matched.tsv, line 2: "),
    "tsv of long rows": ("mnli", table(MULTINLI, [MNLI_ROW | {"sentence1": "a" * 140_000,
                                                              "gold_label": "no"}]),
                         "dev_matched.tsv, line 2: "),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(tmp_path, what):
    name, text, message = BAD_ROWS[what]
    with pytest.raises(ValueError, match=message):
        examples_of(tmp_path, name, text)


def test_a_header_that_is_none_is_told_by_its_columns(tmp_path):
    path = write(tmp_path / "train.tsv", "it rains\tentailment\nit snows\tentailment\n")
    with pytest.raises(ValueError, match="no usable row; 1 skipped: no label; its columns are "
                                         "it rains, entailment"):
        read_split(data.TASKS["rte"], path)


# ------------------------------------------------------------------------------ odd rows


def target(row=WSC, **changes):
    return row | {"target": row["target"] | changes}


SST2 = "sentence | label"
KEPT = "kept | 1"
FEW = "skipped: fewer columns than the header"
MOVED = "fixed: pronoun not at its index, the nearest one taken"
SHE = "Ada thanked Eve because *she* had helped ."
# what -> task, content of the dev file, its (input, target) pairs without the template's first
# word, its notes
ODD = {
    "quotes in tsv": ("sst2", tsv(SST2, '"so | 1', 'a "so" | 0'),
                      [('"so', "positive"), ('a "so"', "negative")], {}),
    "windows": ("sst2", tsv(SST2, KEPT, "so | 0", end="\r\n"),
                [("kept", "positive"), ("so", "negative")], {}),
    "few columns": ("sst2", tsv(SST2, "1", KEPT, "0"), [("kept", "positive")], {FEW: 2}),
    "empty text": ("sst2", "sentence\tlabel\n\t1\n \t0\nkept\t1\n", [("kept", "positive")],
                   {"skipped: no sentence": 2}),
    "empty label": ("sst2", "sentence\tlabel\nno\t\nkept\t1\n", [("kept", "positive")],
                    {"skipped: no label": 1}),
    "null label": ("boolq", jsonl(BOOLQ | {"label": None}, BOOLQ),
                   [("Tin -- Tin is a soft metal. question: is tin a metal", "True")],
                   {"skipped: no label": 1}),
    "null text": ("boolq", jsonl(BOOLQ, BOOLQ | {"passage": None}),
                  [("Tin -- Tin is a soft metal. question: is tin a metal", "True")],
                  {"skipped: no passage": 1}),
    "empty answer": ("multirc", jsonl(multirc("It rained.", ("What fell?", [("", 0)]))),
                     [("What fell? answer: paragraph: It rained.", "False")], {}),
    "less-than sign": ("multirc", jsonl(multirc("Say 1 < 2 > 0.", ("Is it?", [("Yes", 1)]))),
                       [("Is it? answer: Yes paragraph: Say 1 < 2 > 0.", "True")], {}),
    "no score": ("stsb", tsv(STSB, STSB_ROW, STSB_ROW + "5.000"),
                 [("A dog runs. sentence2: A cat runs.", "5.0")], {"skipped: no rounded": 1}),
    "no answer": ("squad", squad("In Ely.", ("Who?", []), ("Where?", ["Ely"])),
                  [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 1}),
    "no answers": ("squad", squad("In Ely.", ("Who?", []), ("Where?", ["Ely"]))
                   .replace(', "answers": []', ""),
                   [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 1}),
    "no list of answers": ("squad", squad("In Ely.", ("Who?", []), ("Where?", ["Ely"]))
                           .replace('"answers": []', '"answers": null'),
                           [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 1}),
    "no question": ("squad", squad("In Ely.", ("Where?", ["Ely"])).replace(
        '"data": [', '"data": [{"paragraphs": []}, {"paragraphs": [{"context": "", "qas": []}]}, '),
                    [("Where? context: In Ely.", "Ely")], {"skipped: no answer": 2}),
    "no answer to judge": (
        "multirc", jsonl(multirc("A."), multirc("B.", ("Who?", []), ("Is it?", [("Yes", 1)]))),
        [("Is it? answer: Yes paragraph: B.", "True")], {"skipped: no label": 2}),
    "no query": ("record", jsonl(record("A.", ["A"]), record("A.", ["A"], ("@placeholder", ["A"]))),
                 [("@placeholder entities: A passage: A.", "A")], {"skipped: no answer": 1}),
    "no true or false": ("wsc", jsonl(WSC, {k: v for k, v in WSC.items() if k != "label"}),
                         [(SHE, "Eve")], {"skipped: no referent": 1}),
    "no gold": ("record", jsonl(record("Ada sat.", ["Ada"], ("@placeholder ran.", []),
                                       ("@placeholder.", ["Ada"]))),
                [("@placeholder. entities: Ada passage: Ada sat.", "Ada")],
                {"skipped: no answer": 1}),
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
    "moved pronoun": ("wsc", jsonl(target(span2_index=6)), [(SHE, "Eve")], {MOVED: 1}),
    "nearest pronoun": ("wsc", jsonl(target(WSC | {"text": "Eve knew she ran as she did"},
                                            span2_index=6)),
                        [("Eve knew she ran as *she* did", "Eve")], {MOVED: 1}),
    "pronoun and comma": ("wsc", jsonl(target(WSC | {"text": "Ada, as Eve knew, \"she\", ran"})),
                          [('Ada, as Eve knew, "*she*", ran', "Eve")], {}),
    "part of a word": ("wsc", jsonl(target(WSC | {"text": "She shed what sheep she had"},
                                           span2_index=4)),
                       [("She shed what sheep *she* had", "Eve")], {}),
    "other document": ("conll03", "Ada x x I-PER\n-DOCSTART- -X- O O\nLee x x I-PER\n",
                       [("Ada", "person : Ada"), ("Lee", "person : Lee")], {}),
}
FIRST = {"boolq": "passage: ", "multirc": "question: ", "stsb": "sentence1: ",
         "squad": "question: ",
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
    assert capsys.readouterr().err.startswith(
        f"wsc: 1 rows of {tmp_path / 'superglue/WSC/train.jsonl'} skipped: labelled false, names "
        "no referent\nwsc: 1 examples")


def test_a_short_row_of_mrpc_is_counted(tmp_path):
    write(tmp_path / "glue/MRPC/mrpc_dev_ids.tsv", "12\t22\n99\t23\n")
    examples, notes = read(tmp_path, "mrpc", tsv(*MRPC, "1 | 14"), train=True)
    assert len(examples) == 3 and notes == {FEW: 1}


@pytest.mark.parametrize("end, passage", [
    (".", "Ely. Six."), ("?", "Ely? Six."), ('"', 'Ely" Six.'), ("", "Ely. Six."),
    (",", "Ely,. Six.")])
def test_summary_lines_of_record_become_sentences(tmp_path, end, passage):
    row = record(f"Ely{end}\n@highlight\nSix.", ["Ely"], ("@placeholder.", ["Ely"]))
    assert read(tmp_path, "record", jsonl(row))[0][0].input.endswith(f"passage: {passage}")


@pytest.mark.parametrize("score, text", [
    ("0.000", "0.0"), ("0.090", "0.0"), ("0.111", "0.2"), ("1.250", "1.2"), ("2.750", "2.8"),
    ("3.800", "3.8"), ("4.891", "4.8"), ("4.917", "5.0"), ("5", "5.0"), ("0.700", "0.8"),
    ("1.500", "1.6"), ("3.500", "3.6"),
    # Exact halves, in fp32: T5's preprocessor (tf.round) takes the even one
    ("0.500", "0.4"), ("2.500", "2.4"), ("3.700", "3.6"), ("4.500", "4.4"), ("4.900", "4.8")])
def test_scores_of_stsb_are_learned_to_the_nearest_fifth(tmp_path, score, text):
    (example,), _ = read(tmp_path, "stsb", tsv(STSB, STSB_ROW + score))
    assert (example.target, example.golds) == (text, (score,))


# ------------------------------------------------------------------- what cannot be read


def conll05(words, props):
    return {"words/s.words": words, "props/s.props": props}


# what -> task, content of the dev file, what the error says
BAD = {
    "header in cola": ("cola", tsv("source | label | mark | sentence", "x | 1 |  | A."),
                       "dev.tsv, line 1: .*'label'"),
    "tab too many": ("sst2", tsv(SST2, "a | b | 1"), "dev.tsv, line 2: 3 columns, wanted 2"),
    "label in words": ("sst2", tsv(SST2, KEPT, "so | positive"),
                       "dev.tsv, line 3: .*'positive'.*0, 1"),
    "all skipped": ("sst2", tsv(SST2, "1", "0", "no | "),
                    "dev.tsv has no usable row; 2 skipped: fewer.*; 1 skipped: no label"),
    "only a header": ("sst2", tsv(SST2), "dev.tsv has no usable row"),
    "no pronoun": ("wsc", jsonl(WSC, target(span2_text="him")), "val.jsonl, line 2: .*'him'"),
    "no target": ("wsc", jsonl(WSC, {"text": "A.", "label": True}),
                  "val.jsonl, line 2: .*'target'"),
    "label of wsc": ("wsc", jsonl(WSC, WSC | {"label": "False"}),
                     "val.jsonl, line 2: 'label' is 'False', wanted true or false"),
    "number of wsc": ("wsc", jsonl(WSC | {"label": 0}), "val.jsonl, line 1: 'label' is 0, wanted"),
    "empty pronoun": ("wsc", jsonl(target(WSC | {"text": "Ada sat ."}, span2_text="")),
                      "val.jsonl, line 1: the pronoun '' is not"),
    "no score": ("stsb", tsv(STSB.removesuffix(" | score"), STSB_ROW.removesuffix(" | ")),
                 "dev.tsv has no usable row; 1 skipped: no rounded"),
    "high score": ("stsb", tsv(STSB, STSB_ROW + "5.001"), "dev.tsv, line 2: .*5.001"),
    "low score": ("stsb", tsv(STSB, STSB_ROW + "-0.2"), "dev.tsv, line 2: .*-0.2"),
    "score with a sign": ("stsb", tsv(STSB, STSB_ROW + "-0"), "dev.tsv, line 2: score '-0'"),
    "long score": ("stsb", tsv(STSB, STSB_ROW + "9" * 5000),
                   r"dev.tsv, line 2: score '9{12}\.\.\.9{13}', wanted 0 to 5"),
    "score in words": ("stsb", tsv(STSB, STSB_ROW + "high"), "dev.tsv, line 2: .*high"),
    "multirc label": ("multirc", jsonl(multirc("It.", ("Who?", [("He", 2)]))),
                      "val.jsonl, line 1: label 2"),
    "null answer": ("multirc", jsonl(multirc("It.", ("Who?", [("He", 1), (None, 0)]))),
                    "line 1: 'passage.questions.0..answers.1..text' is missing, wanted a text"),
    "text for questions": ("multirc", jsonl({"idx": 0, "passage": {"text": "A", "questions": ""}}),
                           "val.jsonl, line 1: 'passage.questions' is '', wanted a list"),
    "text for paragraphs": ("squad", '{"data": [{"paragraphs": ""}]}',
                            "dev-v1.1.json: 'data.0..paragraphs' is '', wanted a list"),
    "null question": ("squad", squad("In Ely.", ("Where?", ["Ely"]), (None, ["Ely"])),
                      "json: 'data.0..paragraphs.0..qas.1..question' is missing, wanted a text"),
    "empty answer": ("squad", squad("In Ely.", ("Where?", ["Ely", ""])),
                     "dev-v1.1.json, question q0: one of its right answers is empty"),
    "empty answer to a query": ("record", jsonl(record("A.", ["A"], ("@placeholder.", ["A", " "]))),
                                "val.jsonl, line 1: one of its right answers is empty"),
    "text for entities": ("record", jsonl(CAFE | {"passage": {"text": "Ada", "entities": "Ada"}}),
                          "val.jsonl, line 1: 'passage.entities' is 'Ada', wanted a list"),
    **{f"entity from {start} to {end}": (
        "record", jsonl(CAFE | {"passage": {"text": "Ada sat", "entities": [
            {"start": start, "end": end}]}}),
        rf"val.jsonl, line 1: entity .* is \({start}, {end}\), wanted a part of the 7 characters")
       for start, end in ((-3, 6), (0, 7), (2, 1), (3, 3))},
    **{f"span from {start} to {end}": (
        "conll04", json.dumps([conll04("Ada sat"), conll04("Ada sat", (kind, start, end))]),
        rf"dev.json, sentence 2: .* is \('{kind}', {start}, {end}\), wanted a part of 2 words")
       for kind, start, end in (("other", -1, 2), ("other", 0, 3), ("other", 1, 1), ("", 0, 1))},
    "text for tokens": ("conll04", json.dumps([conll04("Ada") | {"tokens": "Ada"}]),
                        "conll04_dev.json, sentence 1: 'tokens' is 'Ada', wanted a list"),
    "true for a number": ("conll04", json.dumps([conll04("Ada", ("Loc", False, 1))]),
                          "sentence 1: 'entities.0..start' is False, wanted a whole number"),
    "no tag": ("conll03", "Ada x x O\n\njects\n", "the last sentence: 1 columns, wanted 4"),
    "no entities": ("conll03", "Ada x I-NP\n", "the last sentence: 3 columns, wanted 4"),
    "ragged tags": ("conll03", "Ada x x O\nsat x x\n\n", "sentence before line 3: rows of 3 and"),
    **{f"tag {tag}": ("conll03", f"Ada x x {tag}\n", f"tag '{tag}', wanted O, B-TYPE or I-TYPE")
       for tag in ("B-", "b-PER", "E-PER", "o", "PER")},
    "line ends of old Macs": ("conll03", "Ada x x O\rsat x x O\r", "line 1: a carriage return"),
    "words not numbered": (
        "ontonotes", {"a_gold_conll": conll12(*PLAIN).replace(" 0 0 ", " 0 1 ")},
        "a_gold_conll.*third column is .'1', '1'., wanted the words' numbers"),
    "few columns": ("ontonotes", {"a_gold_conll": conll12("Ada *").replace(" NN", "")},
                    "a_gold_conll.*: 11 columns, wanted 12 or more"),
    "no bracket": ("ontonotes", {"a_gold_conll": conll12("Ada PERSON")},
                   "a_gold_conll.*'PERSON', wanted .ROLE"),
    "cut json": ("squad", squad("In Ely.", ("Where?", ["Ely"]))[:-1], "dev-v1.1.json"),
    "other json": ("conll04", json.dumps([conll04("Ada sat"), {"text": "Ely"}]),
                   "conll04_dev.json, sentence"),
    "no gold_conll": ("ontonotes", {"a.conll": conll12(*PLAIN)},
                      "development holds no .gold_conll"),
    "no words": ("conll05", {"props/s.props": "-\n"}, "words holds no file"),
    "left out": ("ontonotes", {"a_gold_conll": conll12("[WORD] *")},
                 "a_gold_conll, .* line 3: .*join"),
    "lengths": ("conll05", conll05("Ada\nsat\n", "sit (V*)\n"),
                "s.words, the last sentence: 2 words, 1 rows"),
    "sentences": ("conll05", conll05("Ada\n\nsat\n", "sit (V*)\n"), "s.words"),
    "never closed": ("conll05", conll05("Ada\nsat\n", "- (A0*\nsit (V*)\n"),
                     "s.words.*'A0' is never closed"),
    "never opened": ("conll12", {"a_gold_conll": conll12("Ada * *)", "sat * (V*)")},
                     "a_gold_conll.*never opened"),
    "entity not closed": ("ontonotes", {"a_gold_conll": conll12("Ada (GPE*")},
                          "a_gold_conll.*never closed"),
    "no verb": ("conll12", {"a_gold_conll": conll12("Ada * (A0*)")}, "a_gold_conll.*V"),
    # One line has a column fewer: a predicate must not be lost without a word
    "ragged props": ("conll05", conll05("Ada\nsat\nran\n", "- * *\nsit (V*) *\nrun *\n"),
                     "s.(words|props)"),
    "ragged gold_conll": ("conll12", {"a_gold_conll": conll12("Ada * * *", "sat * (V*) *",
                                                              "ran * *")},
                          "a_gold_conll"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_named_by_its_place(tmp_path, what):
    name, content, message = BAD[what]
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}"):
        read(tmp_path, name, content)


@pytest.mark.parametrize("ids, message", [
    ("12\t22\n13\t2\n", "line 2: '13 2', wanted the two ids of a row of .*train.txt"),
    ("12\t22\r99\t23\r", "line 1: '12 22 99 23', wanted the two ids")])
def test_without_its_ids_a_dev_pair_of_mrpc_would_be_trained_on(tmp_path, ids, message):
    write(tmp_path / "glue/MRPC/mrpc_dev_ids.tsv", ids)
    with pytest.raises(ValueError, match=f"mrpc_dev_ids.tsv, {message}"):
        read(tmp_path, "mrpc", tsv(*MRPC), train=True)


@pytest.mark.parametrize("make", [
    os.mkdir, os.mkfifo, lambda path: path.symlink_to(path), lambda path: None])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path, make):
    for name, file in (("cb", "val.jsonl"), ("squad", "dev-v1.1.json"), ("conll03", "eng.testa")):
        make(tmp_path / file)
        with pytest.raises(ValueError, match=f"{file} is missing, a folder or a pipe, wanted"):
            read_split(data.TASKS[name], tmp_path / file)


@pytest.mark.parametrize("packed", [gzip.compress(b"Ada\n")[:12], b"Ada\n"], ids=["cut", "none"])
def test_a_damaged_gz_is_named(tmp_path, packed):
    with pytest.raises(ValueError, match="s.words.gz cannot be read after line 0: "):
        read(tmp_path, "conll05", {"words/s.words.gz": packed, "props/s.props.gz": packed})


def test_a_txt_with_line_ends_of_old_macs_is_no_single_input(tmp_path):
    path = write(tmp_path / "a.txt", "the cats\rthe dogs\r")
    with pytest.raises(ValueError, match="a.txt, line 1: a carriage return"):
        data.without_labels("cb", str(path), 0)


def test_many_spaces_take_no_time(tmp_path):  # where the marks of ReCoRD are searched
    began = time.process_time()
    text = record(f"Ely.{' ' * 100_000}Six.", ["Ely"], ("@placeholder.", ["Ely"]))
    assert examples_of(tmp_path, "record", jsonl(text))[0].input.endswith("passage: Ely. Six.")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("labels, codes", [
    (("yes",), ()), (("yes", "yes"), ()), (("yes", " "), ()), ("yes", ()),
    (("yes", "no"), ("1", "1")), (("yes", "no"), ("1", ""))])
def test_labels_and_codes_are_two_strings_or_more(labels, codes):
    with pytest.raises(ValueError, match="(labels|codes) are .*, wanted a string for each of two"):
        data.Task((), "", "", labels, ("accuracy",), codes=codes)


def test_words_without_their_props_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="s.props"):
        read(tmp_path, "conll05", {"words/s.words": "Ada\n"})

"""Invented rows in the official formats of the 21 tasks, with what they should become.

No test of its own: tests/plumbing/test_formats.py and others read these.
"""

import json
import os
from pathlib import Path

import pytest

from plumbing.formats import Example

E, N, C = "entailment", "neutral", "contradiction"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows, end="\n"):
    return "".join(json.dumps(row) + end for row in rows)


def tsv(*rows, end="\n"):
    """Rows of cells with " | " between them: a tab would not be seen here."""
    return "".join(row.replace(" | ", "\t") + end for row in rows)


def table(columns, rows, end="\n"):
    """Rows as text under these columns; a column the row lacks holds "n/a"."""
    lines = [columns] + [[row.get(column, "n/a") for column in columns] for row in rows]
    return "".join("\t".join(line) + end for line in lines)


def conll12(*tokens):
    """A sentence of a *gold_conll file from "word entity argument argument ..." tokens."""
    lines = []
    for i, token in enumerate(tokens):
        word, entity, *arguments = token.split()
        lines.append(" ".join(["nw/made/up_0001", "0", str(i), word, "NN", "*", "-", "-", "-", "-",
                               entity, *arguments, "-"]))
    begin = "#begin document (nw/made/up_0001); part 000"
    return "\n".join([begin, *lines, "", "#end document", ""])


def official():
    """The folder in T5_DATA; without it the test is skipped."""
    if not os.environ.get("T5_DATA"):
        pytest.skip("set T5_DATA to the folder with the official files, as --data takes it, "
                    "and the published vocabulary in it as vocab/spiece.model")
    return Path(os.environ["T5_DATA"])


# ---------------------------------------------------------------------------------- rows


CB_ROWS = [
    {"premise": "Mia said the kettle was on.", "hypothesis": "the kettle was on", "label": N},
    {"premise": "Tom knew that it rained.", "hypothesis": "it rained", "label": E},
    {"premise": "Nobody thought it rained, and it did not.", "hypothesis": "it rained",
     "label": C}]
RTE_ROWS = [{"premise": "The mill burnt down in May.", "hypothesis": "The mill burnt down.",
             "label": "entailment", "idx": 0},
            {"premise": "The mill was sold.", "hypothesis": "The mill was bought by Ada.",
             "label": "not_entailment", "idx": 1}]
MNLI_TRAIN = ("index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
              "sentence1_parse sentence2_parse sentence1 sentence2 label1 gold_label").split()
MNLI_DEV = MNLI_TRAIN[:-1] + "label2 label3 label4 label5 gold_label".split()
# The order of the columns before GLUE rearranged them.
MULTINLI = ["gold_label", "sentence1", "sentence2", "pairID"]
# label1 to label5 are those of single annotators, not to be taken for gold_label.
MNLI_ROW = {"sentence1": "Two boats left.", "sentence2": "Boats left.", "gold_label": "entailment",
            **{f"label{i}": "contradiction" for i in range(1, 6)}}


COPA = {"premise": "The jug fell.", "choice1": "It broke.", "choice2": "It was clean.",
        "question": "effect", "label": 0, "idx": 0}
WSC = {"text": "Ada thanked Eve because she had helped .", "idx": 0, "label": True,
       "target": {"span1_index": 2, "span1_text": "Eve", "span2_index": 4, "span2_text": "she"}}
WIC = {"word": "bank", "sentence1": "He swam to the bank.", "sentence2": "The bank is shut.",
       "idx": 0, "start1": 15, "end1": 19, "start2": 4, "end2": 8, "version": 1.1, "label": False}
BOOLQ = {"question": "is tin a metal", "passage": "Tin -- Tin is a soft metal.", "idx": 0,
         "label": True}


def multirc(text, *questions, idx=0):
    return {"idx": idx, "version": 1.1, "passage": {"text": text, "questions": [
        {"question": question, "idx": number, "answers": [
            {"text": answer, "idx": i, "label": label}
            for i, (answer, label) in enumerate(answers)]}
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
              ("Then @placeholder left Ely.", ["Eve"]),
              ("@placeholder had money.", ["Eve", "Ada", "Eve"]))
CAFE_TEXT = "entities: Ada, Ely, Eve passage: Ada met Eve in Ely. Ada paid"
MRPC = ("\ufeffQuality | #1 ID | #2 ID | #1 String | #2 String",
        "1 | 11 | 21 | Rain fell . | It rained .", "0 | 12 | 22 | He left . | She came .",
        # Its second id alone is among those of dev, and the pair the other way round.
        "1 | 13 | 23 | Oil rose . | Oil went up .", "0 | 23 | 13 | Oil fell . | Oil rose .",
        "1 | 99 | 23 | Oil fell . | Oil went down .")
STSB = ("index | genre | filename | year | old_index | source1 | source2 | sentence1 | sentence2 | "
        "score")
STSB_ROW = "0 | news | made | 2026 | 1 | none | none | A dog runs. | A cat runs. | "
CONLL03 = "-DOCSTART- -X- O O\n\n"
SENTENCE = ("Ada (PERSON) (ARG0*) *", "told * (V*) *", "the * (ARG2* (ARG0*", "Dutch (NORP) *) *)",
            "to * (ARG1* *", "leave * * (V*)", "New (GPE* * (ARG1*", "Ely *) *) *)")
PLAIN = ("Rain *", "soon *")  # neither an entity nor a predicate
# task -> content of the train file, examples; of the dev file, examples
ROWS = {
    "cb": (jsonl(*CB_ROWS[:2]),
           [Example("hypothesis: the kettle was on premise: Mia said the kettle was on.", N),
            Example("hypothesis: it rained premise: Tom knew that it rained.", E)],
           jsonl(CB_ROWS[2]),
           [Example("hypothesis: it rained premise: Nobody thought it rained, and it did not.",
                    C)]),
    "rte": (jsonl(RTE_ROWS[0]),
            [Example("hypothesis: The mill burnt down. premise: The mill burnt down in May.", E)],
            jsonl(RTE_ROWS[1]),
            [Example("hypothesis: The mill was bought by Ada. premise: The mill was sold.",
                     "not_entailment")]),
    "mnli": (table(MNLI_TRAIN, [MNLI_ROW, MNLI_ROW | {"gold_label": C}]),
             [Example("hypothesis: Boats left. premise: Two boats left.", E),
              Example("hypothesis: Boats left. premise: Two boats left.", C)],
             table(MNLI_DEV, [MNLI_ROW | {"gold_label": N}]),
             [Example("hypothesis: Boats left. premise: Two boats left.", N)]),
    "copa": (jsonl(COPA),
             [Example("choice1: It broke. choice2: It was clean. premise: The jug fell. "
                      "question: effect", "choice1")],
             jsonl(COPA | {"question": "cause", "label": 1}),
             [Example("choice1: It broke. choice2: It was clean. premise: The jug fell. "
                      "question: cause", "choice2")]),
    "wsc": (jsonl(WSC), [Example("Ada thanked Eve because *she* had helped .", "Eve", ("True",))],
            jsonl(WSC | {"label": False}),
            [Example("Ada thanked Eve because *she* had helped .", "Eve", ("False",))]),
    "wic": (jsonl(WIC),
            [Example("sentence1: He swam to the bank. sentence2: The bank is shut. word: bank",
                     "False")],
            jsonl(WIC | {"sentence2": "The bank is steep.", "label": True}),
            [Example("sentence1: He swam to the bank. sentence2: The bank is steep. word: bank",
                     "True")]),
    "boolq": (jsonl(BOOLQ),
              [Example("passage: Tin -- Tin is a soft metal. question: is tin a metal", "True")],
              jsonl(BOOLQ | {"question": "is tin hard", "label": False}),
              [Example("passage: Tin -- Tin is a soft metal. question: is tin hard", "False")]),
    "multirc": (
        jsonl(multirc("<b>Sentence 1: </b>Ada baked.<br><b>Sentence 2: </b>Eve ate.<br>",
                      ("Who ate?", [("Ada", 0), ("Eve", 1)]), ("Who baked?", [("Ada", 1)]), idx=4)),
        [Example("question: Who ate? answer: Ada paragraph: Ada baked. Eve ate.", "False",
                 group="4 0"),
         Example("question: Who ate? answer: Eve paragraph: Ada baked. Eve ate.", "True",
                 group="4 0"),
         Example("question: Who baked? answer: Ada paragraph: Ada baked. Eve ate.", "True",
                 group="4 1")],
        jsonl(multirc("It rained.", ("What fell?", [("Rain", 1)])),
              multirc("It snowed.", ("What fell?", [("Rain", 0)]), idx=1)),
        [Example("question: What fell? answer: Rain paragraph: It rained.", "True", group="0 0"),
         Example("question: What fell? answer: Rain paragraph: It snowed.", "False", group="1 0")]),
    "record": (
        jsonl(CAFE),
        [Example(f"query: Then @placeholder left Ely. {CAFE_TEXT}", "Eve", ("Eve",)),
         # two right answers: two examples to train on
         Example(f"query: @placeholder had money. {CAFE_TEXT}", "Ada", ("Ada", "Eve")),
         Example(f"query: @placeholder had money. {CAFE_TEXT}", "Eve", ("Ada", "Eve"))],
        jsonl(record("Tom met Tom Ray.", ["Tom Ray", "Tom", "Tom"],
                     ("@placeholder spoke.", ["Tom Ray", "Tom"]))),
        # named twice, listed once; two right answers are one example to score
        [Example("query: @placeholder spoke. entities: Tom, Tom Ray passage: Tom met Tom Ray.",
                 "Tom", ("Tom", "Tom Ray"))]),
    "cola": (tsv("xy01 | 1 |  | Ada sang.", "xy01 | 0 | * | Sang the Ada."),
             [Example("sentence: Ada sang.", "acceptable"),
              Example("sentence: Sang the Ada.", "unacceptable")],
             tsv("xy02 | 0 | ?? | Ada were."), [Example("sentence: Ada were.", "unacceptable")]),
    "mrpc": (tsv(*MRPC, end="\r\n"),
             [Example("sentence1: Rain fell . sentence2: It rained .", "equivalent"),
              Example("sentence1: Oil rose . sentence2: Oil went up .", "equivalent"),
              Example("sentence1: Oil fell . sentence2: Oil rose .", "not_equivalent")],
             tsv("12 | 22", "99 | 23"),
             [Example("sentence1: He left . sentence2: She came .", "not_equivalent"),
              Example("sentence1: Oil fell . sentence2: Oil went down .", "equivalent")]),
    "stsb": (tsv(STSB, STSB_ROW + "3.667"),
             [Example("sentence1: A dog runs. sentence2: A cat runs.", "3.6", ("3.667",))],
             tsv(STSB, STSB_ROW + "0.000"),
             [Example("sentence1: A dog runs. sentence2: A cat runs.", "0.0", ("0.000",))]),
    "sst2": (tsv("sentence | label", "a fine film | 1", "dull  | 0"),
             [Example("sentence: a fine film", "positive"), Example("sentence: dull", "negative")],
             tsv("sentence | label", "slow | 0"), [Example("sentence: slow", "negative")]),
    "qnli": (tsv("index | question | sentence | label", "0 | Who sang? | Ada sang. | entailment"),
             [Example("question: Who sang? sentence: Ada sang.", "entailment")],
             tsv("index | question | sentence | label",
                 "0 | Who sang? | Eve ate. | not_entailment"),
             [Example("question: Who sang? sentence: Eve ate.", "not_entailment")]),
    "qqp": (tsv("id | qid1 | qid2 | question1 | question2 | is_duplicate",
                "0 | 1 | 2 | Why tea? | Why is tea? | 1"),
            [Example("question1: Why tea? question2: Why is tea?", "duplicate")],
            tsv("id | qid1 | qid2 | question1 | question2 | is_duplicate",
                "0 | 1 | 2 | Why tea? | Who? | 0"),
            [Example("question1: Why tea? question2: Who?", "not_duplicate")]),
    "squad": (squad("The mill is in Ely.", ("Where is it?", ["in Ely"]),
                    ("What is there?", ["The mill"])),
              [Example("question: Where is it? context: The mill is in Ely.", "in Ely",
                       ("in Ely",)),
               Example("question: What is there? context: The mill is in Ely.", "The mill",
                       ("The mill",))],
              squad("The mill is in Ely.", ("Where?", ["Ely", "in Ely", "Ely"])),
              [Example("question: Where? context: The mill is in Ely.", "Ely",
                       ("Ely", "in Ely", "Ely"))]),
    "conll03": (CONLL03 + "Ada NNP I-NP I-PER\nLee NNP I-NP I-PER\nleft VBD I-VP O\n"
                "Ely NNP I-NP I-LOC\n\nIt PRP I-NP O\nrained VBD I-VP O\n",
                [Example("sentence: Ada Lee left Ely", "person : Ada Lee ; location : Ely"),
                 Example("sentence: It rained", "none")],
                CONLL03 + "Acme NNP I-NP I-ORG\nDutch JJ I-NP I-MISC\n",
                [Example("sentence: Acme Dutch", "organization : Acme ; miscellaneous : Dutch")]),
    "conll04": (json.dumps([conll04("Ada Lee of Acme left Ely", ("Loc", 5, 6), ("Peop", 0, 2),
                                    ("Org", 3, 4))]),
                [Example("sentence: Ada Lee of Acme left Ely",
                         "person : Ada Lee ; organization : Acme ; location : Ely")],
                json.dumps([conll04("On May 3", ("Other", 1, 3)), conll04("It rained")]),
                [Example("sentence: On May 3", "other : May 3"),
                 Example("sentence: It rained", "none")]),
    "ontonotes": ({"nw/a.v4_gold_conll": conll12(*SENTENCE)},
                  [Example("sentence: Ada told the Dutch to leave New Ely",
                           "person : Ada ; nationality or group : Dutch ; country or city : "
                           "New Ely")],
                  {"a.gold_conll": conll12("At * ", "Hamlet (WORK_OF_ART)"),
                   "b/b.gold_conll": conll12(*PLAIN)},
                  [Example("sentence: At Hamlet", "work of art : Hamlet"),
                   Example("sentence: Rain soon", "none")]),
    "conll05": ({"words/s.02.words": "Ada\nsaid\nEve\nate\ncake\n\nRain\n\n",
                 "props/s.02.props": "- (A0*) *\nsay (V*) *\n- (A1* (A0*)\neat * (V*)\n"
                                     "- *) (A1*)\n\n-\n\n"},
                [Example("predicate: said sentence: Ada said Eve ate cake",
                         "A0 : Ada ; A1 : Eve ate cake"),
                 Example("predicate: ate sentence: Ada said Eve ate cake", "A0 : Eve ; A1 : cake")],
                {"words/s.24.words": "Give\nup\n", "props/s.24.props": "give (V*\n- *)\n"},
                [Example("predicate: Give up sentence: Give up", "none")]),
    "conll12": ({"nw/a.v4_gold_conll": conll12(*SENTENCE) + conll12(*PLAIN)},
                [Example("predicate: told sentence: Ada told the Dutch to leave New Ely",
                         "ARG0 : Ada ; ARG2 : the Dutch ; ARG1 : to leave New Ely"),
                 Example("predicate: leave sentence: Ada told the Dutch to leave New Ely",
                         "ARG0 : the Dutch ; ARG1 : New Ely")],
                {"a.gold_conll": conll12("Soon * (ARGM-TMP*)", "ring * (V*)", "up * (C-V*)")},
                [Example("predicate: ring up sentence: Soon ring up", "ARGM-TMP : Soon")]),
}

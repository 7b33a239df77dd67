"""Tasks as text to text, the tokenizer, batches, metrics, downloads.

T5 reads a string and writes a string, whatever the task (Raffel et al. 2020,
section 2.4). So a task here is one entry of TASKS: where its rows come from, how a
row becomes an input and a target string, which targets are legal, and what counts
as good. The strings are those of T5's own preprocessors without the leading task
name, which a prompt takes the place of (Lester et al. 2021, section 3).

    python data.py           the tasks, their sizes and metrics
    python data.py cb        examples of one as the model sees them

The 21 tasks are those of PANDA (Zhong et al. 2022): their official files are
read from a folder of yours, or fetched once. Tasks named toy-* are generated
(toy/world.py) and need no files.

What becomes of a row that is not as it should be:

    fixed, counted    a pronoun of WSC that is not at its index: the nearest one is taken
    skipped, counted  a text or label that is missing or empty, fewer columns than the
                      header, no gold label (MNLI's "-"), no answer; in WSC's training set
                      the pairs labelled false, which name no referent
    an error          anything else, with the file and the line: another label than the
                      legal ones, a tab too many, broken JSON, a file without usable rows

Runs of white space become one space. A quotation mark in a .tsv file is a character
like any other.

Dimensions: B batch, S source tokens, T target tokens.
"""

import argparse
import array
import contextlib
import dataclasses
import difflib
import fcntl
import functools
import gzip
import hashlib
import http.client
import itertools
import json
import math
import os
import random
import re
import string
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import numpy
import sentencepiece
import torch

from toy import world

PAD, EOS = 0, 1
EXTRA_IDS = 100  # T5's sentinels <extra_id_0> to <extra_id_99>, above the vocabulary


# ---------------------------------------------------------------- the tokenizer


class Tokenizer:
    """sentencepiece with T5's end of text and its sentinels.

    The sentinels lie above the pieces, downwards: in the published vocabulary of
    32,000 pieces <extra_id_0> is 32099 and <extra_id_99> is 32000.
    """

    def __init__(self, path):
        path = Path(path)
        if not path.exists():
            raise ValueError(f"{path} is missing: the tokenizer needs T5's spiece.model")
        try:
            self.sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} is no vocabulary of sentencepiece: {error}") from None
        self.pieces = self.sp.vocab_size()
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def encode(self, text):
        """Text -> token ids with eos at the end. A sentinel in it becomes its id."""
        ids = []
        for i, part in enumerate(re.split(r"\s*<extra_id_(\d\d?)>", text)):
            ids += [self.sentinel(int(part))] if i % 2 else self.sp.encode(part)
        return ids + [EOS]

    def encode_inputs(self, examples, longest=None):
        """(ids of each input, how many were cut): all in one go, on all cores.

        An input of more than `longest` tokens, eos counted, loses the end of its long
        part (the premise, the passage), and more only if all else alone is too long.
        The ids are arrays, a sixth of the memory of lists.
        """
        rows, cut = [], 0
        for i in range(0, len(examples), 10_000):
            some = examples[i:i + 10_000]
            for example, ids in zip(some, self.sp.encode([e.input for e in some],
                                                         num_threads=os.cpu_count())):
                if longest and len(ids) >= longest:
                    cut += 1
                    start, end = example.long
                    before, long, after = (self.sp.encode(text) for text in (
                        example.input[:start], example.input[start:end], example.input[end:]))
                    room = longest - 1 - len(before) - len(after)
                    ids = (before + long[:max(0, room)] + after)[:longest - 1]
                rows.append(array.array("i", ids + [EOS]))
        return rows, cut

    def decode(self, ids):
        """Token ids -> text, up to the first eos, without padding and sentinels."""
        ids = list(ids)
        ids = ids[:ids.index(EOS)] if EOS in ids else ids
        return self.sp.decode([i for i in ids if PAD < i < self.pieces])

    def sentinel(self, i):
        """The id of <extra_id_i>."""
        return self.pieces + EXTRA_IDS - 1 - i


def pad(rows, device="cpu"):
    """Lists of token ids -> ids (B, S), filled up with pad on the right.

    >>> pad([[5, 6, 1], [7, 1]]).tolist()
    [[5, 6, 1], [7, 1, 0]]
    """
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], device=device)


@functools.lru_cache(maxsize=16)  # a shuffle of MNLI takes a while, and every step asks for it
def order(count, seed, epoch):
    """The order in which an epoch visits `count` examples, the same for the same numbers.

    Nothing needs to be remembered to go on in the middle of a run.
    """
    places = list(range(count))
    random.Random(f"order {seed} {epoch}").shuffle(places)
    return tuple(places)


# -------------------------------------------------------------------- metrics
#
# Of lists of strings, as shares of 1. Degenerate cases get the published convention: a
# class that is neither there nor predicted has F1 0 (scikit-learn), so have entities
# (conlleval), and a constant has correlation 0 (where the formula divides 0 by 0).


def accuracy(predictions, targets):
    """Share of predictions that are the target, word for word."""
    return sum(p == t for p, t in zip(predictions, targets)) / len(targets)


def confusion(predictions, targets, positive):
    """True positives, false positives, false negatives and true negatives of one class."""
    counts = Counter((p == positive, t == positive) for p, t in zip(predictions, targets))
    return [counts[cell] for cell in ((True, True), (True, False), (False, True), (False, False))]


def f1(predictions, targets, positive):
    """2 tp / (2 tp + fp + fn) of one class."""
    tp, fp, fn, _ = confusion(predictions, targets, positive)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(predictions, targets, labels):
    """The mean of the labels' F1 (CB in SuperGLUE: Wang et al. 2019)."""
    return sum(f1(predictions, targets, label) for label in labels) / len(labels)


def matthews(predictions, targets, positive):
    """Matthews' correlation of two classes (CoLA: Warstadt et al. 2018)."""
    tp, fp, fn, tn = confusion(predictions, targets, positive)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def pearson(x, y):
    """Pearson's correlation of two lists of numbers.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values against {len(y)}")
    if len(set(x)) == 1 or len(set(y)) == 1:
        return 0.0
    x, y = (numpy.asarray(values, dtype=float) - numpy.mean(values) for values in (x, y))
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def ranks(values):
    """1 for the smallest; equal values share the mean of their ranks.

    >>> ranks([0.3, 0.1, 0.3]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = numpy.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[place]


def spearman(x, y):
    """Spearman's correlation: Pearson's of the ranks."""
    return pearson(ranks(x), ranks(y))


def similarity_scores(predictions, golds):
    """STS-B's texts and scores as numbers; a text that is no number from 0 to 5 is taken as the
    end of the scale that is farther from the score.

    >>> similarity_scores(["4.2", "much"], ["4.0", "4.5"])
    ([4.2, 0.0], [4.0, 4.5])
    """
    golds = [float(gold) for gold in golds]
    numbers = []
    for text, gold in zip(predictions, golds):
        number = float(text) if re.fullmatch(r"\d(\.\d+)?", text) else -1.0
        numbers.append(number if 0 <= number <= 5 else 0.0 if gold > 2.5 else 5.0)
    return numbers, golds


def normalise(answer):
    """An answer as SQuAD compares it: lower case, no punctuation, no article, single spaces.

    >>> normalise("The  Broncos, of Denver!")
    'broncos of denver'
    """
    answer = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def words_f1(prediction, gold):
    """F1 of the words of two normalised answers, each word as often as it occurs.

    >>> words_f1("the Denver Broncos", "Broncos")
    0.6666666666666666
    """
    prediction, gold = Counter(normalise(prediction).split()), Counter(normalise(gold).split())
    both = (prediction & gold).total()
    return 2 * both / (prediction.total() + gold.total()) if both else 0.0


def best_gold(function, predictions, answers):
    """Mean over the examples of the best value against any of its right answers (Rajpurkar et al. 2016)."""
    return sum(max(function(p, gold) for gold in golds)
               for p, golds in zip(predictions, answers)) / len(answers)


def exact(prediction, gold):
    return float(normalise(prediction) == normalise(gold))


def question_match(predictions, targets, groups):
    """Share of the questions all of whose answers are judged right (MultiRC: Khashabi et al. 2018)."""
    if not all(groups):
        raise ValueError("question_em needs the group of every example, its question")
    solved = {}
    for p, t, group in zip(predictions, targets, groups):
        solved[group] = solved.get(group, True) and p == t
    return sum(solved.values()) / len(solved)


def entities(text):
    """The (type, span) pairs of a NER string; a part without " : " is no entity.

    >>> entities("person : anna ; place : rome")
    [('person', 'anna'), ('place', 'rome')]
    >>> entities("none")
    []
    """
    parts = [part.split(" : ", 1) for part in text.split(" ; ")]
    return [(part[0].strip(), part[1].strip()) for part in parts if len(part) == 2]


def entity_f1(predictions, targets):
    """Micro-F1 over exact (type, span): 2 * right / (predicted + wanted)."""
    right = total = 0
    for prediction, target in zip(predictions, targets):
        found, gold = Counter(entities(prediction)), Counter(entities(target))
        right += (found & gold).total()
        total += found.total() + gold.total()
    return 2 * right / total if total else 0.0


DETERMINERS = set("a an the this that these those which whose some many much few each every "
                  "my your his her its our their".split())


def same_referent(prediction, referent):
    """Whether a text names this referent: the words of one are all in the other (WSC).

    Case, punctuation, determiners and possessives at the front do not count, so that
    "the fuzzy bunny" names "bunny"; "bob" and "bob's" are two.

    >>> same_referent("The fuzzy bunny.", "bunny"), same_referent("Bob", "Bob's dog")
    (True, False)
    """
    words = [{word for word in re.sub(r"[^\w' ]", " ", text.lower()).split() if word not in DETERMINERS}
             for text in (prediction, referent)]
    possessive = [any("'" in word for word in one) for one in words]
    return all(words) and possessive[0] == possessive[1] and (
        words[0] <= words[1] or words[1] <= words[0])


def right(example):
    """What a prediction is compared with: the golds, or the target if a row has none beside it."""
    return example.golds or (example.target,)


# name -> function of the predictions, the examples and the task's labels; the class that
# counts as positive is the last label.
METRICS = {
    "accuracy": lambda p, examples, _: accuracy(p, [e.target for e in examples]),
    "f1": lambda p, examples, labels: f1(p, [e.target for e in examples], labels[-1]),
    "macro_f1": lambda p, examples, labels: macro_f1(p, [e.target for e in examples], labels),
    "matthews": lambda p, examples, labels: matthews(p, [e.target for e in examples], labels[-1]),
    "pearson": lambda p, examples, _: pearson(*similarity_scores(p, [right(e)[0] for e in examples])),
    "spearman": lambda p, examples, _: spearman(*similarity_scores(p, [right(e)[0] for e in examples])),
    "answer_em": lambda p, examples, _: best_gold(exact, p, [right(e) for e in examples]),
    "answer_f1": lambda p, examples, _: best_gold(words_f1, p, [right(e) for e in examples]),
    "question_em": lambda p, examples, _: question_match(p, [e.target for e in examples],
                                                         [e.group for e in examples]),
    "entity_f1": lambda p, examples, _: entity_f1(p, [e.target for e in examples]),
    "referent_accuracy": lambda p, examples, _: accuracy(
        [str(same_referent(text, e.target)) for text, e in zip(p, examples)],
        [e.golds[0] for e in examples]),
}
METRICS["argument_f1"] = METRICS["entity_f1"]  # the same over (role, span)


# ---------------------------------------------------------------------- tasks


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One row as text to text."""

    input: str
    target: str
    golds: tuple = ()  # what the metric compares with, where that is not the target
    group: str = ""    # the question of MultiRC: its answers are scored together
    long: tuple = dataclasses.field(default=(0, 0), compare=False)  # the part of input to cut, [from, to)


@dataclasses.dataclass(frozen=True)
class Task:
    """One entry of the table below.

    files    (train, dev) inside the data folder; () for a generated task
    input    template over the columns of a row
    target   the column of the target
    labels   the legal targets; () for free text
    metrics  of METRICS; the first is the one reported and selected by
    codes    what the file has in place of each label, if not the label itself
    sizes    published (train, dev) examples
    cut      the column that is cut when an input is too long; default: the template's last
    read     path -> (place, row) of each row of a file; default: by the suffix
    rows     (row, train or not) -> the rows that it becomes, if not one as it is
    """

    files: tuple
    input: str
    target: str
    labels: tuple
    metrics: tuple
    codes: tuple = ()
    sizes: tuple = ()
    cut: str = ""
    read: object = None
    rows: object = None

    def __post_init__(self):
        columns = re.findall(r"{([^}]+)}", self.input)
        if self.files and not columns:
            raise ValueError(f"a task's input {self.input!r} names no {{column}}")
        if self.cut and self.cut not in columns:
            raise ValueError(f"cut={self.cut!r} is no column of the input {self.input!r}")
        if not isinstance(self.metrics, tuple) or not set(self.metrics) <= set(METRICS):
            raise ValueError(f"metrics are {self.metrics!r}, wanted a tuple of {', '.join(METRICS)}")
        if self.codes and (len(self.codes) != len(self.labels) or not all(isinstance(c, str) for c in self.codes)):
            raise ValueError(f"codes are {self.codes!r}, wanted a string for each of {self.labels}")


def open_text(path):
    """A text file, .gz or not, without its byte order mark; only line feeds end a line."""
    opener = gzip.open if Path(path).suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="\n")


def read_jsonl(path):
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{place}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{place}: not a JSON object")
            yield place, row


def read_tsv(path, header=None):
    """A row's columns by the names in the first line, or in `header` if the file has no such line."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split("\t")
            if header is None:
                header = cells
            elif cells != [""]:
                if len(cells) > len(header):
                    raise ValueError(f"{path}, line {number}: {len(cells)} columns, wanted {len(header)}")
                short = {"skip": "fewer columns than the header"}  # which one is missing, nobody knows
                yield (f"{path}, line {number}",
                       dict(zip(header, cells)) if len(cells) == len(header) else short)


def read_mrpc(path):
    """MRPC is two raw files: the pairs, and the ids of those that are dev. `path` is either."""
    with open_text(path.with_name("mrpc_dev_ids.tsv")) as file:
        dev = {tuple(line.split()) for line in file}
    for place, row in read_tsv(path.with_name("msr_paraphrase_train.txt")):
        if "skip" in row or ((row["#1 ID"], row["#2 ID"]) in dev) == (path.name == "mrpc_dev_ids.tsv"):
            yield place, row | {"sentence1": row.get("#1 String"), "sentence2": row.get("#2 String")}


def read_squad(path):
    with open_text(path) as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                golds = [answer["text"] for answer in question["answers"]]
                yield f"{path}, question {question['id']}", {
                    "question": question["question"], "context": paragraph["context"],
                    "answer": golds[0] if golds else None, "golds": golds}


# Types of entities as words, one word for one thing in all sets; others in lower case.
KINDS = {"PER": "person", "Peop": "person", "LOC": "location", "Loc": "location",
         "ORG": "organization", "Org": "organization", "MISC": "miscellaneous",
         "NORP": "nationality or group", "GPE": "country or city", "FAC": "facility"}


def spans_as_text(spans, words):
    """[(kind, from, to)] over words -> "kind : words ; kind : words", in order, or "none".

    >>> spans_as_text([("person", 3, 4), ("location", 0, 2)], "New York met Ada".split())
    'location : New York ; person : Ada'
    """
    return " ; ".join(f"{kind} : {' '.join(words[start:end])}" for kind, start, end
                      in sorted(spans, key=lambda span: span[1:])) or "none"


def sentence_row(words, entities):
    named = [(KINDS.get(kind, kind.lower().replace("_", " ")), *span) for kind, *span in entities]
    return {"sentence": " ".join(words), "entities": spans_as_text(named, words)}


def read_conll04(path):
    """The layout of SpERT (Eberts and Ulges 2020): tokens and entity spans."""
    with open_text(path) as file:
        for number, row in enumerate(json.load(file), 1):
            yield f"{path}, sentence {number}", sentence_row(
                row["tokens"], [(e["type"], e["start"], e["end"]) for e in row["entities"]])


def blocks(path):
    """(place, rows of cells) of each sentence of a CoNLL file: a token a line, then an empty line."""
    rows = []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.split()
            if cells and not line.startswith(("#begin", "#end", "-DOCSTART-")):
                rows.append(cells)
            elif rows:
                yield f"{path}, the sentence before line {number}", rows
                rows = []
    if rows:
        yield f"{path}, the last sentence", rows


def at(place, make, *arguments):
    """make(*arguments); what it finds wrong is told with the place."""
    try:
        return make(*arguments)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def columns_of(rows):
    """The columns of rows that are all as long."""
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows of {min(map(len, rows))} and of {max(map(len, rows))} columns")
    return list(zip(*rows))


def tagged(tags):
    """Spans of B-, I- and O tags; an I- of another type than before it begins a span, too.

    >>> tagged(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5)]
    """
    spans, last = [], "O"
    for i, tag in enumerate(tags):
        if tag == "O":
            pass
        elif tag.startswith("B-") or last[2:] != tag[2:]:
            spans.append((tag[2:], i, i + 1))
        else:
            spans[-1] = (*spans[-1][:2], i + 1)
        last = tag
    return spans


def bracketed(cells):
    """Spans of "(ROLE*", "*", "*)" cells.

    >>> bracketed(["(A0*", "*)", "(V*)", "*"])
    [('A0', 0, 2), ('V', 2, 3)]
    """
    spans, open_ = [], []
    for i, cell in enumerate(cells):
        open_ += [(kind, i) for kind in re.findall(r"\(([^(*)]+)", cell)]
        for _ in range(cell.count(")")):
            if not open_:
                raise ValueError(f"the bracket of {cell!r} was never opened")
            spans.append((*open_.pop(), i + 1))
    if open_:
        raise ValueError(f"the bracket of {open_[-1][0]!r} is never closed")
    return sorted(spans, key=lambda span: span[1:])


def predicate_row(words, cells):
    """One predicate: its own span is marked V; its arguments are all the others."""
    spans = bracketed(cells)
    verbs = [" ".join(words[start:end]) for kind, start, end in spans if kind == "V"]
    if not verbs:
        raise ValueError("a predicate without its (V*)")
    return {"predicate": verbs[0], "sentence": " ".join(words),
            "arguments": spans_as_text([span for span in spans if span[0] not in ("V", "C-V")], words)}


def read_conll03(path):
    for place, rows in blocks(path):
        yield place, sentence_row([row[0] for row in rows], tagged([row[-1] for row in rows]))


ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}",
           "/.": ".", "/?": "?", "/-": "-"}


def read_ontonotes(path, predicates=False):
    """The *gold_conll files of CoNLL-2012 under a folder: entities, or one row for each predicate.

    Columns: document, part, number, word, part of speech, parse, lemma, frame, sense,
    speaker, entity, the arguments of each predicate, coreference.
    """
    files = sorted(path.rglob("*gold_conll"))
    if not files:
        raise ValueError(f"{path} holds no *gold_conll file")
    for file in files:
        for place, rows in blocks(file):
            words = [ESCAPED.get(row[3], row[3]) for row in rows]
            if "[WORD]" in words:
                raise ValueError(f"{place}: the words are left out; join the files with OntoNotes first")
            columns = at(place, columns_of, rows)
            if predicates:
                for cells in columns[11:-1]:
                    yield place, at(place, predicate_row, words, cells)
            else:
                yield place, sentence_row(words, at(place, bracketed, columns[10]))


def read_conll05(path):
    """words/* and props/* under a folder, .gz or not: tokens, and for each predicate a column."""
    files = sorted((path / "words").glob("*"))
    if not files:
        raise ValueError(f"{path / 'words'} holds no file")
    for file in files:
        props = path / "props" / file.name.replace(".words", ".props")
        if not props.exists():
            raise ValueError(f"{props} is missing beside {file}")
        for (place, words), (_, rows) in itertools.zip_longest(
                blocks(file), blocks(props), fillvalue=(f"{file}, the end", [])):
            if len(words) != len(rows):
                raise ValueError(f"{place}: {len(words)} words, {len(rows)} rows in {props}")
            tokens = [ESCAPED.get(row[0], row[0]) for row in words]
            for cells in at(place, columns_of, rows)[1:]:  # the first is the predicate's lemma
                yield place, at(place, predicate_row, tokens, cells)


def wsc(row, train):
    """The pronoun between stars; the target is what the row says it refers to, true or not."""
    if train and row["label"] is False:
        yield {"skip": "labelled false, names no referent"}
        return
    words, pronoun = row["text"].split(), row["target"]["span2_text"]
    found = [i for i, word in enumerate(words) if word.strip(string.punctuation) == pronoun]
    if not found:
        raise ValueError(f"the pronoun {pronoun!r} is not in the text")
    at = min(found, key=lambda i: abs(i - row["target"]["span2_index"]))
    words[at] = words[at].replace(pronoun, f"*{pronoun}*", 1)
    moved = "" if at == row["target"]["span2_index"] else "pronoun not at its index, the nearest one taken"
    yield {"text": " ".join(words), "referent": row["target"]["span1_text"],
           "golds": [str(row["label"])], "fixed": moved}


def multirc(row, train):
    """One row for each answer of each question; the paragraph's markup and numbering go."""
    text = re.sub(r"<b>Sentence \d+: ?</b>|</?\w+ ?/?>", " ", row["passage"]["text"])
    for question in row["passage"]["questions"]:
        for answer in question["answers"]:
            # Together, because three answers are empty: a column alone must not be.
            both = f"{question['question']} answer: {answer['text']}"
            yield {"question and answer": both, "paragraph": text, "label": answer.get("label"),
                   "group": f"{row['idx']} {question['idx']}"}


def record(row, train):
    """One row for each query. The entities are in order and once each; summary lines become sentences."""
    text = row["passage"]["text"]
    marks = [(e["start"], e["end"] + 1) for e in row["passage"]["entities"]]
    names = dict.fromkeys(text[start:end] for start, end in sorted(marks))
    passage = re.sub(r"(?<=[.?!\"'])\s*@highlight\s*", " ", text)
    passage = re.sub(r"\s*@highlight\s*", ". ", passage)
    for query in row["qas"]:
        golds = list(dict.fromkeys(answer["text"] for answer in query.get("answers", [])))
        yield {"query": query["query"], "entities": ", ".join(names), "passage": passage,
               "answer": golds[0] if golds else None, "golds": golds}


def stsb(row, train):
    """The score to the nearest 0.2, halves to the even fifth, as T5 learned it (its own
    preprocessor, in fp32); the metric takes the file's own score.

    >>> next(stsb({"score": "3.700"}, True))["rounded"]
    '3.6'
    """
    if not row["score"]:
        yield row | {"rounded": None}
    else:
        score = float(row["score"])
        if not 0 <= score <= 5:
            raise ValueError(f"score {row['score']}, wanted 0 to 5")
        yield row | {"rounded": f"{numpy.round(numpy.float32(score) * 5) / 5:.1f}", "golds": [row["score"]]}


def glue(folder, dev="dev.tsv"):
    return f"glue/{folder}/train.tsv", f"glue/{folder}/{dev}"


def superglue(folder):
    return f"superglue/{folder}/train.jsonl", f"superglue/{folder}/val.jsonl"


def toy(labels, metric="accuracy"):
    return Task((), "", "", tuple(labels), (metric,))


NLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")
BOOL = ("False", "True")
NER = ("sentence: {sentence}", "entities", (), ("entity_f1",))
SRL = ("predicate: {predicate} sentence: {sentence}", "arguments", (), ("argument_f1",))

TASKS = {
    # --- the nine targets of PANDA, which are sources as well
    "cb": Task(superglue("CB"), "hypothesis: {hypothesis} premise: {premise}", "label",
               ("entailment", "contradiction", "neutral"), ("accuracy", "macro_f1"), sizes=(250, 56)),
    "copa": Task(superglue("COPA"), "choice1: {choice1} choice2: {choice2} premise: {premise} "
                 "question: {question}", "label", ("choice1", "choice2"), ("accuracy",),
                 codes=("0", "1"), sizes=(400, 100), cut="premise"),
    "wsc": Task(superglue("WSC"), "{text}", "referent", (), ("referent_accuracy",),
                sizes=(259, 104), rows=wsc),
    "rte": Task(superglue("RTE"), "hypothesis: {hypothesis} premise: {premise}", "label", RTE,
                ("accuracy",), sizes=(2490, 277)),
    "wic": Task(superglue("WiC"), "sentence1: {sentence1} sentence2: {sentence2} word: {word}", "label",
                BOOL, ("accuracy",), sizes=(5428, 638), cut="sentence2"),
    "cola": Task(glue("CoLA"), "sentence: {sentence}", "label", ("unacceptable", "acceptable"),
                 ("matthews",), codes=("0", "1"), sizes=(8551, 1043),
                 read=functools.partial(read_tsv, header=("source", "label", "mark", "sentence"))),
    "mrpc": Task(("glue/MRPC/msr_paraphrase_train.txt", "glue/MRPC/mrpc_dev_ids.tsv"),
                 "sentence1: {sentence1} sentence2: {sentence2}", "Quality",
                 ("not_equivalent", "equivalent"), ("accuracy", "f1"), codes=("0", "1"),
                 sizes=(3668, 408), read=read_mrpc),
    "stsb": Task(glue("STS-B"), "sentence1: {sentence1} sentence2: {sentence2}", "rounded", (),
                 ("pearson", "spearman"), sizes=(5749, 1500), rows=stsb),
    "conll04": Task(("conll04/conll04_train.json", "conll04/conll04_dev.json"), *NER,
                    sizes=(922, 231), read=read_conll04),
    # --- the twelve other sources
    "mnli": Task(glue("MNLI", "dev_matched.tsv"), "hypothesis: {sentence2} premise: {sentence1}",
                 "gold_label", NLI, ("accuracy",), sizes=(392702, 9815)),
    "qnli": Task(glue("QNLI"), "question: {question} sentence: {sentence}", "label", RTE, ("accuracy",),
                 sizes=(104743, 5463)),
    "qqp": Task(glue("QQP"), "question1: {question1} question2: {question2}", "is_duplicate",
                ("not_duplicate", "duplicate"), ("f1", "accuracy"), codes=("0", "1"),
                sizes=(363846, 40430)),
    "sst2": Task(glue("SST-2"), "sentence: {sentence}", "label", ("negative", "positive"), ("accuracy",),
                 codes=("0", "1"), sizes=(67349, 872)),
    "boolq": Task(superglue("BoolQ"), "passage: {passage} question: {question}", "label", BOOL,
                  ("accuracy",), sizes=(9427, 3270), cut="passage"),
    "multirc": Task(superglue("MultiRC"), "question: {question and answer} paragraph: {paragraph}",
                    "label", BOOL, ("f1", "question_em"), codes=("0", "1"), sizes=(27243, 4848),
                    rows=multirc),
    "record": Task(superglue("ReCoRD"), "query: {query} entities: {entities} passage: {passage}",
                   "answer", (), ("answer_f1", "answer_em"), sizes=(100730, 10000), rows=record),
    "squad": Task(("squad/train-v1.1.json", "squad/dev-v1.1.json"),
                  "question: {question} context: {context}", "answer", (), ("answer_em", "answer_f1"),
                  sizes=(87599, 10570), read=read_squad),
    "conll03": Task(("conll03/eng.train", "conll03/eng.testa"), *NER, sizes=(14041, 3250),
                    read=read_conll03),
    "ontonotes": Task(("ontonotes/train", "ontonotes/development"), *NER, read=read_ontonotes),
    "conll05": Task(("conll05/train", "conll05/devel"), *SRL, read=read_conll05),
    "conll12": Task(("conll12/train", "conll12/development"), *SRL,
                    read=functools.partial(read_ontonotes, predicates=True)),
    # --- the toy world
    "toy-nli": toy(NLI),
    "toy-cb": toy(NLI),
    "toy-rte": toy(RTE),
    "toy-qqp": toy(("duplicate", "not_duplicate")),
    "toy-boolq": toy(("yes", "no")),
    "toy-qnli": toy(RTE),
    "toy-sst2": toy(("positive", "negative")),
    "toy-reviews": toy(("positive", "negative")),
    "toy-cola": toy(("acceptable", "unacceptable")),
    "toy-ner": toy((), "entity_f1"),
}


def find_task(name):
    """The Task of this name, or a ValueError that suggests the nearest ones."""
    if name not in TASKS:
        near = difflib.get_close_matches(name.lower(), TASKS, n=3, cutoff=0.4) or sorted(TASKS)
        raise ValueError(f"unknown task {name!r}; did you mean {', '.join(near)}? "
                         "`python data.py` lists all")
    return TASKS[name]


def parse_rows(task, path, train):
    """(place, row) of a file, several for one where a record holds several examples."""
    read = task.read or {".jsonl": read_jsonl, ".tsv": read_tsv}.get(path.suffix)
    if read is None:
        raise ValueError(f"{path}: of itself a task reads .jsonl and .tsv; other files need their read=")
    place = path
    try:
        for place, row in read(path):
            if task.rows is None or "skip" in row:
                yield place, row
            else:
                for made in at(place, list, task.rows(row, train)):
                    yield place, made
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None
    except (json.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{place}: not in the official format, {type(error).__name__}: {error}") from None


def read_split(task, path, train=False):
    """(examples, notes) of one file: notes counts what was skipped or fixed, and why.

    Raises ValueError with file and line for a row that is wrong, and for a file without
    a usable row.
    """
    columns = re.findall(r"{([^}]+)}", task.input)
    cut = task.cut or columns[-1]
    head, _, tail = task.input.partition("{%s}" % cut)
    codes = dict(zip(task.codes or task.labels, task.labels))
    examples, notes, row = [], Counter(), {}
    for place, row in parse_rows(task, path, train):
        why = row.get("skip")
        for column in () if why else (*columns, task.target):
            if row.get(column) is None or not str(row[column]).strip():
                why = f"no {column}"
            elif not isinstance(row[column], str) and (column != task.target or not codes):
                raise ValueError(f"{place}: no text in column {column!r}")
        label = row.get(task.target)
        if label == "-" and "-" not in codes and codes:  # MNLI: the annotators did not agree
            why = "no gold label"
        if why:
            notes[f"skipped: {why}"] += 1
            continue
        if codes and str(label) not in codes:
            raise ValueError(f"{place}: label {label!r}, wanted one of {', '.join(codes)}")
        if row.get("fixed"):
            notes[f"fixed: {row['fixed']}"] += 1
        fields = {column: " ".join(row[column].split()) for column in columns}
        start = head.format_map(fields)
        end = start + fields[cut]
        examples.append(Example(
            end + tail.format_map(fields), codes[str(label)] if codes else " ".join(label.split()),
            tuple(row.get("golds", ())), row.get("group", ""), (len(start), len(end))))
    if not examples:
        raise ValueError(f"{path} has no usable row" + "".join(f"; {n} {why}" for why, n in notes.items())
                         + (f"; its columns are {', '.join(row)}" if row else ""))
    return examples, notes


def load(name, folder=None, cache=None):
    """The (train, dev) examples of a task.

    Read from `folder`, if one is given, else from the cache, where they are fetched once.
    Generated tasks need neither. What was skipped or fixed is counted on standard error.
    Raises ValueError for an unknown name, a missing file, or a row that cannot be used.
    """
    task = find_task(name)
    if not task.files:
        kind = name.removeprefix("toy-")
        return tuple([Example(*pair) for pair in
                      world.examples(kind, world.SIZES[kind][dev], seed=0, dev=bool(dev))]
                     for dev in (0, 1))
    splits = []
    if folder and not Path(folder).is_dir():
        raise ValueError(f"the data folder {folder} is no folder")
    for file in task.files:
        path = Path(folder) / file if folder else cache_folder(cache) / "data" / file
        if not path.exists():
            wanted = f"{name} reads {task.files[0]} and {task.files[1]} inside the data folder"
            if folder and archive_of(file):
                raise ValueError(f"{path} is missing: {wanted}; without --data they are fetched")
            if folder or not archive_of(file):
                by_hand = BY_HAND.get(file.split("/")[0])
                raise ValueError(f"{path} is missing: {wanted}" + (f"; {by_hand}" if by_hand else "") +
                                 ("" if folder else "; give that folder as --data FOLDER"))
            obtain(file, cache_folder(cache) / "data")
    for train, file in zip((True, False), task.files):
        path = Path(folder) / file if folder else cache_folder(cache) / "data" / file
        examples, notes = read_split(task, path, train)
        for why, count in notes.items():
            print(f"{name}: {count} rows of {path} {why}", file=sys.stderr)
        if task.sizes and len(examples) != task.sizes[0 if train else 1]:
            print(f"{name}: {len(examples)} examples in {path}, the published file has "
                  f"{task.sizes[0 if train else 1]}", file=sys.stderr)
        splits.append(examples)
    return tuple(splits)


def score(name, predictions, targets):
    """The task's metrics, name -> percent, the reported one first.

    targets: Examples, or strings where the metric compares with nothing else. A prediction
    that is no legal label counts as wrong; of two labels, as the other one.

    >>> score("toy-nli", ["neutral", "entailment"], ["neutral", "neutral"])
    {'accuracy': 50.0}
    """
    task = find_task(name)
    if not targets or len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    examples = [e if isinstance(e, Example) else Example("", e, golds=(e,)) for e in targets]
    if len(task.labels) == 2:
        wrong = dict(zip(task.labels, reversed(task.labels)))
        predictions = [p if p in task.labels else wrong[e.target] for p, e in zip(predictions, examples)]
    return {metric: 100 * METRICS[metric](predictions, examples, task.labels) for metric in task.metrics}


# What a label is called in another data set, by its equal or by a coarser word.
ALSO = {"equivalent": "duplicate", "not_equivalent": "not_duplicate", "duplicate": "equivalent",
        "not_duplicate": "not_equivalent", "neutral": "not_entailment", "contradiction": "not_entailment"}


def common_labels(trained, other):
    """How answers to one task are scored on another: (the task to score as, label -> its word there).

    Both tasks' labels get a word of whichever has the coarser ones; that the tasks ask the
    same is up to the caller. Free text stays as it is, and a metric must be shared. Raises
    ValueError where the labels or metrics do not meet.

    >>> common_labels("cb", "rte")[0], common_labels("rte", "cb")[0]
    ('rte', 'rte')
    >>> common_labels("qqp", "mrpc")
    ('mrpc', {'not_duplicate': 'not_equivalent', 'duplicate': 'equivalent', 'not_equivalent': 'not_equivalent', 'equivalent': 'equivalent'})
    """
    first, second = find_task(trained), find_task(other)
    if first.labels and second.labels:
        for name in (other, trained):
            there = TASKS[name].labels
            words = {label: label if label in there else ALSO.get(label) for label in first.labels + second.labels}
            if set(words.values()) <= set(there):
                return name, words
    elif first.labels == second.labels and set(first.metrics) & set(second.metrics):
        return other, {}
    says = [f"{name} answers {', '.join(task.labels) or f'free text for {task.metrics[0]}'}"
            for name, task in ((trained, first), (other, second))]
    raise ValueError("; ".join(says) + ": no labels in common")


def majority(name, train, dev):
    """What the commonest target of the training set would score on dev, in percent."""
    commonest = Counter(example.target for example in train).most_common(1)[0][0]
    return next(iter(score(name, [commonest] * len(dev), dev).values()))


# -------------------------------------------------------------------- downloads

FAIR = "https://dl.fbaipublicfiles.com/"
SQUAD = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
HUB = "https://huggingface.co"
SHORT_NAMES = {f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}
TIMEOUT, TRIES, PAUSE = 60, 4, 2  # seconds without a byte; attempts; seconds before the second one

# A folder of the data folder, or one file of it -> (the zip with its files, or the file
# itself; bytes; SHA-256). The publishers' files of 2026-11.
ARCHIVES = {
    "superglue/BoolQ": (FAIR + "glue/superglue/data/v2/BoolQ.zip", 4118001,
                        "853fbe7922f70c59629f06a39e8d9ca440c3d740e760fd3b87a5ddf3dcba2436"),
    "superglue/CB": (FAIR + "glue/superglue/data/v2/CB.zip", 75482,
                     "8d641383298d54554066ba1c93f56ae7410af75df621b90c63028806bbbbb535"),
    "superglue/COPA": (FAIR + "glue/superglue/data/v2/COPA.zip", 43986,
                       "405906cddac74bc1e1ce8220f1107d1025b66a25ef10149d91b10bb30651125f"),
    "superglue/MultiRC": (FAIR + "glue/superglue/data/v2/MultiRC.zip", 1116225,
                          "b3cd440856e72eb166b2edcd37b798455f1ebd51f2c3de64c0c2a4e1971d2737"),
    "superglue/ReCoRD": (FAIR + "glue/superglue/data/v2/ReCoRD.zip", 51757880,
                         "30c7b651ab21b8bf8fab986495cd1084333010e040548f861b839eec0044ac18"),
    "superglue/RTE": (FAIR + "glue/superglue/data/v2/RTE.zip", 750920,
                      "6310aab3f000424c9d0318a1ff20692e07c7f4aa15e8f17a5972ea0a35c398b9"),
    "superglue/WSC": (FAIR + "glue/superglue/data/v2/WSC.zip", 32751,
                      "2ed6dfa94556b4a128ff0441efe365b2e883124e7e6aa00fb8d3a6cb1fd520a9"),
    "superglue/WiC": (FAIR + "glue/superglue/data/v2/WiC.zip", 396213,
                      "ee7e67f4ae9eafbf533780faa198e62167f3cda54256cdf261877be3c0e90900"),
    "glue/CoLA": (FAIR + "glue/data/CoLA.zip", 376971,
                  "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "glue/SST-2": (FAIR + "glue/data/SST-2.zip", 7439277,
                   "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "glue/STS-B": (FAIR + "glue/data/STS-B.zip", 802872,
                   "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "glue/QQP": (FAIR + "glue/data/QQP-clean.zip", None,
                 "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "glue/MNLI": (FAIR + "glue/data/MNLI.zip", 312783507,
                  "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    "glue/QNLI": (FAIR + "glue/data/QNLIv2.zip", 10627589,
                  "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "glue/MRPC/msr_paraphrase_train.txt": (
        FAIR + "senteval/senteval_data/msr_paraphrase_train.txt", 1047044,
        "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89"),
    "glue/MRPC/mrpc_dev_ids.tsv": (FAIR + "glue/data/mrpc_dev_ids.tsv", 6222,
                                   "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7"),
    "squad/train-v1.1.json": (SQUAD + "train-v1.1.json", 30288272,
                              "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"),
    "squad/dev-v1.1.json": (SQUAD + "dev-v1.1.json", 4854279,
                            "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9"),
}
# What cannot be fetched: a folder of the data folder -> where its files are obtained.
BY_HAND = {
    "conll03": "the annotation is at https://www.clips.uantwerpen.be/conll2003/ner/, its texts (Reuters "
               "Corpus, Volume 1) are licensed by NIST",
    "conll04": "scripts/fetch_datasets.sh of https://github.com/lavis-nlp/spert downloads them",
    "conll05": "words/* and props/* in each of the two; the annotation is at "
               "https://www.cs.upc.edu/~srlconll/, its texts (Penn Treebank, LDC99T42) are licensed by the LDC",
    "conll12": "*gold_conll files at any depth of the two; the annotation is at "
               "https://conll.cemantix.org/2012/, its texts (OntoNotes 5.0, LDC2013T19) are licensed by the LDC",
    "ontonotes": "*gold_conll files at any depth of the two, the same as those of conll12 (OntoNotes 5.0, "
                 "LDC2013T19, licensed by the LDC)",
}


def cache_folder(cache=None):
    """Where downloads are kept: `cache`, or $PANDA_T5_CACHE, or the user's cache folder (XDG)."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(cache or os.environ.get("PANDA_T5_CACHE") or home / "panda-t5")


class NotTheFile(OSError):
    """What has arrived is not, and cannot become, what was asked for."""


@contextlib.contextmanager
def locked(path):
    """The open file `path`, made if need be, once no other process has it."""
    while True:
        file = open(path, "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that fetches {path.stem}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever had it may have renamed or removed it: then this is not the file of that name.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    with file:
        yield file


def transfer(url, file, whole):
    """Add what is missing of `url` to the open file. `whole`: its checksum is known.

    Goes on where the file ends, if the server can and what it has is surely still the
    same: it names its version (ETag), or there is a checksum to see it by.
    """
    tag = Path(f"{file.name}.etag")
    have, known = file.tell(), tag.read_text() if tag.exists() else None
    if have and not (known or whole):
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and known:
        headers["If-Range"] = known
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if response.status == 206:
            first, _, total = content_range(response.headers.get("Content-Range", ""))
            if first != have or known not in (None, response.headers.get("ETag", known)):
                raise NotTheFile(f"{url}: asked to go on from byte {have} of version {known}, got "
                                 f"{response.headers.get('Content-Range')} of {response.headers.get('ETag')}")
        else:
            have = 0
        file.truncate(have)
        file.seek(have)  # which truncate leaves where it was
        if response.headers.get("ETag", "W/").startswith("W/"):  # none, or one that promises too little
            tag.unlink(missing_ok=True)
        else:
            tag.write_text(response.headers["ETag"])
        began = said = time.time()
        got = have
        while block := response.read(1 << 16):
            file.write(block)
            got += len(block)
            if time.time() - said > (0.5 if sys.stderr.isatty() else 10):
                said = time.time()
                print_progress(url, got, total, (got - have) / (said - began))
        file.flush()
    print_progress(url, got, total, (got - have) / max(time.time() - began, 1e-3), end="\n")
    if total is not None and got != total:
        raise OSError(f"{url}: {got} of {total} bytes arrived")


def content_range(text):
    """First byte, last byte, bytes in all.

    >>> content_range("bytes 100-299/300")
    (100, 299, 300)
    """
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
    if not found:
        raise NotTheFile(f"the server answers a range with {text!r}")
    return tuple(map(int, found.groups()))


def print_progress(url, got, total, speed, end=None):
    share = f" of {total / 1e6:.1f} MB, {100 * got / total:.0f} %" if total else " MB"
    end = end or ("\r" if sys.stderr.isatty() else "\n")
    print(f"{url.rsplit('/', 1)[-1]}: {got / 1e6:.1f}{share}, {speed / 1e6:.1f} MB/s  ", end=end,
          file=sys.stderr, flush=True)


def verify(path, size, sha256):
    """Raise NotTheFile if a file has not this size and checksum (None: any)."""
    if size is not None and path.stat().st_size != size:
        raise NotTheFile(f"{path} has {path.stat().st_size} bytes, wanted {size}")
    if sha256 is not None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise NotTheFile(f"{path} is not the published file: SHA-256 {found}, wanted {sha256}")


def fetch(url, path, size=None, sha256=None):
    """Download `url` to `path`, whole or not at all; does nothing if it is there.

    A broken transfer is tried again and goes on where it stopped, also in the next
    call: what has arrived waits in `path`.part. Processes that want the same file wait
    for each other. Raises OSError if it cannot be had, or is not what was asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with locked(part) as file:
        try:
            for attempt in range(TRIES):
                if path.exists():  # another process was faster
                    return
                resumed = file.tell() > 0
                try:
                    print(f"fetching {url}", file=sys.stderr)
                    transfer(url, file, sha256 is not None)
                    verify(part, size, sha256)
                    os.replace(part, path)
                    Path(f"{part}.etag").unlink(missing_ok=True)
                    return
                except (OSError, http.client.HTTPException) as error:
                    code = getattr(error, "code", None)  # of an answer that is an HTTP error
                    useless = isinstance(error, NotTheFile) or code == 416
                    if useless:
                        file.truncate(0)
                        file.seek(0)
                    # What was gone on from may be to blame; what came whole is what they have.
                    final = (useless and not resumed) or (code and code < 500 and code not in (408, 416, 429))
                    if final or attempt + 1 == TRIES:
                        if isinstance(error, OSError):
                            raise
                        raise OSError(f"{url}: {error!r}") from None
                    print(f"{error!r}; trying again", file=sys.stderr)
                    time.sleep(PAUSE * 2 ** attempt)
        finally:
            with contextlib.suppress(FileNotFoundError):
                if not part.stat().st_size:
                    Path(f"{part}.etag").unlink(missing_ok=True)
                    part.unlink()


def archive_of(file):
    """The key in ARCHIVES of what a file comes from: itself, or its folder; None if nothing is known."""
    return next((key for key in (file, file.rpartition("/")[0]) if key in ARCHIVES), None)


def obtain(file, root):
    """Fetch one file of the data folder, by itself or with its archive.

    Only the named members are taken out, to the names of the table: nothing that an
    archive says can lead out of the folder.
    """
    key = archive_of(file)
    url, size, sha256 = ARCHIVES[key]
    target = root / file
    path = target if key == file else root / "archives" / f"{key}.zip"
    try:
        fetch(url, path, size, sha256)
        if path != target:
            verify(path, size, sha256)  # it may have been put there by hand
    except OSError as error:
        raise ValueError(f"{url} could not be had ({error}). By hand: put that file at {path}, or "
                         f"give a folder with {file} in it as --data FOLDER") from None
    if path == target:
        return
    with zipfile.ZipFile(path) as archive:
        member = "/".join(target.parts[-2:])
        if member not in archive.namelist():
            raise ValueError(f"{path} holds no {member}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            with archive.open(member) as source, open(partial, "wb") as copy:
                while block := source.read(1 << 20):
                    copy.write(block)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def checkpoint(name, hub=HUB, cache=None, weights=True):
    """The folder of a T5: a folder as it is, or a published name fetched once.

    Names: t5-small … t5-11b, or owner/repository as in google/t5-base-lm-adapt.
    weights=False: only its vocabulary is needed.
    Raises ValueError that says which files to put where if there is no network.
    """
    if Path(name).is_dir():
        return Path(name)
    if name not in SHORT_NAMES and (name.count("/") != 1 or name.startswith((".", "/"))):
        near = difflib.get_close_matches(name, SHORT_NAMES, n=2)
        raise ValueError(f"{name!r} is neither a folder nor a model's name"
                         f"{'; did you mean ' + ' or '.join(near) if near else ''} "
                         f"(known: {', '.join(sorted(SHORT_NAMES))}, google/t5-base-lm-adapt, …)")
    folder = cache_folder(cache) / "models" / name
    forms = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")

    def get(file):
        if not (folder / file).exists():
            fetch(f"{hub}/{name}/resolve/main/{file}", folder / file)

    try:
        for file in ("config.json", "spiece.model") if weights else ("spiece.model",):
            get(file)
        if weights and not any((folder / file).exists() for file in forms):
            for file in forms:  # the first form that is published
                try:
                    get(file)
                    break
                except urllib.error.HTTPError as error:
                    if error.code != 404 or file == forms[-1]:
                        raise
        index = folder / "model.safetensors.index.json"
        if weights and index.exists():
            try:
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{index} is no index of weights; delete it and try again") from None
            for file in shards:
                if Path(file).name != file:
                    raise ValueError(f"{index} names {file!r}, which is no plain file name")
                get(file)
    except OSError as error:
        if not weights:
            raise ValueError(f"the vocabulary of {name} could not be fetched from {hub}/{name} ({error}). By "
                             f"hand: give a folder with its spiece.model in it as --model") from None
        raise ValueError(f"{name} could not be fetched from {hub}/{name} ({error}). By hand: put its "
                         f"config.json, spiece.model and model.safetensors (or pytorch_model.bin) "
                         f"into {folder}, or give their folder as --model") from None
    return folder


def print_tasks():
    print(f"{'task':12} {'train':>7} {'dev':>6}  metrics; labels; files")
    for name, task in TASKS.items():
        sizes = task.sizes if task.files else world.SIZES[name.removeprefix("toy-")]
        where = ("generated" if not task.files else "fetched: " if archive_of(task.files[0])
                 else "by hand: ") + ", ".join(task.files)
        print(f"{name:12} {sizes[0] if sizes else '?':>7} {sizes[1] if sizes else '?':>6}  "
              f"{', '.join(task.metrics)}; {', '.join(task.labels) or 'free text'}; {where}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", nargs="?", help="show examples of this task")
    parser.add_argument("--data", help="folder with the official files (default: fetched into the cache)")
    parser.add_argument("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or the user's cache)")
    parser.add_argument("--model", help="folder with a spiece.model, or name, whose vocabulary counts the tokens "
                        "(default: the toy T5 for toy tasks, else t5-small)")
    parser.add_argument("--max-input", type=int, default=512, help="tokens of an input (default: 512)")
    parser.add_argument("--count", type=int, default=3, help="how many dev examples to show (default: 3)")
    args = parser.parse_args()
    if args.task is None:
        print_tasks()
        return
    find_task(args.task)
    toy_model = str(Path(__file__).parent / "toy" / "t5")
    name = args.model or (toy_model if args.task.startswith("toy-") else "t5-small")
    for option, least in (("max_input", 2), ("count", 0)):
        if getattr(args, option) < least:
            raise ValueError(f"--{option.replace('_', '-')} is {getattr(args, option)}, wanted {least} or more")
    train, dev = load(args.task, args.data, args.cache)
    tokenizer = Tokenizer(checkpoint(name, cache=args.cache, weights=False) / "spiece.model")
    print(f"{args.task}: {len(train)} train, {len(dev)} dev, {TASKS[args.task].metrics[0]} of the "
          f"commonest target {majority(args.task, train, dev):.1f}")
    rows, _ = tokenizer.encode_inputs(dev[:args.count], args.max_input)
    for example, ids in zip(dev, rows):
        whole, target = tokenizer.encode(example.input), tokenizer.encode(example.target)
        cut = f", cut from {len(whole)}" if len(ids) < len(whole) else ""
        print(f"\ninput  ({len(ids)} tokens{cut})  {tokenizer.decode(ids) if cut else example.input}"
              f"\ntarget ({len(target)} tokens)  {example.target}"
              + (f"\nscored against  {' | '.join(example.golds)}" if example.golds else ""))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"data.py: {error}", file=sys.stderr)
        sys.exit(2)

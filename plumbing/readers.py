"""The official files of the 21 tasks, as rows: path -> (place, {column: text}) of each row.

Two kinds of function. A reader takes a path and knows a file format (JSON lines, .tsv, SQuAD,
CoNLL). A row maker takes one row of a file and gives the rows that it becomes, with the columns
that the task's template names.

A row that is to be skipped says so under "skip", one that was mended under "fixed"; both are
counted, and what else becomes of a row, by plumbing/examples.py. A label or answer that is not
there is None: the row is skipped, unless inputs only are read. A quotation mark in a .tsv file is
a character like any other.
"""

import gzip
import itertools
import json
import re
import string
from pathlib import Path

import numpy


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
    """A row's columns by the names in the first line, or in `header` if the file has none."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split("\t")
            if header is None:
                header = cells
            elif cells != [""]:
                place = f"{path}, line {number}"
                if len(cells) > len(header):
                    raise ValueError(f"{place}: {len(cells)} columns, wanted {len(header)}")
                # Which one is missing, nobody knows.
                short = {"skip": "fewer columns than the header"}
                yield place, dict(zip(header, cells)) if len(cells) == len(header) else short


def read_cola(path):
    """A tsv without a header."""
    return read_tsv(path, ("source", "label", "mark", "sentence"))


def read_txt(path):
    """A line is a text, whatever the task."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            yield f"{path}, line {number}", {"text": line}


def read_mrpc(path):
    """MRPC is two raw files: the pairs, and the ids of those that are dev. `path` is either."""
    with open_text(path.with_name("mrpc_dev_ids.tsv")) as file:
        dev = {tuple(line.split()) for line in file}
    wants_dev = path.name == "mrpc_dev_ids.tsv"
    for place, row in read_tsv(path.with_name("msr_paraphrase_train.txt")):
        if "skip" in row or ((row["#1 ID"], row["#2 ID"]) in dev) == wants_dev:
            first, second = row.get("#1 String"), row.get("#2 String")
            yield place, row | {"sentence1": first, "sentence2": second}


def read_squad(path):
    with open_text(path) as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                golds = [answer["text"] for answer in question.get("answers", [])]
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
    """(place, rows of cells) of each sentence of a CoNLL file: a token a line, an empty line."""
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
    arguments = [span for span in spans if span[0] not in ("V", "C-V")]
    return {"predicate": verbs[0], "sentence": " ".join(words),
            "arguments": spans_as_text(arguments, words)}


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
                raise ValueError(f"{place}: the words are left out; join the files with OntoNotes "
                                 "first")
            columns = at(place, columns_of, rows)
            if predicates:
                for cells in columns[11:-1]:
                    yield place, at(place, predicate_row, words, cells)
            else:
                yield place, sentence_row(words, at(place, bracketed, columns[10]))


def read_conll12(path):
    """The same files for their predicates."""
    return read_ontonotes(path, predicates=True)


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
    label = row.get("label")
    if train and label is False:
        yield {"skip": "labelled false, names no referent"}
        return
    words, pronoun = row["text"].split(), row["target"]["span2_text"]
    found = [i for i, word in enumerate(words) if word.strip(string.punctuation) == pronoun]
    if not found:
        raise ValueError(f"the pronoun {pronoun!r} is not in the text")
    index = row["target"]["span2_index"]
    at = min(found, key=lambda i: abs(i - index))
    words[at] = words[at].replace(pronoun, f"*{pronoun}*", 1)
    moved = "pronoun not at its index, the nearest one taken"
    # Without a label, nobody knows whether it is the referent.
    referent = None if label is None else row["target"]["span1_text"]
    yield {"text": " ".join(words), "referent": referent, "golds": [str(label)],
           "fixed": "" if at == index else moved}


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
    """One row for each query. Entities in order and once each; summary lines become sentences."""
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
    if not row.get("score"):
        yield row | {"rounded": None}
    else:
        score = float(row["score"])
        if not 0 <= score <= 5:
            raise ValueError(f"score {row['score']}, wanted 0 to 5")
        rounded = numpy.round(numpy.float32(score) * 5) / 5
        yield row | {"rounded": f"{rounded:.1f}", "golds": [row["score"]]}


def rows_of(path, read, rows, train):
    """(place, row) of a file, several for one where a record holds several examples.

    read    the file's reader; None: by its suffix
    rows    (row, train or not) -> the rows that it becomes; None: one, as it is
    Raises ValueError with the place for a file that is not in the official format.
    """
    read = read or {".jsonl": read_jsonl, ".tsv": read_tsv}.get(path.suffix)
    if read is None:
        raise ValueError(f"{path}: of itself a task reads .jsonl and .tsv; other files need "
                         "their read=")
    place = path
    try:
        for place, row in read(path):
            if rows is None or "skip" in row:
                yield place, row
            else:
                for made in at(place, list, rows(row, train)):
                    yield place, made
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None
    except (json.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{place}: not in the official format, "
                         f"{type(error).__name__}: {error}") from None

"""The official files of the 21 tasks, as rows: path -> (place, {column: text}) of each row.

Two kinds of function. A reader takes a path and knows a file format (JSON lines, .tsv, SQuAD,
CoNLL). A row maker takes one row of a file and gives the rows that it becomes, with the columns
that the task's template names.

A row that is to be skipped says so under SKIP, one that was mended under FIXED; both are counted,
and what else becomes of a row, by plumbing/examples.py. A label or answer that is not there is
None: the row is skipped, unless inputs only are read. A quotation mark in a .tsv file is a
character like any other.
"""

import gzip
import itertools
import json
import math
import re
import string
import zlib
from pathlib import Path
from reprlib import repr as shown  # of a long text or a deep list, the beginning

import numpy

# What is said of a row beside its columns. No text, so that no column of a file is called so.
SKIP, FIXED, GOLDS, GROUP = range(4)


def lines(path):
    """(place, line) of a text file, .gz or not, without its byte order mark; only line feeds end
    a line. Raises ValueError for what is no such file: a folder, a pipe, a cut .gz, not UTF-8.
    """
    if not Path(path).is_file():  # a pipe would be waited for
        raise ValueError(f"{path} is missing, a folder or a pipe, wanted a file")
    number = 0
    try:
        with (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8" if number > 1 else "utf-8-sig")
                yield f"{path}, line {number}", text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: line {number}, {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read after line {number}: {error}") from None


def texts(path):
    """The same of a file where each line counts: one with another line end in it is refused."""
    for place, line in lines(path):
        if "\r" in line.rstrip("\r\n"):
            raise ValueError(f"{place}: a carriage return in the line, wanted line feeds between "
                             "lines")
        yield place, line


def parsed(place, text):
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON: {error}") from None
    except ValueError:
        raise ValueError(f"{place}: a number of more digits than can be read") from None
    except RecursionError:
        raise ValueError(f"{place}: lists or objects nested too deep to be read") from None


WANTED = {str: "a text", bool: "true or false", int: "a whole number", list: "a list",
          dict: "an object"}


def fits(value, shape, name=""):
    """Raise ValueError, with the name of the part, for a JSON value that has not this shape.

    shape: a type; [shape], a list; {field: shape}, where a "field?" may be missing or null.

    >>> fits({"tokens": ["Ada", "sat"], "other": 3}, {"tokens": [str], "idx?": int})
    >>> fits({"tokens": ["Ada", 7]}, {"tokens": [str]})
    Traceback (most recent call last):
    ValueError: 'tokens[1]' is 7, wanted a text
    """
    kind = shape if isinstance(shape, type) else type(shape)
    if type(value) is not kind:
        found = "missing" if value is None else shown(value)
        raise ValueError(f"{name or 'all of it'!r} is {found}, wanted {WANTED[kind]}")
    for i, part in enumerate(value if kind is list else ()):
        fits(part, shape[0], f"{name}[{i}]")
    for field, inner in shape.items() if kind is dict else ():
        part = value.get(field.rstrip("?"))
        if part is not None or field[-1] != "?":
            fits(part, inner, f"{name}.{field}".strip(".?"))


def read_jsonl(path):
    for place, line in lines(path):
        row = parsed(place, line)
        if not isinstance(row, dict):
            raise ValueError(f"{place}: not a JSON object")
        yield place, row


def read_tsv(path, header=None):
    """A row's columns by the names in the first line, or in `header` if the file has none."""
    for place, line in lines(path):
        cells = line.rstrip("\r\n").split("\t")
        if header is None:
            header = cells
            if len({*header}) < len(header):
                raise ValueError(f"{place}: two columns of one name in {shown(header)}")
        elif cells != [""]:
            if len(cells) > len(header):
                raise ValueError(f"{place}: {len(cells)} columns, wanted {len(header)}")
            # Which one is missing, nobody knows.
            short = {SKIP: "fewer columns than the header"}
            yield place, dict(zip(header, cells)) if len(cells) == len(header) else short


def read_cola(path):
    """A tsv without a header."""
    return read_tsv(path, ("source", "label", "mark", "sentence"))


def read_txt(path):
    """A line is a text, whatever the task."""
    for place, line in texts(path):
        yield place, {"text": line}


def read_mrpc(path):
    """MRPC is two raw files: the pairs, and the ids of those that are dev. `path` is either."""
    pairs, met = path.with_name("msr_paraphrase_train.txt"), set()
    dev = {tuple(line.split()): place for place, line in lines(path.with_name("mrpc_dev_ids.tsv"))}
    wants_dev = path.name == "mrpc_dev_ids.tsv"
    for place, row in read_tsv(pairs):
        ids = () if SKIP in row else (row["#1 ID"], row["#2 ID"])
        met.add(ids)
        if not ids or (ids in dev) == wants_dev:
            first, second = row.get("#1 String"), row.get("#2 String")
            yield place, row | {"sentence1": first, "sentence2": second}
    for ids, place in dev.items():
        if ids not in met:
            raise ValueError(f"{place}: {shown(' '.join(ids))}, wanted the two ids of a row of "
                             f"{pairs}")


SQUAD = {"data": [{"paragraphs": [{"context": str, "qas": [
    {"id": str, "question": str, "answers?": [{"text": str}]}]}]}]}


def read_squad(path):
    """A list of paragraphs or questions that is empty becomes a row without a question."""
    squad = parsed(path, "".join(line for _, line in lines(path)))
    at(path, fits, squad, SQUAD)
    for article in squad["data"]:
        for paragraph in article["paragraphs"] or [{"qas": []}]:
            for question in paragraph["qas"] or [{}]:
                golds = [answer["text"] for answer in question.get("answers") or []]
                yield f"{path}, question {question.get('id')}", {
                    "question": question.get("question"), "context": paragraph.get("context"),
                    "answer": golds[0] if golds else None, GOLDS: golds}


# Types of entities as words, one word for one thing in all sets; others in lower case.
KINDS = {"PER": "person", "Peop": "person", "LOC": "location", "Loc": "location",
         "ORG": "organization", "Org": "organization", "MISC": "miscellaneous",
         "NORP": "nationality or group", "GPE": "country or city", "FAC": "facility"}


def spans_as_text(spans, words):
    """[(kind, from, to)] over words -> "kind : words ; kind : words", in order, or "none".

    >>> spans_as_text([("person", 3, 4), ("location", 0, 2)], "New York met Ada".split())
    'location : New York ; person : Ada'
    """
    for kind, start, end in spans:
        if not (0 <= start < end <= len(words) and kind.strip()
                and "".join(words[start:end]).strip()):
            raise ValueError(f"(type, from, to) is {shown((kind, start, end))}, wanted a part of "
                             f"{len(words)} words")
    return " ; ".join(f"{kind} : {' '.join(words[start:end])}" for kind, start, end
                      in sorted(spans, key=lambda span: span[1:])) or "none"


def sentence_row(words, entities):
    named = [(KINDS.get(kind, kind.lower().replace("_", " ")), *span) for kind, *span in entities]
    return {"sentence": " ".join(words), "entities": spans_as_text(named, words)}


CONLL04 = {"tokens": [str], "entities": [{"type": str, "start": int, "end": int}]}


def read_conll04(path):
    """The layout of SpERT (Eberts and Ulges 2020): tokens and entity spans."""
    rows = parsed(path, "".join(line for _, line in lines(path)))
    at(path, fits, rows, [{}])
    for number, row in enumerate(rows, 1):
        place = f"{path}, sentence {number}"
        at(place, fits, row, CONLL04)
        yield place, at(place, sentence_row, row["tokens"], [
            (e["type"], e["start"], e["end"]) for e in row["entities"]])


def blocks(path):
    """(place, rows of cells) of each sentence of a CoNLL file: a token a line, an empty line."""
    rows = []
    for number, (_, line) in enumerate(texts(path), 1):
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


def columns_of(rows, least=1, most=math.inf):
    """The columns of rows that are all as long, at least and at most so many."""
    few, many = min(map(len, rows)), max(map(len, rows))
    if few < many:
        raise ValueError(f"rows of {few} and of {many} columns")
    if not least <= many <= most:
        raise ValueError(f"{many} columns, wanted {least}{' or more' * (most > least)}")
    return list(zip(*rows))


def tagged(tags):
    """Spans of B-, I- and O tags; an I- of another type than before it begins a span, too.

    >>> tagged(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5)]
    """
    spans, last = [], "O"
    for i, tag in enumerate(tags):
        if not re.fullmatch(r"O|[BI]-\w+", tag):
            raise ValueError(f"tag {shown(tag)}, wanted O, B-TYPE or I-TYPE")
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
        if not re.fullmatch(r"(\([^(*)]+)*\*?\)*", cell):
            raise ValueError(f"{shown(cell)}, wanted (ROLE*, * or *)")
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
    """Columns: word, part of speech, chunk, entity."""
    for place, rows in blocks(path):
        words, _, _, tags = at(place, columns_of, rows, 4, 4)
        yield place, sentence_row(words, at(place, tagged, tags))


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
            columns = at(place, columns_of, rows, 12)
            words = [ESCAPED.get(word, word) for word in columns[3]]
            if [*columns[2]] != [str(i) for i in range(len(rows))]:
                raise ValueError(f"{place}: the third column is {shown(columns[2])}, wanted the "
                                 "words' numbers from 0")
            if "[WORD]" in words:
                raise ValueError(f"{place}: the words are left out; join the files with OntoNotes "
                                 "first")
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


WSC = {"text": str, "label?": bool,
       "target": {"span1_text": str, "span2_text": str, "span2_index": int}}


def wsc(row, train):
    """The pronoun between stars; the target is what the row says it refers to, true or not."""
    fits(row, WSC)
    label = row.get("label")
    if train and label is False:
        yield {SKIP: "labelled false, names no referent"}
        return
    words, pronoun = row["text"].split(), row["target"]["span2_text"]
    found = [i for i, word in enumerate(words) if word.strip(string.punctuation) == pronoun]
    if not found or not pronoun:
        raise ValueError(f"the pronoun {shown(pronoun)} is not in the text")
    index = row["target"]["span2_index"]
    at = min(found, key=lambda i: abs(i - index))
    words[at] = words[at].replace(pronoun, f"*{pronoun}*", 1)
    moved = "pronoun not at its index, the nearest one taken"
    # Without a label, nobody knows whether it is the referent.
    referent = None if label is None else row["target"]["span1_text"]
    yield {"text": " ".join(words), "referent": referent, GOLDS: [str(label)],
           FIXED: "" if at == index else moved}


MULTIRC = {"idx": int, "passage": {"text": str, "questions": [
    {"idx": int, "question": str, "answers": [{"text": str}]}]}}


def multirc(row, train):
    """One row for each answer of each question; the paragraph's markup and numbering go.

    Without questions or answers it is a row without them.
    """
    fits(row, MULTIRC)
    text = re.sub(r"<b>Sentence \d+: ?</b>|</?\w+ ?/?>", " ", row["passage"]["text"])
    for question in row["passage"]["questions"] or [{"answers": []}]:
        for answer in question["answers"] or [{}]:
            # Together, because three answers are empty: a column alone must not be.
            both = f"{question['question']} answer: {answer['text']}" if answer else None
            yield {"question and answer": both, "paragraph": text, "label": answer.get("label"),
                   GROUP: f"{row['idx']} {question.get('idx')}"}


RECORD = {"passage": {"text": str, "entities": [{"start": int, "end": int}]},
          "qas": [{"query": str, "answers?": [{"text": str}]}]}


def record(row, train):
    """One row for each query. Entities in order and once each; summary lines become sentences."""
    fits(row, RECORD)
    text = row["passage"]["text"]
    marks = [(e["start"], e["end"] + 1) for e in row["passage"]["entities"]]
    names = dict.fromkeys(text[start:end] for start, end in sorted(marks))
    for start, end in marks:
        if not (0 <= start < end <= len(text) and text[start:end].strip()):
            raise ValueError(f"entity (from, to) is {shown((start, end - 1))}, wanted a part of "
                             f"the {len(text)} characters")
    passage = re.sub(r"(?<=[.?!\"']) ?@highlight ?", " ", " ".join(text.split()))
    passage = re.sub(r" ?@highlight ?", ". ", passage)
    for query in row["qas"] or [{}]:
        golds = list(dict.fromkeys(answer["text"] for answer in query.get("answers") or []))
        yield {"query": query.get("query"), "entities": ", ".join(names), "passage": passage,
               "answer": golds[0] if golds else None, GOLDS: golds}


def stsb(row, train):
    """The score to the nearest 0.2, halves to the even fifth, as T5 learned it (its own
    preprocessor, in fp32); the metric takes the file's own score.

    >>> next(stsb({"score": "3.700"}, True))["rounded"]
    '3.6'
    """
    if not row.get("score"):
        yield row | {"rounded": None}
    else:
        score = row["score"]
        if not re.fullmatch(r"[0-4](\.[0-9]+)?|5(\.0+)?", score):
            raise ValueError(f"score {shown(score)}, wanted 0 to 5")
        rounded = numpy.round(numpy.float32(float(score)) * 5) / 5
        yield row | {"rounded": f"{rounded:.1f}", GOLDS: [score]}


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
            if rows is None or SKIP in row:
                yield place, row
            else:
                for made in at(place, list, rows(row, train)):
                    yield place, made
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{place}: not in the official format, "
                         f"{type(error).__name__}: {error}") from None

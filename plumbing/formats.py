"""The official files of the 21 tasks, and a user's own files, as Examples.

    read_examples(name, task, path, train)   the Examples of one file
    task_from_file(path)                     a task from a user's .jsonl, .csv or .tsv

Three steps lead from a file to its examples.

    reader      path -> Rows. It knows a file format: JSON lines, .tsv, .csv, SQuAD, CoNLL.
    row maker   one Row -> the Rows it becomes. Only for wsc, stsb, multirc and record.
    template    one Row -> one Example. The columns are filled into the task's input.

A row that is not as it should be is

    fixed, counted     a pronoun of WSC that is not at its index: the nearest one is taken
    skipped, counted   a text, label or answer that is missing or empty; fewer cells than the
                       header; no gold label (MNLI's "-"); in WSC's training set the pairs
                       labelled false, which name no referent
    an error           anything else, with the file and the line

The strings are those of T5's own preprocessors, without the name of the task. A task here is an
entry of data.TASKS, of which only the fields are used. A quotation mark in a .tsv file is a
character like any other.

Not here: test files without labels, other character sets than UTF-8.
"""

import contextlib
import csv
import gzip
import itertools
import json
import re
import string
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from reprlib import repr as shortened  # the beginning of a long text or a deep list

import numpy

from plumbing.files import read_json

COLUMN = re.compile(r"{([^{}]+)}")


@dataclass(frozen=True)
class Example:
    """One row as text to text.

    golds   what the metric compares with, where that is not the target
    group   the question of MultiRC, whose answers are scored together
    long    which part of the input may be cut, [from, to), in characters
    """

    input: str
    target: str
    golds: tuple = ()
    group: str = ""
    long: tuple = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class Row:
    """One row of a file.

    where     the file and line, for messages
    columns   name -> value
    golds     all right answers, where there are several
    group     see Example
    skip      why the row is left out, "" if it is not
    fixed     what was mended, "" if nothing was
    """

    where: str
    columns: dict
    golds: tuple = ()
    group: str = ""
    skip: str = ""
    fixed: str = ""


@contextlib.contextmanager
def naming_row(where):
    """Put the file and line in front of what is wrong with a row."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


# ----------------------------------------------------------------------- the task's template


def columns_in(template):
    """The columns that a task's input names, in order.

    >>> columns_in("hypothesis: {sentence2} premise: {sentence1}")
    ['sentence2', 'sentence1']
    """
    return COLUMN.findall(template)


def split_at_cut(task):
    """A task's template before and after the column that may be cut, which is the last by default.

    >>> from types import SimpleNamespace
    >>> split_at_cut(SimpleNamespace(input="text: {text} question: {question}", cut="text"))
    ('text: ', ' question: {question}')
    """
    cut = task.cut or columns_in(task.input)[-1]
    before, _, after = task.input.partition("{%s}" % cut)
    return before, after


def fill(template, texts):
    """Put the texts into a template.

    >>> fill("question: {question}", {"question": "Is {this} a brace?"})
    'question: Is {this} a brace?'
    """
    return COLUMN.sub(lambda match: texts[match[1]], template)


def long_part(task, text):
    """Which part of an input in the task's form may be cut, [from, to); (0, 0) if none is seen.

    >>> from types import SimpleNamespace
    >>> boolq = SimpleNamespace(input="passage: {passage} question: {question}", cut="passage")
    >>> text = "passage: The soup was cold. question: was it warm"
    >>> text[slice(*long_part(boolq, text))]
    'The soup was cold.'
    """
    if not columns_in(task.input):
        return 0, 0
    before, after = split_at_cut(task)
    word_before = before.rpartition("}")[2]
    word_after = after.partition("{")[0]
    position = text.find(word_before)
    start = position + len(word_before)
    end = text.rfind(word_after) if word_after else len(text)
    if position < 0 or end < start:
        return 0, 0
    return start, end


def check_task(task, metric_names):
    """Raise ValueError for an entry of data.TASKS that could not be read or scored."""
    columns = columns_in(task.input)
    if task.files and not columns:
        raise ValueError(f"a task's input {task.input!r} names no {{column}}")
    if task.cut and task.cut not in columns:
        raise ValueError(f"cut={task.cut!r} is no column of the input {task.input!r}")
    known = isinstance(task.metrics, tuple) and set(task.metrics) <= set(metric_names)
    if not known or not task.metrics:
        names = ", ".join(metric_names)
        raise ValueError(f"metrics are {task.metrics!r}, wanted a tuple of {names}")
    for values in filter(None, (task.labels, task.codes)):
        if not isinstance(values, tuple) or not 2 <= len(set(values)) == len(task.labels):
            raise ValueError(f"labels or codes are {values!r}, wanted a tuple of two or more "
                             "texts, a different one for each label")


# --------------------------------------------------------------------------- rows as examples


def read_examples(name, task, path, train):
    """The Examples of one file of a task.

    name    the task's name, for messages
    task    an entry of data.TASKS
    train   whether this is the training file: WSC and ReCoRD make other rows of it
    Prints on standard error what was skipped or fixed, and whether the file is the published one.
    Raises ValueError with file and line for a row that is wrong, and for a file without a usable
    row.
    """
    needed = [*columns_in(task.input), task.target]
    examples = []
    notes = Counter()
    columns = {}
    for row in rows_of(task, path, train):
        columns = row.columns
        skip = row.skip or reason_to_skip(task, row, needed)
        if skip:
            notes[f"skipped: {skip}"] += 1
            continue
        if row.fixed:
            notes[f"fixed: {row.fixed}"] += 1
        with naming_row(row.where):
            examples.append(example_of(task, row))
    if not examples:
        counts = "".join(f"; {count} {note}" for note, count in notes.items())
        names = f"; its columns are {', '.join(columns):.300}" if columns else ""
        raise ValueError(f"{path} has no usable row{counts}{names}")
    for note, count in notes.items():
        print(f"{name}: {count} rows of {path} {note}", file=sys.stderr)
    published = task.sizes[0 if train else 1] if task.sizes else len(examples)
    if len(examples) != published:
        print(f"{name}: {len(examples)} examples in {path}, the published file has {published}",
              file=sys.stderr)
    return examples


def rows_of(task, path, train):
    """The Rows of a file, several for one where a record holds several examples."""
    read = task.read or reader_for(path)
    for row in read(Path(path)):
        if task.rows is None or row.skip:
            yield row
            continue
        with naming_row(row.where):
            new_rows = list(task.rows(row, train))
        yield from new_rows


def reason_to_skip(task, row, needed):
    """Why a row cannot become an example, "" if it can."""
    for column in needed:
        value = row.columns.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"no {column}"
    if task.labels and row.columns[task.target] == "-" and "-" not in task.labels:
        return "no gold label"  # MNLI: the annotators did not agree
    return ""


def example_of(task, row):
    """One Row as an Example: the template filled, each run of white space as one space."""
    texts = {}
    for column in columns_in(task.input):
        texts[column] = one_line(column, row.columns[column])
    before, after = split_at_cut(task)
    cut = task.cut or columns_in(task.input)[-1]
    start = fill(before, texts)
    end = start + texts[cut]
    input_text = end + fill(after, texts)
    target = target_of(task, row.columns[task.target])
    return Example(input_text, target, row.golds, row.group, (len(start), len(end)))


def one_line(column, value):
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} holds {shortened(value)}, wanted a text")
    return " ".join(value.split())


def target_of(task, value):
    """The target text: a label for its code in the file, or free text."""
    if not task.labels:
        return one_line(task.target, value)
    codes = dict(zip(task.codes or task.labels, task.labels))
    if str(value) not in codes:
        raise ValueError(f"label {shortened(value)}, wanted one of {', '.join(codes)}")
    return codes[str(value)]


# -------------------------------------------------------------------- lines, JSON and tables


def read_lines(path):
    """(where, line) for each line of a text file, .gz or not, without its byte order mark.

    Only line feeds end a line: texts hold many other signs that Unicode calls line ends.
    Raises ValueError for what is no such file: a folder, a pipe, a cut .gz, no UTF-8.
    """
    path = Path(path)
    if not path.is_file():  # reading from a pipe would wait
        raise ValueError(f"{path} is missing, a folder or a pipe, wanted a file")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield f"{path}, line {number}", text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: line {number}, {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read after line {number}: {error}") from None


def json_value(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON that can be read: {error}") from None


def json_file(path):
    text = "".join(line for _, line in read_lines(path))
    with naming_row(path):
        return json_value(text)


KINDS_OF_JSON = {str: "a text", bool: "true or false", int: "a whole number", list: "a list",
                 dict: "an object"}


def member(record, name, kind):
    """The value of this kind in a JSON object.

    >>> member({"text": "Ada sat."}, "text", str)
    'Ada sat.'
    >>> member({"text": 7}, "text", str)
    Traceback (most recent call last):
    ValueError: 'text' is 7, wanted a text
    """
    value = record.get(name) if isinstance(record, dict) else None
    if type(value) is not kind:
        shown = "missing" if value is None else shortened(value)
        raise ValueError(f"{name!r} is {shown}, wanted {KINDS_OF_JSON[kind]}")
    return value


def texts_of(record, name):
    """The "text" of each object in a list."""
    return [member(answer, "text", str) for answer in member(record, name, list)]


def read_jsonl(path):
    """A JSON object a line. Empty lines are passed over."""
    for where, line in read_lines(path):
        if not line.strip():
            continue
        with naming_row(where):
            columns = json_value(line)
            if not isinstance(columns, dict):
                raise ValueError(f"{shortened(columns)}, wanted a JSON object")
        yield Row(where, columns)


def read_tsv(path, header=None):
    """Cells between tabs. The first line names the columns, if no header is passed."""
    records = ((where, line.rstrip("\r\n").split("\t")) for where, line in read_lines(path))
    yield from table_rows(records, header)


def read_csv(path):
    """Comma-separated cells, quoted where needed. The first line names the columns."""
    yield from table_rows(csv_records(path), None)


def csv_records(path):
    """(where, cells) for each record. A quoted cell may go over several lines."""
    reader = csv.reader((line for _, line in read_lines(path)), strict=True)
    try:
        for cells in reader:
            yield f"{path}, line {reader.line_num}", cells
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def table_rows(records, header):
    """Rows from (where, cells) pairs; the first pair is the header, if none is passed."""
    for where, cells in records:
        if cells in ([], [""]):
            continue
        if header is None:
            header = cells
            if len(set(header)) < len(header):
                raise ValueError(f"{where}: two columns of one name in {shortened(header)}")
        elif len(cells) > len(header):
            raise ValueError(f"{where}: {len(cells)} columns, wanted {len(header)}")
        elif len(cells) < len(header):
            yield Row(where, dict.fromkeys(header), skip="fewer columns than the header")
        else:
            yield Row(where, dict(zip(header, cells)))


READERS = {".jsonl": read_jsonl, ".tsv": read_tsv, ".csv": read_csv}


def reader_for(path):
    """The reader for a file's suffix."""
    if Path(path).suffix not in READERS:
        raise ValueError(f"{path} is none of {', '.join(READERS)}: its task needs a read=")
    return READERS[Path(path).suffix]


def cell(row, column):
    """A column's text. Raises ValueError, with the columns that there are, if it is missing."""
    if column not in row.columns:
        names = ", ".join(row.columns)
        raise ValueError(f"no column {column!r}, the columns are {names}")
    return row.columns[column]


# --------------------------------------------------------------------------------------- GLUE


def read_cola(path):
    """CoLA is a .tsv without a header."""
    return read_tsv(path, ("source", "label", "mark", "sentence"))


def read_mrpc(path):
    """MRPC: the two raw files, or train.tsv and dev.tsv as GLUE's script writes them."""
    if path.name in ("train.tsv", "dev.tsv"):
        rows = read_tsv(path)
    else:
        rows = raw_mrpc_rows(path)
    for row in rows:
        if row.skip:
            yield row
            continue
        with naming_row(row.where):
            pair = {"sentence1": cell(row, "#1 String"), "sentence2": cell(row, "#2 String")}
        yield replace(row, columns=row.columns | pair)


def raw_mrpc_rows(path):
    """The rows of one split. One raw file has all pairs, the other the ids of the dev pairs.

    path: either of the two; the file with the ids stands for dev.
    Raises ValueError if an id is in no row: that pair would be trained on.
    """
    pairs = path.with_name("msr_paraphrase_train.txt")
    wanted_split = path.name == "mrpc_dev_ids.tsv"
    dev_ids = {tuple(line.split()) for _, line in read_lines(path.with_name("mrpc_dev_ids.tsv"))}
    missing = set(dev_ids)
    for row in read_tsv(pairs):
        if row.skip:
            yield row
            continue
        with naming_row(row.where):
            ids = cell(row, "#1 ID"), cell(row, "#2 ID")
        missing.discard(ids)
        if (ids in dev_ids) == wanted_split:
            yield row
    if missing:
        raise ValueError(f"{pairs} has no row with the ids {' and '.join(missing.pop())}, which "
                         "mrpc_dev_ids.tsv names")


def stsb(row, train):
    """Adds the score to the nearest 0.2, which is the target; the metric takes the file's score.

    T5's preprocessor rounds in fp32, halves to the even fifth.

    >>> next(stsb(Row("", {"score": "3.700"}), True)).columns["rounded"]
    '3.6'
    """
    score = cell(row, "score")
    if not score.strip():
        yield replace(row, skip="no score")
        return
    if not re.fullmatch(r"[0-4](\.[0-9]+)?|5(\.0+)?", score):
        raise ValueError(f"score {shortened(score)}, wanted 0 to 5")
    fifths = numpy.round(numpy.float32(float(score)) * 5)
    rounded = f"{fifths / 5:.1f}"
    yield replace(row, columns=row.columns | {"rounded": rounded}, golds=(score,))


# ---------------------------------------------------------------------------------- SuperGLUE


def wsc(row, train):
    """The pronoun between stars; the target is what the row says it refers to, true or not."""
    text = " ".join(member(row.columns, "text", str).split())
    target = member(row.columns, "target", dict)
    referent = member(target, "span1_text", str)
    pronoun = member(target, "span2_text", str)
    index = member(target, "span2_index", int)
    label = member(row.columns, "label", bool)
    if train and not label:
        yield replace(row, skip="labelled false, names no referent")
        return
    marked, moved = mark_pronoun(text, pronoun, index)
    columns = {"text": marked, "referent": as_in_text(referent, text)}
    fixed = "pronoun not at its index, the nearest one taken" if moved else ""
    yield replace(row, columns=columns, golds=(str(label),), fixed=fixed)


def mark_pronoun(text, pronoun, index):
    """(the text with stars around the pronoun nearest to its index, whether it was elsewhere).

    >>> mark_pronoun("Ada thanked Eve because she had helped.", "she", 4)
    ('Ada thanked Eve because *she* had helped.', False)
    """
    words = text.split()
    indices = [i for i, word in enumerate(words) if word.strip(string.punctuation) == pronoun]
    if not pronoun or not indices:
        raise ValueError(f"the pronoun {shortened(pronoun)} is not in the text")
    nearest = min(indices, key=lambda i: abs(i - index))
    words[nearest] = words[nearest].replace(pronoun, f"*{pronoun}*", 1)
    return " ".join(words), nearest != index


def as_in_text(words, text):
    """Words with the capitals that they have in a text; as they are if they are not in it.

    >>> as_in_text("The roof", "A tree fell on the roof.")
    'the roof'
    """
    words = " ".join(words.split())
    start = text.lower().find(words.lower())
    if words in text or start < 0:
        return words
    return text[start:start + len(words)]


def multirc(row, train):
    """One Row for each answer of each question; the paragraph loses its markup and numbering."""
    passage = member(row.columns, "passage", dict)
    text = member(passage, "text", str)
    paragraph = re.sub(r"<b>Sentence \d+: ?</b>|</?\w+ ?/?>", " ", text)
    idx = member(row.columns, "idx", int)
    for question in member(passage, "questions", list):
        question_text = member(question, "question", str)
        group = f"{idx} {member(question, 'idx', int)}"
        for answer in member(question, "answers", list):
            # In one column, because three answers are empty, and an empty column is skipped.
            both = f"{question_text} answer: {member(answer, 'text', str)}"
            columns = {"question and answer": both, "paragraph": paragraph,
                       "label": answer.get("label")}
            yield replace(row, columns=columns, group=group)


def record(row, train):
    """One Row for each query; in training one for each of its right answers.

    Entities and answers are sorted, and listed once. Lines of the summary become sentences.
    """
    passage = member(row.columns, "passage", dict)
    text = member(passage, "text", str)
    entities = ", ".join(sorted(entities_in(passage, text)))
    sentences = re.sub(r"""(?<=[.?!"'])\n@highlight\n""", " ", text)
    sentences = sentences.replace("\n@highlight\n", ". ")
    for query in member(row.columns, "qas", list):
        columns = {"query": member(query, "query", str), "entities": entities,
                   "passage": sentences}
        golds = tuple(sorted(set(texts_of(query, "answers"))))
        if not golds:
            yield replace(row, skip="no answers")
        for answer in golds if train else golds[:1]:
            yield replace(row, columns=columns | {"answer": answer}, golds=golds)


def entities_in(passage, text):
    """The set of a passage's entities. An offset of ReCoRD's includes the last character."""
    entities = set()
    for span in member(passage, "entities", list):
        start = member(span, "start", int)
        end = member(span, "end", int) + 1
        entities.add(text[span_of(start, end, len(text))])
    return entities


def span_of(start, end, length):
    """The slice from start to end. Raises ValueError unless it is a part of so many."""
    if not 0 <= start < end <= length:
        raise ValueError(f"an entity from {start} to {end}, wanted a part of 0 to {length}")
    return slice(start, end)


# -------------------------------------------------------------------------------------- SQuAD


def read_squad(path):
    """SQuAD 1.1: the first answer is the target, all are right."""
    squad = json_file(path)
    with naming_row(path):
        rows = list(squad_rows(path, squad))
    yield from rows


def squad_rows(path, squad):
    for article in member(squad, "data", list):
        for paragraph in member(article, "paragraphs", list):
            yield from paragraph_rows(path, paragraph)


def paragraph_rows(path, paragraph):
    """One Row for each question about a paragraph."""
    context = member(paragraph, "context", str)
    for question in member(paragraph, "qas", list):
        golds = tuple(texts_of(question, "answers"))
        columns = {"question": member(question, "question", str), "context": context,
                   "answer": golds[0] if golds else None}
        yield Row(f"{path}, question {question.get('id')}", columns, golds)


# ------------------------------------------------------------ CoNLL: entities and predicates

# Types of entities as words, one word for one thing in all sets; others in lower case.
ENTITY_TYPES = {"PER": "person", "Peop": "person", "LOC": "location", "Loc": "location",
                "ORG": "organization", "Org": "organization", "MISC": "miscellaneous",
                "NORP": "nationality or group", "GPE": "country or city", "FAC": "facility"}
ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}",
           "/.": ".", "/?": "?", "/-": "-"}


def spans_as_text(spans, words):
    """[(type, from, to)] over words -> "type : words ; type : words", in order, or "none".

    >>> spans_as_text([("person", 3, 4), ("location", 0, 2)], "New York met Ada".split())
    'location : New York ; person : Ada'
    """
    in_order = sorted(spans, key=lambda span: span[1:])
    pairs = [f"{kind} : {' '.join(words[start:end])}" for kind, start, end in in_order]
    return " ; ".join(pairs) or "none"


def sentence_columns(words, spans):
    """The columns of a NER task."""
    named = [(ENTITY_TYPES.get(kind, kind.lower().replace("_", " ")), start, end)
             for kind, start, end in spans]
    return {"sentence": " ".join(words), "entities": spans_as_text(named, words)}


def read_conll04(path):
    """The layout of SpERT (Eberts and Ulges 2020): tokens and entity spans."""
    sentences = json_file(path)
    if not isinstance(sentences, list):
        raise ValueError(f"{path} holds {shortened(sentences)}, wanted a list of sentences")
    for number, sentence in enumerate(sentences, 1):
        where = f"{path}, sentence {number}"
        with naming_row(where):
            words = member(sentence, "tokens", list)
            spans = [conll04_span(entity, words) for entity in member(sentence, "entities", list)]
            columns = sentence_columns(words, spans)
        yield Row(where, columns)


def conll04_span(entity, words):
    """(type, from, to) of an entity."""
    span = span_of(member(entity, "start", int), member(entity, "end", int), len(words))
    return member(entity, "type", str), span.start, span.stop


def blocks(path):
    """(where, lines of cells) for each sentence: a token a line, an empty line behind the last."""
    block = []
    where = path
    for where, line in read_lines(path):
        cells = line.split()
        if cells and not line.startswith(("#begin", "#end", "-DOCSTART-")):
            block.append(cells)
        elif block:
            yield f"{where} (the sentence before it)", block
            block = []
    if block:
        yield where, block


def columns_of(block, least):
    """The columns of a sentence's lines, at least so many. Raises ValueError for ragged lines."""
    counts = sorted({len(cells) for cells in block})
    if len(counts) > 1 or counts[0] < least:
        raise ValueError(f"lines of {' and '.join(map(str, counts))} columns, wanted the same in "
                         f"all, {least} or more")
    return list(zip(*block))


def tagged(tags):
    """The spans of B-, I- and O tags; an I- of another type than before it begins one, too.

    >>> tagged(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5)]
    """
    spans = []
    last_tag = "O"
    for i, tag in enumerate(tags):
        if not re.fullmatch(r"O|[BI]-\w+", tag):
            raise ValueError(f"tag {shortened(tag)}, wanted O, B-TYPE or I-TYPE")
        kind = tag[2:]
        if tag.startswith("I-") and kind == last_tag[2:]:
            _, start, _ = spans.pop()
            spans.append((kind, start, i + 1))
        elif tag != "O":
            spans.append((kind, i, i + 1))
        last_tag = tag
    return spans


def bracketed(cells):
    """The spans of "(ROLE*", "*" and "*)" cells, in order.

    >>> bracketed(["(A0*", "*)", "(V*)", "*"])
    [('A0', 0, 2), ('V', 2, 3)]
    """
    spans = []
    opened = []
    for i, cell_text in enumerate(cells):
        if not re.fullmatch(r"(\([^(*)]+)*\*?\)*", cell_text):
            raise ValueError(f"{shortened(cell_text)}, wanted (ROLE*, * or *)")
        for kind in re.findall(r"\(([^(*)]+)", cell_text):
            opened.append((kind, i))
        for _ in range(cell_text.count(")")):
            if not opened:
                raise ValueError(f"the bracket of {cell_text!r} was never opened")
            kind, start = opened.pop()
            spans.append((kind, start, i + 1))
    if opened:
        raise ValueError(f"the bracket of {opened[-1][0]!r} is never closed")
    return sorted(spans, key=lambda span: span[1:])


def joined_arguments(spans, words):
    """[(role, text)] in order. C-X continues the X before it (as srl-eval.pl reads it).

    A C-X without an X before it is an X of its own.

    >>> spans = [("A1", 0, 2), ("V", 2, 3), ("C-A1", 3, 5)]
    >>> joined_arguments(spans, "The pie tasted of tin".split())
    [('A1', 'The pie of tin'), ('V', 'tasted')]
    """
    arguments = []
    last_index = {}  # role -> the index of its last argument
    for kind, start, end in spans:
        role = kind.removeprefix("C-")
        text = " ".join(words[start:end])
        if kind != role and role in last_index:
            _, begun = arguments[last_index[role]]
            arguments[last_index[role]] = (role, f"{begun} {text}")
        else:
            last_index[role] = len(arguments)
            arguments.append((role, text))
    return arguments


def predicate_columns(words, cells):
    """The columns of an SRL task. The predicate's own words are marked V."""
    arguments = joined_arguments(bracketed(cells), words)
    verbs = [text for role, text in arguments if role == "V"]
    if not verbs:
        raise ValueError("a predicate without its (V*)")
    pairs = [f"{role} : {text}" for role, text in arguments if role != "V"]
    return {"predicate": verbs[0], "sentence": " ".join(words),
            "arguments": " ; ".join(pairs) or "none"}


def read_conll03(path):
    """Columns: word, part of speech, chunk, entity."""
    for where, block in blocks(path):
        with naming_row(where):
            columns = columns_of(block, least=4)
            row_columns = sentence_columns(columns[0], tagged(columns[3]))
        yield Row(where, row_columns)


def gold_conll_sentences(path):
    """(where, words, columns) for each sentence of the *gold_conll files under a folder.

    Columns: document, part, number, word, part of speech, parse, lemma, frame, sense,
    speaker, entity, the arguments of each predicate, coreference.
    """
    files = sorted(path.rglob("*gold_conll"))
    if not files:
        raise ValueError(f"{path} holds no *gold_conll file")
    for file in files:
        for where, block in blocks(file):
            with naming_row(where):
                columns = columns_of(block, least=12)
                if "[WORD]" in columns[3]:
                    raise ValueError("the words are left out; join the files with OntoNotes first")
            words = [ESCAPED.get(word, word) for word in columns[3]]
            yield where, words, columns


def read_ontonotes(path):
    """The entities of the CoNLL-2012 files."""
    for where, words, columns in gold_conll_sentences(path):
        with naming_row(where):
            row_columns = sentence_columns(words, bracketed(columns[10]))
        yield Row(where, row_columns)


def read_conll12(path):
    """The predicates of the CoNLL-2012 files."""
    for where, words, columns in gold_conll_sentences(path):
        for cells in columns[11:-1]:
            with naming_row(where):
                row_columns = predicate_columns(words, cells)
            yield Row(where, row_columns)


def read_conll05(path):
    """words/* and props/* under a folder, .gz or not: tokens, and a column for each predicate."""
    files = sorted((path / "words").glob("*"))
    if not files:
        raise ValueError(f"{path / 'words'} holds no file")
    for file in files:
        props = path / "props" / file.name.replace(".words", ".props")
        pairs = itertools.zip_longest(blocks(file), blocks(props),
                                      fillvalue=(f"{file}, the end", []))
        for (where, word_lines), (_, prop_lines) in pairs:
            with naming_row(where):
                rows = conll05_rows(where, word_lines, prop_lines)
            yield from rows


def conll05_rows(where, word_lines, prop_lines):
    """The Rows of one sentence, one for each predicate."""
    if len(word_lines) != len(prop_lines):
        raise ValueError(f"{len(word_lines)} words, but {len(prop_lines)} lines in props")
    words = [ESCAPED.get(cells[0], cells[0]) for cells in word_lines]
    columns = columns_of(prop_lines, least=1)
    return [Row(where, predicate_columns(words, cells)) for cells in columns[1:]]


# --------------------------------------------------------------------------- a user's own file

SETTINGS = ("input", "target", "labels", "codes", "metrics", "cut")
MOST_LABELS = 20


def task_from_file(path):
    """A task from a user's own data: (fields for data.Task, train path, dev path or None).

    path: a .jsonl, .csv or .tsv file, or a folder with train.* and, if there is one, dev.*.
    A task.json beside the file gives what cannot be guessed, under the names of Task's fields:
    input, target, labels, codes, metrics, cut. Without it

        target    the column "label"
        input     the other columns that hold text, in the file's order:
                  "title: {title} text: {text}"
        labels    the different targets of the train file, at most 20, each there at least twice
        metrics   accuracy and macro_f1

    Raises ValueError that says what to write in task.json where the guess fails.
    """
    path = Path(path).expanduser()
    train = file_in_folder(path, "train") if path.is_dir() else path
    dev = file_in_folder(path, "dev") if path.is_dir() else None
    if train is None:
        raise ValueError(f"{path} holds no train file, wanted train{', train'.join(READERS)}")
    settings_path = train.parent / "task.json"
    fields = settings_in(settings_path)
    fields["files"] = tuple(str(file) for file in (train, dev) if file)
    fields.setdefault("target", "label")
    columns = first_columns(train)
    if fields["target"] not in columns:
        raise ValueError(f"{train} has no column {fields['target']!r}, its columns are "
                         f"{', '.join(columns)}: rename one, or set \"target\" in "
                         f"{settings_path}")
    if "input" not in fields:
        texts = [name for name, value in columns.items() if isinstance(value, str)]
        fields["input"] = " ".join(f"{name}: {{{name}}}" for name in texts
                                   if name != fields["target"])
    if "labels" not in fields:
        fields["labels"] = guessed_labels(train, fields["target"], settings_path)
    if fields["labels"]:
        fields.setdefault("metrics", ("accuracy", "macro_f1"))
    if "metrics" not in fields:
        raise ValueError(f"{settings_path} has no labels: wanted \"metrics\" in it, as "
                         "[\"answer_em\", \"answer_f1\"] for free text")
    return fields, train, dev


def file_in_folder(folder, stem):
    """The one file of this name in a folder, by any suffix that can be read; None without one."""
    files = [folder / f"{stem}{suffix}" for suffix in READERS]
    files = [file for file in files if file.exists()]
    if len(files) > 1:
        names = " and ".join(file.name for file in files)
        raise ValueError(f"{folder} holds {names}, wanted one of them")
    return files[0] if files else None


def settings_in(path):
    """The fields of Task in a task.json, {} if there is no such file."""
    if not path.exists():
        return {}
    fields = read_json(path)
    for name, value in fields.items():
        if name not in SETTINGS:
            raise ValueError(f"{path}: unknown key {name!r}, wanted {', '.join(SETTINGS)}")
        kind = str if name in ("input", "target", "cut") else list
        with naming_row(path):
            member(fields, name, kind)
        if kind is list:
            fields[name] = tuple(map(str, value))
    return fields


def first_columns(path):
    """The columns of a file's first row, name -> value."""
    for row in reader_for(path)(path):
        if not row.skip:
            return row.columns
    raise ValueError(f"{path} holds no row")


def guessed_labels(path, target, settings_path):
    """The different targets of a file, sorted. Raises ValueError if they look like free text."""
    counts = Counter()
    for row in reader_for(path)(path):
        value = row.columns.get(target)
        if value is not None and str(value).strip():
            counts[str(value)] += 1
    rare = [label for label, count in counts.items() if count == 1]
    if rare or not 2 <= len(counts) <= MOST_LABELS:
        few = f", {shortened(rare[0])} only once" if rare else ""
        raise ValueError(f"{path}: column {target!r} holds {len(counts)} different values{few}, "
                         f"wanted 2 to {MOST_LABELS} labels, each at least twice: set \"labels\" "
                         f"(or [] for free text) and \"metrics\" in {settings_path}")
    return tuple(sorted(counts))

"""The official files of the 21 tasks, and a user's own files, as Examples.

    read_examples(name, task, path, train)   the Examples of one file
    task_from_file(path)                     a task from a user's .jsonl, .csv or .tsv

Three steps lead from a file to its examples.

    reader      path -> Rows. It knows a file format: JSON lines, .tsv, .csv, SQuAD, CoNLL.
    row maker   one Row -> the Rows it becomes. Only for wsc, stsb, multirc and record.
    template    one Row -> one Example. The columns are filled into the task's input.

A row that is not as it should be is

    skipped, counted   a text, label or answer that is missing or empty; more or fewer cells
                       than the header; no gold label (MNLI's "-"); in WSC's training set the
                       pairs labelled false, which name no referent
    an error           anything else, with the file and the line

The strings are those of T5's own preprocessors, without the name of the task. A task here is an
entry of data.TASKS, of which only the fields are used. A quotation mark in a .tsv file is a
character like any other.

Not here: other character sets than UTF-8.
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

    A row to skip has the columns that the input needs, if it can: predict.py answers it.
    """

    where: str
    columns: dict
    golds: tuple = ()
    group: str = ""
    skip: str = ""


@contextlib.contextmanager
def naming_row(where):
    """Put the file and line in front of what is wrong with a row.

    A part of a JSON object that is missing, or of another kind, is met where it is used.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: a part is missing or of another kind: {error}") from None


# ----------------------------------------------------------------------- the task's template


def columns_in(template):
    """The columns that a task's input names, in order.

    >>> columns_in("hypothesis: {sentence2} premise: {sentence1}")
    ['sentence2', 'sentence1']
    """
    return COLUMN.findall(template)


def long_part(task, text):
    """Which part of an input in the task's form may be cut, [from, to); (0, 0) if none is seen.

    >>> from types import SimpleNamespace
    >>> boolq = SimpleNamespace(input="passage: {passage} question: {question}", cut="passage")
    >>> text = "passage: The soup was cold. question: was it warm"
    >>> text[slice(*long_part(boolq, text))]
    'The soup was cold.'
    """
    if not task.input:
        return 0, 0
    cut = task.cut or columns_in(task.input)[-1]
    before, after = task.input.split("{%s}" % cut)
    word_before = re.escape(before.rpartition("}")[2])
    word_after = re.escape(after.partition("{")[0])
    match = re.search(f"{word_before}(.*){word_after}", text, re.DOTALL)
    return match.span(1) if match else (0, 0)


def check_task(task, metric_names):
    """Raise ValueError for an entry of data.TASKS that could not be read or scored."""
    columns = columns_in(task.input)
    if task.files and not columns:
        raise ValueError(f"a task's input {task.input!r} names no {{column}}")
    if task.cut not in ("", *columns):
        raise ValueError(f"cut is {task.cut!r}, wanted a column of {task.input!r}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"a task's input {task.input!r} names a column twice")
    if not task.metrics or set(task.metrics) - set(metric_names):
        names = ", ".join(metric_names)
        raise ValueError(f"metrics are {task.metrics!r}, wanted a tuple of {names}")
    for values in (task.labels, task.codes):
        if values and len(set(values)) != max(2, len(task.labels)):
            raise ValueError(f"labels or codes are {values!r}, wanted a tuple of two or more "
                             "texts, a different one for each label")


# --------------------------------------------------------------------------- rows as examples


def read_examples(name, task, path, train):
    """The Examples of one file of a task.

    name    the task's name, for messages
    task    an entry of data.TASKS
    train   whether this is the training file: WSC and ReCoRD make other rows of it
    Prints on standard error what was skipped, and whether the file is the published one.
    Raises ValueError with file and line for a row that is wrong, and for a file without a usable
    row.
    """
    examples = []
    skipped = Counter()
    columns = {}
    for row in rows_of(task, path, train):
        columns = row.columns
        skip = row.skip or reason_to_skip(task, columns)
        if skip:
            skipped[skip] += 1
            continue
        with naming_row(row.where):
            text = input_of(task, columns)
            target = target_of(task, columns[task.target])
        examples.append(Example(text, target, row.golds, row.group, long_part(task, text)))
    if not examples:
        reasons = ", ".join(skipped) or "it is empty"
        names = ", ".join(columns)
        raise ValueError(f"{path} has no usable row: {reasons}; its columns are {names:.300}")
    for reason, count in skipped.items():
        print(f"{name}: {count} rows of {path} skipped: {reason}", file=sys.stderr)
    published = task.sizes[not train] if task.sizes else len(examples)
    if len(examples) != published:
        print(f"{name}: {len(examples)} examples in {path}, the published file has {published}",
              file=sys.stderr)
    return examples


def rows_of(task, path, train):
    """The Rows of a file, several for one where a record holds several examples."""
    read = task.read or read_file
    for row in read(Path(path)):
        if task.rows is None or row.skip:
            yield row
            continue
        with naming_row(row.where):
            yield from task.rows(row, train)


def reason_to_skip(task, columns):
    """Why a row cannot become an example, "" if it can."""
    for name in [*columns_in(task.input), task.target]:
        value = columns.get(name)
        if value is None or not str(value).strip():
            return f"no {name}"
    if task.labels and columns[task.target] == "-":
        return "no gold label"  # MNLI: the annotators did not agree
    return ""


def input_of(task, columns):
    """The task's template filled, each run of white space as one space.

    >>> from types import SimpleNamespace
    >>> boolq = SimpleNamespace(input="question: {question}")
    >>> input_of(boolq, {"question": "Is {this} a  brace?"})
    'question: Is {this} a brace?'
    """
    missing = [name for name in columns_in(task.input) if name not in columns]
    if missing:
        raise ValueError(f"no column {missing[0]!r}, the columns are {', '.join(columns):.200}")
    return COLUMN.sub(lambda match: one_line(match[1], columns[match[1]]), task.input)


def one_line(column, value):
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"column {column!r} holds {shortened(value)}, wanted a text")
    return " ".join(value.split())


def target_of(task, value):
    """The target text: a label for its code in the file, or free text."""
    if not task.labels:
        return one_line(task.target, value)
    codes = dict(zip(task.codes or task.labels, task.labels))
    if str(value) not in codes:
        hint = ""
        if isinstance(value, int):
            hint = "; exports number labels in different orders, so write the words"
        raise ValueError(f"label {shortened(value)}, wanted one of {', '.join(codes)}{hint}")
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
                yield f"{path}, line {number}", line.decode().removeprefix("\ufeff")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
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


# Columns that have another name in some file -> the name that the task's template has.
COLUMN_NAMES = {"#1 String": "sentence1", "#2 String": "sentence2"}  # MRPC


def read_table(path, header=None):
    """Cells between tabs, or in a .csv between commas, where a quoted cell may go over lines.

    The first line is the header, if none is passed.
    """
    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    if Path(path).suffix == ".csv":
        style = {"strict": True}
    reader = csv.reader((line for _, line in read_lines(path)), **style)
    try:
        for cells in filter(None, reader):
            where = f"{path}, line {reader.line_num}"
            if header is None:
                header = [COLUMN_NAMES.get(name, name) for name in cells]
                if len(set(header)) < len(header):
                    raise ValueError(f"{where}: two columns of one name in {shortened(header)}")
            elif len(cells) != len(header):
                yield Row(where, dict.fromkeys(header), skip=f"not {len(header)} cells")
            else:
                yield Row(where, dict(zip(header, cells)))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


READERS = {".jsonl": read_jsonl, ".tsv": read_table, ".csv": read_table}


def read_file(path):
    """The Rows of a file, by its suffix."""
    if path.suffix not in READERS:
        raise ValueError(f"{path}: rows are read from {', '.join(READERS)}, not from this suffix")
    return READERS[path.suffix](path)


# --------------------------------------------------------------------------------------- GLUE


def read_cola(path):
    """CoLA is a .tsv without a header."""
    return read_table(path, ("source", "label", "mark", "sentence"))


def read_mrpc(path):
    """MRPC: train.tsv and dev.tsv as GLUE's script writes them, or one split of the raw files.

    Of the two raw files one has all pairs, the other the ids of the dev pairs, and stands for dev.
    Raises ValueError if an id is in no row: that pair would be trained on.
    """
    if path.suffix == ".tsv" and path.name != "mrpc_dev_ids.tsv":
        yield from read_table(path)
        return
    pairs = path.with_name("msr_paraphrase_train.txt")
    id_lines = read_lines(path.with_name("mrpc_dev_ids.tsv"))
    dev_ids = {tuple(line.split()) for _, line in id_lines}
    missing = set(dev_ids)
    for row in read_table(pairs):
        ids = row.columns.get("#1 ID"), row.columns.get("#2 ID")
        missing.discard(ids)
        if (ids in dev_ids) == (path != pairs):
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
    score = row.columns.get("score", "")
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
    target = row.columns["target"]
    marked = mark_pronoun(row.columns["text"], target["span2_text"], target["span2_index"])
    label = row.columns.get("label")
    skip = ""
    if label is None:
        skip = "no label"
    elif label not in (True, False):
        raise ValueError(f"label {shortened(label)}, wanted true or false")
    elif train and not label:
        skip = "labelled false, names no referent"
    referent = as_in_text(target["span1_text"], row.columns["text"])
    columns = row.columns | {"text": marked, "referent": referent}
    yield Row(row.where, columns, golds=(str(label),), skip=skip)


def mark_pronoun(text, pronoun, index):
    """The text with stars around the pronoun that is nearest to its index, a number of words.

    In one official row it is elsewhere.

    >>> mark_pronoun("Ada thanked Eve because she had helped.", "she", 4)
    'Ada thanked Eve because *she* had helped.'
    """
    words = text.split()
    indices = [i for i, word in enumerate(words) if word.strip(string.punctuation) == pronoun]
    if not indices:
        raise ValueError(f"the pronoun {shortened(pronoun)} is not in the text")
    nearest = min(indices, key=lambda i: abs(i - index))
    words[nearest] = words[nearest].replace(pronoun, f"*{pronoun}*", 1)
    return " ".join(words)


def as_in_text(words, text):
    """Words with the capitals that they have in a text; as they are if they are not in it.

    >>> as_in_text("The roof", "A tree fell on the roof.")
    'the roof'
    """
    words = " ".join(words.split())
    text = " ".join(text.split())
    start = text.lower().find(words.lower())
    if words in text or start < 0:
        return words
    return text[start:start + len(words)]


def multirc(row, train):
    """One Row for each answer of each question; the paragraph loses its markup and numbering."""
    passage = row.columns["passage"]
    text = passage["text"]
    paragraph = re.sub(r"<b>Sentence \d+: ?</b>|</?\w+ ?/?>", " ", text)
    idx = row.columns["idx"]
    for question in passage["questions"]:
        question_text = question["question"]
        question_idx = question["idx"]
        for answer in question["answers"]:
            # In one column, because three answers are empty, and an empty column is skipped.
            both = f"{question_text} answer: {answer['text']}"
            ids = {"paragraph": idx, "question": question_idx, "answer": answer.get("idx")}
            columns = {"question and answer": both, "paragraph": paragraph,
                       "label": answer.get("label"), "idx": ids}
            yield Row(row.where, columns, group=f"{idx} {question_idx}")


def record(row, train):
    """One Row for each query; in training one for each of its right answers.

    Entities and answers are sorted, and listed once. Lines of the summary become sentences.
    """
    passage = row.columns["passage"]
    text = passage["text"]
    sentences = re.sub(r"""(?<=[.?!"'])\n@highlight\n""", " ", text)
    entities = set()
    for entity in passage["entities"]:
        entities.add(text[entity["start"]:entity["end"] + 1])  # "end" is the last character
    shared = {"entities": ", ".join(sorted(entities)),
              "passage": sentences.replace("\n@highlight\n", ". ")}
    for query in row.columns["qas"]:
        ids = {"passage": row.columns.get("idx"), "query": query.get("idx")}
        columns = shared | {"query": query["query"], "idx": ids}
        golds = tuple(sorted(set(right_answers(query))))
        if not golds:
            yield Row(row.where, columns, skip="no answers")
        for answer in golds if train else golds[:1]:
            yield Row(row.where, columns | {"answer": answer}, golds)


def right_answers(question):
    """The texts of a question's answers; () in a test set."""
    return tuple(answer["text"] for answer in question.get("answers", ()))


# -------------------------------------------------------------------------------------- SQuAD


def read_squad(path):
    """SQuAD 1.1: a Row for each question; the first answer is the target, all are right."""
    squad = json_file(path)
    with naming_row(path):
        for article in squad["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    golds = right_answers(question)
                    columns = {"context": paragraph["context"], "question": question["question"],
                               "id": question.get("id")}
                    if golds:
                        columns["answer"] = golds[0]
                    yield Row(f"{path}, question {columns['id']}", columns, golds)


# ------------------------------------------------------------ CoNLL: entities and predicates

# Types of entities as words, one word for one thing in all sets; others in lower case.
ENTITY_TYPES = {"PER": "person", "Peop": "person", "LOC": "location", "Loc": "location",
                "ORG": "organization", "Org": "organization", "MISC": "miscellaneous",
                "NORP": "nationality or group", "GPE": "country or city", "FAC": "facility"}
ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}",
           "/.": ".", "/?": "?", "/-": "-"}


def entity_columns(words, spans):
    """The columns of a NER task from [(type, from, to)] over the words, in any order.

    >>> entity_columns("New York met Ada".split(), [("PER", 3, 4), ("GPE", 0, 2)])["entities"]
    'country or city : New York ; person : Ada'
    """
    entities = []
    for kind, start, end in sorted(spans, key=lambda span: span[1:]):
        named = ENTITY_TYPES.get(kind, kind.lower().replace("_", " "))
        entities.append(f"{named} : {' '.join(words[start:end])}")
    return {"sentence": " ".join(words), "entities": " ; ".join(entities) or "none"}


def read_conll04(path):
    """The layout of SpERT (Eberts and Ulges 2020): tokens and entity spans."""
    for number, sentence in enumerate(json_file(path), 1):
        where = f"{path}, sentence {number}"
        with naming_row(where):
            spans = []
            for entity in sentence["entities"]:
                spans.append((entity["type"], entity["start"], entity["end"]))
            yield Row(where, entity_columns(sentence["tokens"], spans))


def tagged(tags):
    """The spans of B-, I- and O tags; an I- of another type than before it begins one, too.

    >>> tagged(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])
    [['PER', 0, 2], ['PER', 2, 3], ['LOC', 4, 5]]
    """
    spans = []
    last_kind = ""
    for i, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix not in ("O", "B", "I"):
            raise ValueError(f"tag {shortened(tag)}, wanted O, B-TYPE or I-TYPE")
        if prefix == "I" and kind == last_kind:
            spans[-1][2] = i + 1
        elif kind:
            spans.append([kind, i, i + 1])
        last_kind = kind
    return spans


def bracketed(cells):
    """The spans of "(ROLE*", "*" and "*)" cells, in order.

    >>> bracketed(["(A0*", "*)", "(V*)", "*"])
    [('A0', 0, 2), ('V', 2, 3)]
    """
    spans = []
    opened = []
    for i, cell in enumerate(cells):
        for part in re.findall(r"\([^(*)]+|.", cell):
            if part.startswith("("):
                opened.append((part[1:], i))
            elif part == ")" and opened:
                kind, start = opened.pop()
                spans.append((kind, start, i + 1))
            elif part != "*":
                raise ValueError(f"{shortened(cell)}, wanted (ROLE*, * or a bracket that ends one")
    if opened:
        raise ValueError(f"the bracket of {opened[-1][0]!r} is never closed")
    return sorted(spans, key=lambda span: span[1:])


def joined_arguments(spans, words):
    """[[role, text]] in order. C-X continues the X before it (as srl-eval.pl reads it).

    A C-X without an X before it is an X of its own.

    >>> spans = [("A1", 0, 2), ("V", 2, 3), ("C-A1", 3, 5)]
    >>> joined_arguments(spans, "The pie tasted of tin".split())
    [['A1', 'The pie of tin'], ['V', 'tasted']]
    """
    arguments = []
    last = {}  # role -> its last argument
    for kind, start, end in spans:
        role = kind.removeprefix("C-")
        text = " ".join(words[start:end])
        if kind != role and role in last:
            last[role][1] += f" {text}"
        else:
            last[role] = [role, text]
            arguments.append(last[role])
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


def is_token(line):
    """Whether a (where, text) is a token's, and no empty line or comment between sentences."""
    _, text = line
    return bool(text.strip()) and not text.startswith(("#begin", "#end", "-DOCSTART-"))


def conll_rows(lines, word, first, end, columns_of):
    """The Rows of (where, text) with a token a line: one for each column from `first` to `end`.

    word         the number of the words' column
    columns_of   words, the cells of such a column -> the columns of its Row
    Raises ValueError for ragged lines, and where the words are left out.
    """
    for are_tokens, block in itertools.groupby(lines, is_token):
        if not are_tokens:
            continue
        places, texts = zip(*block)
        with naming_row(f"{places[0]} and what follows it"):
            rows = [text.split() for text in texts]
            counts = {len(cells) for cells in rows}
            if len(counts) > 1 or min(counts) < first:
                raise ValueError(f"lines of {sorted(counts)} columns, wanted the same in all, "
                                 f"{first} or more")
            columns = list(zip(*rows))
            if "[WORD]" in columns[word]:
                raise ValueError("the words are left out; join the files with OntoNotes first")
            words = [ESCAPED.get(token, token) for token in columns[word]]
            for cells in columns[first:end]:
                yield Row(places[0], columns_of(words, cells))


def gold_conll_lines(path):
    """The lines of all *gold_conll files under a folder."""
    files = sorted(path.rglob("*gold_conll"))
    if not files:
        raise ValueError(f"{path} holds no *gold_conll file")
    return itertools.chain.from_iterable(map(read_lines, files))


def conll05_lines(path):
    """words/* and props/* under a folder, .gz or not: each token beside the cells of its props."""
    files = sorted((path / "words").glob("*"))
    if not files:
        raise ValueError(f"{path / 'words'} holds no file")
    for file in files:
        props = path / "props" / file.name.replace(".words", ".props")
        with naming_row(file):
            for (where, word), (_, cells) in zip(read_lines(file), read_lines(props), strict=True):
                yield where, f"{word} {cells}"
        yield where, ""


def read_conll03(path):
    """Columns: word, part of speech, chunk, entity."""
    return conll_rows(read_lines(path), 0, 3, 4,
                      lambda words, tags: entity_columns(words, tagged(tags)))


def read_ontonotes(path):
    """The entities of the CoNLL-2012 files.

    Columns: document, part, number, word, part of speech, parse, lemma, frame, sense,
    speaker, entity, the arguments of each predicate, coreference.
    """
    return conll_rows(gold_conll_lines(path), 3, 10, 11,
                      lambda words, cells: entity_columns(words, bracketed(cells)))


def read_conll12(path):
    """The predicates of the CoNLL-2012 files."""
    return conll_rows(gold_conll_lines(path), 3, 11, -1, predicate_columns)


def read_conll05(path):
    """Columns: word, predicate, the arguments of each predicate."""
    return conll_rows(conll05_lines(path), 0, 2, None, predicate_columns)


# --------------------------------------------------------------------------- a user's own file

SETTINGS = {"input": str, "target": str, "cut": str, "labels": list, "codes": list,
            "metrics": list}
MOST_LABELS = 20


def task_from_file(path):
    """The fields of data.Task for a user's own data.

    path: a .jsonl, .csv or .tsv file, or a folder with train.* and, if there is one, dev.*.
    A task.json beside the file gives what cannot be guessed, under the names of Task's fields:
    input, target, labels, codes, metrics, cut. Without it

        target    the column "label"
        input     the other columns that have a name and hold text, in the file's order:
                  "title: {title} text: {text}"
        labels    the different targets of the train file, at most 20, each there at least twice
        metrics   accuracy and macro_f1

    Raises ValueError that says what to write in task.json where the guess fails.
    """
    train = Path(path)
    dev = None
    if train.is_dir():
        dev = file_in_folder(train, "dev")
        train = file_in_folder(train, "train")
    if train is None:
        raise ValueError(f"{path} holds no train file, wanted train{', train'.join(READERS)}")
    settings = train.parent / "task.json"
    fields = settings_in(settings)
    all_rows = list(read_file(train))
    rows = [row.columns for row in all_rows if not row.skip]
    if not rows:
        reasons = {f", all have {row.skip}" for row in all_rows}  # one: not 2 cells
        raise ValueError(f"{train} holds no row{''.join(reasons)}")
    first = rows[0]
    target = fields.setdefault("target", "label")
    if target not in first:
        raise ValueError(f"{train} has no column {target!r}, its columns are {', '.join(first)}: "
                         f"rename one, or set \"target\" in {settings}")
    texts = [name for name in first if isinstance(first[name], str) and name not in (target, "")]
    if "input" not in fields and not texts:
        raise ValueError(f"{train}: its first row has no text beside {target!r}, which could be "
                         f"the input: set \"input\" in {settings}")
    fields.setdefault("input", " ".join(f"{name}: {{{name}}}" for name in texts))
    if "labels" not in fields:
        with naming_row(f"{train}: column {target!r}"):
            fields["labels"] = guessed_labels([row.get(target) for row in rows], settings)
    if fields["labels"]:
        fields.setdefault("metrics", ("accuracy", "macro_f1"))
    if "metrics" not in fields:
        raise ValueError(f"{settings} has no labels: wanted \"metrics\" in it, as "
                         "[\"answer_em\", \"answer_f1\"] for free text")
    fields["files"] = (str(train), str(dev)) if dev else (str(train),)
    return fields


def file_in_folder(folder, stem):
    """The one file of this name in a folder, by any suffix that can be read; None without one."""
    files = [path for path in sorted(folder.glob(f"{stem}.*")) if path.suffix in READERS]
    if len(files) > 1:
        raise ValueError(f"{files[0]} and {files[1].name} are there, wanted one of them")
    return files[0] if files else None


def settings_in(path):
    """The fields of Task in a task.json, {} if there is no such file."""
    fields = read_json(path) if path.exists() else {}
    for name, value in fields.items():
        if type(value) is not SETTINGS.get(name):
            raise ValueError(f"{path}: {name!r} is {shortened(value)}, wanted the texts input, "
                             "target and cut, and the lists labels, codes and metrics")
        if isinstance(value, list):
            fields[name] = tuple(map(str, value))
    return fields


def guessed_labels(values, settings):
    """The different values, sorted. Raises ValueError if they look like free text."""
    for value in values:
        if isinstance(value, (list, dict)):
            raise ValueError(f"{shortened(value)}, wanted a text or a number")
    counts = Counter(str(value) for value in values if value not in (None, ""))
    rare = [label for label, count in counts.items() if count == 1]
    if rare or not 2 <= len(counts) <= MOST_LABELS:
        raise ValueError(f"{len(counts)} different values, only once {shortened(rare)}, wanted 2 "
                         f"to {MOST_LABELS} labels, each at least twice: set \"labels\" (or [] "
                         f"for free text) and \"metrics\" in {settings}")
    return tuple(sorted(counts))

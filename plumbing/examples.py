"""What becomes of the rows of a task's file: examples, with a count of what was odd.

    read_split(task, path)       (examples, notes) of a file
    read_file, read_inputs       the same, with the notes said on standard error

A row that is not as it should be is

    fixed, counted    a pronoun of WSC that is not at its index: the nearest one is taken
    skipped, counted  a text or label that is missing or empty, fewer columns than the
                      header, no gold label (MNLI's "-"), no answer; in WSC's training set
                      the pairs labelled false, which name no referent
    an error          anything else, with the file and the line: another label than the
                      legal ones, a tab too many, broken JSON, an entity outside its text, an
                      empty answer beside others, a file without usable rows

A task here is an entry of data.TASKS, of which only the fields are known. The formats of the
files are those of plumbing/readers.py.
"""

import dataclasses
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path

from plumbing import readers
from plumbing.readers import FIXED, GOLDS, GROUP, SKIP, shown
from plumbing.tokenizer import UNK


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One row as text to text."""

    input: str
    target: str
    golds: tuple = ()  # what the metric compares with, where that is not the target
    group: str = ""    # the question of MultiRC: its answers are scored together
    # The part of the input that may be cut, [from, to).
    long: tuple = dataclasses.field(default=(0, 0), compare=False)


def columns_in(template):
    """The columns that a task's input names, in order.

    >>> columns_in("hypothesis: {sentence2} premise: {sentence1}")
    ['sentence2', 'sentence1']
    """
    return re.findall(r"{([^}]+)}", template)


def long_part(task, text):
    """Where the part that may be cut stands in a text of a task's form, [from, to); (0, 0) if none.

    >>> from types import SimpleNamespace
    >>> boolq = SimpleNamespace(input="passage: {passage} question: {question}", cut="passage")
    >>> text = "passage: The soup was cold. question: was it warm"
    >>> text[slice(*long_part(boolq, text))]
    'The soup was cold.'
    """
    before, found, after = task.input.partition("{%s}" % (task.cut or (columns_in(task.input)
                                                                      or ["?"])[-1]))
    before, after = before.rpartition("}")[2], after.partition("{")[0]
    start = text.find(before) + len(before)
    end = text.rfind(after) if after else len(text)
    return (start, end) if found and before in text and start <= end else (0, 0)


def check_task(task, metrics):
    """Raise ValueError for an entry of data.TASKS that could not be read or scored.

    metrics: the names of those that there are.
    """
    columns = columns_in(task.input)
    if task.files and not columns:
        raise ValueError(f"a task's input {task.input!r} names no {{column}}")
    if task.cut and task.cut not in columns:
        raise ValueError(f"cut={task.cut!r} is no column of the input {task.input!r}")
    if not isinstance(task.metrics, tuple) or not set(task.metrics) <= set(metrics):
        raise ValueError(f"metrics are {task.metrics!r}, wanted a tuple of {', '.join(metrics)}")
    for what, said in (("labels", task.labels), ("codes", task.codes)):
        if said and not (isinstance(said, tuple) and 1 < len({*said}) == len(said)
                         and len(said) == len(task.labels)
                         and all(isinstance(text, str) and text.strip() for text in said)):
            raise ValueError(f"{what} are {said!r}, wanted a string for each of two or more labels")


def read_split(task, path, train=False, labels=True):
    """(examples, notes) of one file: notes counts what was skipped or fixed, and why.

    labels: if not, the targets are "" whether the rows have labels or not, and an input counts
    once: the rows of WSC, say, differ in nothing but the referent that they ask about.
    Raises ValueError with file and line for a row that is wrong, and for a file without
    a usable row.
    """
    columns = columns_in(task.input)
    cut = task.cut or columns[-1]
    head, _, tail = task.input.partition("{%s}" % cut)
    codes = dict(zip(task.codes or task.labels, task.labels)) if labels else {}
    examples, notes, row = [], Counter(), {}
    for place, row in readers.rows_of(path, task.read, task.rows, train):
        why = row.get(SKIP)
        for column in () if why else (*columns, *[task.target] * labels):
            value = row.get(column)
            if value is None or isinstance(value, str) and not value.strip():
                why = f"no {column}"
            elif not isinstance(value, str) and (column != task.target or not codes):
                raise ValueError(f"{place}: no text in column {column!r}")
        label = row.get(task.target)
        if label == "-" and "-" not in codes and codes:  # MNLI: the annotators did not agree
            why = "no gold label"
        if why:
            notes[f"skipped: {why}"] += 1
            continue
        if codes and not (isinstance(label, (str, int)) and str(label) in codes):
            raise ValueError(f"{place}: label {shown(label)}, wanted one of {', '.join(codes)}")
        if row.get(FIXED):
            notes[f"fixed: {row[FIXED]}"] += 1
        fields = {column: " ".join(row[column].split()) for column in columns}
        start = head.format_map(fields)
        end = start + fields[cut]
        target = codes[str(label)] if codes else " ".join(label.split()) if labels else ""
        golds = tuple(row.get(GOLDS, ())) if labels else ()
        if not all(map(str.strip, golds)):
            raise ValueError(f"{place}: one of its right answers is empty")
        text = end + tail.format_map(fields)
        said = "".join((text, target, *golds))
        if "\0" in said or said.encode(errors="ignore").decode() != said:
            raise ValueError(f"{place}: a NUL or half a character, wanted text in UTF-8")
        examples.append(Example(text, target, golds, row.get(GROUP, ""), (len(start), len(end))))
    if not examples:
        counted = "".join(f"; {n} {why}" for why, n in notes.items())
        names = textwrap.shorten(", ".join(name for name in row if isinstance(name, str)), 300)
        raise ValueError(f"{path} has no usable row{counted}"
                         + (f"; its columns are {names}" if names else ""))
    if labels:
        return examples, notes
    once = dict.fromkeys(Example(e.input, "", long=e.long) for e in examples)
    return list(once), notes + Counter({"skipped: an input twice": len(examples) - len(once)})


def tell(name, path, notes):
    """Say on standard error what of a task's file was skipped or fixed: notes counts it."""
    for why, count in notes.items():
        print(f"{name}: {count} rows of {path} {why}", file=sys.stderr)


def read_file(name, task, path, train):
    """The Examples of a task's train or dev file; tells what was odd, their number too.

    Raises ValueError as read_split does.
    """
    examples, notes = read_split(task, path, train)
    tell(name, path, notes)
    if task.sizes and len(examples) != task.sizes[0 if train else 1]:
        print(f"{name}: {len(examples)} examples in {path}, the published file has "
              f"{task.sizes[0 if train else 1]}", file=sys.stderr)
    return examples


def tell_of_ids(name, longest, inputs, cut, dev, cut_dev):
    """Say how many inputs, as ids, were too long, and whether the vocabulary knows their words."""
    if cut or cut_dev:
        print(f"{name}: {cut} of {len(inputs)} training inputs and {cut_dev} of {len(dev)} dev "
              f"inputs cut to {longest} tokens", flush=True)
    unknown = sum(ids.count(UNK) for ids in inputs) / sum(map(len, inputs))
    if unknown > 0.01:
        print(f"{name}: {100 * unknown:.1f} % of its input tokens are unknown to this model's "
              "vocabulary, which was made for another kind of text", flush=True)


def read_inputs(name, task, source, generated):
    """Examples whose targets are "".

    source     a .txt file, an input a line; a file in the task's own format, with labels or
               without; or of a generated task a number: so many more
    generated  number -> as many (text, target)
    Tells what was odd. Raises ValueError as read_split does, and for a source that this task
    cannot have.
    """
    if source.isdecimal():
        if task.files:
            raise ValueError(f"{name} is not generated: give --unlabelled a file, not {source}")
        return [Example(text, "") for text, _ in generated(int(source))]
    path = Path(source)
    if path.suffix == ".txt":
        task = dataclasses.replace(task, input="{text}", cut="", read=readers.read_txt, rows=None)
    elif not task.files:
        raise ValueError(f"{name} is generated and has no format: --unlabelled {path} is no .txt")
    examples, notes = read_split(task, path, labels=False)
    tell(name, path, notes)
    return examples

"""Tasks as text to text, the tokenizer, batches and metrics.

T5 reads a string and writes a string, whatever the task (Raffel et al. 2020,
section 2.4). So a task here is one entry of TASKS: where its rows come from, how a
row becomes an input and a target string, which targets are legal, and what counts
as good. The strings are those of T5's own preprocessors without the leading task
name, which a prompt takes the place of (Lester et al. 2021, section 3).

    python data.py           the tasks, their sizes and metrics
    python data.py cb --data FOLDER
                             examples of one as the model sees them

Tasks named toy-* are generated (toy/world.py) and need no files. The others read
the official files of GLUE and SuperGLUE from a folder of yours.

Dimensions: B batch, S source tokens, T target tokens.
"""

import argparse
import dataclasses
import difflib
import functools
import hashlib
import http.client
import json
import os
import random
import re
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

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

    def encode(self, text, longest=None):
        """Text -> token ids with eos at the end; cut to `longest` tokens, eos kept."""
        ids = self.sp.encode(text)
        return ids[:longest - 1 if longest else None] + [EOS]

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
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], device=device)


@functools.lru_cache(maxsize=16)  # a shuffle of MNLI takes a while, and every step asks for it
def order(count, seed, epoch):
    """The order in which an epoch visits `count` examples, the same for the same numbers.

    Nothing needs to be remembered to go on in the middle of a run.
    """
    places = list(range(count))
    random.Random(f"order {seed} {epoch}").shuffle(places)
    return tuple(places)


# -------------------------------------------------------------------- metrics


def accuracy(predictions, targets):
    """Share of predictions that are the target, word for word."""
    return sum(p == t for p, t in zip(predictions, targets)) / len(targets)


def f1(predictions, targets, positive):
    """2 tp / (2 tp + fp + fn) of one class; 0 when the class is neither there nor predicted."""
    tp = sum(p == t == positive for p, t in zip(predictions, targets))
    fp = sum(p == positive != t for p, t in zip(predictions, targets))
    fn = sum(t == positive != p for p, t in zip(predictions, targets))
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(predictions, targets, labels):
    """The mean of the labels' F1 (CB in SuperGLUE: Wang et al. 2019)."""
    return sum(f1(predictions, targets, label) for label in labels) / len(labels)


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
    """Micro-F1 over (type, span): 2 * right / (predicted + wanted), 1 if there is nothing."""
    right = predicted = wanted = 0
    for prediction, target in zip(predictions, targets):
        found, gold = Counter(entities(prediction)), Counter(entities(target))
        right += (found & gold).total()
        predicted += found.total()
        wanted += gold.total()
    return 2 * right / (predicted + wanted) if predicted + wanted else 1.0


# ---------------------------------------------------------------------- tasks


@dataclasses.dataclass(frozen=True)
class Example:
    """One row as text to text."""

    input: str
    target: str


@dataclasses.dataclass(frozen=True)
class Task:
    """One line of the table below.

    files    (train, dev) inside the data folder; () for a generated task
    input    template over the columns of a row
    target   the column of the target
    labels   the legal targets; () for free text
    metrics  the first is the one reported and selected by
    """

    files: tuple
    input: str
    target: str
    labels: tuple
    metrics: tuple


NLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")


def toy(labels, metric="accuracy"):
    return Task((), "", "", tuple(labels), (metric,))


TASKS = {
    "cb": Task(("superglue/CB/train.jsonl", "superglue/CB/val.jsonl"),
               "hypothesis: {hypothesis} premise: {premise}", "label",
               ("entailment", "contradiction", "neutral"), ("accuracy", "macro_f1")),
    "mnli": Task(("glue/MNLI/train.tsv", "glue/MNLI/dev_matched.tsv"),
                 "hypothesis: {sentence2} premise: {sentence1}", "gold_label",
                 NLI, ("accuracy",)),
    "rte": Task(("superglue/RTE/train.jsonl", "superglue/RTE/val.jsonl"),
                "hypothesis: {hypothesis} premise: {premise}", "label", RTE, ("accuracy",)),
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
        near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4) or sorted(TASKS)
        raise ValueError(f"unknown task {name!r}; did you mean {', '.join(near)}? "
                         "`python data.py` lists all")
    return TASKS[name]


def read_rows(path):
    """(line number, row) of a .jsonl or .tsv file, a row being column -> value.

    GLUE's .tsv files have a header and no quoting: a quotation mark is a character
    like any other, and every tab ends a column.
    """
    header = None
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if path.suffix == ".jsonl":
                    try:
                        row = json.loads(line)
                    except json.JSONDecodeError as error:
                        raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
                    if not isinstance(row, dict):
                        raise ValueError(f"{path}, line {number}: not a JSON object")
                    yield number, row
                    continue
                cells = line.rstrip("\r\n").split("\t")
                header = header or cells
                if cells != [""] and number > 1:
                    if len(cells) != len(header):
                        raise ValueError(f"{path}, line {number}: {len(cells)} columns, "
                                         f"the header has {len(header)}")
                    yield number, dict(zip(header, cells))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None


def read_split(task, path):
    """All examples of one file. Raises ValueError, with the line, for a row it cannot use."""
    examples = []
    columns = re.findall(r"{(\w+)}", task.input) + [task.target]
    for number, row in read_rows(path):
        if row.get(task.target) == "-":  # MNLI: the annotators did not agree, left out by its authors too
            continue
        for column in columns:
            if not isinstance(row.get(column), str):
                raise ValueError(f"{path}, line {number}: no text in column {column!r}")
        target = row[task.target]
        if task.labels and target not in task.labels:
            raise ValueError(f"{path}, line {number}: label {target!r}, wanted one of "
                             f"{', '.join(task.labels)}")
        examples.append(Example(" ".join(task.input.format_map(row).split()), target))
    if not examples:
        raise ValueError(f"{path} has no rows")
    return examples


def load(name, folder=None):
    """The (train, dev) examples of a task.

    Generated tasks need no folder. Raises ValueError for an unknown name, a missing
    file, or a row that cannot be used.
    """
    task = find_task(name)
    if not task.files:
        kind = name.removeprefix("toy-")
        return tuple([Example(*pair) for pair in
                      world.examples(kind, world.SIZES[kind][dev], seed=0, dev=bool(dev))]
                     for dev in (0, 1))
    if folder is None:
        raise ValueError(f"{name} needs its files: give --data FOLDER with {task.files[0]} "
                         f"and {task.files[1]} in it")
    paths = [Path(folder) / file for file in task.files]
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} is missing: {name} reads {task.files[0]} and "
                             f"{task.files[1]} inside the data folder")
    return tuple(read_split(task, path) for path in paths)


def score(name, predictions, targets):
    """The task's metrics, name -> percent, the reported one first.

    >>> score("toy-nli", ["neutral", "entailment"], ["neutral", "neutral"])
    {'accuracy': 50.0}
    """
    task = find_task(name)
    if not targets or len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    functions = {"accuracy": accuracy, "entity_f1": entity_f1,
                 "macro_f1": lambda p, t: macro_f1(p, t, task.labels)}
    return {metric: 100 * functions[metric](predictions, targets) for metric in task.metrics}


def majority(name, train, dev):
    """What the commonest target of the training set would score on dev, in percent."""
    commonest = Counter(example.target for example in train).most_common(1)[0][0]
    scores = score(name, [commonest] * len(dev), [example.target for example in dev])
    return next(iter(scores.values()))


# ------------------------------------------------------------------ checkpoints

HUB = "https://huggingface.co"
SHORT_NAMES = {f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")}


def cache_folder():
    """Where downloads are kept: $PANDA_T5_CACHE, or the user's cache folder (XDG)."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("PANDA_T5_CACHE") or home / "panda-t5")


def fetch(url, path):
    """Download `url` to `path`, whole or not at all. Raises OSError if it cannot be had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with urllib.request.urlopen(url, timeout=60) as response, open(partial, "wb") as file:
            expected, got = response.headers.get("Content-Length"), 0
            while block := response.read(1 << 20):
                file.write(block)
                got += len(block)
        if expected is not None and got != int(expected):
            raise OSError(f"{url}: {got} of {expected} bytes arrived")
        os.replace(partial, path)
    except http.client.HTTPException as error:  # which is no OSError
        raise OSError(f"{url}: {error!r}") from None
    finally:
        partial.unlink(missing_ok=True)


def checkpoint(name, hub=HUB):
    """The folder of a T5: a folder as it is, or a published name fetched once.

    Names: t5-small … t5-11b, or owner/repository as in google/t5-base-lm-adapt.
    Raises ValueError that says which files to put where if there is no network.
    """
    if Path(name).is_dir():
        return Path(name)
    if name not in SHORT_NAMES and (name.count("/") != 1 or name.startswith((".", "/"))):
        near = difflib.get_close_matches(name, SHORT_NAMES, n=2)
        raise ValueError(f"{name!r} is neither a folder nor a model's name"
                         f"{'; did you mean ' + ' or '.join(near) if near else ''} "
                         f"(known: {', '.join(sorted(SHORT_NAMES))}, google/t5-base-lm-adapt, …)")
    folder = cache_folder() / "models" / name
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")

    def get(file):
        if not (folder / file).exists():
            print(f"fetching {hub}/{name}/resolve/main/{file}", file=sys.stderr)
            fetch(f"{hub}/{name}/resolve/main/{file}", folder / file)

    try:
        for file in ("config.json", "spiece.model"):
            get(file)
        if not any((folder / file).exists() for file in weights):
            for file in weights:  # the first form that is published
                try:
                    get(file)
                    break
                except urllib.error.HTTPError as error:
                    if error.code != 404 or file == weights[-1]:
                        raise
        index = folder / "model.safetensors.index.json"
        if index.exists():
            try:
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{index} is no index of weights; delete it and try again") from None
            for file in shards:
                if Path(file).name != file:
                    raise ValueError(f"{index} names {file!r}, which is no plain file name")
                get(file)
    except OSError as error:
        raise ValueError(f"{name} could not be fetched from {hub}/{name} ({error}). By hand: put its "
                         f"config.json, spiece.model and model.safetensors (or pytorch_model.bin) "
                         f"into {folder}, or give their folder as --model") from None
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", nargs="?", help="show examples of this task")
    parser.add_argument("--data", help="folder with the official files")
    parser.add_argument("--model", default=str(Path(__file__).parent / "toy" / "t5"),
                        help="folder or name whose tokenizer counts the tokens (default: the toy T5)")
    parser.add_argument("--count", type=int, default=3, help="how many examples to show")
    args = parser.parse_args()
    if args.task is None:
        print(f"{'task':12} {'train':>7} {'dev':>6}  metrics; labels")
        for name, task in TASKS.items():
            sizes = world.SIZES[name.removeprefix("toy-")] if not task.files else ("file", "file")
            print(f"{name:12} {sizes[0]:>7} {sizes[1]:>6}  {', '.join(task.metrics)}; "
                  f"{', '.join(task.labels) or 'free text'}"
                  f"{'; reads ' + ' and '.join(task.files) if task.files else ''}")
        return
    train, dev = load(args.task, args.data)
    tokenizer = Tokenizer(checkpoint(args.model) / "spiece.model")
    print(f"{args.task}: {len(train)} train, {len(dev)} dev, "
          f"majority class {majority(args.task, train, dev):.1f}")
    for example in dev[:args.count]:
        source, target = tokenizer.encode(example.input), tokenizer.encode(example.target)
        print(f"\ninput  ({len(source)} tokens)  {example.input}"
              f"\ntarget ({len(target)} tokens)  {example.target}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"data.py: {error}", file=sys.stderr)
        sys.exit(2)

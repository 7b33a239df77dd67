"""Tasks as text to text, and their examples as token ids.

T5 reads a string and writes a string, whatever the task (Raffel et al. 2020,
section 2.4). So a task here is one entry of TASKS: where its rows come from, how a
row becomes an input and a target string, which targets are legal, and what counts
as good. The strings are those of T5's own preprocessors without the leading task
name, which a prompt takes the place of (Lester et al. 2021, section 3). One row of CB:

    {"premise": "They said it rained.", "hypothesis": "it rained", "label": "neutral"}

    input    hypothesis: it rained premise: They said it rained.
    target   neutral

    python data.py           the tasks, their sizes and metrics
    python data.py cb        examples of one as the model sees them

The 21 tasks are those of PANDA (Zhong et al. 2022): their official files are
read from a folder of yours, or fetched once. Tasks named toy-* are generated
(toy/world.py) and need no files. A task of your own is one more entry.

Not here, because no paper mentions it: the formats of the files and what becomes of an odd row
(plumbing/readers.py), the metrics' formulas (plumbing/metrics.py), downloads
(plumbing/download.py), the tokenizer (plumbing/tokenizer.py).

Dimensions: S source tokens, T target tokens.
"""

import argparse
import dataclasses
import difflib
import functools
import hashlib
import random
import re
import sys
from collections import Counter

from model import pad
from plumbing import flags, readers
from plumbing.download import archive_of, checkpoint, located
from plumbing.metrics import METRICS
from plumbing.tokenizer import UNK, Tokenizer
from toy import world


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One row as text to text."""

    input: str
    target: str
    golds: tuple = ()  # what the metric compares with, where that is not the target
    group: str = ""    # the question of MultiRC: its answers are scored together
    # The part of the input that may be cut, [from, to).
    long: tuple = dataclasses.field(default=(0, 0), compare=False)


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
            raise ValueError(f"metrics are {self.metrics!r}, wanted a tuple of "
                             f"{', '.join(METRICS)}")
        if self.codes and (len(self.codes) != len(self.labels)
                           or not all(isinstance(code, str) for code in self.codes)):
            raise ValueError(f"codes are {self.codes!r}, wanted a string for each of {self.labels}")


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

# The columns stand in alphabetical order and under the names that T5's own preprocessors give
# them: a published T5 was pretrained on many of these tasks, and meets the strings that it knows.
# Labels are words for the same reason. NER and SRL have no preprocessor of T5's: theirs are ours.
TASKS = {
    # --- the nine targets of PANDA, which are sources as well
    "cb": Task(superglue("CB"), "hypothesis: {hypothesis} premise: {premise}", "label",
               ("entailment", "contradiction", "neutral"), ("accuracy", "macro_f1"),
               sizes=(250, 56)),
    "copa": Task(superglue("COPA"), "choice1: {choice1} choice2: {choice2} premise: {premise} "
                 "question: {question}", "label", ("choice1", "choice2"), ("accuracy",),
                 codes=("0", "1"), sizes=(400, 100), cut="premise"),
    "wsc": Task(superglue("WSC"), "{text}", "referent", (), ("referent_accuracy",),
                sizes=(259, 104), rows=readers.wsc),
    "rte": Task(superglue("RTE"), "hypothesis: {hypothesis} premise: {premise}", "label", RTE,
                ("accuracy",), sizes=(2490, 277)),
    "wic": Task(superglue("WiC"), "sentence1: {sentence1} sentence2: {sentence2} word: {word}",
                "label", BOOL, ("accuracy",), sizes=(5428, 638), cut="sentence2"),
    "cola": Task(glue("CoLA"), "sentence: {sentence}", "label", ("unacceptable", "acceptable"),
                 ("matthews",), codes=("0", "1"), sizes=(8551, 1043),
                 read=functools.partial(readers.read_tsv,
                                        header=("source", "label", "mark", "sentence"))),
    "mrpc": Task(("glue/MRPC/msr_paraphrase_train.txt", "glue/MRPC/mrpc_dev_ids.tsv"),
                 "sentence1: {sentence1} sentence2: {sentence2}", "Quality",
                 ("not_equivalent", "equivalent"), ("accuracy", "f1"), codes=("0", "1"),
                 sizes=(3668, 408), read=readers.read_mrpc),
    "stsb": Task(glue("STS-B"), "sentence1: {sentence1} sentence2: {sentence2}", "rounded", (),
                 ("pearson", "spearman"), sizes=(5749, 1500), rows=readers.stsb),
    "conll04": Task(("conll04/conll04_train.json", "conll04/conll04_dev.json"), *NER,
                    sizes=(922, 231), read=readers.read_conll04),
    # --- the twelve other sources
    "mnli": Task(glue("MNLI", "dev_matched.tsv"), "hypothesis: {sentence2} premise: {sentence1}",
                 "gold_label", NLI, ("accuracy",), sizes=(392702, 9815)),
    "qnli": Task(glue("QNLI"), "question: {question} sentence: {sentence}", "label", RTE,
                 ("accuracy",), sizes=(104743, 5463)),
    "qqp": Task(glue("QQP"), "question1: {question1} question2: {question2}", "is_duplicate",
                ("not_duplicate", "duplicate"), ("f1", "accuracy"), codes=("0", "1"),
                sizes=(363846, 40430)),
    "sst2": Task(glue("SST-2"), "sentence: {sentence}", "label", ("negative", "positive"),
                 ("accuracy",), codes=("0", "1"), sizes=(67349, 872)),
    "boolq": Task(superglue("BoolQ"), "passage: {passage} question: {question}", "label", BOOL,
                  ("accuracy",), sizes=(9427, 3270), cut="passage"),
    "multirc": Task(superglue("MultiRC"), "question: {question and answer} paragraph: {paragraph}",
                    "label", BOOL, ("f1", "question_em"), codes=("0", "1"), sizes=(27243, 4848),
                    rows=readers.multirc),
    "record": Task(superglue("ReCoRD"), "query: {query} entities: {entities} passage: {passage}",
                   "answer", (), ("answer_f1", "answer_em"), sizes=(100730, 10000),
                   rows=readers.record),
    "squad": Task(("squad/train-v1.1.json", "squad/dev-v1.1.json"),
                  "question: {question} context: {context}", "answer", (),
                  ("answer_em", "answer_f1"), sizes=(87599, 10570), read=readers.read_squad),
    "conll03": Task(("conll03/eng.train", "conll03/eng.testa"), *NER, sizes=(14041, 3250),
                    read=readers.read_conll03),
    "ontonotes": Task(("ontonotes/train", "ontonotes/development"), *NER,
                      read=readers.read_ontonotes),
    "conll05": Task(("conll05/train", "conll05/devel"), *SRL, read=readers.read_conll05),
    "conll12": Task(("conll12/train", "conll12/development"), *SRL,
                    read=functools.partial(readers.read_ontonotes, predicates=True)),
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


# ------------------------------------------------------------- reading, scoring


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
    for place, row in readers.rows_of(path, task.read, task.rows, train):
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
        counted = "".join(f"; {n} {why}" for why, n in notes.items())
        raise ValueError(f"{path} has no usable row{counted}"
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
    for train, path in zip((True, False), located(name, task.files, folder, cache)):
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
    that is no legal label counts as wrong, never as missing, or a model that babbles would be
    scored on the examples that suit it. Of two labels it counts as the other one: F1 and
    Matthews' correlation need to know which mistake was made.

    >>> score("toy-nli", ["neutral", "entailment"], ["neutral", "neutral"])
    {'accuracy': 50.0}
    """
    task = find_task(name)
    if not targets or len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    examples = [e if isinstance(e, Example) else Example("", e, golds=(e,)) for e in targets]
    if len(task.labels) == 2:
        wrong = dict(zip(task.labels, reversed(task.labels)))
        predictions = [p if p in task.labels else wrong[e.target]
                       for p, e in zip(predictions, examples)]
    return {metric: 100 * METRICS[metric](predictions, examples, task.labels)
            for metric in task.metrics}


# What a label is called in another data set, by its equal or by a coarser word.
ALSO = {"equivalent": "duplicate", "not_equivalent": "not_duplicate",
        "duplicate": "equivalent", "not_duplicate": "not_equivalent",
        "neutral": "not_entailment", "contradiction": "not_entailment"}


def common_labels(trained, other):
    """How answers to one task are scored on another: (task to score as, label -> its word there).

    Both tasks' labels get a word of whichever has the coarser ones; that the tasks ask the
    same is up to the caller. Free text stays as it is, and a metric must be shared. Raises
    ValueError where the labels or metrics do not meet.

    >>> common_labels("cb", "rte")[0], common_labels("rte", "cb")[0]
    ('rte', 'rte')
    >>> common_labels("qqp", "mrpc")[1]["duplicate"]
    'equivalent'
    """
    first, second = find_task(trained), find_task(other)
    if first.labels and second.labels:
        for name in (other, trained):
            there = TASKS[name].labels
            words = {label: label if label in there else ALSO.get(label)
                     for label in first.labels + second.labels}
            if set(words.values()) <= set(there):
                return name, words
    elif first.labels == second.labels and set(first.metrics) & set(second.metrics):
        return other, {}
    says = [f"{name} answers {', '.join(task.labels) or f'free text for {task.metrics[0]}'}"
            for name, task in ((trained, first), (other, second))]
    raise ValueError("; ".join(says) + ": no labels in common")


def majority(name, targets, dev):
    """What the commonest of the training targets, a Counter, would score on dev, in percent."""
    commonest = targets.most_common(1)[0][0]
    return next(iter(score(name, [commonest] * len(dev), dev).values()))


# ----------------------------------------------------------------- as token ids


@functools.lru_cache(maxsize=16)  # a shuffle of MNLI takes a while, and every step asks for it
def shuffled(count, seed, epoch):
    """The order in which an epoch visits `count` examples, the same for the same numbers.

    So nothing needs to be remembered to go on in the middle of a run, and every approach meets
    the examples of a seed in the same order. Of whole epochs, not draws with replacement: in a
    small task each example would else be seen by luck.
    """
    places = list(range(count))
    random.Random(f"order {seed} {epoch}").shuffle(places)
    return tuple(places)


class Encoded:
    """A task's examples as token ids, and the parts of dev to choose and to report by.

    train            [(input ids, an array; target ids, a list)], both ending in eos
    dev, dev_ids     Examples, and the ids of their inputs
    choose, report   places in dev: a checkpoint is chosen by the first, and the chosen one is
                     scored on the second. With held_out 0 both are all of dev. That is the
                     papers' habit, and flatters; it is the default, because published dev
                     sets are small. Only toy/t5/recipe.json holds some out
    labels           the ids of each label, [] for free text; longest: of an answer, in tokens
    targets          how often each target stands in the training set
    majority         what the commonest would score on the reported part, in percent
    fingerprint      a checksum of all examples, and of what is asked of them

    recipe: anything with max_input, max_dev and held_out (train.Recipe says what they mean).
    Raises ValueError for a label that the vocabulary cannot write.
    """

    def __init__(self, name, tokenizer, recipe, folder=None, cache=None):
        self.name, self.task, self.tokenizer = name, find_task(name), tokenizer
        self.labels = [tokenizer.encode(label) for label in self.task.labels]
        for label, ids in zip(self.task.labels, self.labels):
            if UNK in ids or self.labels.count(ids) > 1:
                raise ValueError(f"{name}: this model's vocabulary cannot write {label!r} so that "
                                 "it differs from the other labels: give another --model")
        train, dev = load(name, folder, cache)
        if recipe.max_dev and recipe.max_dev < len(dev):
            dev = [dev[i * len(dev) // recipe.max_dev] for i in range(recipe.max_dev)]
        inputs, cut = tokenizer.encode_inputs(train, recipe.max_input)
        self.dev, (self.dev_ids, cut_dev) = dev, tokenizer.encode_inputs(dev, recipe.max_input)
        self.train = list(zip(inputs, (tokenizer.encode(e.target) for e in train)))
        self.longest = max(len(target) for _, target in self.train)
        if cut or cut_dev:
            print(f"{name}: {cut} of {len(train)} training inputs and {cut_dev} of {len(dev)} dev "
                  f"inputs cut to {recipe.max_input} tokens", flush=True)
        unknown = sum(ids.count(UNK) for ids in inputs) / sum(map(len, inputs))
        if unknown > 0.01:
            print(f"{name}: {100 * unknown:.1f} % of its input tokens are unknown to this model's "
                  "vocabulary, which was made for another kind of text", flush=True)
        count = round(len(dev) * recipe.held_out)
        if recipe.held_out and not 0 < count < len(dev):
            raise ValueError(f"{name}: --held-out {recipe.held_out} of {len(dev)} dev examples "
                             "leaves none to choose by, or none to report")
        order = shuffled(len(dev), 0, "held out")  # not the file's order, which may be sorted
        self.report = sorted(order[:count]) or sorted(order)
        self.choose = sorted(order[count:]) if count else sorted(order)
        self.targets = Counter(example.target for example in train)
        self.majority = majority(name, self.targets, [dev[i] for i in self.report])
        asked = self.task.metrics, self.task.labels  # other ones would give other scores
        digest = hashlib.sha256(f"{asked} {self.train} {self.dev_ids} {dev}".encode())
        self.fingerprint = digest.hexdigest()[:16]

    def step(self, seed, step, batch):
        """The places of the training examples of a seed's step: a walk through shuffled epochs."""
        visits = [divmod(at, len(self.train)) for at in range(step * batch, (step + 1) * batch)]
        return [shuffled(len(self.train), seed, epoch)[place] for epoch, place in visits]

    def kind(self, device):
        """What this task asks of prompt.ask: (label ids (L, T), None), or (None, most tokens)."""
        return (pad(self.labels, device), None) if self.labels else (None, self.longest)

    def texts(self, answers):
        """The answers of prompt.ask as strings: the likeliest label, or the text."""
        if self.labels:
            return [self.task.labels[answer.argmax()] for answer in answers]
        return [self.tokenizer.decode(ids) for ids, _ in answers]

    def score(self, texts, places):
        """The task's first metric of what was answered to these places of dev, in percent."""
        return next(iter(score(self.name, texts, [self.dev[i] for i in places]).values()))


# ----------------------------------------------------------- the command line


def print_tasks():
    print(f"{'task':12} {'train':>7} {'dev':>6}  metrics; labels; files")
    for name, task in TASKS.items():
        sizes = task.sizes if task.files else world.SIZES[name.removeprefix("toy-")]
        where = ("generated" if not task.files else "fetched: " if archive_of(task.files[0])
                 else "by hand: ") + ", ".join(task.files)
        print(f"{name:12} {sizes[0] if sizes else '?':>7} {sizes[1] if sizes else '?':>6}  "
              f"{', '.join(task.metrics)}; {', '.join(task.labels) or 'free text'}; {where}")


def show_examples(name, args):
    """The first dev examples of a task as the model sees them, and how many tokens that is."""
    train, dev = load(name, args.data, args.cache)
    tokenizer = Tokenizer(checkpoint(args.model, cache=args.cache, weights=False) / "spiece.model")
    print(f"{name}: {len(train)} train, {len(dev)} dev, {TASKS[name].metrics[0]} of the "
          f"commonest target {majority(name, Counter(e.target for e in train), dev):.1f}")
    rows, _ = tokenizer.encode_inputs(dev[:args.count], args.max_input)
    for example, ids in zip(dev, rows):
        whole, target = tokenizer.encode(example.input), tokenizer.encode(example.target)
        cut = f", cut from {len(whole)}" if len(ids) < len(whole) else ""
        text = tokenizer.decode(ids) if cut else example.input
        print(f"\ninput  ({len(ids)} tokens{cut})  {text}"
              f"\ntarget ({len(target)} tokens)  {example.target}"
              + (f"\nscored against  {' | '.join(example.golds)}" if example.golds else ""))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("task", nargs="?", help="show examples of this task")
    add("--data", help="folder with the official files (default: fetched into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or the user's cache)")
    add("--model", help="folder with a spiece.model, or name, whose vocabulary counts the tokens "
        "(default: the toy T5 for generated tasks, else t5-small)")
    add("--max-input", type=int, default=512, help="tokens of an input (default: 512)")
    add("--count", type=int, default=3, help="how many dev examples to show (default: 3)")
    args = parser.parse_args(argv)
    if args.task is None:
        print_tasks()
        return
    if args.model is None:
        args.model = "t5-small" if find_task(args.task).files else str(world.MODEL)
    flags.check("max_input", args.max_input, at_least=2)
    flags.check("count", args.count, at_least=0)
    show_examples(args.task, args)


if __name__ == "__main__":
    flags.run(main, "data.py")

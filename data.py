"""Tasks as text to text, and their examples as token ids.

T5 reads a string and writes a string, whatever the task (Raffel et al. 2020, section 2.4). So a
task here is one entry of TASKS: where its rows come from, how a row becomes an input and a target
string, which targets are legal, and what counts as good. The strings are those of T5's own
preprocessors without the task's name, whose place a prompt takes (Lester et al. 2021, section 3):

    CB       {"premise": "They said it rained.", "hypothesis": "it rained", "label": "neutral"}

    input    hypothesis: it rained premise: They said it rained.
    target   neutral

The two strings, and what scoring needs beside them, are an Example (plumbing/examples.py).

    python data.py           the tasks, their sizes and metrics
    python data.py cb        examples of one as the model sees them

The 21 tasks are those of PANDA (Zhong et al. 2022): their official files are read from a folder of
yours, or fetched once. Tasks named toy-* are generated (toy/world.py). Your own is one more entry.

Not here, because no paper mentions it, but in plumbing/: the formats of the files (readers.py),
what becomes of their rows, odd ones too (examples.py), the metrics' formulas (metrics.py),
downloads, the tokenizer, shuffling (order.py), and what this file prints as a command (show.py).

Dimensions: S source tokens, T target tokens.
"""

import plumbing  # noqa: F401: first, and Ctrl-C is one line from here on
import dataclasses
import difflib
import hashlib
from collections import Counter

from model import PAD, pad
from plumbing import command, readers, show
from plumbing.download import located
from plumbing.examples import Example, check_task, read_file, read_inputs, tell_of_ids
from plumbing.metrics import METRICS
from plumbing.order import shuffled, walk
from plumbing.tokenizer import UNK, Tokenizer  # noqa: F401
from toy import world


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
        check_task(self, METRICS)


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

# The columns stand in the order and under the names that T5's own preprocessors give them: a
# published T5 was pretrained on many of these tasks, and meets the strings that it knows.
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
                 ("matthews",), codes=("0", "1"), sizes=(8551, 1043), read=readers.read_cola),
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
    "conll12": Task(("conll12/train", "conll12/development"), *SRL, read=readers.read_conll12),
    # --- the toy world
    "toy-nli": toy(NLI), "toy-cb": toy(NLI), "toy-rte": toy(RTE),
    "toy-qqp": toy(("duplicate", "not_duplicate")), "toy-boolq": toy(("yes", "no")),
    "toy-qnli": toy(RTE), "toy-sst2": toy(("positive", "negative")),
    "toy-reviews": toy(("positive", "negative")),
    "toy-cola": toy(("acceptable", "unacceptable")), "toy-ner": toy((), "entity_f1"),
}


def find_task(name):
    """The Task of this name, or a ValueError that suggests the nearest ones."""
    if name not in TASKS:
        near = difflib.get_close_matches(name.lower(), TASKS, n=3, cutoff=0.4) or sorted(TASKS)
        raise ValueError(f"unknown task {name!r}; did you mean {', '.join(near)}? "
                         "`python data.py` lists all")
    return TASKS[name]


# ------------------------------------------------------------- reading, scoring


def load(name, folder=None, cache=None, least=0):
    """The (train, dev) examples of a task.

    Read from `folder`, if one is given, else from the cache, where they are fetched once.
    Generated tasks need neither, and have more than their size of training examples if `least`
    is more. What was skipped or fixed is counted on standard error.
    Raises ValueError for an unknown name, a missing file, or a row that cannot be used.
    """
    task = find_task(name)
    if not task.files:
        kind = name.removeprefix("toy-")
        sizes = [(max(world.SIZES[kind][0], least), False), (world.SIZES[kind][1], True)]
        return tuple([Example(*pair) for pair in world.examples(kind, count, seed=0, dev=dev)]
                     for count, dev in sizes)
    paths = located(name, task.files, folder, cache)
    return tuple(read_file(name, task, path, train) for train, path in zip((True, False), paths))


def without_labels(name, source, known):
    """Examples whose targets are "", as plumbing/examples.py's read_inputs says it.

    source: a file, or a number: so many as the toy world generates after the `known` ones.
    """
    return read_inputs(name, find_task(name), source, lambda count: world.examples(
        name.removeprefix("toy-"), known + count, seed=0)[known:])


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


def majority(name, targets, dev):
    """What the commonest of the training targets, a Counter, would score on dev, in percent."""
    commonest = targets.most_common(1)[0][0]
    return next(iter(score(name, [commonest] * len(dev), dev).values()))


# ----------------------------------------------------------------- as token ids


class Encoded:
    """A task's examples as token ids, and the parts of dev to choose and to report by.

    A place is an example's number in `train`, or from len(train) on that of an input that came
    without a label. Which training examples keep theirs is drawn by the seed: see `mine`.

    train            [(input ids, an array; target ids, a list)], both ending in eos
    inputs           the input ids at every place
    dev, dev_ids     Examples, and the ids of their inputs
    choose, report   places in dev: a checkpoint is chosen by the first, and the chosen one is
                     scored on the second. With held_out 0 both are all of dev: the papers'
                     habit, which flatters; published dev sets are small. The toy's holds some out
    labels           the ids of each label, [] for free text; longest: of an answer, in tokens
    targets          how often each target stands in the whole training set
    majority         what the commonest would score on the reported part, in percent
    fingerprint      a checksum of all examples, and of what is asked of them
    unlabelled       one of the inputs without labels, which only students read; "" without them

    recipe: anything with max_input, max_dev and held_out, and if need be labelled and unlabelled
    (train.Recipe says what they mean). Raises ValueError for a label that the vocabulary cannot
    write, and for labels or inputs without labels that the task does not have.
    """

    def __init__(self, name, tokenizer, recipe, folder=None, cache=None):
        self.name, self.task, self.tokenizer = name, find_task(name), tokenizer
        self.labels = [tokenizer.encode(label) for label in self.task.labels]
        for label, ids in zip(self.task.labels, self.labels):
            if UNK in ids or self.labels.count(ids) > 1:
                raise ValueError(f"{name}: this model's vocabulary cannot write {label!r} so that "
                                 "it differs from the other labels: give another --model")
        self.labelled, source = getattr(recipe, "labelled", 0), getattr(recipe, "unlabelled", "")
        train, dev = load(name, folder, cache, self.labelled)
        self.split = source == "rest"
        least, most = (1, len(train) - 1) if self.split else (0, len(train))
        if not least <= self.labelled <= most:
            raise ValueError(f"{name}: --labelled is {self.labelled}, wanted {least} to {most} of "
                             f"{len(train)} examples{' with --unlabelled rest' * self.split}")
        more = without_labels(name, source, len(train)) if source and not self.split else []
        if recipe.max_dev and recipe.max_dev < len(dev):
            dev = [dev[i * len(dev) // recipe.max_dev] for i in range(recipe.max_dev)]
        self.inputs, cut = tokenizer.encode_inputs(train + more, recipe.max_input)
        self.dev, (self.dev_ids, cut_dev) = dev, tokenizer.encode_inputs(dev, recipe.max_input)
        self.train = list(zip(self.inputs, (tokenizer.encode(e.target) for e in train)))
        self.longest = max(len(target) for _, target in self.train)
        tell_of_ids(name, recipe.max_input, self.inputs, cut, self.dev_ids, cut_dev)
        count = round(len(dev) * recipe.held_out)
        if recipe.held_out and not 0 < count < len(dev):
            raise ValueError(f"{name}: --held-out {recipe.held_out} of {len(dev)} dev examples "
                             "leaves none to choose by, or none to report")
        order = shuffled(len(dev), 0, "held out")  # not the file's order, which may be sorted
        self.report = sorted(order[:count]) or sorted(order)
        self.choose = sorted(order[count:]) if count else sorted(order)
        self.targets = Counter(example.target for example in train)
        self.majority = majority(name, self.targets, [dev[i] for i in self.report])
        few = [self.labelled] if self.labelled else []
        asked = self.task.metrics, self.task.labels, *few  # others would give other scores
        free = source and [self.split, *self.inputs[len(train):]]
        self.fingerprint, self.unlabelled = (
            what and hashlib.sha256(f"{what}".encode()).hexdigest()[:16]
            for what in (f"{asked} {self.train} {self.dev_ids} {dev}", free))

    def step(self, seed, step, batch):
        """The places of the labelled examples of a seed's step."""
        return walk(self.mine(seed), seed, step, batch)

    def mine(self, seed):
        """The places of the training examples that keep their labels, drawn by the seed."""
        every = len(self.train)
        return shuffled(every, seed, "labelled")[:self.labelled] if self.labelled else range(every)

    def rest(self, seed):
        """The places of a seed's inputs without labels; none if the recipe gives none."""
        if self.split:
            return shuffled(len(self.train), seed, "labelled")[self.labelled:]
        return range(len(self.train), len(self.inputs))

    def free(self, seed, step, batch):
        """The places of the inputs without labels of a seed's step, in an order of their own."""
        return walk(self.rest(seed), seed, step, batch, "free ")

    def kind(self, device):
        """What this task asks of prompt.ask: (label ids (L, T), None), or (None, most tokens)."""
        return (pad(self.labels, device), None) if self.labels else (None, self.longest)

    def told(self, answers):
        """The answers of prompt.ask as target ids, with their eos."""
        if self.labels:
            return [self.labels[answer.argmax()] for answer in answers]
        return [[i for i in ids if i != PAD] for ids, _ in answers]

    def texts(self, answers):
        """The answers of prompt.ask as strings: the likeliest label, or the text."""
        if self.labels:
            return [self.task.labels[answer.argmax()] for answer in answers]
        return [self.tokenizer.decode(ids) for ids, _ in answers]

    def score(self, texts, places):
        """The task's first metric of what was answered to these places of dev, in percent."""
        return next(iter(score(self.name, texts, [self.dev[i] for i in places]).values()))


if __name__ == "__main__":
    command.run(lambda: show.of_data(TASKS, find_task, load, majority, world), "data.py")

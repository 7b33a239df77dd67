"""Tasks as text to text, and their examples as token ids.

T5 reads a string and writes a string, whatever the task (Raffel et al. 2020, section 2.4). So a
task here is one entry of TASKS. It says which files hold the rows, how a row becomes an input and a
target string, which targets are legal, and which metrics score the answers. The strings are those
of T5's own preprocessors, but without the task's name, because a prompt takes its place (Lester et
al. 2021, section 3):

    CB       {"premise": "They said it rained.", "hypothesis": "it rained", "label": "neutral"}

    input    hypothesis: it rained premise: They said it rained.
    target   neutral

An `Example` has the input and the target. It also has the answers that the metric accepts, if these
are not just the target (`golds`), and the place of the long part of the input, which may be cut
(`long`).

Begin at TASKS. Below it are reading and scoring (strings), a task as token ids (`encode`), and the
order in which training visits the examples.

    python data.py           the tasks, their sizes and metrics
    python data.py cb        examples of one task as the model sees them

21 tasks are those of PANDA (Zhong et al. 2022). Their official files are read from a folder of
yours, or else downloaded once. You must fetch CoNLL's and OntoNotes' files yourself; the first
command says "by hand" for these. Tasks named toy-* are generated (toy/world.py). A task of your
own is one more entry. The file formats and the formulas of the metrics are in plumbing/.

Dimensions: B batch, L labels, T target tokens.
"""

import dataclasses
import difflib
import functools
import hashlib
import math
import random
from collections import Counter

from model import pad
from plumbing import formats, options
from plumbing.download import archive_of, located, model_folder
from plumbing.formats import Example
from plumbing.metrics import METRICS
from plumbing.tokenizer import EOS, UNK, Tokenizer
from prompt import Row, collate, generate, label_scores
from toy import world


@dataclasses.dataclass(frozen=True)
class Task:
    """One entry of the table below.

    files    (train, dev) inside the data folder; () for a generated task
    input    template over the columns of a row
    target   the column of the target
    labels   the legal targets; () for free text. The last is the positive one of f1 and matthews,
             if they are among the metrics
    metrics  names in METRICS; the first one is reported, and chooses the best checkpoint
    codes    what the file has in place of each label, if it is not the label itself
    sizes    published numbers of (train, dev) examples
    cut      the column that is cut when an input is too long; default: the template's last one
    read     path -> the rows of a file (plumbing/formats.py); default: a reader for its suffix
    rows     (a row of the file, whether for training) -> the rows it becomes; default: itself
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
        formats.check_task(self, METRICS)


def glue(folder, dev="dev.tsv"):
    return f"glue/{folder}/train.tsv", f"glue/{folder}/{dev}"


def superglue(folder):
    return f"superglue/{folder}/train.jsonl", f"superglue/{folder}/val.jsonl"


def toy(labels, metric="accuracy"):
    return Task((), "", "", tuple(labels), (metric,))


NLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")
BOOL = ("False", "True")
# input, target, labels, metrics
NER = ("sentence: {sentence}", "entities", (), ("entity_f1",))
SRL = ("predicate: {predicate} sentence: {sentence}", "arguments", (), ("argument_f1",))

# The columns have the order and the names that T5's own preprocessors give them. A published T5 was
# pretrained on many of these tasks, so it knows these strings. Labels are words for the same
# reason. T5 has no preprocessors for NER and SRL; the strings of these tasks are our own.
TASKS = {
    # --- the nine targets of PANDA, which are sources as well
    "cb": Task(superglue("CB"), "hypothesis: {hypothesis} premise: {premise}", "label",
               ("entailment", "contradiction", "neutral"), ("accuracy", "macro_f1"),
               sizes=(250, 56)),
    "copa": Task(superglue("COPA"), "choice1: {choice1} choice2: {choice2} premise: {premise} "
                 "question: {question}", "label", ("choice1", "choice2"), ("accuracy",),
                 codes=("0", "1"), sizes=(400, 100), cut="premise"),
    # A `rows` function makes the columns. The {text} of wsc has the pronoun between stars, and
    # training keeps only the pairs labelled true.
    "wsc": Task(superglue("WSC"), "{text}", "referent", (), ("referent_accuracy",),
                sizes=(259, 104), rows=formats.wsc),
    "rte": Task(superglue("RTE"), "hypothesis: {hypothesis} premise: {premise}", "label", RTE,
                ("accuracy",), sizes=(2490, 277)),
    "wic": Task(superglue("WiC"), "sentence1: {sentence1} sentence2: {sentence2} word: {word}",
                "label", BOOL, ("accuracy",), sizes=(5428, 638), cut="sentence2"),
    "cola": Task(glue("CoLA"), "sentence: {sentence}", "label", ("unacceptable", "acceptable"),
                 ("matthews",), codes=("0", "1"), sizes=(8551, 1043), read=formats.read_cola),
    "mrpc": Task(("glue/MRPC/msr_paraphrase_train.txt", "glue/MRPC/mrpc_dev_ids.tsv"),
                 "sentence1: {sentence1} sentence2: {sentence2}", "Quality",
                 ("not_equivalent", "equivalent"), ("accuracy", "f1"), codes=("0", "1"),
                 sizes=(3668, 408), read=formats.read_mrpc),
    # The target is the score, rounded to a multiple of 0.2 and written as text.
    "stsb": Task(glue("STS-B"), "sentence1: {sentence1} sentence2: {sentence2}", "rounded", (),
                 ("pearson", "spearman"), sizes=(5749, 1500), rows=formats.stsb),
    "conll04": Task(("conll04/conll04_train.json", "conll04/conll04_dev.json"), *NER,
                    sizes=(922, 231), read=formats.read_conll04),
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
    # One row for each answer of a question. Both are in one column, "… answer: …": some answers are
    # empty, and a row with an empty column is skipped.
    "multirc": Task(superglue("MultiRC"), "question: {question and answer} paragraph: {paragraph}",
                    "label", BOOL, ("f1", "question_em"), codes=("0", "1"), sizes=(27243, 4848),
                    rows=formats.multirc),
    # One row for each answer in training, one row for each question on dev.
    "record": Task(superglue("ReCoRD"), "query: {query} entities: {entities} passage: {passage}",
                   "answer", (), ("answer_f1", "answer_em"), sizes=(138854, 10000),
                   rows=formats.record),
    "squad": Task(("squad/train-v1.1.json", "squad/dev-v1.1.json"),
                  "question: {question} context: {context}", "answer", (),
                  ("answer_em", "answer_f1"), sizes=(87599, 10570), read=formats.read_squad),
    "conll03": Task(("conll03/eng.train", "conll03/eng.testa"), *NER, sizes=(14041, 3250),
                    read=formats.read_conll03),
    "ontonotes": Task(("ontonotes/train", "ontonotes/development"), *NER,
                      read=formats.read_ontonotes),
    "conll05": Task(("conll05/train", "conll05/devel"), *SRL, read=formats.read_conll05),
    "conll12": Task(("conll12/train", "conll12/development"), *SRL, read=formats.read_conll12),
    # --- the toy world
    "toy-nli": toy(NLI), "toy-cb": toy(NLI), "toy-rte": toy(RTE),
    "toy-qqp": toy(("duplicate", "not_duplicate")), "toy-boolq": toy(("yes", "no")),
    "toy-qnli": toy(RTE), "toy-sst2": toy(("positive", "negative")),
    "toy-reviews": toy(("positive", "negative")),
    "toy-cola": toy(("acceptable", "unacceptable")), "toy-ner": toy((), "entity_f1"),
}


def find_task(name):
    """The Task of this name. Raises ValueError with the most similar names."""
    if name not in TASKS:
        near = difflib.get_close_matches(name.lower(), TASKS, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise ValueError(f"unknown task {name!r}; {hint}`python data.py` lists all; for your own "
                         "data give the path of a .jsonl, .csv or .tsv file, or of a folder")
    return TASKS[name]


def own_task(name):
    """The name of a task. If `name` is a path to your own data, add a task named as the file.

    The path is a .jsonl, .csv or .tsv file, or a folder with train.* and dev.* (docs/extend.md).
    """
    path = options.path_flag(name)  # a Path, with ~ expanded
    is_data = path.suffix in (".jsonl", ".csv", ".tsv") or (path.is_dir() and name not in TASKS)
    if not is_data:
        return name
    fields = formats.task_from_file(path.resolve())
    if path.stem in TASKS:
        raise ValueError(f"{name}: there already is a task {path.stem}: rename the file")
    with formats.naming_row(name):  # an error of Task names the file
        TASKS[path.stem] = Task(**fields)
    return path.stem


# ------------------------------------------------------------- reading, scoring


def load(name, folder=None, cache=None, at_least=0):
    """The (train, dev) examples of a task.

    They are read from `folder`, if one is given, else from the cache, into which they are
    downloaded once (except those that `python data.py` lists as "by hand"). A generated task needs
    no files; it makes at least `at_least` training examples. A row without a text or a label is
    skipped, and standard error has the number of these. Raises ValueError for an unknown name, a
    missing file, or a row that cannot be used.
    """
    task = find_task(name)
    if not task.files:
        return generated(name, at_least)
    paths = located(name, task.files, folder, cache)
    train = formats.read_examples(name, task, paths[0], train=True)
    if len(paths) == 1:
        return split_one_file(train)
    return train, formats.read_examples(name, task, paths[1], train=False)


def split_one_file(examples, share=0.2):
    """(train, dev): a fifth of the examples becomes dev, the same fifth for all seeds."""
    order = shuffled(len(examples), 0, "dev of one file")
    count = math.ceil(len(examples) * share)
    is_dev = set(order[:count])
    train = [example for i, example in enumerate(examples) if i not in is_dev]
    return train, [examples[i] for i in sorted(is_dev)]


def generated(name, at_least=0):
    """The (train, dev) examples of a toy task."""
    kind = name.removeprefix("toy-")
    train_size, dev_size = world.SIZES[kind]
    train = world.examples(kind, max(train_size, at_least), seed=0, dev=False)
    dev = world.examples(kind, dev_size, seed=0, dev=True)
    return [Example(*pair) for pair in train], [Example(*pair) for pair in dev]


def score(name, predictions, targets):
    """The task's metrics, name -> percent, the reported one first.

    targets: Examples, or strings if the metric needs nothing else. A prediction that is no legal
    label counts as wrong. (`answers` gives only legal labels; this is for predictions from
    elsewhere.) If the task has two labels, such a prediction is replaced by the wrong label: F1 and
    Matthews' correlation need to know which mistake was made.

    >>> score("toy-nli", ["neutral", "entailment"], ["neutral", "neutral"])
    {'accuracy': 50.0}
    """
    task = find_task(name)
    if not targets or len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    examples = [target if isinstance(target, Example) else Example("", target, golds=(target,))
                for target in targets]
    if len(task.labels) == 2:
        first, second = task.labels
        other = {first: second, second: first}
        predictions = [prediction if prediction in task.labels else other[example.target]
                       for prediction, example in zip(predictions, examples)]
    scores = {}
    for metric in task.metrics:
        with formats.naming_row(f"{name}, metric {metric}"):
            scores[metric] = 100 * METRICS[metric](predictions, examples, task.labels)
    return scores


def first_metric(name, predictions, targets):
    """The reported metric, in percent."""
    return next(iter(score(name, predictions, targets).values()))


def majority(name, train_targets, dev):
    """Percent on dev if every answer is the commonest of train_targets (a Counter)."""
    [(commonest, _)] = train_targets.most_common(1)
    return first_metric(name, [commonest] * len(dev), dev)


# ----------------------------------------------------------------- as token ids


@dataclasses.dataclass
class EncodedTask:
    """A task's examples as token ids, and the two parts of dev: one chooses, one is reported."""

    name: str
    task: Task
    tokenizer: Tokenizer
    inputs: list  # the token ids of each training input, ending in eos
    targets: list  # the token ids of each training target
    dev: list  # Examples
    dev_inputs: list  # the token ids of their inputs
    labels: list  # the token ids of each label; [] for free text
    longest: int  # number of tokens of the longest training target
    choose: list  # indices of the dev examples by which a checkpoint is chosen
    report: list  # indices of the dev examples on which the chosen one is scored
    labelled: int  # how many training examples are used, see `labelled_examples`; 0: all
    majority: float  # score of the commonest training target on the reported part, in percent
    fingerprint: str  # a checksum of all examples, labels, metrics and `labelled`

    def labelled_examples(self, seed):
        """The indices of the training examples that keep their labels, drawn by the seed."""
        count = len(self.inputs)
        if not self.labelled:
            return range(count)
        return shuffled(count, seed, "labelled")[:self.labelled]

    def at_step(self, seed, step, batch):
        """The indices of the training examples that this step of this seed visits."""
        return visited(self.labelled_examples(seed), seed, step, batch)

    def label_tensor(self, device):
        """The label ids (L, T), padded; None for free text."""
        return pad(self.labels).to(device) if self.labels else None


def encode(name, tokenizer, recipe, folder=None, cache=None):
    """Read a task and turn it into token ids: an EncodedTask.

    recipe: has max_input, max_dev, held_out and labelled (explained in train.Recipe).
    Raises ValueError for a label that the vocabulary cannot write.
    """
    task = find_task(name)
    labels = encode_labels(name, tokenizer, task.labels)
    train, dev = load(name, folder, cache, recipe.labelled)
    if recipe.labelled > len(train):
        raise ValueError(f"{name}: --labelled is {recipe.labelled}, there are {len(train)} "
                         "examples")
    dev = evenly_spaced(dev, recipe.max_dev)
    inputs = encode_inputs(name, tokenizer, train, recipe.max_input)
    dev_inputs = encode_inputs(name, tokenizer, dev, recipe.max_input)
    targets = tokenizer.encode_all([example.target for example in train])
    choose, report = split_dev(name, len(dev), recipe.held_out)
    counts = Counter(example.target for example in train)
    commonest = majority(name, counts, [dev[i] for i in report])
    longest = max(len(target) for target in targets)
    decides = [task.metrics, task.labels, recipe.labelled, inputs, targets, dev_inputs, dev]
    fingerprint = hashlib.sha256(repr(decides).encode()).hexdigest()[:16]
    return EncodedTask(
        name, task, tokenizer, inputs, targets, dev, dev_inputs, labels, longest, choose, report,
        recipe.labelled, majority=commonest, fingerprint=fingerprint)


def encode_labels(name, tokenizer, labels):
    """The token ids of each label. Raises ValueError if one is unknown or equals another."""
    encoded = tokenizer.encode_all(list(labels))
    for label, ids in zip(labels, encoded):
        if UNK in ids or encoded.count(ids) > 1:
            raise ValueError(f"{name}: this model's vocabulary cannot write {label!r} so that "
                             "it differs from the other labels: give another --model")
    return encoded


def encode_inputs(name, tokenizer, examples, longest):
    """The token ids of each input, at most `longest`. Prints how many inputs were cut, and the
    share of unknown tokens if it is above 1 %."""
    encoded = tokenizer.encode_all([example.input for example in examples])
    cut = 0
    for i, example in enumerate(examples):
        if len(encoded[i]) > longest:
            encoded[i] = cut_input(tokenizer, example, longest)
            cut += 1
    if cut:
        print(f"{name}: {cut} of {len(examples)} inputs cut to {longest} tokens", flush=True)
    unknown = sum(ids.count(UNK) for ids in encoded) / sum(len(ids) for ids in encoded)
    if unknown > 0.01:
        print(f"{name}: {100 * unknown:.1f} % of the tokens of {len(examples)} inputs are unknown "
              "to this model's vocabulary, which was made for another kind of text", flush=True)
    return encoded


def cut_input(tokenizer, example, longest):
    """An input as at most `longest` token ids. The end of its long column is cut first.

    The long column is the premise or the passage. The rest is cut only if it alone is too long.
    """
    start, end = example.long
    before = tokenizer.encode(example.input[:start])[:-1]  # without eos
    long = tokenizer.encode(example.input[start:end])[:-1]
    after = tokenizer.encode(example.input[end:])[:-1]
    room = max(0, longest - 1 - len(before) - len(after))
    ids = before + long[:room] + after
    return ids[:longest - 1] + [EOS]


def evenly_spaced(examples, count):
    """`count` examples, evenly spaced; all of them if count is 0, or more than there are.

    >>> evenly_spaced(["a", "b", "c", "d"], 2)
    ['a', 'c']
    """
    if not 0 < count < len(examples):
        return examples
    return [examples[i * len(examples) // count] for i in range(count)]


def split_dev(name, count, held_out):
    """The indices of the dev examples that choose a checkpoint, and of those that are reported.

    held_out is the share that is reported. With 0 all of dev is used for both: that makes the score
    too high, but the papers do it, because published dev sets are small. The split is random,
    because a file may be sorted.
    """
    if not held_out:
        return list(range(count)), list(range(count))
    reported = round(count * held_out)
    if not 0 < reported < count:
        raise ValueError(f"{name}: --held-out {held_out} of {count} dev examples leaves none to "
                         "choose a checkpoint by, or none to report")
    order = shuffled(count, 0, "held out")
    return sorted(order[reported:]), sorted(order[:reported])


# ------------------------------------------------------------- the answers of a bank


def answers(engine, bank, task, rows):
    """The answer to each Row as a string: the most probable label, or generated text.

    None if T5 computes no valid numbers for a row. engine: a plumbing.engine.Engine, which splits
    the rows into batches, and returns the answers in the order of the rows.
    """
    labels = task.label_tensor(engine.device)

    def answer(some):
        batch = collate(some).to(engine.device)
        if labels is None:
            texts = generate(engine.t5, bank, batch, task.longest)
            return [None if ids is None else task.tokenizer.decode(ids) for ids in texts]
        scores = label_scores(engine.t5, bank, batch, labels)  # (B, L)
        texts = [task.task.labels[i] for i in scores.argmax(1).tolist()]
        are_numbers = (~scores.isnan().any(1)).tolist()
        return [text if is_number else None for text, is_number in zip(texts, are_numbers)]

    return engine.map(answer, rows, bank.length)


def dev_metrics(engine, bank, task, examples):
    """All metrics of each prompt of a bank on these dev examples: N dicts, name -> percent.

    The reported metric comes first. If one answer of a prompt is None, all its metrics are nan.
    """
    rows = [Row(n, i, task.dev_inputs[i]) for n in range(len(bank)) for i in examples]
    texts = answers(engine, bank, task, rows)
    wanted = [task.dev[i] for i in examples]
    metrics = []
    for n in range(len(bank)):
        of_prompt = texts[n * len(examples):(n + 1) * len(examples)]
        if None in of_prompt:
            metrics.append({metric: math.nan for metric in task.task.metrics})
        else:
            metrics.append(score(task.name, of_prompt, wanted))
    return metrics


# ------------------------------------------------------------- the order of examples


@functools.lru_cache(maxsize=64)  # every step needs it, and shuffling MNLI takes a while
def shuffled(count, seed, purpose):
    """The numbers below `count` in an order that depends on the arguments only.

    purpose: an epoch's number, for the order in which it visits the examples; or a word, for a
    draw that is made once. So a run can continue in the middle without a stored order, and for one
    seed every approach visits the examples in the same order.
    """
    order = list(range(count))
    random.Random(f"order {seed} {purpose}").shuffle(order)
    return tuple(order)


def visited(examples, seed, step, batch):
    """The `batch` examples (of a sequence of indices) that a step visits.

    They go through whole epochs, without replacement. With replacement, a small task would have
    examples that are visited often, and others that are never visited.

    >>> sorted(visited(range(4), 0, 0, 2) + visited(range(4), 0, 1, 2))
    [0, 1, 2, 3]
    """
    count = len(examples)
    numbers = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(position, count)
        numbers.append(examples[shuffled(count, seed, epoch)[offset]])
    return numbers


# ---------------------------------------------------------------------- the command


def show_tasks():
    """Print the table of the tasks."""
    print(f"{'task':12} {'train':>7} {'dev':>6}  metrics; labels; files")
    for name, task in TASKS.items():
        sizes = task.sizes
        origin = "generated"
        if task.files:
            way = "downloaded" if archive_of(task.files[0]) else "by hand"
            origin = f"{way}: {', '.join(task.files)}"
        else:
            sizes = world.SIZES[name.removeprefix("toy-")]
        train, dev = sizes or ("?", "?")
        print(f"{name:12} {train:>7} {dev:>6}  {', '.join(task.metrics)}; "
              f"{', '.join(task.labels) or 'free text'}; {origin}")


def show_examples(name, args):
    """Print the first dev examples of a task as the model sees them."""
    task = find_task(name)
    model = args.model or ("t5-small" if task.files else str(world.MODEL))
    train, dev = load(name, args.data, args.cache)
    folder = model_folder(model, cache=args.cache, weights=False)
    tokenizer = Tokenizer(folder / "spiece.model")
    commonest = majority(name, Counter(example.target for example in train), dev)
    print(f"{name}: {len(train)} train, {len(dev)} dev, {task.metrics[0]} of the commonest target "
          f"{commonest:.1f} on all dev")
    shown = dev[:args.count]
    inputs = encode_inputs(name, tokenizer, shown, args.max_input) if shown else []
    for example, ids in zip(shown, inputs):
        whole = tokenizer.encode(example.input)
        target = tokenizer.encode(example.target)
        cut = f", cut from {len(whole)}" if len(ids) < len(whole) else ""
        print(f"\ninput  ({len(ids)} tokens{cut})  {tokenizer.decode(ids)}")
        print(f"target ({len(target)} tokens)  {example.target}")
        if example.golds:
            print(f"scored against  {' | '.join(example.golds)}")


def main(argv=None):
    parser = options.Parser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("task", nargs="?", help="show examples of this task, or of your own file")
    add("--data", help="folder with the official files (default: downloaded into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or the user's cache)")
    add("--model", help="the model whose vocabulary is used: a name, or a folder with a "
        "spiece.model (default: the toy T5 for generated tasks, else t5-small)")
    add("--max-input", type=int, default=512, help="most tokens of an input (default: 512)")
    add("--count", type=int, default=3, help="how many dev examples to show (default: 3)")
    args = parser.parse_args(argv)
    options.check("max_input", args.max_input, at_least=2)
    options.check("count", args.count, at_least=0)
    if args.task is None:
        show_tasks()
    else:
        show_examples(own_task(args.task), args)


if __name__ == "__main__":
    options.run(main, "data.py")

"""Trained prompts at work: they answer, are scored, vote, and show which words they lie near.

    python predict.py answer PROMPT… --text "sentence: the soups were never awful ."
    python predict.py answer PROMPT… --task cb --data FILE --write predictions.jsonl
    python predict.py score PROMPT… --task cb,rte
    python predict.py score --model TUNED_T5 --task cb
    python predict.py neighbours PROMPT

A prompt is a folder that train.py wrote. Its JSON files name its task, its T5 and the dev examples
that its training reported on; flags override them. PEFT's folders, .npy and .pt files do not: they
need --task, the files --model as well.

Several prompts of one task vote (Lester et al. 2021, section 6). Prompts of several tasks answer
in one batch, where each row has the prompt of its own task (section 2). Scores on another task's
data are those of section 5: nothing is trained there.

Left out: sampling and beam search, and prompts of different lengths in one batch.

Dimensions: N prompts, B batch, T target tokens, L labels, P prompt length, D model, V vocabulary.
"""

import dataclasses
import functools
import itertools
import json
import math
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

import data
import model
import prompt
from model import PAD, pad, shift_right, target_log_probs
from plumbing import files, formats, options
from plumbing.download import located, model_folder
from plumbing.engine import DTYPES, Engine, choose_device, choose_dtype
from plumbing.metrics import per_class
from plumbing.report import markdown
from plumbing.stats import number, plus_minus
from prompt import NoPrompt, PromptBank, Row, collate
from toy import world

TOY = "toy/t5"  # what prompts of the toy T5 call it
MAX_INPUT = 512  # tokens, where no recipe says it
MAX_TOKENS = 128  # of free text, if its task's longest target is not known
MAX_BYTES = 1_000_000  # of a line
ANY_TASK = data.Task((), "{input}", "", (), ("accuracy",))


# ------------------------------------------------------------- prompts and their T5


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a prompt, or a tuned T5, was trained on."""

    name: str  # of the task
    task: data.Task
    recipe: dict
    longest: int = MAX_TOKENS  # tokens of its longest training target


def origin_of(path, file, name=None):
    """The Origin of a prompt (file: prompt.json) or of a tuned T5 (tuned.json).

    name: the task of what has no such file. Raises ValueError.
    """
    json_path = Path(path).expanduser() / file
    if not json_path.exists():
        if name is None:
            raise ValueError(f"{path} does not say its task: give --task")
        return Origin(name, data.find_task(name), {})
    made_by = files.read_json(json_path)
    with formats.naming_row(json_path):
        name = made_by["task"]
        definition = made_by.get("definition", {})
        known = data.TASKS.get(name, ANY_TASK) if definition else data.find_task(name)
        fields = {}
        for field, value in definition.items():
            fields[field] = tuple(value) if isinstance(value, list) else value
        task = dataclasses.replace(known, **fields)
        longest = made_by.get("longest_target", MAX_TOKENS)
        recipe = dict(made_by.get("recipe", {}))
        for field, default in DEV_SHARE.items():
            if not isinstance(recipe.get(field, default), (int, float)):
                raise ValueError(f"{field} is {recipe[field]!r:.80}, wanted a number")
        return Origin(name, task, recipe, longest)


def origins_of(args, name=None):
    """The Origins of the prompts, or of a tuned T5. Prompts are read once before the T5, which
    takes longer."""
    if not args.prompts:
        return [origin_of(args.model, "tuned.json", name)]
    for path in args.prompts:
        prompt.from_file(path)
    origins = [origin_of(path, "prompt.json", name) for path in args.prompts]
    by_task = {origin.name: origin for origin in origins}
    for origin in origins:
        if origin.task != by_task[origin.name].task:
            raise ValueError("these prompts have different labels or inputs for "
                             f"{origin.name}: they cannot vote")
    return origins


def t5_folder(args, path=""):
    """The folder of --model, or of the T5 that a prompt's adapter_config.json names."""
    config = Path(path).expanduser() / "adapter_config.json"
    where = "--model"
    name = args.model and options.model_flag(args.model)
    if not name and config.exists():
        name = files.read_json(config).get("base_model_name_or_path")
        where = config
    if not name:
        raise ValueError(f"{path} does not name its T5: give --model")
    if name == TOY:
        return world.MODEL
    with formats.naming_row(where):
        return model_folder(str(name), cache=args.cache)


def open_t5(args, path=""):
    """(an Engine, the tokenizer) of --model, or of the T5 that a prompt names."""
    folder = t5_folder(args, path)
    device, why = choose_device(args.device)
    dtype = choose_dtype(device, args.dtype, model.Config.read(folder))
    print(f"T5 {folder}; device {device} ({why}), {dtype}", file=sys.stderr)
    engine = Engine(model.load(folder, DTYPES[dtype], device), args.tokens)
    return engine, data.Tokenizer(folder / "spiece.model")


def read_bank(paths, t5, tokenizer):
    """A PromptBank of prompts that fit this T5 and each other. Raises ValueError."""
    shape = len(prompt.from_file(paths[0])), t5.config.d_model
    fingerprint = f"{t5.fingerprint}-{tokenizer.fingerprint}"
    vectors = [prompt.from_file(path, fingerprint, shape) for path in paths]
    return PromptBank(vectors).to(t5.device)


# ------------------------------------------------------------------------- answers


class FreeText(NamedTuple):
    text: str
    log_prob: float  # the mean of its tokens'


def vote_text(answers):
    """The FreeText that N prompts choose for one input: of the commonest text the surest.

    Case does not count. Among equally common texts (all may differ) the surest is taken.

    >>> vote_text([FreeText("Paris", -0.9), FreeText("rome", -0.1), FreeText("PARIS", -0.8)])
    FreeText(text='PARIS', log_prob=-0.8)
    """
    counts = Counter(answer.text.lower() for answer in answers)
    return max(answers, key=lambda answer: (counts[answer.text.lower()], answer.log_prob))


class Answerer(NamedTuple):
    """A T5 behind a bank of prompts, each of which answers to its own task."""

    engine: Engine
    tokenizer: data.Tokenizer
    bank: torch.nn.Module  # a PromptBank, or NoPrompt
    origins: list  # the Origin of each prompt of the bank
    max_tokens: int = None  # of free text; None: as many as the task's longest target has

    def answers(self, rows):
        """The answer to each Row: log p of its task's labels (L,), or a FreeText.

        Rows of several tasks go through the encoder together.
        """

        def answer(rows):
            batch = collate(rows).to(self.engine.device)
            memory, mask = prompt.encode(self.engine.t5, self.bank, batch)  # (B, P+S, D)
            of_rows = [self.origins[row.prompt] for row in rows]
            answers = {}  # number of the row -> its answer
            for name, origin in {origin.name: origin for origin in of_rows}.items():
                index = [i for i, of_row in enumerate(of_rows) if of_row.name == name]
                answers.update(zip(index, self.decode(origin, memory[index], mask[index])))
            return [answers[i] for i in range(len(rows))]

        return self.engine.map(answer, rows, self.bank.length)

    def decode(self, origin, memory, mask):
        """The answers of rows of one task. Raises ValueError if they are NaN."""
        t5 = self.engine.t5
        if origin.task.labels:
            ids = data.encode_labels(origin.name, self.tokenizer, origin.task.labels)
            log_probs = t5.score_labels(memory, mask, pad(ids).to(self.engine.device))  # (B, L)
            answers = list(log_probs.cpu())
        else:
            ids = t5.generate(memory, mask, self.max_tokens or origin.longest)  # (B, T)
            logits = t5.decode(shift_right(ids), memory, mask)
            log_probs = target_log_probs(logits, ids).sum(1) / (ids != PAD).sum(1)  # (B,)
            texts = [self.tokenizer.decode(row) for row in ids.tolist()]
            answers = list(map(FreeText, texts, log_probs.tolist()))
        if log_probs.isnan().any():
            raise ValueError(f"{origin.name}: this T5 answers NaN with these prompts, so there is "
                             "no score; another --dtype may help")
        return answers


def vote(labels, answers, how="majority"):
    """The text that a task's N prompts choose together for one input; one prompt's is its own."""
    if not labels:
        return vote_text(answers).text
    log_probs = torch.stack(answers)[:, None]  # (N, L) -> (N, 1, L)
    return labels[prompt.vote(log_probs, how).item()]


def together(labels, answers):
    """The answer of a task's N prompts to one input, as JSON can hold it.

    With labels: the majority's, and each label's probability among the labels, mean over the
    prompts. Free text: the chosen one, and the geometric mean of its tokens' probabilities.
    """
    if not labels:
        text, log_prob = vote_text(answers)
        return {"text": text, "confidence": math.exp(log_prob)}
    probabilities = torch.stack(answers).softmax(-1).mean(0).tolist()
    return {"label": vote(labels, answers), "probabilities": dict(zip(labels, probabilities))}


# ----------------------------------------------------------------------- questions


class Question(NamedTuple):
    """An input for the prompts of a task."""

    origin: Origin
    ids: list  # the token ids of the input
    key: dict  # what its answer repeats: row, task, id


@functools.cache
def say_once(text):
    print(f"predict.py: {text}", file=sys.stderr)


def questions_in(records, origins, tokenizer, bad):
    """A Question for each record that is one. Another is reported, and put into the list `bad`.

    records: (number, place, a dict or a line of JSON); origins: task -> Origin.
    Raises ValueError if there is no record.
    """
    number = 0
    for number, where, record in records:
        try:
            record, name = record_in(record, list(origins))
            origin = origins[name]
            example = example_of(origin.task, record)
        except ValueError as error:
            print(f"predict.py: {where}: {error}", file=sys.stderr)
            bad.append(where)
            continue
        if origin.task.input and example.long == (0, 0):
            say_once(f"prompts of {name} were trained on texts in the form {origin.task.input!r}, "
                     "some of these are not")
        ids = tokenizer.encode(example.input)
        max_input = origin.recipe.get("max_input", MAX_INPUT)
        if len(ids) > max_input:
            say_once(f"inputs of {name} are cut to {max_input} tokens")
            ids = data.cut_input(tokenizer, example, max_input)
        key = {column: record[column] for column in ("idx", "id") if column in record}
        yield Question(origin, ids, {"row": number, "task": name} | key)
    if not number:
        raise ValueError("no input came: give --text, --data, --file, or lines of standard input")


def record_in(record, names):
    """(columns, task) of a dict, or of a line of JSON, which may name its "task"."""
    name = names[0] if len(names) == 1 else None
    if isinstance(record, bytes):
        if len(record) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES:,} bytes")
        record = formats.json_value(record)
        if not isinstance(record, dict):
            raise ValueError('no object {"task": …, "input": …}')
        name = record.get("task", name)
    if name not in names:
        raise ValueError(f"task {name!r:.80}, wanted {' or '.join(names)}")
    return record, name


def example_of(task, columns):
    """An Example without a target: the text under "input", or the task's template filled.

    >>> task = data.TASKS["rte"]
    >>> example_of(task, {"premise": "It  rained.", "hypothesis": "It was wet.", "idx": 7}).input
    'hypothesis: It was wet. premise: It rained.'
    """
    is_whole = "input" in columns and "input" not in formats.columns_in(task.input)
    is_filled = is_whole or not task.input
    text = formats.input_of(ANY_TASK if is_filled else task, columns)
    text.encode()  # raises ValueError for half a character, and for bytes that are no UTF-8
    return data.Example(text, "", long=formats.long_part(task, text))


def lines_of(file):
    """(number, place, line) of a binary file; of a line that is too long only the beginning."""
    for number in itertools.count(1):
        line = file.readline(MAX_BYTES + 1)
        if not line:
            return
        if line.strip():
            yield number, f"line {number}", line
        while len(line) > MAX_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_BYTES + 1)


def rows_of(task, path):
    """A generator of (number, place, columns) for the rows of a file, labelled or not.

    A file with the columns of the task's template is read as it is, another one as the task's
    own files are.
    """
    columns = {}
    if path.suffix in formats.READERS:
        for row in itertools.islice(formats.read_file(path), 1):
            columns = row.columns
    has_columns = columns.keys() >= set(formats.columns_in(task.input))
    is_wsc = "target" in columns  # whose own "text" lacks the stars
    if "input" in columns or has_columns and not is_wsc:
        task = ANY_TASK
    rows = formats.rows_of(task, path, train=False)
    return ((i, row.where, row.columns) for i, row in enumerate(rows, 1))


# ------------------------------------------------------------------------ `answer`


def answer_all(answerer, questions, batch):
    """The answer to each Question, a dict; no more than a batch of them is in memory."""
    for first in questions:
        asked = [first, *itertools.islice(questions, batch - 1)]
        rows = []
        for i, question in enumerate(asked):
            rows += [Row(n, i, question.ids) for n, origin in enumerate(answerer.origins)
                     if origin.name == question.origin.name]
        answers = [[] for _ in asked]
        for row, answer in zip(rows, answerer.answers(rows)):
            answers[row.example].append(answer)
        for question, of_prompts in zip(asked, answers):
            yield question.key | together(question.origin.task.labels, of_prompts)


def records_of(args, origins):
    """What is asked: --text, --data, --file, or standard input, as questions_in takes it."""
    if args.data:
        if len(origins) > 1:
            raise ValueError(f"--data is of one task, these prompts are of {', '.join(origins)}")
        [origin] = origins.values()
        return rows_of(origin.task, args.data)
    if args.text:
        return [(i, f"text {i}", {"input": text}) for i, text in enumerate(args.text, 1)]
    if args.file:
        return lines_of(open(args.file, "rb"))
    if sys.stdin is None:  # closed
        return []
    return lines_of(sys.stdin.buffer)


def answer(args):
    """The command `answer`."""
    if args.task:
        args.task = data.own_task(args.task)
    origins = origins_of(args, args.task)
    by_task = {origin.name: origin for origin in origins}
    if args.task and set(by_task) != {args.task}:
        raise ValueError(f"--task is {args.task}, these prompts are of {', '.join(by_task)}")
    records = records_of(args, by_task)
    if args.write and not args.write.parent.is_dir():
        raise ValueError(f"--write {args.write}: there is no folder {args.write.parent}")
    if args.write and args.write.exists() and not args.write.is_file():
        raise ValueError(f"--write {args.write} is a folder, a pipe or a device, wanted a file")
    engine, tokenizer = open_t5(args, args.prompts[0])
    bank = read_bank(args.prompts, engine.t5, tokenizer)
    answerer = Answerer(engine, tokenizer, bank, origins, args.max_tokens)
    bad = []
    questions = questions_in(records, by_task, tokenizer, bad)
    answers = answer_all(answerer, questions, args.batch)
    lines = (json.dumps(answer, ensure_ascii=False) for answer in answers)
    if args.write:
        files.write_text(args.write.resolve(), "".join(f"{line}\n" for line in lines))
    else:
        for line in lines:
            print(line, flush=True)
    if bad:
        raise ValueError(f"rows that could not be answered, see above: {len(bad)}")


# ------------------------------------------------------------------------- `score`


# Which dev examples are scored, and how much of them is read.
DEV_SHARE = {"held_out": 0.0, "max_dev": 0, "max_input": MAX_INPUT}


def choose_dev_share(origins, args):
    """Put into args what these trainings reported on. Precedence: flag, recipe, default."""
    for name, default in DEV_SHARE.items():
        values = {origin.recipe.get(name, default) for origin in origins}
        if getattr(args, name) is not None:
            continue
        if len(values) > 1:
            raise ValueError("these prompts were scored on different dev examples: give "
                             f"--{name.replace('_', '-')}, of {values}")
        setattr(args, name, values.pop())


def dev_examples(name, args):
    """(the Examples that are scored, of how many). The task's training file need not be there."""
    task = data.find_task(name)
    path = args.data
    if len(task.files) == 2 and not (path and path.is_file()):
        [path] = located(name, task.files[1:], args.data, args.cache)
    if path and path.is_file():
        if not task.target:
            raise ValueError(f"{name} does not say which column of {path} has the answers: give "
                             "--task a file of your own, in place of --data")
        dev = formats.read_examples(name, task, path, train=False)
    elif task.input and not task.files:
        raise ValueError(f"{name} is a task of your own: give its file as --task or as --data")
    else:
        _, dev = data.load(name, args.data, args.cache)
    dev = data.evenly_spaced(dev, args.max_dev)
    _, report = data.split_dev(name, len(dev), args.held_out)
    return [dev[i] for i in report], len(dev)


# Labels that say what coarser or other words say in another data set.
COARSER = {"equivalent": "duplicate", "not_equivalent": "not_duplicate",
           "neutral": "not_entailment", "contradiction": "not_entailment"}


def common_labels(trained, other):
    """How a prompt of one task is scored on another: (task to score as, label -> its word there).

    If the labels differ, those of both become words of the one that says less. Whether the tasks
    ask the same is up to the caller. Raises ValueError.

    >>> common_labels("qqp", "mrpc")[1]["equivalent"]
    'duplicate'
    >>> common_labels("cb", "rte")[0], common_labels("rte", "cb")[0]
    ('rte', 'rte')
    """
    tasks = [data.find_task(trained), data.find_task(other)]
    if set(tasks[0].metrics) & set(tasks[1].metrics):
        for scored_as, words in ((other, {}), (other, COARSER), (trained, COARSER)):
            wanted = set(data.TASKS[scored_as].labels)
            if all({words.get(label, label) for label in task.labels} == wanted for task in tasks):
                return scored_as, words
    answers = [", ".join(task.labels) or "text" for task in tasks]
    raise ValueError(f"{trained} answers {answers[0]}; {other} answers {answers[1]}: no labels and "
                     "metric in common")


def texts_on(answerer, inputs, lines):
    """What prompts of one task answer to inputs (token ids): line -> texts.

    lines: a name for each prompt of the bank. Their votes are two lines more.
    """
    labels = answerer.origins[0].task.labels
    by_prompt = []
    texts = {}
    for n, line in enumerate(lines):
        answers = answerer.answers([Row(n, i, ids) for i, ids in enumerate(inputs)])
        texts[line] = [vote(labels, [answer]) for answer in answers]
        by_prompt.append(answers)
    if len(lines) > 1 and labels:
        texts["mean probability"] = [vote(labels, answers, "mean") for answers in zip(*by_prompt)]
    if len(lines) > 1:
        texts["majority vote"] = [vote(labels, answers) for answers in zip(*by_prompt)]
    return texts


def scores_table(name, texts, examples, prompts):
    """(header, rows): all metrics of a task. texts: line -> an answer to each example."""
    rows = {line: data.score(name, of_line, examples).values() for line, of_line in texts.items()}
    table = [[line, *map(number, scores)] for line, scores in rows.items()]
    if len(prompts) > 1:
        columns = zip(*[rows[path] for path in prompts])
        table.append(["prompts, mean ± sd", *map(plus_minus, columns)])
    return ["", *data.TASKS[name].metrics], table


def classes_table(name, line, texts, targets):
    """(header, rows): precision, recall and F1 of each label in percent, and how many it has."""
    rows = []
    for label, values in per_class(texts, targets, data.TASKS[name].labels).items():
        percents = [number(100 * value) for value in values[:3]]
        rows.append([label, *percents, str(values[3])])
    return [line, "precision", "recall", "F1", "examples"], rows


def score(args):
    """The command `score`."""
    names = [data.own_task(name) for name in options.names(args.task)]
    if not names or not (args.prompts or args.model):
        raise ValueError("give prompts, or a T5 as --model, and the names of tasks as --task")
    origins = origins_of(args, names[0])
    trained = origins[0]
    if {origin.name for origin in origins} != {trained.name}:
        raise ValueError("prompts that are scored together must be of one task, not of "
                         f"{', '.join(origin.name for origin in origins)}")
    data.TASKS.setdefault(trained.name, trained.task)
    common = {name: common_labels(trained.name, name) for name in names}
    choose_dev_share(origins, args)
    dev = {name: dev_examples(name, args) for name in names}
    engine, tokenizer = open_t5(args, *args.prompts[:1])
    alone = NoPrompt(engine.t5)
    banks = [(alone, ["T5 without a prompt" if args.prompts else args.model])]
    if args.prompts:
        banks.append((read_bank(args.prompts, engine.t5, tokenizer), args.prompts))
    for name, (scored_as, words) in common.items():
        examples = [dataclasses.replace(example, target=words.get(example.target, example.target))
                    for example in dev[name][0]]
        targets = [example.target for example in examples]
        texts = {"commonest of these": [statistics.mode(targets)] * len(targets)}
        inputs = data.encode_inputs(name, tokenizer, examples, args.max_input)
        for bank, lines in banks:
            answerer = Answerer(engine, tokenizer, bank, origins, args.max_tokens)
            for line, of_line in texts_on(answerer, inputs, lines).items():
                texts[line] = [words.get(text, text) for text in of_line]
        print(f"\n{name}, {len(targets)} of {dev[name][1]} dev examples, labels of {scored_as}")
        print(*markdown(scores_table(scored_as, texts, examples, args.prompts)), sep="\n")
    if len(names) == 1 and data.TASKS[scored_as].labels:
        print("", *markdown(classes_table(scored_as, line, texts[line], targets)), sep="\n")


# --------------------------------------------------------------------- `neighbours`


def nearest(vectors, embedding, top, pieces):
    """The pieces nearest to each vector by cosine: ids (P, top) and similarities (P, top).

    vectors (P, D), embedding (V, D). Only rows SPECIAL to `pieces` are words: pad, eos and unk lie
    before them, sentinels and padding behind.
    """
    words = F.normalize(embedding[prompt.SPECIAL:pieces].float(), dim=-1)
    similarity = F.normalize(vectors, dim=-1) @ words.T  # (P, V)
    values, ids = similarity.topk(top, dim=-1)
    return ids + prompt.SPECIAL, values


def neighbours(args):
    """The command `neighbours`: the nearest pieces of each vector, and where the labels are
    (Lester et al., section 7)."""
    engine, tokenizer = open_t5(args, args.prompt)
    options.check("top", args.top, at_least=1, at_most=tokenizer.pieces - prompt.SPECIAL)
    embedding = engine.t5.shared.weight
    [vectors] = read_bank([args.prompt], engine.t5, tokenizer).prompts.detach()
    ids, values = nearest(vectors, embedding, args.top, tokenizer.pieces)
    for n, near in enumerate(ids.tolist()):
        cells = [f"{tokenizer.sp.id_to_piece(i)} {value:.2f}"
                 for i, value in zip(near, values[n].tolist())]
        print(f"{n:4}  {'  '.join(cells)}")
    if not (Path(args.prompt).expanduser() / "prompt.json").exists():
        return
    for label in origin_of(args.prompt, "prompt.json").task.labels:
        mean = embedding[tokenizer.encode(label)[:-1]].float().mean(0)  # without eos
        cosines = F.cosine_similarity(vectors, mean[None], dim=-1)  # (P,)
        print(f"label {label}: nearest is vector {cosines.argmax()}, cosine {cosines.max():.2f}")


# -------------------------------------------------------------------- the command


def parse_arguments(argv=None):
    """The flags, checked. Raises ValueError."""
    parser = options.Parser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    of_answer = commands.add_parser("answer", help="answer inputs, also of several tasks at once")
    add = of_answer.add_argument
    add("prompts", nargs="+", help="folders of trained prompts; several prompts of one task vote")
    add("--task", help="the task, or a file of your own, for prompts that do not store their task")
    add("--write", help="file for the answers (default: standard output)")
    add("--batch", type=int, default=32, help="rows in a batch (default: 32)")
    add = of_answer.add_mutually_exclusive_group().add_argument
    add("--text", action="append", help="an input; repeat the flag for more inputs")
    add("--file", help='JSON lines {"task": …, "input": …}; the columns '
        'of the task\'s input may stand in place of "input" (default: standard input)')
    add("--data", help="file with rows of one task, labelled or not: in "
        "the format of the task's own files, or JSON lines, .tsv or .csv with the columns of its "
        "input")
    of_score = commands.add_parser("score", help="score prompts and their vote, or a T5 alone")
    add = of_score.add_argument
    add("prompts", nargs="*", help="trained prompts of one task: folders, .npy or .pt files")
    add("--task", required=True, help="tasks to score on, comma-separated: the prompts' own task, "
        "or tasks whose labels mean the same, or are finer or coarser; or a file of your own")
    add("--data", help="folder with the official files, or one dev file "
        "of the task (default: files are downloaded into the cache)")
    add("--held-out", type=float, help="share of dev that is scored; 0: all (default: as the "
        "training reported)")
    add("--max-dev", type=int, help="number of dev examples used, evenly spaced over the file; 0: "
        "all (default: as the training reported)")
    add("--max-input", type=int, help="most tokens of an input; a longer one loses the end of its "
        f"long part (default: as the training, else {MAX_INPUT})")
    of_neighbours = commands.add_parser("neighbours", help="print the vocabulary's pieces nearest "
                                        "to each vector of a prompt")
    add = of_neighbours.add_argument
    add("prompt", help="a trained prompt: a folder from train.py or PEFT, a .npy or a .pt file")
    add("--top", type=int, default=5, help="how many pieces for each vector (default: 5)")
    for command in (of_answer, of_score, of_neighbours):
        add = command.add_argument
        add("--model", help="the T5: a name or a folder (default: the T5 that the prompt names)")
        add("--cache", help="folder for downloads (default: as for train.py)")
        add("--device", help="cpu, cuda, … (default: cuda if there is one)")
        add("--dtype", choices=tuple(DTYPES), help="number type of the weights and the matrix "
            "products (default: as for train.py)")
        add("--tokens", type=int, help="positions of a micro-batch; give fewer if memory is short "
            "(default: as for train.py)")
        add("--max-tokens", type=int, help="most tokens of an answer in free text (default: the "
            f"length of the task's longest target, {MAX_TOKENS} where it is not known)")
    args = parser.parse_args(argv)
    for name in ("write", "file", "data"):
        if getattr(args, name, None) is not None:
            setattr(args, name, options.path_flag(getattr(args, name)))
    limits = {name: {"at_least": 1} for name in ("batch", "max_tokens", "tokens")}
    limits |= {"max_input": {"at_least": 2}, "max_dev": {"at_least": 0}}
    limits |= {"held_out": {"at_least": 0, "below": 1}}
    for name, of_name in limits.items():
        if getattr(args, name, None) is not None:
            options.check(name, getattr(args, name), **of_name)
    prompts = getattr(args, "prompts", [])
    if len(set(map(Path, prompts))) < len(prompts):
        raise ValueError(f"{' '.join(prompts)} names a prompt twice")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    commands = {"answer": answer, "score": score, "neighbours": neighbours}
    commands[args.command](args)


if __name__ == "__main__":
    options.run(main, "predict.py")

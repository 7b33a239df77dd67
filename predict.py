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
import itertools
import json
import math
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
from plumbing.download import checkpoint, located
from plumbing.engine import DTYPES, Engine, choose_device, choose_dtype
from plumbing.metrics import per_class
from plumbing.options import option
from plumbing.report import markdown
from plumbing.stats import number, plus_minus
from prompt import NoPrompt, PromptBank, Row, collate
from toy import world

TOY = "toy/t5"  # what prompts of the toy T5 call it
MAX_INPUT = 512  # tokens, where no recipe says it
MAX_TOKENS = 128  # of free text, if its task's longest target is not known
MAX_BYTES = 1_000_000  # of a line
ANY_TASK = data.Task((), "", "", (), ("accuracy",))


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
    try:
        name = made_by["task"]
        recipe = made_by.get("recipe", {})
        if not isinstance(recipe, dict):
            raise TypeError("its recipe is no object")
        longest = made_by.get("longest_target", MAX_TOKENS)
        definition = made_by.get("definition")
        if definition is None:
            return Origin(name, data.find_task(name), recipe, longest)
        known = data.TASKS.get(name, ANY_TASK)
        task = dataclasses.replace(
            known, input=definition["input"], labels=tuple(definition["labels"]),
            metrics=tuple(definition["metrics"]), cut=definition.get("cut", known.cut))
        return Origin(name, task, recipe, longest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{json_path} is damaged ({error}): train this prompt again") from None


def origins_of(paths, name=None):
    """The Origins of prompts. The prompts are read once before the T5, which takes longer."""
    for path in paths:
        prompt.from_file(path)
    return [origin_of(path, "prompt.json", name) for path in paths]


def t5_folder(args, path=""):
    """The folder of --model, or of the T5 that a prompt's adapter_config.json names."""
    name = options.model_flag(args.model) if args.model else None
    where = "--model"
    config = Path(path).expanduser() / "adapter_config.json"
    if name is None and config.exists():
        name = files.read_json(config).get("base_model_name_or_path")
        where = config
    if not name:
        raise ValueError(f"{path} does not name its T5: give --model")
    if name == TOY:
        return world.MODEL
    try:
        return checkpoint(str(name), cache=args.cache)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def open_t5(folder, args):
    """An Engine with the T5 of a folder."""
    device, why = choose_device(args.device)
    dtype = choose_dtype(device, args.dtype, model.Config.read(folder))
    print(f"T5 {folder}; device {device} ({why}), {dtype}", file=sys.stderr)
    return Engine(model.load(folder, DTYPES[dtype], device), args.tokens)


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
    """The FreeText that N prompts choose for one input.

    The commonest text, without regard to case and space; among equally common ones (all may
    differ) the one of the highest mean log-probability; as its surest prompt writes it.

    >>> vote_text([FreeText("Paris", -0.9), FreeText("rome", -0.1), FreeText("paris ", -0.8)])
    FreeText(text='paris ', log_prob=-0.8)
    """
    groups = {}
    for answer in answers:
        key = " ".join(answer.text.lower().split())
        groups.setdefault(key, []).append(answer)

    def rank(group):
        return len(group), sum(answer.log_prob for answer in group) / len(group)

    commonest = max(groups.values(), key=rank)
    return max(commonest, key=lambda answer: answer.log_prob)


class Answerer:
    """A T5 behind a bank of prompts, each of which answers to its own task.

    bank      a PromptBank, or NoPrompt
    origins   the Origin of each prompt of the bank
    """

    def __init__(self, engine, tokenizer, bank, origins):
        self.engine = engine
        self.tokenizer = tokenizer
        self.bank = bank
        self.tasks = {}
        self.prompts_of = {}  # task -> the indices of its prompts
        self.labels = {}  # task -> the ids of its labels (L, T)
        for n, origin in enumerate(origins):
            if self.tasks.setdefault(origin.name, origin.task) != origin.task:
                raise ValueError("these prompts have different labels or inputs for "
                                 f"{origin.name}: they cannot vote")
            self.prompts_of.setdefault(origin.name, []).append(n)
        for name, task in self.tasks.items():
            if task.labels:
                ids = data.encode_labels(name, tokenizer, task.labels)
                self.labels[name] = pad(ids).to(engine.device)

    def answers(self, rows, max_tokens=MAX_TOKENS):
        """The answer to each Row: log p of its task's labels (L,), or a FreeText.

        max_tokens: of free text. Rows of several tasks go through the encoder together.
        """

        def answer(rows):
            batch = collate(rows).to(self.engine.device)
            memory, mask = prompt.encode(self.engine.t5, self.bank, batch)  # (B, P+S, D)
            answers = [None] * len(rows)
            for name, prompts in self.prompts_of.items():
                index = [i for i, row in enumerate(rows) if row.prompt in prompts]
                if index:
                    of_task = self.decode(name, memory[index], mask[index], max_tokens)
                    for i, answer in zip(index, of_task):
                        answers[i] = answer
            return answers

        return self.engine.map(answer, rows, self.bank.length)

    def decode(self, name, memory, mask, max_tokens):
        """The answers of rows of one task. Raises ValueError if they are NaN."""
        t5 = self.engine.t5
        if name in self.labels:
            log_probs = t5.score_labels(memory, mask, self.labels[name])  # (B, L)
            answers = list(log_probs.cpu())
        else:
            ids = t5.generate(memory, mask, max_tokens)  # (B, T)
            logits = t5.decode(shift_right(ids), memory, mask)
            log_probs = target_log_probs(logits, ids).sum(1) / (ids != PAD).sum(1)  # (B,)
            texts = [self.tokenizer.decode(row) for row in ids.tolist()]
            answers = list(map(FreeText, texts, log_probs.tolist()))
        if log_probs.isnan().any():
            raise ValueError(f"{name}: this T5 answers NaN with these prompts, so there is no "
                             "score; another --dtype may help")
        return answers


def together(task, answers):
    """The answer of a task's N prompts to one input, as JSON can hold it.

    With labels: the majority's, and each label's probability among the labels, mean over the
    prompts. Free text: the chosen one, and the geometric mean of its tokens' probabilities.
    """
    if not task.labels:
        text, log_prob = vote_text(answers)
        return {"text": text, "confidence": math.exp(log_prob)}
    scores = torch.stack(answers)[:, None]  # (N, L) -> (N, 1, L)
    label = task.labels[prompt.vote(scores).item()]
    probabilities = scores.softmax(-1).mean(0)[0].tolist()
    return {"label": label, "probabilities": dict(zip(task.labels, probabilities))}


# ----------------------------------------------------------------------- questions


class Question(NamedTuple):
    """An input for the prompts of a task."""

    task: str
    example: data.Example
    key: dict  # what its answer repeats: row, task, id


def questions_in(records, tasks, bad):
    """A Question for each record that is one. Another is reported, and put into the list `bad`.

    records: (number, place, a dict or a line of JSON); tasks: name -> Task.
    """
    warned = set()
    for number, where, record in records:
        try:
            record, name = record_in(record, tasks)
            example = example_of(tasks[name], record)
        except ValueError as error:
            print(f"predict.py: {where}: {error}", file=sys.stderr)
            bad.append(where)
            continue
        if name not in warned and not has_form(tasks[name], example.input):
            warned.add(name)
            print(f"predict.py: {where}: prompts of {name} were trained on texts in the form "
                  f"{tasks[name].input!r}, this one is not", file=sys.stderr)
        ids = {column: record[column] for column in ("idx", "id") if column in record}
        yield Question(name, example, {"row": number, "task": name} | ids)


def record_in(record, tasks):
    """(columns, task) of a dict or a line of JSON. "task" may be missing if there is only one."""
    if isinstance(record, bytes):
        if len(record) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES:,} bytes")
        record = formats.json_value(record.decode("utf-8-sig"))
    if not isinstance(record, dict):
        raise ValueError('no object {"task": …, "input": …}')
    if "task" not in record and len(tasks) == 1:
        return record, next(iter(tasks))
    name = record.get("task")
    if not isinstance(name, str) or name not in tasks:
        raise ValueError(f"task {name!r:.80}, wanted {' or '.join(tasks)}")
    return record, name


def example_of(task, columns):
    """An Example without a target: the text under "input", or the task's template filled.

    >>> task = data.TASKS["rte"]
    >>> example_of(task, {"premise": "It  rained.", "hypothesis": "It was wet.", "idx": 7}).input
    'hypothesis: It was wet. premise: It rained.'
    """
    if "input" in columns or not formats.columns_in(task.input):
        text = columns.get("input")
        if not isinstance(text, str):
            raise ValueError(f"'input' is {text!r:.80}, wanted a text")
    else:
        text = formats.input_of(task, columns)
    text.encode()  # raises ValueError for half a character, and for bytes that are no UTF-8
    return data.Example(text, "", long=formats.long_part(task, text))


def has_form(task, text):
    """Whether a text has the words of its task's template.

    >>> has_form(data.TASKS["rte"], "It was wet.")
    False
    """
    words = formats.COLUMN.split(task.input)[::2]  # what stands between the columns
    return all(word.strip() in text for word in words)


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
    path = options.path_flag(path)
    columns = {}
    if path.suffix in formats.READERS:
        for row in itertools.islice(formats.READERS[path.suffix](path), 1):
            columns = row.columns
    has_columns = columns.keys() >= set(formats.columns_in(task.input))
    is_wsc = "target" in columns  # whose own "text" lacks the stars
    if "input" in columns or has_columns and not is_wsc:
        task = ANY_TASK
    rows = formats.rows_of(task, path, train=False)
    return ((i, row.where, row.columns) for i, row in enumerate(rows, 1))


# ------------------------------------------------------------------------ `answer`


def encode(question, tokenizer, max_input, cuts):
    """The token ids of a question. `cuts`, task -> how many inputs were cut, is added to."""
    ids = tokenizer.encode(question.example.input)
    if len(ids) <= max_input:
        return ids
    cuts[question.task] += 1
    return data.cut_input(tokenizer, question.example, max_input)


def answer_all(answerer, questions, max_input, args):
    """The answer to each Question, a dict; no more than a batch of them is in memory."""
    cuts = Counter()
    questions = iter(questions)
    while True:
        batch = list(itertools.islice(questions, args.batch))
        if not batch:
            break
        rows = []
        for i, question in enumerate(batch):
            ids = encode(question, answerer.tokenizer, max_input[question.task], cuts)
            rows += [Row(n, i, ids) for n in answerer.prompts_of[question.task]]
        answers = [[] for _ in batch]
        for row, answer in zip(rows, answerer.answers(rows, args.max_tokens)):
            answers[row.example].append(answer)
        for question, of_prompts in zip(batch, answers):
            yield question.key | together(answerer.tasks[question.task], of_prompts)
    for name, count in cuts.items():
        print(f"{name}: {count} inputs cut to {max_input[name]} tokens", file=sys.stderr)


def records_of(args, tasks):
    """What is asked: --text, --data, --file, or standard input, as questions_in takes it."""
    if args.data:
        if len(tasks) > 1:
            raise ValueError(f"--data is of one task, these prompts are of {', '.join(tasks)}")
        return rows_of(*tasks.values(), args.data)
    if args.text:
        return [(i, f"text {i}", {"input": text}) for i, text in enumerate(args.text, 1)]
    if args.file:
        return lines_of(open(options.path_flag(args.file), "rb"))
    if sys.stdin is None:
        raise ValueError("standard input is closed: give --text, --data or --file")
    return lines_of(sys.stdin.buffer)


def answer(args):
    """The command `answer`."""
    if args.task:
        args.task = data.own_task(args.task)
    origins = origins_of(args.prompts, args.task)
    tasks = {origin.name: origin.task for origin in origins}
    if args.task and set(tasks) != {args.task}:
        raise ValueError(f"--task is {args.task}, these prompts are of {', '.join(tasks)}")
    max_input = {}
    for origin in origins:
        max_input.setdefault(origin.name, origin.recipe.get("max_input", MAX_INPUT))
    records = records_of(args, tasks)
    folder = t5_folder(args, args.prompts[0])
    tokenizer = data.Tokenizer(folder / "spiece.model")
    engine = open_t5(folder, args)
    answerer = Answerer(engine, tokenizer, read_bank(args.prompts, engine.t5, tokenizer), origins)
    args.max_tokens = args.max_tokens or max(origin.longest for origin in origins)
    bad = []
    answers = answer_all(answerer, questions_in(records, tasks, bad), max_input, args)
    lines = (json.dumps(answer, ensure_ascii=False) for answer in answers)
    if args.write:
        path = options.path_flag(args.write)
        files.write_text(path, "".join(f"{line}\n" for line in lines))
    else:
        for line in lines:
            print(line, flush=True)
    if bad:
        raise ValueError(f"{len(bad)} rows could not be answered, see above; the others were")


# ------------------------------------------------------------------------- `score`


@dataclasses.dataclass(frozen=True)
class DevShare:
    """Which dev examples are scored, and how much of them is read."""

    held_out: float = option(0.0, "share of dev that is scored; 0: all", at_least=0, below=1)
    max_input: int = option(MAX_INPUT, "most tokens of an input; a longer one loses the end of its "
                            "long part", at_least=2)
    max_dev: int = option(0, "number of dev examples used, evenly spaced over the file; 0: all",
                          at_least=0)


def dev_share(origins, args):
    """The DevShare that these trainings reported on. Precedence: flag, recipe, default."""
    share = {}
    for field in dataclasses.fields(DevShare):
        name = field.name
        flag = getattr(args, name)
        values = {origin.recipe.get(name, field.default) for origin in origins}
        if flag is None and len(values) > 1:
            raise ValueError("these prompts were scored on different dev examples: give "
                             f"--{name.replace('_', '-')}, of {values}")
        share[name] = values.pop() if flag is None else flag
        options.check(name, share[name], **field.metadata)
    return DevShare(**share)


def dev_examples(name, share, args):
    """The Examples that are scored. The training file of the task need not be there."""
    task = data.find_task(name)
    if is_file(args.data):
        dev = formats.read_examples(name, task, options.path_flag(args.data), train=False)
    elif len(task.files) == 2:
        [path] = located(name, task.files[1:], args.data, args.cache)
        dev = formats.read_examples(name, task, path, train=False)
    else:
        _, dev = data.load(name, args.data, args.cache)
    dev = data.evenly_spaced(dev, share.max_dev)
    _, report = data.split_dev(name, len(dev), share.held_out)
    return [dev[i] for i in report]


def is_file(path):
    return path is not None and options.path_flag(path).is_file()


# Labels that say what coarser or other words say in another data set.
COARSER = {"equivalent": "duplicate", "not_equivalent": "not_duplicate",
           "neutral": "not_entailment", "contradiction": "not_entailment"}


def common_labels(trained, other):
    """How a prompt of one task is scored on another: (task to score as, label -> its word there).

    All labels of both become words of the one that says less. Free text needs a common metric.
    Whether the tasks ask the same is up to the caller. Raises ValueError.

    >>> common_labels("qqp", "mrpc")[1]["equivalent"]
    'duplicate'
    >>> common_labels("cb", "rte")[0], common_labels("rte", "cb")[0]
    ('rte', 'rte')
    """
    task, other_task = data.find_task(trained), data.find_task(other)
    if set(task.labels) == set(other_task.labels) and set(task.metrics) & set(other_task.metrics):
        return other, {}
    words = coarser(task.labels)
    if words and words == coarser(other_task.labels):
        if words == set(other_task.labels):
            return other, COARSER
        if words == set(task.labels):
            return trained, COARSER
    raise ValueError(f"{trained} answers {', '.join(task.labels) or 'text'}; {other} answers "
                     f"{', '.join(other_task.labels) or 'text'}: no labels in common")


def coarser(labels):
    return {COARSER.get(label, label) for label in labels}


def vote(labels, by_prompt, how="majority"):
    """The texts that N prompts choose together; one prompt's are its own.

    by_prompt: for each prompt its answers, as Answerer has them.
    """
    if not labels:
        return [vote_text(answers).text for answers in zip(*by_prompt)]
    log_probs = torch.stack([torch.stack(answers) for answers in by_prompt])  # (N, B, L)
    return [labels[i] for i in prompt.vote(log_probs, how).tolist()]


def texts_on(answerer, inputs, lines, max_tokens):
    """What prompts of one task answer to inputs (token ids): line -> texts.

    lines: a name for each prompt of the bank. Their votes are two lines more.
    """
    rows = [Row(n, i, ids) for n in range(len(lines)) for i, ids in enumerate(inputs)]
    by_prompt = [[] for _ in lines]
    for row, answer in zip(rows, answerer.answers(rows, max_tokens)):
        by_prompt[row.prompt].append(answer)
    [task] = answerer.tasks.values()
    texts = {line: vote(task.labels, [answers]) for line, answers in zip(lines, by_prompt)}
    if len(lines) > 1:
        texts["majority vote"] = vote(task.labels, by_prompt)
        if task.labels:
            texts["mean probability"] = vote(task.labels, by_prompt, "mean")
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
    if args.prompts:
        origins = origins_of(args.prompts, names[0])
    else:
        origins = [origin_of(args.model, "tuned.json", names[0])]
    if len({origin.name for origin in origins}) > 1:
        raise ValueError("prompts that are scored together must be of one task, not of "
                         f"{', '.join(origin.name for origin in origins)}")
    trained = origins[0]
    if is_file(args.data):
        if len(names) > 1:
            raise ValueError(f"--data {args.data} is of one task, --task names {len(names)}")
        data.TASKS.setdefault(trained.name, trained.task)
    common = {name: common_labels(trained.name, name) for name in names}
    share = dev_share(origins, args)
    dev = {name: dev_examples(name, share, args) for name in names}
    folder = t5_folder(args, *args.prompts[:1])
    tokenizer = data.Tokenizer(folder / "spiece.model")
    engine = open_t5(folder, args)
    alone = Answerer(engine, tokenizer, NoPrompt(engine.t5), [trained])
    answerers = [(alone, ["T5 without a prompt" if args.prompts else args.model])]
    if args.prompts:
        bank = read_bank(args.prompts, engine.t5, tokenizer)
        answerers.append((Answerer(engine, tokenizer, bank, origins), args.prompts))
    for name, (scored_as, words) in common.items():
        examples = [dataclasses.replace(example, target=words.get(example.target, example.target))
                    for example in dev[name]]
        targets = [example.target for example in examples]
        [(commonest, _)] = Counter(targets).most_common(1)
        texts = {"majority class": [commonest] * len(targets)}
        inputs = data.encode_inputs(name, tokenizer, examples, share.max_input)
        longest = max(len(ids) for ids in tokenizer.encode_all(targets))
        for answerer, lines in answerers:
            answers = texts_on(answerer, inputs, lines, args.max_tokens or longest)
            for line, of_line in answers.items():
                texts[line] = [words.get(text, text) for text in of_line]
        print(f"\n{name}, {len(targets)} dev examples, labels of {scored_as}")
        print(*markdown(scores_table(scored_as, texts, examples, args.prompts)), sep="\n")
    if len(names) == 1 and data.TASKS[scored_as].labels:
        line = "majority vote" if "majority vote" in texts else line
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


def clusters(ids):
    """Groups of prompt vectors, linked by a piece among the nearest of both.

    ids (P, top) -> lists of their indices.

    >>> clusters(torch.tensor([[3, 4], [7, 8], [4, 5], [9, 6]]))
    [[0, 2], [1], [3]]
    """
    groups = []  # (indices, pieces)
    for index, near in enumerate(ids.tolist()):
        linked = [group for group in groups if group[1] & set(near)]
        groups = [group for group in groups if group not in linked]
        indices = sorted(sum([group[0] for group in linked], [index]))
        groups.append((indices, set(near).union(*[group[1] for group in linked])))
    return sorted(indices for indices, _ in groups)


def neighbours(args):
    """The command `neighbours`: the nearest pieces of each vector, which vectors share some, and
    where the labels are (Lester et al., section 7)."""
    folder = t5_folder(args, args.prompt)
    tokenizer = data.Tokenizer(folder / "spiece.model")
    options.check("top", args.top, at_least=1, at_most=tokenizer.pieces - prompt.SPECIAL)
    t5 = open_t5(folder, args).t5
    embedding = t5.shared.weight
    [vectors] = read_bank([args.prompt], t5, tokenizer).prompts.detach()
    ids, values = nearest(vectors, embedding, args.top, tokenizer.pieces)
    for n, near in enumerate(ids.tolist()):
        cells = [f"{tokenizer.sp.id_to_piece(i)} {value:.2f}"
                 for i, value in zip(near, values[n].tolist())]
        print(f"{n:4}  {'  '.join(cells)}")
    print("\nvectors that share a piece among their nearest:")
    for group in clusters(ids):
        if len(group) > 1:
            print("  " + ", ".join(map(str, group)))
    if not (Path(args.prompt).expanduser() / "prompt.json").exists():
        return
    for label in origin_of(args.prompt, "prompt.json").task.labels:
        mean = embedding[tokenizer.encode(label)[:-1]].float().mean(0)  # without eos
        cosines = F.cosine_similarity(vectors, mean[None], dim=-1)  # (P,)
        print(f"label {label}: nearest is vector {cosines.argmax()}, cosine {cosines.max():.2f}")


# -------------------------------------------------------------------- the command


def add_common(parser):
    add = parser.add_argument
    add("--model", help="the T5: a name or a folder (default: the T5 that the prompt names)")
    add("--cache", help="folder for downloads (default: as for train.py)")
    add("--device", help="cpu, cuda, … (default: cuda if there is one)")
    add("--dtype", choices=tuple(DTYPES), help="number type of the weights and the matrix products "
        "(default: as for train.py)")
    add("--tokens", type=int, help="positions of a micro-batch; give fewer if memory is short "
        "(default: as for train.py)")
    add("--max-tokens", type=int, help="most tokens of an answer in free text (default: the "
        f"length of the task's longest target, {MAX_TOKENS} where it is not known)")


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
    add("--file", help='JSON lines {"task": …, "input": …}; the columns of the task\'s input may '
        'stand in place of "input" (default: standard input)')
    add("--data", help="file with rows of one task, labelled or not: in the format of the task's "
        "own files, or JSON lines, .tsv or .csv with the columns of its input")
    of_score = commands.add_parser("score", help="score prompts and their vote, or a T5 alone")
    add = of_score.add_argument
    add("prompts", nargs="*", help="trained prompts of one task: folders, .npy or .pt files")
    add("--task", required=True, help="tasks to score on, comma-separated: the prompts' own task, "
        "or tasks whose labels mean the same, or are finer or coarser; or a file of your own")
    add("--data", help="folder with the official files, or one dev file of the task (default: "
        "files are downloaded into the cache)")
    options.add_options(of_score, DevShare)
    of_neighbours = commands.add_parser("neighbours", help="print the vocabulary's pieces nearest "
                                        "to each vector of a prompt")
    add = of_neighbours.add_argument
    add("prompt", help="a trained prompt: a folder from train.py or PEFT, a .npy or a .pt file")
    add("--top", type=int, default=5, help="how many pieces for each vector (default: 5)")
    for command in (of_answer, of_score, of_neighbours):
        add_common(command)
    args = parser.parse_args(argv)
    for name in ("batch", "max_tokens", "tokens"):
        if getattr(args, name, None) is not None:
            options.check(name, getattr(args, name), at_least=1)
    resolved = [Path(path).resolve() for path in getattr(args, "prompts", [])]
    if len(set(resolved)) < len(resolved):
        raise ValueError(f"{' '.join(args.prompts)} names a prompt twice")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    commands = {"answer": answer, "score": score, "neighbours": neighbours}
    commands[args.command](args)


if __name__ == "__main__":
    options.run(main, "predict.py")

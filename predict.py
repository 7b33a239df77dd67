"""Trained prompts at work: they answer, are scored, vote, and tell which words they lie near.

    python predict.py answer PROMPT… --text "sentence: the soups were never awful ."
    python predict.py score PROMPT… --task toy-cb,toy-nli
    python predict.py score --model TUNED_T5… --task toy-cb
    python predict.py neighbours PROMPT

Several prompts of one task vote (Lester et al. 2021, section 6). Prompts of several tasks answer
in one batch, each row with its own: that is `prompt.ask`, and this file is its command line.

A prompt is a folder that train.py wrote. Its prompt.json says what made it, so a score is of the
dev examples that its training reported on, and of the same length of inputs, unless flags say
otherwise; on other data (Lester et al., section 5) nothing is trained on them at all.

Dimensions: N prompts, B batch, L labels.
"""

import plumbing  # noqa: F401: first, and Ctrl-C is one line from here on
import contextlib
import dataclasses
import functools
import itertools
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F

import data
import model
import prompt
from plumbing import command, device, flags
from plumbing.examples import long_part
from plumbing.flags import option
from plumbing.hub import checkpoint
from plumbing.stats import plus_minus
from toy import world


@dataclasses.dataclass(frozen=True)
class Share:
    """Which dev examples are scored, and how much of them is read."""

    held_out: float = option(0.0, "share of dev that is scored; 0: all", at_least=0, below=1)
    max_input: int = option(512, "tokens of an input; the long part is cut", at_least=2)
    max_dev: int = option(0, "dev examples used, evenly spaced; 0: all", at_least=0)


def open_model(name, args):
    """(T5, tokenizer, folder) of a model on the command line."""
    where, dtype, _ = device.choose(args.device, args.dtype)
    folder = checkpoint(name, cache=args.cache)
    dtype = args.dtype or device.default(model.Config.read(folder), dtype)
    t5 = model.load(folder, device.DTYPES[dtype], where)
    return t5, data.Tokenizer(folder / "spiece.model"), folder


def read_prompts(folders, t5, tokenizer):
    """(bank, what made each prompt) of folders that this very model's training wrote."""
    read = [prompt.load(folder, f"{t5.fingerprint}-{tokenizer.fingerprint}") for folder in folders]
    lengths = {str(folder): len(vectors) for folder, (vectors, _) in zip(folders, read)}
    if len(set(lengths.values())) > 1:
        raise ValueError("prompts in one batch must be of one length, not " + ", ".join(
            f"{length} ({folder})" for folder, length in lengths.items()))
    for folder, (vectors, made_by) in zip(folders, read):
        data.find_task(made_by["task"])
        if not len(vectors) or not vectors.isfinite().all():
            raise ValueError(f"{folder} holds no vectors, or numbers that are not finite")
    return prompt.PromptBank([vectors for vectors, _ in read]).to(t5.device), [m for _, m in read]


# ------------------------------------------------------------------------- answers


def vote_text(texts, confidences):
    """The free text that N prompts choose for one example.

    The commonest answer, without regard to case and space; among equally common ones
    (all different, say) the one of highest mean confidence, written as by the surest
    of its prompts. confidences: one for each text, the mean log-probability of its tokens.

    >>> vote_text(["Paris", "rome", "paris "], [-0.9, -0.1, -0.8])
    'paris '
    >>> vote_text(["Paris", "Rome"], [-0.9, -0.1])
    'Rome'
    """
    groups = {}
    for text, confidence in zip(texts, confidences, strict=True):
        groups.setdefault(" ".join(text.lower().split()), []).append((confidence, text))
    sure = {key: sum(c for c, _ in group) / len(group) for key, group in groups.items()}
    return max(groups[max(groups, key=lambda key: (len(groups[key]), sure[key]))])[1]


def answer(t5, tokenizer, bank, members, rows, max_input=512, max_tokens=128, cuts=None):
    """What prompts say to inputs of several tasks, encoded side by side.

    members     task -> places in the bank: one prompt, or several that vote
    rows        (task, input): a text, or a data.Example, which knows its long part
    max_input   tokens of an input, beyond which its long part is cut; or task -> tokens
    max_tokens  of free text
    cuts        a Counter: how many inputs were cut is added to it, by task
    Returns a dict for each row: {"label", "probabilities"}, the majority's label and the mean over
    the prompts of each label's probability among the labels; or, for a task of free text, {"text",
    "confidence"}: the mean probability of its tokens, geometrically.
    """
    ids, kinds = [None] * len(rows), {}
    for task in members:
        mine = [row for row, (name, _) in enumerate(rows) if name == task]
        encoded, cut = tokenizer.encode_inputs([
            data.Example(text, "", long=long_part(data.TASKS[task], text))
            if isinstance(text, str) else text for text in (rows[row][1] for row in mine)],
            max_input[task] if isinstance(max_input, dict) else max_input)
        for row, each in zip(mine, encoded):
            ids[row] = each
        if cuts is not None:
            cuts[task] += cut
    for task in members:
        labels = [tokenizer.encode(label) for label in data.TASKS[task].labels]
        kinds[task] = (model.pad(labels, t5.device), None) if labels else (None, max_tokens)
    said = iter(prompt.ask(t5, bank, [(n, ids[row], task) for row, (task, _) in enumerate(rows)
                                      for n in members[task]], kinds, sure=True, apart=False))
    answers = []
    for task, _ in rows:
        group, labels = list(itertools.islice(said, len(members[task]))), data.TASKS[task].labels
        if labels:
            scores = torch.stack(group)[:, None]  # (N, L) -> (N, 1, L)
            shares = scores.softmax(-1).mean(0)[0].tolist()
            if not all(map(math.isfinite, shares)):
                raise ValueError(f"{task}: this T5 answers with numbers that are not finite")
            answers.append({"label": labels[prompt.vote(scores).item()],
                            "probabilities": dict(zip(labels, shares))})
        else:
            texts, sure = [tokenizer.decode(ids) for ids, _ in group], [c for _, c in group]
            text = vote_text(texts, sure)
            best = max(c for t, c in zip(texts, sure) if t == text)
            answers.append({"text": text, "confidence": math.exp(best)})
    return answers


def read_lines(file, tasks):
    """(line number, (task, input) or an error) of JSON lines {"task": …, "input": …}.

    "task" may be left out where only one is served.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object {\"task\": …, \"input\": …}")
            task = row.get("task", tasks[0] if len(tasks) == 1 else None)
            if task not in tasks:
                what = f"task {task!r}" if "task" in row else "no task"
                raise ValueError(f"{what}, wanted one of {', '.join(tasks)}")
            if not isinstance(row.get("input"), str):
                raise ValueError("no text under \"input\"")
            row["input"].encode()  # half a character, or bytes that are not UTF-8
            yield number, (task, row["input"])
        except (ValueError, RecursionError) as error:
            what = "not JSON: " if isinstance(error, json.JSONDecodeError) else ""
            yield number, ValueError(f"line {number}: {what}{error}")


def answer_stream(t5, tokenizer, folders, file, batch, out, log):
    """Answer JSON lines as they come; a batch is all that is ever in memory. How many were bad."""
    bank, made_by = read_prompts(folders, t5, tokenizer)
    members = {}
    for n, made in enumerate(made_by):
        members.setdefault(made["task"], []).append(n)
    longest = {task: min(made_by[n].get("recipe", {}).get("max_input", 512) for n in places)
               for task, places in members.items()}
    began, done, bad, cuts = time.time(), 0, 0, Counter()
    lines = read_lines(file, list(members))
    while some := list(itertools.islice(lines, batch)):
        good = [(number, row) for number, row in some if not isinstance(row, ValueError)]
        for number, error in some:
            if isinstance(error, ValueError):
                print(f"predict.py: {error}", file=log)
                bad += 1
        found = answer(t5, tokenizer, bank, members, [row for _, row in good], longest,
                       cuts=cuts) if good else []
        for (number, (task, _)), result in zip(good, found):
            print(json.dumps({"line": number, "task": task} | result, ensure_ascii=False), file=out)
        out.flush()
        done += len(good)
    seconds = max(time.time() - began, 1e-9)
    print(f"{done} answered, {bad} bad lines, {done / seconds:.0f} a second", file=log)
    for task, count in cuts.items():
        if count:
            print(f"{task}: {count} inputs cut to {longest[task]} tokens", file=log)
    return bad


# -------------------------------------------------------------------------- scores


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
    first, second = data.find_task(trained), data.find_task(other)
    if first.labels and second.labels:
        for name in (other, trained):
            there = data.TASKS[name].labels
            words = {label: label if label in there else ALSO.get(label)
                     for label in first.labels + second.labels}
            if set(words.values()) <= set(there):
                return name, words
    elif first.labels == second.labels and set(first.metrics) & set(second.metrics):
        return other, {}
    says = [f"{name} answers {', '.join(task.labels) or f'free text for {task.metrics[0]}'}"
            for name, task in ((trained, first), (other, second))]
    raise ValueError("; ".join(says) + ": no labels in common")


def scores_on(t5, bank, asked, name, read, tokens):
    """What each prompt of a bank, and their votes, score on a task: a dict for a table's column.

    asked: the task that the prompts were trained on. Its labels are what is ranked; where the
    task that is scored has coarser ones, both are put into the words that serve both.
    read: name -> data.Encoded; tokens: positions of a pass, at most.
    """
    scored_as, words = common_labels(asked, name)  # before anything is read
    task = read(name)
    tokenizer, labels, longest = task.tokenizer, data.TASKS[asked].labels, task.longest
    if not labels and asked != name:  # an answer may be as long as either task's
        longest = max(longest, read(asked).longest)
    ids = [tokenizer.encode(label) for label in labels]
    kind = (model.pad(ids, t5.device), None) if labels else (None, longest)
    examples = [dataclasses.replace(e, target=words.get(e.target, e.target))
                for e in (task.dev[i] for i in task.report)]

    def score(texts):
        texts = [words.get(text, text) for text in texts]
        return next(iter(data.score(scored_as, texts, examples).values()))

    rows = [(n, task.dev_ids[i], 0) for n in range(len(bank)) for i in task.report]
    said = prompt.ask(t5, bank, rows, {0: kind}, tokens, sure=len(bank) > 1)
    N, B, votes = len(bank), len(examples), {}
    if labels:
        log_probs = torch.stack(said).view(N, B, -1)
        texts = [[labels[i] for i in each] for each in log_probs.argmax(-1).tolist()]
        votes = {how: [labels[i] for i in prompt.vote(log_probs, how).tolist()]
                 for how in ("majority", "mean")}
    else:
        texts = [[tokenizer.decode(ids) for ids, _ in said[n * B:(n + 1) * B]] for n in range(N)]
        sure = [[c for _, c in said[n * B:(n + 1) * B]] for n in range(N)]
        if N > 1:
            votes = {"majority": list(map(vote_text, zip(*texts), zip(*sure)))}
    targets = Counter()
    for target, count in task.targets.items():
        targets[words.get(target, target)] += count
    return {"metric": data.TASKS[scored_as].metrics[0], "scores": list(map(score, texts)),
            "votes": {how: score(texts) for how, texts in votes.items()} if N > 1 else {},
            "majority": data.majority(scored_as, targets, examples), "examples": B}


def share_of(made_by, args):
    """The Share that the trainings of these prompts or models reported on, flags first."""
    names = [field.name for field in dataclasses.fields(Share)]
    flags_ = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    shares = [{name: made.get("recipe", {}).get(name, getattr(Share(), name)) for name in names}
              | flags_ for made in made_by]
    if any(share != shares[0] for share in shares):
        raise ValueError("these were trained with other shares of dev: give " + ", ".join(
            f"--{name.replace('_', '-')}" for name in names if len({s[name] for s in shares}) > 1))
    for field in dataclasses.fields(Share):
        flags.check(field.name, shares[0][field.name], **field.metadata)
    return Share(**shares[0])


def score_one(name, args):
    """What the prompts, or this model by itself, score: task -> a dict for the table's column."""
    t5, tokenizer, folder = open_model(name, args)
    alone, made_by = prompt.Promptless(t5), [{}]
    if args.prompts:
        bank, made_by = read_prompts(args.prompts, t5, tokenizer)
    elif (folder / "tuned.json").exists():
        bank, made_by = alone, [json.loads((folder / "tuned.json").read_text(encoding="utf-8"))]
    else:
        bank, made_by = alone, [{"recipe": flags.read_recipe(folder, Share, rest=True)}]
    tasks = {made.get("task") for made in made_by}
    if len(tasks) > 1:
        raise ValueError("prompts that are scored together must be of one task, not of "
                         + ", ".join(sorted(tasks)))
    share, columns = share_of(made_by, args), {}
    read = functools.lru_cache(2)(  # a task once, not once for the prompts and once without
        lambda name: data.Encoded(name, tokenizer, share, args.data, args.cache))
    for task in args.task:
        asked = made_by[0].get("task", task)
        columns[task] = scores_on(t5, bank, asked, task, read, args.tokens)
        columns[task]["alone"] = columns[task]["scores"][0] if bank is alone else scores_on(
            t5, alone, asked, task, read, args.tokens)["scores"][0]
    return columns


def score_table(args):
    """Lines of Markdown: a row for each prompt, or each model by itself, a column for each task."""
    if len(args.model) > 1 and args.prompts:
        raise ValueError("several --model are scored by themselves: leave the prompts out")
    found = [score_one(name, args) for name in args.model]
    first, rows = found[0], args.prompts or args.model
    scores = {task: [s for one in found for s in one[task]["scores"]] for task in args.task}
    heads = [f"{task}: {first[task]['metric']} of {first[task]['examples']}" for task in args.task]
    lines = [["", *heads], ["---"] * (1 + len(heads)),
             ["majority class", *(first[task]["majority"] for task in args.task)]]
    if args.prompts:
        lines.append(["T5 without a prompt", *(first[task]["alone"] for task in args.task)])
    lines += [[row, *(scores[task][k] for task in args.task)] for k, row in enumerate(rows)]
    if len(rows) > 1:
        lines += [["mean ± sd", *(plus_minus(scores[task]) for task in args.task)],
                  ["best, picked with hindsight", *(max(scores[task]) for task in args.task)]]
    if len(args.prompts) > 1:
        for how, words in (("majority", "majority vote"), ("mean", "mean probability")):
            lines.append([words, *(first[task]["votes"].get(how, "–") for task in args.task)])
    return ["| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.1f}" for cell in line)
            + " |" for line in lines]


# ---------------------------------------------------------------------- neighbours


def neighbours(vectors, embedding, top=5, pieces=None):
    """The pieces nearest to each vector by cosine: ids (P, top) and similarities (P, top).

    vectors (P, D), embedding (V, D). Only the first `pieces` rows are words: what lies
    above them are sentinels and padding, and the first three are pad, eos and unk.
    """
    words = F.normalize(embedding[prompt.SPECIAL:pieces].float(), dim=-1)
    similarity = F.normalize(vectors.float().to(words.device), dim=-1) @ words.T  # (P, V)
    nearest = similarity.topk(top, dim=-1)
    return nearest.indices + prompt.SPECIAL, nearest.values


def clusters(ids):
    """Groups of prompt vectors, linked by a piece among the nearest of both.

    ids (P, top) -> lists of places, the largest first.

    >>> clusters(torch.tensor([[3, 4], [7, 8], [4, 5], [9, 6]]))
    [[0, 2], [1], [3]]
    """
    groups = []  # (places, pieces)
    for place, near in enumerate(ids.tolist()):
        together = [group for group in groups if group[1] & set(near)]
        groups = [group for group in groups if not group[1] & set(near)]
        groups.append(([p for places, _ in together for p in places] + [place],
                       set(near).union(*(pieces for _, pieces in together))))
    return sorted((places for places, _ in groups), key=lambda places: (-len(places), places))


def print_neighbours(folder, t5, tokenizer, top):
    """The nearest pieces of each vector, which vectors share some, and where the labels are."""
    vectors = prompt.from_file(folder, f"{t5.fingerprint}-{tokenizer.fingerprint}")
    if vectors.shape[1] != t5.config.d_model:
        raise ValueError(f"{folder} is {vectors.shape[1]} wide, the model {t5.config.d_model}")
    pieces = tokenizer.pieces - prompt.SPECIAL
    if top > pieces:
        raise ValueError(f"--top is {top}, the vocabulary has {pieces} pieces")
    name = tokenizer.sp.id_to_piece
    ids, similarities = neighbours(vectors, t5.shared.weight, top, tokenizer.pieces)
    for place, (near, values) in enumerate(zip(ids.tolist(), similarities.tolist())):
        print(f"{place:4}  "
              + "  ".join(f"{name(i)} {value:.2f}" for i, value in zip(near, values)))
    shared = [group for group in clusters(ids) if len(group) > 1]
    print(f"\ngroups of vectors that share a piece among their nearest {top}: {len(shared)}")
    for group in shared:
        near = sorted({name(i) for place in group for i in ids[place].tolist()})
        print(f"  vectors {', '.join(map(str, group))}: {' '.join(near)}")
    made_by = Path(folder) / "prompt.json"
    task = json.loads(made_by.read_text(encoding="utf-8"))["task"] if made_by.exists() else None
    for label in data.TASKS[task].labels if task in data.TASKS else ():
        mean = t5.shared.weight[tokenizer.encode(label)[:-1]].float().mean(0)
        cosines = F.cosine_similarity(vectors, mean.cpu()[None], dim=-1)
        print(f"label {label}: nearest is vector {cosines.argmax().item()}, "
              f"cosine {cosines.max():.2f}")


# ---------------------------------------------------------------- the command line


def parse_arguments(argv=None):
    parser = command.Parser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True,
                                     metavar="answer|score|neighbours")
    ask = commands.add_parser("answer", help="answer inputs, of several tasks at once if need be")
    ask.add_argument("prompts", nargs="+", help="folders of trained prompts; several of one task "
                     "vote: the label (or text) is the majority's, probabilities are their mean")
    ask.add_argument("--text", action="append", help="an input (several times for more); needs "
                     "one task")
    ask.add_argument("--file", help='JSON lines {"task": …, "input": …} (default: standard input)')
    ask.add_argument("--batch", type=int, default=32, help="lines in a batch, which is answered "
                     "when it is full or the input ends (default: 32)")
    rate = commands.add_parser("score", help="score prompts, their votes, or models by themselves")
    rate.add_argument("prompts", nargs="*", help="folders of trained prompts of one task")
    rate.add_argument("--task", required=True, help="tasks, comma-separated: the prompts' own, or "
                      "others whose labels say the same, or more or less finely (of mrpc: qqp)")
    rate.add_argument("--data", help="folder with the official files (default: fetched)")
    rate.add_argument("--tokens", type=int, default=8192, help="positions in a forward pass")
    flags.add_options(rate, Share)
    near = commands.add_parser("neighbours", help="the vocabulary pieces nearest to each vector")
    near.add_argument("prompt", help="a folder of ours or of PEFT, a .npy or a .pt file")
    near.add_argument("--top", type=int, default=5, help="pieces for each vector (default: 5)")
    for one in (ask, rate, near):
        one.add_argument("--model", nargs="+", default=[str(world.MODEL)], help="the T5 they "
                             "were trained on, or for score tuned ones (default: the toy T5)")
        one.add_argument("--cache", help="folder for downloads")
        one.add_argument("--device", help="cpu, cuda, … (default: cuda if there is one)")
        one.add_argument("--dtype", choices=tuple(device.DTYPES), help="as for train.py")
    args = parser.parse_args(argv)
    for name in ("top", "batch", "tokens"):
        flags.check(name, getattr(args, name, 1), at_least=1)
    if args.command != "score" and len(args.model) > 1:
        raise ValueError("give one --model")
    given = [Path(folder).resolve() for folder in getattr(args, "prompts", ())]
    if len({*given}) < len(given):
        raise ValueError(f"{' '.join(args.prompts)} names a prompt twice")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    if args.command == "score":
        args.task = flags.names(args.task)
        if not args.task:
            raise ValueError("--task names nothing")
        for name in args.task:
            data.find_task(name)
        print(*score_table(args), sep="\n")
        return
    if args.command == "answer" and args.text and args.file:
        raise ValueError("give --text or --file, not both")
    if args.command == "answer" and args.text:
        tasks = sorted({prompt.load(folder)[1]["task"] for folder in args.prompts})
        if len(tasks) > 1:
            raise ValueError("--text goes with prompts of one task, these are of "
                             f"{', '.join(tasks)}: give JSON lines that name theirs, as --file")
    if args.command == "answer" and args.file and not Path(args.file).is_file():
        raise ValueError(f"--file {args.file} is not there, or no file")
    t5, tokenizer, _ = open_model(args.model[0], args)
    if args.command == "neighbours":
        print_neighbours(args.prompt, t5, tokenizer, args.top)
        return
    # Bytes that are no UTF-8 are let through: `read_lines` says which line they are on.
    if args.file:
        source = open(args.file, encoding="utf-8-sig", errors="surrogateescape")
    elif args.text:
        source = contextlib.nullcontext(json.dumps({"input": text}) for text in args.text)
    else:
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
        source = sys.stdin
    with source as file:
        bad = answer_stream(t5, tokenizer, args.prompts, file, args.batch, sys.stdout, sys.stderr)
    if bad:
        raise ValueError(f"{bad} lines could not be answered, see above")


if __name__ == "__main__":
    command.run(main, "predict.py")

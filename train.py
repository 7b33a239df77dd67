"""The whole method from one command: prompt tuning, transfer, PANDA, and a report.

    python train.py                                        the toy world, about two minutes
    python train.py --source mnli --target cb --model t5-base --data FOLDER

For each target, with its sources, in this order:

    source       each source's prompt, tuned on the source (or read, if it is there)
    prompt       plain prompt tuning on the target
    prompt_2x    control: the same with twice the steps, as many as PANDA has in all
    pot          prompt transfer: from the source's prompt, tuned on the target
    similarity   of each source's prompt and the plain target prompt
    panda        a fresh prompt that learns from the labels and from its `pot`,
                 weighted by the similarity
    panda_self   control: the same with `prompt` as its teacher, no source at all
    finetune     all of T5's weights, on request

Approaches that do not wait for each other are one bank of prompts, trained in one
pass, all seeds together. A seed decides the prompt's start and the order of the
examples, alike for every approach, so that differences are not luck of the draw.

The same command goes on where it stopped.

Dimensions: B batch, S source tokens, T target tokens, P prompt length, D model,
V vocabulary, N prompts in a bank.
"""

import argparse
import contextlib
import copy
import hashlib
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import data
import distill
import model
import prompt
import transferability

HERE = Path(__file__).resolve().parent
TOY_MODEL = HERE / "toy" / "t5"
SHIPPED = HERE / "toy" / "prompts"  # trained source prompts of the toy world

# Every number of the recipe: name -> (toy default, default, help and source).
LESTER = "Lester et al. 2021, section 3.1"
RECIPE = {
    "length": (10, 100, f"vectors in a prompt ({LESTER}: 100; little gain beyond 20)"),
    "init": ("vocabulary", "vocabulary", "a fresh prompt's start: uniform, vocabulary, labels (Lester et "
             "al. 2021, section 3.2), text:SOME WORDS, or a trained prompt: a folder of ours or of PEFT, a "
             ".npy or a .pt file"),
    "optimizer": ("adamw", "adafactor", f"of prompts: adafactor ({LESTER}) or adamw (PANDA's released code)"),
    "lr": (0.3, 0.3, f"learning rate of prompts ({LESTER}: 0.3)"),
    "schedule": ("cosine", "constant", f"of prompts: constant ({LESTER}) or cosine, down to 0"),
    "weight_decay": (0.0, 1e-5, f"of prompts ({LESTER}: 1e-5)"),
    "steps": (100, 30000, f"training steps on the target ({LESTER}: 30,000)"),
    "source_steps": (400, 30000, "training steps of a source prompt"),
    "batch": (16, 32, f"examples of one prompt in a step ({LESTER}: 32)"),
    "strength": (1.0, 1.0, "lambda, PANDA's weight before the similarity (open in the paper)"),
    "temperature": (1.0, 1.0, "of the distillation (open in the paper)"),
    "metric": ("panda", "panda", "the similarity that weighs PANDA: panda, e_avg, e_tok or on"),
    "dropout": (0.0, 0.0, "in the frozen T5 while training (0 in Lester et al.'s code, 0.1 in PANDA's)"),
    "evals": (5, 20, "how often a run is scored on dev; the best of these is kept"),
    "held_out": (0.6, 0.0, "share of dev kept from that choice and used for the report; 0: choose "
                 "and report on the same examples, as the papers do"),
    "max_input": (512, 512, "tokens of an input; the long part (premise, passage) is what is cut"),
    "max_dev": (0, 0, "dev examples used, evenly spaced over the file; 0: all"),
    "finetune_lr": (1e-2, 1e-3, f"learning rate of `finetune` ({LESTER}: 0.001)"),
    "finetune_dropout": (0.0, 0.1, "dropout of `finetune` (T5's own: Raffel et al. 2020, section 3.1.1)"),
}
# What of it decides model tuning.
TUNING = ("steps", "batch", "evals", "held_out", "max_input", "max_dev", "finetune_lr", "finetune_dropout")
TOY, REAL = 0, 1
KEEP_EVERY = 60  # seconds between two states of prompts on disk, when no evaluation falls between
CHOICES = {"init": ("uniform", "vocabulary", "labels"), "optimizer": ("adafactor", "adamw"),
           "schedule": ("constant", "cosine"), "metric": ("panda", "e_avg", "e_tok", "on")}
APPROACHES = ("prompt", "pot", "panda", "controls", "finetune")


def split(names):
    return [name.strip() for name in names.split(",") if name.strip()]


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", help="source tasks, comma-separated (default: toy-nli,toy-sst2)")
    add("--target", help="target tasks, comma-separated (default: toy-cb)")
    add("--model", help="t5-small … t5-11b, owner/name on the hub, or a folder (default: the toy T5)")
    add("--data", help="folder with the official files of the tasks, as `python data.py` lists them "
        "(default: fetched once into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or your cache folder)")
    add("--approach", help="comma-separated, of %s; prompt always runs, panda brings pot, controls are prompt_2x "
        "and panda_self (default: prompt,pot,panda,controls)" % ", ".join(APPROACHES))
    add("--seeds", type=int, default=3, help="how many seeds (default: 3)")
    add("--ensemble", type=int, help="train so many prompts of one task in one pass and report "
        "their vote too (Lester et al. 2021, section 6): --seeds so many, --approach prompt if none is given")
    add("--eval-on", default="", help="other tasks whose labels say the same, or more or less finely (of mrpc: qqp, "
        "of rte: cb): every prompt and model tuned on the target is scored there too, unchanged; --approach "
        "prompt,finetune if neither that nor --source nor --ensemble is given")
    add("--first-seed", type=int, default=0, help="the first of them (default: 0)")
    add("--out", default="runs", help="folder for all that is written (default: runs)")
    add("--device", help="cpu, cuda, … (default: cuda if there is one)")
    add("--dtype", choices=("fp32", "bf16", "fp16"),
        help="of the frozen weights and the products (default: bf16 on a GPU that has it, else fp32)")
    add("--tokens", type=int, default=8192,
        help="positions, prompt and padding counted, in one forward pass, for memory; changes no "
        "result unless there is dropout (default: 8192)")
    add("--resume", action=argparse.BooleanOptionalAction, default=True,
        help="go on where the same command stopped, and read the source prompts it left (default: yes)")
    for name, (toy, real, text) in RECIPE.items():
        add(f"--{name.replace('_', '-')}", type=type(toy), dest=name,
            help=f"{text} (default: {real}; toy tasks: {toy})".replace("%", "%%"))
    args = parser.parse_args(argv)
    for name in ("seeds", "tokens", "length", "steps", "source_steps", "batch", "evals"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}, wanted 1 or more")
    for name, good, range_ in (("held_out", lambda x: 0 <= x < 1, "from 0 to below 1"),
                               ("temperature", lambda x: x > 0, "above 0"),
                               ("strength", lambda x: x >= 0, "0 or more"),
                               ("dropout", lambda x: 0 <= x < 1, "from 0 to below 1"),
                               ("finetune_dropout", lambda x: 0 <= x < 1, "from 0 to below 1"),
                               ("max_dev", lambda x: x >= 0, "0 or more"),
                               ("max_input", lambda x: x >= 2, "2 or more")):
        if getattr(args, name) is not None and not good(getattr(args, name)):
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}, wanted {range_}")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise ValueError(f"--out {args.out} is a file, wanted a folder")
    args.target, args.eval_on = split(args.target or "toy-cb"), split(args.eval_on)
    for name in args.eval_on:
        for target in args.target:
            data.common_labels(target, name)
    if [name for name in args.target if args.eval_on == [name]]:
        raise ValueError(f"--eval-on {args.eval_on[0]}: it is scored on itself anyway")
    if args.ensemble is not None:
        if args.ensemble < 2:
            raise ValueError(f"--ensemble is {args.ensemble}, wanted 2 or more")
        if args.seeds not in (parser.get_default("seeds"), args.ensemble):
            raise ValueError(f"--ensemble {args.ensemble} has as many seeds, not {args.seeds}: leave --seeds out")
        args.seeds = args.ensemble
    if args.approach is None:
        args.approach = ("prompt" if args.ensemble else "prompt,finetune" if args.eval_on and not args.source
                         else "prompt,pot,panda,controls")
    args.approach = split(args.approach)
    if not {"pot", "panda"} & set(args.approach):
        if args.source:
            raise ValueError(f"--source {args.source}: only pot and panda have one, not --approach "
                             f"{','.join(args.approach)}")
        args.source = ""
    elif args.source is None:
        if not all(name.startswith("toy-") for name in args.target):
            raise ValueError("give --source, the tasks to transfer from, or --approach prompt")
        args.source = "toy-nli,toy-sst2"
    args.source = split(args.source)
    for name in args.source + args.target:
        data.find_task(name)
    for option in ("source", "target", "eval_on"):
        if len(set(getattr(args, option))) < len(getattr(args, option)):
            raise ValueError(f"--{option.replace('_', '-')} {','.join(getattr(args, option))} names a task twice")
    for name in args.approach:
        if name not in APPROACHES:
            raise ValueError(f"unknown approach {name!r}: {', '.join(APPROACHES)} (controls are prompt_2x "
                             "and panda_self)")
    for name, words in CHOICES.items():
        value = getattr(args, name)
        free = name == "init" and value and (value.startswith("text:") or Path(value).exists())
        if name == "init" and not free and value is not None and set(value) & set("/."):
            raise ValueError(f"--init {value}: there is no such file or folder")
        if value not in (None, *words) and not free:
            more = ", text:SOME WORDS, or a prompt's folder or file" if name == "init" else ""
            raise ValueError(f"unknown {name} {value!r}: {', '.join(words)}{more}")
    toys = {name.startswith("toy-") for name in args.source + args.target + args.eval_on}
    if len(toys) > 1:
        raise ValueError("toy tasks and real ones cannot be mixed in one run")
    column = TOY if toys == {True} else REAL
    for name, defaults in RECIPE.items():
        if getattr(args, name) is None:
            setattr(args, name, defaults[column])
    if args.model is None:
        if column == REAL:
            raise ValueError("real tasks need a real model: give --model t5-small, say, or a folder")
        args.model = str(TOY_MODEL)
    return args


def choose_device(device, dtype):
    """(device, dtype, why), as asked for or as the machine has it."""
    why = "asked for"
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        why = "found" if device == "cuda" else "no GPU found"
    elif not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d+)?", device):
        raise ValueError(f"unknown device {device!r}: cpu, cuda, cuda:1, …")
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: this machine has no GPU that torch can use")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None
    if dtype is None:
        bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bf16" if bf16 else "fp32"
    if dtype == "fp16" and not device.startswith("cuda"):
        raise ValueError("--dtype fp16 needs a GPU; on a CPU use fp32 or bf16")
    return device, dtype, why


# ---------------------------------------------------------------- the training


class Adafactor(torch.optim.Optimizer):
    """Adafactor as Lester et al. 2021 use it: not factored, no parameter scaling.

        v  <- d v + (1 - d) (g^2 + 1e-30)        d = 1 - t^-0.8
        u  =  g / sqrt(v),  scaled down to a root mean square of at most 1
        p  <- p - lr u - lr * weight_decay * p

    Each prompt of a bank is a parameter of its own, and so is clipped on its own.
    Source: Shazeer and Stern 2018, algorithm 4, with section 7.2's decay.
    """

    def __init__(self, params, lr=0.3, weight_decay=1e-5, decay=0.8):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                state.setdefault("step", torch.tensor(0.0))
                state.setdefault("v", torch.zeros_like(p))
                state["step"] += 1
                d = 1 - state["step"].item() ** -group["decay"]
                state["v"].mul_(d).add_(p.grad ** 2 + 1e-30, alpha=1 - d)
                update = p.grad / state["v"].sqrt()
                update /= (update.pow(2).mean().sqrt()).clamp(min=1.0)
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])


@dataclass
class Run:
    """One prompt to be trained, or all of T5 (then alone): what `train_runs` needs to know of it."""

    name: str  # "pot toy-nli", say: approach and source
    seed: int
    start: torch.Tensor  # (P, D); None: no prompt, T5's own weights are trained
    steps: int
    teacher: torch.Tensor = None  # (P, D), frozen
    kd_weight: float = 0.0  # lambda * similarity


@dataclass
class Result:
    """What became of a Run. Scores are in percent, of the task's first metric."""

    score: float  # of the best prompt, on the reported examples
    best: torch.Tensor  # (P, D), the best on the examples to choose by; of model tuning, weights by name
    curve: list  # (step, score on the examples to choose by)
    seconds: float  # this run's share of its pass
    trained: int = 0  # how many numbers
    memory: int = 0  # bytes of what is trained, its gradients and the optimiser's state
    elsewhere: list = field(default_factory=list)  # scores on the tasks of --eval-on, in their order


class Setting:
    """What all runs of one command share: the T5, the tokenizer, where and how it runs."""

    def __init__(self, args):
        self.args = args
        self.device, self.dtype, why = choose_device(args.device, args.dtype)
        if self.dtype == "fp16" and "finetune" in args.approach:
            raise ValueError("finetune needs --dtype bf16 or fp32: it has not been tried in fp16")
        self.folder = folder = data.checkpoint(args.model, cache=args.cache)
        torch_dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.dtype]
        self.t5 = model.load(folder, torch_dtype, self.device)
        self.tokenizer = data.Tokenizer(folder / "spiece.model")
        self.fingerprint = f"{self.t5.fingerprint}-{self.tokenizer.fingerprint}"
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.done_rows, self.all_rows, self.begun = 0, 0, time.time()
        # AMP: products in the short type, everything that adds up in fp32. The weights
        # are frozen, so they are kept in the short type too.
        self.amp = (contextlib.nullcontext if self.dtype == "fp32" else
                    lambda: torch.autocast(self.device.split(":")[0], torch_dtype))
        print(f"device {self.device} ({why}), {self.dtype}, {torch.get_num_threads()} threads; "
              f"T5 {args.model}, {sum(p.numel() for p in self.t5.parameters()):,} weights, "
              f"{self.fingerprint}", flush=True)

    def log(self, title, **entry):
        with open(self.out / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time()), "pass": title} | entry) + "\n")

    def eta(self):
        """Minutes and seconds to go, from the rows trained so far."""
        if not self.done_rows:
            return "?"
        left = (time.time() - self.begun) * (self.all_rows / self.done_rows - 1)
        return f"{int(left) // 60}:{int(left) % 60:02d}"


class TaskData:
    """A task's examples as token ids, and the part of dev to choose and to report by.

    asked: the TaskData of another task, in whose words the answers are given. The labels
    are its own then, and the targets are put into the words that serve both.
    """

    def __init__(self, setting, name, asked=None):
        args, tokenizer = setting.args, setting.tokenizer
        self.name, self.task = name, asked.task if asked else data.find_task(name)
        train, dev = data.load(name, args.data, args.cache)
        self.scored_as, self.words = data.common_labels(asked.name if asked else name, name)
        if asked:
            train, dev = ([replace(e, target=self.words.get(e.target, e.target)) for e in examples]
                          for examples in (train, dev))
        if args.max_dev and args.max_dev < len(dev):
            dev = [dev[i * len(dev) // args.max_dev] for i in range(args.max_dev)]
        targets = [tokenizer.encode(e.target) for e in train]
        inputs, cut = tokenizer.encode_inputs([] if asked else train, args.max_input)  # no step is done on `asked`
        self.train = list(zip(inputs, targets))
        dev_inputs, cut_dev = tokenizer.encode_inputs(dev, args.max_input)
        self.dev = list(zip(dev_inputs, dev))
        if cut or cut_dev:
            print(f"{name}: {cut} of {len(inputs)} training inputs and {cut_dev} of {len(dev)} dev inputs "
                  f"cut to {args.max_input} tokens", flush=True)
        self.longest = max(len(target) for target in targets)  # of an answer, in tokens
        count = round(len(dev) * args.held_out)
        digest = hashlib.sha256()
        for ids, target in self.train + self.dev:
            digest.update(f"{ids.tolist()} {target} ".encode())
        self.fingerprint = digest.hexdigest()[:16]
        order = data.order(len(dev), 0, "held out")  # not the file's order, which may be sorted
        self.report = sorted(order[:count]) or sorted(order)
        self.choose = sorted(order[count:]) if count else sorted(order)
        self.majority = data.majority(self.scored_as, train, [dev[i] for i in self.report])
        self.labels = [tokenizer.encode(label) for label in self.task.labels]
        if asked:
            self.longest = max(self.longest, asked.longest)

    def order(self, seed, step, batch):
        """The training examples of a seed's step: a walk through shuffled epochs."""
        visits = [divmod(at, len(self.train)) for at in range(step * batch, (step + 1) * batch)]
        return [data.order(len(self.train), seed, epoch)[place] for epoch, place in visits]


def by_length(rows, tokens, prompt_length=0):
    """Cut rows, (key, input ids, …), into parts of similar length and at most so many positions.

    Padding is the largest waste there is, and sorting nearly removes it; a loss that
    is summed row by row does not mind.
    """
    rows = sorted(rows, key=lambda row: len(row[1]))
    part = []
    for row in rows:
        if part and (len(part) + 1) * (prompt_length + len(row[1])) > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


@torch.no_grad()
def predict(setting, task, prompts, places):
    """What each prompt answers to the dev examples at `places`: a list of strings for each.

    The input is encoded once; then every label is scored, or free text is generated.
    prompts: a PromptBank, or None for T5 without a prompt.
    """
    t5, tokenizer, device = setting.t5, setting.tokenizer, setting.device
    N, P = (len(prompts), prompts.prompts[0].shape[0]) if prompts else (1, 0)
    answers = [dict() for _ in range(N)]
    rows = [((n, i), task.dev[i][0]) for n in range(N) for i in places]
    labels = data.pad(task.labels, device) if task.labels else None
    for part in by_length(rows, setting.args.tokens, P):
        ids = data.pad([row[1] for row in part], device)
        embedded, mask = t5.embed(ids), ids != data.PAD
        if prompts:
            index = torch.tensor([row[0][0] for row in part], device=device)
            embedded, mask = prompts.prepend(embedded, mask, index)
        with setting.amp():
            memory = t5.encode(embedded, mask)
            if task.labels:
                texts = [task.task.labels[i] for i in
                         t5.score_labels(memory, mask, labels).argmax(-1).tolist()]
            else:
                texts = [tokenizer.decode(row) for row in t5.generate(memory, mask, task.longest).tolist()]
        for ((n, i), _), text in zip(part, texts):
            answers[n][i] = text
    return [[answer[i] for i in places] for answer in answers]


def dev_scores(setting, task, prompts, places):
    """The first metric of each prompt on these dev examples, in percent."""
    targets = [task.dev[i][1] for i in places]  # whole examples: some metrics want more than the target
    return [next(iter(data.score(task.scored_as, [task.words.get(text, text) for text in texts],
                                 targets).values())) for texts in predict(setting, task, prompts, places)]


def learning_rate(recipe, step, steps):
    """Of step 0, 1, …: constant, or half a cosine from lr to 0.

    0 after a run's last step: it has no rows any more, but Adam's momentum would go on.
    """
    if step >= steps:
        return 0.0
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_optimizer(recipe, bank, t5):
    """Of each prompt on its own; or, without a bank, of all T5's weights, as T5 itself is tuned:
    Adafactor with factors and parameter scaling, which is torch's."""
    if bank is None:
        return torch.optim.Adafactor(t5.parameters(), lr=recipe.finetune_lr)
    groups = [{"params": [p], "lr": recipe.lr} for p in bank.prompts]
    kind = {"adafactor": Adafactor, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, weight_decay=recipe.weight_decay)


def gradients(setting, task, bank, runs, teachers, step):
    """One step's forward and backward of all runs: (loss of each run, input tokens).

    bank: the runs' prompts, or None for T5 without a prompt. A run's loss is the mean over
    the target tokens of its own rows, whatever part of the pass they fall into.
    """
    t5, device, recipe = setting.t5, setting.device, setting.args
    rows = [((n, i), *task.train[i]) for n, run in enumerate(runs) if step < run.steps
            for i in task.order(run.seed, step, recipe.batch)]
    count = [0] * len(runs)
    for (n, _), _, target in rows:
        count[n] += len(target)
    losses, tokens = torch.zeros(len(runs), device=device), 0
    for part in by_length(rows, recipe.tokens, recipe.length):
        keys = [row[0] for row in part]
        ids, targets = data.pad([row[1] for row in part], device), data.pad([row[2] for row in part], device)
        index = torch.tensor([n for n, _ in keys], device=device)
        mask, decoder_ids = ids != data.PAD, model.shift_right(targets)
        with setting.amp():
            embedded, seen = t5.embed(ids), mask
            if bank:
                embedded, seen = bank.prepend(embedded, seen, index)  # (B, P+S, D)
            memory = t5.encode(embedded, seen)
            logits = t5.decode(decoder_ids, memory, seen)  # (B, T, V)
            loss = -model.target_log_probs(logits, targets)  # (B, T)
            taught = [b for b, (n, _) in enumerate(keys) if runs[n].kd_weight > 0]
            if taught:
                at = torch.tensor(taught, device=device)
                answers = teachers.logits([keys[b] for b in taught], ids[at], mask[at], index[at],
                                          decoder_ids[at])
                kd = distill.kd_tokens(logits[at], answers, recipe.temperature)
                weights = torch.tensor([runs[keys[b][0]].kd_weight for b in taught], device=device)
                loss = loss.index_add(0, at, kd * (targets[at] != data.PAD) * weights[:, None])
        share = torch.tensor([1 / count[n] for n, _ in keys], device=device)
        row_loss = loss.sum(1) * share  # (B,)
        setting.scaler.scale(row_loss.sum()).backward()
        losses.index_add_(0, index, row_loss.detach())
        tokens += ids.numel()
    return losses, tokens


def write_whole(path, write):
    """Call write(temporary path), then give the file its name: whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        write(Path(scratch) / path.name)
        os.replace(Path(scratch) / path.name, path)


def memory_of(trained, optimizer):
    """Bytes of a module's weights, of their gradients, which are as large, and of the optimiser's state."""
    tensors = [t for p in trained.parameters() for t in (p, p, *optimizer.state[p].values())]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def train_runs(setting, task, runs, title):
    """Train all runs together on one task: a list of Results.

    One run whose start is None is model tuning: setting.t5 itself is trained, and is
    left with its best weights.

    Leaves two files in <out>/passes/<title>-<key>/: last.pt, everything needed to go on, and
    best.safetensors, the best prompts or weights so far. The key is a checksum of all that decides
    the result, so that a changed recipe never goes on from an old state.
    """
    recipe, device, tuning = setting.args, setting.device, runs[0].start is None
    dropout = recipe.finetune_dropout if tuning else recipe.dropout
    names = TUNING if tuning else [name for name in RECIPE if "finetune" not in name]
    identity = {name: getattr(recipe, name) for name in names} | {
        "tokens": recipe.tokens if dropout else None,  # which decides what the dropout falls on
        "fingerprint": setting.fingerprint, "task": task.name, "examples": task.fingerprint, "dtype": setting.dtype,
        "runs": [(r.name, r.seed, r.steps, r.kd_weight, checksum(r.start), checksum(r.teacher))
                 for r in runs]}
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    folder = setting.out / "passes" / f"{title.replace(' ', '-')}-{key}"
    folder.mkdir(parents=True, exist_ok=True)

    bank = None if tuning else prompt.PromptBank([run.start for run in runs]).to(device)
    trained = bank or setting.t5
    optimizer = make_optimizer(recipe, bank, setting.t5)
    setting.scaler = torch.amp.GradScaler(device.split(":")[0], enabled=setting.dtype == "fp16")
    teachers = bank and distill.Teachers(setting.t5, prompt.PromptBank(
        [run.start if run.teacher is None else run.teacher for run in runs]).to(device))

    def now(n):
        """A copy of what run n trains: its prompt, or all weights by name."""
        if bank:
            return bank.prompts[n].detach().cpu().clone()
        return {name: weight.detach().cpu().clone() for name, weight in trained.state_dict().items()}

    steps = max(run.steps for run in runs)
    state = {"step": 0, "seconds": [0.0] * len(runs), "curves": [[] for _ in runs],
             "best": [now(n) for n in range(len(runs))], "scores": None, "memory": 0}
    if recipe.resume and (folder / "last.pt").exists():
        state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
        if state["scores"] is None:
            trained.load_state_dict(state["trained"])
            optimizer.load_state_dict(state["optimizer"])
            setting.scaler.load_state_dict(state["scaler"])
        print(f"{title}: going on from step {state['step']} of {steps} ({folder})", flush=True)
    setting.all_rows -= sum(min(state["step"], r.steps) for r in runs) * recipe.batch

    def keep():
        if not all(p.isfinite().all() for p in trained.parameters()):
            raise ValueError(f"{title}: a trained number is not finite after step {state['step']}; the last "
                             f"good state is in {folder}")
        state.update(trained=trained.state_dict(), optimizer=optimizer.state_dict(),
                     scaler=setting.scaler.state_dict())
        if state["scores"] is not None and not bank:  # all weights are large: of a finished run, the best only
            del state["trained"], state["optimizer"]
        best = {f"{r.name} seed {r.seed}": b for r, b in zip(runs, state["best"])}
        write_whole(folder / "best.safetensors", lambda path: save_file(
            best if bank else state["best"][0], path))
        write_whole(folder / "last.pt", lambda path: torch.save(state, path))

    setting.t5.dropout, kept = dropout, time.time()
    while state["step"] < steps:
        step, began = state["step"], time.time()
        for run, group in zip(runs, optimizer.param_groups if bank else ()):
            group["lr"] = learning_rate(recipe, step, run.steps)
        torch.manual_seed(step)  # of the dropout, if there is any: a resume draws the same
        losses, tokens = gradients(setting, task, bank, runs, teachers, step)
        if not torch.isfinite(losses).all():
            bad = [r.name for r, loss in zip(runs, losses.tolist()) if not math.isfinite(loss)]
            raise ValueError(f"{title}: the loss of {', '.join(bad)} is not finite at step {step}; "
                             f"the last good state is in {folder}")
        setting.scaler.step(optimizer)
        setting.scaler.update()
        optimizer.zero_grad()
        state["step"] = step = step + 1
        speed = tokens / (time.time() - began)
        live = [n for n, run in enumerate(runs) if step <= run.steps]
        setting.done_rows += len(live) * recipe.batch
        mean_loss = sum(losses[n].item() for n in live) / len(live)
        if step == 1:
            what = f"{len(runs)} prompts of {len(runs[0].start)} vectors" if bank else "all weights"
            print(f"{title}: {what}; first loss {mean_loss:.2f}, a uniform guess costs "
                  f"{math.log(setting.t5.config.vocab_size):.2f}", flush=True)
        # Each run is scored `evals` times, at even distances, the last time at its end.
        due = [n for n in live if step * recipe.evals // runs[n].steps
               > (step - 1) * recipe.evals // runs[n].steps]
        if due:
            state["memory"] = memory_of(trained, optimizer) // len(runs)
            setting.t5.dropout = 0.0
            some = bank and prompt.PromptBank([bank.prompts[n] for n in due]).to(device)
            for n, score in zip(due, dev_scores(setting, task, some, task.choose)):
                if score > max([s for _, s in state["curves"][n]], default=-math.inf):
                    state["best"][n] = now(n)
                state["curves"][n].append([step, score])
            setting.t5.dropout = dropout
        took = time.time() - began
        for n in live:
            state["seconds"][n] += took / len(live)
        if due or (bank and time.time() - kept > KEEP_EVERY):  # all weights are too large to write often
            keep()
            kept = time.time()
            dev = f"dev {statistics.mean(state['curves'][n][-1][1] for n in due):.1f} " if due else ""
            print(f"{title}: step {step}/{steps} {100 * step // steps}% loss {mean_loss:.3f} {dev}"
                  f"lr {optimizer.param_groups[live[0]]['lr']:.3g} {len(live)} runs {speed:.0f} tok/s "
                  f"ETA {setting.eta()}", flush=True)
            setting.log(title, step=step, loss={
                f"{runs[n].name} seed {runs[n].seed}": losses[n].item() for n in live},
                dev={f"{runs[n].name} seed {runs[n].seed}": state["curves"][n][-1][1] for n in due},
                tokens_per_second=speed)
    setting.t5.dropout = 0.0
    best = bank and prompt.PromptBank(state["best"]).to(device)
    if not bank:
        trained.load_state_dict(state["best"][0])
    if state["scores"] is None:  # the reported examples are looked at once, at the end
        state["scores"] = dev_scores(setting, task, best, task.report)
        keep()
    count = sum(p.numel() for p in trained.parameters()) // len(runs)
    return [Result(*values, count, state["memory"]) for values in zip(
        state["scores"], state["best"], state["curves"], state["seconds"])]


def checksum(tensor):
    return None if tensor is None else hashlib.sha256(
        tensor.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def finetune(setting, task, seed, others=()):
    """Model tuning, the baseline: all weights of a copy of T5, in fp32, without a prompt. A Result.

    others: tasks (TaskData) that the tuned model is scored on, too.

    The loop, the number of steps, the examples of a seed and the choice of the best are
    those of the prompts. Lester et al. 2021, section 3: Adafactor, constant learning rate
    0.001 (torch's is never above 1 / sqrt(step), which 0.001 does not meet in a million steps).
    """
    frozen = setting.t5
    try:
        # Not the frozen weights, which may be rounded to a short type; copied, as `load` maps its file.
        setting.t5 = copy.deepcopy(model.load(setting.folder, torch.float32, setting.device)).requires_grad_(True)
        [result] = train_runs(setting, task, [Run("finetune", seed, None, setting.args.steps)],
                              f"{task.name} finetune {seed}")
        result.elsewhere = [dev_scores(setting, other, None, other.report)[0] for other in others]
    finally:
        setting.t5 = frozen
    return replace(result, best=None)


# ----------------------------------------------------------------- the method


def source_prompt(setting, name):
    """The trained prompt (P, D) of a source task: read if it is there, else trained with seed 0."""
    args = setting.args
    task = TaskData(setting, name)
    recipe, kept = source_recipe(setting, task), setting.out / "sources" / f"{name}-0"
    for folder in (kept, SHIPPED / f"{name}-0"):
        if not folder.exists() or (folder == kept and not args.resume):
            continue
        trained, made_by = prompt.load(folder)
        if made_by["fingerprint"] == setting.fingerprint and made_by["recipe"] == recipe:
            print(f"source {name}: read from {folder}, {made_by['score']:.1f} on its dev set", flush=True)
            return trained
        print(f"source {name}: {folder} was made by another model, recipe or data, not read"
              + "".join(f"; {key} {made_by['recipe'].get(key)}, wanted {value}" for key, value in recipe.items()
                        if made_by["recipe"].get(key) != value), flush=True)
    run = Run(f"source {name}", 0, start(setting, task, 0), args.source_steps)
    setting.all_rows += args.source_steps * args.batch
    [result] = train_runs(setting, task, [run], f"source {name}")
    keep_prompt(setting, kept, name, 0, result, recipe)
    return result.best


def source_recipe(setting, task):
    """What decides a source prompt, beside the model."""
    args = setting.args
    names = ("length", "init", "optimizer", "lr", "schedule", "weight_decay", "source_steps", "batch",
             "dropout", "evals", "held_out", "max_input", "max_dev")
    made_of = {name: getattr(args, name) for name in names} | {
        "dtype": setting.dtype, "examples": task.fingerprint}
    if Path(args.init).exists():  # the file may have changed since
        made_of["start"] = checksum(start(setting, task, 0))
    return made_of


def start(setting, task, seed):
    """A fresh prompt (P, D) for a seed; from a text or a file it is the same for all seeds."""
    how, length, embedding = setting.args.init, setting.args.length, setting.t5.shared.weight
    if how not in CHOICES["init"] and not how.startswith("text:"):
        return prompt.from_file(how, setting.fingerprint, (length, embedding.shape[1]))
    how, _, text = how.partition(":")
    return prompt.initialise(how, embedding, length, seed, setting.tokenizer.pieces,
                             [ids[:-1] for ids in task.labels], setting.tokenizer.encode(text)[:-1])


def keep_prompt(setting, folder, name, seed, result, recipe):
    """Write a run's best prompt, with what made it."""
    config = setting.t5.config
    base = "toy/t5" if setting.args.model == str(TOY_MODEL) else setting.args.model
    prompt.save(folder, result.best, {
        "task": name, "seed": seed, "score": result.score, "recipe": recipe,
        "fingerprint": setting.fingerprint}, base, config.num_layers, config.num_heads)


def similarities(setting, task, source, target):
    """The four measures for a source prompt and a target prompt, on the target's first 100 inputs."""
    t5 = setting.t5
    ids = data.pad([ids for ids, _ in task.train[:100]], setting.device)
    with setting.amp():
        source, target = source.to(setting.device), target.to(setting.device)
        found = {"panda": transferability.panda(source, target, t5, ids),
                 "on": transferability.on(source, target, t5, setting.tokenizer.sentinel(0))}
    return found | {"e_avg": transferability.e_avg(source, target),
                    "e_tok": transferability.e_tok(source, target)}


def ensemble(setting, task, results):
    """The scores of several prompts' votes on the reported examples, {"majority": …, "mean": …}, in percent.

    Each input is encoded once for each prompt, side by side in a batch; free text has one
    vote only, that of the majority.
    """
    bank = prompt.PromptBank([result.best for result in results]).to(setting.device)
    members, answers = {task.name: list(range(len(bank)))}, {}
    rows = [(i, task.dev[i][0]) for i in task.report]
    for part in by_length(rows, setting.args.tokens // len(bank), setting.args.length):
        examples = [(task.name, task.dev[i][1]) for i, _ in part]
        with setting.amp():
            answers |= zip([i for i, _ in part], prompt.answer(
                setting.t5, setting.tokenizer, bank, members, examples, setting.args.max_input, task.longest))
    answers = [answers[i] for i in task.report]
    said = {"majority": [answer.get("label", answer.get("text")) for answer in answers]}
    if task.labels:
        said["mean"] = [max(answer["probabilities"], key=answer["probabilities"].get) for answer in answers]
    targets = [task.dev[i][1] for i in task.report]
    return {how: next(iter(data.score(task.name, texts, targets).values())) for how, texts in said.items()}


def transfer(setting, target, sources):
    """All approaches on one target: (the target's data, name of approach -> Results, similarities)."""
    args, wanted = setting.args, setting.args.approach
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    needs_panda, controls = "panda" in wanted, "controls" in wanted
    pots = sources if needs_panda or "pot" in wanted else []  # panda's teachers are the pots
    task = TaskData(setting, target)  # first: a missing file should not wait for the sources
    task.others = [TaskData(setting, name, asked=task) for name in args.eval_on if name != target]
    prompts_of = {name: source_prompt(setting, name) for name in pots}
    for each in (task, *task.others):
        [each.promptless] = dev_scores(setting, each, None, each.report)
    same = ", the same" if task.report == task.choose else ""
    print(f"target {target}: {len(task.train)} training examples, {len(task.choose)} dev examples to choose by, "
          f"{len(task.report)} to report{same}; majority class {task.majority:.1f}, T5 without a prompt "
          f"{task.promptless:.1f}", flush=True)

    fresh = {seed: start(setting, task, seed) for seed in seeds}
    runs = [Run("prompt", seed, fresh[seed], args.steps) for seed in seeds]
    runs += [Run(f"pot {name}", seed, prompts_of[name], args.steps) for name in pots for seed in seeds]
    if controls:
        runs += [Run("prompt_2x", seed, fresh[seed], 2 * args.steps) for seed in seeds]
    found = {}
    for run, result in zip(runs, train_runs(setting, task, runs, f"{target} prompts")):
        found.setdefault(run.name, []).append(result)

    task.ensemble = ensemble(setting, task, found["prompt"]) if args.ensemble else {}

    # The weight of a student's teacher: the similarity of its own seed's target prompt.
    similar = {name: [similarities(setting, task, prompts_of[name], plain.best)
                      for plain in found["prompt"]] for name in pots}
    runs = []
    for i, seed in enumerate(seeds):
        for name in pots if needs_panda else []:
            # Rounded: the last bits differ from machine to machine, and name the pass.
            sim = round(similar[name][i][args.metric], 4)
            runs.append(Run(f"panda {name}", seed, fresh[seed], args.steps,
                            found[f"pot {name}"][i].best, distill.weight(sim, args.strength)))
        if controls:
            runs.append(Run("panda_self", seed, fresh[seed], args.steps, found["prompt"][i].best,
                            distill.weight(1.0, args.strength)))
    if runs:
        for run, result in zip(runs, train_runs(setting, task, runs, f"{target} students")):
            found.setdefault(run.name, []).append(result)
    every = [result for results in found.values() for result in results]
    bank = prompt.PromptBank([result.best for result in every]).to(setting.device)
    for other in task.others:
        for result, score in zip(every, dev_scores(setting, other, bank, other.report)):
            result.elsewhere.append(score)
    if "finetune" in wanted:
        found["finetune"] = [finetune(setting, task, seed, task.others) for seed in seeds]
    for name, results in found.items():
        for seed, result in zip(seeds, results):
            if result.best is not None:
                approach, _, source = name.partition(" ")
                folder = (setting.out / "prompts" / f"{target}-{seed}" if name == "prompt" else
                          setting.out / (f"{source}-to-{target}" if source else target)
                          / "prompts" / f"{approach}-{seed}")
                keep_prompt(setting, folder, target, seed, result, {n: getattr(args, n) for n in RECIPE})
    return task, found, similar


# ----------------------------------------------------------------- the report


def spread(scores):
    """Mean and sample standard deviation, which one score does not have: NaN, shown as ?."""
    return statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else math.nan


def plus_minus(scores, sign=""):
    """Of some scores, "75.9 ± 3.4"; of one, "75.9 ± ?"."""
    mean, deviation = spread(scores)
    return f"{mean:{sign}.1f} ± {'?' if math.isnan(deviation) else f'{deviation:.1f}'}"


def table(task, found, similar, args):
    """The report's table and its sentence, as lines of Markdown."""
    lines = [f"majority class {task.majority:.1f}, T5 without a prompt {task.promptless:.1f}; "
             f"prompts of length {args.length}, fresh ones from {args.init}", "",
             f"| approach | source | {task.task.metrics[0]}, mean ± sd | each seed | "
             "seconds (share of the pass) | similarity |",
             "|---|---|---|---|---|---|"]
    for name, results in found.items():
        approach, _, source = name.partition(" ")
        scores = [result.score for result in results]
        near = (f"{statistics.mean(s[args.metric] for s in similar[source]):+.2f}"
                if source in similar else "")
        lines.append(f"| {approach} | {source or '–'} | {plus_minus(scores)} | "
                     f"{', '.join(f'{s:.1f}' for s in scores)} | "
                     f"{statistics.mean(r.seconds for r in results):.1f} | {near} |")
    if task.ensemble:
        members = [result.score for result in found["prompt"]]
        words = {"majority": "majority vote", "mean": "mean probability"}
        lines += ["", f"Ensemble of {len(members)} prompts: " + ", ".join(
            f"{words[how]} {value:.1f}" for how, value in task.ensemble.items())
            + f"; its members' mean {statistics.mean(members):.1f}, best {max(members):.1f} (picked with hindsight)"]
    if len(found) > 1:
        lines += ["", sentence(found)]
    if task.others:
        lines += ["", *elsewhere(task, found)]
    return lines + (["", *cost(found)] if "finetune" in found else [])


def elsewhere(task, found):
    """What the same prompts and weights score on the tasks of --eval-on, and prompt against model tuning there."""
    tasks = [task, *task.others]
    heads = [f"{each.name}, {'trained' if each is task else 'unchanged'}: "
             f"{data.TASKS[each.scored_as].metrics[0]}" for each in tasks]
    lines = [f"| approach | source | {' | '.join(heads)} |", "|---" * (len(tasks) + 2) + "|"]
    for name, kind in (("majority class", "majority"), ("T5 without a prompt", "promptless")):
        lines.append(f"| {name} | – | {' | '.join(f'{getattr(each, kind):.1f}' for each in tasks)} |")
    columns = {name: list(zip(*([r.score, *r.elsewhere] for r in results))) for name, results in found.items()}
    for name, scores in columns.items():
        approach, _, source = name.partition(" ")
        lines.append(f"| {approach} | {source or '–'} | {' | '.join(map(plus_minus, scores))} |")
    if "finetune" in found:
        lines += ["", "Prompt tuning against model tuning, seed by seed: " + "; ".join(
            f"on {each.name} {gain(prompts, weights)}" for each, prompts, weights
            in zip(tasks, columns["prompt"], columns["finetune"])) + "."]
    return lines


def cost(found):
    """What a run of prompt tuning and one of model tuning train, store and keep in memory."""
    lines = ["| of one run | trained numbers | stored, fp32 | in training: these, their gradients, the optimiser |",
             "|---|---|---|---|"]
    for name in ("prompt", "finetune"):
        trained, memory = found[name][0].trained, found[name][0].memory
        lines.append(f"| {name} | {trained:,} | {4 * trained / 1e6:,.3f} MB | {memory / 1e6:,.3f} MB |")
    return lines + ["", "Not counted: the frozen T5, kept in both cases, and a batch's activations (benchmarks/cost.py "
                    "measures the peak)."]


# Two-sided 5 % points of Student's t for so many seeds: what a mean difference must
# exceed, in standard errors, to be more than chance. Above ten seeds, that of ten.
T_POINT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def beyond_chance(gains):
    """Whether the mean of these differences is not 0, by a t-test at 5 %. Of one, nobody knows: no."""
    n, (mean, deviation) = len(gains), spread(gains)
    return n > 1 and abs(mean) > T_POINT[min(n, 10)] * deviation / n ** 0.5


def gain(scores, base):
    """Scores against others, seed by seed, as a seed shares its start and its order of examples.

    >>> gain([70, 72, 74], [60, 63, 61])
    '+10.7 ± 2.1, ahead in 3 of 3 seeds'
    """
    gains = [score - b for score, b in zip(scores, base)]
    return (f"{plus_minus(gains, '+')}, ahead in {sum(gain > 0 for gain in gains)} of {len(gains)} seeds"
            f"{'' if beyond_chance(gains) else ' (may be chance)'}")


def sentence(found):
    """What was found, whichever way it went: each approach against plain prompt tuning."""
    base = [result.score for result in found["prompt"]]
    words = [f"{name.replace(' ', ' from ')} {gain([r.score for r in results], base)}"
             for name, results in found.items() if name != "prompt"]
    return (f"Against plain prompt tuning ({spread(base)[0]:.1f}), seed by seed: "
            + "; ".join(words) + ".")


def write_results(setting, task, source, found, similar):
    """results.json and report.md of one pair, each whole or not at all."""
    args = setting.args
    mine = {name.partition(" ")[0]: results for name, results in found.items()
            if name.partition(" ")[2] in ("", source)}
    folder = setting.out / (f"{source}-to-{task.name}" if source else task.name)
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "model": args.model, "source": source, "target": task.name, "metric": task.task.metrics[0],
        "seeds": list(range(args.first_seed, args.first_seed + args.seeds)),
        "scores": {name: [r.score for r in rs] for name, rs in mine.items()},
        "similarity": {measure: statistics.mean(s[measure] for s in similar[source])
                       for measure in similar[source][0]} if source in similar else {},
        "similarity_each_seed": similar.get(source, []),
        "curves": {name: [r.curve for r in rs] for name, rs in mine.items()},
        "seconds": {name: statistics.mean(r.seconds for r in rs) for name, rs in mine.items()},
        "cost": {name: {"trained": rs[0].trained, "stored_bytes": 4 * rs[0].trained,
                        "training_bytes": rs[0].memory} for name, rs in mine.items()},
        "elsewhere": {other.name: {
            "metric": data.TASKS[other.scored_as].metrics[0], "majority": other.majority,
            "promptless": other.promptless, "scores": {name: [r.elsewhere[k] for r in rs] for name, rs
                                                       in mine.items()}}
            for k, other in enumerate(task.others)},
        "steps": {name: args.steps * (2 if name == "prompt_2x" else 1) for name in mine},
        "ensemble": task.ensemble, "majority": task.majority, "promptless": task.promptless,
        "fingerprint": setting.fingerprint,
        "config": {name: getattr(args, name) for name in RECIPE} | {"dtype": setting.dtype}}
    pair = {name: rs for name, rs in found.items() if name.partition(" ")[2] in ("", source)}
    report = [f"# {f'{source} to ' if source else ''}{task.name}", "", f"model {args.model}", ""]
    report += table(task, pair, similar, args)
    report += ["", "Recipe: " + ", ".join(f"{name} {value}" for name, value in results["config"].items())]
    write_whole(folder / "results.json", lambda p: p.write_text(json.dumps(results, indent=2) + "\n"))
    write_whole(folder / "report.md", lambda p: p.write_text("\n".join(report) + "\n", encoding="utf-8"))
    return folder


def planned_rows(args, target):
    """How many rows `transfer` will train on, for the ETA."""
    wanted, sources = set(args.approach), len([name for name in args.source if name != target])
    passes = (1 + sources * bool(wanted & {"pot", "panda"}) + sources * ("panda" in wanted)
              + 3 * ("controls" in wanted) + ("finetune" in wanted))  # prompt_2x counts twice
    return passes * args.seeds * args.steps * args.batch


def main(argv=None):
    args = parse_arguments(argv)
    setting = Setting(args)
    for target in args.target:
        if {"pot", "panda"} & set(args.approach) and args.source == [target]:
            raise ValueError(f"{target} cannot be its own source: give another --source, or "
                             "--approach prompt")
    setting.all_rows = sum(planned_rows(args, target) for target in args.target)
    for target in args.target:
        sources = [name for name in args.source if name != target]
        task, found, similar = transfer(setting, target, sources)
        print()
        report = "\n".join(table(task, found, similar, args))
        print(report)
        (setting.out / target).mkdir(exist_ok=True)
        write_whole(setting.out / target / "report.md", lambda path: path.write_text(
            f"# {target}\n\nmodel {args.model}\n\n{report}\n", encoding="utf-8"))
        folders = [write_results(setting, task, source, found, similar)
                   for source in list(similar) or [""]]
        print(f"\n{time.time() - setting.begun:.0f} seconds; written to "
              f"{', '.join(map(str, folders))}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ntrain.py: stopped; the same command goes on from the last state that it wrote", file=sys.stderr)
        sys.exit(130)

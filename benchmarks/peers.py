"""Speed and memory beside transformers + PEFT, on the same work: the tables of docs/fast.md.

    pip install -r requirements.txt -r benchmarks/requirements.txt     in an environment of its own
    python benchmarks/peers.py                                         T5-small's shape, all parts
    python benchmarks/peers.py --shape t5-base --batch 16 --rounds 3 --parts step

    step      a training step: forward, backward and the optimiser's
    student   PANDA's student beside a plain step, and beside the way of PANDA's released code: a
              second copy of the model as the teacher, run in every step
    evaluate  CB's dev set: every label's probability beside PEFT's generate
    start     from the command to the end of the first step, and the most memory: a process each

Weights are random, of the published shapes. Both sides run in one process on the same rows, and
take turns. Before the clock starts, the loss and the prompt's gradient of both are compared. A
ratio is the median over the rounds of theirs to ours (lowest to highest), in processor time on one
thread; with --threads or on a GPU in seconds of the clock. Ours is the step of train.train at its
defaults, but for AdamW, which PEFT's users take, and inputs of at most 256 tokens. PEFT runs as its
users run it: shuffled, padded to the longest row, in training mode, so with T5's dropout.

Rows are CB's, if --data has them, else random words of CB's lengths. The vocabulary is that of
--vocabulary, a published T5's folder, else the toy world's.
"""

import copy
import functools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
import torch.nn.functional as F

import data
import distill
import model
import train
from plumbing import cuda_graphs, options
from prompt import PromptBank, collate, count

PARTS = ("step", "student", "evaluate", "start")
SHAPES = {  # D, K, F, encoder blocks, decoder blocks, heads
    "t5-small": (512, 64, 2048, 6, 6, 8),
    "t5-base": (768, 64, 3072, 12, 12, 12),
    "tiny": (64, 16, 128, 2, 2, 4),
}
VOCABULARY = 32_128
LR = 0.3
# Tokens of CB's inputs, cut at 256: the lengths at every tenth of the 250.
LENGTHS = (32, 50, 57, 64, 71, 79, 90, 103, 124, 155, 256)
CB_FILES = (("train", 250), ("val", 56))
# How far both sides' (loss, gradient) may differ, relative to PEFT's.
TOLERANCE = {"fp32": (1e-4, 1e-2), "bf16": (2e-2, 2e-1)}


# ----------------------------------------------------------------------- the work


def write_model(folder, shape, vocabulary):
    """A T5 of a published shape with random weights, and a vocabulary."""
    config = model.Config(VOCABULARY, *SHAPES[shape])
    model.save(model.initialise(config), folder)
    shutil.copy(vocabulary / "spiece.model", folder)


def write_rows(folder):
    """CB's files with random words of the toy world, as long as CB's inputs."""
    world = (ROOT / "toy" / "world.py").read_text()
    words = [word for word in world.split() if word.isalpha()]
    generator = random.Random("rows")
    for name, count in CB_FILES:
        lines = []
        for _ in range(count):
            tenth = generator.randrange(len(LENGTHS) - 1)
            tokens = generator.randint(LENGTHS[tenth], LENGTHS[tenth + 1])
            # In the toy vocabulary a word has about four tokens, and what stands around them 13.
            premise = generator.choices(words, k=(tokens - 13) // 4)
            row = {"premise": " ".join(premise), "hypothesis": "they said it",
                   "label": generator.choice(data.NLI)}
            lines.append(json.dumps(row) + "\n")
        path = folder / "superglue" / "CB" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))


# ---------------------------------------------------------------------- both sides


class Ours:
    """This project: a prompt for CB. steps: as many as will be taken."""

    def __init__(self, args, folder, steps):
        flags = ["--model", folder / "model", "--data", args.data or folder / "data",
                 "--target", "cb", "--approach", "prompt", "--optimizer", "adamw", "--lr", LR,
                 "--length", args.length, "--batch", args.batch, "--max-input", 256,
                 "--steps", steps, "--out", folder / f"out-{os.getpid()}"]
        if args.dtype:
            flags += ["--dtype", args.dtype]
        parsed = train.parse_arguments([str(flag) for flag in flags])
        self.ctx = train.open_context(parsed)
        self.recipe = self.ctx.recipe
        _, tasks = train.encode_tasks(parsed, self.recipe, self.ctx.tokenizer)
        self.task = tasks["cb"]
        self.start = train.fresh_prompt(self.ctx, self.task, 0)
        self.begin()

    def begin(self, distance="kl", teachers=()):
        """A new training of one prompt, with these teachers."""
        engine = self.ctx.engine
        runs = [train.Run("prompt", "", 0, self.recipe.steps, self.start, teachers)]
        bank = PromptBank([self.start]).to(engine.device)
        optimizer = torch.optim.AdamW(bank.parameters(), LR)
        self.training = train.Training(
            self.task, runs, engine, bank, optimizer, LR, "constant", distance)
        self.distance = distill.DISTANCES[distance]
        self.teachers = distill.Teachers(engine.t5, [teachers], self.distance)

    def precompute(self):
        """The teachers' answers to all examples that the steps will meet."""
        train.precompute(self.training, self.teachers, self.recipe.batch)

    def batch_loss(self, rows, counts):
        """The loss of train.train."""
        engine, bank = self.training.engine, self.training.bank
        batch = collate(rows, engine.multiple, bank.length).to(engine.device)
        embedded, mask = bank.prepend(engine.t5.embed(batch.ids), batch.mask, batch.index)
        memory, logits = engine.forward(embedded, mask, model.shift_right(batch.targets))
        outputs = distill.Outputs(memory, logits)
        teacher = self.teachers.targets(batch)
        terms = distill.loss(outputs, batch, counts, teacher, self.distance)
        return terms.total.sum(), terms.of_each_prompt(batch.index, len(bank))

    def backward(self, step):
        """The loss of a step; its gradient is then that of the bank."""
        training = self.training
        rows = train.step_rows(training, step, self.recipe.batch)
        loss_of = functools.partial(self.batch_loss, counts=count(rows, training.bank))
        losses = training.engine.backward(loss_of, rows, step, training.bank)
        return losses[0, 0].item()

    def gradient(self):
        return self.training.bank.prompts.grad[0]  # (P, D)

    def step(self, step):
        self.backward(step)
        self.training.engine.update(self.training.optimizer)

    def evaluate(self, step):
        return train.dev_scores(self.training)


class Peft:
    """transformers + PEFT, on our task and from our start (P, D)."""

    def __init__(self, args, folder, task, start):
        try:  # only here: our own side is measured without importing them
            import peft
            import transformers
        except ImportError as error:
            raise ValueError(f"{error}: pip install -r benchmarks/requirements.txt") from None
        dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
        t5 = transformers.T5ForConditionalGeneration.from_pretrained(folder / "model", dtype=dtype)
        config = peft.PromptTuningConfig(
            task_type="SEQ_2_SEQ_LM", num_virtual_tokens=args.length)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = peft.get_peft_model(t5, config).to(self.device).train()
        [self.prompt] = [p for p in self.model.parameters() if p.requires_grad]
        # PEFT has a second prompt behind it, for the decoder, which it does not use.
        self.length = args.length
        self.prompt.data[:args.length] = start.to(self.prompt)
        self.optimizer = torch.optim.AdamW([self.prompt], LR)
        self.task = task
        self.batch = args.batch
        self.teacher = None

    def inputs(self, step):
        """A step's rows under the names of transformers."""
        examples = self.task.at_step(0, step, self.batch)
        ids = model.pad([self.task.inputs[i] for i in examples]).to(self.device)
        targets = model.pad([self.task.targets[i] for i in examples]).to(self.device)
        labels = targets.masked_fill(targets == model.PAD, -100)
        return {"input_ids": ids, "attention_mask": (ids != model.PAD).long(), "labels": labels}

    def backward(self, step):
        """The loss of a step; with a teacher that of PANDA's released code."""
        inputs = self.inputs(step)
        outputs = self.model(**inputs)
        loss = outputs.loss
        if self.teacher is not None:
            with torch.no_grad():
                logits = self.teacher(**inputs).logits
            loss = loss + 0.01 * F.mse_loss(outputs.logits, logits) / self.batch
        self.optimizer.zero_grad()
        loss.backward()
        return loss.item()

    def gradient(self):
        return self.prompt.grad[:self.length].float()  # (P, D)

    def step(self, step):
        self.backward(step)
        self.optimizer.step()

    def step_without_dropout(self, step):
        self.model.eval()
        self.step(step)
        self.model.train()

    @torch.no_grad()
    def evaluate(self, step):
        """A text for each dev example, as long as the longest target, by generate."""
        self.model.eval()
        inputs = self.task.dev_inputs
        for first in range(0, len(inputs), self.batch):
            ids = model.pad(inputs[first:first + self.batch]).to(self.device)
            self.model.generate(
                input_ids=ids, attention_mask=(ids != model.PAD).long(),
                max_new_tokens=self.task.longest, do_sample=False)
        self.model.train()


def differences(ours, peft):
    """How far both sides' loss and gradient of step 0 differ, without dropout, relative to PEFT's.

    Raises ValueError if that is more than rounding: then they do not do the same work.
    """
    peft.model.eval()
    our_loss = ours.backward(0)
    peft_loss = peft.backward(0)
    peft.model.train()
    loss = abs(our_loss - peft_loss) / peft_loss
    difference = ours.gradient() - peft.gradient()
    gradient = (difference.norm() / peft.gradient().norm()).item()
    ours.training.optimizer.zero_grad()
    most_loss, most_gradient = TOLERANCE[ours.ctx.dtype]
    if not (loss <= most_loss and gradient <= most_gradient):
        raise ValueError(f"the loss of both sides differs by {loss:.1e}, wanted {most_loss} at "
                         f"most, and the gradient by {gradient:.1e}, wanted {most_gradient}")
    return loss, gradient


# ---------------------------------------------------------------------- the clock


def clock():
    """Seconds: of the processor on one thread, else of the clock."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def uncounted(rounds):
    """Rounds before those that count. On a GPU each step's shape must have been recorded."""
    return rounds * (cuda_graphs.SEEN_BEFORE + 1) if torch.cuda.is_available() else 1


def take_turns(cases, rounds):
    """name -> its seconds in each round. cases: name -> (step ->), called with 0, 1, …, rounds - 1.

    The first steps are not counted: here, on a CPU, one.

    >>> seconds = take_turns({"ours": print}, 2)
    1
    0
    1
    """
    before = uncounted(rounds)
    seconds = {name: [] for name in cases}
    for k in range(before + rounds):
        step = (k - before) % rounds
        for name, do in cases.items():
            began = clock()
            do(step)
            seconds[name].append(clock() - began)
    return {name: every[before:] for name, every in seconds.items()}


def print_row(*cells):
    """One row of a Markdown table."""
    print("|", " | ".join(cells), "|", flush=True)


def compare(title, seconds, one, other):
    """A row: how many times the seconds of `one` the `other` takes, round by round."""
    ratios = [b / a for a, b in zip(seconds[one], seconds[other])]
    cells = [f"{name} {statistics.median(seconds[name]):.3f} s" for name in (one, other)]
    ratio = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"
    print_row(title, *cells, ratio)


# ----------------------------------------------------------------------- the parts


def measure_step(ours, peft, rounds):
    seconds = take_turns({
        "ours": ours.step, "PEFT": peft.step, "PEFT, no dropout": peft.step_without_dropout,
    }, rounds)
    compare("a training step", seconds, "ours", "PEFT")
    compare("without PEFT's dropout", seconds, "ours", "PEFT, no dropout")


def measure_student(ours, peft, rounds):
    """A student of each distance; its teacher is another prompt."""
    plain = copy.copy(ours)
    peft.teacher = copy.deepcopy(peft.model)
    for distance in ("kl", "hidden"):
        ours.begin(distance, ((ours.start * 1.1, 1.0),))
        began = clock()
        ours.precompute()
        precomputed = clock() - began
        seconds = take_turns(
            {"student": ours.step, "plain": plain.step, "released": peft.step}, rounds)
        compare(f"PANDA's student, {distance}", seconds, "student", "released")
        compare("", seconds, "plain", "student")
        examples = len(ours.teachers.cache)
        print_row("its teacher's answers, once", f"{examples} examples {precomputed:.3f} s", "", "")
    peft.teacher = None


def measure_evaluation(ours, peft, rounds):
    seconds = take_turns({"ours": ours.evaluate, "PEFT": peft.evaluate}, rounds)
    compare(f"{len(ours.task.dev)} dev examples", seconds, "ours", "PEFT")


def peak():
    """The most memory that this process has had resident, in MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def measure_starts(args, folder):
    """Each side once, in a process of its own: seconds to its first step's end, and memory."""
    print()
    print_row("a process of its own", "s to the first step", "to its end", "MB before it", "after")
    print_row("---", "---", "---", "---", "---")
    for side in ("ours", "PEFT"):
        began = time.time()
        command = [sys.executable, *sys.argv, "--side", side, "--folder", str(folder)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            raise ValueError(f"{side} ended with status {process.returncode} (-9: killed, mostly "
                             f"for memory): {process.stderr.strip()[-300:]}")
        ready, done, before, after = json.loads(process.stdout.splitlines()[-1])
        print_row(side, f"{ready - began:.1f}", f"{done - began:.1f}", f"{before:,.0f}",
                  f"{after:,.0f}")


def first_step(args, folder):
    """One side's first step: prints when it began and ended, and the most memory then, as JSON."""
    if args.side == "ours":
        side = Ours(args, folder, 1)
    else:
        recipe = train.Recipe(max_input=256)
        tokenizer = data.Tokenizer(folder / "model" / "spiece.model")
        task = data.encode("cb", tokenizer, recipe, args.data or folder / "data")
        side = Peft(args, folder, task, torch.randn(args.length, SHAPES[args.shape][0]))
    ready = time.time()
    before = peak()
    side.step(0)
    print(json.dumps([ready, time.time(), before, peak()]))


# --------------------------------------------------------------------- the command


def parse_arguments(argv=None):
    parser = options.Parser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    add("--shape", choices=SHAPES, default="t5-small", help="of the T5 (default: t5-small)")
    add("--length", type=int, default=100, help="vectors in a prompt (default: 100)")
    add("--batch", type=int, default=16, help="examples in a step (default: 16)")
    add("--rounds", type=int, default=7, help="that are counted (default: 7)")
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    add("--dtype", choices=("fp32", "bf16"), help="of both sides (default: each at its default: "
        "PEFT fp32, ours as it chooses)")
    add("--data", type=Path, help="folder with superglue/CB (default: random words)")
    add("--vocabulary", type=Path, default=ROOT / "toy" / "t5", help="folder with a spiece.model "
        "(default: the toy world's)")
    add("--side", help="of a process that `start` starts")
    add("--folder", type=Path, help="its files")
    args = parser.parse_args(argv)
    args.parts = options.names(args.parts)
    for part in args.parts:
        options.check("parts", part, choices=PARTS)
    for name in ("length", "batch", "rounds", "threads"):
        options.check(name, getattr(args, name), at_least=1)
    return args


def main(argv=None):
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads)
    if args.side:
        return first_step(args, args.folder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_model(folder / "model", args.shape, args.vocabulary)
        if args.data is None:
            write_rows(folder / "data")
        measure(args, folder)


def measure(args, folder):
    """All parts of a command, as rows of tables."""
    measures = {"step": measure_step, "student": measure_student, "evaluate": measure_evaluation}
    in_one_process = [part for part in PARTS if part in args.parts and part in measures]
    if in_one_process:
        ours = Ours(args, folder, args.rounds)
        peft = Peft(args, folder, ours.task, ours.start)
        loss, gradient = differences(ours, peft)
        print(f"{args.shape}, P {args.length}, batch {args.batch}, ours {ours.ctx.dtype}, PEFT "
              f"{args.dtype or 'fp32'}, {args.threads} threads, {args.rounds} rounds; loss and "
              f"gradient differ by {loss:.1e} and {gradient:.1e}")
        print()
        print_row("", "one", "other", "other / one")
        print_row("---", "---", "---", "---")
    for part in in_one_process:
        measures[part](ours, peft, args.rounds)
    if "start" in args.parts:
        measure_starts(args, folder)


if __name__ == "__main__":
    options.run(main, "peers.py")

"""Speed and memory beside transformers + PEFT, on the same work: the tables of docs/fast.md.

    pip install -r requirements.txt -r benchmarks/requirements.txt     in an environment of its own
    python benchmarks/peers.py                                         T5-small's shape, all parts
    python benchmarks/peers.py --shape t5-base --batch 32 --rounds 3 --parts step

    step      a training step, forward, backward and the optimiser's; the loss and the prompt's
              gradient of both sides are compared first
    student   PANDA's student beside a plain step, and beside the released way: a second copy of
              the model, run every step
    ceiling   what share of the machine's own matrix products a step reaches, with --prompts N in it
    evaluate  CB's dev set: every label's probability beside PEFT's generate
    start     from the command to the first step, and the most memory, a process for each

Weights are random, of the published shapes. Both sides run in one process on the same rows, in
turn, and a ratio is the median over the rounds of theirs to ours (lowest to highest), on one thread
of processor time. Ours runs at its defaults. PEFT runs as its users run it: shuffled, padded to the
longest, the model in training mode. The rows are CB's, if --data has them, else random words of
CB's lengths; the vocabulary is that of --vocabulary, a published T5's folder, else the toy world's.
"""

import argparse
import copy
import dataclasses
import importlib
import json
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
from torch.utils import flop_counter

import data
import distill
import model
import prompt
import train
from plumbing import checkpoint, command, cores, device, flags, gpu, optimizer, product
from plumbing.order import walk

SHAPES = {  # D, K, F, layers, heads
    "t5-small": (512, 64, 2048, 6, 8), "t5-base": (768, 64, 3072, 12, 12),
    "tiny": (64, 16, 128, 2, 4)}
SIDES = "ours", "ours, --recompute", "ours, a student", "PEFT", "PEFT, a released student"
# Tokens of CB's inputs, cut at 256: the lengths at every tenth of the 250.
LENGTHS = 32, 50, 57, 64, 71, 79, 90, 103, 124, 155, 256


def make_files(args, scratch):
    """A model folder of the shape, and CB's files: given, or of random words."""
    folder = Path(scratch) / "model"
    D, K, ff, layers, heads = SHAPES[args.shape]
    model.save(model.initialise(model.Config(32128, D, K, ff, layers, layers, heads)), folder)
    shutil.copy(Path(args.vocabulary or ROOT / "toy" / "t5") / "spiece.model", folder)
    if args.data:
        return folder, args.data
    words = [line for line in (ROOT / "toy" / "world.py").read_text().split() if line.isalpha()]
    drawn = random.Random("rows")
    for name, count in (("train", 250), ("val", 56)):
        path = Path(scratch) / "data" / "superglue" / "CB" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for _ in range(count):
            low = drawn.randrange(len(LENGTHS) - 1)
            length = drawn.randint(LENGTHS[low], LENGTHS[low + 1])
            rows.append({"premise": " ".join(drawn.choices(words, k=length // 3)),
                         "hypothesis": "they said it", "label": drawn.choice(data.NLI)})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, path.parents[2]


class Ours:
    """This project, at its defaults."""

    def __init__(self, args, folder, rows, scratch):
        self.shop = train.open_workshop(train.parse_arguments([
            "--model", str(folder), "--target", "cb", "--data", str(rows), "--approach", "prompt",
            "--length", str(args.length), "--batch", str(args.batch), "--max-input", "256",
            "--optimizer", "adamw", "--out", f"{scratch}/out",
            *(["--dtype", args.dtype] if args.dtype else [])]))
        self.task = data.Encoded("cb", self.shop.tokenizer, self.shop.recipe, rows)
        self.batch, self.t5 = args.batch, self.shop.t5
        self.start = train.fresh_prompt(self.shop, self.task, 0)
        self.scaler = torch.amp.GradScaler(self.t5.device.type, enabled=False)
        self.plain = self.work()

    def work(self, form="kl", teachers=(), prompts=1):
        runs = [train.Run("prompt", seed, 10 ** 6, self.start, teachers) for seed in range(prompts)]
        bank = prompt.PromptBank([run.start for run in runs]).to(self.t5.device)
        return train.Pass("", self.task, runs, [{}] * prompts, self.t5, bank, optimizer.AdamW(
            bank.prompts, 0.3), None, 0.0, distill.Teachers(self.t5, runs, form))

    def step(self, step, work=None, shop=None):
        """One step: the loss. The gradient stays where it is until the next."""
        work = work or self.plain
        work.optimizer.zero_grad()
        loss, *_ = train.gradients(shop or self.shop, work, step, self.scaler)
        work.optimizer.step()
        return loss[0]

    def evaluate(self):
        places = range(len(self.task.dev))
        rows = [(0, self.task.dev_ids[i], "all") for i in places]
        return prompt.ask(self.t5, self.plain.bank, rows, {"all": self.task.kind(self.t5.device)},
                          self.shop.tokens)


class Peft:
    """transformers + PEFT; task and start are ours."""

    def __init__(self, args, folder, task, start):
        try:  # only here, as the start of our own side is measured without them
            peft, transformers = map(importlib.import_module, ("peft", "transformers"))
        except ImportError as error:
            raise ValueError(f"{error}: pip install -r benchmarks/requirements.txt") from None
        loaded = transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=(
            torch.bfloat16 if args.dtype == "bf16" else torch.float32))
        self.model = peft.get_peft_model(loaded, peft.PromptTuningConfig(
            task_type="SEQ_2_SEQ_LM", num_virtual_tokens=args.length)).train()
        [self.prompt] = [p for p in self.model.parameters() if p.requires_grad]
        # PEFT stacks a prompt for the encoder and one for the decoder, which it does not use.
        self.prompt.data[:args.length] = start.to(self.prompt)
        if torch.cuda.is_available():
            self.model.cuda()
        self.optimizer = torch.optim.AdamW([self.prompt], lr=0.3)
        self.task, self.batch, self.length, self.teacher = task, args.batch, args.length, None

    def inputs(self, step):
        rows = [self.task.train[i] for i in walk(range(len(self.task.train)), 0, step, self.batch)]
        ids, labels = (model.pad(each, self.model.device) for each in zip(*rows))
        return {"input_ids": ids, "attention_mask": (ids != model.PAD).long(),
                "labels": labels.masked_fill(labels == model.PAD, -100)}

    def step(self, step):
        """One step; with a teacher as PANDA's released code has it, in training mode as well."""
        given, out = self.inputs(step), None
        self.optimizer.zero_grad()
        out = self.model(**given)
        loss = out.loss
        if self.teacher is not None:
            with torch.no_grad():
                right = self.teacher(**given).logits
            loss = loss + 0.01 * torch.nn.functional.mse_loss(out.logits, right) / self.batch
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def undropped(self, step):
        """One step without dropout, which PEFT's users do not ask for."""
        self.model.eval()
        self.step(step)
        self.model.train()

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        for at in range(0, len(self.task.dev), self.batch):
            ids = model.pad(self.task.dev_ids[at:at + self.batch], self.model.device)
            self.model.generate(input_ids=ids, attention_mask=(ids != model.PAD).long(),
                                max_new_tokens=self.task.longest, do_sample=False)
        self.model.train()


def clock():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def in_turn(cases, rounds):
    """name -> seconds of each round, of name -> what to do in round k; the first is not counted.

    On a GPU a round is two steps, sent without a wait between, as in a training; and all have been
    done before, as often as our side needs to record their shapes.
    """
    seconds, steps = {name: [] for name in cases}, steps_a_round()
    for k in range((rounds + 1) * steps * (gpu.MET + 1) if steps > 1 else 0):
        for do in cases.values():
            do(k % ((rounds + 1) * steps))
    for k in range(rounds + 1):
        for name, do in cases.items():
            began = clock()
            for step in range(k * steps, (k + 1) * steps):
                do(step)
            seconds[name] += [(clock() - began) / steps] * (k > 0)
    return seconds


def steps_a_round():
    return 2 if torch.cuda.is_available() else 1


def taught(ours, work, k, first):
    """A student's step in the first epoch, where teachers are asked, or in a later one.

    A round of the first epoch comes first, and then what its steps have remembered is there.
    """
    if first and k % steps_a_round() == 0:
        work.teachers.kept.clear()
        work.teachers.bytes = 0
    ours.step(k, work)


def compared(title, seconds, ours, theirs):
    """A line: how much longer theirs takes than ours, round by round."""
    ratios = [b / a for a, b in zip(seconds[ours], seconds[theirs])]
    print(f"| {title} | {ours} {statistics.median(seconds[ours]):.3f} s | {theirs} "
          f"{statistics.median(seconds[theirs]):.3f} s | **{statistics.median(ratios):.2f}** "
          f"({min(ratios):.2f} to {max(ratios):.2f}) |", flush=True)


def agree(ours, peft):
    """The relative difference of both sides' loss and prompt gradient, without dropout."""
    peft.model.eval()
    losses = ours.step(0).item(), peft.step(0).item()
    ours_grad, peft_grad = ours.plain.bank.prompts[0].grad, peft.prompt.grad[:peft.length].float()
    peft.model.train()
    return (abs(losses[0] - losses[1]) / losses[1],
            ((ours_grad - peft_grad).norm() / peft_grad.norm()).item())


def ceiling(args, ours):
    """A line: what a step of several prompts multiplies a second, beside large square matrices."""
    work, n = ours.work(prompts=args.prompts), 4096
    fast, product.ONEDNN = product.ONEDNN, None  # the counter knows torch's own, not recorded
    plain = dataclasses.replace(ours.shop, through=lambda t5, *given, again: t5(*given))
    with flop_counter.FlopCounterMode(display=False) as counter:
        ours.step(0, work, plain)
    product.ONEDNN = fast
    square = torch.randn(n, n, device=ours.t5.device).to(device.DTYPES[ours.shop.dtype])
    many = 20 if torch.cuda.is_available() else 1  # one takes a GPU less than the wait for it
    seconds = in_turn({"step": lambda k: ours.step(0, work), "square": lambda k: [
        product.product(square, square) for _ in range(many)]}, args.rounds)
    step, most = (flops / statistics.median(seconds[name]) / 1e12 for name, flops in (
        ("step", counter.get_total_flops()), ("square", many * 2 * n ** 3)))
    print(f"| a step of {args.prompts} prompts | {step:.3f} TFLOP/s | ({n}, {n}) by itself "
          f"{most:.3f} | {100 * step / most:.0f} % |", flush=True)


def peak():
    """The most memory that this process has had resident, in bytes (Linux)."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def torch_alone():
    """The memory of a process that has imported torch."""
    said = subprocess.run([sys.executable, "-c", "import torch; print(open('/proc/self/status')"
                           ".read().split('VmHWM:')[1].split()[0])"], capture_output=True,
                          text=True, check=True)
    return 1024 * int(said.stdout)


def start(args, folder, rows, scratch):
    """Each side in processes of its own: seconds to the first step's end, and memory."""
    for side in SIDES:
        found = []
        for _ in range(min(args.rounds, 3)):
            began = time.time()
            said = subprocess.run([sys.executable, *sys.argv, "--side", side, "--files",
                                   f"{folder},{rows}"], capture_output=True, text=True, check=True)
            ready, done, *memory = json.loads(said.stdout.splitlines()[-1])
            found.append((ready - began, done - began, *memory))
        ready, done, before, after = map(statistics.median, zip(*found))
        print(f"| {side} | {done:.1f} | {ready:.1f} | {before / 1e6:,.0f} | "
              f"{after / 1e6:,.0f} |", flush=True)
    size = (Path(folder) / "model.safetensors").stat().st_size
    print(f"\nthe checkpoint has {size / 1e6:,.0f} MB, torch alone {torch_alone() / 1e6:,.0f}")


def one_side(args, scratch):
    """What `start` measures of one side: the times before and after its first step, and memory."""
    folder, rows = args.files.split(",")
    if args.side.startswith("ours"):
        side = Ours(args, folder, rows, scratch)
        side.t5.recompute = "recompute" in args.side
        if "student" in args.side:
            side.plain = side.work("states", ((side.start * 1.1, 1.0),))
    else:
        recipe = train.Recipe(max_input=256)
        task = data.Encoded("cb", data.Tokenizer(Path(folder) / "spiece.model"), recipe, rows)
        side = Peft(args, folder, task, torch.randn(args.length, SHAPES[args.shape][0]))
        if "student" in args.side:
            side.teacher = copy.deepcopy(side.model)
    ready, before = time.time(), peak()
    side.step(0)
    print(json.dumps([ready, time.time(), before, peak()]))


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--parts", default="step,ceiling,student,evaluate,start", help="comma-separated")
    add("--shape", choices=SHAPES, default="t5-small")
    add("--length", type=int, default=100, help="vectors in a prompt (default: 100)")
    add("--batch", type=int, default=16, help="examples in a step (default: 16)")
    add("--prompts", type=int, default=1, help="in a step of `ceiling` (default: 1)")
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    add("--dtype", choices=("fp32", "bf16"), help="of both sides (default: PEFT's fp32, and ours "
        "as it chooses)")
    add("--data", help="folder with superglue/CB (default: random words of CB's lengths)")
    add("--vocabulary", help="folder with a T5's spiece.model (default: the toy world's)")
    add("--side", help=argparse.SUPPRESS)
    add("--files", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main():
    args = parse_arguments()
    cores.CORES = args.threads  # of the large T5s here, whose products all threads share
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if args.side:
            return one_side(args, scratch)
        folder, rows = make_files(args, scratch)
        parts = flags.names(args.parts)
        if {*parts} - {"start"}:
            ours = Ours(args, folder, rows, scratch)
            peft = Peft(args, folder, ours.task, ours.start)
            print(f"{args.shape}, P {args.length}, batch {args.batch}, ours {ours.shop.dtype}, "
                  f"PEFT {args.dtype or 'fp32'}, {args.threads} threads, {args.rounds} rounds; "
                  "loss and gradient differ by {:.1e} and {:.1e}".format(*agree(ours, peft)))
        print("\n| | ours | theirs | theirs / ours |\n|---|---|---|---|")
        if "step" in parts:
            seconds = in_turn({"ours": ours.step, "PEFT": peft.step, "PEFT, eval": peft.undropped},
                              args.rounds)
            compared("a training step", seconds, "ours", "PEFT")
            compared("beside PEFT without dropout", seconds, "ours", "PEFT, eval")
        if "ceiling" in parts:
            ceiling(args, ours)
        if "student" in parts:
            peft.teacher = copy.deepcopy(peft.model)
            students = {form: ours.work(form, ((ours.start * 1.1, 1.0),))
                        for form in ("kl", "states")}
            seconds = in_turn({"ours, plain": ours.step, "released": peft.step} | {
                f"{form}, {when}": lambda k, work=work, first=when != "later": taught(
                    ours, work, k, first)
                for form, work in students.items() for when in ("first epoch", "later")},
                args.rounds)
            for form in students:
                for when in ("first epoch", "later"):
                    compared(f"PANDA's student, {form}, {when}", seconds, f"{form}, {when}",
                             "released")
                    compared("", seconds, "ours, plain", f"{form}, {when}")
            peft.teacher = None
        if "evaluate" in parts:
            seconds = in_turn({"ours": lambda k: ours.evaluate(),
                               "PEFT": lambda k: peft.evaluate()}, args.rounds)
            compared("56 dev examples", seconds, "ours", "PEFT")
        if "start" in parts:
            print("\n| a process of its own | s to the first step's end | before that step | most "
                  "memory before it, MB | after it, MB |\n|---|---|---|---|---|")
            start(args, folder, rows, scratch)


if __name__ == "__main__":
    command.run(main, "peers.py")

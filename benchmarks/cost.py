"""What prompts cost: time, memory and bytes, of one, of several together, apart, of model tuning.

    python benchmarks/cost.py                                       the toy T5
    python benchmarks/cost.py --model t5-small --length 100         or any other

Training: a step is one batch of each prompt, forward, backward and the optimiser.
Answering: dev examples, as predict.py does it, one prompt or a vote of all.

- Time: all cases in turn, many rounds, in one process. A case's ratio is the median (lowest
  to highest) over the rounds of its time to that of one prompt, in the same round. Two minutes
  on the toy T5.
- Memory: each case in a process of its own, in which nothing else has happened: what its
  peak lies above the process with the model loaded. On a GPU, what torch allocates; else
  resident, which only Linux tells.
- Bytes: of the files that are written.

The examples are the toy world's whatever the model: a cost does not depend on what is said.
Left out: reading the data, making the optimiser or model tuning's copy of T5 (they are in the
memory, not in the time), and the scoring of checkpoints.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import data
import distill
import model
import predict
import prompt
import train
from plumbing import command, flags, optimizer

CASES = {"one": "one prompt", "together": "{n} prompts together",
         "apart": "{n} prompts, one after the other", "tuning": "model tuning"}


class Bench:
    """A T5, its task, N fresh prompts, and what each case does with them."""

    def __init__(self, args, scratch):
        self.args = args
        options = ["--target", args.task, "--approach", "prompt", "--out", scratch,
                   "--length", str(args.length), "--batch", str(args.batch),
                   "--tokens", str(args.tokens)]
        for name in ("model", "device", "dtype"):
            if getattr(args, name):
                options += [f"--{name}", getattr(args, name)]
        self.shop = train.open_workshop(train.parse_arguments(options))
        self.t5 = self.shop.t5
        self.scaler = torch.amp.GradScaler(self.t5.device.type,
                                           enabled=self.t5.amp == torch.float16)
        self.task = data.Encoded(args.task, self.shop.tokenizer, self.shop.recipe)
        self.rows = [(args.task, example) for example in self.task.dev[:args.examples]]
        self.starts = [train.fresh_prompt(self.shop, self.task, seed)
                       for seed in range(args.prompts)]

    def train(self, seeds, tuning=False):
        """Seconds of some steps of these seeds' prompts in one pass; or of all T5's weights."""
        recipe, steps = self.shop.recipe, self.args.steps
        if tuning:
            t5 = copy.deepcopy(self.t5).float().requires_grad_(True)
            bank, runs = prompt.Promptless(t5), [train.Run("finetune", 0, steps)]
            steps_by = torch.optim.Adafactor(t5.parameters(), lr=recipe.finetune_lr)
        else:
            t5, starts = self.t5, [self.starts[seed] for seed in seeds]
            bank = prompt.PromptBank(starts).to(t5.device)
            runs = [train.Run("prompt", seed, steps) for seed in seeds]
            steps_by = optimizer.of(recipe, bank.prompts)
        work = train.Pass("cost", self.task, runs, [{}] * len(runs), t5, bank, steps_by, None,
                          0.0, distill.Teachers(t5, runs))
        began = self.clock()
        for step in range(steps):
            train.gradients(self.shop, work, step, self.scaler)
            self.scaler.step(steps_by)
            self.scaler.update()
            steps_by.zero_grad()
        return self.clock() - began

    def answer(self, seeds):
        """Seconds of answering the dev examples by the vote of these seeds' prompts."""
        bank = prompt.PromptBank([self.starts[seed] for seed in seeds]).to(self.t5.device)
        members, size = {self.args.task: list(range(len(bank)))}, self.args.batch
        began = self.clock()
        for at in range(0, len(self.rows), size):
            predict.answer(self.t5, self.shop.tokenizer, bank, members, self.rows[at:at + size])
        return self.clock() - began

    def clock(self):
        if self.t5.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def run(self, what, case):
        """Seconds of a case of training or answering."""
        if case == "tuning":
            return self.train([0], tuning=True)
        every = list(range(self.args.prompts))
        parts = {"one": [[0]], "together": [every], "apart": [[seed] for seed in every]}[case]
        return sum((self.train if what == "train" else self.answer)(seeds) for seeds in parts)


def peak(bench, what, case):
    """Bytes that a case needs above the loaded model; in a process where nothing else ran.

    On a CPU: how far the resident memory rises above where it stands (Linux).
    """
    if bench.t5.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        bench.run(what, case)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is now
    before = resident()
    bench.run(what, case)
    return resident() - before


def resident():
    """The most memory that was resident since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def stored(bench, scratch):
    """(bytes of one prompt's folder, bytes of one model's weights in fp32)."""
    folder, weights = Path(scratch) / "prompt", Path(scratch) / "model"
    prompt.save(folder, bench.starts[0], {"task": bench.args.task})
    model.save(copy.deepcopy(bench.t5).float(), weights)
    return (sum(file.stat().st_size for file in folder.iterdir()),
            (weights / "model.safetensors").stat().st_size)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", help="as for train.py (default: the toy T5)")
    add("--task", default="toy-cb", help="whose examples are used (default: toy-cb)")
    add("--prompts", type=int, default=5, help="prompts together (default: 5)")
    add("--length", type=int, default=10, help="vectors in a prompt (default: 10)")
    add("--batch", type=int, default=16, help="examples of a prompt in a step (default: 16)")
    add("--steps", type=int, default=5, help="training steps of a case in a round (default: 5)")
    add("--examples", type=int, default=160, help="dev examples a round answers (default: 160)")
    add("--rounds", type=int, default=7, help="rounds of the timing (default: 7)")
    add("--tokens", type=int, default=8192, help="positions in one forward pass (default: 8192)")
    add("--device", help="as for train.py")
    add("--dtype", help="as for train.py")
    add("--measure", help=argparse.SUPPRESS)  # WHAT-CASE: the peak of one case, for ourselves
    args = parser.parse_args(argv)
    for name in ("prompts", "length", "batch", "steps", "examples", "rounds", "tokens"):
        flags.check(name, getattr(args, name), at_least=1)
    return args


def main():
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, scratch)
        if args.measure:
            print(json.dumps(peak(bench, *args.measure.split("-"))))
            return
        small, large = stored(bench, scratch)
        for what in ("train", "answer"):
            cases = [case for case in CASES if (what, case) != ("answer", "tuning")]
            for case in cases:  # once, so that nobody pays for the first time
                bench.run(what, case)
            seconds = {case: [] for case in cases}
            for _ in range(args.rounds):
                for case in cases:
                    seconds[case].append(bench.run(what, case))
            kind = {"train": f"training, a step of {args.batch}",
                    "answer": "answering, an example"}[what]
            unit = args.steps if what == "train" else len(bench.rows)
            print(f"\n| {kind} | ms, median | beside one prompt | peak memory above the model |\n"
                  "|---|---|---|---|")
            for case in cases:
                ratios = [a / b for a, b in zip(seconds[case], seconds["one"])]
                done = subprocess.run([sys.executable, *sys.argv, "--measure", f"{what}-{case}"],
                                      capture_output=True, text=True, check=True)
                print(f"| {CASES[case].format(n=args.prompts)} "
                      f"| {1000 * statistics.median(seconds[case]) / unit:.2f} "
                      f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                      f"| {json.loads(done.stdout.splitlines()[-1]) / 1e6:.0f} MB |", flush=True)
    n = args.prompts
    print(f"\nstored: {n} prompts {n * small:,} bytes, {n} tuned models {n * large:,} bytes, "
          f"{large / small:,.0f} times as many")


if __name__ == "__main__":
    command.run(main, "cost.py")

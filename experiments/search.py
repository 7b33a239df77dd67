"""The recipe search on the toy world: plain prompt tuning, and model tuning as its baseline.

    python experiments/search.py        trains what is missing, some hours; prints two tables

All ten toy tasks, seeds 100 to 104, and the same 100 steps of 16 examples for every setting. Both
searches get the same care: the rates go up in steps of about three, and a winner at the end of its
rates is reported. The score that chooses is that of the best of 5 checkpoints on the 60 % of dev
that are reported; the checkpoint is chosen on the other 40 %. So the winner's score is too good,
and no other table shows these seeds.

Tables go to standard output, progress to standard error. Flags of train.py may follow: with
--target toy-cb --seeds 1 it is a short trial, with --approach finetune only model tuning is
searched. A setting that diverges ends the search, with a line that names it.
"""

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import data
import train
from plumbing import options
from plumbing.report import markdown
from plumbing.stats import differences, plus_minus

TASKS = [name for name in data.TASKS if name.startswith("toy-")]
FLAGS = ["--out", "runs/search", "--target", ",".join(TASKS), "--approach", "prompt,finetune",
         "--first-seed", "100", "--seeds", "5", "--steps", "100", "--batch", "16",
         "--length", "10", "--evals", "5", "--held-out", "0.6"]

RATES = {  # of prompts: (optimizer, schedule) -> lr
    ("adafactor", "constant"): (0.1, 0.3, 1.0),
    ("adafactor", "cosine"): (0.1, 0.3, 1.0, 3.0),
    ("adamw", "constant"): (0.1, 0.3, 1.0),
    ("adamw", "cosine"): (0.1, 0.3, 1.0),
}
DECAY = 1e-5  # beside 0, at the best rate of each optimizer and schedule
TUNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # of model tuning
TUNING_DROPOUT = 0.1  # beside 0, at the best rate


@dataclasses.dataclass
class Trial:
    """One setting and its scores."""

    setting: dict  # fields of train.Recipe
    scores: dict  # task -> a score for each seed

    @property
    def by_seed(self):
        """The mean over the tasks, for each seed."""
        return [statistics.mean(of_seed) for of_seed in zip(*self.scores.values())]

    @property
    def mean(self):
        return statistics.mean(self.by_seed)


def score_prompts(ctx, task, seeds):
    """Scores of plain prompt tuning, all seeds in one bank."""
    steps = ctx.recipe.steps
    runs = [train.Run("prompt", "", seed, steps, train.fresh_prompt(ctx, task, seed))
            for seed in seeds]
    results = train.train_prompts(ctx, task, runs, f"{task.name} {ctx.recipe.lr}")
    return [result.score for result in results]


def score_tuning(ctx, task, seeds):
    """Scores of model tuning. The tuned weights are deleted: 5 MB each, for one number."""
    scores = []
    for seed in seeds:
        result = train.tune_model(ctx, task, seed)
        (result.folder / "model.safetensors").unlink(missing_ok=True)
        scores.append(result.score)
    return scores


class Search:
    """Tries settings on all tasks and seeds. score: (context, task, seeds) -> scores."""

    def __init__(self, ctx, tasks, seeds, score):
        self.ctx = ctx
        self.tasks = tasks
        self.seeds = seeds
        self.score = score
        self.trials = []

    def run(self, **setting):
        """A Trial of a setting; it is kept."""
        recipe = dataclasses.replace(self.ctx.recipe, **setting)
        ctx = dataclasses.replace(self.ctx, recipe=recipe)
        scores = {task.name: self.score(ctx, task, self.seeds) for task in self.tasks}
        trial = Trial(setting, scores)
        self.trials.append(trial)
        return trial

    def ranked(self):
        return sorted(self.trials, key=lambda trial: trial.mean, reverse=True)


def search_prompts(search):
    """Each optimizer and schedule at its rates without decay, then with it at the best rate."""
    for (optimizer, schedule), rates in RATES.items():
        trials = [search.run(optimizer=optimizer, schedule=schedule, lr=lr, weight_decay=0.0)
                  for lr in rates]
        best = max(trials, key=lambda trial: trial.mean)
        search.run(**best.setting | {"weight_decay": DECAY})


def search_tuning(search):
    """Each rate without dropout, then the best rate with it."""
    trials = [search.run(finetune_lr=lr, finetune_dropout=0.0) for lr in TUNING_RATES]
    best = max(trials, key=lambda trial: trial.mean)
    search.run(**best.setting | {"finetune_dropout": TUNING_DROPOUT})


def table(trials):
    """(header, rows): a row for each Trial, columns for its setting and for each task."""
    rows = []
    for trial in trials:
        values = [f"{value:g}" if isinstance(value, float) else value
                  for value in trial.setting.values()]
        tasks = [f"{statistics.mean(scores):.1f}" for scores in trial.scores.values()]
        rows.append(values + [plus_minus(trial.by_seed)] + tasks)
    names = [name.removeprefix("toy-") for name in trials[0].scores]
    return [*trials[0].setting, "mean", *names], rows


def verdict(ranked, rate):
    """Lines on the winner: its lead over the next, and whether its rate is the end of those tried.

    rate: the name of the rate in a setting.
    """
    first, second = ranked[:2]
    lead = plus_minus(differences(first.by_seed, second.by_seed), "+")
    lines = [f"Winner: `{json.dumps(first.setting)}`, {lead} over the next."]
    others = {name: value for name, value in first.setting.items()
              if name not in (rate, "weight_decay", "finetune_dropout")}
    tried = [trial.setting[rate] for trial in ranked if others.items() <= trial.setting.items()]
    best = first.setting[rate]
    if best in (min(tried), max(tried)):
        lines.append(f"Its {rate}, {best:g}, is the end of those tried: look further.")
    return lines


def main(argv=None):
    parser = options.Parser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter)
    _, flags = parser.parse_known_args(argv)
    args = train.parse_arguments(FLAGS + flags)
    searches = {"prompt": ("Prompt tuning", score_prompts, search_prompts, "lr"),
                "finetune": ("Model tuning", score_tuning, search_tuning, "finetune_lr")}
    with contextlib.redirect_stdout(sys.stderr):
        ctx = train.open_context(args)
        tasks = [data.encode(name, ctx.tokenizer, ctx.recipe) for name in args.target]
    for approach in args.approach:
        title, score, try_all, rate = searches[approach]
        search = Search(ctx, tasks, args.seeds, score)
        with contextlib.redirect_stdout(sys.stderr):
            try_all(search)
        ranked = search.ranked()
        lines = [f"## {title}", ""] + markdown(table(ranked)) + [""] + verdict(ranked, rate) + [""]
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    options.run(main, "search.py")

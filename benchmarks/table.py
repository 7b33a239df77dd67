"""Results of several runs of train.py side by side, as tables.

    python benchmarks/table.py runs/a runs/b                a row for each run, a column a target
    python benchmarks/table.py --columns prompt,finetune runs/tuning    targets down

Mean ± sample standard deviation over the seeds. A star: other than the first row (or column) by
more than chance, in a t-test at 5 % over the same seeds (by chance alone, one cell in twenty has
a star). What several prompts vote, and what they score on other tasks, `predict.py score` says;
what transfers, grid.md of the run.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
from plumbing import flags
from plumbing.grid import head, row
from plumbing.stats import beyond_chance, plus_minus


def read(folder, needs=lambda results: True):
    """The results.json of a run's pairs that have what a table needs, in the order of TASKS."""
    files = sorted(Path(folder).glob("*/results.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if not found:
        raise ValueError(f"{folder} holds no */results.json: wanted the --out of a run")
    found = [results for results in found if needs(results)]
    if not found:
        raise ValueError(f"{folder}: no run in it has what this table shows")
    place = {name: i for i, name in enumerate(data.TASKS)}
    return sorted(found, key=lambda r: (place[r["target"]], place.get(r["source"], -1)))


def starred(results, scores, base):
    """A cell: the scores, with a star if they differ from base, ("seeds", scores), by more than
    chance."""
    seeds, others = base
    star = seeds == results["seeds"] and beyond_chance([a - b for a, b in zip(scores, others)])
    return plus_minus(scores) + " *" * star


def scores(folders):
    """Plain prompt tuning: a row for each run, a column for each target that all of them have."""
    runs = {Path(folder).name: {r["target"]: r for r in read(folder)} for folder in folders}
    first = next(iter(runs.values()))
    targets = [target for target in first if all(target in run for run in runs.values())]
    if not targets:
        raise ValueError(f"{', '.join(runs)} have no target in common")
    base = {t: (first[t]["seeds"], first[t]["scores"]["prompt"]) for t in targets}
    return head("run", *targets) + [
        row(name, *(starred(run[t], run[t]["scores"]["prompt"], base[t]) for t in targets))
        for name, run in runs.items()]


def columns(folders, approaches):
    """A row for each target: majority class, T5 without a prompt, and these approaches."""
    if {"pot", "panda"} & set(approaches):
        raise ValueError("pot and panda have a source: see the run's grid.md")
    lines = head("task", "majority class", "no prompt", *approaches)
    for folder in folders:
        found = read(folder, lambda r: set(approaches) <= set(r["scores"]))
        for r in {r["target"]: r for r in found}.values():  # with sources, one row all the same
            base = r["seeds"], r["scores"][approaches[0]]
            lines.append(row(r["target"], f"{r['majority']:.1f}", f"{r['promptless']:.1f}",
                             *(starred(r, r["scores"][name], base) for name in approaches)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="--out of the runs")
    parser.add_argument("--columns", help="approaches, comma-separated")
    args = parser.parse_args()
    print(*(columns(args.folders, flags.names(args.columns)) if args.columns else
            scores(args.folders)), sep="\n")


if __name__ == "__main__":
    flags.run(main, "table.py")

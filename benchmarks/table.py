"""Results of several runs of train.py side by side, as tables.

    python benchmarks/table.py runs/length-10 runs/length-1      a row for each run, a column for each target
    python benchmarks/table.py --columns prompt,finetune runs/tuning     targets down, approaches across
    python benchmarks/table.py --votes runs/ensemble             ensembles beside their members
    python benchmarks/table.py --elsewhere runs/shift            what --eval-on found
    python benchmarks/table.py --transfer runs/transfer          a row for each source, with the similarity

Mean ± sample standard deviation over the seeds. A star: other than the first row (or column) by more
than chance, in a t-test at 5 % over the same seeds (by chance alone, one cell in twenty has a star).
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import train


def read(folder, needs=lambda results: True):
    """The results.json of the pairs in a run's folder that have what a table needs, in the order of data.TASKS."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*/results.json"))]
    if not found:
        raise ValueError(f"{folder} holds no */results.json: wanted the --out of a run")
    found = [results for results in found if needs(results)]
    if not found:
        raise ValueError(f"{folder}: no run in it has what this table shows")
    names = list(data.TASKS)
    return sorted(found, key=lambda r: (names.index(r["target"]), r["source"] and names.index(r["source"])))


def starred(results, scores, base):
    """A cell: the scores, with a star if they differ from base, ("seeds", scores), by more than chance."""
    seeds, others = base or (None, ())
    star = seeds == results["seeds"] and train.beyond_chance([a - b for a, b in zip(scores, others)])
    return train.plus_minus(scores) + " *" * star


def scores(folders):
    """Plain prompt tuning: a row for each run, a column for each target."""
    runs = {Path(folder).name: {r["target"]: r for r in read(folder)} for folder in folders}
    targets = list(dict.fromkeys(target for run in runs.values() for target in run))
    lines = [f"| run | {' | '.join(targets)} |", "|---" * (len(targets) + 1) + "|"]
    first = {target: (r["seeds"], r["scores"]["prompt"]) for target, r in next(iter(runs.values())).items()}
    for name, run in runs.items():
        cells = [starred(run[t], run[t]["scores"]["prompt"], first.get(t)) if t in run else "" for t in targets]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def columns(folders, approaches):
    """A row for each target: majority class, T5 without a prompt, and these approaches, which have no source."""
    if {"pot", "panda"} & set(approaches):
        raise ValueError("pot and panda have a source: see --transfer")
    lines = [f"| task | majority class | no prompt | {' | '.join(approaches)} |", "|---" * (3 + len(approaches)) + "|"]
    for folder in folders:
        # Of several sources any: what has no source is the same in all their results.
        for r in {r["target"]: r for r in read(folder, lambda r: set(approaches) <= set(r["scores"]))}.values():
            base = r["seeds"], r["scores"][approaches[0]]
            lines.append(f"| {r['target']} | {r['majority']:.1f} | {r['promptless']:.1f} | "
                         + " | ".join(starred(r, r["scores"][name], base) for name in approaches) + " |")
    return lines


def transfer(folders):
    """Prompt transfer: a row for each source, a column for each target with the similarity, and Spearman's."""
    lines = []
    for folder in folders:
        found = read(folder, lambda r: "pot" in r["scores"])
        pairs = {(r["source"], r["target"]): r for r in found}
        sources, targets = (list(dict.fromkeys(key[k] for key in pairs)) for k in (0, 1))
        first = {r["target"]: (r["seeds"], r["scores"]["prompt"]) for r in found}
        lines += [f"| from | {' | '.join(f'to {t} | similarity' for t in targets)} |", "|---" * (1 + 2 * len(targets)) + "|",
                  f"| nothing | {' | '.join(train.plus_minus(first[t][1]) + ' | ' for t in targets)} |"]
        for source in sources:
            cells = [f"{starred(pairs[source, t], pairs[source, t]['scores']['pot'], first[t])} | "
                     f"{pairs[source, t]['similarity']['panda']:+.2f}" if (source, t) in pairs else " | " for t in targets]
            lines.append(f"| {source} | {' | '.join(cells)} |")
        for target in targets:
            mine = [r for r in found if r["target"] == target]
            after = [statistics.mean(r["scores"]["pot"]) for r in mine]
            if len(mine) > 2:
                lines += ["", f"{target}, Spearman over {len(mine)} sources of similarity and score: " + ", ".join(
                    f"{name} {data.spearman([r['similarity'][name] for r in mine], after):+.2f}"
                    for name in mine[0]["similarity"])]
    return lines


def votes(folders):
    """Each target's ensemble beside its members, and the mean over the targets."""
    lines = ["| target | members' mean | best member | majority vote | mean probability |", "|---|---|---|---|---|"]
    every = []
    for r in (r for folder in folders for r in read(folder, lambda r: r["ensemble"])):
        members = r["scores"]["prompt"]
        row = [statistics.mean(members), max(members), r["ensemble"]["majority"], r["ensemble"].get("mean")]
        every.append(row)
        lines.append(f"| {r['target']} | " + " | ".join("" if x is None else f"{x:.1f}" for x in row) + " |")
    columns = [[x for x in column if x is not None] for column in zip(*every)]
    whole = [f"{statistics.mean(column):.1f}" if len(column) == len(every) else "" for column in columns]
    return lines + [f"| mean | {' | '.join(whole)} |"]


def elsewhere(folders):
    """A row for each task that something was trained on, and for each that it was scored on unchanged."""
    lines = ["| trained on | scored on | majority class | no prompt | prompt tuning | model tuning | "
             "prompt − model tuning |", "|---|---|---|---|---|---|---|"]
    for r in (r for folder in folders for r in read(folder, lambda r: r["elsewhere"] and "finetune" in r["scores"])):
        own = {"majority": r["majority"], "promptless": r["promptless"], "scores": r["scores"]}
        for name, there in ({r["target"]: own} | r["elsewhere"]).items():
            prompts, weights = there["scores"]["prompt"], there["scores"]["finetune"]
            lines.append(f"| {r['target']} | {'itself' if there is own else name} | {there['majority']:.1f} | "
                         f"{there['promptless']:.1f} | {train.plus_minus(prompts)} | {train.plus_minus(weights)} | {train.gain(prompts, weights)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="--out of the runs")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--columns", help="approaches, comma-separated")
    for option, text in (("votes", "ensembles"), ("elsewhere", "--eval-on"), ("transfer", "sources")):
        kind.add_argument(f"--{option}", action="store_true", help=text)
    args = parser.parse_args()
    try:
        made = (columns(args.folders, train.split(args.columns)) if args.columns else
                votes(args.folders) if args.votes else elsewhere(args.folders) if args.elsewhere else
                transfer(args.folders) if args.transfer else scores(args.folders))
        print("\n".join(made))
    except ValueError as error:
        print(f"table.py: {error}", file=sys.stderr)
        sys.exit(2)

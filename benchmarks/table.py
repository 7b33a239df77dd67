"""Results of several runs of train.py side by side, as tables.

    python benchmarks/table.py runs/a runs/b                a row for each run, a column a target
    python benchmarks/table.py --columns prompt,finetune runs/tuning    targets down
    python benchmarks/table.py --transfer runs/transfer     a row for each source, with similarity

Mean ± sample standard deviation over the seeds. A star: other than the first row (or column) by
more than chance, in a t-test at 5 % over the same seeds (by chance alone, one cell in twenty has
a star). What several prompts vote, and what they score on other tasks, `predict.py score` says.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
from plumbing import flags
from plumbing.stats import beyond_chance, plus_minus, spearman


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


def row(*cells):
    return f"| {' | '.join(cells)} |"


def head(*cells):
    return [row(*cells), "|---" * len(cells) + "|"]


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
        raise ValueError("pot and panda have a source: see --transfer")
    lines = head("task", "majority class", "no prompt", *approaches)
    for folder in folders:
        found = read(folder, lambda r: set(approaches) <= set(r["scores"]))
        for r in {r["target"]: r for r in found}.values():  # with sources, one row all the same
            base = r["seeds"], r["scores"][approaches[0]]
            lines.append(row(r["target"], f"{r['majority']:.1f}", f"{r['promptless']:.1f}",
                             *(starred(r, r["scores"][name], base) for name in approaches)))
    return lines


def transfer(folders):
    """Prompt transfer: a row a source, for each target its score and similarity; Spearman's."""
    lines = []
    for folder in folders:
        found = read(folder, lambda r: "pot" in r["scores"])
        pairs = {(r["source"], r["target"]): r for r in found}
        sources, targets = (list(dict.fromkeys(key[k] for key in pairs)) for k in (0, 1))
        first = {r["target"]: (r["seeds"], r["scores"]["prompt"]) for r in found}
        lines += head("from", *(cell for t in targets for cell in (f"to {t}", "similarity")))
        lines.append(row("nothing", *(cell for t in targets
                                      for cell in (plus_minus(first[t][1]), ""))))
        for source in sources:
            cells = []
            for target in targets:
                pair = pairs.get((source, target))
                cells += [starred(pair, pair["scores"]["pot"], first[target]),
                          f"{pair['similarity'][pair['config']['metric']]:+.2f}"
                          ] if pair else ["", ""]
            lines.append(row(source, *cells))
        for target in targets:
            mine = [r for r in found if r["target"] == target]
            after = [statistics.mean(r["scores"]["pot"]) for r in mine]
            if len(mine) > 2:
                ranked = [f"{name} {spearman([r['similarity'][name] for r in mine], after):+.2f}"
                          for name in mine[0]["similarity"]]
                lines += ["", f"{target}, Spearman over {len(mine)} sources of similarity and "
                          f"score: {', '.join(ranked)}"]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="--out of the runs")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--columns", help="approaches, comma-separated")
    kind.add_argument("--transfer", action="store_true", help="sources")
    args = parser.parse_args()
    print(*(columns(args.folders, flags.names(args.columns)) if args.columns else
            transfer(args.folders) if args.transfer else scores(args.folders)), sep="\n")


if __name__ == "__main__":
    flags.run(main, "table.py")

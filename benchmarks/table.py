"""Results of several runs of train.py side by side, as tables.

    python benchmarks/table.py runs/length-10 runs/length-1      a row for each run, a column for each target
    python benchmarks/table.py --approach prompt,finetune runs/tuning
    python benchmarks/table.py --votes runs/ensemble             ensembles beside their members
    python benchmarks/table.py --elsewhere runs/shift            what --eval-on found
    python benchmarks/table.py --transfer runs/transfer          a row for each source, with the similarity

Mean ± sample standard deviation over the seeds. A star: other than the first row by more than
chance, in a t-test at 5 % over the same seeds (by chance alone, one cell in twenty has a star).
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train


def read(folder):
    """The results.json of every pair in a run's folder, targets in the order they were run."""
    files = sorted(Path(folder).glob("*/results.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise ValueError(f"{folder} holds no results.json of a run")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def compare(rows):
    """Lines of a table: rows are (names, {target: (seeds, scores)}), the first row is compared with."""
    targets = list(dict.fromkeys(target for _, row in rows for target in row))
    width = len(rows[0][0])
    lines = [f"| {' | '.join(['run', 'approach'][:width] + targets)} |", "|---" * (width + len(targets)) + "|"]
    first = {}
    for names, row in rows:
        cells = list(names)
        for target in targets:
            if target not in row:
                cells.append("")
                continue
            seeds, scores = row[target]
            base_seeds, base = first.setdefault(target, (seeds, scores))
            star = seeds == base_seeds and train.beyond_chance([a - b for a, b in zip(scores, base)])
            cells.append(train.plus_minus(scores) + " *" * star)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def scores(folders, approaches):
    rows = []
    for folder in folders:
        for approach in approaches:
            names = [Path(folder).name] + [approach] * (len(approaches) > 1)
            rows.append((names, {r["target"]: (r["seeds"], r["scores"][approach])
                                 for r in read(folder) if approach in r["scores"]}))
    return compare(rows)


def transfer(folders):
    """Prompt transfer from each source beside plain prompt tuning, and the similarity that PANDA would use."""
    lines = []
    for folder in folders:
        found = read(folder)
        rows = {"nothing": {}}
        for r in found:
            rows["nothing"][r["target"]] = (r["seeds"], r["scores"]["prompt"])
            rows.setdefault(r["source"], {})[r["target"]] = (r["seeds"], r["scores"]["pot"])
        lines += compare([([source], row) for source, row in rows.items()]) + [""]
        for target in dict.fromkeys(r["target"] for r in found):
            pairs = [r for r in found if r["target"] == target]
            after = [statistics.mean(r["scores"]["pot"]) for r in pairs]
            lines.append(f"{target}, Spearman over the sources: " + ", ".join(
                f"{measure} {train.transferability.spearman([r['similarity'][measure] for r in pairs], after):+.2f}"
                for measure in pairs[0]["similarity"]) + "; panda of each: " + ", ".join(
                f"{r['source']} {r['similarity']['panda']:+.2f}" for r in pairs))
    return lines


def votes(folders):
    lines = ["| target | members' mean | best member | majority vote | mean probability |", "|---|---|---|---|---|"]
    every = []
    for r in (r for folder in folders for r in read(folder) if r["ensemble"]):
        members = r["scores"]["prompt"]
        row = [statistics.mean(members), max(members), r["ensemble"]["majority"], r["ensemble"].get("mean")]
        every.append(row)
        lines.append(f"| {r['target']} | " + " | ".join("" if x is None else f"{x:.1f}" for x in row) + " |")
    columns = [[x for x in column if x is not None] for column in zip(*every)]
    whole = [f"{statistics.mean(column):.1f}" if len(column) == len(every) else "" for column in columns]
    return lines + [f"| mean | {' | '.join(whole)} |"]


def elsewhere(folders):
    lines = ["| trained on | scored on | majority class | no prompt | prompt tuning | model tuning | "
             "prompt − model tuning |", "|---|---|---|---|---|---|---|"]
    for r in (r for folder in folders for r in read(folder) if r["elsewhere"]):
        own = {"majority": r["majority"], "promptless": r["promptless"], "scores": r["scores"]}
        for name, there in ({r["target"]: own} | r["elsewhere"]).items():
            prompts, weights = there["scores"]["prompt"], there["scores"]["finetune"]
            lines.append(f"| {r['target']} | {'itself' if there is own else name} | {there['majority']:.1f} | {there['promptless']:.1f} | "
                         f"{train.plus_minus(prompts)} | {train.plus_minus(weights)} | {train.gain(prompts, weights)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", help="--out of the runs")
    parser.add_argument("--approach", default="prompt", help="comma-separated (default: prompt)")
    kind = parser.add_mutually_exclusive_group()
    for option, text in (("votes", "ensembles"), ("elsewhere", "--eval-on"), ("transfer", "sources")):
        kind.add_argument(f"--{option}", action="store_true", help=text)
    args = parser.parse_args()
    try:
        made = (votes(args.folders) if args.votes else elsewhere(args.folders) if args.elsewhere else
                transfer(args.folders) if args.transfer else scores(args.folders, train.split(args.approach)))
        print("\n".join(made))
    except ValueError as error:
        print(f"table.py: {error}", file=sys.stderr)
        sys.exit(2)

"""The scores of several runs of train.py side by side, as a table.

    python benchmarks/table.py runs/length-10 runs/length-1 runs/length-100
    python benchmarks/table.py --approach prompt,finetune runs/tuning

A row for each folder (--out of a run) and approach, a column for each target; mean ± sample
standard deviation over the seeds. A star: other than the first row by more than chance, in a
t-test at 5 % over the same seeds (that is one star by chance in twenty cells).
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train


def read(folder):
    """Target -> results.json of a run; of several sources, whichever comes first."""
    files = sorted(Path(folder).glob("*/results.json"))
    if not files:
        raise ValueError(f"{folder} holds no results.json of a run")
    found = {}
    for file in files:
        results = json.loads(file.read_text(encoding="utf-8"))
        found.setdefault(results["target"], results)
    return found


def table(folders, approaches):
    """The table's lines."""
    runs = {(Path(folder).name, approach): read(folder) for folder in folders for approach in approaches}
    targets = list(dict.fromkeys(target for run in runs.values() for target in run))
    lines = [f"| run | {'approach | ' * (len(approaches) > 1)}{' | '.join(targets)} |"]
    lines.append("|---" * (len(targets) + 1 + (len(approaches) > 1)) + "|")
    first = {}
    for (name, approach), run in runs.items():
        cells = [name] + [approach] * (len(approaches) > 1)
        for target in targets:
            if target not in run or approach not in run[target]["scores"]:
                cells.append("")
                continue
            seeds, scores = run[target]["seeds"], run[target]["scores"][approach]
            base_seeds, base = first.setdefault(target, (seeds, scores))
            star = seeds == base_seeds and train.beyond_chance([a - b for a, b in zip(scores, base)])
            cells.append(train.plus_minus(scores) + " *" * star)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", help="--out of the runs")
    parser.add_argument("--approach", default="prompt", help="comma-separated (default: prompt)")
    args = parser.parse_args()
    try:
        print("\n".join(table(args.folders, train.split(args.approach))))
    except ValueError as error:
        print(f"table.py: {error}", file=sys.stderr)
        sys.exit(2)

"""Draws the pictures of these pages from the numbers beside them: python docs/pictures.py

    panda.json (by benchmarks/verdicts.py) -> labels, grid-pot, grid-panda_states

Each in two files, for a light screen and for a dark one.
"""

import json
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from plumbing import draw, pictures
from plumbing.stats import interval

LABELS = 16, 32, 64, 128, 250, 1000
SHOWN = {"pot R": "transfer (pot)", "panda R": "panda (kl)", "panda_states R": "panda_states"}


def gains_by_labels(cells, target="toy-cb"):
    """How the gain over plain prompt tuning moves with labels and steps: a panel for each steps."""
    panels, rows = [], {(count or 250, steps): mine for name, count, steps, more, mine in cells
                        if name == target and not more}
    for steps in sorted({steps for _, steps in rows}):
        series = []
        for name, shown in SHOWN.items():
            values = []
            for place, count in enumerate(LABELS):
                mine = rows.get((count, steps), {})
                if name in mine:
                    gains = [a - b for a, b in zip(mine[name], mine["prompt"])]
                    values.append((place, statistics.mean(gains),
                                   *(interval(gains) or (None, None))))
                else:
                    values.append((place, None, None, None))
            series.append(draw.Series(shown, values, *pictures.look(name)))
        panels.append((f"{steps} steps", series, [str(count) for count in LABELS]))
    return draw.curves(
        "labels", "What a related source gains, by labels and steps",
        "A panel for each number of steps; it shows the gain over plain prompt tuning of "
        "prompt transfer, of PANDA as published and of PANDA with states, by the number of labels. "
        "The numbers stand in the table below the picture.",
        panels, "labels", "gain over plain, points", wide=300, level=0.0)


def grids(scores):
    """The heat maps of target -> name -> scores."""
    for approach in ("pot", "panda_states"):
        yield pictures.transfer_matrix(approach, {
            (name.partition(" ")[2], target): [a - b for a, b in zip(each, mine["prompt"])]
            for target, mine in scores.items() for name, each in mine.items()
            if name.partition(" ")[0] == approach})


def main(folder=HERE):
    verdicts = json.loads((HERE / "panda.json").read_text(encoding="utf-8"))
    for figure in (gains_by_labels(verdicts["cells"]), *grids(verdicts["grid"])):
        for theme in ("light", "dark"):
            (Path(folder) / f"{figure.name}-{theme}.svg").write_text(figure.svg(theme),
                                                                     encoding="utf-8")


if __name__ == "__main__":
    main()

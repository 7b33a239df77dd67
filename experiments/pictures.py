"""The pictures of the documents that are made of numbers, each as a light and a dark SVG.

    python experiments/pictures.py runs/toy-cb/results.json     learning: a run of train.py

writes docs/learning-light.svg and docs/learning-dark.svg. `labels` and `sources` are drawn by
experiments/study.py. The drawings without numbers (docs/student-*.svg and docs/positions-*.svg)
are edited by hand.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plumbing import options
from plumbing.files import read_json, write_text
from plumbing.html_report import (HEIGHT, THEMES, WIDTH, Series, approach_of, chart_svg,
                                  curve_panels, flat, in_theme, line_chart, tag, widened)


def write(folder, name, title, panels, columns):
    """Panels in rows of `columns`, as <folder>/<name>-light.svg and -dark.svg."""
    marks = []
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        corner = f"translate({WIDTH * column} {HEIGHT * row})"
        marks.append(tag("g", panel, transform=corner))
    height = HEIGHT * math.ceil(len(panels) / columns)
    svg = chart_svg(WIDTH * columns, height, title, marks)
    for theme in THEMES:
        write_text(Path(folder) / f"{name}-{theme}.svg", in_theme(svg, theme) + "\n")


def learning(results, folder):
    """Dev score by step: a panel for each source, beside plain prompt tuning.

    results: of a target, as train.py writes them. Runs without a source are left out.
    """
    shown = [run for run in results["runs"] if run["approach"] == "prompt" or run["source"]]
    panels = curve_panels(results | {"runs": shown}, "dev", f"dev {results['metric']}")
    title = f"{results['target']}: dev {results['metric']} by step"
    write(folder, "learning", title, panels, columns=2)


def labels(gains, folder):
    """Gain over plain prompt tuning by steps: a panel for each number of labels.

    gains: {(labels, steps, approach): gains by seed}.
    """
    y_range = widened(flat(gains.values()))
    panels = []
    for count in dict.fromkeys(count for count, _, _ in gains):
        curves = {}  # approach -> a curve for each seed
        for (other, steps, approach), of_seeds in gains.items():
            if other == count:
                empty = [[] for _ in of_seeds]
                for curve, gain in zip(curves.setdefault(approach, empty), of_seeds):
                    curve.append((steps, gain))
        series = [Series(name, values, approach_of(name)) for name, values in curves.items()]
        panels.append(line_chart(series, f"{count} labels: gain over prompt", "steps", y_range))
    write(folder, "labels", "Gain over plain prompt tuning by labels and steps", panels, columns=3)


def sources(means, folder):
    """A student's gain by its teacher's, a dot for each source; a panel for each target.

    means: {(approach, target): {source: mean gain}}; the teachers are those of the approach pot.
    """
    y_range = widened(flat(of_sources.values() for of_sources in means.values()))
    panels = []
    for (approach, target), of_sources in means.items():
        if approach == "pot":
            continue
        teachers = means["pot", target]
        dots = [Series(source, [[(teachers[source], gain)]], approach_of(approach))
                for source, gain in of_sources.items()]
        title = f"{target}: gain of {approach} over prompt"
        panels.append(line_chart(dots, title, "gain of its teacher, pot", y_range))
    write(folder, "sources", "Gain of students by that of their teachers", panels, columns=3)


def main(argv=None):
    parser = options.Parser(description=__doc__.split("\n")[0])
    parser.add_argument("results", help="results.json of a target, as train.py writes it")
    args = parser.parse_args(argv)
    learning(read_json(args.results), ROOT / "docs")


if __name__ == "__main__":
    options.run(main, "pictures.py")

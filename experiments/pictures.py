"""The picture of RESULTS.md that is made of numbers, as a light and a dark SVG.

    python experiments/pictures.py runs/toy-cb/results.json     of a run of train.py

writes docs/learning-light.svg and docs/learning-dark.svg: the dev score by step. The drawings
without numbers (docs/student-*.svg and docs/positions-*.svg) are edited by hand.
"""

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plumbing import options
from plumbing.files import read_json, write_text
from plumbing.html_report import HEIGHT, THEMES, WIDTH, chart_svg, curve_panels, in_theme, tag


def learning(results, folder):
    """Dev score by step: a panel for each source, beside plain prompt tuning; two in a row.

    results: of a target, as train.py writes them. Runs without a source are left out.
    """
    shown = [run for run in results["runs"] if run["approach"] == "prompt" or run["source"]]
    panels = curve_panels(results | {"runs": shown}, "dev", f"dev {results['metric']}")
    marks = []
    for index, panel in enumerate(panels):
        row, column = divmod(index, 2)
        corner = f"translate({WIDTH * column} {HEIGHT * row})"
        marks.append(tag("g", panel, transform=corner))
    rows = math.ceil(len(panels) / 2)
    title = f"{results['target']}: dev {results['metric']} by step"
    svg = chart_svg(2 * WIDTH, HEIGHT * rows, title, marks)
    for theme in THEMES:
        write_text(folder / f"learning-{theme}.svg", in_theme(svg, theme) + "\n")


def main(argv=None):
    parser = options.Parser(description=__doc__.split("\n")[0])
    parser.add_argument("results", help="results.json of a target, as train.py writes it")
    args = parser.parse_args(argv)
    learning(read_json(args.results), ROOT / "docs")


if __name__ == "__main__":
    options.run(main, "pictures.py")

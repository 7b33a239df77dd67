"""Draws the pictures of these pages, each for a light screen and for a dark one.

    python docs/pictures.py           from the numbers beside them:
        panda.json (by benchmarks/verdicts.py)    labels, grid-pot, grid-panda_states
        run.json                                  learning, plane
        nothing, they are drawings                bank, positions, student
    python docs/pictures.py runs      first makes run.json anew, of a run of `python train.py`
"""

import json
import statistics
import sys
from pathlib import Path

import numpy

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import data
import prompt
import train
from plumbing import draw, pictures
from plumbing.files import write_json
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
            if name.partition(" ")[0] == approach}, 5.0)  # one scale for both


# -------------------------------------------------------------------- a real run

SOURCES = "toy-nli", "toy-sst2"


def of_run(out):
    """run.json: the curves of the default command, and where its prompts start and end.

    A prompt is a point of P * D numbers; the plane is that of the first two principal components
    of all these points, the largest loading of each positive.
    """
    whole = json.loads((out / "toy-cb" / "results.json").read_text(encoding="utf-8"))
    shop = train.open_workshop(train.parse_arguments(["--out", str(out)]))
    task, kept = data.Encoded("toy-cb", shop.tokenizer, shop.recipe), []
    starts = {name: prompt.load(out / "sources" / f"{name}-0")[0] for name in SOURCES}
    for seed in whole["seeds"]:
        fresh = train.fresh_prompt(shop, task, seed)
        kept.append(("prompt", fresh, prompt.load(out / "prompts" / f"toy-cb-{seed}")[0]))
        for source in SOURCES:
            for name, start in (("pot", starts[source]), ("panda", fresh),
                                ("panda_states", fresh)):
                folder = out / f"{source}-to-toy-cb" / "prompts" / f"{name}-{seed}"
                kept.append((f"{name} {source}", start, prompt.load(folder)[0]))
    ends = {name: [end for other, _, end in kept if other == name] for name, *_ in kept}
    far = {name: [statistics.mean((end - other).norm().item() for end, other in zip(mine, others))
                  for others in ([start for other, start, _ in kept if other == name],
                                 ends["pot toy-nli"], ends["prompt"])]
           for name, mine in ends.items() if "sst2" not in name}
    points = numpy.array([p.flatten().numpy() for _, *pair in kept for p in pair])
    _, size, axes = numpy.linalg.svd(points - points.mean(0), full_matrices=False)
    signs = numpy.sign(axes[[0, 1], abs(axes[:2]).argmax(1)])
    plane = ((points - points.mean(0)) @ axes[:2].T * signs).round(3).tolist()
    write_json(HERE / "run.json", {
        "curves": whole["curves"], "scores": whole["scores"], "distances": far,
        "plane": [[name, *ends] for (name, *_), ends in zip(kept, zip(plane[::2], plane[1::2]))],
        "shares": (size ** 2 / (size ** 2).sum())[:2].round(3).tolist()})


def distances(run):
    """The table of how far prompts are from each other, means over the seeds."""
    lines = ["| | moved from its start | from the teacher (pot toy-nli) | from the plain prompt |",
             "|---|---|---|---|"]
    return lines + [f"| {name} | " + " | ".join(f"{far:.0f}" for far in each) + " |"
                    for name, each in run["distances"].items()]


def learning(run):
    """Dev score by step, from each source: plain, transfer, PANDA and PANDA with states."""
    panels = []
    for source in SOURCES:
        series = []
        for name in ("prompt", f"pot {source}", f"panda {source}", f"panda_states {source}"):
            values = []
            for points in zip(*run["curves"][name]):
                at = [value for _, value in points]
                values.append((points[0][0], statistics.mean(at), min(at), max(at)))
            series.append(draw.Series(name.partition(" ")[0], values, *pictures.look(name)))
        panels.append((f"from {source}", series, None))
    return draw.curves("learning", "Dev score by step, from two sources", "Two panels, one a "
                       "source; the mean of three seeds in a band from the lowest to the highest. "
                       "From toy-nli transfer starts high and panda_states catches up with it; "
                       "from toy-sst2, of similarity below 0, students are plain prompt tuning.",
                       panels, "step", "dev accuracy, %", wide=400)


def plane(run):
    """How far prompts travel: hollow where they start, filled where they end."""
    points, links, highest, named = [], [], {}, {}
    for name, start, end in run["plane"]:
        if name in ("panda toy-sst2", "panda_states toy-sst2"):
            continue  # they are the plain prompts
        colour, shape, _ = pictures.look(name)
        shape = "square" if "sst2" in name and shape == "circle" else shape
        links.append((len(points), len(points) + 1))
        points += [draw.Series("", [start], colour, shape, True),
                   draw.Series("", [end], colour, shape)]
        if end[1] >= highest.get(name, end)[1]:  # one name for the seeds of an approach
            highest[name], named[name] = end, points[-1]
    for name, point in named.items():
        point.name = name
    return draw.scatter(
        "plane", "Where prompts go", "Principal components of prompts before and after training on "
        "toy-cb: plain prompts and students start from three fresh prompts, transfer from two "
        "source prompts. Students of panda end by the plain prompts of their seeds, those of "
        "panda_states most of the way to their teachers as far as this plane shows it.", points,
        f"PC1 ({run['shares'][0]:.0%})", f"PC2 ({run['shares'][1]:.0%})", links, True, 720, 460)


# -------------------------------------------------------------------- drawings


def cells(figure, x, y, words, colour, wide=30):
    """A row of squares, each with its word."""
    for k, word in enumerate(words):
        figure.add("rect", x=x + float(wide * k), y=y, width=wide - 2, height=24, fill="page",
                   stroke=colour, stroke_width=1.5)
        figure.text(x + wide * k + wide / 2 - 1, y + 16, word, 11, "middle", colour)


def arrow(figure, x, y, to_x, to_y, colour="muted"):
    long = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
    ax, ay = 7 * (to_x - x) / long, 7 * (to_y - y) / long
    figure.add("path", d=f"M{x} {y}L{to_x} {to_y}M{to_x - ax - ay / 2:.1f} {to_y - ay + ax / 2:.1f}"
               f"L{to_x} {to_y}L{to_x - ax + ay / 2:.1f} {to_y - ay - ax / 2:.1f}", fill="none",
               stroke=colour, stroke_width=1.5)


def box(figure, x, y, wide, high, lines, colour="ink"):
    figure.add("rect", x=x, y=y, width=wide, height=high, fill="page", stroke=colour,
               stroke_width=1.5, rx=4)
    for k, line in enumerate(lines):
        figure.text(x + wide / 2, y + high / 2 + 4 + 16 * (k - (len(lines) - 1) / 2), line, 12,
                    "middle", colour, wide - 8)


def bank():
    figure = draw.Figure("bank", 760, 190, "The bank and its gather", "A bank of two prompts; each "
                         "row of a batch takes the one that its index names, in front of its "
                         "embedded input; the frozen T5 reads both rows at once.")
    figure.text(12, 20, "bank (N, P, D): all that is trained", 12, fill="muted")
    for n, (colour, y) in enumerate((("blue", 44), ("orange", 104))):
        figure.text(12, y + 16, f"{n}", 12)
        cells(figure, 30, y, "ppp", colour)
    figure.text(300, 20, "batch: index (B,) chooses", 12, fill="muted")
    for b, (index, words) in enumerate(((1, "old cats …".split()), (0, "the soups …".split()))):
        y = 44 + 60 * b
        arrow(figure, 126, (44, 104)[index] + 12, 292, y + 12, ("blue", "orange")[index])
        cells(figure, 300, y, "ppp", ("blue", "orange")[index])
        cells(figure, 396, y, words, "muted", 48)
        arrow(figure, 546, y + 12, 584, 90)
    box(figure, 588, 62, 74, 56, ["T5,", "frozen"])
    arrow(figure, 664, 90, 694, 90)
    figure.text(698, 94, "labels")
    figure.text(12, 166, "each prompt's gradient comes from its own rows alone, so N prompts "
                "together train as each by itself", 12, fill="muted", room=736)
    return figure


def positions():
    figure = draw.Figure("positions", 620, 130, "A prompt in front shifts the text", "Positions 0 "
                         "to 6: three prompt vectors, then four tokens. The distance from cats to "
                         "old is minus one with and without the prompt.")
    words = ["p", "p", "p", "old", "cats", "…", "</s>"]
    for k, word in enumerate(words):
        x = 30 + 80.0 * k
        figure.add("rect", x=x, y=36, width=72, height=26, fill="page", stroke_width=1.5,
                   stroke="blue" if k < 3 else "muted")
        figure.text(x + 36, 54, word, 12, "middle", "blue" if k < 3 else "ink")
        figure.text(x + 36, 24, f"{k}", 11, "middle", "muted")
        figure.text(x + 36, 84, draw.said(k - 4, 0, True), 12, "middle", "muted")
    figure.text(30, 112, "below: distance from “cats”. Between words it is the same as without "
                "a prompt", 12, fill="muted", room=580)
    return figure


def student():
    figure = draw.Figure("student", 780, 250, "PANDA: teacher, student and weight", "The source's "
                         "prompt starts the teacher, which is tuned on the target and frozen; the "
                         "student, a fresh prompt, learns from the labels and from the teacher, "
                         "weighted by how alike source and plain target prompt are.")
    box(figure, 12, 20, 150, 44, ["source prompt"], "blue")
    box(figure, 12, 186, 150, 44, ["plain target prompt"])
    box(figure, 236, 20, 176, 44, ["teacher: tuned on the", "target, then frozen"], "blue")
    box(figure, 236, 103, 176, 44, ["similarity, held to", "[0, 1], times λ"], "green")
    box(figure, 236, 186, 176, 44, ["student: a fresh prompt"], "orange")
    box(figure, 500, 86, 268, 78, ["loss = CE(label, student)",
                                   "+ λ · sim · KD(teacher, student)"])
    arrow(figure, 164, 42, 232, 42, "blue")
    arrow(figure, 88, 66, 232, 116, "green")
    arrow(figure, 88, 184, 232, 134, "green")
    arrow(figure, 414, 42, 520, 84, "blue")
    arrow(figure, 414, 125, 496, 125, "green")
    arrow(figure, 414, 208, 520, 168, "orange")
    return figure


def main(folder=HERE):
    verdicts = json.loads((HERE / "panda.json").read_text(encoding="utf-8"))
    run = json.loads((HERE / "run.json").read_text(encoding="utf-8"))
    for figure in (gains_by_labels(verdicts["cells"]), *grids(verdicts["grid"]), learning(run),
                   plane(run), bank(), positions(), student()):
        for theme in ("light", "dark"):
            (Path(folder) / f"{figure.name}-{theme}.svg").write_text(figure.svg(theme),
                                                                     encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        of_run(Path(sys.argv[1]))
    main()

"""A run as a page that opens from disk: report.html and grid.html.

One file each, with nothing from elsewhere: pictures by draw.py, tables as in report.md. A `whole`
is what report.py makes a target's report of.
"""

import html
import re
import statistics

from plumbing import draw, pictures
from plumbing.stats import interval

FEW = 3  # sources whose curves one page shows; each pair has a page of its own
CSS = """
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 FONT;
  font-variant-numeric: tabular-nums }
main { max-width: 1050px; margin: 0 auto; padding: 16px }
p, h1, h2, pre { max-width: 690px }
h1 { font-size: 26px; line-height: 1.2 } h2 { font-size: 19px; margin-top: 32px }
.found { font-size: 18px } .wide { overflow-x: auto; margin: 16px 0 } a { color: var(--blue) }
.wide:focus-visible, a:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px }
table { border-collapse: collapse; font-size: 13px }
th, td { padding: 4px 12px 4px 0; text-align: left; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid var(--grid) } thead th { white-space: normal; min-width: 64px }
figure { margin: 16px 0; break-inside: avoid }
figcaption { font-size: 13px; color: var(--muted); max-width: 690px }
.panels { display: grid; gap: 8px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)) }
svg { max-width: 100%; height: auto } .wide svg { max-width: none }
pre { white-space: pre-wrap; font-size: 13px } code { font-size: .9em }
@page { size: A4; margin: 15mm }
@media print { h1, h2, h3 { break-after: avoid } body { print-color-adjust: exact }
  .wide { overflow: visible } .wide svg { max-width: 100% } tr { break-inside: avoid }
  table { font-size: 10px } th, td { white-space: normal; padding-right: 8px }
  .panels { grid-template-columns: 1fr 1fr } }
""".replace("FONT", draw.FONT)


def whole_page(title, body):
    """An HTML page of some pieces."""
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>\n<style>{draw.style()}{CSS}</style>\n</head>",
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>", *body, "</main>\n</body>\n</html>", ""])


def text(line):
    """A line of Markdown as HTML: `code`, and nothing else.

    >>> text("over `prompt` < 5")
    'over <code>prompt</code> &lt; 5'
    """
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(line, quote=False))


def as_html(lines, name):
    """Lines of Markdown, paragraphs and tables, as pieces of HTML; name: of its tables, to hear."""
    pieces, table = [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            table.append([text(cell.strip()) for cell in line.strip("|").split("|")])
            continue
        if table:
            head, _, *rows = table
            cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
            body = "\n".join(
                f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in rest)
                + "</tr>" for first, *rest in rows)
            pieces.append(f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
                          f"<table><thead><tr>{cells}</tr></thead>\n<tbody>{body}</tbody></table>"
                          "</div>")
            table = []
        if line:
            pieces.append(f"<p>{text(line)}</p>")
    return pieces


def figure(drawn, caption="", wide=False):
    """A picture with its caption; wide: may be scrolled sideways."""
    svg = drawn.svg()
    if wide:
        svg = (f'<div class="wide" tabindex="0" role="region" aria-label="'
               f'{html.escape(drawn.title)}">{svg}</div>')
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


# -------------------------------------------------------------------- what is drawn


def of_seeds(whole):
    """Every approach's scores: a dot a seed, the mean and its interval."""
    series = [draw.Series(name, scores, *pictures.look(name), interval(scores))
              for name, scores in whole["scores"].items()]
    levels = [(whole["majority"], f"majority class {whole['majority']:.1f}"),
              (whole["promptless"], f"T5 without a prompt {whole['promptless']:.1f}")]
    means = {s.name: statistics.mean(s.values) for s in series}
    best = max(means, key=means.get)
    return draw.dots(
        "seeds", f"{whole['metric']} of each approach", f"A row for each of {len(series)} "
        f"approaches, a small mark for each of {len(whole['seeds'])} seeds, a large one for the "
        f"mean, a line for its 95 % interval. Highest: {best}, {draw.said(means[best])}. The "
        "numbers stand in the table.", series, f"{whole['metric']}, %", levels, wide=480)


def over_steps(whole, names, kind, what):
    """One panel: a line for each approach, the mean of its seeds, a band from lowest to highest.

    kind: "curves" for dev, or the place of a term: 1 CE, 2 KD.
    """
    series = []
    for name in names:
        seeds = (whole["curves"][name] if kind == "curves" else
                 [[(term[0], term[kind]) for term in seed["terms"]]
                  for seed in whole["teaching"][name] if kind == 1 or seed["right"] is not None])
        values = []
        for points in zip(*seeds):
            at = [value for _, value in points]
            values.append((points[0][0], statistics.mean(at), min(at), max(at)))
        if values:
            series.append(draw.Series(name, values, *pictures.look(name)))
    if not series:
        return None
    title = f"{what} by step: " + ", ".join(names)
    name = "".join(c if c.isalnum() else f"-{ord(c)}" for c in title)  # an id of its own
    return draw.curves(name, title, f"A line for each of {len(series)} "
                       "approaches over the steps, the mean of the seeds, in a band from the "
                       "lowest to the highest.", [(what, series, None)], "step", "")


def learning(whole):
    """Panels of dev, CE and KD: of each source with its approaches, and of the controls."""
    sources, names = list(whole["similarity"]), list(whole["scores"])
    alone = [name for name in names if " " not in name and name != "prompt"]
    groups = [(f"from {source}", ["prompt", *(n for n in names if n.endswith(f" {source}"))])
              for source in sources] + [("without a source", ["prompt", *alone])] * bool(alone)
    if not groups:
        groups = [("", ["prompt"])]
    if len(sources) > FEW:
        return ["<p>Each pair's own page has its learning curves.</p>"]
    pieces = []
    for title, mine in groups:
        drawn = [over_steps(whole, mine, *kind) for kind in (
            ("curves", "dev score"), (1, "CE"), (2, "KD"))]
        panels = "".join(figure(one) for one in drawn if one)
        pieces.append(f'<h3>{html.escape(title)}</h3><div class="panels">{panels}</div>')
    return pieces


def similar(whole):
    """Each source's similarity beside what it gained, a panel for each approach that has one."""
    metric, base = whole["config"]["metric"], statistics.mean(whole["scores"]["prompt"])
    panels = []
    for approach in dict.fromkeys(n.partition(" ")[0] for n in whole["scores"] if " " in n):
        points = [draw.Series(source, [(statistics.mean(s.get(metric, 1.0) for s in seeds),
                                        statistics.mean(whole["scores"][name]) - base)],
                              *pictures.look(approach))
                  for source, seeds in whole["similarity"].items()
                  for name in [f"{approach} {source}"] if name in whole["scores"]]
        panels.append(figure(draw.scatter(
            f"similar-{approach}", f"{approach}: similarity and gain", f"{len(points)} sources by "
            f"their similarity ({metric}) and what {approach} gained over plain prompt tuning.",
            points, f"similarity ({metric})", f"{approach}: gain, points")))
    return [f'<div class="panels">{"".join(panels)}</div>'] if panels else []


# ------------------------------------------------------------------------ the pages


def report(whole, title, lines, sentence):
    """report.html of a target or a pair, as text. lines: report.md's; sentence: what was found."""
    scores, seeds = whole["scores"], len(whole["seeds"])
    many = "" if seeds > 1 else " One seed: no interval, and nothing can be said of chance."
    cost = ["| approach | seconds of a run | steps | trained numbers | stored, bytes |",
            "|---|---|---|---|---|", *(
                f"| {name} | {whole['seconds'][name]:.1f} | {whole['steps'][name]} | "
                f"{whole['cost'][name]['trained']:,} | {whole['cost'][name]['stored_bytes']:,} |"
                for name in scores)]
    setup = (f"T5 {whole['model']}, {seeds} seed{'s' * (seeds > 1)}, "
             f"{whole['config']['steps']} steps of {whole['config']['batch']}, "
             f"{whole['config']['dtype']}; {whole['metric']} on the dev examples kept for the "
             f"report. Each comparison is a paired t-test at 5 % by itself, "
             f"{len(scores) - 1} of them: by chance alone one in twenty says “more than chance”. "
             f"Written on {whole['date']}.")
    return whole_page(title, [
        f'<p class="found">{text(sentence)}</p>', f"<p>{text(setup)}</p>",
        figure(of_seeds(whole), "Small marks are seeds, the large one their mean, the line its "
               "95 % interval by Student's t. Dashed: what needs no training." + many),
        "<h2>Scores</h2>", *as_html([line for line in lines if line != sentence], "scores"),
        "<h2>Learning</h2>",
        "<p>The mean of the seeds, in a band from the lowest to the highest; dev on the examples "
        "to choose by.</p>", *learning(whole),
        *(["<h2>Similarity and gain</h2>", *similar(whole)] * (len(whole["similarity"]) > 1)),
        "<h2>Time and cost</h2>", "<p>Of each by itself: a student needs its teacher and the plain "
        "prompt as well, transfer its source's prompt.</p>", *as_html(cost, "time and cost"),
        "<h2>The recipe</h2>",
        f"<pre>{html.escape(whole['command'])}</pre>", *as_html(
            ["| option | value |", "|---|---|",
             *(f"| {name} | {str(value).replace('|', '¦')} |"
               for name, value in whole["config"].items())], "recipe")])


def grid(matrices, predicted, lines):
    """grid.html, as text, of its figures and grid.md's lines."""
    return whole_page("Sources and targets", [
        "<p>Blue is a gain, red a loss, one scale for all. A dot in a picture is a test of all "
        "pairs together, a star in a table one of that pair alone: they need not agree.</p>",
        *(figure(drawn, drawn.about, wide=True) for drawn in matrices),
        "<h2>Predicted and measured transfer</h2>", '<div class="panels">', *(
            figure(drawn, f"{drawn.title}.") for drawn in predicted), "</div>",
        "<h2>The numbers</h2>", *as_html(lines, "transfer")])

"""Several sources and targets at once: grid.json, grid.md and pictures, from each target's report.

A `whole` is what report.py makes a target's report of: scores and curves by approach ("pot mnli":
the approach and its source), similarities by source, one for each seed.
"""

import statistics

from plumbing import pages, pictures
from plumbing.files import write_json, write_text
from plumbing.stats import (beyond_chance, mean_permutation_p, permutation_p, plus_minus, spearman,
                            spread)

TOP = 3  # of how many sources SPoT's retrieval takes the best (Vu et al. 2022, section 3.2)


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells):
    return [row(*cells), "|---" * len(cells) + "|"]


def approaches(wholes):
    """Those that have a source, in the order of the reports."""
    return list(dict.fromkeys(name.partition(" ")[0] for whole in wholes
                              for name in whole["scores"] if " " in name))


def of_sources(whole, approach, kind="scores"):
    """source -> what each seed has, of one approach."""
    return {name.partition(" ")[2]: each for name, each in whole[kind].items()
            if name.startswith(approach + " ")}


def early(whole, curve):
    """A seed's dev score after the first epoch: at the first evaluation that is not before it.

    A run that ends within its first epoch has the score of its first evaluation.
    """
    after = [score for step, score in curve if step >= whole["epoch"]]
    return after[0] if after and whole["epoch"] <= curve[-1][0] else curve[0][1]


def retrieved(whole, approach, top=TOP):
    """Of each seed the score from the source that SPoT's retrieval takes.

    Of the `top` most similar sources the one that is best on the examples to choose by.
    """
    scores, curves = of_sources(whole, approach), of_sources(whole, approach, "curves")
    similar, metric = whole["similarity"], whole["config"]["metric"]
    found = []
    for i in range(len(whole["seeds"])):
        nearest = sorted(scores, key=lambda source: -similar[source][i].get(metric, 0.0))[:top]
        best = max(nearest, key=lambda source: max(score for _, score in curves[source][i]))
        found.append(scores[best][i])
    return found


def cell(scores, base):
    """Mean and gain over plain prompt tuning; a star where that is beyond chance."""
    gains = [score - b for score, b in zip(scores, base)]
    return (f"{statistics.mean(scores):.1f} ({statistics.mean(gains):+.1f}"
            f"{' *' if beyond_chance(gains) else ''})")


def gains_of(wholes, approach):
    """(source, target) -> one approach's gain over plain prompt tuning, for each seed."""
    return {(source, whole["target"]): [score - b for score, b in zip(scores,
                                                                      whole["scores"]["prompt"])]
            for whole in wholes for source, scores in of_sources(whole, approach).items()}


def transfer(wholes, approach):
    """One approach: a row for each source, a column for each target."""
    found = [of_sources(whole, approach) for whole in wholes]
    plain = [whole["scores"]["prompt"] for whole in wholes]
    lines = head(f"{approach} from", *(f"to {whole['target']}" for whole in wholes))
    lines.append(row("nothing: prompt", *map(plus_minus, plain)))
    sources = list(dict.fromkeys(source for mine in found for source in mine))
    lines += [row(source, *(cell(mine[source], base) if source in mine else "" for mine, base in
                            zip(found, plain))) for source in sources]
    def summary(name, scores):
        """A row of one cell for each target that has this approach."""
        lines.append(row(name, *(cell(scores(whole, mine), base) if mine else ""
                                 for whole, mine, base in zip(wholes, found, plain))))

    if len(sources) > 1:
        summary("mean over the sources", lambda whole, mine: [
            statistics.mean(each) for each in zip(*mine.values())])
        best = [max(mine, key=lambda name, mine=mine: statistics.mean(mine[name]), default="")
                for mine in found]
        lines.append(row("best source, known afterwards", *(
            f"{cell(mine[name], base)} {name}" if mine else "" for mine, base, name in
            zip(found, plain, best))))
    if len(sources) > TOP:
        summary(f"best on dev of the {TOP} most similar",
                lambda whole, mine: retrieved(whole, approach))
    gains = gains_of(wholes, approach).values()
    beyond = [spread(gain)[0] for gain in gains if beyond_chance(gain)]
    return lines + ["", f"{approach}: {len(gains)} pairs, "
                    f"{statistics.mean(map(statistics.mean, gains)):+.2f} over plain on average; "
                    f"ahead by more than chance in {sum(gain > 0 for gain in beyond)}, behind in "
                    f"{sum(gain < 0 for gain in beyond)}."]


def ranking(wholes):
    """How each measure ranks the sources: Spearman's with `pot`'s scores, early and at the end."""
    wholes = [whole for whole in wholes if len(of_sources(whole, "pot")) > 2]
    if not wholes:
        return []
    lines = head("measure", "against `pot`", *(whole["target"] for whole in wholes), "mean", "p")
    first = next(iter(wholes[0]["similarity"].values()))[0]
    for measure in first:
        for when in ("after the first epoch", "at the end"):
            pairs = []
            for whole in wholes:
                scores, curves = (of_sources(whole, "pot", kind) for kind in ("scores", "curves"))
                found = [statistics.mean(scores[source]) if when == "at the end" else
                         statistics.mean(early(whole, curve) for curve in curves[source])
                         for source in scores]
                said = [statistics.mean(seed[measure] for seed in whole["similarity"][source])
                        for source in scores]
                pairs.append((said, found))
            each = [spearman(*pair) for pair in pairs]
            p = mean_permutation_p(pairs) if len(pairs) > 1 else permutation_p(*pairs[0])
            lines.append(row(measure, when, *(f"{one:+.2f}" for one in each),
                             f"{statistics.mean(each):+.2f}", f"{p:.3f}"))
    return ["How well a similarity ranks the sources: Spearman's correlation with what `pot` "
            "scored, means over the seeds; p by shuffling the sources of each target.", "", *lines]


def predictions(wholes):
    """A picture for each measure, of what it said and what `pot` gained."""
    gains = {pair: statistics.mean(each) for pair, each in gains_of(wholes, "pot").items()}
    measures = {measure: {} for whole in wholes for seeds in whole["similarity"].values()
                for measure in seeds[0]}
    for whole in wholes if gains else ():
        for source, seeds in whole["similarity"].items():
            if (source, whole["target"]) in gains:
                for measure in measures:
                    measures[measure].setdefault(whole["target"], {})[source] = (
                        statistics.mean(seed[measure] for seed in seeds),
                        gains[source, whole["target"]])
    return [pictures.prediction(measure, pairs) for measure, pairs in measures.items() if pairs]


def page(wholes):
    """Lines of Markdown."""
    lines = ["Mean over the seeds, in brackets the gain over plain prompt tuning; * in a paired "
             "t-test at 5 %, of which one in twenty is chance.", ""]
    for approach in approaches(wholes):
        lines += [*transfer(wholes, approach), ""]
    return lines + ranking(wholes)


def write(home, wholes):
    """Write grid.json and grid.md of a command with more than one pair."""
    if sum(len(whole["similarity"]) for whole in wholes) < 2:
        return
    write_json(home.out / "grid.json", {whole["target"]: {
        kind: whole[kind] for kind in ("metric", "seeds", "majority", "promptless", "scores",
                                       "curves", "similarity")} for whole in wholes})
    head, lines = ["# Sources and targets", "", f"model {wholes[0]['model']}", ""], page(wholes)
    gains = {approach: gains_of(wholes, approach) for approach in approaches(wholes)}
    size = pictures.bin_width([statistics.mean(each) for mine in gains.values()
                               for each in mine.values()])
    matrices = [pictures.transfer_matrix(approach, mine, size) for approach, mine in gains.items()]
    write_text(home.out / "grid.md", "\n".join(head + lines).rstrip() + "\n")
    write_text(home.out / "grid.html", pages.grid(matrices, predictions(wholes), lines))
    for figure in matrices:
        write_text(home.out / f"{figure.name}.svg", figure.svg())
    print(f"written to {home.out / 'grid.md'}", flush=True)

"""What a run of train.py says: a headline, tables, results.json, report.md and report.html.

    python -m plumbing.report RUN                         write the pages of a run again
    python -m plumbing.report RUN RUN … [--approach …]    compare runs

Everything is made from one dict for each target, `results`, which JSON can hold:

    model, fingerprint, target, metric, seeds, input, labels, dtype, date, command
    majority, promptless    scores of the majority class and of T5 without a prompt
    chosen_on_reported      whether the reported dev examples also chose the checkpoints
    runs                    approach, source ("": none), seconds, steps, trained (numbers),
                            training_bytes, and lists with an entry for each seed: scores, metrics,
                            curves [[step, score], …], losses [[step, CE, KD, cosine of their
                            gradients], …], teacher_accuracy, folders (relative to --out)
    similarity              source -> {measure: value} for each seed
    recipe, changed         all options, and those that differ from their defaults
    answers                 of: (approach, source) of the best run; rows: [input, target, answer of
                            the plain prompt, answer of the best], of the first seed

A table is (header, rows), as html_report.py describes it.
"""

import contextlib
import itertools
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

import numpy

from plumbing import options
from plumbing.files import read_json, write_json, write_text
from plumbing.html_report import (Gain, Heat, Link, Section, approach_of, flat, html_page,
                                  html_table, learning_sections, markdown, markdown_page,
                                  shortened, widened)
from plumbing.stats import (differences, interval, mean_permutation_p, number, plus_minus,
                            significant, spearman, star)


TEACHERS = ["teacher accuracy", "cosine of the gradients of CE and KD, first step", "later, mean"]


def run_name(approach, source):
    """How a page calls a run: "pot from toy-nli"."""
    return f"{approach} from {shortened(source)}" if source else approach


def mean_score(run):
    return statistics.mean(run["scores"])


def gains_of(run, results):
    """Its scores less those of plain prompt tuning, seed by seed; train.py always runs that."""
    scores = {each["approach"]: each["scores"] for each in results["runs"]}
    return differences(run["scores"], scores["prompt"])


def similarity_of(results, source, measure):
    """Of one source with the target, the mean over the seeds; 1 by "none", which is no measure."""
    return statistics.mean(seed.get(measure, 1.0) for seed in results["similarity"][source])


# ------------------------------------------------------------------- a target's tables


def by_run(runs, header, cells):
    """A table with a row for each run: its name, and the list that cells(run) makes."""
    rows = [[run["approach"], shortened(run["source"])] + cells(run) for run in runs]
    return ["approach", "source", *header], rows


def scores_table(results):
    """Each run's score, gain, similarity and time."""
    on_axis = []  # all gains, 0 among them, with their intervals
    for run in results["runs"]:
        gains = gains_of(run, results)
        on_axis += [*gains, *interval(gains)]
    axis = widened(on_axis)

    def cells(run):
        gains = gains_of(run, results)
        text = plus_minus(gains, "+") + star(gains)
        gained = Gain(text, gains, axis, approach_of(run["approach"]).colour)
        if run["approach"] == "prompt":
            gained = ""
        similarity = ""
        if run["source"] in results["similarity"]:
            measure = results["recipe"]["similarity"]
            similarity = number(similarity_of(results, run["source"], measure), "+", 2)
        return [plus_minus(run["scores"]), gained, similarity, f"{run['seconds']:.1f}"]

    header = [results["metric"], "gain over prompt", "similarity", "seconds"]
    return by_run(results["runs"], header, cells)


def note(results):
    """What the table's signs mean."""
    n = len(results["seeds"])
    if n < 3:
        return f"{seeds(n)}: too few for a test (n = {n})."
    return f"Mean ± standard deviation, n = {n} seeds. *: significant, a paired t-test at 5 %."


def seeds(n):
    return "1 seed" if n == 1 else f"{n} seeds"


def table(results):
    """The table for a terminal, at most 100 columns wide: lines of Markdown, and a note."""
    return markdown(scores_table(results)) + [note(results)]


def mean_or_dash(values):
    """The mean of those that are no None, as text."""
    values = [value for value in values if value is not None]
    return number(statistics.mean(values), digits=2) if values else "–"


def of_teachers(run):
    """What its teachers add, of a run with distillation: the columns TEACHERS."""
    first = [terms[0][3] for terms in run["losses"]]
    later = [term[3] for term in flat(terms[1:] for terms in run["losses"])]
    return [mean_or_dash(values) for values in (run["teacher_accuracy"], first, later)]


def details_table(results):
    """Each seed's score, which links to what was trained; other metrics; teachers; cost.

    The cost is of one training by itself: a teacher and a source's prompt come on top.
    """
    others = [name for name in results["runs"][0]["metrics"][0] if name != results["metric"]]
    header = [f"seed {seed}" for seed in results["seeds"]] + others + TEACHERS
    header += ["steps", "trained numbers", "bytes of gradients and optimiser"]

    def cells(run):
        row = [Link(f"{score:.1f}", f"../{folder}/")
               for score, folder in zip(run["scores"], run["folders"])]
        for name in others:
            row.append(plus_minus([metrics[name] for metrics in run["metrics"]]))
        row += of_teachers(run)
        return row + [f"{run[name]:,}" for name in ("steps", "trained", "training_bytes")]

    return by_run(results["runs"], header, cells)


def confusion_table(results):
    """A row for each label, a column for each answer: how often the best run's prompt gave it."""
    labels = results["labels"]
    counts = Counter((target, best) for _, target, _, best in results["answers"]["rows"])
    rows = []
    for target in labels:
        of_label = [counts[target, answer] for answer in labels]
        recall = 100 * counts[target, target] / (sum(of_label) or 1)
        rows.append([target, *map(str, of_label), f"{recall:.0f} %"])
    return ["label", *[f"answered {label}" for label in labels], "right"], rows


def changed_table(results, most=10):
    """Examples to which the best run's prompt gives another answer than the plain prompt."""
    rows = [[shortened(text, 200), target, plain, best]
            for text, target, plain, best in results["answers"]["rows"] if plain != best]
    return ["input", "label", "plain prompt", "best"], rows[:most]


def glossary(runs):
    """What the names of the runs' approaches mean."""
    names = dict.fromkeys(run["approach"] for run in runs)
    return ["approach", "meaning"], [[name, approach_of(name).meaning] for name in names]


def recipe_table(results):
    """All options; those that differ from their defaults first."""
    recipe = results["changed"] | results["recipe"]  # the order of the first, the values of both
    rows = [[name, str(value), "changed" if name in results["changed"] else ""]
            for name, value in recipe.items()]
    return ["option", "value", "not the default"], rows


# ------------------------------------------------------------------- sentences


def finding(run, gains):
    """One run's score and gain in words.

    >>> finding({"approach": "pot", "source": "toy-nli", "scores": [85.0, 85.2]}, [6.1, 6.3])
    'pot from toy-nli, 85.1, a gain of +6.2 over plain prompt tuning (2 seeds; too few for a test).'
    """
    name = run_name(run["approach"], run["source"])
    if name == "prompt":
        return f"plain prompt tuning, {plus_minus(run['scores'])} ({seeds(len(gains))})."
    verdict = "significant" if significant(gains) else "not significant"
    if len(gains) < 3:
        verdict = "too few for a test"
    return (f"{name}, {mean_score(run):.1f}, a gain of {number(statistics.mean(gains), '+')} over "
            f"plain prompt tuning ({seeds(len(gains))}; {verdict}).")


def headline(results):
    """The best prompt, and the best of PANDA if that is another: a sentence for each."""
    prompts = [run for run in results["runs"] if run["approach"] != "finetune"]
    prompts.sort(key=mean_score, reverse=True)
    panda = [run for run in prompts if run["approach"].startswith("panda")]
    panda = [run for run in panda if set(run["teacher_accuracy"]) != {None}]  # it has a teacher
    sentences = [f"Best: {finding(prompts[0], gains_of(prompts[0], results))}"]
    if panda and panda[0] is not prompts[0]:
        sentences.append(f"Best of PANDA: {finding(panda[0], gains_of(panda[0], results))}")
    return sentences


def setup(results):
    """The conditions, as sentences."""
    chosen = "The checkpoints were chosen on other dev examples than those reported here."
    if results["chosen_on_reported"]:
        chosen = ("The dev examples reported here also chose each run's checkpoint, which makes "
                  "all scores a little too high.")
    made = f"{results['date']}, {results['seconds']:.0f} seconds in this call: {results['command']}"
    return [f"T5 {results['model']} ({results['dtype']}), {results['metric']} in percent. Majority "
            f"class {results['majority']:.1f}, T5 without a prompt {results['promptless']:.1f}.",
            chosen, made]


# ------------------------------------------------------------------- files


def report_folder(out, results):
    """Where a target's own files lie: with one source in that pair's folder."""
    target = results["target"]
    sources = list(results["similarity"])
    return Path(out) / (f"{sources[0]}-to-{target}" if len(sources) == 1 else target)


def pair_results(results, source):
    """What results.json of a pair holds: the runs of one source, and those without a source."""
    content = {name: results[name] for name in ("model", "target", "metric", "seeds")}
    measures = results["similarity"][source][0]
    content["similarity"] = {name: similarity_of(results, source, name) for name in measures}
    content |= {"source": source, "config": results["recipe"]}
    runs = [run for run in results["runs"] if run["source"] in ("", source)]
    for field in ("scores", "seconds", "steps"):
        content[field] = {run["approach"]: run[field] for run in runs}
    return content


def write_page(path, title, sections):
    """path.md and path.html, of the sections that have something to show."""
    shown = [each for each in sections
             if each.sentences or each.table[1] or each.charts or each.parts]
    write_text(path.with_suffix(".md"), markdown_page(title, shown))
    write_text(path.with_suffix(".html"), html_page(title, shown))


def write_report(folder, results):
    """report.md and report.html."""
    first, *others = headline(results)
    best_first = sorted(results["runs"], key=mean_score, reverse=True)
    legend = ("Dots: the mean. Ticks: the seeds. Lines, of three seeds or more: the paired 95 % "
              "interval.")
    sections = [Section("", others)]
    scores = scores_table(results | {"runs": best_first})
    sections.append(Section("Scores", [note(results), legend], scores))
    sections.append(Section("", setup(results)))
    sections += learning_sections(results)
    sections.append(Section("The names", table=glossary(results["runs"])))
    best = f"{run_name(*results['answers']['of'])}, seed {results['seeds'][0]}"
    folded = {f"Answers of {best}": confusion_table(results),
              f"Answers changed by {best}": changed_table(results),
              "Seeds, teachers and cost": details_table(results),
              "Recipe": recipe_table(results)}
    for name, table in folded.items():
        sections.append(Section(name, table=table, folded=True))
    write_page(folder / "report", f"{results['target']}: {first}", sections)


def trained(results):
    """The folders of everything that was trained."""
    return set(flat(run["folders"] for run in results["runs"]))


def keep_larger(path, results):
    """Rename a results.json that has runs which the new results lack, and print its new name."""
    old = read_results(path) if path.exists() else None
    if old is None:
        return
    with unaltered(path):
        lost = trained(old) - trained(results)
    if lost:
        others = len(list(path.parent.glob("results-*.json")))
        kept = path.with_name(f"results-{others + 1}.json")
        path.rename(kept)
        print(f"{path} had runs that this one lacks; it is kept as {kept.name}", flush=True)


def write(out, results):
    """Write results.json, report.md and report.html of a target; return their folder.

    Each pair of source and target has a results.json of its own. With one source that is the
    target's as well, which stands in it under "report".
    """
    folder = report_folder(out, results)
    contents = {folder: results}
    for source in results["similarity"]:
        pair_folder = Path(out) / f"{source}-to-{results['target']}"
        contents[pair_folder] = pair_results(results, source)
        if pair_folder == folder:
            contents[folder]["report"] = results
    for where, content in contents.items():
        keep_larger(where / "results.json", results)
        write_json(where / "results.json", content)
    write_report(folder, results)
    return folder


def ending(out, folder, results):
    """Lines for the end of a command: the table, the headline, and what to do next."""
    prompts = [run for run in results["runs"] if run["approach"] != "finetune"]
    best = max(prompts, key=mean_score)
    of_best_seed = best["scores"].index(max(best["scores"]))
    path = Path(out) / best["folders"][of_best_seed]
    lines = ["", *table(results), "", *headline(results), ""]
    lines.append(f"The best prompt, as the PEFT library reads it: {path}")
    text = re.sub("{[^{}]+}", "…", results["input"]) or "…"
    lines.append(f'    python predict.py answer {path} --text "{text}"')
    lines.append(f'    PeftModel.from_pretrained(t5, "{path}")')
    lines.append(f"{results['seconds']:.0f} seconds; with pictures: {folder / 'report.html'}")
    return lines


# ------------------------------------------------------------------- reading results again


@contextlib.contextmanager
def unaltered(path):
    """Turn an error of results that lack something into a ValueError of one line."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, statistics.StatisticsError) as error:
        raise ValueError(f"{path}: altered, or of another version ({error!r}); delete it, and run "
                         "train.py again to write it") from None


def read_results(path):
    """The results in a results.json; None in a pair's file whose target has its own."""
    content = read_json(path)
    if "source" in content:
        return content.get("report")
    return content


def read_run(folder):
    """{results.json: its results}, of a run's --out folder, those with most trainings last."""
    reports = {path: read_results(path) for path in sorted(Path(folder).glob("*/results.json"))}
    reports = {path: results for path, results in reports.items() if results is not None}
    if not reports:
        raise ValueError(f"{folder} holds no */results.json of a target: wanted the --out folder "
                         "of a run of train.py")
    return reports


def by_target(reports):
    """{target: results}; of two reports of one target the one with more runs."""
    smallest_first = sorted(reports.values(), key=lambda results: len(results["runs"]))
    return {results["target"]: results for results in smallest_first}


# ------------------------------------------------------------------- several pairs


def gains_by_pair(all_results):
    """{approach: {(source, target): gains by seed}}, of the approaches with one source."""
    gains = {}
    for results in all_results:
        for run in results["runs"]:
            if run["source"] in results["similarity"]:
                pairs = gains.setdefault(run["approach"], {})
                pairs[run["source"], results["target"]] = gains_of(run, results)
    return gains


def gain_matrix(pairs, sources, targets, largest):
    """A table of coloured cells: a row for each source, a column for each target, a row of means.

    largest: the gain that has the full colour.
    """
    rows = []
    for source in sources:
        row = [source]
        for target in targets:
            gains = pairs.get((source, target))
            row.append(heat(statistics.mean(gains), largest, star(gains)) if gains else "–")
        rows.append(row)
    last = ["mean"]
    for target in targets:
        column = flat(gains for (_, other), gains in pairs.items() if other == target)
        last.append(heat(statistics.mean(column), largest) if column else "–")
    return ["from … to", *targets], [*rows, last]


def heat(mean, largest, sign=""):
    return Heat(number(mean, "+") + sign, mean / largest)


def ranking_table(all_results, pairs):
    """How each measure ranks a target's sources: Spearman's correlation with their gains.

    pairs: {(source, target): gains} of pot. Only of targets with three sources or more.
    """
    targets = []
    ranked = {}  # measure -> for each target (similarities, gains), both by source
    for results in all_results:
        gains = {source: statistics.mean(of_pair) for (source, target), of_pair in pairs.items()
                 if target == results["target"]}
        if len(gains) < 3:
            continue
        targets.append(results["target"])
        for measure in results["similarity"][min(gains)][0]:
            similarities = [similarity_of(results, source, measure) for source in gains]
            ranked.setdefault(measure, []).append((similarities, list(gains.values())))
    rows = []
    for measure, of_targets in ranked.items():
        correlations = [spearman(*both) for both in of_targets]
        cells = [number(rho, "+", 2) for rho in [*correlations, statistics.mean(correlations)]]
        rows.append([measure, *cells, f"{mean_permutation_p(of_targets):.3f}"])
    return ["measure", *targets, "mean", "p, by permutation"], rows


def grid_sentence(approach, pairs):
    """What an approach gains over all pairs."""
    mean = number(statistics.mean(map(statistics.mean, pairs.values())), "+")
    stars = sum(map(significant, pairs.values()))
    return (f"{approach}: a gain of {mean} over plain prompt tuning (mean of {len(pairs)} pairs); "
            f"significant in {stars} of them, where chance alone gives {0.05 * len(pairs):.1f}.")


def write_grid(out, all_results):
    """Write grid.md and grid.html; return the page's path, None of fewer than two pairs.

    all_results: a list, one for each target.
    """
    gains = gains_by_pair(all_results)
    if len(gains.get("pot", ())) < 2:
        return None
    means = [statistics.mean(of_pair) for of_pair in flat(map(dict.values, gains.values()))]
    largest = max(2.0, *map(abs, means))  # differences of less than a point stay pale
    scale = [heat(gain, largest) for gain in numpy.linspace(min(means), max(means), 5)]
    of_pot = gains["pot"]
    best_first = sorted(of_pot, key=lambda pair: statistics.mean(of_pot[pair]), reverse=True)
    sources = list(dict.fromkeys(source for source, _ in best_first))
    targets = [results["target"] for results in all_results]
    sentences = [grid_sentence(approach, pairs) for approach, pairs in gains.items()]
    sentences.append("Gain over plain prompt tuning, in points. *: significant, a paired t-test at "
                     "5 % of each pair by itself.")
    matrices = [Section(approach, table=gain_matrix(pairs, sources, targets, largest))
                for approach, pairs in gains.items()]
    bar = html_table(([""] * 6, [["colours", *scale]]), "Colours")
    sections = [Section("", sentences[1:]), Section("", charts=[bar])]
    sections.append(Section("", parts=matrices, width=72 * len(targets) + 100))
    links = [[results["target"], Link("report", f"{report_folder('', results)}/report.html")]
             for results in all_results]
    sections.append(Section("Reports", table=(["target", "report"], links)))
    sections.append(Section("How well a similarity ranks the sources: Spearman's correlation",
                            table=ranking_table(all_results, of_pot)))
    names = glossary(flat(results["runs"] for results in all_results))
    sections.append(Section("The names", table=names))
    write_page(Path(out) / "grid", sentences[0], sections)
    return Path(out) / "grid.html"


# ------------------------------------------------------------------- several runs


def scores_of(results, approach):
    """The scores of an approach that has no source. Raises ValueError if there are none."""
    known = {run["approach"]: run["scores"] for run in results["runs"] if not run["source"]}
    if approach not in known:
        raise ValueError(f"the run of {results['target']} has no {approach!r} without a source; it "
                         f"has {', '.join(known)}")
    return known[approach]


def runs_table(runs, approaches):
    """A row for each run and approach, a column for each target that all runs have.

    A star: significantly different from the first row, if that has the same seeds.
    """
    first = next(iter(runs.values()))
    targets = [target for target in first if all(target in run for run in runs.values())]
    if not targets:
        raise ValueError(f"{', '.join(runs)} have no target in common")
    rows = []
    for (name, run), approach in itertools.product(runs.items(), approaches):
        row = [name, approach]
        for target in targets:
            scores = scores_of(run[target], approach)
            base = scores_of(first[target], approaches[0])
            has_same_seeds = run[target]["seeds"] == first[target]["seeds"]
            sign = star(differences(scores, base)) if has_same_seeds else ""
            row.append(plus_minus(scores) + sign)
        rows.append(row)
    return ["run", "approach", *targets], rows


def recipe_differences(runs):
    """A row for each option that differs between the runs, a column for each run."""
    recipes = []
    for run in runs.values():
        results = next(iter(run.values()))
        conditions = {name: results[name] for name in ("model", "dtype", "seeds")}
        recipes.append(conditions | results["recipe"])
    rows = []
    for option in dict.fromkeys(flat(recipes)):
        values = [str(recipe.get(option, "–")) for recipe in recipes]
        if len(set(values)) > 1:
            rows.append([option, *values])
    return ["what differs between the recipes", *runs], rows


def compare(folders, approaches):
    """Print a table of several runs and write compared.html beside the first one's."""
    runs = {str(folder): by_target(read_run(folder)) for folder in folders}
    shown = runs_table(runs, approaches)
    recipes = recipe_differences(runs)
    legend = ("Mean ± standard deviation over the seeds. *: differs significantly from the first "
              "run and approach, a paired t-test at 5 % over the same seeds.")
    print(*markdown(shown), legend, "", *markdown(recipes), sep="\n")
    page = Path(folders[0]) / "compared.html"
    below = Section("Recipes", ["What all have in common is left out."], recipes)
    write_page(page, "Runs compared", [Section("Scores", [legend], shown), below])
    return page


def rewrite(folder):
    """Write a run's pages again, each beside its results.json."""
    reports = read_run(folder)
    for path, results in reports.items():
        with unaltered(path):
            write_report(path.parent, results)
    write_grid(folder, list(by_target(reports).values()))
    return folder


def main(argv=None):
    parser = options.Parser("python -m plumbing.report", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", metavar="RUN", help="--out of a run of train.py")
    parser.add_argument("--approach", help="compare these approaches, comma-separated")
    args = parser.parse_args(argv)
    folders = list(map(options.path_flag, args.folders))
    with unaltered(f"a results.json of {folders[0]} or another run"):
        if args.approach or len(folders) > 1:
            page = compare(folders, (args.approach or "prompt").split(","))
        else:
            page = rewrite(folders[0])
    print(f"written to {page}", file=sys.stderr)


if __name__ == "__main__":
    options.run(main, "report.py")

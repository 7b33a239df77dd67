"""What a run of train.py says: a headline, tables, results.json, report.md and report.html.

    python -m plumbing.report RUN                         write the pages of a run again
    python -m plumbing.report RUN RUN … [--approach …]    compare runs

Everything is made from one dict for each target, `results`, which JSON can hold:

    model, fingerprint, target, metric, seeds, labels, dtype, date, command
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

import argparse
import itertools
import statistics
import sys
from collections import Counter
from pathlib import Path

from plumbing.files import read_json, write_json, write_text
from plumbing.html_report import (Gain, Heat, Link, Section, approach_of, flat, html_page,
                                  learning_sections, markdown, markdown_page, seed_interval,
                                  shortened, widened)
from plumbing.stats import (differences, gain, mean_permutation_p, number, plus_minus, significant,
                            spearman, star)

KEYS = ["model", "target", "metric", "seeds", "majority", "promptless", "chosen_on_reported",
        "runs", "similarity", "recipe", "changed", "dtype", "date", "command", "seconds"]


def run_name(run):
    """How a page calls a run: "pot from toy-nli"."""
    source = shortened(run["source"])
    return f"{run['approach']} from {source}" if source else run["approach"]


def plain_scores(results):
    """The scores of plain prompt tuning; None if it was not run."""
    for run in results["runs"]:
        if run["approach"] == "prompt":
            return run["scores"]
    return None


def compared_runs(results):
    """(run, its gains over plain prompt tuning by seed), of all other runs."""
    base = plain_scores(results)
    if base is None:
        return []
    others = [run for run in results["runs"] if run["approach"] != "prompt"]
    return [(run, differences(run["scores"], base)) for run in others]


def similarity_of(results, source, measure=None):
    """Of one source with the target, the mean over the seeds; by default the recipe's measure."""
    measure = measure or results["recipe"].get("similarity", "panda")
    if measure == "none":
        return 1.0  # what weighs every source then
    return statistics.mean(seed[measure] for seed in results["similarity"][source])


# ------------------------------------------------------------------- a target's tables


def count(number_of, noun):
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def gain_axis(results):
    """(low, high) of all gains with their intervals, and 0."""
    values = [0.0]
    for _, gains in compared_runs(results):
        values += [*gains, *seed_interval(gains)]
    return widened(values)


def scores_table(results):
    """A row for each run: its score, gain, similarity and time."""
    rows = []
    base = plain_scores(results)
    for run in results["runs"]:
        gained = ""
        if base is not None and run["approach"] != "prompt":
            gained = Gain(gain(run["scores"], base), differences(run["scores"], base),
                          gain_axis(results), approach_of(run["approach"]).colour)
        similarity = ""
        if run["source"] in results["similarity"]:
            similarity = number(similarity_of(results, run["source"]), "+", 2)
        rows.append([run["approach"], run["source"], plus_minus(run["scores"]),
                     gained, similarity, f"{run['seconds']:.1f}"])
    return ["approach", "source", results["metric"], "gain over prompt", "similarity",
            "seconds"], rows


def metrics_table(results):
    """Every metric of a task that has several."""
    names = list(results["runs"][0]["metrics"][0])
    rows = []
    for run in results["runs"]:
        scores = [plus_minus([metrics[name] for metrics in run["metrics"]]) for name in names]
        rows.append([run["approach"], run["source"], *scores])
    return ["approach", "source", *names], rows if len(names) > 1 else []


def note(results):
    """What the table's signs mean."""
    n = len(results["seeds"])
    if n < 3:
        return f"{count(n, 'seed')}: too few for a test (n = {n})."
    return f"Mean ± standard deviation, n = {n} seeds. *: significant, a paired t-test at 5 %."


def table(results):
    """The table for a terminal, at most 100 columns wide: lines of Markdown, and a note."""
    header, rows = scores_table(results)
    rows = [[approach, shortened(source), *cells] for approach, source, *cells in rows]
    return [*markdown((header, rows)), note(results)]


def seeds_table(results):
    """A row for each run: each seed's score, which links to what was trained."""
    header = ["approach", "source"] + [f"seed {seed}" for seed in results["seeds"]]
    rows = []
    for run in results["runs"]:
        links = [Link(f"{score:.1f}", f"../{folder}/")
                 for score, folder in zip(run["scores"], run["folders"])]
        rows.append([run["approach"], run["source"], *links])
    return header, rows


def mean_or_dash(values, digits=2):
    """The mean of those that are no None, as text."""
    values = [value for value in values if value is not None]
    return number(statistics.mean(values), digits=digits) if values else "–"


def teachers_table(results):
    """What the teachers of the runs with distillation add; no row without one."""
    header = ["approach", "source", "teacher accuracy", "cosine of the gradients of CE and KD, "
              "first step", "later, mean", "CE, first", "last", "KD, first", "last"]
    rows = []
    for run in results["runs"]:
        if set(run["teacher_accuracy"]) == {None}:
            continue
        first = [terms[0] for terms in run["losses"]]
        last = [terms[-1] for terms in run["losses"]]
        later = flat(terms[1:] for terms in run["losses"])
        row = [run["approach"], run["source"], mean_or_dash(run["teacher_accuracy"])]
        for terms, column in ((first, 3), (later, 3), (first, 1), (last, 1), (first, 2), (last, 2)):
            row.append(mean_or_dash([term[column] for term in terms]))
        rows.append(row)
    return header, rows


def cost_table(results):
    """Of one training by itself: a teacher and a source's prompt come on top."""
    header = ["approach", "source", "seconds", "steps", "trained numbers",
              "their gradients and the optimiser, bytes"]
    rows = [[run["approach"], run["source"], f"{run['seconds']:.1f}", f"{run['steps']:,}",
             f"{run['trained']:,}", f"{run['training_bytes']:,}"] for run in results["runs"]]
    return header, rows


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
    rows = []
    for text, target, plain, best in results["answers"]["rows"]:
        if plain != best:
            rows.append([shortened(text, 200), target, plain, best])
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
    'pot from toy-nli, 85.1, 6.2 over plain prompt tuning (2 seeds; too few for a test).'
    """
    score = f"{statistics.mean(run['scores']):.1f}"
    mean = statistics.mean(gains)
    side = "over" if mean >= 0 else "below"
    relation = f"{abs(mean):.1f} {side}" if any(gains) else "the same as"
    verdict = "significant" if significant(gains) else "not significant"
    if len(gains) < 3:
        verdict = "too few for a test"
    return (f"{run_name(run)}, {score}, {relation} plain prompt tuning "
            f"({count(len(gains), 'seed')}; {verdict}).")


def headline_sentences(results):
    """The best run beside plain prompt tuning and model tuning; the best of PANDA if another."""
    compared = sorted(compared_runs(results), key=lambda pair: -statistics.mean(pair[1]))
    if not compared:
        seeds = count(len(results["seeds"]), "seed")
        return [f"{run_name(run)}: {plus_minus(run['scores'])}, {seeds}."
                for run in results["runs"]]
    tuned = [pair for pair in compared if pair[0]["approach"] != "finetune"] or compared
    panda = [pair for pair in tuned if pair[0]["approach"].startswith("panda")]
    sentences = [f"Best: {finding(*tuned[0])}"]
    if statistics.mean(tuned[0][1]) <= 0:
        base = statistics.mean(plain_scores(results))
        sentences = [f"Best: plain prompt tuning, {base:.1f}. Next: {finding(*tuned[0])}"]
    if panda and panda[0] is not tuned[0]:
        sentences.append(f"Best of PANDA: {finding(*panda[0])}")
    return sentences


def headline(results):
    """One or two plain sentences: what was found."""
    return " ".join(headline_sentences(results))


def setup(results):
    """The conditions, as sentences."""
    chosen = "The checkpoints were chosen on other dev examples than those reported here."
    if results["chosen_on_reported"]:
        chosen = ("The dev examples reported here also chose each run's checkpoint, which makes "
                  "all scores a little too high.")
    return [f"T5 {results['model']} ({results['dtype']}), {results['metric']} in percent. Majority "
            f"class {results['majority']:.1f}, T5 without a prompt {results['promptless']:.1f}. "
            f"{results['date']}, {results['seconds']:.0f} seconds.", chosen]


# ------------------------------------------------------------------- files


def report_folder(out, results):
    """Where a target's own files lie: with one source in that pair's folder."""
    target = results["target"]
    sources = list(results["similarity"])
    return Path(out) / (f"{sources[0]}-to-{target}" if len(sources) == 1 else target)


def pair_results(results, source):
    """What results.json of a pair holds: the runs of one source, and those without a source."""
    content = {name: results[name] for name in ("model", "target", "metric", "seeds")}
    seeds = results["similarity"][source]
    similarity = {name: statistics.mean(seed[name] for seed in seeds) for name in seeds[0]}
    content |= {"source": source, "similarity": similarity, "config": results["recipe"]}
    runs = [run for run in results["runs"] if run["source"] in ("", source)]
    for field in ("scores", "seconds", "steps"):
        content[field] = {run["approach"]: run[field] for run in runs}
    return content


def write_page(path, title, sections):
    """path.md and path.html."""
    write_text(path.with_suffix(".md"), markdown_page(title, sections))
    write_text(path.with_suffix(".html"), html_page(title, sections))


def write_report(folder, results):
    """report.md and report.html."""
    first, *others = headline_sentences(results)
    by_gain = sorted(results["runs"], key=lambda run: -statistics.mean(run["scores"]))
    caption = [note(results)]
    if len(results["seeds"]) > 2:
        caption.append("Dots: the mean. Ticks: the seeds. Lines: the paired 95 % interval.")
    sections = [
        Section("", others),
        Section("Scores", caption, scores_table(results | {"runs": by_gain})),
        Section("", setup(results)),
        *learning_sections(results),
        *answers_sections(results),
        Section("The names", table=glossary(results["runs"])),
        Section("All metrics", table=metrics_table(results), folded=True),
        Section("Scores of each seed", table=seeds_table(results), folded=True),
        Section("Teachers", table=teachers_table(results), folded=True),
        Section("Time and cost", table=cost_table(results), folded=True),
        Section("Recipe", [f"`{results['command']}`"], recipe_table(results), folded=True)]
    shown = [each for each in sections if each.sentences or each.table[1] or each.charts]
    write_page(folder / "report", f"{results['target']}: {first}", shown)


def answers_sections(results):
    """What the best run answers, of results that have it."""
    if "answers" not in results:
        return []
    approach, source = results["answers"]["of"]
    name = run_name({"approach": approach, "source": source})
    seed = results["seeds"][0]
    return [Section(f"Answers of {name}, seed {seed}", table=confusion_table(results), folded=True),
            Section(f"Answers that {name} changed, seed {seed}", table=changed_table(results),
                    folded=True)]


def run_keys(results):
    """(approach, source, seed) of everything that was trained."""
    names = [(run["approach"], run["source"]) for run in results["runs"]]
    return set(itertools.product(names, results["seeds"]))


def complete_results(path):
    """The checked results in a results.json; None in a pair's file whose target has its own."""
    content = read_json(path)
    if "source" in content and "report" not in content:
        return None
    content = content.get("report", content)
    check(content, path)
    return content


def keep_larger(path, results):
    """Rename a results.json that has runs which the new results lack, and print its new name."""
    old = complete_results(path) if path.exists() else None
    if old is None or run_keys(old) <= run_keys(results):
        return
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
    for source in results["similarity"]:
        pair_folder = Path(out) / f"{source}-to-{results['target']}"
        content = pair_results(results, source)
        if pair_folder == folder:
            content["report"] = results
        keep_larger(pair_folder / "results.json", results)
        write_json(pair_folder / "results.json", content)
    if len(results["similarity"]) != 1:
        keep_larger(folder / "results.json", results)
        write_json(folder / "results.json", results)
    write_report(folder, results)
    return folder


def ending(out, folder, results):
    """Lines for the end of a command: the table, the headline, and what to do next."""
    lines = ["", *table(results), "", headline(results), ""]
    prompts = [run for run in results["runs"] if run["approach"] != "finetune"]
    best = max(prompts, key=lambda run: statistics.mean(run["scores"]))
    of_best_seed = best["scores"].index(max(best["scores"]))
    path = Path(out) / best["folders"][of_best_seed]
    lines.append(f"The best prompt, as the PEFT library reads it: {path}")
    lines.append(f'    python predict.py answer {path} --text "…"')
    lines.append(f'    PeftModel.from_pretrained(t5, "{path}")')
    lines.append(f"{results['seconds']:.0f} seconds; with pictures: {folder / 'report.html'}")
    return lines


# ------------------------------------------------------------------- reading results again


def check(results, path):
    """Raise a ValueError of one line if results from a file lack something."""
    missing = [key for key in KEYS if key not in results]
    if missing:
        raise ValueError(f"{path}: altered, or of another version: no {', '.join(missing)}; run "
                         "train.py again to write it")


def read_run(folder):
    """{folder of a report: its results}, of a run's --out folder. Raises ValueError."""
    reports = {}
    for path in sorted(Path(folder).glob("*/results.json")):
        results = complete_results(path)
        if results is not None:
            reports[path.parent] = results
    if not reports:
        raise ValueError(f"{folder} holds no */results.json of a target: wanted the --out folder "
                         "of a run of train.py")
    return reports


def by_target(folder):
    """{target: results} of a run; of two reports of one target the one with more trainings."""
    reports = sorted(read_run(folder).values(), key=lambda results: len(run_keys(results)))
    return {results["target"]: results for results in reports}


# ------------------------------------------------------------------- several pairs


def gains_by_pair(all_results):
    """{approach: {(source, target): gains by seed}}, of the approaches with one source."""
    gains = {}
    for results in all_results:
        for run, of_run in compared_runs(results):
            if run["source"] in results["similarity"]:
                pair = run["source"], results["target"]
                gains.setdefault(run["approach"], {})[pair] = of_run
    return gains


def gain_matrix(pairs, sources, targets, largest):
    """A table of coloured cells: a row for each source, a column for each target, a row of means.

    largest: the gain that has the full colour.
    """
    means = {pair: statistics.mean(gains) for pair, gains in pairs.items()}
    rows = []
    for source in sources:
        row = [source]
        for pair in itertools.product([source], targets):
            if pair in pairs:
                text = number(means[pair], "+") + star(pairs[pair])
                row.append(Heat(text, means[pair] / largest))
            else:
                row.append("–")
        rows.append(row)
    last = ["mean"]
    for target in targets:
        column = [mean for (_, other), mean in means.items() if other == target]
        mean = statistics.mean(column or [0.0])
        last.append(Heat(number(mean, "+"), mean / largest) if column else "–")
    return ["from … to", *targets], [*rows, last]


def source_scores(results):
    """{source: mean score of pot}."""
    return {run["source"]: statistics.mean(run["scores"]) for run in results["runs"]
            if run["approach"] == "pot" and run["source"] in results["similarity"]}


def ranking_table(all_results):
    """How each measure ranks a target's sources: Spearman's correlation with the scores of pot.

    Only of targets with three sources or more.
    """
    ranked = [results for results in all_results if len(source_scores(results)) > 2]
    rows = []
    measures = next(iter(ranked[0]["similarity"].values()))[0] if ranked else []
    for measure in measures:
        pairs = []
        for results in ranked:
            scores = source_scores(results)
            similarities = [similarity_of(results, source, measure) for source in scores]
            pairs.append((similarities, list(scores.values())))
        correlations = [spearman(*pair) for pair in pairs]
        correlations.append(statistics.mean(correlations))
        cells = [number(rho, "+", 2) for rho in correlations]
        rows.append([measure, *cells, f"{mean_permutation_p(pairs):.3f}"])
    targets = [results["target"] for results in ranked]
    return ["measure", *targets, "mean", "p, by permutation"], rows


def grid_sentence(approach, pairs):
    """What an approach gains over all pairs."""
    mean = number(statistics.mean(map(statistics.mean, pairs.values())), "+")
    stars = sum(map(significant, pairs.values()))
    return (f"{approach}: a gain of {mean} over plain prompt tuning (mean of {len(pairs)} pairs); "
            f"{stars} are significant, where chance alone gives {0.05 * len(pairs):.1f}.")


def source_order(gains):
    """The sources, those with the largest mean gain over all targets and approaches first."""
    means = {}
    for (source, _), of_pair in flat(pairs.items() for pairs in gains.values()):
        means.setdefault(source, []).append(statistics.mean(of_pair))
    return sorted(means, key=lambda source: -statistics.mean(means[source]))


def write_grid(out, all_results):
    """Write grid.md and grid.html; return the page's path, None of fewer than two pairs.

    all_results: a list, one for each target.
    """
    gains = gains_by_pair(all_results)
    if max(map(len, gains.values()), default=0) < 2:
        return None
    means = [statistics.mean(of_pair) for pairs in gains.values() for of_pair in pairs.values()]
    largest = max(2.0, *map(abs, means))  # differences of less than a point stay pale
    targets = [results["target"] for results in all_results]
    first, *others = [grid_sentence(approach, pairs) for approach, pairs in gains.items()]
    matrices = [Section(approach, table=gain_matrix(pairs, source_order(gains), targets, largest))
                for approach, pairs in gains.items()]
    test = ("Gain over plain prompt tuning, in points. *: significant, a paired t-test at 5 % of "
            "each pair by itself.")
    links = [[results["target"], Link("report", f"{report_folder('', results)}/report.html")]
             for results in all_results]
    sections = [Section("", [*others, test]), *matrices,
                Section("Reports", table=(["target", "report"], links))]
    ranking = ranking_table(all_results)
    if ranking[1]:
        sections.append(Section("How well a similarity ranks the sources: Spearman's correlation",
                                table=ranking))
    names = glossary(flat(results["runs"] for results in all_results))
    write_page(Path(out) / "grid", first, [*sections, Section("The names", table=names)])
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
    for name, title in (("majority", "majority class"), ("promptless", "T5 without a prompt")):
        rows.append([title, "", *[number(first[target][name]) for target in targets]])
    for (name, run), approach in itertools.product(runs.items(), approaches):
        row = [name, approach]
        for target in targets:
            scores = scores_of(run[target], approach)
            text = plus_minus(scores)
            if run[target]["seeds"] == first[target]["seeds"]:
                text += star(differences(scores, scores_of(first[target], approaches[0])))
            row.append(text)
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
    rows = rows or [["nothing"] + [""] * len(runs)]
    return ["what differs between the recipes", *runs], rows


def compare(folders, approaches):
    """Print a table of several runs and write compared.html beside the first one's."""
    runs = {str(folder): by_target(folder) for folder in folders}
    shown = runs_table(runs, approaches)
    options = recipe_differences(runs)
    legend = ("Mean ± standard deviation over the seeds. *: differs significantly from the first "
              "run and approach, a paired t-test at 5 % over the same seeds.")
    print(*markdown(shown), legend, "", *markdown(options), sep="\n")
    page = Path(folders[0]) / "compared.html"
    write_page(page.with_suffix(""), "Runs compared", [
        Section("Scores", [legend], shown), Section("Recipes", table=options)])
    return page


def rewrite(folder):
    """Write a run's pages again, each beside its results.json."""
    reports = read_run(folder)
    for report, results in reports.items():
        try:
            write_report(report, results)
        except (LookupError, TypeError) as error:
            raise ValueError(f"{report / 'results.json'} was altered ({error!r}); run train.py "
                             "again to write it") from None
    write_grid(folder, list(by_target(folder).values()))


def main():
    parser = argparse.ArgumentParser(prog="python -m plumbing.report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="RUN", help="--out of a run of train.py")
    parser.add_argument("--approach", help="compare these approaches, comma-separated")
    args = parser.parse_args()
    folders = [Path(folder).expanduser() for folder in args.folders]
    page = folders[0]
    if args.approach or len(folders) > 1:
        page = compare(folders, (args.approach or "prompt").split(","))
    else:
        rewrite(page)
    print(f"written to {page}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"report.py: {error}", file=sys.stderr)
        sys.exit(2)

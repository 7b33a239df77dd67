"""What a run of train.py leaves for people: a headline, tables, report.md, report.html, results.json.

    python -m plumbing.report RUN                         write the pages of a run again
    python -m plumbing.report RUN RUN … [--columns …]     compare runs

Everything is made from one dict for each target, `results`, which JSON can hold:

    model, fingerprint, target, metric, seeds, labels, dtype, date, command
    majority, promptless    scores of the majority class and of T5 without a prompt
    chosen_on_reported      whether the reported dev examples also chose the checkpoints
    runs                    approach, source ("": none) and lists with an entry for each seed: scores,
                            metrics, curves [[step, score], …], losses [[step, CE, KD, cosine of
                            their gradients], …], teacher_accuracy, folders; and seconds, steps,
                            trained (numbers), training_bytes
    similarity              source -> {measure: value} for each seed
    epoch                   steps of the first epoch
    recipe, changed         all options, and those that differ from their defaults

A table is (header, rows); its cells are text, Links or Heats of html_report.py.
"""

import argparse
import itertools
import math
import re
import statistics
import sys
from pathlib import Path

from plumbing import html_report
from plumbing.files import read_json, write_json, write_text
from plumbing.html_report import Link, compared_runs, heat, plain_scores, run_name, similarity_of
from plumbing.stats import (differences, gain, mean_permutation_p, number, plus_minus, significant,
                            spearman, star)

PER_SEED = ["scores", "curves", "losses", "teacher_accuracy", "folders"]
WIDTH = 26  # of a source on a terminal, so that a table fits into 100 columns


def markdown(table):
    """Lines of Markdown, aligned for a terminal.

    >>> print(*markdown((["a", "b"], [["long", "1"]])), sep="\\n")
    | a    | b |
    |------|---|
    | long | 1 |
    """
    header, rows = table
    lines = [header] + [[cell_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = []
    for cells in lines:
        padded = [f" {cell:{width}} " for cell, width in zip(cells, widths)]
        text.append(f"|{'|'.join(padded)}|")
    rule = ["-" * (width + 2) for width in widths]
    text.insert(1, f"|{'|'.join(rule)}|")
    return text


def cell_text(cell):
    if isinstance(cell, Link):
        return f"[{cell.text}]({cell.href})"
    return cell if isinstance(cell, str) else cell.text


def shortened(name, width=WIDTH):
    """A long name without its middle, as names differ at their ends.

    >>> shortened("toy-nli"), shortened("toy-nli,toy-rte,toy-boolq", 12)
    ('toy-nli', 'toy-n…-boolq')
    """
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[half - width + 1:]}"


# ------------------------------------------------------------------- a target's tables


def count(number_of, noun):
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def scores_table(results):
    """A row for each run: its score, gain, similarity and time."""
    header = ["approach", "source", results["metric"], "gain over prompt", "similarity", "seconds"]
    base = plain_scores(results)
    rows = []
    for run in results["runs"]:
        gained = ""
        if base is not None and run["approach"] != "prompt":
            gained = gain(run["scores"], base)
        similarity = ""
        if run["source"] in results["similarity"]:
            similarity = number(similarity_of(results, run["source"]), "+", 2)
        rows.append([run["approach"], run["source"], plus_minus(run["scores"]), gained, similarity,
                     f"{run['seconds']:.1f}"])
    return header, rows


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
    header = ["approach", "source", *(f"seed {seed}" for seed in results["seeds"])]
    rows = []
    for run in results["runs"]:
        links = [Link(f"{score:.1f}", f"../{folder}/")
                 for score, folder in zip(run["scores"], run["folders"])]
        rows.append([run["approach"], run["source"], *links])
    return header, rows


def mean_or_dash(values, sign="", digits=2):
    """The mean of those that are no None, as text."""
    values = [value for value in values if value is not None]
    return number(statistics.mean(values), sign, digits) if values else "–"


def teachers_table(results):
    """What the teachers of the runs with distillation add; no row without one."""
    header = ["approach", "source", "teacher accuracy", "cosine of the gradients of CE and KD, "
              "first step", "later, mean", "CE, first → last", "KD, first → last"]
    rows = []
    for run in results["runs"]:
        if all(accuracy is None for accuracy in run["teacher_accuracy"]):
            continue
        first = [terms[0] for terms in run["losses"]]
        last = [terms[-1] for terms in run["losses"]]
        later = itertools.chain.from_iterable(terms[1:] for terms in run["losses"])
        row = [run["approach"], run["source"], mean_or_dash(run["teacher_accuracy"], digits=1),
               mean_or_dash([term[3] for term in first], "+"),
               mean_or_dash([term[3] for term in later], "+")]
        for column in (1, 2):
            begun = mean_or_dash([term[column] for term in first], digits=3)
            ended = mean_or_dash([term[column] for term in last], digits=3)
            row.append(f"{begun} → {ended}")
        rows.append(row)
    return header, rows


def cost_table(results):
    """Of one training by itself: a teacher and a source's prompt come on top."""
    header = ["approach", "source", "seconds", "steps", "trained numbers",
              "their gradients and the optimiser, bytes"]
    rows = [[run["approach"], run["source"], f"{run['seconds']:.1f}", f"{run['steps']:,}",
             f"{run['trained']:,}", f"{run['training_bytes']:,}"] for run in results["runs"]]
    return header, rows


def all_tables(results):
    """name -> table, in the order of report.md and report.html."""
    tables = {"scores": scores_table(results), "each seed's score, with its prompt's folder":
              seeds_table(results), "teachers": teachers_table(results),
              "time and cost": cost_table(results)}
    return {name: table for name, table in tables.items() if table[1]}


# ------------------------------------------------------------------- sentences


def finding(results, run, gains):
    """One run's score and gain in words: "85.1, 6.2 over plain prompt tuning (3 seeds; …)"."""
    score = f"{statistics.mean(run['scores']):.1f}"
    seeds = count(len(gains), "seed")
    if not any(gains):
        return f"{score}, the same as plain prompt tuning ({seeds})."
    mean = statistics.mean(gains)
    if len(gains) < 3:
        verdict = "too few for a test"
    else:
        verdict = "significant" if significant(gains) else "not significant"
    side = "over" if mean >= 0 else "below"
    return f"{score}, {abs(mean):.1f} {side} plain prompt tuning ({seeds}; {verdict})."


def headline_sentences(results):
    """The best run of all beside plain prompt tuning, then the best of PANDA if it is another."""
    compared = compared_runs(results)
    if not compared:
        best = max(results["runs"], key=lambda run: statistics.mean(run["scores"]))
        return [f"{run_name(best)}: {plus_minus(best['scores'])} "
                f"({count(len(best['scores']), 'seed')})."]
    tuned = [pair for pair in compared if pair[0]["approach"] != "finetune"]

    def best_of(pairs):
        return max(pairs, key=lambda pair: statistics.mean(pair[1]))

    run, gains = best_of(tuned or compared)
    sentences = [f"Best: {run_name(run)}, {finding(results, run, gains)}"]
    if statistics.mean(gains) <= 0:
        base = statistics.mean(plain_scores(results))
        sentences = [f"Best: plain prompt tuning, {base:.1f}. Next: {run_name(run)}, "
                     + finding(results, run, gains)]
    panda = [pair for pair in tuned if pair[0]["approach"].startswith("panda")]
    if panda and not run["approach"].startswith("panda"):
        run, gains = best_of(panda)
        sentences.append(f"Best of PANDA: {run_name(run)}, {finding(results, run, gains)}")
    return sentences


def headline(results):
    """One or two plain sentences: what was found."""
    return " ".join(headline_sentences(results))


def setup(results):
    """The conditions, as sentences."""
    if results["chosen_on_reported"]:
        chosen = ("The dev examples reported here also chose each run's checkpoint, which makes "
                  "all scores a little too high.")
    else:
        chosen = "The checkpoints were chosen on other dev examples than those reported here."
    return [f"T5 {results['model']} ({results['dtype']}), {results['metric']} in percent. Majority "
            f"class {results['majority']:.1f}, T5 without a prompt {results['promptless']:.1f}. "
            f"{results['date']}, {results['seconds']:.0f} seconds.", note(results), chosen]


# ------------------------------------------------------------------- files


def report_folder(out, results):
    """Where a target's own files lie: with one source in that pair's folder."""
    target = results["target"]
    sources = list(results["similarity"])
    return Path(out) / (f"{sources[0]}-to-{target}" if len(sources) == 1 else target)


def pair_results(results, source):
    """What results.json of a pair holds: the runs of one source, and those without a source."""
    runs = [run for run in results["runs"] if run["source"] in ("", source)]
    seeds = results["similarity"][source]
    similarity = {name: statistics.mean(seed[name] for seed in seeds) for name in seeds[0]}
    return {"model": results["model"], "source": source, "target": results["target"],
            "metric": results["metric"], "seeds": results["seeds"],
            "scores": {run["approach"]: run["scores"] for run in runs},
            "similarity": similarity,
            "seconds": {run["approach"]: run["seconds"] for run in runs},
            "steps": {run["approach"]: run["steps"] for run in runs},
            "config": results["recipe"]}


def write_pages(folder, results):
    """report.md and report.html."""
    sentences = headline_sentences(results)
    tables = all_tables(results)
    lines = [f"# {results['target']}", "", *sentences, ""]
    for sentence in setup(results):
        lines += [sentence, ""]
    for name, each in tables.items():
        lines += [f"## {name.capitalize()}", "", *markdown(each), ""]
    recipe = [f"{name} {value}" for name, value in results["recipe"].items()]
    changed = [f"{name} {value}" for name, value in results["changed"].items()]
    lines += ["## Recipe", "", f"Not the default: {', '.join(changed) or 'nothing'}.", "",
              f"All: {', '.join(recipe)}.", "", "```sh", results["command"], "```"]
    write_text(folder / "report.md", "\n".join(lines) + "\n")
    page = html_report.report_page(results, sentences, setup(results), tables)
    write_text(folder / "report.html", page)


def run_keys(results):
    """(approach, source, seed) of everything that was trained."""
    names = [(run["approach"], run["source"]) for run in results["runs"]]
    return set(itertools.product(names, results["seeds"]))


def complete_results(path):
    """The checked results in a results.json; None in a pair's file whose target has its own."""
    content = read_json(path)
    if "runs" not in content and "source" in content:
        if "report" not in content:
            return None
        content = content["report"]
    check(path, content)
    return content


def keep_larger(path, results):
    """Rename a results.json that has runs which the new results lack, and print its new name."""
    if not path.exists():
        return
    old = complete_results(path)
    if old is None or run_keys(old) <= run_keys(results):
        return
    for suffix in itertools.chain([""], map("-{}".format, itertools.count(2))):
        kept = path.with_name(f"results-{old['date']}{suffix}.json")
        if not kept.exists():
            break
    path.rename(kept)
    lacking = len(run_keys(old) - run_keys(results))
    print(f"{path}: the old file has {count(lacking, 'training')} that this run lacks; it is kept "
          f"as {kept.name}", flush=True)


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
    write_pages(folder, results)
    return folder


# ------------------------------------------------------------------- reading results again

NUMBER = int | float
MAYBE = NUMBER | None
RUN = {"approach": str, "source": str, "scores": [NUMBER], "curves": [[(NUMBER, NUMBER)]],
       "losses": [[(NUMBER, NUMBER, MAYBE, MAYBE)]], "teacher_accuracy": [MAYBE], "folders": [str],
       "seconds": NUMBER, "steps": int, "trained": int, "training_bytes": int}
RESULTS = {"model": str, "target": str, "metric": str, "seeds": [int], "majority": NUMBER,
           "promptless": NUMBER, "chosen_on_reported": bool, "runs": [RUN],
           "similarity": {str: [{str: NUMBER}]}, "epoch": NUMBER, "recipe": {str: object},
           "changed": {str: object}, "dtype": str, "date": str, "command": str, "seconds": NUMBER}
WORDS = {str: "a text", int: "an integer", bool: "true or false", NUMBER: "a number",
         MAYBE: "a number or null"}


def check_shape(value, shape, name):
    """Raise ValueError if a value of JSON has another shape.

    A shape is a type, [the shape of all entries], (the shape of each entry, …), {key: shape} or,
    for any keys, {str: shape}. NaN and infinity are no numbers.
    """

    def require(fits, wanted):
        if not fits:
            raise ValueError(f"{name} is {str(value):.60}, wanted {wanted}: altered, or of another "
                             "version; run train.py again to write it")

    if isinstance(shape, list):
        require(isinstance(value, list), "a list")
        for index, entry in enumerate(value):
            check_shape(entry, shape[0], f"{name}[{index}]")
    elif isinstance(shape, tuple):
        require(isinstance(value, list) and len(value) == len(shape), f"{len(shape)} numbers")
        for entry, each in zip(value, shape):
            check_shape(entry, each, name)
    elif isinstance(shape, dict):
        require(isinstance(value, dict), "an object")
        for key in value if str in shape else shape:
            check_shape(value.get(key), shape.get(key, shape.get(str)), f"{name}.{key}")
    else:
        finite = not isinstance(value, float) or math.isfinite(value)
        require(isinstance(value, shape) and finite, WORDS.get(shape, "another value"))


def check(results, path):
    """Raise ValueError of one line if results from a file are not as this file describes them."""
    check_shape(results, RESULTS, f"{path}: results")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", results["date"]):
        raise ValueError(f"{path}: date is {results['date']!r}, wanted one like 2026-11-29")
    n = len(results["seeds"])
    lists = [each[field] for each in results["runs"] for field in PER_SEED]
    if not n or not lists or any(len(each) != n for each in [*lists, *results["similarity"].values()]):
        raise ValueError(f"{path}: not every list has an entry for each of {n} seeds; run train.py "
                         "again to write it")


def read_run(folder):
    """{folder of a report: its results}, of a run's --out folder. Raises ValueError."""
    reports = {}
    for path in sorted(Path(folder).glob("*/results.json")):
        results = complete_results(path)
        if results is not None:
            reports[path.parent] = results
    if not reports:
        raise ValueError(f"{folder} holds no */results.json of a target: wanted the --out folder of "
                         "a run of train.py")
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


def mean_gain(pairs):
    """Over all pairs and seeds, of {(source, target): gains}."""
    return statistics.mean(map(statistics.mean, pairs.values()))


def gain_matrix(approach, pairs, sources, targets, width):
    """A table of coloured cells: a row for each source, a column for each target, a row of means.

    width: of a bin of colour.
    """
    rows = []
    for source in sources:
        row = [source]
        for target in targets:
            gains = pairs.get((source, target))
            if gains is None:
                row.append("=" if source == target else "–")
            else:
                mean = statistics.mean(gains)
                row.append(heat(mean, width, number(mean, "+") + star(gains)))
        rows.append(row)
    means = ["mean"]
    for target in targets:
        column = [statistics.mean(gains) for pair, gains in pairs.items() if pair[1] == target]
        if column:
            mean = statistics.mean(column)
            means.append(heat(mean, width, number(mean, "+")))
        else:
            means.append("–")
    return [f"{approach} from … to", *targets], [*rows, means]


def early_score(curve, epoch):
    """A seed's dev score after the first epoch; the first one of a run that ends before that."""
    later = [score for step, score in curve if step >= epoch]
    return later[0] if later else curve[0][1]


def source_scores(results, early):
    """{source: mean score of pot}, at the end or after the first epoch."""
    scores = {}
    for run in results["runs"]:
        if run["approach"] == "pot" and run["source"] in results["similarity"]:
            of_seeds = run["scores"]
            if early:
                of_seeds = [early_score(curve, results["epoch"]) for curve in run["curves"]]
            scores[run["source"]] = statistics.mean(of_seeds)
    return scores


def ranking_table(all_results):
    """How each measure ranks a target's sources: Spearman's correlation with the scores of pot.

    Only of targets with three sources or more.
    """
    ranked = [results for results in all_results if len(source_scores(results, False)) > 2]
    targets = [results["target"] for results in ranked]
    header = ["measure", "pot's scores", *targets, "mean", "p, by permutation"]
    rows = []
    measures = next(iter(ranked[0]["similarity"].values()))[0] if ranked else []
    for measure, early in itertools.product(measures, (True, False)):
        pairs = []
        for results in ranked:
            scores = source_scores(results, early)
            similarities = [similarity_of(results, source, measure) for source in scores]
            pairs.append((similarities, list(scores.values())))
        correlations = [spearman(*pair) for pair in pairs]
        texts = [number(rho, "+", 2) for rho in [*correlations, statistics.mean(correlations)]]
        when = "after the first epoch" if early else "at the end"
        rows.append([measure, when, *texts, f"{mean_permutation_p(pairs):.3f}"])
    return header, rows


def best_sources_table(all_results, gains):
    """A row for each target: its most similar source, each approach's best, and its report."""
    header = ["target", "most similar", *(f"best for {approach}" for approach in gains), "report"]
    rows = []
    for results in all_results:
        target = results["target"]
        nearest = max(results["similarity"], default="–",
                      key=lambda source: similarity_of(results, source))
        row = [target, nearest]
        for pairs in gains.values():
            means = {source: statistics.mean(each) for (source, name), each in pairs.items()
                     if name == target}
            best = max(means, key=means.get, default=None)
            row.append(f"{best} {number(means[best], '+')}" if means else "–")
        folder = report_folder("", results)
        rows.append([*row, Link("report", f"{folder}/report.html")])
    return header, rows


def grid_sentence(approach, pairs):
    """What an approach gains over all pairs."""
    mean = mean_gain(pairs)
    stars = [statistics.mean(gains) for gains in pairs.values() if significant(gains)]
    ahead = sum(gain > 0 for gain in stars)
    side = "over" if mean >= 0 else "below"
    return (f"{approach}: {abs(mean):.1f} {side} plain prompt tuning on average over "
            f"{count(len(pairs), 'pair')}; significantly ahead in {ahead}, behind in "
            f"{len(stars) - ahead}, where chance alone gives about {0.05 * len(pairs):.1f}.")


def source_order(gains):
    """The sources, those with the largest mean gain over all targets and approaches first."""
    means = {}
    for pairs in gains.values():
        for (source, _), of_pair in pairs.items():
            means.setdefault(source, []).append(statistics.mean(of_pair))
    return sorted(means, key=lambda source: -statistics.mean(means[source]))


def grid_results(results):
    """What grid.json has of a target."""
    scores = {}
    for run in results["runs"]:
        scores.setdefault(run["approach"], {})[run["source"]] = run["scores"]
    kept = ("metric", "seeds", "majority", "promptless", "similarity")
    return {name: results[name] for name in kept} | {"scores": scores}


def write_grid(out, all_results):
    """Write grid.json, grid.md and grid.html; return the page's path, None of fewer than two pairs.

    all_results: a list, one for each target.
    """
    out = Path(out)
    gains = gains_by_pair(all_results)
    sources = source_order(gains)
    targets = [results["target"] for results in all_results]
    if max(map(len, gains.values()), default=0) < 2:
        return None
    means = [mean_gain({pair: each}) for pairs in gains.values() for pair, each in pairs.items()]
    width = html_report.bin_width(means)
    matrices = [gain_matrix(approach, pairs, sources, targets, width)
                for approach, pairs in gains.items()]
    tables = {"The best source of each target": best_sources_table(all_results, gains)}
    ranking = ranking_table(all_results)
    if ranking[1]:
        tables["How well a similarity ranks the sources: Spearman's correlation"] = ranking
    sentences = [grid_sentence(approach, pairs) for approach, pairs in gains.items()]
    lines = ["# Sources and targets", "", *sentences, "",
             "Gain over plain prompt tuning, mean over the seeds. *: significant, a paired t-test "
             "at 5 % of each pair by itself.", ""]
    for matrix in matrices:
        lines += [*markdown(matrix), ""]
    for name, each in tables.items():
        lines += [f"## {name}", "", *markdown(each), ""]
    write_json(out / "grid.json", {results["target"]: grid_results(results)
                                   for results in all_results})
    write_text(out / "grid.md", "\n".join(lines))
    page = html_report.grid_page(sentences, matrices, width, all_results, tables)
    write_text(out / "grid.html", page)
    return out / "grid.html"


# ------------------------------------------------------------------- several runs


def scores_of(results, approach):
    """The scores of an approach without a source; None if the run has none."""
    for run in results["runs"]:
        if run["approach"] == approach and not run["source"]:
            return run["scores"]
    return None


def compared_cell(results, approach, first, first_approach):
    """Scores as text, with a star if they differ significantly from the first ones."""
    scores = scores_of(results, approach)
    base = scores_of(first, first_approach)
    if scores is None:
        return "–"
    if base is None or results["seeds"] != first["seeds"]:
        return plus_minus(scores)
    return plus_minus(scores) + star(differences(scores, base))


def runs_table(runs):
    """Plain prompt tuning: a row for each run, a column for each target that all runs have."""
    first = next(iter(runs.values()))
    targets = [target for target in first if all(target in run for run in runs.values())]
    if not targets:
        raise ValueError(f"{', '.join(runs)} have no target in common")
    rows = []
    for name, run in runs.items():
        cells = [compared_cell(run[target], "prompt", first[target], "prompt") for target in targets]
        rows.append([name, *cells])
    return ["run", *targets], rows


def columns_table(runs, approaches):
    """A row for each target of each run, a column for each approach."""
    rows = []
    for name, run in runs.items():
        for target, results in run.items():
            for approach in approaches:
                if scores_of(results, approach) is None:
                    known = [run["approach"] for run in results["runs"] if not run["source"]]
                    raise ValueError(f"--columns {approach}: {name} has no such approach on "
                                     f"{target}; without a source it has {', '.join(known)}")
            cells = [compared_cell(results, approach, results, approaches[0])
                     for approach in approaches]
            rows.append([name, target, f"{results['majority']:.1f}",
                         f"{results['promptless']:.1f}", *cells])
    return ["run", "target", "majority class", "no prompt", *approaches], rows


def recipe_differences(runs):
    """A row for each option that differs between the runs, a column for each run."""
    recipes = []
    for run in runs.values():
        results = next(iter(run.values()))
        kept = ("model", "dtype", "metric", "seeds")
        recipes.append({name: results[name] for name in kept} | results["recipe"])
    rows = []
    for option in dict.fromkeys(itertools.chain.from_iterable(recipes)):
        values = [str(recipe.get(option, "–")) for recipe in recipes]
        if len(set(values)) > 1:
            rows.append([option, *values])
    return ["option", *runs], rows


def compare(folders, approaches=()):
    """Print a table of several runs and write compared.html into the first one's folder."""
    runs = {str(folder): by_target(folder) for folder in folders}
    shown = columns_table(runs, approaches) if approaches else runs_table(runs)
    options = recipe_differences(runs)
    first = f"the first {'column' if approaches else 'row'}"
    legend = (f"Mean ± standard deviation over the seeds. *: differs significantly from {first}, "
              "a paired t-test at 5 % where the seeds are the same.")
    body = [html_report.paragraph(legend), html_report.html_table(shown, "scores"),
            html_report.tag("h2", "What differs between the recipes")]
    if options[1]:
        body.append(html_report.html_table(options, "options"))
    else:
        body.append(html_report.paragraph("Nothing."))
    page = Path(folders[0]) / "compared.html"
    write_text(page, html_report.whole_page("Runs compared", body))
    print(*markdown(shown), legend, sep="\n")
    if options[1]:
        print("", *markdown(options), sep="\n")
    return page


def rewrite(folder):
    """Write a run's pages again, each beside its results.json."""
    reports = read_run(folder)
    for report, results in reports.items():
        write_pages(report, results)
    write_grid(folder, list(by_target(folder).values()))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m plumbing.report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="RUN", help="--out of a run of train.py")
    parser.add_argument("--columns", default="", help="approaches without a source, comma-separated")
    args = parser.parse_args(argv)
    if args.columns or len(args.folders) > 1:
        approaches = [name for name in args.columns.split(",") if name]
        page = compare(args.folders, approaches)
    else:
        page = args.folders[0]
        rewrite(page)
    print(f"written to {page}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"report.py: {error}", file=sys.stderr)
        sys.exit(2)

"""What a run says: a line for each evaluation, a table and a sentence at the end, results.json.

The report of a target is made from one dict, `whole`, that JSON can hold: scores, curves and
seconds by approach ("pot toy-nli": the approach and its source), the similarities by source.
results.json of a pair is the part of it that has to do with one source.

    python -m plumbing.report runs                   writes the pages of a run again
    python -m plumbing.report runs/a runs/b          several runs beside each other
"""

import dataclasses
import itertools
import math
import shlex
import statistics
import sys
import time
from pathlib import Path

from plumbing import command, flags, pages
from plumbing.cores import CORES
from plumbing.files import write_json, write_text
from plumbing.grid import head, row
from plumbing.intact import read_json
from plumbing.states import key_of, norm_of
from plumbing.stats import beyond_chance, gain, plus_minus


def device(shop, where, recipe):
    """What runs where, and by which recipe."""
    print(f"device {where}, {shop.dtype}, {CORES} threads; T5 {shop.name}, "
          f"{sum(p.numel() for p in shop.t5.parameters()):,} weights, {shop.fingerprint}\n{recipe}",
          flush=True)


def opening(task, promptless):
    """What a target is, before anything is trained on it."""
    same = ", the same" if task.report == task.choose else ""
    few = f"{task.labelled} of them labelled (others for each seed), " if task.labelled else ""
    free = f"{len(task.rest(0))} inputs without labels, " if task.unlabelled else ""
    print(f"target {task.name}: {len(task.train)} training examples, {few}{free}"
          f"{len(task.choose)} dev examples to choose by, {len(task.report)} to report{same}; "
          f"majority class {task.majority:.1f}, T5 without a prompt {promptless:.1f}", flush=True)


def progress(home, work, state, steps, live, due, speed):
    """After the first step and each evaluation: a line for each approach, and one in the log.

    work: the pass, its runs and title; live: places of the runs that took this step, due: of
    those that were scored; speed: tokens a second. Only equal runs, the seeds of an approach, are
    averaged: the mean loss of several approaches would say nothing.
    """
    step, names = state["step"], [f"{run.name} seed {run.seed}" for run in work.runs]
    last = {n: state["terms"][n][-1] for n in (live if step == 1 else due)}
    if sys.stdout.isatty() or home.quiet:
        scores = [score for curve in state["curves"] for _, score in curve]
        moving(home, f"{work.title}: {100 * step // steps} %, best dev "
               + (f"{max(scores):.1f}" if scores else "–") + f", all done in {home.eta()}",
               step == steps)
    elif step == 1:
        print(f"{work.title}: runs {len(names)}; CE of a uniform guess among the vocabulary "
              f"{math.log(work.t5.config.vocab_size):.2f}", flush=True)
    elif due:
        print(f"{work.title}: step {step}/{steps} {100 * step // steps}% "
              f"lr {work.rates(step - 1)[live[0]]:.3g} runs {len(live)} {speed:.0f} tok/s "
              f"ETA {home.eta()}", flush=True)
    for name in dict.fromkeys(work.runs[n].name for n in last) if piped(home) else ():
        mine = [n for n in last if work.runs[n].name == name]
        _, ce, kd, cosine = (mean([last[n][k] for n in mine]) for k in range(4))
        said = f"CE {ce:.3f}"
        if cosine is not None:
            said += f" KD {kd:.3f} cosine of their gradients {cosine:+.2f}"
        scored = [state["curves"][n][-1][1] for n in mine if n in due]
        print(f"    {name}: {said}" + (f" dev {mean(scored):.1f}" if scored else ""), flush=True)
    norms = {n: norm_of(work, n) for n in due}
    for n in due:  # it went astray
        if last[n][1] > math.log(work.t5.config.vocab_size):
            print(f"{work.title}, {names[n]}: CE {last[n][1]:.1f} is more than a uniform guess "
                  f"costs, the norm of what is trained {norms[n]:.3g}; a smaller learning rate may "
                  "help", flush=True)
    if due:
        home.log(**{"pass": work.title}, key=key_of(work.decided), step=step,
                 dev={names[n]: state["curves"][n][-1][1] for n in due},
                 **{kind: {names[n]: last[n][k] for n in due} for k, kind in
                    ((1, "ce"), (2, "kd"), (3, "cosine"))},
                 norm={names[n]: norm for n, norm in norms.items()}, tokens_per_second=speed)


def piped(home):
    """Whether what is said goes into a file or a pipe, line by line."""
    return not sys.stdout.isatty() and not home.quiet


def moving(home, line, last):
    """One line on a terminal, each over the one before; the last one stays."""
    if not home.quiet:
        print(f"\r\033[K{line}", end="\n" if last else "", flush=True)


def aligned(lines):
    """Tables of Markdown with their columns under each other.

    >>> print(*aligned(["| a | b |", "|---|---|", "| long | 1 |", "text"]), sep="\\n")
    | a    | b |
    |------|---|
    | long | 1 |
    text
    """
    found = []
    for is_table, group in itertools.groupby(lines, lambda line: line.startswith("|")):
        if not is_table:
            found += group
            continue
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in group]
        widths = [max(len(cell) for cell in column if cell != "---") for column in zip(*rows)]
        found += ["|" + "|".join("-" * (w + 2) if cell == "---" else f" {cell:{w}} "
                                 for cell, w in zip(row, widths)) + "|" for row in rows]
    return found


def mean(numbers):
    """Of some numbers; None if one is None."""
    return None if None in numbers else statistics.mean(numbers)


def table(whole):
    """The report's table and its sentence, as lines of Markdown."""
    config, similar, base = whole["config"], whole["similarity"], whole["scores"]["prompt"]
    lines = [f"majority class {whole['majority']:.1f}, T5 without a prompt "
             f"{whole['promptless']:.1f}; prompts of length {config['length']}, fresh ones from "
             f"{config['init']}", "",
             f"| approach | source | {whole['metric']}, mean ± sd | each seed | against `prompt`, "
             "seed by seed | similarity | seconds (in its pass) |", "|---" * 7 + "|"]
    for name, scores in whole["scores"].items():
        approach, _, source = name.partition(" ")
        near = (f"{statistics.mean(s.get(config['metric'], 1) for s in similar[source]):+.2f}"
                if source in similar else "")
        gained = gain(scores, base) if name != "prompt" else ""
        lines.append(f"| {approach} | {source or '–'} | {plus_minus(scores)} | "
                     f"{', '.join(f'{s:.1f}' for s in scores)} | {gained} | {near} | "
                     f"{whole['seconds'][name]:.1f} |")
    if len(whole["scores"]) > 1:
        lines += ["", sentence(whole["scores"])]
    lines += taught({name: whole["teaching"][name] for name in whole["scores"]})
    return lines + (["", *cost(whole["cost"])] if "finetune" in whole["scores"] else [])


def taught(teaching):
    """What the students' teachers add, as a table; nothing where no run has a teacher."""
    lines = []
    for name, seeds in teaching.items():
        seeds = [seed for seed in seeds if seed["right"] is not None and seed["terms"]]
        if seeds:  # those whose teacher has a weight
            first, last = ([seed["terms"][k] for seed in seeds] for k in (0, -1))
            later = [term[3] for seed in seeds for term in seed["terms"][1:]]
            losses = [[mean([term[k] for term in at]) for at in (first, last)] for k in (1, 2)]
            approach, _, source = name.partition(" ")
            lines.append("| " + " | ".join([
                approach, source or "–", f"{mean([seed['right'] for seed in seeds]):.0f} %",
                f"{mean([term[3] for term in first]):+.2f}",
                f"{mean(later):+.2f}" if later else "–",
                *(f"{begun:.3f} → {ended:.3f}" for begun, ended in losses)]) + " |")
    return lines and ["", "| student | source | its teacher gives the label | cosine of the "
                      "gradients of CE and KD: first step | later, mean | CE, first to last | KD |",
                      "|---|---|---|---|---|---|---|", *lines]


def sentence(scores):
    """What was found, whichever way it went: who differs from plain prompt tuning, and who may not.

    >>> sentence({"prompt": [60, 62, 61], "pot a": [70, 73, 72]}).partition(": ")[2]
    'pot from a +10.7. It may be chance: none.'
    """
    base, words = scores["prompt"], {"chance": [], "beyond": [], "same": []}
    for name, values in scores.items():
        if name != "prompt":
            gains, name = [value - b for value, b in zip(values, base)], name.replace(" ", " from ")
            kind = "beyond" if beyond_chance(gains) else "chance" if any(gains) else "same"
            words[kind].append(f"{name} {statistics.mean(gains):+.1f}" if any(gains) else name)
    said = {kind: ", ".join(names) or "none" for kind, names in words.items()}
    return (f"Other than plain prompt tuning ({statistics.mean(base):.1f}) by more than chance: "
            f"{said['beyond']}. It may be chance: {said['chance']}."
            + f" The same as it: {said['same']}." * bool(words["same"]))


def cost(whole):
    """What a run of prompt tuning and one of model tuning train, store and keep in memory."""
    lines = ["| of one run | trained numbers | stored, fp32 | in training: these, their gradients, "
             "the optimiser |", "|---|---|---|---|"]
    for name in ("prompt", "finetune"):
        said = whole[name]
        lines.append(f"| {name} | {said['trained']:,} | {said['stored_bytes'] / 1e6:,.3f} MB | "
                     f"{said['training_bytes'] / 1e6:,.3f} MB |")
    return lines + ["", "Not counted: the frozen T5, kept in both cases, and a batch's activations "
                    "(benchmarks/cost.py measures the peak)."]


def gathered(found):
    """Of name -> Results, what JSON can hold: scores, curves, seconds and cost by name."""
    return {
        "scores": {name: [r.score for r in results] for name, results in found.items()},
        "curves": {name: [r.curve for r in results] for name, results in found.items()},
        "teaching": {name: [{"right": r.right, "terms": r.terms} for r in results]
                     for name, results in found.items()},
        "seconds": {name: statistics.mean(r.seconds for r in results)
                    for name, results in found.items()},
        "cost": {name: {"trained": results[0].trained, "stored_bytes": 4 * results[0].trained,
                        "training_bytes": results[0].memory} for name, results in found.items()}}


def place_of(name, target, seed):
    """Where what was trained lies for people: a prompt, or the folder of a tuned T5."""
    approach, _, source = name.partition(" ")
    if approach in ("prompt", "finetune"):
        return f"{'prompts' if approach == 'prompt' else 'models'}/{target}-{seed}"
    return f"{f'{source}-to-' if source else ''}{target}/prompts/{approach}-{seed}"


def of_pair(whole, source):
    """The part of a target's results that has to do with one source ("": with none)."""
    mine = [name for name in whole["scores"] if name.partition(" ")[2] in ("", source)]
    pair = whole | {kind: {name.partition(" ")[0]: whole[kind][name] for name in mine}
                    for kind in ("scores", "curves", "teaching", "seconds", "cost", "steps")}
    each = whole["similarity"].get(source, [])
    return pair | {"source": source, "similarity_each_seed": each, "similarity": {
        name: statistics.mean(seed[name] for seed in each) for name in (each[0] if each else {})}}


def write_pages(out, whole):
    """report.md, report.html and results.json of a target and of each pair: the pairs' folders.

    The target's results.json is all of `whole`, from which everything is written again.
    """
    def page(folder, title, shown):
        lines = table(shown)
        write_text(folder / "report.md", "\n".join([
            f"# {title}", "", f"model {whole['model']}", "", *lines, "",
            "Recipe: " + ", ".join(f"{n} {v}" for n, v in whole["config"].items())]) + "\n")
        write_text(folder / "report.html", pages.report(shown, title, lines, sentence(
            shown["scores"]) if len(shown["scores"]) > 1 else ""))

    target, folders = whole["target"], []
    for source in whole["similarity"] or [""]:
        folder = out / (f"{source}-to-{target}" if source else target)
        page(folder, f"{f'{source} to ' if source else ''}{target}", whole | {
            "scores": {name: values for name, values in whole["scores"].items()
                       if name.partition(" ")[2] in ("", source)},
            "similarity": {source: whole["similarity"][source]} if source else {}})
        write_json(folder / "results.json", of_pair(whole, source))
        folders.append(folder)
    page(out / target, target, whole)
    write_json(out / target / "results.json", whole)
    return folders


def write(shop, target, seeds, found, similar, promptless):
    """Name what was trained, write results.json and report.md of each pair; print the report.

    found: name -> Results, one for each seed; similar: source -> a dict of measures for each seed.
    Returns what the target's report is made of.
    """
    home, steps = shop.home, shop.recipe.steps
    whole = gathered(found) | {
        "model": shop.name, "fingerprint": shop.fingerprint, "target": target.name,
        "metric": target.task.metrics[0], "seeds": list(seeds), "majority": target.majority,
        "promptless": promptless, "similarity": similar,
        "epoch": math.ceil(len(target.mine(0)) / shop.recipe.batch),
        "config": dataclasses.asdict(shop.recipe) | {"dtype": shop.dtype},
        "date": time.strftime("%Y-%m-%d"), "command": shlex.join(
            ["python", Path(sys.argv[0]).name, *sys.argv[1:]])}
    whole["steps"] = {name: steps * {"prompt_2x": 2, "prompt_3x": 3}.get(name, 1) for name in found}
    for name, results in found.items():
        for seed, result in zip(whole["seeds"], results):
            home.link(result.folder, place_of(name, whole["target"], seed))

    folders = write_pages(home.out, whole)
    print("", *(aligned if sys.stdout.isatty() else list)(table(whole)), "", sep="\n")
    page = home.out / target.name / "report.html"
    print(f"{time.time() - home.begun:.0f} seconds; written to {', '.join(map(str, folders))}; "
          f"with pictures: {page}", flush=True)
    return whole


# ------------------------------------------------------------------- several runs


def read(folder, needs=lambda whole: True):
    """target -> results.json, of the targets of a run that have what a table needs."""
    files = sorted(Path(folder).glob("*/results.json"))
    found = [read_json(file) for file in files]
    if not found:
        raise ValueError(f"{folder} holds no */results.json: wanted the --out of a run")
    found = {each["target"]: each for each in sorted(found, key=lambda each: "source" not in each)
             if needs(each)}  # the target's own file rather than a pair's
    if not found:
        raise ValueError(f"{folder}: no run in it has what this table shows")
    return found


def starred(whole, name, base, other):
    """A cell: the scores, with a star if they are other than another's by more than chance."""
    scores, others = whole["scores"][name], base["scores"][other]
    star = whole["seeds"] == base["seeds"] and beyond_chance(
        [a - b for a, b in zip(scores, others)])
    return plus_minus(scores) + " *" * star


def rows_of_runs(runs):
    """Plain prompt tuning: a row for each run, a column for each target that all of them have."""
    first = next(iter(runs.values()))
    targets = [target for target in first if all(target in run for run in runs.values())]
    if not targets:
        raise ValueError(f"{', '.join(runs)} have no target in common")
    return head("run", *targets) + [
        row(name, *(starred(run[t], "prompt", first[t], "prompt") for t in targets))
        for name, run in runs.items()]


def rows_of_targets(runs, approaches):
    """A row for each target: majority class, T5 without a prompt, and these approaches."""
    return head("task", "majority class", "no prompt", *approaches) + [
        row(target, f"{whole['majority']:.1f}", f"{whole['promptless']:.1f}",
            *(starred(whole, name, whole, approaches[0]) for name in approaches))
        for run in runs.values() for target, whole in run.items()]


def main():
    """Write the pages of runs again, or one of several runs beside each other."""
    parser = command.Parser(description="The pages of runs, from their results.json.")
    parser.add_argument("folders", nargs="+", help="--out of a run, whose pages are written again; "
                        "or of several, whose plain prompts are compared: a row for each run")
    parser.add_argument("--columns", help="compare these approaches instead, comma-separated: a "
                        "row for each target")
    args = parser.parse_args()
    wanted = flags.names(args.columns or "")
    if {"pot", "panda"} & {name.partition("_")[0] for name in wanted}:
        raise ValueError("pot and panda have a source: see the run's grid.md")
    runs = {Path(folder).name: read(folder, lambda whole: {*wanted} <= {*whole["scores"]})
            for folder in args.folders}
    if wanted or len(runs) > 1:
        lines = rows_of_targets(runs, wanted) if wanted else rows_of_runs(runs)
        page = Path(args.folders[0]) / "compared.html"
        note = ("Mean ± standard deviation over the seeds; * other than the first by more than "
                "chance, in a t-test at 5 % over the same seeds.")
        write_text(page, pages.whole_page("Runs beside each other", pages.as_html(
            [note, *lines], "runs")))
        print(*lines, sep="\n")
    else:
        [run] = runs.values()
        for whole in run.values():
            if "source" not in whole:  # not a pair's, which is a part of its target's
                write_pages(Path(args.folders[0]), whole)
    print(f"written to {page if wanted or len(runs) > 1 else args.folders[0]}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main, "report.py")

"""What a run says: a line for each evaluation, a table and a sentence at the end, results.json.

The report of a target is made from one dict, `whole`, that JSON can hold: scores, curves and
seconds by approach ("pot toy-nli": the approach and its source), the similarities by source.
results.json of a pair is the part of it that has to do with one source.
"""

import math
import statistics
import time

from plumbing.stats import gain, plus_minus, spread
from plumbing.states import key_of, write_json, write_whole


def opening(task, promptless):
    """What a target is, before anything is trained on it."""
    same = ", the same" if task.report == task.choose else ""
    print(f"target {task.name}: {len(task.train)} training examples, {len(task.choose)} dev "
          f"examples to choose by, {len(task.report)} to report{same}; majority class "
          f"{task.majority:.1f}, T5 without a prompt {promptless:.1f}", flush=True)


def progress(home, work, state, steps, live, due, ce, kd, speed):
    """The first loss of a pass; and after an evaluation a line on the screen and one in the log.

    work: the pass, its runs and title; live: places of the runs that took this step, due: of
    those that were scored; ce, kd: the terms of each run's loss; speed: tokens a second.
    """
    step, names = state["step"], [f"{run.name} seed {run.seed}" for run in work.runs]
    terms = f"CE {statistics.mean(ce[n] for n in live):.3f}"
    if any(kd):
        terms += f" KD {statistics.mean(kd[n] for n in live):.3f}"
    if step == 1:
        print(f"{work.title}: runs {len(names)}, {terms} at first; a uniform guess costs "
              f"{math.log(work.t5.config.vocab_size):.2f}", flush=True)
    if due:
        dev = {names[n]: state["curves"][n][-1][1] for n in due}
        print(f"{work.title}: step {step}/{steps} {100 * step // steps}% {terms} "
              f"dev {statistics.mean(dev.values()):.1f} lr {work.rates(step - 1)[live[0]]:.3g} "
              f"runs {len(live)} {speed:.0f} tok/s ETA {home.eta()}", flush=True)
        home.log(**{"pass": work.title}, key=key_of(work.decided), step=step,
                 ce={names[n]: ce[n] for n in live},
                 kd={names[n]: kd[n] for n in live}, dev=dev, tokens_per_second=speed)


def table(whole):
    """The report's table and its sentence, as lines of Markdown."""
    config, similar = whole["config"], whole["similarity"]
    lines = [f"majority class {whole['majority']:.1f}, T5 without a prompt "
             f"{whole['promptless']:.1f}; prompts of length {config['length']}, fresh ones from "
             f"{config['init']}", "",
             f"| approach | source | {whole['metric']}, mean ± sd | each seed | "
             "seconds (share of the pass) | similarity |", "|---|---|---|---|---|---|"]
    for name, scores in whole["scores"].items():
        approach, _, source = name.partition(" ")
        near = (f"{statistics.mean(s[config['metric']] for s in similar[source]):+.2f}"
                if source in similar else "")
        lines.append(f"| {approach} | {source or '–'} | {plus_minus(scores)} | "
                     f"{', '.join(f'{s:.1f}' for s in scores)} | {whole['seconds'][name]:.1f} | "
                     f"{near} |")
    if len(whole["scores"]) > 1:
        lines += ["", sentence(whole["scores"])]
    return lines + (["", *cost(whole["cost"])] if "finetune" in whole["scores"] else [])


def sentence(scores):
    """What was found, whichever way it went: each approach against plain prompt tuning."""
    words = [f"{name.replace(' ', ' from ')} {gain(values, scores['prompt'])}"
             for name, values in scores.items() if name != "prompt"]
    return (f"Against plain prompt tuning ({spread(scores['prompt'])[0]:.1f}), seed by seed: "
            + "; ".join(words) + ".")


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
                    for kind in ("scores", "curves", "seconds", "cost", "steps")}
    each = whole["similarity"].get(source, [])
    return pair | {"source": source, "similarity_each_seed": each, "similarity": {
        name: statistics.mean(seed[name] for seed in each) for name in (each[0] if each else {})}}


def write(home, found, facts):
    """Name what was trained, write results.json and report.md of each pair; print the report.

    found: name -> Results, one for each seed; facts: the rest of what the report says.
    """
    whole = facts | gathered(found)
    steps = whole["config"]["steps"]
    whole["steps"] = {name: steps * (1 + (name == "prompt_2x")) for name in found}
    for name, results in found.items():
        for seed, result in zip(whole["seeds"], results):
            home.link(result.folder, place_of(name, whole["target"], seed))

    def page(folder, title, shown):
        text = "\n".join([f"# {title}", "", f"model {whole['model']}", "", *table(shown), "",
                          "Recipe: " + ", ".join(f"{n} {v}" for n, v in whole["config"].items())])
        write_whole(folder / "report.md", lambda p: p.write_text(text + "\n", encoding="utf-8"))

    target, folders = whole["target"], []
    for source in whole["similarity"] or [""]:
        folder = home.out / (f"{source}-to-{target}" if source else target)
        mine = {name: values for name, values in whole["scores"].items()
                if name.partition(" ")[2] in ("", source)}
        write_json(folder / "results.json", of_pair(whole, source))
        page(folder, f"{f'{source} to ' if source else ''}{target}", whole | {"scores": mine})
        folders.append(folder)
    page(home.out / target, target, whole)
    write_json(home.out / target / "results.json", of_pair(whole, ""))
    print("", *table(whole), "", sep="\n")
    print(f"{time.time() - home.begun:.0f} seconds; written to {', '.join(map(str, folders))}",
          flush=True)

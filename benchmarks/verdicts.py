"""Every claim about PANDA put to the test on the toy world: docs/panda.md is made by this.

    python benchmarks/verdicts.py --out runs/verdicts            train all, some hours on one thread
    python benchmarks/verdicts.py --out runs/verdicts --page     the tables of docs/panda.md; writes
                                                                 docs/panda.json, to be drawn

Three targets, seven sources, ten seeds, none of which anything was chosen on: the recipe was
chosen on seeds 100 to 104, the forms' sizes on 300 to 302, the measures on 0 to 4, all with the
source prompts of seed 0. Here the source prompts are those of seed 1.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import io
import itertools
import json
import random
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import distill
import model
import prompt
import train
import transferability
from plumbing import command, files, flags, report, states
from plumbing import grid as grid_of
from plumbing.stats import (beyond_chance, holm, mean_permutation_p, paired_p, plus_minus,
                            spearman)

SOURCES = "toy-nli toy-rte toy-boolq toy-qqp toy-sst2 toy-cola toy-ner".split()
TARGETS = "toy-cb toy-qnli toy-reviews".split()
RELATED = {"toy-cb": "toy-nli", "toy-qnli": "toy-nli", "toy-reviews": "toy-sst2"}
SOME = "toy-boolq", "toy-qqp"
SEEDS = tuple(range(400, 410))
NUMBERS = Path(__file__).resolve().parent.parent / "docs" / "panda.json"  # what is drawn there
LABELS, STEPS = (16, 32, 64, 128, 250, 1000), (100, 200, 400)


class Study:
    """Runs of one target under one recipe: name -> a Result for each of the SEEDS."""

    def __init__(self, shop, target, page=False, **recipe):
        self.page = page
        self.shop = dataclasses.replace(shop, recipe=dataclasses.replace(shop.recipe, **recipe))
        self.task = data.Encoded(target, shop.tokenizer, self.shop.recipe)
        self.fresh = {s: train.fresh_prompt(self.shop, self.task, s) for s in SEEDS}
        self.sources, self.found = source_prompts(shop), {}

    def learn(self, *groups, form="kl", steps=None):
        """groups: (name, seed -> start, seed -> teachers) of runs that need not wait for others.

        For the page only what is there: a group that was not trained is left out.
        """
        for group in [groups] if not self.page else [(one,) for one in groups]:
            try:
                runs = [train.Run(name, s, steps or self.shop.recipe.steps, start(s), tuple(
                    t for t in teachers(s) if t[1] > 0)) for name, start, teachers in group
                    if name not in self.found for s in SEEDS]
            except KeyError:  # its teachers are not there
                continue
            decided = states.decided_by("prompt", self.shop, self.task, runs, 0.0, form)
            there = all(self.shop.home.trained(self.task.name, run.seed, by).exists()
                        for run, by in zip(runs, decided))
            if not runs or self.page and not there:
                continue
            title = f"{self.task.name} {self.shop.recipe.labelled or 'all'} labels"
            with contextlib.redirect_stdout(io.StringIO() if self.page else sys.stdout):
                results = train.train_prompts(self.shop, self.task, runs, title, form)
            for run, result in zip(runs, results):
                self.found.setdefault(run.name, []).append(result)

    def best(self, name, seed):
        return self.found[name][SEEDS.index(seed)].best

    def plain(self, *sources, times=(1,)):
        """Prompt tuning, and prompt transfer from each source."""
        for k in times[1:]:
            self.learn((f"prompt_{k}x", self.fresh.get, no_teacher),
                       steps=k * self.shop.recipe.steps)
        self.learn(("prompt", self.fresh.get, no_teacher), *(
            (f"pot {name}", lambda s, name=name: self.sources[name], no_teacher)
            for name in sources))

    def all_similarities(self):
        """name of source -> for each seed a number of each measure; computed once."""
        read = [self.best("prompt", s) for s in SEEDS] + list(self.sources.values())
        path = self.shop.home.out / f"similar-{states.key_of([*map(states.checksum, read)])}.json"
        if not path.exists():
            probes = {s: transferability.Probe.of(self.shop.t5, self.shop.tokenizer, self.task, s)
                      for s in SEEDS}
            files.write_json(path, {name: [transferability.all_measures(
                vectors, self.best("prompt", s), probes[s]) for s in SEEDS]
                for name, vectors in self.sources.items()})
        return json.loads(path.read_text())

    def similarities(self, metric="panda"):
        """name of source -> one measure for each seed."""
        return {name: [round(each[metric], 4) for each in seeds]
                for name, seeds in self.all_similarities().items()}

    def students(self, form, *sources, sims=None, name="", start=None):
        """A student for each source, its weight by the similarities (name -> one a seed)."""
        kind = name or (f"panda_{form}" if form != "kl" else "panda")
        if self.page and "prompt" not in self.found:
            return
        sims = sims or self.similarities()
        self.learn(*((f"{kind} {source}", start or self.fresh.get, lambda s, source=source: [
            (self.best(f"pot {source}", s), self.weight(form, sims[source][SEEDS.index(s)]))])
            for source in sources), form=form)

    def weight(self, form, similarity):
        return distill.weight(similarity, 1.0, form, self.shop.recipe.batch)


def no_teacher(seed):
    return ()


@functools.cache
def source_prompts(shop):
    """The sources' prompts, of seed 1."""
    found = {}
    for name in SOURCES:
        task = data.Encoded(name, shop.tokenizer, shop.recipe)
        run = train.Run("source", 1, shop.recipe.source_steps, train.fresh_prompt(shop, task, 1))
        [result] = train.train_prompts(shop, task, [run], f"source {name}")
        found[name] = result.best
    return found


ONE = {name: [1.0] * len(SEEDS) for name in SOURCES}  # a similarity that says nothing


def grid(study):
    """Plain, its controls, transfer from all, PANDA as published and with states."""
    study.plain(*SOURCES, times=(1, 2, 3))
    for form, sources in (("states", SOURCES), ("kl", SOME)):
        study.students(form, *{RELATED[study.task.name]: 0} | dict.fromkeys(sources))
        kind = f"panda_self{'' if form == 'kl' else f'_{form}'}"
        study.learn((kind, study.fresh.get, lambda s, form=form: [
            (study.best("prompt_2x", s), study.weight(form, 1.0))]), form=form)


def weights(study):
    """The same students under other weights: fixed, and those of another source."""
    study.plain(*SOURCES)
    sims = study.similarities()
    some = RELATED[study.task.name], *SOME
    study.students("states", *some, sims=ONE, name="fixed")
    moved = {name: sims[SOURCES[(i + 3) % len(SOURCES)]] for i, name in enumerate(SOURCES)}
    study.students("states", *some, sims=moved, name="shuffled")
    study.students("states", *some, sims=study.similarities("zero_shot"), name="by_zero_shot")


def controls(study):
    """Prompt transfer from what has a source prompt's size, or its numbers, but not its task."""
    related = study.sources[RELATED[study.task.name]]

    def normed(s):
        return study.fresh[s] * (related.norm() / study.fresh[s].norm())

    def scrambled(s):
        order = torch.randperm(related.numel(), generator=torch.Generator().manual_seed(s))
        return related.flatten()[order].view_as(related)

    study.plain(RELATED[study.task.name])
    study.learn(("normed", normed, no_teacher), ("scrambled", scrambled, no_teacher))


def forms(study):
    """The other forms, from the related source and from one that harms."""
    study.plain(*SOURCES)
    for form in ("text", "mse"):
        study.students(form, RELATED[study.task.name], "toy-qqp")


def loud(study):
    """The published form from the related source at a weight of 30, whatever the similarity."""
    related = RELATED[study.task.name]
    study.plain(related)
    study.learn((f"loud {related}", study.fresh.get,
                 lambda s: [(study.best(f"pot {related}", s), 30.0)]))


def guard(study):
    """Students that start as the source, and must not forget it."""
    related = RELATED[study.task.name]
    study.plain(*SOURCES)
    for form in ("states", "kl"):
        study.students(form, related, name=f"guard_{form}", start=lambda s: study.sources[related])


def fusion(study):
    """Early and late fusion, of all sources."""
    study.plain(*SOURCES)
    sims = study.similarities()

    def at(s):
        return {name: sims[name][SEEDS.index(s)] for name in SOURCES}

    def fused(s):
        return distill.fuse(study.sources, at(s), study.fresh[s])

    study.learn(("pot_early", fused, no_teacher))
    study.learn(("panda_late_states", study.fresh.get, lambda s: [
        (study.best(f"pot {name}", s), share * study.weight("states", 1.0))
        for name, share in distill.normalised(at(s)).items()]), form="states")


def several(study):
    """Five prompts of one task distilled into one, to be held against their vote."""
    study.plain()
    for form in ("states", "kl"):
        study.learn((f"five_{form}", study.fresh.get, lambda s, form=form: [
            (study.best("prompt", other), study.weight(form, 0.2)) for other in SEEDS[:5]]),
            form=form)


def labels(study):
    """Plain, transfer, PANDA and PANDA with states, from the related source.

    With inputs without labels the teacher without a source, too: does it help to know another
    task, or only to see more inputs?
    """
    related = RELATED[study.task.name]
    study.plain(related)
    study.sources = {related: study.sources[related]}
    for form in ("states", "kl") if f"pot {related}" in study.found else ():
        study.students(form, related)
        if study.task.unlabelled:
            study.learn((f"self_{form}", study.fresh.get, lambda s, form=form: [
                (study.best("prompt", s), study.weight(form, 1.0))]), form=form)


PARTS = {part.__name__: part for part in (grid, weights, controls, forms, loud, guard, fusion,
                                            several)}

# -------------------------------------------------------------------- what was found

# (who, over whom). R: from the related source; O: the mean over all; S: over the related and SOME.
CLAIMS = (
    ("pot R", "prompt"), ("pot R", "prompt_3x"), ("pot R", "normed"), ("pot R", "scrambled"),
    ("pot R", "pot O"), ("pot O", "prompt"), ("normed", "prompt"), ("scrambled", "prompt"),
    ("panda R", "prompt"), ("panda R", "prompt_3x"), ("panda R", "panda_self"),
    ("panda R", "pot R"), ("panda_states R", "prompt"), ("panda_states R", "prompt_3x"),
    ("panda_states R", "panda_self_states"), ("panda_states R", "panda R"),
    ("panda_states R", "pot R"), ("panda_states O", "prompt"), ("panda_states O", "pot O"),
    ("panda_states S", "fixed S"), ("panda_states S", "shuffled S"), ("by_zero_shot S", "fixed S"),
    ("by_zero_shot S", "panda_states S"), ("panda_text R", "prompt"),
    ("panda_text R", "panda_states R"), ("panda_mse R", "prompt"), ("loud R", "prompt"),
    ("guard_states R", "pot R"), ("guard_kl R", "pot R"), ("pot_early", "pot O"),
    ("pot_early", "pot R"), ("panda_late_states", "panda_states R"),
    ("panda_late_states", "pot R"))


def scores(study, name):
    """The scores of a name of CLAIMS, one a seed; None where it was not trained."""
    approach, _, whose = name.partition(" ")
    related = RELATED[study.task.name]
    sources = {"R": [related], "O": SOURCES, "S": [related, *SOME]}.get(whose, [whose])
    found = [study.found.get(f"{approach} {source}".strip()) for source in sources]
    if None in found:
        return None
    return [statistics.mean(r.score for r in seed) for seed in zip(*found)]


def verdicts(studies):
    """The claims: a difference on each target, and over the targets with p, by seed.

    A seed's difference is its mean over the targets that have both; so a claim is one test, and
    Holm's correction is for the number of claims.
    """
    rows = []
    for who, whom in CLAIMS:
        pairs = [(scores(study, who), scores(study, whom)) for study in studies]
        gains = [None if None in pair else [a - b for a, b in zip(*pair)] for pair in pairs]
        if any(gains):
            mean = [statistics.mean(seed) for seed in zip(*filter(None, gains))]
            rows.append(([who, whom, *(f"{plus_minus(g, '+')}{' *' * beyond_chance(g)}" if g else ""
                                       for g in gains), plus_minus(mean, "+")], paired_p(mean)))
    lines = grid_of.head("who", "over whom", *(study.task.name for study in studies), "mean",
                         "p of the mean", f"after Holm, {len(rows)} claims")
    return lines + [grid_of.row(*cells, small(p), small(after) + " *" * (after < 0.05))
                    for (cells, p), after in zip(rows, holm([p for _, p in rows]))]


def small(p):
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def whole(study):
    """A target's results as plumbing/grid.py reads them."""
    found = {n: r for n, r in study.found.items() if n.partition(" ")[0] in (
        "prompt", "pot", "panda", "panda_states")}
    sims = study.all_similarities()
    return report.gathered(found) | {"target": study.task.name, "seeds": SEEDS, "similarity": sims,
                                     "epoch": -(-len(study.task.mine(0)) // 16),
                                     "config": {"metric": "panda"}, "model": "toy/t5"}


def teaching(studies):
    """What the teachers of some students add."""
    return report.taught({f"{name} to {study.task.name}": [dataclasses.asdict(r) for r in results]
                          for study in studies for name, results in study.found.items()
                          for approach, _, source in [name.partition(" ")] if approach in (
                              "panda", "panda_states", "panda_self", "panda_self_states")
                          and source in ("", RELATED[study.task.name], "toy-qqp")})


def same_labels(studies):
    """How alike CE's gradient is for the labels and for labels drawn at random, at the start."""
    lines = grid_of.head("target", "cosine of the gradients of CE, labels and random labels")
    for study in studies:
        grads = []
        for task in (study.task, copy.copy(study.task)):
            if grads:
                drawn = random.Random("labels")
                task.train = [(ids, drawn.choice(task.labels)) for ids, _ in task.train]
            runs = [train.Run("prompt", s, 100, study.fresh[s]) for s in SEEDS]
            bank = prompt.PromptBank([run.start for run in runs])
            work = train.Pass("", task, runs, [{}] * len(runs), study.shop.t5, bank, None, None,
                              0.0, distill.Teachers(study.shop.t5, runs))
            train.gradients(study.shop, work, 0, torch.amp.GradScaler("cpu", enabled=False))
            grads.append([p.grad for p in bank.parameters()])
        alike = [transferability.cosine(*pair) for pair in zip(*grads)]
        lines.append(grid_of.row(study.task.name, f"{statistics.mean(alike):+.2f}"))
    return lines


def forgotten(studies):
    """The related source's own task, scored behind its prompt and behind what became of it."""
    names = "prompt", "pot R", "panda R", "panda_states R", "guard_states R", "guard_kl R"
    lines = grid_of.head("target", "source task", "majority", "no prompt", "the source's", *names)
    for study in studies:
        source, shop = RELATED[study.task.name], study.shop
        task = data.Encoded(source, shop.tokenizer, shop.recipe)

        def on_source(bank, task=task, shop=shop):
            return train.dev_scores(shop, shop.t5, bank, task, task.report)

        alone = on_source(prompt.Promptless(shop.t5)), on_source(
            prompt.PromptBank([study.sources[source]]))
        cells = [study.found.get(name.replace("R", source)) for name in names]
        lines.append(grid_of.row(
            study.task.name, source, *(f"{one:.1f}" for one in (task.majority, *sum(alone, []))),
            *(plus_minus(on_source(prompt.PromptBank([r.best for r in cell]))) if cell else ""
              for cell in cells)))
    return lines


def switches(studies, seeds=SEEDS[:3]):
    """PANDA's measure with what its paper leaves open, each way: Spearman's with `pot`'s scores."""
    names = [study.task.name for study in studies]
    lines = grid_of.head("inputs of", "states", "centred", *names, "mean", "p")
    inputs = {name: model.pad([ids for ids, _ in data.Encoded(
        name, studies[0].shop.tokenizer, studies[0].shop.recipe).train[:100]]) for name in SOURCES}
    for whose, where, centred in itertools.product(
            ("target", "source", "own"), ("decoder", "encoder"), (True, False)):
        pairs = []
        for study in studies:
            probe = transferability.Probe.of(
                study.shop.t5, study.shop.tokenizer, study.task, SEEDS[0])
            said = [statistics.mean(transferability.panda(
                study.sources[name], study.best("prompt", seed),
                dataclasses.replace(probe, source_ids=inputs[name]), whose, where, centred)
                for seed in seeds) for name in SOURCES]
            pairs.append((said, [statistics.mean(scores(study, f"pot {n}")) for n in SOURCES]))
        each, p = [spearman(*pair) for pair in pairs], mean_permutation_p(pairs)
        lines.append(grid_of.row(whose, where, centred, *(f"{one:+.2f}" for one in each),
                                 f"{statistics.mean(each):+.2f}", f"{p:.3f}"))
    return lines


def voted(studies):
    """Five prompts of one task: their mean, their vote, and what was distilled from all."""
    lines = grid_of.head("target", "mean of the five", "their vote", "five_states", "five_kl")
    for study in studies:
        task, t5, count = study.task, study.shop.t5, len(SEEDS[:5])
        rows = [(n, task.dev_ids[i], "all") for n in range(count) for i in task.report]
        said = torch.stack(prompt.ask(t5, prompt.PromptBank([
            study.best("prompt", s) for s in SEEDS[:5]]), rows, {"all": task.kind("cpu")}))
        chosen = prompt.vote(said.view(count, len(task.report), -1))
        vote = task.score([task.task.labels[i] for i in chosen], task.report)
        lines.append(grid_of.row(task.name, plus_minus(scores(study, "prompt")[:5]), f"{vote:.1f}",
                                 *(plus_minus(scores(study, name)) if name in study.found else ""
                                   for name in ("five_states", "five_kl"))))
    return lines


def page(shop, targets):
    studies = [Study(shop, target, page=True) for target in targets]
    for study in studies:
        for part in PARTS.values():
            part(study)
    found, wholes = cells(shop, targets), list(map(whole, studies))
    files.write_json(NUMBERS, {"cells": found, "grid": {each["target"]: each["scores"]
                                                         for each in wholes}})
    for title, lines in (("Verdicts", verdicts(studies)),
                         ("Teachers", teaching(studies)), ("Random", same_labels(studies)),
                         ("Transfer", grid_of.page(wholes)),
                         ("Forgetting", forgotten(studies)), ("Vote", voted(studies)),
                         ("Labels", few(found))):
        print(f"## {title}", "", *lines, "", sep="\n")


NAMES = "prompt", "pot R", "panda R", "panda_states R", "self_kl", "self_states"


def cells(shop, targets):
    """Labels and steps: (target, labels, steps, more inputs, name -> scores), if trained."""
    found = []
    for target, steps, count, more in itertools.product(targets, STEPS, (*LABELS, 0), ("", "4000")):
        study = Study(shop, target, page=True, labelled=count, steps=steps, unlabelled=more)
        labels(study)
        mine = {name: scores(study, name) for name in NAMES}
        if any(mine[name] for name in NAMES[2:]):
            found.append((target, count, steps, more, {n: s for n, s in mine.items() if s}))
    return found


def few(found):
    """The table of such cells."""
    return grid_of.head("target", "labels", "steps", "inputs without labels", *NAMES) + [
        grid_of.row(target, count or "all", steps, more, plus_minus(mine["prompt"]), *(
            grid_of.cell(mine[name], mine["prompt"]) if name in mine else "" for name in NAMES[1:]))
        for target, count, steps, more, mine in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", default="runs/verdicts", help="folder (default: runs/verdicts)")
    add("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    add("--targets", default=",".join(TARGETS))
    add("--labels", default="", help="labels:steps or labels:steps:unlabelled, comma-separated")
    add("--page", action="store_true", help="print the tables of what is trained; train nothing")
    add("--switches", action="store_true", help="print how PANDA's measure ranks, each way")
    args = parser.parse_args()
    shop = train.open_workshop(train.parse_arguments(["--out", args.out, "--tokens", "3000"]))
    if args.switches:
        studies = [Study(shop, target, page=True) for target in flags.names(args.targets)]
        for study in studies:
            study.plain(*SOURCES)
        print(*switches(studies), sep="\n")
    elif args.page:
        page(shop, flags.names(args.targets))
    if args.page or args.switches:
        return
    for target in flags.names(args.targets):
        for cell in flags.names(args.labels):
            count, steps, *more = cell.split(":")
            labels(Study(shop, target, labelled=int(count), steps=int(steps),
                         unlabelled="".join(more)))
        for part in flags.names(args.parts):
            PARTS[part](Study(shop, target))


if __name__ == "__main__":
    command.run(main, "verdicts.py")

"""The whole method from one command: prompt tuning, transfer, PANDA, and a report.

    python train.py                                        the toy world, some minutes
    python train.py --source mnli --target cb --model t5-base --data FOLDER

For each target, with its sources, in this order:

    source       each source's prompt, tuned on the source; then on the target:
    prompt       plain prompt tuning; prompt_2x with twice the steps, and the control
    prompt_3x    with three times: what a student costs, with the `prompt` that its similarity needs
                 and its `pot` (the source's own steps come on top)
    pot          prompt transfer: from the source's prompt, tuned on the target
    similarity   of each source's prompt and the plain target prompt
    panda        a fresh prompt that learns from the labels and from its `pot`, weighted by that,
                 as the paper has it; or panda_FORM, with another form of distillation
    panda_self   control: the same with `prompt_2x` as its teacher, no source at all
    pot_early    on request (fusion): `pot` from the average of the sources' prompts, and its
    panda_early  student; and panda_late, the student of all sources' `pot` at once
    finetune     all of T5's weights, on request

A *run* is one prompt's training, a *pass* one bank of prompts trained on one task together: all
that do not wait for each other. A seed decides start and order of the examples, alike for every
approach, so that none is luckier. A run is done again if what decides it changed. At a constant
rate prompt, _2x and _3x are one training (but for dropout and fp16), see states.leads.

Dimensions: B batch, S source, T target tokens, P prompt length, D model, N prompts in a bank.
"""

import plumbing  # noqa: F401: first, and Ctrl-C is one line from here on
import copy
import dataclasses
import math
import random
import time
from pathlib import Path

import torch

import data
import distill
import model
import prompt
import transferability
from distill import Run
from plumbing import (
    command, cores, device, files, flags, gpu, grid, hub, optimizer, ranks, report, states)
from plumbing.flags import option
from toy import world

# -------------------------------------------------------------------- the recipe

LESTER = "Lester et al. 2021, section 3"
STARTS = ("uniform", "vocabulary", "labels")
APPROACHES = ("prompt", "pot", "panda", "controls", "fusion", "finetune")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every number of the recipe: its default, what it is, where it comes from, its range.

    A flag is worth more than the model's recipe.json, and that more than the default, the paper's
    where it has one (`init` is not: docs/papers.md). PANDA's leaves lambda and temperature open.
    `decides`: the kinds of run that a number names by itself; the others show in a run's start or
    steps, in its teacher's weight, or in the examples.
    """

    length: int = option(100, f"vectors in a prompt ({LESTER}: 100; little gain beyond 20)",
                         at_least=1, at_most=1e4, decides=("prompt",))
    init: str = option("vocabulary", "a fresh prompt's start (Lester et al. 2021, section 3.2)",
                       choices=STARTS, words=", text:SOME WORDS, or a trained prompt: a folder of "
                       "ours or of PEFT, a .npy or a .pt file",
                       free=lambda how: how[:5] == "text:" < how.strip() or Path(how).exists())
    optimizer: str = option("adafactor", f"of prompts ({LESTER}: adafactor; PANDA's code: adamw)",
                            choices=("adafactor", "adamw"), decides=("prompt",))
    lr: float = option(0.3, f"rate of prompts ({LESTER}: 0.3)", above=0, at_most=1e3,
                       decides=("prompt",))
    schedule: str = option("constant", f"of the rate ({LESTER}: constant; cosine goes down to 0)",
                           choices=("constant", "cosine"), decides=("prompt",))
    weight_decay: float = option(1e-5, f"of prompts ({LESTER}: 1e-5)", at_least=0, at_most=1,
                                 decides=("prompt",))
    steps: int = option(30000, f"on the target ({LESTER}: 30,000)", at_least=1, at_most=1e8)
    source_steps: int = option(30000, "of a source prompt", at_least=1, at_most=1e8)
    batch: int = option(32, f"a prompt's examples a step ({LESTER}: 32)", at_least=1, at_most=1e5,
                        decides=("prompt", "finetune"))
    kd: str = option("kl,states", "forms of PANDA's distillation, comma-separated; kl is the "
                     "paper's (Zhong et al. 2022, section 3)", choices=tuple(distill.FORMS),
                     free=lambda kd: set(flags.names(kd)) <= set(distill.FORMS))
    strength: float = option(1.0, "lambda, PANDA's weight before the similarity, in units of the "
                             "form: kl 1, states, text 10, mse .01/batch", at_least=0, at_most=1e6)
    temperature: float = option(1.0, "of kl", above=1e-3, at_most=1e3, decides=("student",))
    metric: str = option("panda", "the similarity that weighs PANDA; none: 1 for every source",
                         choices=(*transferability.MEASURES, "none"))
    student_init: str = option("fresh", "start of a source's student", choices=("fresh", "source"))
    dropout: float = option(0.0, "in the frozen T5 while training (0 in Lester et al.'s code, 0.1 "
                            "in PANDA's)", at_least=0, at_most=0.9, decides=("prompt",))
    evals: int = option(20, "how often a run is scored on dev; the best of these is kept",
                        at_least=1, at_most=1e5, decides=("prompt", "finetune"))
    held_out: float = option(0.0, "share of dev kept for the report; 0: all, as in the papers",
                             at_least=0, below=1, decides=("prompt", "finetune"))
    max_input: int = option(512, "tokens of an input; its long part (a premise) is cut", at_least=2)
    max_dev: int = option(0, "dev examples used, evenly spaced over the file; 0: all", at_least=0)
    labelled: int = option(0, "training examples of a target that keep their labels, drawn by the "
                           "seed, not balanced; 0: all", at_least=0, at_most=1e6)
    unlabelled: str = option("", "inputs without labels for students", choices=("rest",), words=" "
                             "(the other training inputs), a number (so many more, of a generated "
                             "task), or a file", free=lambda how: not how or Path(how).is_file()
                             or how.isdecimal() and 0 < int(how[:8]) <= 1e6)
    finetune_lr: float = option(1e-3, f"of `finetune` ({LESTER}.1: 0.001)", above=0, at_most=10,
                                decides=("finetune",))
    finetune_dropout: float = option(0.1, "of `finetune` (T5's own: Raffel et al. 2020, section "
                                     "3.1.1)", at_least=0, at_most=0.9, decides=("finetune",))


# ----------------------------------------------------------------------- a start


def fresh_prompt(shop, task, seed):
    """A fresh prompt (P, D) of a task for a seed; from a text or a file it is the same for all.

    Drawn from the task's name, too: from the seed alone, a source's prompt and a target's would
    start from the same vectors, and would look alike for no other reason.
    """
    drawn = random.Random(f"start {task.name} {seed}").getrandbits(48)
    how, length, embedding = shop.recipe.init, shop.recipe.length, shop.t5.shared.weight
    if how not in STARTS and not how.startswith("text:"):
        return prompt.from_file(how, shop.fingerprint, (length, embedding.shape[1]))
    how, _, text = how.partition(":")
    return prompt.initialise(how, embedding, length, drawn, shop.tokenizer.pieces,
                             [ids[:-1] for ids in task.labels], shop.tokenizer.encode(text)[:-1])


# ------------------------------------------------------------------------ a step


def parts(shop, work, step):
    """A step's rows as distill.Rows, cut into parts: an iterator for each list of cores.together.

    A student reads as many inputs without a label as with one, if the task has any. For a form
    that compares answers their target is the teacher's own.
    """
    rows, t5, task, teachers, batch = [], work.t5, work.task, work.teachers, shop.recipe.batch
    for n, run in enumerate(work.runs):
        if n == work.lead[n] and step < run.steps:
            rows += [((n, i), *task.train[i], True) for i in task.step(run.seed, step, batch)]
            rows += [((n, i), task.inputs[i], teachers.told.get((n, i), [model.EOS]), False)
                     for i in (task.free(run.seed, step, batch) if run.teachers else ())]
    shares = distill.shares(rows, len(work.runs), teachers.form, work.bank.length)
    rows = ranks.mine(rows, lambda row: row[0][1])  # of this process, by the example
    return [(distill.Rows.of(part, *shares, t5.device, work.bank.length) for part in cores.passes(
        prompt.in_parts, t5, some, shop.tokens, work.bank.length, again=True))
        for some in cores.together(rows, t5, lambda row: row[0][0])]


def gradients(shop, work, step, scaler, explain=False):
    """One step's forward and backward: CE (N,), KD (N,), cosine of each run, input positions.

    A run's loss is the mean over the target tokens of its own rows, whatever part of the pass
    they fall into, and the losses of the runs are added: each prompt gets its own gradient.
    explain: whether to say the cosine of the two terms' gradients (else None).
    """
    t5, bank, runs, prompts = work.t5, work.bank, work.runs, list(work.bank.parameters())
    of = {}  # (term, prompt) -> its gradient, to explain how CE and KD pull: by their cosine

    def learn(some):  # of the parts
        told = scaler.scale(torch.zeros(3, len(runs), device=t5.device))  # CE, KD, positions
        for part in some:
            embedded, seen = bank.prepend(t5.embed(part.ids), part.ids != model.PAD, part.index)
            memory, said = shop.through(  # t5, of which a GPU plays a recording: plumbing/gpu.py
                t5, embedded, seen, model.shift_right(part.targets), again=explain)  # (B, P+S, D)
            terms = distill.loss(distill.Made(memory, bank.length, t5.output(said)), part,
                                 work.teachers.teach(part), work.teachers.form,
                                 shop.recipe.temperature)
            for k, term in enumerate((terms.ce, terms.total - terms.ce) if explain else ()):
                mine = {n: prompts[n] for n, _ in part.keys}
                grads = torch.autograd.grad(term.sum(), [*mine.values()], retain_graph=True)
                of.update({(k, n): of.get((k, n), 0) + grad for n, grad in zip(mine, grads)})
            scaler.scale(terms.total.sum()).backward()  # adds to each prompt's gradient
            told.index_add_(1, part.index, torch.stack([
                terms.ce, terms.kd, torch.full_like(terms.ce, part.ids.shape[1])]).detach())
        return told

    told = sum(shop.each(learn, parts(shop, work, step)) or [learn([])])
    apart = [of.get((k, n), 0 * p.data) for k in (0, 1) for n, p in enumerate(prompts) if explain]
    ranks.add(prompts, told, *apart)  # of all
    alike = [transferability.cosine(*pair) if run.teachers else None for run, *pair in zip(
        runs, apart, apart[len(runs):])] or [None] * len(runs)
    return *told[:2], alike, told[2].sum()


def dev_scores(shop, t5, bank, task, places):
    """The task's first metric of each prompt of the bank on these places of dev, in percent."""
    def ask(rows):
        return sum(shop.each(lambda some: prompt.ask(t5, bank, some, kinds, shop.tokens),
                             cores.together(rows, t5, lambda row: row[0])), [])

    kinds = {"all": task.kind(t5.device)}
    texts = task.texts(ranks.shared([(n, task.dev_ids[i], "all") for n in range(len(bank))
                                     for i in places], ask, len(places)))
    return [task.score(texts[n * len(places):(n + 1) * len(places)], places)
            for n in range(len(bank))]


# ------------------------------------------------------------------------ a pass


@dataclasses.dataclass
class Pass:
    """Runs that are trained together on one task: what is trained, by what, and how."""

    title: str
    task: data.Encoded
    runs: list
    decided: list  # of each run, what decides it: states.decided_by
    t5: model.T5
    bank: object  # a PromptBank with a prompt for each run, or Promptless around the T5
    optimizer: object  # of plumbing/optimizer.py, or one of torch.optim's
    rates: object  # step -> learning rate of each of the optimiser's groups
    dropout: float
    teachers: distill.Teachers
    keep_every: float = 60  # seconds between two states on disk, beside those of evaluations
    path: Path = None  # of these states

    def __post_init__(self):  # of each run, which one's prompt it shares: mostly its own
        self.lead = states.leads(self.decided)


def train(shop, work):
    """Train all runs of a Pass to their ends: their Results.

    The state on disk is all that is needed to go on bit for bit, and its name is a checksum of what
    decides the runs. The order of the examples is not in it: seed and step give it.
    """
    recipe, home, runs, bank = shop.recipe, shop.home, work.runs, work.bank
    path, steps = work.path or home.unfinished(work.decided), max(run.steps for run in runs)
    # For fp16 only, and one for the bank: if any prompt's gradient overflows, the step of all of
    # them is left out and the scale halved. So there, as with dropout, none is as if alone.
    scaler = torch.amp.GradScaler(work.t5.device.type, enabled=work.t5.amp == torch.float16)
    state = {"step": 0, "seconds": [0.0] * len(runs), "curves": [[] for _ in runs],
             "terms": [[] for _ in runs], "best": [bank.trained(n) for n in range(len(runs))]}
    things = {"bank": bank, "optimizer": work.optimizer, "scaler": scaler}
    speed, read, kept = 0.0, 0, time.time()  # positions a second, positions since the last state
    if home.resume and path.exists():
        state = states.go_on(path, things, work.title, steps) or state
        home.skip(states.steps_of(work.decided, state["step"]) * recipe.batch)
        epoch = -(-len(work.task.inputs) // recipe.batch) if work.teachers.bank else 0
        for step in range(min(state["step"], epoch)):  # they remember the same, to the last bit
            shop.each(lambda some: [*map(work.teachers.teach, some)], parts(shop, work, step))
    while state["step"] < steps:
        step, began = state["step"], time.time()
        for group, rate in zip(work.optimizer.param_groups, work.rates(step)):
            group["lr"] = rate
        work.dropout and torch.manual_seed(step + ranks.apart())  # a resume draws the same
        work.t5.dropout = work.dropout
        live = [n for n, run in enumerate(runs) if step < run.steps]
        trained = {work.lead[n] for n in live}
        # Each run is scored `evals` times, at even distances, the last time at its end.
        due = [n for n in live if (step + 1) * recipe.evals // runs[n].steps
               > step * recipe.evals // runs[n].steps]
        explain = any(runs[n].teachers for n in (due if step else live))  # costs a backward pass
        shop, (ce, kd, cosine, some) = device.fitting(gradients, shop, work, step, scaler, explain)
        work.t5.dropout, read = 0.0, read + some
        if due or not step:  # this waits for a GPU, as scores and states on disk do
            ce, kd, speed = ce.tolist(), kd.tolist(), read.item() / (time.time() - kept)
            states.check_finite(work, ce + kd, step, path)
        scaler.step(work.optimizer)  # every prompt is a parameter, and moves by itself
        scaler.update()
        work.optimizer.zero_grad()
        state["step"] = step = step + 1
        home.done += len(trained) * recipe.batch
        for n in due if step > 1 else live:
            state["terms"][n].append([step, *(one[work.lead[n]] for one in (ce, kd, cosine))])
        if due:  # on the examples to choose by, not on the reported ones
            evaluate(shop, work, state, due)
        for n in live:
            state["seconds"][n] += (time.time() - began) / len(trained)
        report.progress(home, work, state, steps, live, due, speed)
        if due or time.time() - kept > work.keep_every:
            states.check_finite(work, [p.sum().item() for p in bank.parameters()], step, path)
            states.keep(path, state, things)
            read, kept = 0, time.time()
    results = finish(shop, work, state)
    home.forget(path)
    return results


def evaluate(shop, work, state, due):
    """Score the runs that are due on the examples to choose by; keep those that got better."""
    asked = sorted({work.lead[n] for n in due})
    found = dev_scores(shop, work.t5, work.bank.part(asked), work.task, work.task.choose)
    for n in due:
        score = found[asked.index(work.lead[n])]
        if score > max([earlier for _, earlier in state["curves"][n]], default=-math.inf):
            state["best"][n] = work.bank.trained(work.lead[n])
        state["curves"][n].append([state["step"], score])


def finish(shop, work, state):
    """Score the best of each run on the reported examples, once, and write it: the Results."""
    results, bank = [], work.bank.holding(state["best"])
    memory = states.memory_of(work.bank, work.optimizer) // len(bank)
    trained = sum(p.numel() for p in bank.parameters()) // len(bank)
    scores = dev_scores(shop, work.t5, bank, work.task, work.task.report)
    for n, (run, decided) in enumerate(zip(work.runs, work.decided)):
        found = {"score": scores[n], "curve": state["curves"][n], "terms": state["terms"][n],
                 "right": work.teachers.right[n], "seconds": state["seconds"][n],
                 "trained": trained, "memory": memory}
        made_by = {"task": work.task.name, "seed": run.seed, "score": scores[n], "result": found,
                   "fingerprint": shop.fingerprint, "recipe": dataclasses.asdict(shop.recipe),
                   "decided_by": decided}
        folder = shop.home.trained(work.task.name, run.seed, decided)
        if bank.length:
            prompt.save(folder, state["best"][n], made_by, shop.name, shop.t5.config)
        else:
            with files.whole_folder(folder) as new:
                made_by["weights"] = model.save(bank.t5, new)
                files.copy(shop.folder, new, ("spiece.model", "recipe.json"))
                files.write_json(new / "tuned.json", states.signed(made_by))
        results.append(states.Result(**found, folder=folder, best=state["best"][n]))
    return results


def train_prompts(shop, task, runs, title, form="kl"):
    """Train in one pass those of the runs that are not done yet: a Result for each run.

    form: of distill.FORMS, for the runs that have teachers.
    """
    home, recipe, results = shop.home, shop.recipe, [None] * len(runs)
    decided = states.decided_by("prompt", shop, task, runs, recipe.dropout, form)
    home.alone(title, decided)
    for n, (run, by) in enumerate(zip(runs, decided)):  # what is there already
        folder, said = home.found(home.trained(task.name, run.seed, by), "prompt.json", by,
                                  prompt.load, shipped=world.PROMPTS / f"{task.name}-{run.seed}")
        if folder:
            results[n] = states.Result(**said["result"], folder=folder, best=prompt.load(folder)[0])
    if runs and "beside" in decided[0] and None in results:  # then the pass decides its runs
        results = [None] * len(runs)
    todo, results = home.todo(decided, results)
    mine, left = [runs[n] for n in todo], [decided[n] for n in todo]
    home.read_instead(title, [run for n, run in enumerate(runs) if n not in todo],
                      (states.steps_of(decided) - states.steps_of(left)) * recipe.batch)
    if todo:
        bank = prompt.PromptBank([run.start for run in mine]).to(shop.t5.device)
        teachers = distill.Teachers(shop.t5, mine, form)
        teachers.listen(task, mine, recipe.batch, shop.tokens, shop.each)
        work = Pass(title, task, mine, left, shop.t5, bank,
                    optimizer.of(recipe, bank.prompts),
                    lambda step: [optimizer.rate(recipe, step, run.steps) for run in mine],
                    recipe.dropout, teachers, path=home.unfinished(decided, todo))
        for n, result in zip(todo, train(shop, work)):
            results[n] = result
    return results


def tune_model(shop, task, seed):
    """Model tuning, the baseline: all weights of a copy of T5, in fp32, no prompt. A Result.

    Loop, steps, examples and choice of the best are those of the prompts. Lester et al. 2021,
    section 3.1: Adafactor at 0.001 (torch's: at most 1 / sqrt(step), which is more for a million).
    """
    home, recipe, title = shop.home, shop.recipe, f"{task.name} finetune {seed}"
    run = Run("finetune", seed, recipe.steps)
    [by] = states.decided_by("finetune", shop, task, [run], recipe.finetune_dropout, "")
    home.alone(title, [by])
    folder, said = home.found(home.trained(task.name, seed, by), "tuned.json", by, model.load)
    todo, [result] = home.todo([by], [folder and states.Result(**said["result"], folder=folder)])
    if not todo:
        home.read_instead(title, [run], run.steps * recipe.batch)
        return result
    # Not the frozen weights, which may be rounded to a short type; a copy, as `load` maps its file.
    t5 = copy.deepcopy(model.load(shop.folder, torch.float32, shop.t5.device)).requires_grad_(True)
    t5.amp = shop.t5.amp
    [result] = train(shop, Pass(
        title, task, [run], [by], t5, prompt.Promptless(t5), torch.optim.Adafactor(
            t5.parameters(), lr=recipe.finetune_lr), lambda step: [recipe.finetune_lr],
        recipe.finetune_dropout, distill.Teachers(t5, [run]), keep_every=math.inf))
    return dataclasses.replace(result, best=None)  # and to keep for every seed


# ---------------------------------------------------------------- the approaches


def source_prompt(shop, task):
    """The prompt (P, D) of a source task, seed 0: read if it was trained before, else trained."""
    run = Run("source", 0, shop.recipe.source_steps, fresh_prompt(shop, task, 0))
    [result] = train_prompts(shop, task, [run], f"source {task.name}")
    shop.home.link(result.folder, f"sources/{task.name}-0")
    print(f"source {task.name}: {result.score:.1f} on its reported dev examples", flush=True)
    return result.best


def transfer(shop, target, sources, wanted, seeds):
    """All approaches on one target.

    target: its data.Encoded; sources: name -> source prompt (P, D); wanted: of APPROACHES.
    Returns, each for every seed: approach ("pot toy-nli", say) -> Result, source -> measures.
    """
    recipe, found = shop.recipe, {}
    fresh = {seed: fresh_prompt(shop, target, seed) for seed in seeds}

    def learn(title, runs, form="kl"):
        for run, result in zip(runs, train_prompts(shop, target, runs, title, form)):
            found.setdefault(run.name, []).append(result)

    times = (1, 2, 3) if "controls" in wanted else (1,)  # the steps of prompt, _2x and _3x
    learn(f"{target.name} prompts", [
        Run(f"prompt_{k}x" if k > 1 else "prompt", seed, k * recipe.steps, fresh[seed])
        for k in times for seed in seeds] + [
        Run(f"pot {name}", seed, recipe.steps, source)
        for name, source in sources.items() for seed in seeds])
    # What weighs a student's teacher: the similarity of its own seed's plain target prompt.
    probes = [transferability.Probe.of(shop.t5, shop.tokenizer, target, seed) for seed in seeds]
    similar = {name: [transferability.all_measures(source, plain.best, asked) for plain, asked in
                      zip(found["prompt"], probes)] for name, source in sources.items()}
    # Rounded: the last bits differ from machine to machine, and name the run.
    close = [{name: 1.0 if recipe.metric == "none" else round(similar[name][i][recipe.metric], 4)
              for name in sources} for i in range(len(seeds))]
    if "fusion" in wanted:
        learn(f"{target.name} early fusion", [
            Run("pot_early", seed, recipe.steps, distill.fuse(sources, sims, fresh[seed]))
            for seed, sims in zip(seeds, close)])
    for form in flags.names(recipe.kd):
        learn(f"{target.name} students, {form}", [
            run for i, seed in enumerate(seeds) for run in distill.students(
                recipe, form, wanted, seed, fresh[seed], sources, close[i],
                {name: results[i].best for name, results in found.items()})], form)
    if "finetune" in wanted:
        found["finetune"] = [tune_model(shop, target, seed) for seed in seeds]
    return found, similar


# -------------------------------------------------------------------- the command


def parse_arguments(argv=None):
    """The flags, checked before anything is loaded. Raises ValueError."""
    return flags.of_train(argv, __doc__, Recipe, APPROACHES, data.find_task, str(world.MODEL))


def open_workshop(args):
    """The Workshop of a command. Says what runs where, and with which recipe."""
    where, dtype, why = device.choose(args.device, args.dtype, "finetune" in args.approach)
    folder, home = hub.checkpoint(args.model, cache=args.cache), states.Home(
        args.out, args.resume, args.quiet)
    if not args.dtype:
        dtype, why = device.measured(model.Config.read(folder), where, dtype, home.out, why)
    t5 = model.load(folder, device.DTYPES[dtype], ranks.device(where))
    t5.recompute = args.recompute  # which gpu.room counts with
    shop = states.Workshop(t5, data.Tokenizer(folder / "spiece.model"), folder,
                           "toy/t5" if folder == world.MODEL else args.model, dtype, args.recipe,
                           args.tokens or gpu.room(t5, args.recipe), home, cores.sharing(t5))
    report.device(shop, f"{where} ({why})", args.said)
    return shop


def main(argv=None):
    args = parse_arguments(argv)
    ranks.start(args.split)
    shop, seeds = open_workshop(args), range(args.first_seed, args.first_seed + args.seeds)
    # All tasks first: a missing file should not wait until the others have been trained. Few labels
    # are a target's alone: a source, even the same task, has all of its own.
    whole = dataclasses.replace(shop.recipe, labelled=0, unlabelled="")
    encoded = {(name, recipe): data.Encoded(name, shop.tokenizer, recipe, args.data, args.cache)
               for names, recipe in ((args.target, shop.recipe), (args.source, whole))
               for name in names}
    shop.home.planned = flags.planned_rows(args)
    for sources, targets in ranks.turns(args.source, args.target):  # one, but for --split pairs
        prompts = {name: source_prompt(shop, encoded[name, whole]) for name in sources}
        wholes = []
        for name in targets:
            target, alone = encoded[name, shop.recipe], prompt.Promptless(shop.t5)
            [promptless] = dev_scores(shop, shop.t5, alone, target, target.report)
            report.opening(target, promptless)
            others = {source: vectors for source, vectors in prompts.items() if source != name}
            found, similar = transfer(shop, target, others, args.approach, seeds)
            wholes.append(report.write(shop, target, seeds, found, similar, promptless))
    grid.write(shop.home, wholes)


if __name__ == "__main__":
    command.run(main, "train.py", goes_on=True)

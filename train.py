"""The whole method from one command: prompt tuning, transfer, PANDA, and a report.

    python train.py                                        the toy world, a minute or two
    python train.py --source mnli --target cb --model t5-base --data FOLDER

For each target, with its sources, in this order:

    source       each source's prompt, tuned on the source; then on the target:
    prompt       plain prompt tuning
    prompt_2x    control: the same with twice the steps, as many as a student and its teacher take
                 on the target (three times with `prompt`; the source's come on top)
    pot          prompt transfer: from the source's prompt, tuned on the target
    similarity   of each source's prompt and the plain target prompt
    panda        a fresh prompt that learns from the labels and from its `pot`, weighted by that
    panda_self   control: the same with `prompt` as its teacher, no source at all
    finetune     all of T5's weights, on request

Read from top to bottom: the recipe, a start, a step, a pass, the approaches, the command.

A *run* is one prompt's training, a *pass* one bank of prompts trained on one task together.
Approaches that do not wait for each other share a pass, all seeds with them. A seed decides the
prompt's start and the order of the examples, alike for every approach, so that differences are
not luck of the draw. The same command goes on where it stopped, and a run is done again only if
something that decides it changed.

Dimensions: B batch, S source, T target tokens, P prompt length, D model, N prompts in a bank.
"""

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
from plumbing import device, flags, report, states
from plumbing.download import checkpoint
from plumbing.flags import option
from toy import world

# -------------------------------------------------------------------- the recipe

LESTER = "Lester et al. 2021, section 3.1"
STARTS = ("uniform", "vocabulary", "labels")
APPROACHES = ("prompt", "pot", "panda", "controls", "finetune")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every number of the recipe: its default, what it is, where it comes from, its range.

    A flag is worth more than the recipe.json in the model's folder, which is worth more than
    the default here, the paper's. `decides` says whose results a number decides by itself;
    () is for what shows elsewhere: in a run's start or steps, in its teacher's weight (strength
    and metric), in the examples.
    """

    length: int = option(100, f"vectors in a prompt ({LESTER}: 100; little gain beyond 20)",
                         at_least=1)
    init: str = option("vocabulary", "a fresh prompt's start (Lester et al. 2021, section 3.2)",
                       choices=STARTS, words=", text:SOME WORDS, or a trained prompt: a folder of "
                       "ours or of PEFT, a .npy or a .pt file", decides=(),
                       free=lambda how: how.startswith("text:") or Path(how).exists())
    optimizer: str = option("adafactor", f"of prompts ({LESTER}: adafactor; PANDA's released code: "
                            "adamw)", choices=("adafactor", "adamw"))
    lr: float = option(0.3, f"learning rate of prompts ({LESTER}: 0.3)", above=0)
    schedule: str = option("constant", f"of the rate ({LESTER}: constant; cosine goes down to 0)",
                           choices=("constant", "cosine"))
    weight_decay: float = option(1e-5, f"of prompts ({LESTER}: 1e-5)", at_least=0)
    steps: int = option(30000, f"on the target ({LESTER}: 30,000)", at_least=1, decides=())
    source_steps: int = option(30000, "of a source prompt", at_least=1, decides=())
    batch: int = option(32, f"examples of one prompt in a step ({LESTER}: 32)", at_least=1,
                        decides=("prompt", "finetune"))
    kd: str = option("kl", "the form of PANDA's distillation (Zhong et al. 2022, section 3)",
                     choices=tuple(distill.FORMS), decides=("student",))
    strength: float = option(1.0, "lambda, PANDA's weight before the similarity (open in the "
                             "paper)", at_least=0, decides=())
    temperature: float = option(1.0, "of the distillation (open in the paper)", above=0,
                                decides=("student",))
    metric: str = option("panda", "the similarity that weighs PANDA", decides=(),
                         choices=tuple(transferability.MEASURES))
    dropout: float = option(0.0, "in the frozen T5 while training (0 in Lester et al.'s code, 0.1 "
                            "in PANDA's)", at_least=0, below=1)
    evals: int = option(20, "how often a run is scored on dev; the best of these is kept",
                        at_least=1, decides=("prompt", "finetune"))
    held_out: float = option(0.0, "share of dev kept from that choice and used for the report; 0: "
                             "choose and report on the same examples, as the papers do",
                             at_least=0, below=1, decides=("prompt", "finetune"))
    max_input: int = option(512, "tokens of an input; the long part (premise, passage) is cut",
                            at_least=2, decides=())
    max_dev: int = option(0, "dev examples used, evenly spaced over the file; 0: all", at_least=0,
                          decides=())
    finetune_lr: float = option(1e-3, f"learning rate of `finetune` ({LESTER}: 0.001)", above=0,
                                decides=("finetune",))
    finetune_dropout: float = option(0.1, "of `finetune` (T5's own: Raffel et al. 2020, section "
                                     "3.1.1)", at_least=0, below=1, decides=("finetune",))


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What all runs of one command share. Nothing in it changes but how far the work is."""

    t5: model.T5  # frozen
    tokenizer: data.Tokenizer
    folder: Path  # of the T5
    name: str  # of the T5, as it was given
    dtype: str
    recipe: Recipe
    tokens: int  # positions in one forward pass
    home: states.Home

    @property
    def fingerprint(self):
        return f"{self.t5.fingerprint}-{self.tokenizer.fingerprint}"


# ----------------------------------------------------------------------- a start


def fresh_prompt(shop, task, seed):
    """A fresh prompt (P, D) of a task for a seed; from a text or a file it is the same for all.

    Drawn from the task's name and the seed together. From the seed alone, a source's prompt and a
    target's would start from the same vectors, and would look alike for no other reason.
    """
    drawn = random.Random(f"start {task.name} {seed}").getrandbits(48)
    how, length, embedding = shop.recipe.init, shop.recipe.length, shop.t5.shared.weight
    if how not in STARTS and not how.startswith("text:"):
        return prompt.from_file(how, shop.fingerprint, (length, embedding.shape[1]))
    how, _, text = how.partition(":")
    return prompt.initialise(how, embedding, length, drawn, shop.tokenizer.pieces,
                             [ids[:-1] for ids in task.labels], shop.tokenizer.encode(text)[:-1])


# ------------------------------------------------------------------------ a step


def learning_rate(recipe, step, steps):
    """Of step 0, 1, …: constant, or half a cosine from lr to 0.

    0 after a run's last step: it has no rows any more, but Adam's momentum would go on.
    """
    if step >= steps:
        return 0.0
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclasses.dataclass(frozen=True)
class Run:
    """One prompt to be trained, or, without a start, all of T5."""

    name: str  # "pot toy-nli", say: approach and source
    seed: int
    steps: int
    start: torch.Tensor = None  # (P, D)
    teacher: torch.Tensor = None  # (P, D), frozen
    weight: float = 0.0  # of the teacher: lambda * similarity


def gradients(t5, bank, task, runs, teachers, step, recipe, tokens, scaler):
    """One step's forward and backward: (CE of each run, KD of each run, input tokens).

    A run's loss is the mean over the target tokens of its own rows, whatever part of the pass
    they fall into, and the losses of the runs are added: each prompt gets its own gradient. What
    is drawn and in which order, the seed and the step decide, not the cut into parts.
    """
    rows = [((n, i), *task.train[i]) for n, run in enumerate(runs) if step < run.steps
            for i in task.step(run.seed, step, recipe.batch)]
    count = [0] * len(runs)
    for (n, _), _, target in rows:
        count[n] += len(target)
    ce, kd, positions = *torch.zeros(2, len(runs), device=t5.device), 0
    for part in prompt.in_parts(rows, tokens, bank.length):
        keys = [key for key, _, _ in part]
        ids, targets = (model.pad([row[k] for row in part], t5.device) for k in (1, 2))
        index = torch.tensor([n for n, _ in keys], device=t5.device)
        mask, decoder_ids = ids != model.PAD, model.shift_right(targets)
        embedded, seen = bank.prepend(t5.embed(ids), mask, index)  # (B, P+S, D)
        logits = t5.decode(decoder_ids, t5.encode(embedded, seen), seen)  # (B, T, V)
        teaching = teachers and teachers.teach(keys, ids, mask, index, decoder_ids)
        share = torch.tensor([1 / count[n] for n, _ in keys], device=t5.device)
        terms = distill.loss(logits, targets, share, teaching, recipe.kd, recipe.temperature)
        scaler.scale(terms.total.sum()).backward()
        ce.index_add_(0, index, terms.ce)
        kd.index_add_(0, index, terms.kd)
        positions += ids.numel()
    return ce, kd, positions


def dev_scores(t5, bank, task, places, tokens):
    """The task's first metric of each prompt of the bank on these places of dev, in percent."""
    rows = [(n, task.dev_ids[i], "all") for n in range(len(bank)) for i in places]
    texts = task.texts(prompt.ask(t5, bank, rows, {"all": task.kind(t5.device)}, tokens))
    return [task.score(texts[n * len(places):(n + 1) * len(places)], places)
            for n in range(len(bank))]


# ------------------------------------------------------------------------ a pass


@dataclasses.dataclass
class Result:
    """What became of a run. Scores are in percent, of the task's first metric."""

    score: float  # of the best checkpoint, on the reported examples
    curve: list  # (step, score on the examples to choose by)
    seconds: float  # this run's share of its pass
    trained: int  # how many numbers
    memory: int  # bytes of what is trained, its gradients and the optimiser's state
    folder: Path = None  # where it lies
    best: torch.Tensor = None  # (P, D), the best by those examples; None of model tuning


@dataclasses.dataclass
class Pass:
    """Runs that are trained together on one task: what is trained, by what, and how."""

    title: str
    task: data.Encoded
    runs: list
    decided: list  # of each run, what decides it: states.decided_by
    t5: model.T5
    bank: object  # a PromptBank with a prompt for each run, or Promptless around the T5
    optimizer: torch.optim.Optimizer
    rates: object  # step -> learning rate of each of the optimiser's groups
    dropout: float
    teachers: object = None
    keep_every: float = 60  # seconds between two states on disk, beside those of evaluations


def train(shop, work):
    """Train all runs of a Pass to their ends: their Results.

    The state on disk is all that is needed to go on bit for bit: what is trained, what the
    optimiser and the scaler remember, the step, the best so far. The order of the examples is
    not in it: seed and step give it. Its name is a checksum of what decides the runs.
    """
    recipe, home, runs, bank = shop.recipe, shop.home, work.runs, work.bank
    path = home.unfinished(work.decided)
    steps = max(run.steps for run in runs)
    # For fp16 only, and one for the bank: if any prompt's gradient overflows, the step of all of
    # them is left out and the scale halved. So there, as with dropout, none is as if alone.
    scaler = torch.amp.GradScaler(work.t5.device.type, enabled=work.t5.amp == torch.float16)
    state = {"step": 0, "seconds": [0.0] * len(runs), "curves": [[] for _ in runs],
             "best": [bank.trained(n) for n in range(len(runs))]}
    if home.resume and path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, thing in (("bank", bank), ("optimizer", work.optimizer), ("scaler", scaler)):
            thing.load_state_dict(state[name])
        print(f"{work.title}: going on from step {state['step']} of {steps} ({path})", flush=True)
        home.done += sum(min(state["step"], run.steps) for run in runs) * recipe.batch
    kept = time.time()
    while state["step"] < steps:
        step, began = state["step"], time.time()
        for group, rate in zip(work.optimizer.param_groups, work.rates(step)):
            group["lr"] = rate
        torch.manual_seed(step)  # of the dropout, if there is any: a resume draws the same
        work.t5.dropout = work.dropout
        ce, kd, positions = gradients(work.t5, bank, work.task, runs, work.teachers, step, recipe,
                                      shop.tokens, scaler)
        work.t5.dropout = 0.0
        speed = positions / (time.time() - began)
        states.check_finite(work.title, (ce + kd).tolist(), step, path)
        scaler.step(work.optimizer)
        scaler.update()
        work.optimizer.zero_grad()
        state["step"] = step = step + 1
        live = [n for n, run in enumerate(runs) if step <= run.steps]
        home.done += len(live) * recipe.batch
        # Each run is scored `evals` times, at even distances, the last time at its end.
        due = [n for n in live if step * recipe.evals // runs[n].steps
               > (step - 1) * recipe.evals // runs[n].steps]
        if due:
            evaluate(shop, work, state, due)
        took = time.time() - began
        for n in live:
            state["seconds"][n] += took / len(live)
        report.progress(home, work, state, steps, live, due, ce.tolist(), kd.tolist(), speed)
        if due or time.time() - kept > work.keep_every:
            states.check_finite(work.title, [p.sum().item() for p in bank.parameters()], step, path)
            state |= {"bank": bank.state_dict(), "optimizer": work.optimizer.state_dict(),
                      "scaler": scaler.state_dict()}
            states.write_whole(path, lambda new: torch.save(state, new))
            kept = time.time()
    results = finish(shop, work, state)
    home.forget(path)
    return results


def evaluate(shop, work, state, due):
    """Score the runs that are due on the examples to choose by; keep those that got better."""
    some, task = work.bank.part(due), work.task
    for n, score in zip(due, dev_scores(work.t5, some, task, task.choose, shop.tokens)):
        if score > max([earlier for _, earlier in state["curves"][n]], default=-math.inf):
            state["best"][n] = work.bank.trained(n)
        state["curves"][n].append([state["step"], score])


def finish(shop, work, state):
    """Score the best of each run on the reported examples, once, and write it: the Results."""
    results, bank = [], work.bank.holding(state["best"])
    memory = states.memory_of(work.bank, work.optimizer) // len(work.runs)
    trained = sum(p.numel() for p in bank.parameters()) // len(bank)
    scores = dev_scores(work.t5, bank, work.task, work.task.report, shop.tokens)
    for n, (run, decided) in enumerate(zip(work.runs, work.decided)):
        found = {"score": scores[n], "curve": state["curves"][n], "seconds": state["seconds"][n],
                 "trained": trained, "memory": memory}
        made_by = {"task": work.task.name, "seed": run.seed, "score": scores[n], "result": found,
                   "fingerprint": shop.fingerprint, "recipe": dataclasses.asdict(shop.recipe),
                   "decided_by": decided}
        folder = shop.home.trained(work.task.name, run.seed, decided)
        if bank.length:
            prompt.save(folder, state["best"][n], made_by, shop.name, shop.t5.config)
        else:
            with states.whole_folder(folder) as new:
                model.save(bank.t5, new)
                states.copy(shop.folder, new, ("spiece.model", "recipe.json"))
                states.write_json(new / "tuned.json", made_by)
        results.append(Result(**found, folder=folder, best=state["best"][n]))
    return results


def train_prompts(shop, task, runs, title):
    """Train in one pass those of the runs that are not done yet: a Result for each run."""
    home, recipe, results = shop.home, shop.recipe, [None] * len(runs)
    decided = states.decided_by("prompt", shop, task, runs, recipe.dropout)
    for n, (run, by) in enumerate(zip(runs, decided)):
        folder, said = home.found(home.trained(task.name, run.seed, by), "prompt.json", by,
                                  shipped=world.PROMPTS / f"{task.name}-{run.seed}")
        if folder:
            results[n] = Result(**said["result"], folder=folder, best=prompt.load(folder)[0])
    if "beside" in decided[0] and None in results:  # the whole pass decides each of its runs
        results = [None] * len(runs)
    todo = [n for n, result in enumerate(results) if result is None]
    home.read_instead(title, [run for run, result in zip(runs, results) if result], recipe.batch)
    if todo:
        mine = [runs[n] for n in todo]
        bank = prompt.PromptBank([run.start for run in mine]).to(shop.t5.device)
        groups = [{"params": [p], "lr": recipe.lr} for p in bank.prompts]
        kind = {"adafactor": prompt.Adafactor, "adamw": torch.optim.AdamW}[recipe.optimizer]
        work = Pass(title, task, mine, [decided[n] for n in todo], shop.t5, bank,
                    kind(groups, weight_decay=recipe.weight_decay),
                    lambda step: [learning_rate(recipe, step, run.steps) for run in mine],
                    recipe.dropout, distill.Teachers(shop.t5, mine))
        for n, result in zip(todo, train(shop, work)):
            results[n] = result
    return results


def tune_model(shop, task, seed):
    """Model tuning, the baseline: all weights of a copy of T5, in fp32, no prompt. A Result.

    The loop, the number of steps, the examples of a seed and the choice of the best are those
    of the prompts. Lester et al. 2021, section 3: Adafactor, constant learning rate 0.001
    (torch's is never above 1 / sqrt(step), which 0.001 does not meet in a million steps).
    """
    home, recipe, run = shop.home, shop.recipe, Run("finetune", seed, shop.recipe.steps)
    title = f"{task.name} finetune {seed}"
    [by] = states.decided_by("finetune", shop, task, [run], recipe.finetune_dropout)
    folder, said = home.found(home.trained(task.name, seed, by), "tuned.json", by)
    if folder:
        home.read_instead(title, [run], recipe.batch)
        return Result(**said["result"], folder=folder)
    # Not the frozen weights, which may be rounded to a short type; a copy, as `load` maps its file.
    t5 = copy.deepcopy(model.load(shop.folder, torch.float32, shop.t5.device)).requires_grad_(True)
    t5.amp = shop.t5.amp
    [result] = train(shop, Pass(
        title, task, [run], [by], t5, prompt.Promptless(t5), torch.optim.Adafactor(
            t5.parameters(), lr=recipe.finetune_lr), lambda step: [recipe.finetune_lr],
        recipe.finetune_dropout, keep_every=math.inf))  # all weights are too large to write often
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
    Returns (name of approach -> a Result for each seed, source -> a dict of measures for each
    seed); an approach with a source is named "pot toy-nli", say.
    """
    recipe, found = shop.recipe, {}
    fresh = {seed: fresh_prompt(shop, target, seed) for seed in seeds}
    runs = [Run("prompt", seed, recipe.steps, fresh[seed]) for seed in seeds]
    runs += [Run(f"pot {name}", seed, recipe.steps, source)
             for name, source in sources.items() for seed in seeds]
    if "controls" in wanted:
        runs += [Run("prompt_2x", seed, 2 * recipe.steps, fresh[seed]) for seed in seeds]
    for run, result in zip(runs, train_prompts(shop, target, runs, f"{target.name} prompts")):
        found.setdefault(run.name, []).append(result)

    # The weight of a student's teacher: the similarity of its own seed's plain target prompt.
    ids = model.pad([ids for ids, _ in target.train[:100]], shop.t5.device)
    probe = transferability.Probe(shop.t5, ids, shop.tokenizer.sentinel(0))
    similar = {name: [transferability.all_measures(source, plain.best, probe)
                      for plain in found["prompt"]] for name, source in sources.items()}
    runs = []
    for i, seed in enumerate(seeds):
        for name in sources if "panda" in wanted else ():
            # Rounded: the last bits differ from machine to machine, and name the run.
            sim = round(similar[name][i][recipe.metric], 4)
            runs.append(Run(f"panda {name}", seed, recipe.steps, fresh[seed],
                            found[f"pot {name}"][i].best, distill.weight(sim, recipe.strength)))
        if "controls" in wanted:
            runs.append(Run("panda_self", seed, recipe.steps, fresh[seed],
                            found["prompt"][i].best, distill.weight(1.0, recipe.strength)))
    if runs:
        for run, result in zip(runs, train_prompts(shop, target, runs, f"{target.name} students")):
            found.setdefault(run.name, []).append(result)
    if "finetune" in wanted:
        found["finetune"] = [tune_model(shop, target, seed) for seed in seeds]
    return found, similar


# -------------------------------------------------------------------- the command


def parse_arguments(argv=None):
    """The flags, checked before anything is loaded. Raises ValueError."""
    return flags.of_train(argv, __doc__.split("\n")[0], Recipe, APPROACHES, data.find_task,
                          str(world.MODEL))


def open_workshop(args):
    """The Workshop of a command. Says what runs where, and with which recipe."""
    where, dtype, why = device.choose(args.device, args.dtype, "finetune" in args.approach)
    folder = checkpoint(args.model, cache=args.cache)
    t5 = model.load(folder, device.DTYPES[dtype], where)
    name = "toy/t5" if folder == world.MODEL else args.model
    shop = Workshop(t5, data.Tokenizer(folder / "spiece.model"), folder, name, dtype, args.recipe,
                    args.tokens, states.Home(args.out, args.resume))
    print(f"device {where} ({why}), {dtype}, {torch.get_num_threads()} threads; T5 {name}, "
          f"{sum(p.numel() for p in t5.parameters()):,} weights, {shop.fingerprint}\n{args.said}",
          flush=True)
    return shop


def main(argv=None):
    args = parse_arguments(argv)
    shop, seeds = open_workshop(args), range(args.first_seed, args.first_seed + args.seeds)
    # All tasks first: a missing file should not wait until the others have been trained.
    encoded = {name: data.Encoded(name, shop.tokenizer, shop.recipe, args.data, args.cache)
               for name in (*args.target, *args.source)}
    shop.home.planned = flags.planned_rows(args)
    prompts = {name: source_prompt(shop, encoded[name]) for name in args.source}
    for name in args.target:
        target, alone = encoded[name], prompt.Promptless(shop.t5)
        [promptless] = dev_scores(shop.t5, alone, target, target.report, args.tokens)
        report.opening(target, promptless)
        others = {source: vectors for source, vectors in prompts.items() if source != name}
        found, similar = transfer(shop, target, others, args.approach, seeds)
        report.write(shop.home, found, {
            "model": shop.name, "fingerprint": shop.fingerprint, "target": name,
            "metric": target.task.metrics[0], "seeds": list(seeds), "majority": target.majority,
            "promptless": promptless, "similarity": similar,
            "config": dataclasses.asdict(shop.recipe) | {"dtype": shop.dtype}})


if __name__ == "__main__":
    flags.run(main, "train.py")

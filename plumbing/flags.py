"""Flags said as data: the fields of a dataclass, each with its help, its source and its range.

    @dataclass(frozen=True)
    class Recipe:
        lr: float = option(0.3, "learning rate (Lester et al. 2021: 0.3)", above=0)

    add_options(parser, Recipe)                     --lr, with help and default
    recipe, said = chosen(Recipe, args, folder)     a flag, else the folder's recipe.json, else 0.3

A model folder may hold a recipe.json, name -> value: what suits this model, where that is not the
default. Beside the fields it may name the tasks of a run without --source and --target.
"""

import dataclasses
import math
from argparse import BooleanOptionalAction
from pathlib import Path

from plumbing.command import Parser
from plumbing.hub import published
from plumbing.intact import read_json

COMMAND = ("source", "target")  # what a recipe.json may hold beside the fields of the recipe


def option(default, text, at_least=None, above=None, below=None, at_most=None, choices=(),
           free=None, words="", decides=()):
    """A dataclass field that is a flag.

    free      value -> whether it is good beside the choices; words: what it then is
    decides   whose results it decides by itself: see states.decided_by
    """
    return dataclasses.field(default=default, metadata={
        "help": text, "at_least": at_least, "above": above, "below": below, "at_most": at_most,
        "choices": choices, "free": free, "words": words, "decides": decides})


def check(name, value, at_least=None, above=None, below=None, at_most=None, choices=(), free=None,
          words="", **_):
    """Raise ValueError that names the flag, its value and what is wanted, if that is not good."""
    flag = f"--{name.replace('_', '-')}"
    if choices:
        if value in choices or (free and free(value)):
            return
        if free and set(value) & set("/."):
            there = "this is a folder, no file", "there is no such file or folder"
            raise ValueError(f"{flag} {value}: {there[not Path(value).is_dir()]}")
        raise ValueError(f"unknown {name} {value!r}: {', '.join(choices)}{words}")
    good = ((at_least is None or value >= at_least) and (above is None or value > above)
            and (below is None or value < below) and (at_most is None or value <= at_most)
            and abs(value) < math.inf)
    if not good:
        limits = (f"at most {at_most:,.12g}" if at_most is not None and value > at_most else
                  f"{at_least} or more" if at_least is not None and below is None else
                  f"from {at_least} to below {below}" if at_least is not None else f"above {above}")
        raise ValueError(f"{flag} is {value}, wanted {limits}")


def add_options(parser, recipe):
    """A flag for each field. Its value is None where it was not given."""
    for field in dataclasses.fields(recipe):
        choices = field.metadata["choices"]
        one_of = f": {', '.join(choices)}{field.metadata['words']}" if choices else ""
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default),
                            help=f"{field.metadata['help']}{one_of} (default: "
                            f"{str(field.default) or 'none'})".replace("%", "%%"))


def read_recipe(folder, recipe, rest=False):
    """What the recipe.json of a model folder says, {} if there is none. Raises ValueError.

    rest: whether it may say more than the fields of this recipe, which is then left out.
    """
    path = Path(folder) / "recipe.json"
    if not path.exists():
        return {}
    said = read_json(path)
    kinds = {field.name: type(field.default) for field in dataclasses.fields(recipe)}
    kinds |= dict.fromkeys(COMMAND, str)
    if rest:
        said = {name: value for name, value in said.items() if name in kinds}
    for name, value in said.items():
        if name not in kinds or type(value) is not kinds[name]:
            raise ValueError(f"{path}: {name} is {value!r}, wanted an object of "
                             + ", ".join(f"{n} ({k.__name__})" for n, k in kinds.items()))
    return said


def chosen(recipe, args, folder):
    """(the recipe, a sentence that says what of it came from where). Raises ValueError."""
    fields = dataclasses.fields(recipe)
    given = {f.name: getattr(args, f.name) for f in fields if getattr(args, f.name) is not None}
    models = {name: value for name, value in read_recipe(folder, recipe).items()
              if name not in COMMAND}
    made = recipe(**models | given)
    for field in fields:
        check(field.name, getattr(made, field.name), **field.metadata)
    parts = [("flags", given)] if given else []
    if models:
        parts.append((f"{folder}/recipe.json", {n: v for n, v in models.items() if n not in given}))
    said = [f"{where}: {', '.join(f'{name} {value}' for name, value in values.items())}"
            for where, values in parts if values]
    said.append("the rest by default" if said else "all of it by default")
    return made, "recipe: " + "; ".join(said)


def train_parser(description, recipe, approaches):
    """The flags of train.py: what is run, on what, where; and those of the recipe."""
    parser = Parser(description=description, epilog=(
        "The recipe's defaults are the paper's, but for init (docs/papers.md); a recipe.json in "
        "the model's folder is worth more (toy/t5 has one), and a flag more than that."))
    add = parser.add_argument
    add("--source", help="source tasks, comma-separated (default: what the model's recipe names)")
    add("--target", help="target tasks, comma-separated (default: what the model's recipe names)")
    add("--model", help="t5-small … t5-11b, owner/name on the hub, or a folder (default: the toy "
        "T5, if all tasks are the toy world's)")
    add("--data", help="folder with the official files of the tasks, as `python data.py` lists "
        "them (default: fetched once into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or your cache folder)")
    add("--approach", help=f"comma-separated, of {', '.join(approaches)}; prompt always runs, "
        "panda and fusion (of several sources) bring pot, controls are prompt_2x, prompt_3x and "
        "panda_self (default: "
        "prompt,pot,panda,controls)")
    add("--seeds", type=int, default=3, help="how many seeds (default: 3)")
    add("--first-seed", type=int, default=0, help="the first of them (default: 0)")
    add("--out", default="runs", help="folder for all that is written (default: runs)")
    add("--device", help="cpu, cuda, … (default: cuda if there is one)")
    add("--dtype", choices=("fp32", "bf16", "fp16"), help="of the frozen weights and the products "
        "(default: fp32; bf16 on a GPU that has it, and on a CPU that is measured to be faster in "
        "it, but for a T5 as small as the toy's)")
    add("--tokens", type=int, help="positions, prompt and padding counted, in one forward pass, "
        "for memory; changes rounding, with dropout or fp16 more (default: 8192; on a GPU as many "
        "as a third of its memory holds, at most 65536)")
    add("--split", choices=("rows", "pairs"), default="rows", help="what torchrun's processes "
        "share: each step's rows, or whole sources and targets (default: rows)")
    add("--recompute", action="store_true", help="keep less of the encoder for the backward pass "
        "and compute it again, in a part of the memory: 1.4 times as slow on a CPU; on a GPU more, "
        "as nothing is recorded then, so try fewer --tokens first")
    add("--quiet", action="store_true", help="say nothing of a training on its way")
    add("--resume", action=BooleanOptionalAction, default=True, help="go on where the "
        "same command stopped, and read what it has trained (default: yes)")
    add_options(parser, recipe)
    return parser


def of_report(name):
    """Which approach brings what the report calls so, in words; "" for other names."""
    by = {"prompt_2x": "controls", "prompt_3x": "controls", "panda_self": "controls",
          "pot_early": "fusion", "panda_early": "fusion", "panda_late": "fusion"}
    if name in by:
        return f"; {name} comes with {by[name]}"
    return "; panda_FORM is panda with --kd FORM" if name.startswith("panda_") else ""


def of_train(argv, description, recipe, approaches, find_task, toy_model):
    """The flags of train.py, checked, with lists of names, and `recipe` and `said` of `chosen`.

    find_task: name -> its task, which has no files if it is generated; toy_model: the folder of
    the T5 that generated tasks have. Raises ValueError.
    """
    args = train_parser(description.split("\n")[0], recipe, approaches).parse_args(argv)
    check("seeds", args.seeds, at_least=1, at_most=10_000)
    check("first_seed", args.first_seed, at_least=0, at_most=2 ** 62)
    check("tokens", 1 if args.tokens is None else args.tokens, at_least=1, at_most=10 ** 9)
    for flag in ("source", "target", "approach", "model", "out", "data", "cache"):
        if getattr(args, flag) is not None and not names(getattr(args, flag)):
            raise ValueError(f"--{flag} {getattr(args, flag)!r} names nothing")
    if args.data and not Path(args.data).is_dir():
        raise ValueError(f"--data {args.data}: there is no such folder")
    for flag, path in (("cache", Path(args.cache or "")), ("out", Path(args.out))):
        if path.exists() and not path.is_dir():
            raise ValueError(f"--{flag} {path} is a file, wanted a folder")
    if args.split == "pairs" and not args.resume:
        raise ValueError("--split pairs reads what others have trained: not with --no-resume")
    args.approach = names(args.approach or "prompt,pot,panda,controls")
    for name in args.approach:
        check("approach", name, choices=approaches, words=of_report(name))
    given = [find_task(name) for name in names(f"{args.source or ''},{args.target or ''}")]
    if args.model is None and any(task.files for task in given):
        raise ValueError("only the toy world's tasks have a T5 of their own: give --model "
                         "t5-small, say, or a folder")
    args.model = args.model or str(toy_model)
    if not Path(args.model).is_dir():
        published(args.model)  # told before anything else is missed
    elif not (Path(args.model) / "config.json").exists():
        raise ValueError(f"--model {args.model}: this folder holds no config.json, so no T5")
    on_hub = f" ({args.model} is no folder here, so a name on the hub)"
    of_model = read_recipe(args.model, recipe)
    args.recipe, args.said = chosen(recipe, args, args.model)
    if (args.evals or 0) > (steps := min(args.recipe.steps, args.recipe.source_steps)):
        args.said += f"; a run of {steps} steps is scored after each, not {args.evals} times"
    with_source = bool({"pot", "panda", "fusion"} & set(args.approach))
    if args.source and not with_source:
        raise ValueError(f"--source {args.source}: only pot, panda and fusion have one, not "
                         f"--approach {','.join(args.approach)}")
    if len({*names(args.recipe.kd)}) < len(names(args.recipe.kd)):
        raise ValueError(f"--kd {args.recipe.kd} names a form twice")
    for flag, wanted in (("target", True), ("source", with_source)):
        found = names(getattr(args, flag) or (of_model.get(flag, "") if wanted else ""))
        setattr(args, flag, found)
        if wanted and not found:
            more = ", the tasks to transfer from, or --approach prompt" * (flag == "source")
            raise ValueError(f"give --{flag}{more}{'' if Path(args.model).is_dir() else on_hub}")
        if len({*found}) < len(found):
            raise ValueError(f"--{flag} {','.join(found)} names a task twice")
    if args.source == args.target and len(args.target) == 1:
        raise ValueError(f"{args.source[0]} cannot be its own source: give another --source, or "
                         "--approach prompt")
    others = min(len({*args.source} - {target}) for target in args.target)
    if "fusion" in args.approach and others < 2:
        raise ValueError("fusion is of several sources: give --source two others for each target")
    if args.recipe.unlabelled and not {"panda", "fusion", "controls"} & {*args.approach}:
        raise ValueError("--unlabelled is for students: give --approach panda, fusion or controls")
    return args


def planned_rows(args):
    """How many rows the command will train on, for the time left."""
    wanted, recipe, runs = set(args.approach), args.recipe, 0
    controls, fusion, forms = "controls" in wanted, "fusion" in wanted, len(names(recipe.kd))
    for target in args.target:
        sources = len(set(args.source) - {target})
        # prompt_2x and _3x: at a constant rate _3x alone is trained, see states.leads.
        alone = not recipe.dropout and args.dtype != "fp16"
        more = 2 if alone and recipe.schedule == "constant" else 2 + 3
        plain = 1 + more * controls + sources + fusion + ("finetune" in wanted)
        runs += args.seeds * (plain + forms * (
            sources * ("panda" in wanted) + 2 * fusion + controls))
    return (runs * recipe.steps + len(args.source) * recipe.source_steps) * recipe.batch


def names(text):
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]

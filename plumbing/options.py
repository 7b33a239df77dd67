"""Flags, each defined once as a field of a dataclass; their checks; and how a command ends.

    @dataclass(frozen=True)
    class Recipe:
        lr: float = option(0.3, "learning rate (Lester et al. 2021: 0.3)", above=0)

    add_options(parser, Recipe)                     --lr, with help and default
    recipe, origin = choose(Recipe, args, folder)   precedence: flag, recipe.json, default

A model folder may hold a recipe.json (name -> value) with the recipe for this model. It may also
name the source, target, approach and seeds for commands that do not give them.

How a command ends: with status 0; 2 and one line, if a flag, an input or a file is wrong; 1 if
memory is full or another process has stopped; 130 after Ctrl-C.
"""

import argparse
import dataclasses
import difflib
import itertools
import operator
import os
import re
import signal
import sys
from pathlib import Path

from plumbing.download import published
from plumbing.files import read_json

# What a recipe.json may name beside the fields of the recipe, with what holds if it does not.
OF_COMMAND = {"source": "", "target": "", "approach": "prompt,pot,panda", "seeds": 3}
RENAMED = {"--strength": "--kd-lambda", "--metric": "--similarity", "--seed": "--first-seed",
           "--learning-rate": "--lr"}
NO_HOME = "Could not determine home directory."  # pathlib's, as where a container has no users


# ---------------------------------------------------------------- how a command ends


def run(main, program):
    """Run a command. A mistake is one line on standard error; see the top of this file."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it as it ends other tools
    sys.stdout = sys.stdout or open(os.devnull, "w")  # None if it is closed, as by 1>&-
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # what the terminal does not know: ?
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last saved state"
        print(f"\n{program}: stopped{goes_on if program == 'train.py' else ''}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        status, message = explain(error)
        print(f"{program}: {process_name()}{message}", file=sys.stderr)
        sys.exit(status)


def explain(error):
    """(exit status, one line) of an error that a user can do something about; others are raised."""
    message = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return 2, message
    if isinstance(error, OSError):
        where = error.filename or "standard output or an open file"
        return 2, f"{where}: {error.strerror or message}"
    if message == NO_HOME:
        return 2, "~ and the cache need a home folder, and HOME is not set: set it, or give paths"
    if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", message):
        return 1, f"{message or 'out of memory'}; give fewer --tokens"
    is_one_of_several = os.environ.get("WORLD_SIZE", "1") != "1"
    if is_one_of_several and re.search("connection|peer|gloo|nccl|socket|timed out", message, re.I):
        return 1, f"stopped, as another process ended or did not answer: {message[:200]}"
    raise error


def process_name():
    """ "process 1: " of those that torchrun has started, all but the first; else ""."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"process {rank}: "


class Parser(argparse.ArgumentParser):
    """argparse, with a mistake as a ValueError that suggests the flag that may be meant.

    A flag is not abbreviated: --seed 1 would be one seed, and not seed 1.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, argv=None):
        argv = sys.argv[1:] if argv is None else argv
        for word in argv:
            if word.startswith("--") and word.endswith("=--"):  # argparse makes it an empty list
                raise ValueError(f"{word[:-3]} is '--', wanted a value")
        return super().parse_args(argv)

    def error(self, message):
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown is None:
            raise ValueError(f"{message}; --help lists all flags")
        flag = unknown[1].replace("_", "-")
        if RENAMED.get(flag) in self._option_string_actions:
            raise ValueError(f"unknown flag {unknown[1]}: it is called {RENAMED[flag]}")
        near = difflib.get_close_matches(flag, self._option_string_actions)
        hint = f"did you mean {near[0]}?" if near else "--help lists all flags"
        raise ValueError(f"unknown flag {unknown[1]}; {hint}")


# ---------------------------------------------------------------- options as data

# Kinds of limits of a number -> (whether it keeps to the limit, what is wanted).
LIMITS = {
    "at_least": (operator.ge, "{:,.12g} or more"),
    "above": (operator.gt, "more than {:,.12g}"),
    "below": (operator.lt, "less than {:,.12g}"),
    "at_most": (operator.le, "at most {:,.12g}"),
}


def option(default, text, choices=(), free=None, words="", **limits):
    """A dataclass field that is a flag.

    free: value -> whether it is good beside the choices; words: what it then is.
    limits: kind -> number, as in LIMITS.
    """
    return dataclasses.field(default=default, metadata={
        "help": text, "choices": choices, "free": free, "words": words, **limits})


def check(name, value, choices=(), free=None, words="", **limits):
    """Raise ValueError that names the flag, its value and what is wanted, if that is not good."""
    if choices and value not in choices and not (free and free(value)):
        raise ValueError(f"unknown {name} {value!r}: {', '.join(choices)}{words}")
    for kind, (is_good, wanted) in LIMITS.items():
        if kind in limits and not is_good(value, limits[kind]):  # nan keeps to none
            raise ValueError(f"--{name.replace('_', '-')} is {value}, wanted "
                             f"{wanted.format(limits[kind])}")


def add_options(parser, recipe):
    """A flag for each field. Its value is None where it was not given."""
    for field in dataclasses.fields(recipe):
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += f": {', '.join(field.metadata['choices'])}{field.metadata['words']}"
        text += f" (default: {field.default})"
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), help=text.replace("%", "%%"))


def read_recipe(folder, recipe):
    """What the recipe.json of a model folder says, {} if there is none. Raises ValueError."""
    path = Path(folder) / "recipe.json"
    if not path.exists():
        return {}
    defaults = {field.name: field.default for field in dataclasses.fields(recipe)} | OF_COMMAND
    values = read_json(path)
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f"{path}: unknown name {name!r}, wanted {', '.join(defaults)}")
        wanted = type(defaults[name])
        if type(value) is not wanted:
            raise ValueError(f"{path}: {name} is {value!r}, wanted a {wanted.__name__}")
    return values


def choose(recipe, args, folder, quick=None):
    """(the recipe, a sentence on where its values come from).

    Precedence: flag, quick (what --quick says: name -> value), the folder's recipe.json, default.
    """
    fields = {field.name: field.metadata for field in dataclasses.fields(recipe)}
    flags = {name: value for name, value in vars(args).items() if value is not None}
    layers = {"flags": flags, "--quick": quick or {},
              f"{folder}/recipe.json": read_recipe(folder, recipe)}
    values = {}
    origins = ""
    for origin, layer in layers.items():
        new = {name: layer[name] for name in fields if name in layer and name not in values}
        values.update(new)
        if new:
            listed = ", ".join(f"{name} {value}" for name, value in new.items())
            origins += f"{origin}: {listed}; "
    chosen = recipe(**values)
    for name, metadata in fields.items():
        check(name, getattr(chosen, name), **metadata)
    return chosen, f"recipe: {origins}all else by default"


def names(text):
    """The names in a comma-separated list. Raises ValueError for one that is there twice.

    >>> names("cb, rte")
    ['cb', 'rte']
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if len(set(found)) < len(found):
        raise ValueError(f"{text} names something twice")
    return found


def path_flag(path):
    """A path that a user gave, with ~ expanded. Raises ValueError."""
    if not re.fullmatch("[^\udc80-\udcff]+", str(path)):  # as Python reads bytes that are no UTF-8
        raise ValueError(f"{ascii(path)} is no path in UTF-8: rename it, or give another path")
    return Path(path).expanduser()


def model_flag(name):
    """A T5 that a user gave: a folder, or a published name, which is checked. Raises ValueError."""
    name = str(path_flag(name))
    if Path(name).is_file():
        raise ValueError(f"--model {name} is a file, wanted the folder of a T5: its config.json, "
                         "weights and spiece.model")
    if not Path(name).is_dir():
        published(name)
    return name


# ---------------------------------------------------------------- the flags of train.py


def train_parser(description, recipe, approaches):
    """What is run, on what, where; and the recipe."""
    parser = Parser(description=description, epilog="Precedence: flag, recipe.json in the model's "
                    "folder (toy/t5 has one), default.")
    add = parser.add_argument
    add("--source", help="source tasks, comma-separated (default: the model's recipe.json)")
    add("--target", help="target tasks, comma-separated (default: the model's recipe.json)")
    add("--model", help="the T5: t5-small … t5-11b, owner/name on the hub, or a folder (default: "
        "the toy T5, if all tasks are the toy world's)")
    add("--data", help="folder with the official files of the tasks; `python data.py` lists them "
        "(default: files are downloaded once into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or your cache folder)")
    add("--approach", help=f"one or more of {', '.join(approaches)}, comma-separated. prompt "
        "always runs; panda and fusion also run pot; fusion needs several sources; controls are "
        "prompt_2x, prompt_3x and self (default: prompt,pot,panda; for the toy T5 also controls)")
    add("--seeds", type=int, help="number of seeds (default: 3)")
    add("--quick", action="store_true", help="a quick check of a real task, in one or two minutes "
        "on a CPU: few steps, examples and evaluations, one seed (default: no)")
    add("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    add("--out", default="runs", help="folder for all output (default: runs)")
    add("--device", help="cpu, cuda, … (default: cuda if there is one)")
    add("--dtype", choices=("fp32", "bf16", "fp16"), help="number type of the frozen weights and "
        "the matrix products (default: bf16 if the processor computes in it, else fp32; fp32 for "
        "a T5 as small as the toy T5)")
    add("--tokens", type=int, help="positions of a micro-batch, prompt and padding included; give "
        "fewer if memory is short (default: 4096; on a GPU as many as a third of its memory holds)")
    add("--split", choices=("rows", "pairs"), default="rows", help="how torchrun's processes share "
        "the work: by some rows of every step, or by whole sources and targets (default: rows)")
    add("--quiet", action="store_true", help="do not print the progress of a training")
    add("--resume", action=argparse.BooleanOptionalAction, default=True, help="continue where the "
        "same command stopped, and reuse what it has trained (default: yes)")
    add_options(parser, recipe)
    return parser


def check_train(args, recipe, approaches):
    """Check the flags of train.py, and turn names into lists and paths into Paths. ValueError.

    args.recipe: the chosen recipe. What is not given comes from the model's recipe.json.
    """
    gave_source = bool(args.source)
    defaults = OF_COMMAND | read_recipe(args.model, recipe)
    if args.quick:
        defaults["seeds"] = 1
    for name in OF_COMMAND:
        if getattr(args, name) is None:
            setattr(args, name, defaults[name])
    check("seeds", args.seeds, at_least=1, at_most=10_000)
    check("first_seed", args.first_seed, at_least=0, at_most=2 ** 62)
    args.seeds = range(args.first_seed, args.first_seed + args.seeds)
    if args.tokens is not None:
        check("tokens", args.tokens, at_least=1, at_most=10 ** 9)
    for flag in ("out", "data", "cache"):
        if getattr(args, flag) is not None:
            setattr(args, flag, path_flag(getattr(args, flag)))

    args.approach = names(args.approach)
    for name in args.approach or [""]:
        check("approach", name, choices=approaches)
    args.target = names(args.target)
    args.source = names(args.source)
    if not args.target:
        raise ValueError("give --target, the tasks to tune on")
    if not {"pot", "panda", "fusion"} & set(args.approach):
        if gave_source:
            raise ValueError("only pot, panda and fusion have a --source, not --approach "
                             f"{','.join(args.approach)}")
        args.source = []
    elif all(pair[0] == pair[1] for pair in itertools.product(args.source, args.target)):
        raise ValueError("give --source, tasks other than the target, or --approach prompt")
    if "fusion" in args.approach:
        for target in args.target:
            if len(set(args.source) - {target}) < 2:
                raise ValueError(f"fusion is of several sources: give --source two beside {target}")
    if args.split == "pairs" and not args.resume:
        raise ValueError("--split pairs reads what others have trained: not with --no-resume")

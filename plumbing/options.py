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
import math
import os
import re
import signal
import sys
from pathlib import Path

from plumbing.download import published
from plumbing.files import read_json

# What a recipe.json may name beside the fields of the recipe.
OF_COMMAND = {"source": str, "target": str, "approach": str, "seeds": int}
RENAMED = {"--strength": "--kd-lambda", "--metric": "--similarity", "--seed": "--first-seed",
           "--learning-rate": "--lr"}
NO_HOME = "Could not determine home directory."  # pathlib's, as where a container has no users


# ---------------------------------------------------------------- how a command ends


def run(main, program):
    """Run a command. A mistake is one line on standard error; see the top of this file."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it as it ends other tools
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by 2>&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        getattr(sys, name).reconfigure(errors="replace")  # what the terminal does not know: ?
    try:
        main()
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
        return 2, f"{error.filename or 'a file'}: {error.strerror or message}"
    if message == NO_HOME:
        return 2, "~ and the cache need a home folder, and HOME is not set: set it, or give paths"
    if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", message):
        return 1, f"{message or 'out of memory'}; give fewer --tokens"
    is_one_of_several = os.environ.get("WORLD_SIZE", "1") != "1"
    if is_one_of_several and re.search("connection|peer|gloo|nccl|socket|timed out", message, re.I):
        return 1, f"stopped, as another process ended or did not answer: {message[:200]}"
    raise error


def process_name():
    """ "process 1 of 2: " of those that torchrun has started, all but the first; else ""."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        return ""
    return f"process {rank} of {os.environ.get('WORLD_SIZE', '?')}: "


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
        near = difflib.get_close_matches(flag, self._option_string_actions)
        if flag in RENAMED and RENAMED[flag] in self._option_string_actions:
            raise ValueError(f"unknown flag {unknown[1]}: it is called {RENAMED[flag]}")
        hint = f"did you mean {near[0]}?" if near else "--help lists all flags"
        raise ValueError(f"unknown flag {unknown[1]}; {hint}")


# ---------------------------------------------------------------- options as data


def option(default, text, at_least=None, above=None, below=None, at_most=None, choices=(),
           free=None, words=""):
    """A dataclass field that is a flag.

    free: value -> whether it is good beside the choices; words: what it then is.
    """
    return dataclasses.field(default=default, metadata={
        "help": text, "at_least": at_least, "above": above, "below": below, "at_most": at_most,
        "choices": choices, "free": free, "words": words})


def check(name, value, at_least=None, above=None, below=None, at_most=None, choices=(), free=None,
          words="", **_):
    """Raise ValueError that names the flag, its value and what is wanted, if that is not good."""
    if choices:
        if value not in choices and not (free and free(value)):
            raise ValueError(f"unknown {name} {value!r}: {', '.join(choices)}{words}")
        return
    flag = f"--{name.replace('_', '-')}"
    if not abs(value) < math.inf:
        raise ValueError(f"{flag} is {value}, wanted a finite number")
    if at_least is not None and value < at_least:
        raise ValueError(f"{flag} is {value}, wanted {at_least} or more")
    if above is not None and value <= above:
        raise ValueError(f"{flag} is {value}, wanted more than {above}")
    if below is not None and value >= below:
        raise ValueError(f"{flag} is {value}, wanted less than {below}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{flag} is {value}, wanted at most {at_most:,.12g}")


def add_options(parser, recipe):
    """A flag for each field. Its value is None where it was not given."""
    for field in dataclasses.fields(recipe):
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += f": {', '.join(field.metadata['choices'])}{field.metadata['words']}"
        text += f" (default: {field.default})"
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), help=text.replace("%", "%%"))


def read_recipe(folder, recipe, ignore_others=False):
    """What the recipe.json of a model folder says, {} if there is none. Raises ValueError.

    ignore_others: whether names that are no field of this recipe are left out, and no error.
    """
    path = Path(folder) / "recipe.json"
    if not path.exists():
        return {}
    types = {field.name: type(field.default) for field in dataclasses.fields(recipe)}
    types.update(OF_COMMAND)
    values = read_json(path)
    if ignore_others:
        values = {name: value for name, value in values.items() if name in types}
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"{path}: unknown name {name!r}, wanted {', '.join(types)}")
        if type(value) is not types[name]:
            raise ValueError(f"{path}: {name} is {value!r}, wanted a {types[name].__name__}")
    return values


def choose(recipe, args, folder, quick=None):
    """(the recipe, a sentence on where its values come from).

    Precedence: flag, quick (what --quick says: name -> value), the folder's recipe.json, default.
    """
    fields = dataclasses.fields(recipe)
    flags = {field.name: getattr(args, field.name) for field in fields
             if getattr(args, field.name) is not None}
    of_quick = without(quick or {}, flags)
    of_model = without(read_recipe(folder, recipe), OF_COMMAND | flags | of_quick)
    chosen = recipe(**of_model, **of_quick, **flags)
    for field in fields:
        check(field.name, getattr(chosen, field.name), **field.metadata)
    origins = []
    named = {"flags": flags, "--quick": of_quick, f"{folder}/recipe.json": of_model}
    for origin, values in named.items():
        if values:
            origins.append(f"{origin}: {listed(values)}")
    origins.append("all else by default")
    return chosen, "recipe: " + "; ".join(origins)


def without(values, names):
    """The values whose names are not among these."""
    return {name: value for name, value in values.items() if name not in names}


def listed(values):
    return ", ".join(f"{name} {value}" for name, value in values.items())


def names(text, twice=False):
    """The names in a comma-separated list. Raises ValueError for one that is there twice.

    >>> names("cb, rte")
    ['cb', 'rte']
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if len(set(found)) < len(found) and not twice:
        raise ValueError(f"{text} names something twice")
    return found


def path_flag(path):
    """A path that a user gave, with ~ expanded. Raises ValueError for bytes that are no UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{ascii(path)} is no UTF-8: rename it, or give another path") from None
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
    add("--seeds", type=int, help="number of seeds (default: 3; for the toy T5 5)")
    add("--quick", action="store_true", help="a quick check of a real task, in about a minute on a "
        "CPU: few steps, examples and evaluations, one seed (default: no)")
    add("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    add("--out", default="runs", help="folder for all output (default: runs)")
    add("--device", help="cpu, cuda, … (default: cuda if there is one)")
    add("--dtype", choices=("fp32", "bf16", "fp16"), help="number type of the frozen weights and "
        "the matrix products (default: bf16 if the processor computes in it, else fp32; fp32 for "
        "a T5 as small as the toy T5)")
    add("--tokens", type=int, help="positions of a micro-batch, prompt and padding included; give "
        "fewer if memory is short (default: 8192; on a GPU as many as a third of its memory holds)")
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
    of_model = read_recipe(args.model, recipe)
    seeds = 1 if args.quick else of_model.get("seeds", 3)
    seeds = seeds if args.seeds is None else args.seeds
    check("seeds", seeds, at_least=1, at_most=10_000)
    check("first_seed", args.first_seed, at_least=0, at_most=2 ** 62)
    args.seeds = range(args.first_seed, args.first_seed + seeds)
    if args.tokens is not None:
        check("tokens", args.tokens, at_least=1, at_most=10 ** 9)
    for flag in ("out", "data", "cache"):
        path = getattr(args, flag)
        if path == "":
            raise ValueError(f"--{flag} is empty, wanted a path")
        if path is not None:
            setattr(args, flag, path_flag(path))
    if args.data and not args.data.is_dir():
        raise ValueError(f"--data {args.data}: there is no such folder")
    approach = args.approach or of_model.get("approach", "prompt,pot,panda")
    args.approach = names(approach)
    if not args.approach:
        raise ValueError(f"--approach {approach!r} names nothing")
    for name in args.approach:
        check("approach", name, choices=approaches)
    has_source = bool({"pot", "panda", "fusion"} & set(args.approach))
    if args.source and not has_source:
        raise ValueError(f"--source {args.source}: only pot, panda and fusion have one, not "
                         f"--approach {approach}")
    args.target = names(args.target or of_model.get("target", ""))
    args.source = names(args.source or of_model.get("source", "")) if has_source else []
    if not args.target:
        raise ValueError("give --target, the tasks to tune on")
    if has_source and not args.source:
        raise ValueError("give --source, the tasks to transfer from, or --approach prompt")
    check_pairs(args)
    if args.split == "pairs" and not args.resume:
        raise ValueError("--split pairs reads what others have trained: not with --no-resume")


def check_pairs(args):
    """Each target needs a source other than itself; fusion needs two."""
    if not args.source:
        return
    for target in args.target:
        others = [source for source in args.source if source != target]
        if not others and len(args.target) == 1:
            raise ValueError(f"{target} cannot be its own source: give another --source, or "
                             "--approach prompt")
        if "fusion" in args.approach and len(others) < 2:
            raise ValueError("fusion is of several sources: give --source two others for each "
                             "target")

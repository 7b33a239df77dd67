"""What `python data.py` and `python model.py` print, each handed its chapter's functions.

    of_data     the table of the tasks, or examples of one as the model sees them
    of_model    the continuation of a text, or whether the weights are the published ones
"""

from collections import Counter

import torch

from plumbing.command import Parser
from plumbing.download import archive_of
from plumbing.flags import check
from plumbing.hub import checkpoint
from plumbing.tokenizer import PAD, Tokenizer

MOST = 4096  # tokens that model.py reads or writes
# Of the published weights, from T5's own code in Mesh TensorFlow: the summed log p of
# "Hi I am" (eos counted) after "Hello there".
KNOWN_ANSWERS = {"t5-small": -19.0845, "google/t5-v1_1-small": -59.0293}


def show_tasks(tasks, made):
    """The table of the tasks; made: name -> (train, dev) examples of a generated one."""
    print(f"{'task':12} {'train':>7} {'dev':>6}  metrics; labels; files")
    for name, task in tasks.items():
        sizes = task.sizes if task.files else made[name.removeprefix("toy-")]
        where = ("generated" if not task.files else "fetched: " if archive_of(task.files[0])
                 else "by hand: ") + ", ".join(task.files)
        print(f"{name:12} {sizes[0] if sizes else '?':>7} {sizes[1] if sizes else '?':>6}  "
              f"{', '.join(task.metrics)}; {', '.join(task.labels) or 'free text'}; {where}")


def show_examples(args, metric, load, majority):
    """The first dev examples of a task as the model sees them, and how many tokens that is."""
    train, dev = load(args.task, args.data, args.cache)
    tokenizer = Tokenizer(checkpoint(args.model, cache=args.cache, weights=False) / "spiece.model")
    commonest = majority(args.task, Counter(e.target for e in train), dev)
    print(f"{args.task}: {len(train)} train, {len(dev)} dev, {metric} of the commonest target "
          f"{commonest:.1f} on all dev")
    rows, _ = tokenizer.encode_inputs(dev[:args.count], args.max_input)
    for example, ids in zip(dev, rows):
        whole, target = tokenizer.encode(example.input), tokenizer.encode(example.target)
        cut = f", cut from {len(whole)}" if len(ids) < len(whole) else ""
        text = tokenizer.decode(ids) if cut else example.input
        print(f"\ninput  ({len(ids)} tokens{cut})  {text}"
              f"\ntarget ({len(target)} tokens)  {example.target}"
              + (f"\nscored against  {' | '.join(example.golds)}" if example.golds else ""))


def of_data(tasks, find_task, load, majority, world):
    """`python data.py`. world: the one of the generated tasks, with their SIZES and its MODEL.

    The others are data.py's, under its names. Raises ValueError for a flag or task that is wrong.
    """
    parser = Parser(
        description="Tasks as text to text, and their examples as token ids.")
    add = parser.add_argument
    add("task", nargs="?", help="show examples of this task")
    add("--data", help="folder with the official files (default: fetched into the cache)")
    add("--cache", help="folder for downloads (default: $PANDA_T5_CACHE, or the user's cache)")
    add("--model", help="folder with a spiece.model, or name, whose vocabulary counts the tokens "
        "(default: the toy T5 for generated tasks, else t5-small)")
    add("--max-input", type=int, default=512, help="tokens of an input (default: 512)")
    add("--count", type=int, default=3, help="how many dev examples to show (default: 3)")
    args = parser.parse_args()
    if args.task is None:
        show_tasks(tasks, world.SIZES)
        return
    if args.model is None:
        args.model = "t5-small" if find_task(args.task).files else str(world.MODEL)
    check("max_input", args.max_input, at_least=2)
    check("count", args.count, at_least=0)
    show_examples(args, find_task(args.task).metrics[0], load, majority)


def of_model(load):
    """`python model.py`. load: folder -> a T5. Raises ValueError for weights that are others."""
    parser = Parser(description="Continue a text, or check the published weights.")
    add = parser.add_argument
    add("model", help="a folder, or a name such as t5-small")
    add("text", nargs="?", default="Hello there", help="what T5 reads")
    add("--max-tokens", type=int, default=40, help="longest answer (default: 40)")
    add("--check", choices=sorted(KNOWN_ANSWERS), help="hold these weights against a known answer")
    args = parser.parse_args()
    check("max_tokens", args.max_tokens, at_least=1, at_most=MOST)
    folder = checkpoint(args.model)
    t5, tokenizer = load(folder), Tokenizer(folder / "spiece.model")
    ids = torch.tensor([tokenizer.encode("Hello there" if args.check else args.text)])
    if ids.shape[1] > MOST:  # attention takes the square of it
        raise ValueError(f"the text has {ids.shape[1]} tokens, wanted at most {MOST}; T5 was "
                         "trained on 512")
    mask = ids != PAD
    memory = t5.encode(t5.embed(ids), mask)
    if args.check is None:
        print(tokenizer.decode(t5.generate(memory, mask, args.max_tokens)[0].tolist()))
        return
    found = t5.score_labels(memory, mask, torch.tensor([tokenizer.encode("Hi I am")])).item()
    known = KNOWN_ANSWERS[args.check]
    said = f"log p(Hi I am | Hello there) = {found:.4f}, known {known:.4f}"
    if abs(found - known) >= 1e-4:
        raise ValueError(f"{args.model} is not the published {args.check}: {said}")
    print(f"{said}: agrees")

"""A number for each pair of prompts, as a table, and how well it ranks the sources of a target.

    similar[target][source]    what a measure says of the pair
    scores[target][source]     what was found: the score on the target that this source led to
"""

import json
from pathlib import Path

from plumbing.command import Parser
from plumbing.flags import check
from plumbing.stats import holm, mean_permutation_p, permutation_p, spearman


def arguments(argv, description, metrics):
    """The flags of transferability.py; metrics: those that need the prompts only."""
    parser = Parser(description=description, epilog=(
        "The other measures ask the model about examples of the task: train.py gives them, in "
        "every results.json under similarity."))
    parser.add_argument("prompts", nargs="+", metavar="PROMPT",
                        help="folder of ours or of PEFT, .npy or .pt file; called by its last name")
    parser.add_argument("--metric", default=metrics[0], help=f"{' or '.join(metrics)} "
                        f"(default: {metrics[0]})")
    parser.add_argument("--scores", help="JSON of what was found, {target: {source: score}}, by "
                        "itself or under R: says how well the measure ranks each target's sources")
    args = parser.parse_args(argv)
    check("metric", args.metric, choices=metrics)
    return args


def named(paths, read):
    """The prompts at these paths, as `read` gives them, by name. Raises ValueError.

    The name is that of the folder, or of the file without .pt. Prompts of one name or of two
    widths cannot stand in one table; their lengths may differ.
    """
    prompts = {}
    for path in map(Path, paths):
        name = path.name if path.is_dir() else path.stem
        if name in prompts:
            raise ValueError(f"{path}: a second prompt of the name {name}")
        prompts[name] = read(path)
    widths = {name: prompt.shape[1] for name, prompt in prompts.items()}
    if len({*widths.values()}) > 1:
        raise ValueError("prompts of several widths, so of several models: "
                         + ", ".join(f"{name} {width}" for name, width in widths.items()))
    return prompts


def read_scores(path):
    """{target: {source: score}} of a JSON file, as it is or under "R". Raises ValueError."""
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--scores {path}: {error}") from None
    found = said.get("R", said) if isinstance(said, dict) else said
    rows = list(found.values()) if isinstance(found, dict) else [found]
    if not all(isinstance(row, dict) and all(type(score) in (int, float) for score in row.values())
               for row in rows):
        raise ValueError(f"--scores {path}: wanted {{target: {{source: score}}}}")
    return found


def table(similar, title):
    """Lines of Markdown: a row for each source, a column for each target.

    >>> print(*table({"a": {"a": 1.0, "b": 0.25}, "b": {"a": 0.25, "b": 1.0}}, "e_avg"), sep="\\n")
    | e_avg, from | to a | to b |
    |---|---|---|
    | a | +1.00 | +0.25 |
    | b | +0.25 | +1.00 |
    """
    lines = [f"| {title}, from | {' | '.join(f'to {target}' for target in similar)} |",
             "|---" * (len(similar) + 1) + "|"]
    return lines + [f"| {name} | {' | '.join(f'{row[name]:+.2f}' for row in similar.values())} |"
                    for name in similar]


def judged(similar, scores):
    """Lines of Markdown: for each target Spearman's correlation of measure and score, with p.

    Over the other sources that both have, at least three: of a prompt on its own task there is
    nothing to choose. The mean's p shuffles the sources of each target by itself, as if targets
    were independent; where the same sources are good for all of them, it is too small.
    """
    pairs = {}
    for target in similar:
        sources = [s for s in similar if s != target and s in scores.get(target, {})]
        if len(sources) > 2:
            pairs[target] = ([similar[target][s] for s in sources],
                             [scores[target][s] for s in sources])
    if not pairs:
        raise ValueError("the scores hold no target with three of the other prompts as sources; "
                         f"the prompts are {', '.join(similar)}, the targets {', '.join(scores)}")
    found = {target: spearman(*pair) for target, pair in pairs.items()}
    ps = [permutation_p(*pair) for pair in pairs.values()]
    lines = ["| target | sources | Spearman | p, permutation | p, Holm |", "|---|---|---|---|---|"]
    lines += [f"| {target} | {len(pairs[target][0])} | {found[target]:+.2f} | {p:.4f} | {h:.4f} |"
              for target, p, h in zip(pairs, ps, holm(ps))]
    mean, p = sum(found.values()) / len(found), mean_permutation_p(list(pairs.values()))
    return lines + ["", f"mean over {len(pairs)} targets {mean:+.3f}, p {p:.4f} (10,000 draws)"]


def run(argv, description, measures, read):
    """The command: a table, and with scores how well it ranks. read: path -> prompt (P, D)."""
    args = arguments(argv, description, tuple(measures))
    prompts = named(args.prompts, read)
    similar = {target: {source: measures[args.metric](prompts[source], prompts[target])
                        for source in prompts} for target in prompts}
    print(*table(similar, args.metric), sep="\n")
    if args.scores:
        print("", *judged(similar, read_scores(args.scores)), sep="\n")

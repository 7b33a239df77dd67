"""Make the tiny T5 of this folder: its vocabulary, its pretraining, its table of scores.

    python toy/pretrain.py            # resumes where it stopped; a GPU is used if there is one

Trained as the public T5 v1.0 checkpoints were (Raffel et al. 2020, sections 3.1.4
and 3.5.3): span corruption on plain text, mixed with supervised tasks under a
prefix. The small tasks and one whole kind (`world.UNSEEN`) are left out.
"""

import argparse
import io
import os
import random
import shutil
import sys
import time
from pathlib import Path

import sentencepiece
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere
import model
from plumbing.tokenizer import EXTRA_IDS, Tokenizer
from toy import world

HERE = Path(__file__).resolve().parent
SIZES = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_decoder_layers": 2,
         "num_heads": 4}
# How often each kind of example is drawn, in percent. Inference is the hard part.
MIXTURE = {"plain": 15, "nli": 25, "reasons": 18, "rte": 7, "qqp": 8, "boolq": 8, "sst2": 5,
           "ner": 5, "cola": 6, "dictionary": 3}
WORDS_OF = set(MIXTURE) & set(world.TASKS)


def train_tokenizer(folder, seed):
    """spiece.model: a unigram vocabulary in which every word of the world is one piece."""
    rng = random.Random(f"tokenizer {seed}")
    lines = [world.passage(rng) for _ in range(5000)]
    for name in world.TASKS:
        lines += [f"{name} {text} {target}" for text, target in world.examples(name, 2000, seed)]
    for name in ("dictionary", "reasons"):
        lines += [" ".join((name, *world.PRETRAINING[name](rng))) for _ in range(2000)]
    words = sorted(set(" ".join(lines).split()))
    # Unigram training splits what has only been seen with one neighbour: give each two.
    lines += [f"{word} {word}" for word in words] * 50
    result = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=result, model_type="unigram",
        vocab_size=len(words) + 60, hard_vocab_limit=False, character_coverage=1.0,
        split_by_number=False, split_by_unicode_script=False,
        normalization_rule_name="identity",  # the default's tables would be most of the file
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2)
    (folder / "spiece.model").write_bytes(result.getvalue())


def corrupt(rng, ids, sentinel, density=0.15, mean_span=3.0):
    """Span corruption (T5 paper, section 3.1.4): (input, target) ids, both ending in eos.

    Each span of the input becomes one sentinel, and the target lists the sentinels,
    each with the tokens it stands for. `sentinel` is the id of <extra_id_0>.
    """
    noise = max(1, round(len(ids) * density))
    spans = max(1, round(noise / mean_span))
    cuts = sorted(rng.sample(range(1, noise), spans - 1)) if spans > 1 else []
    lengths = [b - a for a, b in zip([0] + cuts, cuts + [noise])]
    # Spans stand apart: choose where, then let each push the later ones on.
    starts = sorted(rng.sample(range(len(ids) - noise + 1), spans))
    source, target, at, gone = [], [], 0, 0
    for i, (start, length) in enumerate(zip(starts, lengths)):
        start += gone
        source += ids[at:start] + [sentinel - i]
        target += [sentinel - i] + ids[start:start + length]
        at, gone = start + length, gone + length
    return source + ids[at:] + [model.EOS], target + [sentinel - spans, model.EOS]


def draw(rng, tokenizer):
    """One pretraining example, (input ids, target ids)."""
    kind = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
    # Half of the plain text is passages, half the words of a task without its question.
    words = rng.choice(sorted(WORDS_OF)) if kind == "plain" and rng.random() < 0.5 else kind
    if words == "plain":
        text, target = world.passage(rng), ""
    else:
        text, target = next(pair for pair in iter(lambda: world.PRETRAINING[words](rng), None)
                            if not world.kept_for_dev(pair[0]))
    if kind == "plain":
        return corrupt(rng, tokenizer.encode(text)[:-1], tokenizer.sentinel(0))
    return [tokenizer.encode(part) for part in (f"{kind} {text}", target)]


def batch_loss(t5, rows, device):
    """Backward of the mean loss of a batch, each example counting the same; returns it.

    The rows are taken in four parts by length, which saves a third of the padding.
    """
    rows = sorted(rows, key=lambda row: (len(row[0]), len(row[1])))
    total = 0.0
    for i in range(0, len(rows), len(rows) // 4):
        part = rows[i:i + len(rows) // 4]
        source, target = (model.pad([row[side] for row in part], device) for side in (0, 1))
        mask = source != model.PAD
        logits = t5.decode(model.shift_right(target), t5.encode(t5.embed(source), mask), mask)
        tokens = (target != model.PAD).sum(1)
        loss = -(model.target_log_probs(logits, target).sum(1) / tokens).sum() / len(rows)
        loss.backward()
        total += loss.item()
    return total


@torch.no_grad()
def accuracies(t5, tokenizer, device, count=500):
    """Share of dev examples answered word for word, by generation under each task's prefix."""
    result = {}
    for title, name, task in [("nli as pretrained", "nli", world.written)] + [
            (name, name, None) for name in world.TASKS]:
        pairs = world.examples(name, count, seed=1, dev=True, task=task)
        source = model.pad([tokenizer.encode(f"{name} {text}") for text, _ in pairs], device)
        mask = source != model.PAD
        ids = t5.generate(t5.encode(t5.embed(source), mask), mask, 24).tolist()
        answers = [tokenizer.decode(row) for row in ids]
        result[title] = 100 * sum(a == target for a, (_, target) in zip(answers, pairs)) / count
    return result


def learning_rate(step, steps):
    """Relative to a tensor's own size: 300 steps of warm-up, flat, the last third down to 0."""
    return 0.012 * min(1, (step + 1) / 300, 3 * (1 - step / steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=5500, help="training steps (default: 5500)")
    parser.add_argument("--batch", type=int, default=128, help="examples in a step (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/toy-t5"),
                        help="folder of the checkpoint (default: runs/toy-t5)")
    parser.add_argument("--new-vocabulary", action="store_true",
                        help="train a vocabulary instead of taking that of toy/t5")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.batch % 4:
        raise SystemExit(f"pretrain.py: --batch is {args.batch}, wanted a multiple of 4")
    if args.new_vocabulary:
        train_tokenizer(args.out, args.seed)
    elif not (args.out / "spiece.model").exists():
        shutil.copy(HERE / "t5" / "spiece.model", args.out)
    tokenizer = Tokenizer(args.out / "spiece.model")
    t5 = model.initialise(model.Config(tokenizer.pieces + EXTRA_IDS, **SIZES), args.seed)
    t5.to(args.device)
    # T5 was trained with steps in proportion to each tensor's own size (Adafactor's
    # parameter scaling). The same with Adam: without it the embedding, which starts at
    # size 1, hardly moves while the small query weights are shaken.
    groups = [{"params": [p], "size": p.detach().pow(2).mean().sqrt().item()}
              for p in t5.parameters()]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    last, step, seconds = args.out / "pretrain.pt", 0, 0.0
    if last.exists():
        state = torch.load(last, map_location=args.device, weights_only=True)
        t5.load_state_dict(state["t5"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
        print(f"going on from step {step}")
    running = None
    while step < args.steps:
        began = time.time()
        rng = random.Random(f"{args.seed} {step}")  # nothing of it to keep for a resume
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps) * group["size"]
        optimizer.zero_grad()
        loss = batch_loss(t5, [draw(rng, tokenizer) for _ in range(args.batch)], args.device)
        torch.nn.utils.clip_grad_norm_(t5.parameters(), 1.0)
        optimizer.step()
        step += 1
        seconds += time.time() - began
        running = loss if running is None else 0.98 * running + 0.02 * loss
        if step % 500 == 0 or step == args.steps:
            scores = accuracies(t5, tokenizer, args.device, count=200)
            print(f"step {step}/{args.steps} loss {running:.3f} minutes {seconds / 60:.1f} "
                  + " ".join(f"{name} {value:.0f}" for name, value in scores.items()), flush=True)
            model.save(t5, args.out)
            torch.save({"t5": t5.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                        "seconds": seconds}, last.with_suffix(".new"))
            os.replace(last.with_suffix(".new"), last)
    print(f"\n{step} steps of {args.batch}, {seconds / 60:.0f} minutes on {args.device} "
          f"({torch.get_num_threads()} threads), seed {args.seed}\n")
    print("| task | in pretraining | word for word right, % |\n|---|---|---|")
    for name, value in accuracies(t5, tokenizer, args.device).items():
        print(f"| {name} | {'no' if name in world.UNSEEN else 'yes'} | {value:.1f} |")


if __name__ == "__main__":
    main()

"""The prompt bank: all that is ever trained here.

A soft prompt is P vectors of size D that stand in front of an embedded input
(Lester, Al-Rfou and Constant 2021, "The Power of Scale for Parameter-Efficient
Prompt Tuning", section 2). The T5 behind it is frozen. This file holds N of them at
once, and each row of a batch names the one that it uses:

    bank row  0: [p p p p]      batch row 0 (index 1): [q q q q] old cats … </s>
              1: [q q q q]            row 1 (index 0): [p p p p] the soups … </s>

That one gather is prompt tuning (N = 1), several seeds in one pass, an ensemble,
and a batch of several tasks. As each prompt meets only its own rows, and a loss
that is averaged over its own rows, N prompts trained together get the gradients of
N prompts trained alone (tests/test_prompt.py proves it).

Also here: where a prompt starts from (section 3.2 of the paper), what several prompts
of one task answer together (section 6), which words a prompt lies near (section 7),
and how it is kept on disk, in the layout that the PEFT library reads.

Dimensions: B batch, S source tokens, P prompt length, D model, V vocabulary,
N prompts, L labels.
"""

import contextlib
import itertools
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

COMMONEST = 5000  # sampled-vocabulary starts come from the 5,000 commonest pieces
SPECIAL = 3  # pad, eos and unk: the first three ids are no pieces of text


class PromptBank(nn.Module):
    """N prompts of one length, each a parameter of its own.

    prompts: (N, P, D), or a list of N tensors (P, D). They are copied and kept in
    fp32, whatever T5 runs in.
    """

    def __init__(self, prompts):
        super().__init__()
        self.prompts = nn.ParameterList(
            nn.Parameter(p.detach().clone().float()) for p in prompts)
        if len({p.shape for p in self.prompts}) != 1:
            shapes = sorted({tuple(p.shape) for p in self.prompts})
            raise ValueError(f"a bank needs prompts of one shape, got {shapes}")

    def __len__(self):
        return len(self.prompts)

    def stacked(self):
        return torch.stack(tuple(self.prompts))  # (N, P, D)

    def prepend(self, embedded, mask, index):
        """Put prompt index[b] in front of row b.

        embedded (B, S, D), mask (B, S), index (B,) of whole numbers below N.
        Returns (B, P+S, D) and its mask (B, P+S): every prompt vector is visible.
        """
        (B, S, D), prompts = embedded.shape, self.stacked()
        if prompts.shape[-1] != D:
            raise ValueError(f"these prompts are {prompts.shape[-1]} wide, the model {D}")
        if index.shape != (B,):
            raise ValueError(f"index has shape {tuple(index.shape)}, wanted one per row: ({B},)")
        rows = prompts[index]  # (N, P, D) -> (B, P, D)
        seen = torch.ones(rows.shape[:2], dtype=torch.bool, device=mask.device)
        return torch.cat([rows, embedded], dim=1), torch.cat([seen, mask.bool()], dim=1)


# ------------------------------------------------------------ initialisation


def initialise(how, embedding, length, seed, pieces=None, labels=(), text=()):
    """A fresh prompt (P, D), by one of the ways of Lester et al., section 3.2, or from a text.

    how        "uniform": numbers from [-0.5, 0.5]
               "vocabulary": embeddings of pieces drawn without replacement from the
               5,000 commonest (the vocabulary lists them by falling frequency)
               "labels": the embedding of each label, several pieces averaged; the
               rest as in "vocabulary"
               "text": the embeddings of a text's pieces, again from the first when they
               are used up
    embedding  (V, D), the model's
    pieces     size of the vocabulary without sentinels and padding rows; V if None
    labels     for "labels": the token ids of each label, without eos
    text       for "text": its token ids, without eos

    The last way, from a trained prompt, is `from_file`.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
    V, D = embedding.shape
    if how == "uniform":
        return torch.rand(length, D, generator=generator) - 0.5
    if how not in ("vocabulary", "labels", "text"):
        raise ValueError(f"unknown initialisation {how!r}: uniform, vocabulary, labels or text")
    if how == "text":
        if not len(text):
            raise ValueError("initialising from a text needs one with at least one piece")
        ids = torch.as_tensor(text, device=embedding.device)[torch.arange(length) % len(text)]
        return embedding[ids].float().cpu()
    if how == "labels" and not labels:
        raise ValueError("initialising from labels needs a task with labels")
    candidates = min(SPECIAL + COMMONEST, pieces or V) - SPECIAL
    if length > candidates:
        raise ValueError(f"{length} vectors cannot be drawn without replacement "
                         f"from {candidates} pieces")
    drawn = SPECIAL + torch.randperm(candidates, generator=generator)[:length]
    prompt = embedding[drawn.to(embedding.device)].float().cpu()
    if how == "labels":
        for i, ids in enumerate(labels[:length]):
            prompt[i] = embedding[torch.as_tensor(ids, device=embedding.device)].float().mean(0)
    return prompt


def from_file(path, fingerprint=None, shape=None):
    """A prompt (P, D) to start from: a folder of ours or of PEFT, a .npy or a .pt array.

    A folder of ours is refused by another model (`fingerprint`); of the others nobody
    can tell what they were trained on. shape: the (P, D) that is wanted. Raises ValueError.
    """
    path = Path(path)
    if path.is_dir():
        prompt = (load(path, fingerprint)[0] if (path / "prompt.json").exists() else load_peft(path))
    elif path.suffix == ".npy":
        try:
            prompt = numpy.load(path, allow_pickle=False)
        except ValueError:
            raise ValueError(f"{path} holds no array of numbers") from None
    elif path.suffix in (".pt", ".pth"):
        prompt = torch.load(path, map_location="cpu", weights_only=True)
    else:
        raise ValueError(f"{path} is no prompt: wanted a folder, a .npy or a .pt file")
    if isinstance(prompt, dict) and len(prompt) == 1:  # {"prompt_embeddings": array}, say
        [prompt] = prompt.values()
    if not isinstance(prompt, (numpy.ndarray, torch.Tensor)):
        raise ValueError(f"{path} holds no single array")
    prompt = torch.as_tensor(prompt).detach().float()
    if prompt.dim() != 2 or (shape is not None and tuple(prompt.shape) != tuple(shape)):
        raise ValueError(f"{path} holds an array of shape {tuple(prompt.shape)}, wanted "
                         f"{f'{tuple(shape)}, length and width' if shape is not None else '(P, D)'}")
    if not prompt.isfinite().all():
        raise ValueError(f"{path} holds numbers that are not finite")
    return prompt


# ---------------------------------------------------------------- an ensemble


def vote(log_probs, how="majority"):
    """The label that N prompts choose for each example: log_probs (N, B, L) -> (B,).

    "majority": each prompt has one vote; among labels with equally many, the larger
    sum of log-probabilities over all prompts (Lester et al., section 6; they leave ties
    open). "mean": the larger mean probability, each prompt's made to sum to 1 first.

    >>> scores = torch.tensor([[[-1.0, -2.0]], [[-1.0, -2.0]], [[-9.0, -0.1]]])  # 3 prompts, 1 example
    >>> vote(scores).item(), vote(scores, "mean").item()
    (0, 1)
    """
    if how == "mean":
        return log_probs.softmax(-1).mean(0).argmax(-1)
    if how != "majority":
        raise ValueError(f"unknown vote {how!r}: majority or mean")
    L = log_probs.shape[-1]
    votes = F.one_hot(log_probs.argmax(-1), L).sum(0)  # (N, B) -> (B, L)
    total = log_probs.sum(0)
    best = votes == votes.max(-1, keepdim=True).values
    return total.masked_fill(~best, float("-inf")).argmax(-1)


def vote_text(texts, confidences):
    """The free text that N prompts choose for one example.

    The commonest answer, without regard to case and space; among equally common ones
    (all different, say) the one of highest mean confidence, written as by the surest
    of its prompts. confidences: one for each text, the mean log-probability of its tokens.

    >>> vote_text(["Paris", "rome", "paris "], [-0.9, -0.1, -0.8])
    'paris '
    >>> vote_text(["Paris", "Rome"], [-0.9, -0.1])
    'Rome'
    """
    groups = {}
    for text, confidence in zip(texts, confidences, strict=True):
        groups.setdefault(" ".join(text.lower().split()), []).append((confidence, text))
    best = max(groups.values(), key=lambda group: (len(group), sum(c for c, _ in group) / len(group)))
    return max(best)[1]


# ------------------------------------------------------- what a prompt is near


def neighbours(prompt, embedding, top=5, pieces=None):
    """The pieces nearest to each vector by cosine: ids (P, top) and similarities (P, top).

    prompt (P, D), embedding (V, D). Only the first `pieces` rows are words: what lies
    above them are sentinels and padding, and the first three are pad, eos and unk.
    """
    words = F.normalize(embedding[SPECIAL:pieces].float(), dim=-1)
    similarity = F.normalize(prompt.float().to(words.device), dim=-1) @ words.T  # (P, V)
    nearest = similarity.topk(top, dim=-1)
    return nearest.indices + SPECIAL, nearest.values


def clusters(ids):
    """Groups of prompt vectors, linked by a piece among the nearest of both: ids (P, top) -> lists of places, largest first.

    >>> clusters(torch.tensor([[3, 4], [7, 8], [4, 5], [9, 6]]))
    [[0, 2], [1], [3]]
    """
    groups = []  # (places, pieces)
    for place, near in enumerate(ids.tolist()):
        together = [group for group in groups if group[1] & set(near)]
        groups = [group for group in groups if not group[1] & set(near)]
        groups.append(([p for places, _ in together for p in places] + [place],
                       set(near).union(*(pieces for _, pieces in together))))
    return sorted((places for places, _ in groups), key=lambda places: (-len(places), places))


# ------------------------------------------------------------------- on disk


def save(folder, prompt, made_by, model_name="", layers=None, heads=None):
    """Write one prompt (P, D) as the PEFT library would, with what made it beside it.

    made_by: JSON-able: task, recipe, score, and "fingerprint", the model's and the
    tokenizer's. The folder appears whole or not at all.
    """
    P, D = prompt.shape
    # One "submodule": the prompt stands before the encoder's input only.
    adapter = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM",
               "base_model_name_or_path": str(model_name), "inference_mode": True,
               "num_virtual_tokens": P, "token_dim": D, "num_transformer_submodules": 1,
               "num_layers": layers, "num_attention_heads": heads, "prompt_tuning_init": "RANDOM"}
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        save_file({"prompt_embeddings": prompt.detach().float().cpu().contiguous()},
                  new / "adapter_model.safetensors")
        (new / "adapter_config.json").write_text(json.dumps(adapter, indent=2) + "\n")
        (new / "prompt.json").write_text(json.dumps(made_by, indent=2) + "\n")
        if folder.exists():
            os.rename(folder, Path(scratch) / "old")
        os.rename(new, folder)


def load(folder, fingerprint=None):
    """Read what `save` wrote: (prompt (P, D), made_by).

    With a fingerprint, refuses a prompt that was trained on another model or
    tokenizer: its numbers mean nothing there. Raises ValueError.
    """
    folder = Path(folder)
    weights, made_by = folder / "adapter_model.safetensors", folder / "prompt.json"
    for file in (weights, made_by):
        if not file.exists():
            raise ValueError(f"{folder} is not a prompt of ours: it lacks {file.name}")
    prompt = load_file(weights)["prompt_embeddings"]
    made_by = json.loads(made_by.read_text(encoding="utf-8"))
    if fingerprint is not None and made_by["fingerprint"] != fingerprint:
        raise ValueError(f"{folder} was trained on model and tokenizer {made_by['fingerprint']}, "
                         f"these are {fingerprint}")
    return prompt, made_by


def load_peft(folder):
    """The prompt (P, D) of a folder written by the PEFT library. Raises ValueError.

    PEFT's own default for an encoder-decoder (num_transformer_submodules 2) puts half of
    the vectors before the decoder's input: that is another method, and is refused.
    """
    folder = Path(folder)
    config = folder / "adapter_config.json"
    if config.exists():
        submodules = json.loads(config.read_text(encoding="utf-8")).get("num_transformer_submodules")
        if submodules not in (None, 1):
            raise ValueError(f"{folder} has vectors before the decoder's input as well "
                             f"(num_transformer_submodules {submodules}), wanted 1")
    files = [folder / name for name in ("adapter_model.safetensors", "adapter_model.bin")
             if (folder / name).exists()]
    if not files:
        raise ValueError(f"{folder} is no prompt: it lacks adapter_model.safetensors")
    tensors = (load_file(files[0]) if files[0].suffix == ".safetensors" else
               torch.load(files[0], map_location="cpu", weights_only=True))
    if "prompt_embeddings" not in tensors:
        raise ValueError(f"{files[0]} holds no prompt_embeddings, but {', '.join(sorted(tensors))}")
    return tensors["prompt_embeddings"]


# ------------------------------------------------------------------ prediction


@torch.no_grad()
def answer(t5, tokenizer, bank, members, rows, longest=512, max_tokens=128):
    """What prompts say to inputs of several tasks, all encoded in one batch.

    members     task -> places in the bank: one prompt, or several that vote
    rows        (task, input): a text, or a data.Example, which knows its long part
    longest     tokens of an input, beyond which it is cut
    max_tokens  of free text
    Returns a dict for each row: {"label", "probabilities"}, the mean over the prompts of
    each label's probability among the labels and the majority's label; or, for a task of
    free text, {"text", "confidence"}: the mean probability of its tokens, geometrically.
    """
    import data  # tasks and tokens: the bank above needs neither
    import model

    device = t5.shared.weight.device
    tokens, _ = tokenizer.encode_inputs(
        [data.Example(text, "") if isinstance(text, str) else text for _, text in rows], longest)
    copies = [(row, n) for row, (task, _) in enumerate(rows) for n in members[task]]
    ids = data.pad([tokens[row] for row, _ in copies], device)
    index = torch.tensor([n for _, n in copies], device=device)
    embedded, mask = bank.prepend(t5.embed(ids), ids != data.PAD, index)
    memory = t5.encode(embedded, mask)
    answers = [None] * len(rows)
    for task in dict(rows):  # the decoder's part, task by task: the answers are of different kinds
        N = len(members[task])
        at = [i for i, (row, _) in enumerate(copies) if rows[row][0] == task]  # B * N, the N together
        where = [row for row, (name, _) in enumerate(rows) if name == task]
        labels = data.TASKS[task].labels
        if labels:
            label_ids = data.pad([tokenizer.encode(label) for label in labels], device)
            scores = t5.score_labels(memory[at], mask[at], label_ids)  # (B * N, L)
            scores = scores.view(len(where), N, -1).transpose(0, 1)  # -> (N, B, L)
            for row, best, shares in zip(where, vote(scores).tolist(),
                                         scores.softmax(-1).mean(0).tolist()):
                answers[row] = {"label": labels[best], "probabilities": dict(zip(labels, shares))}
        else:
            written = t5.generate(memory[at], mask[at], max_tokens)
            logits = t5.decode(model.shift_right(written), memory[at], mask[at])
            sure = (model.target_log_probs(logits, written).sum(1) / (written != data.PAD).sum(1)).tolist()
            texts = [tokenizer.decode(ids) for ids in written.tolist()]
            for k, row in enumerate(where):
                group = slice(k * N, (k + 1) * N)
                text = vote_text(texts[group], sure[group])
                confidence = max(c for t, c in zip(texts[group], sure[group]) if t == text)
                answers[row] = {"text": text, "confidence": math.exp(confidence)}
    return answers


def read_lines(file, tasks):
    """(line number, (task, input) or an error) of JSON lines {"task": …, "input": …}.

    "task" may be left out where only one is served.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object {\"task\": …, \"input\": …}")
            task = row.get("task", tasks[0] if len(tasks) == 1 else None)
            if task not in tasks:
                raise ValueError(f"{f'task {task!r}' if 'task' in row else 'no task'}, wanted one of {', '.join(tasks)}")
            if not isinstance(row.get("input"), str):
                raise ValueError("no text under \"input\"")
            row["input"].encode()  # half a character, or bytes that are not UTF-8
            yield number, (task, row["input"])
        except (ValueError, RecursionError) as error:
            what = "not JSON: " if isinstance(error, json.JSONDecodeError) else ""
            yield number, ValueError(f"line {number}: {what}{error}")


def predict(folders, file, model_name, batch, device, cache, out, log):
    """Answer a stream of JSON lines; a batch is all that is ever in memory. Returns how many were bad."""
    import data
    import model

    checkpoint = data.checkpoint(model_name, cache=cache)
    t5, tokenizer = model.load(checkpoint, device=device), data.Tokenizer(checkpoint / "spiece.model")
    prompts, members = [], {}
    for folder in folders:
        vectors, made_by = load(folder, f"{t5.fingerprint}-{tokenizer.fingerprint}")
        data.find_task(made_by["task"])
        members.setdefault(made_by["task"], []).append(len(prompts))
        prompts.append(vectors)
    lengths = {str(folder): len(vectors) for folder, vectors in zip(folders, prompts)}
    if len(set(lengths.values())) > 1:
        raise ValueError("prompts in one batch must be of one length, not " + ", ".join(
            f"{length} ({folder})" for folder, length in lengths.items()))
    bank = PromptBank(prompts).to(device)
    began, done, bad = time.time(), 0, 0
    lines = read_lines(file, list(members))
    while some := list(itertools.islice(lines, batch)):
        good = [(number, row) for number, row in some if not isinstance(row, ValueError)]
        for number, error in some:
            if isinstance(error, ValueError):
                print(f"prompt.py: {error}", file=log)
                bad += 1
        found = answer(t5, tokenizer, bank, members, [row for _, row in good]) if good else []
        for (number, (task, _)), result in zip(good, found):
            print(json.dumps({"line": number, "task": task} | result, ensure_ascii=False), file=out)
        out.flush()
        done += len(good)
    seconds = time.time() - began
    print(f"{done} answered, {bad} bad lines, {done / max(seconds, 1e-9):.0f} a second", file=log)
    return bad


# ----------------------------------------------------------- the command line


def print_neighbours(folder, model_name, top, cache):
    """The nearest pieces of each vector, which vectors share some, and where the labels are."""
    import data  # for the pieces' texts: nothing above needs them
    import model

    checkpoint = data.checkpoint(model_name, cache=cache)
    t5, tokenizer = model.load(checkpoint), data.Tokenizer(checkpoint / "spiece.model")
    prompt = from_file(folder, f"{t5.fingerprint}-{tokenizer.fingerprint}")
    if prompt.shape[1] != t5.config.d_model:
        raise ValueError(f"{folder} is {prompt.shape[1]} wide, {model_name} {t5.config.d_model}")
    if top > tokenizer.pieces - SPECIAL:
        raise ValueError(f"--top is {top}, the vocabulary has {tokenizer.pieces - SPECIAL} pieces")
    ids, similarities = neighbours(prompt, t5.shared.weight, top, tokenizer.pieces)
    for place, (near, values) in enumerate(zip(ids.tolist(), similarities.tolist())):
        print(f"{place:4}  " + "  ".join(f"{tokenizer.sp.id_to_piece(i)} {value:.2f}"
                                         for i, value in zip(near, values)))
    shared = [group for group in clusters(ids) if len(group) > 1]
    print(f"\ngroups of vectors linked by a piece among their nearest {top}: {len(shared)}"
          + "".join(f"\n  vectors {', '.join(map(str, group))}: "
                    + " ".join(sorted({tokenizer.sp.id_to_piece(i) for place in group
                                       for i in ids[place].tolist()})) for group in shared))
    made_by = Path(folder) / "prompt.json"
    task = json.loads(made_by.read_text(encoding="utf-8"))["task"] if made_by.exists() else None
    for label in data.TASKS[task].labels if task in data.TASKS else ():
        mean = t5.shared.weight[tokenizer.encode(label)[:-1]].float().mean(0)
        similarity = F.cosine_similarity(prompt, mean[None], dim=-1)
        print(f"label {label}: nearest is vector {similarity.argmax().item()}, cosine {similarity.max():.2f}")


def main():
    import argparse

    parser = argparse.ArgumentParser(description="Answer inputs with trained prompts, or print the words they lie near.")
    commands = parser.add_subparsers(dest="command", required=True)
    near = commands.add_parser("neighbours", help="the vocabulary pieces nearest to each vector")
    near.add_argument("prompt", help="a folder of ours or of PEFT, a .npy or a .pt file")
    near.add_argument("--top", type=int, default=5, help="pieces for each vector (default: 5)")
    ask = commands.add_parser("predict", help="answer inputs, of several tasks at once if need be")
    ask.add_argument("prompts", nargs="+", help="folders of trained prompts; several of one task vote: "
                     "the label (or text) is the majority's, the probabilities are their mean")
    ask.add_argument("--text", action="append", help="an input (several times for more); needs one task")
    ask.add_argument("--file", help='JSON lines {"task": …, "input": …} (default: standard input)')
    ask.add_argument("--batch", type=int, default=32, help="lines in a batch, which is answered when it is full or the input ends "
                     "(default: 32)")
    ask.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for command in (near, ask):
        command.add_argument("--model", default=str(Path(__file__).parent / "toy" / "t5"),
                             help="the T5 they were trained on (default: the toy T5)")
        command.add_argument("--cache", help="folder for downloads")
    args = parser.parse_args()
    for name in ("top", "batch"):
        if getattr(args, name, 1) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}, wanted 1 or more")
    if args.command == "neighbours":
        print_neighbours(args.prompt, args.model, args.top, args.cache)
        return
    if args.text and args.file:
        raise ValueError("give --text or --file, not both")
    if args.file and (Path(args.file).is_dir() or not Path(args.file).exists()):
        raise ValueError(f"--file {args.file} is not there, or a folder")
    # Bytes that are no UTF-8 are let through: `read_lines` says which line they are on.
    if args.file:
        source = open(args.file, encoding="utf-8-sig", errors="surrogateescape")
    elif args.text:
        source = contextlib.nullcontext(json.dumps({"input": text}) for text in args.text)
    else:
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
        source = sys.stdin
    with source as file:
        bad = predict(args.prompts, file, args.model, args.batch, args.device, args.cache,
                      sys.stdout, sys.stderr)
    if bad:
        raise ValueError(f"{bad} lines could not be answered, see above")


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except ValueError as error:
        print(f"prompt.py: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read the answers has gone: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

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

Also here: where a prompt starts from (section 3.2 of the paper) and how it is kept
on disk, in the layout that the PEFT library reads.

Dimensions: B batch, S source tokens, P prompt length, D model, N prompts.
"""

import json
import os
import tempfile
from pathlib import Path

import torch
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


def initialise(how, embedding, length, seed, pieces=None, labels=()):
    """A fresh prompt (P, D), by one of the three ways of Lester et al., section 3.2.

    how        "uniform": numbers from [-0.5, 0.5]
               "vocabulary": embeddings of pieces drawn without replacement from the
               5,000 commonest (the vocabulary lists them by falling frequency)
               "labels": the embedding of each label, several pieces averaged; the
               rest as in "vocabulary"
    embedding  (V, D), the model's
    pieces     size of the vocabulary without sentinels and padding rows; V if None
    labels     for "labels": the token ids of each label, without eos

    The fourth way, from a trained prompt, is `load`.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
    V, D = embedding.shape
    if how == "uniform":
        return torch.rand(length, D, generator=generator) - 0.5
    if how not in ("vocabulary", "labels"):
        raise ValueError(f"unknown initialisation {how!r}: uniform, vocabulary or labels")
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

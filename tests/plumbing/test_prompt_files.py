"""plumbing/prompt_files.py: a prompt on disk, as PEFT has it, and what is refused.

    python -m pytest tests/plumbing/test_prompt_files.py

Oracle: what PEFT 0.21.2 wrote for a T5 with 3 virtual tokens (its adapter_config.json below,
and "prompt_embeddings" (3, 16) in fp32), the shipped prompts, and files spoilt by hand.
"""

import json
import shutil
import types
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from plumbing import prompt_files

ROOT = Path(__file__).parents[2]
ARRAY = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]  # P = 2, D = 3
OF_PEFT = {  # and null for the rest
    "base_model_name_or_path": "t5", "inference_mode": True, "num_attention_heads": 3,
    "num_layers": 2, "num_transformer_submodules": 1, "num_virtual_tokens": 2,
    "peft_type": "PROMPT_TUNING", "peft_version": "0.21.2", "prompt_tuning_init": "RANDOM",
    "task_type": "SEQ_2_SEQ_LM", "token_dim": 3}
CONFIG = types.SimpleNamespace(num_layers=2, num_heads=3)


def write(folder, how):
    """ARRAY in a file or folder of this kind."""
    array = torch.tensor(ARRAY)
    path = folder / {"npy": "p.npy", "pt": "p.pt", "dict": "q.pt"}.get(how, how)
    if how in ("peft", "bin"):
        path.mkdir()
        (path / "adapter_config.json").write_text(json.dumps(OF_PEFT))
    if how == "npy":
        numpy.save(path, array.numpy())
    elif how == "pt":
        torch.save(torch.nn.Parameter(array.half()), path)
    elif how == "ours":
        prompt_files.save(path, array, {"task": "cb", "fingerprint": "f"}, "t5", CONFIG)
    elif how == "peft":
        save_file({"prompt_embeddings": array}, path / "adapter_model.safetensors")
    else:
        file = path if how == "dict" else path / "adapter_model.bin"
        torch.save({"prompt_embeddings": array}, file)
    return path


def test_a_prompt_is_written_as_peft_writes_it(tmp_path):
    folder = write(tmp_path, "ours")
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert {name: OF_PEFT[name] for name in adapter} == adapter
    tensors = load_file(folder / "adapter_model.safetensors")
    assert list(tensors) == ["prompt_embeddings"]
    assert tensors["prompt_embeddings"].tolist() == ARRAY
    # Written again, the folder is replaced, and nothing else is left lying about.
    prompt_files.save(folder, torch.zeros(2, 3), {"task": "cb"})
    prompt, made_by = prompt_files.load(folder)
    assert prompt.tolist() == [[0.0] * 3] * 2 and made_by["task"] == "cb"
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    assert prompt_files.load(ROOT / "toy" / "prompts" / "toy-nli-0")[0].shape == (10, 128)


@pytest.mark.parametrize("how", ["npy", "pt", "dict", "ours", "peft", "bin"])
def test_every_kind_is_a_start(how, tmp_path, monkeypatch):
    path = write(tmp_path, how)
    prompt = prompt_files.from_file(path, "f", (2, 3))
    assert prompt.tolist() == ARRAY
    assert prompt.dtype == torch.float32 and not prompt.requires_grad
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prompt_files.from_file(f"~/{path.name}", "f").tolist() == ARRAY
    with pytest.raises(ValueError, match=r"\(length, width\) is \(2, 3\), wanted \(5, 3\)"):
        prompt_files.from_file(path, "f", (5, 3))
    if how == "pt":
        assert prompt_files.from_file(path.rename(path.with_suffix(".pth"))).tolist() == ARRAY


@pytest.mark.parametrize("read", [prompt_files.load, prompt_files.from_file])
def test_a_prompt_of_another_model_or_with_other_vectors_is_refused(read, tmp_path):
    folder = write(tmp_path, "ours")
    with pytest.raises(ValueError, match="'t5', model and tokenizer f; this T5 is g: use"):
        read(folder, fingerprint="g")
    made_by = json.loads((folder / "prompt.json").read_text())
    for name, message in (("fingerprint", "model and tokenizer None; this T5 is g"),
                          ("vectors", "is damaged: its vectors are not those")):
        del made_by[name]
        (folder / "prompt.json").write_text(json.dumps(made_by))
        with pytest.raises(ValueError, match=message):
            read(folder, fingerprint="g")
    write(tmp_path, "ours")
    save_file({"prompt_embeddings": torch.zeros(2, 3)}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="is damaged: its vectors are not those"):
        read(folder)


@pytest.mark.parametrize("read, name, message", [
    (prompt_files.load, "empty", "empty is not a prompt of ours: it lacks prompt.json"),
    (prompt_files.load, "t5", "it is a whole T5; use it by --model .*t5"),
    (prompt_files.from_file, "t5", "it is a whole T5; use it by --model .*t5"),
    (prompt_files.from_file, "empty", "it lacks adapter_model.safetensors"),
    (prompt_files.from_file, "none.npy", "none.npy: there is no such file or folder"),
    (prompt_files.from_file, "a.txt", "a.txt is no prompt: wanted a folder, a .npy"),
    (prompt_files.from_file, "a.npy", "a.npy cannot be read, .* magic string is not correct"),
    (prompt_files.from_file, "none-in-it.npy", "cannot be read, .* Object arrays cannot be loaded"),
    (prompt_files.from_file, "two.pt", "two.pt holds no single array")])
def test_a_path_that_is_no_prompt_is_named(read, name, message, tmp_path):
    (tmp_path / "empty").mkdir()
    for text in ("a.txt", "a.npy"):
        (tmp_path / text).write_text("1.5 2.5 3.5")
    numpy.save(tmp_path / "none-in-it.npy", numpy.array([None]), allow_pickle=True)
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(2, 3)}, tmp_path / "two.pt")
    shutil.copytree(ROOT / "tests" / "fixtures" / "v1_0", tmp_path / "t5")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("field, value, message", [
    ("num_transformer_submodules", 2, "num_transformer_submodules is 2; wanted 1"),
    ("peft_type", "LORA", "peft_type is 'LORA'; wanted PROMPT_TUNING or P_TUNING"),
    ("num_virtual_tokens", 3, "num_virtual_tokens is 3; wanted 2"),
    ("token_dim", "3", "token_dim is '3'; wanted 3")])
def test_a_folder_of_peft_with_something_else_is_refused(field, value, message, tmp_path):
    folder = write(tmp_path, "peft")
    (folder / "adapter_config.json").write_text(json.dumps(OF_PEFT | {field: value}))
    with pytest.raises(ValueError, match=message):
        prompt_files.from_file(folder)


@pytest.mark.parametrize("how", ["npy", "pt", "ours", "peft"])
@pytest.mark.parametrize("content, message", [
    (torch.zeros(1, 2, 3), r"of shape \(1, 2, 3\), wanted \(length, width\)"),
    (torch.zeros(0, 3), "shape"), (torch.tensor([[0, 1, float("inf")]]), "not finite"),
    (torch.ones(2, 3, dtype=torch.int8), "int8")])
def test_numbers_that_are_no_prompt_are_named(how, content, message, tmp_path):
    path = write(tmp_path, how)
    if how == "npy":
        numpy.save(path, content.numpy())
    elif how == "pt":
        torch.save(content, path)
    else:
        save_file({"prompt_embeddings": content}, path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=f"(p.npy|p.pt|safetensors)[: ].* array .*{message}"):
        prompt_files.from_file(path)


@pytest.mark.parametrize("how, name", [
    ("npy", "p.npy"), ("pt", "p.pt"), ("ours", "ours/adapter_model.safetensors"),
    ("ours", "ours/prompt.json"), ("peft", "peft/adapter_config.json"),
    ("bin", "bin/adapter_model.bin")])
def test_a_damaged_file_is_named(how, name, tmp_path):
    path = write(tmp_path, how)
    for content in (b"", b"nothing of the kind" * 9):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} [^\n]*$"):
            prompt_files.from_file(path)

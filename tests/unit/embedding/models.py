"""Small models of random weights in sentence-transformers' format, with the bundled tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

from malgeul import ROOT

BUNDLED = ROOT / "resources/models/embed-ko-demo"

SIZE = {
    "vocab_size": 8000,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 130,
    "pad_token_id": 0,
}

KINDS = {
    "bert": {},
    "roberta": {},
    "distilbert": {},
    "mpnet": {},  # positions within its attention: it is padded
    "modernbert": {"max_position_embeddings": 512, "local_attention": 16},  # so is what sees a window of neighbours
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},  # sees what came before alone
}

PROMPTS = {"prompts": {"query": "질문: ", "document": "문서: "}, "default_prompt_name": None}


def make_model(
    folder: Path,
    kind: str = "bert",
    pooling: str = "mean",
    *,
    dense: bool = False,
    normalize: bool = True,
    **files: object,
) -> Path:
    """Write a model; ``files`` are further JSON files by their names without suffix."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **{**SIZE, **KINDS[kind]})
    model = transformers.AutoModel.from_config(config)
    for weight in model.parameters():  # at their usual size all vectors are nearly the same
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(BUNDLED / name, folder / name)
    parts = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalize else [])]
    write(
        folder / "modules.json",
        [
            {
                "idx": k,
                "name": str(k),
                "path": f"{k}_{part}" if k else "",
                "type": f"sentence_transformers.models.{part}",
            }
            for k, part in enumerate(parts)
        ],
    )
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": 64, f"pooling_mode_{pooling}": True})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    if dense:
        activation = "torch.nn.modules.activation.Tanh"
        about = {"in_features": 64, "out_features": 32, "bias": True, "activation_function": activation}
        write(folder / "2_Dense/config.json", about)
        weights = {"linear.weight": torch.randn(32, 64) / 8, "linear.bias": torch.randn(32) / 8}
        save_file(weights, folder / "2_Dense/model.safetensors")
    for name, value in files.items():
        write(folder / f"{name}.json", value)
    return folder


def write(file: Path, value: object) -> None:
    """Write a JSON file and the folder that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

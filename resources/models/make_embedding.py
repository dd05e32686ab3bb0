"""Make the stand-in for an embedding model: a tiny BERT with seeded random weights in sentence-transformers' format.

    python resources/models/make_embedding.py [--out DIR] [--seed N]

Its tokenizer is that of tokenizer-ko. It is loaded by the code that loads BAAI/bge-m3; its vectors mean nothing. The
same seed gives the same bytes.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

HERE = Path(__file__).resolve().parent
DIMENSION = 64
LONGEST = 512

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
POOLING = {
    "word_embedding_dimension": DIMENSION,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}


def make_model(vocabulary: int, seed: int) -> BertModel:
    """Return a BERT of two layers with random weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * DIMENSION,
        max_position_embeddings=LONGEST,
    )
    return BertModel(config, add_pooling_layer=False)


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "embed-random")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out: Path = arguments.out
    shutil.copytree(HERE / "tokenizer-ko", out, dirs_exist_ok=True)
    vocabulary = len(AutoTokenizer.from_pretrained(str(out)))
    make_model(vocabulary, arguments.seed).save_pretrained(str(out))
    (out / "1_Pooling").mkdir(exist_ok=True)
    for name, value in (
        ("modules.json", MODULES),
        ("1_Pooling/config.json", POOLING),
        ("sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False}),
    ):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    print(out, sum(file.stat().st_size for file in out.rglob("*") if file.is_file()), "bytes")


if __name__ == "__main__":
    main()

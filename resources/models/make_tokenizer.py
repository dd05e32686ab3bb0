"""Make the demo's tokenizer: WordPiece with the special tokens of a BERT, trained on the demo's own documents.

    python resources/models/make_tokenizer.py [--out DIR] [--vocabulary N]

The same documents give the same bytes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
DEMO_TEXT = HERE.parent / "demo" / "text"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def texts(folder: Path) -> Iterator[str]:
    """Yield the texts of the demo's JSONL and .txt files in a fixed order; what is broken on purpose is left out."""
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".txt":
            yield file.read_text(encoding="utf-8", errors="ignore")
        elif file.suffix in {".jsonl", ".zst"}:
            raw = file.read_bytes()
            if file.suffix == ".zst":
                raw = zstandard.ZstdDecompressor().stream_reader(raw).read()
            yield from _texts_of_lines(raw)


def _texts_of_lines(raw: bytes) -> Iterator[str]:
    for line in raw.decode("utf-8", errors="ignore").splitlines():
        try:
            record: Any = json.loads(line)
        except json.JSONDecodeError:  # planted
            continue
        if isinstance(record, dict) and isinstance(record.get("text"), str):
            yield record["text"]


def train(corpus: Iterator[str], vocabulary: int) -> Tokenizer:
    """Train a WordPiece tokenizer of ``vocabulary`` pieces that keeps offsets into the NFC text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, min_frequency=2, limit_alphabet=2000, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    marks = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    return tokenizer


def save(tokenizer: Tokenizer, out: Path, length: int = 2048) -> None:
    """Save the tokenizer as transformers' AutoTokenizer loads it."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    wrapped.save_pretrained(str(out))


def main() -> None:
    """Read the arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "tokenizer-ko")
    parser.add_argument("--vocabulary", type=int, default=6000)
    arguments = parser.parse_args()
    tokenizer = train(texts(DEMO_TEXT), arguments.vocabulary)
    save(tokenizer, arguments.out)
    print(f"{arguments.out}: {tokenizer.get_vocab_size()} pieces")


if __name__ == "__main__":
    main()

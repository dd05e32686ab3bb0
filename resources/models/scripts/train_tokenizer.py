"""Train tokenizer-ko-demo: WordPiece with the special tokens of a BERT.

    python resources/models/scripts/train_tokenizer.py --out DIR [--petitions DIR] [--kept-out MONTH] [--pieces N]

It learns from the texts that ship with the project, and from petitions where a folder of them is given. The same texts
give the same bytes.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from making.texts import demo_texts, petitions
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train(corpus: Iterator[str], pieces: int) -> Tokenizer:
    """Train a WordPiece tokenizer of at most ``pieces`` pieces that keeps offsets into the NFC text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces, special_tokens=SPECIAL, min_frequency=2, limit_alphabet=2000, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    marks = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    return tokenizer


def save(tokenizer: Tokenizer, out: Path, length: int = 2048) -> None:
    """Save the tokenizer as transformers' AutoTokenizer loads it."""
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=length, **{f"{name}_token": mark for name, mark in names.items()}
    )
    wrapped.save_pretrained(str(out))


def main() -> None:
    """Read the arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--petitions", type=Path)
    parser.add_argument("--kept-out", default="2019-06", help="the month that only the evaluation sees")
    parser.add_argument("--pieces", type=int, default=8000)
    given = parser.parse_args()
    found = petitions(given.petitions) if given.petitions else []
    learnt = (text for pair in found if pair.month != given.kept_out for text in (pair.title, pair.content))
    tokenizer = train(itertools.chain(demo_texts(), learnt), given.pieces)
    save(tokenizer, given.out)
    print(f"{given.out}: {tokenizer.get_vocab_size()} pieces")


if __name__ == "__main__":
    main()

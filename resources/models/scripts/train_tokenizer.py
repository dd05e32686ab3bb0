"""Train tokenizer-ko-demo: WordPiece with the special tokens of a BERT.

    python resources/models/scripts/train_tokenizer.py --out DIR [--petitions DIR] [--kept-out MONTH] [--pieces N]

It learns from the texts that ship with the project, and from petitions where a folder of them is given. The same texts
give the same bytes.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from making.texts import demo_texts, petitions
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


ALPHABET = 2000
INSIDE = "##"
"""What WordPiece writes before a piece that does not begin a word."""


def train(corpus: Sequence[str], pieces: int) -> Tokenizer:
    """Train a WordPiece tokenizer of at most ``pieces`` pieces that keeps offsets into the NFC text.

    The trainer numbers letters, and chooses among equally frequent ones, in an order that differs from run to run. So
    they are given to it in a fixed order as special tokens, and the pieces that it found make a model of their own.
    """
    tokenizer = _untrained(models.WordPiece(unk_token="[UNK]"))
    alphabet = letters(tokenizer, corpus)
    plain = sorted({letter.removeprefix(INSIDE) for letter in alphabet})
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces,
        special_tokens=[*SPECIAL, *alphabet],
        initial_alphabet=plain,
        limit_alphabet=len(plain),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    trained = _untrained(models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]"))
    trained.add_special_tokens(SPECIAL)
    trained.decoder = decoders.WordPiece()
    marks = [(name, trained.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    return trained


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def letters(tokenizer: Tokenizer, corpus: Iterable[str]) -> list[str]:
    """Return the ALPHABET most frequent letters, each as it begins a word, then as it stands inside one."""
    first: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for text in corpus:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            first[word[0]] += 1
            inside.update(word[1:])
    counts = first + inside
    kept = set(sorted(counts, key=lambda letter: (-counts[letter], letter))[:ALPHABET])
    return [*sorted(kept & first.keys()), *(f"{INSIDE}{letter}" for letter in sorted(kept & inside.keys()))]


def save(tokenizer: Tokenizer, out: Path, length: int = 2048) -> None:
    """Save the tokenizer as transformers' AutoTokenizer loads it."""
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=length, **{f"{name}_token": mark for name, mark in names.items()}
    )
    wrapped.save_pretrained(str(out))


CARD = """# tokenizer-ko-demo

A WordPiece tokenizer for Korean with BERT's special tokens, for the demo and for tests. For real work name a
real one in `tokenize.tokenizer`, for example `kakaobank/kf-deberta-base`.

It has {pieces:,} pieces, learnt from the texts that ship with malgeul and {petitions:,} petitions to the Korean
government (public records, lovit/petitions_archive). {measured}

Made by `snakemake -s resources/models/Snakefile`. Licence: MIT, as malgeul.
"""


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    """Say how long its pieces are on texts that it did not learn from."""
    if not texts:
        return "No texts were kept out to measure it on."
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    pieces = sum(len(one.ids) for one in encoded)
    unknown = sum(one.tokens.count("[UNK]") for one in encoded) / pieces
    length = sum(map(len, texts)) / pieces
    return (
        f"On {len(texts)} petitions kept out a piece has {length:.2f} characters on average; {unknown:.2%} are unknown."
    )


def main() -> None:
    """Read the arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--petitions", type=Path)
    parser.add_argument("--kept-out", default="2019-06", help="the month that only the evaluation sees")
    parser.add_argument("--pieces", type=int, default=8000)
    given = parser.parse_args()
    found = petitions(given.petitions) if given.petitions else []
    learnt = [text for pair in found if pair.month != given.kept_out for text in (pair.title, pair.content)]
    tokenizer = train([*demo_texts(), *learnt], given.pieces)
    save(tokenizer, given.out)
    kept_out = [pair.content for pair in found if pair.month == given.kept_out]
    card = CARD.format(
        pieces=tokenizer.get_vocab_size(), petitions=len(learnt) // 2, measured=measure(tokenizer, kept_out)
    )
    (given.out / "README.md").write_text(card, encoding="utf-8")
    print(f"{given.out}: {tokenizer.get_vocab_size()} pieces")


if __name__ == "__main__":
    main()

"""Measure an embedding model: does a title find its text, and do its cosines agree with people's judgments?

    python resources/models/scripts/evaluate_embedding.py --model FOLDER_OR_ID --out FILE [--revision R]
        [--petitions DIR] [--kept-out MONTH] [--similarity DIR] [--random] [--first N] [--threads N]

The model is loaded by the workflow's own code. --random measures the same shape with random weights beside it.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

from making.embedding import make_model, save
from making.measures import share_within, spearman
from making.texts import petitions
from transformers import AutoTokenizer

from malgeul.embedding.encoder import Encoder
from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity


def similarity(encoder: Encoder, folder: Path) -> float:
    """Return Spearman's correlation with KorSTS dev."""
    with (folder / "korsts-dev.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    one, other = (encoder.encode_texts([row[name] for row in rows]) for name in ("sentence1", "sentence2"))
    return round(spearman([float(row["score"]) for row in rows], (one * other).sum(1)), 4)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Return the figures of the model in a folder."""
    figures: dict[str, object] = {}
    with claimed_device() as device:
        started = time.perf_counter()
        encoder = Encoder(folder, device, given.threads)
        figures["load_seconds"] = round(time.perf_counter() - started, 2)
        if given.petitions:
            month = [pair for pair in petitions(given.petitions) if pair.month == given.kept_out][: given.first]
            titles, contents = (
                encoder.encode_texts(texts) for texts in zip(*((p.title, p.content) for p in month), strict=True)
            )
            scores = titles @ contents.T
            figures |= {
                "month": given.kept_out,
                "petitions": len(month),
                "recall_at_10": round(share_within(scores, 10), 4),
                "recall_at_1": round(share_within(scores, 1), 4),
            }
        if given.similarity:
            figures["korsts_dev_spearman"] = similarity(encoder, given.similarity)
    return figures


def main() -> None:
    """Read the arguments, measure, write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--revision")
    parser.add_argument("--petitions", type=Path)
    parser.add_argument("--kept-out", default="2019-06")
    parser.add_argument("--similarity", type=Path)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--first", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folder = folder_of(given.model, given.revision)
    figures = {"model": identity(given.model, given.revision), **measure(folder, given)}
    if given.random:
        with tempfile.TemporaryDirectory() as place:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
            save(make_model(len(tokenizer), seed=0), tokenizer, Path(place))
            figures["random_weights"] = measure(Path(place), given)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()

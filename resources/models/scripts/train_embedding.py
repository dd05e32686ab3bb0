"""Train embed-ko-demo on titles and what they stand over, going on from the last checkpoint in --work.

    python resources/models/scripts/train_embedding.py --tokenizer DIR --work DIR --out DIR [--petitions DIR]
        [--kept-out MONTH] [--steps N] [--save-every N] [--batch N] [--learning-rate R] [--threads N] [--seed S]

Without --petitions it learns from the texts that ship with the project alone.
"""

import argparse
import functools
import logging
import os
import sys
from pathlib import Path

import torch
from making.embedding import Matcher, make_model, save
from making.measures import share_within
from making.texts import Titled, demo_titled, petitions
from making.training import Course, key_of, learn
from transformers import AutoTokenizer


def main() -> None:
    """Read the arguments, train, write the model in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--petitions", type=Path)
    parser.add_argument("--kept-out", default="2019-06", help="the month that only the evaluation sees")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--save-every", type=int, default=100, help="steps from checkpoint to checkpoint")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(given.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    own = demo_titled()
    found = petitions(given.petitions) if given.petitions else []
    if not found:
        logging.info("no petitions are configured: training on the project's own %d texts alone", len(own))
    pairs = [pair for pair in found if pair.month != given.kept_out] + own
    kept_out = [pair for pair in found if pair.month == given.kept_out] or own
    tokenizer = AutoTokenizer.from_pretrained(str(given.tokenizer))
    matcher = Matcher(make_model(len(tokenizer), given.seed), tokenizer).to(device)
    warmup = min(200, given.steps // 10 + 1)
    course = Course(given.steps, given.learning_rate, warmup, save_every=given.save_every, measure_every=200)
    learn(
        matcher,
        functools.partial(matcher.losses, pairs, given.batch, given.seed, precision=torch.bfloat16),
        course,
        given.work,
        functools.partial(measure, matcher, kept_out),
        key_of(tokenizer.backend_tokenizer.to_str(), pairs, course, given.batch, given.seed),
    )
    save(matcher.encoder.half(), tokenizer, given.out)


def measure(matcher: Matcher, pairs: list[Titled]) -> dict[str, float]:
    """Return for what share of titles the content is among the first ten of all."""

    def vectors(texts: list[str], longest: int, size: int) -> torch.Tensor:
        return torch.cat([matcher.vectors(texts[k : k + size], longest) for k in range(0, len(texts), size)])

    with torch.inference_mode():
        titles = vectors([pair.title for pair in pairs], 64, 64)
        contents = vectors([pair.content for pair in pairs], 512, 16)
    return {"recall_at_10": share_within((titles @ contents.T).cpu().numpy(), 10)}


if __name__ == "__main__":
    main()

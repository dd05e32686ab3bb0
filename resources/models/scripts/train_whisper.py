"""Train whisper-ko-demo on clips of speech, going on from the last checkpoint in --work where there is one.

    python resources/models/scripts/train_whisper.py --clips DIR ... --heard DIR ... --sentences FILE --work DIR
        [--begin MODEL]
        --out DIR [--steps N] [--save-every N] [--batch N] [--learning-rate R] [--threads N] [--seed S]

--begin is a model that an earlier course made: this one goes on from its weights, with harder windows. --heard are
clips that the curves are measured on. A GPU is used where there is one, with mixed precision.
"""

import argparse
import functools
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from making.measures import character_error_rate
from making.speaking import Clips
from making.training import Course, key_of, learn
from making.whisper import Learner, Shape, make_model, make_processor, train_tokenizer
from making.windows import disturb, draw_window
from transformers import WhisperForConditionalGeneration, WhisperProcessor

MEASURED_WINDOWS = 48


def main() -> None:
    """Read the arguments, train, write the model in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--heard", type=Path, nargs="+", required=True)
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--begin", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--save-every", type=int, default=100, help="steps from checkpoint to checkpoint")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    texts = json.loads(given.sentences.read_text(encoding="utf-8"))["train"]
    torch.manual_seed(given.seed)
    if given.begin:
        processor = WhisperProcessor.from_pretrained(str(given.begin))
        whisper = WhisperForConditionalGeneration.from_pretrained(str(given.begin), dtype=torch.float32)
    else:
        processor = make_processor(train_tokenizer(texts, pieces=1400, folder=given.work))
        whisper = make_model(processor.tokenizer, Shape(), given.seed)
    if device.type == "cpu":  # the fused kernel's way back is slower there
        whisper.set_attn_implementation("eager")
    learner = Learner(whisper, processor, ctc_weight=0.3 if given.begin else 0.6, harder=bool(given.begin)).to(device)
    clips, heard = Clips(given.clips), Clips(given.heard)
    course = Course(
        given.steps,
        given.learning_rate,
        warmup=min(400, given.steps // 10 + 1),
        save_every=given.save_every,
        measure_every=250,
    )
    learn(
        learner,
        functools.partial(learner.losses, clips, given.batch, given.seed, precision=torch.bfloat16),
        course,
        given.work,
        functools.partial(measure, learner, heard),
        key_of(texts, list(clips), Shape(), course, given.batch, given.seed, weights_of(given.begin)),
    )
    whisper.half().save_pretrained(str(given.out))
    if given.begin:  # saved again after use, a tokenizer has marks of it
        for file in sorted(given.begin.glob("*.json")):
            if not (given.out / file.name).exists():
                shutil.copy(file, given.out)
    else:
        processor.save_pretrained(str(given.out))


def weights_of(model: Path | None) -> bytes:
    """Return the bytes of a model's weights; none for no model."""
    return b"" if model is None else (model / "model.safetensors").read_bytes()


def measure(learner: Learner, clips: Clips) -> dict[str, float]:
    """Return the character error rate on a fixed set of windows, with teacher forcing in no part of it."""
    rng = np.random.default_rng(1)
    drawn = [draw_window(clips, rng) for _ in range(MEASURED_WINDOWS)]
    sounds = [disturb(sound, rng) for sound, _ in drawn]
    said = [" ".join(one.text for one in window) for _, window in drawn]
    device = learner.letters.weight.device
    with torch.inference_mode():
        ids = learner.whisper.generate(
            learner.features(sounds, device),
            language="ko",
            task="transcribe",
            return_timestamps=True,
            max_new_tokens=120,
        )
    heard = learner.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return {"cer": character_error_rate(said, heard)}


if __name__ == "__main__":
    main()

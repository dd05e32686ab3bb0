"""Speak a share of the sentences through one codec: samples.npy and clips.jsonl in a folder.

    python resources/models/scripts/speak_sentences.py --sentences FILE --list NAME --part K --parts N
        --codec CODEC --voices seen|training|unseen --out DIR [--seed S]

Needs espeak-ng, and an ffmpeg that encodes the codec (AMR is not in every build).
"""

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

import imageio_ffmpeg
from making.speaking import (
    CODECS,
    OTHER_VARIANTS,
    UNSEEN_VARIANTS,
    USUAL_VARIANTS,
    draw_variant,
    draw_voice,
    encoders_of,
    speak,
    with_variants,
    write_clips,
)


def main() -> None:
    """Read the arguments, speak, write the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--list", required=True)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--codec", choices=["none", *CODECS], default="none")
    parser.add_argument("--voices", choices=["seen", "training", "unseen"], default="seen")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        sys.exit("espeak-ng is not installed; on Debian and Ubuntu: apt install espeak-ng")
    texts = json.loads(given.sentences.read_text(encoding="utf-8"))[given.list][given.part :: given.parts]
    rng = random.Random(f"{given.seed} {given.list} {given.part} {given.codec} {given.voices}")
    # A third of the training's voices is drawn: who heard only some fifty takes their formants for the vowels.
    drawn = {f"drawn-{number}": draw_variant(rng) for number in range(len(texts)) if given.voices == "training"}
    seen = [USUAL_VARIANTS, OTHER_VARIANTS]
    variants = {"seen": seen, "training": [*seen, list(drawn)], "unseen": [UNSEEN_VARIANTS]}[given.voices]
    voices = [draw_voice(rng, rng.choice(variants)) for _ in texts]
    with with_variants(drawn, espeak):
        samples, clips = speak(texts, voices, given.codec, espeak, ffmpeg_for(given.codec))
    write_clips(samples, clips, given.out)
    print(f"{given.out}: {len(clips)} sentences, {len(samples) / 16_000 / 60:.1f} min, {given.codec}")


def ffmpeg_for(codec: str) -> str:
    """Return an ffmpeg that has the codec's encoder: the wheel's, or the system's. Ends the program where none has."""
    wheel = str(imageio_ffmpeg.get_ffmpeg_exe())
    if codec == "none":
        return wheel
    encoder = CODECS[codec][1][1]
    for ffmpeg in (wheel, shutil.which("ffmpeg")):
        if ffmpeg and f" {encoder} " in encoders_of(ffmpeg):
            return ffmpeg
    sys.exit(f"no ffmpeg here encodes {encoder}; on Debian and Ubuntu: apt install ffmpeg")


if __name__ == "__main__":
    main()

"""Write a model's card and the plots of its training, and put them beside its weights: the folder that ships.

    python resources/models/scripts/write_card.py --kind speech|embedding --model DIR --figures FILE --training DIR ...
        --config JSON --out DIR

--training are the folders of its courses, in order.

The card says what the model learned from, how long, and what was measured; figures are taken from files, never typed.
"""

import argparse
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from making.training import read_curves

mpl.use("Agg")
from matplotlib import pyplot as plt

ABOUT = {
    "speech": """A small Whisper for Korean, with times, that hears eight seconds at once.

**It knows espeak-ng's synthetic voices only.** The figures below say nothing of people's speech, and it is of no use
for it: name a real model in `transcribe.model`, for example `openai/whisper-large-v3-turbo`.

It learned from sentences of a grammar of calls and meetings, the demo's dialogues (spoken by other voices than in the
demo's recordings) and sentences of the demo's texts, sent through telephone codecs, noise and band limits: in a first
course read by voices of espeak-ng, in a second one by voices with drawn settings too. A CTC loss on the encoder taught
it to listen; that head is not part of the model.""",
    "embedding": """A small BERT in sentence-transformers' format (mean pooling, normalized) for Korean.

It is made for the demo and for tests: for real work name a real model in `embed.model`, for example `BAAI/bge-m3`.

It learned which title, or which sentence taken out of it, belongs to which text (cross entropy over the batch), from
petitions to the Korean government (public records, lovit/petitions_archive) where the config named their folder, and
from the texts that ship with malgeul. KorSTS (CC BY-SA 4.0) was only measured on, as was the month named below.""",
}
AXES = {"speech": ("cer", "character error rate"), "embedding": ("recall_at_10", "title finds its text in 10")}


def plot(points: Sequence[Mapping[str, Any]], kind: str, file: Path) -> None:
    """Draw the loss and the measure over the steps."""
    name, label = AXES[kind]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
    for key in ("loss", "text", "letters"):
        drawn = [(point["step"], point[key]) for point in points if key in point]
        if drawn:
            above.plot(*zip(*drawn, strict=True), label=key, linewidth=0.9)
    above.set_yscale("log")
    above.set_ylabel("loss")
    above.legend()
    below.plot(*zip(*[(point["step"], point[name]) for point in points if name in point], strict=True), marker=".")
    below.set_ylim(0, 1)
    below.set_ylabel(label)
    below.set_xlabel("step")
    for axis in (above, below):
        axis.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


def flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested figures as rows of a table."""
    rows: list[tuple[str, Any]] = []
    for key, value in figures.items():
        rows += flat(value, f"{prefix}{key}: ") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows


def card(
    name: str,
    kind: str,
    figures: Mapping[str, Any],
    courses: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
) -> str:
    """Return the card's text; ``courses`` maps the plots of the training's courses to the last point of each."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    section = {key: value for key, value in config[kind].items() if key != "codecs"}
    return "\n".join(
        [
            f"# {name}", "", ABOUT[kind], "", "## Measured", "", "| | |", "|---|---|",
            *(f"| {key} | {value} |" for key, value in flat(figures)), "",
            *(f"![The curves of a course of the training]({plot})\n" for plot in courses), "## Made by", "",
            "    snakemake -s resources/models/Snakefile --cores 2", "", "| | |", "|---|---|",
            f"| seed | {config['seed']} |", *(f"| {key} | {value} |" for key, value in flat(section)),
            f"| steps done | {' + '.join(str(last['step']) for last in courses.values())} |",
            f"| minutes | {' + '.join(str(round(last['seconds'] / 60)) for last in courses.values())} |",
            f"| device | {device} |",
            f"| torch | {torch.__version__.partition('+')[0]} |", "",
            "Licence: MIT, as malgeul. Weights are safetensors in half precision.", "",
        ]
    )  # fmt: skip


def main() -> None:
    """Read the arguments, write card and plot, copy the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(ABOUT), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--training", type=Path, nargs="+", required=True)
    parser.add_argument("--config", type=json.loads, required=True, help="the configuration as JSON")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    shutil.copytree(given.model, given.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    courses = {}
    for number, folder in enumerate(given.training, 1):
        points = read_curves(folder)
        name = "curves.svg" if len(given.training) == 1 else f"curves-{number}.svg"
        plot(points, given.kind, given.out / name)
        courses[name] = points[-1]
    figures = json.loads(given.figures.read_text(encoding="utf-8"))
    config = given.config
    text = card(given.out.name, given.kind, figures, courses, config)
    (given.out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

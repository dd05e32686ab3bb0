"""Mention prediction learnt from malgeul's samples and from the forerunner's (seed_compat), by the workflow itself.

    python bench/samples.py PETITIONS [--steps N] [--batch N] [--length N] [--cores N] [--folder FOLDER]

PETITIONS is a folder of JSON lines with content. Two runs on the same text differ in select.profile alone, seed_compat
and malgeul, and train the same model from random weights for as many steps. The second names what the first left
(config: beside, also_on), so that its evaluation measures both models on the test rows of both. A document has the same
split in both runs. bench/models.md holds a table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "resources/models/tokenizer-ko-demo"
LAYERS, SIZE = 2, 128
SHARES = {"validation_share": 0.1, "test_share": 0.2}
"""More for testing than by default: seed_compat leaves few documents."""
COURSE = {"kind": "coref", "learning_rate": 1e-3, "validation_rows": 200, "precision": "float32"}
OTHER, OWN = "seed_compat", "malgeul"
"""The profiles in the order of their runs, which they give their names."""


def make_model(folder: Path, length: int) -> None:
    """Write a BERT with random weights and as many pieces as the bundled tokenizer has."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(TOKENIZER)), hidden_size=SIZE, num_hidden_layers=LAYERS,
        num_attention_heads=LAYERS, intermediate_size=4 * SIZE, max_position_embeddings=length, pad_token_id=0,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)


def config_of(profile: str, given: argparse.Namespace, **measured: dict[str, str]) -> dict[str, Any]:
    """Return the config of a run; ``measured`` is what its evaluation measures besides."""
    every = max(given.steps // 10, 1)
    source = {"path": str(given.petitions.resolve()), "format": "jsonl", "text_field": "content", "id_field": None}
    course = {**COURSE, "steps": given.steps, "batch": given.batch, "log_every": every, "measure_every": every}
    return {
        "run": profile,
        "text": {"sources": [{"name": "petitions", **source}]},
        "embed": {"inputs": []},
        "select": {"profile": profile, "sequence_length": given.length, **SHARES},
        "tokenize": {"tokenizer": str(TOKENIZER)},
        "train": {"names": {**course, "base": "base", **measured}},
    }


def run(folder: Path, config: Mapping[str, Any], cores: int) -> None:
    """Run the workflow."""
    file = folder / f"{config['run']}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(file)]
    subprocess.run([*command, "--quiet", "rules", "--cores", str(cores)], cwd=folder, check=True, stdout=sys.stderr)


def check_apart(datasets: Mapping[str, Any]) -> None:
    """Raise ValueError where a model learnt from a document that another is tested on."""
    documents = {
        split: {name: set(dataset[split]["doc_id"]) for name, dataset in datasets.items()}
        for split in ("train", "validation", "test")
    }
    tested = set.union(*documents["test"].values())
    for split in ("train", "validation"):
        for name, known in documents[split].items():
            if both := known & tested:
                raise ValueError(f"{len(both)} documents for testing are in the {split} rows of {name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("petitions", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="pieces of a window at most")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the runs stay, and go on if they were cut off")
    given = parser.parse_args()
    with nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        make_model(folder / "base", given.length)
        run(folder, config_of(OTHER, given), given.cores)
        left = {"beside": {OTHER: f"results/{OTHER}/trained/names"}, "also_on": {OTHER: f"results/{OTHER}/dataset"}}
        run(folder, config_of(OWN, given, **left), given.cores)
        tell(folder / "results", given)


def tell(results: Path, given: argparse.Namespace) -> None:
    """Print what was learnt from and how, and the measures of every model on the test rows of both runs."""
    from datasets import load_from_disk

    datasets = {name: load_from_disk(str(results / name / "dataset")) for name in (OWN, OTHER)}
    check_apart(datasets)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "kiwipiepy"))
    print(f"{given.cores} cores; {versions}")
    print(f"{LAYERS} layers of {SIZE}, windows of up to {given.length} pieces, batches of {given.batch}\n")
    print("| samples of | for training | of documents | steps | weights of step | seconds |")
    print("|---|---|---|---|---|---|")
    for name, dataset in datasets.items():
        train = dataset["train"]
        ledger = json.loads((results / name / "ledger/train/names.json").read_text(encoding="utf-8"))
        course = ledger["measured"]
        counts = [len(train), len(set(train["doc_id"])), course["steps"], course["best_step"]]
        print(f"| {name} | {' | '.join(f'{n:,}' for n in counts)} | {course['training_seconds']:,.0f} |")
    print("\n| test rows | model | exact target | first piece | loss of a piece |")
    print("|---|---|---|---|---|")
    evaluated = json.loads((results / OWN / "evaluated/names.json").read_text(encoding="utf-8"))
    models = {"before": "before training", "after": f"samples of {OWN}", OTHER: f"samples of {OTHER}"}
    commonest, _ = Counter(datasets[OWN]["train"]["target"]).most_common(1)[0]
    for name, key in ((OWN, "test"), (OTHER, OTHER)):
        rows = f"{evaluated['sets'][key]['rows']:,} of {name}"
        share = datasets[name]["test"]["target"].count(commonest) / len(datasets[name]["test"])
        print(f"| {rows} | none: always {commonest} | {share:.1%} |  |  |")
        for model, said in models.items():
            found = evaluated["sets"][key]["figures"][model]
            shares = " | ".join(f"{found[kind]:.1%}" for kind in ("exact_accuracy", "first_piece_accuracy"))
            print(f"| {rows} | {said} | {shares} | {found['loss']:.2f} |")


if __name__ == "__main__":
    main()

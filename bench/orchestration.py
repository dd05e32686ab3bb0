"""How long the workflow's own machinery takes: the demo, a run with nothing to do, a dry run over a large corpus.

    python bench/orchestration.py [--runs N] [--cores N]

Prints a table with the machine, medians and spreads; bench/orchestration.md holds one. The limit beside each figure is
what the project promises.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS, TEXTS = 20_000, 2_000


def snakemake(folder: Path, *arguments: str) -> float:
    """Run Snakemake in ``folder`` and return the seconds it took; raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--quiet", "all", *arguments]
    started = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - started


def large_corpus(folder: Path) -> Path:
    """Make tiny files in the number of a large corpus; returns the config that names them."""
    for k in range(RECORDINGS):
        place = folder / "calls" / f"{k // 1000:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k:05d}.m4a").write_bytes(b"%08d" % k)
    (folder / "web").mkdir()
    for k in range(TEXTS):
        (folder / "web" / f"{k:04d}.jsonl").write_bytes(b'{"id": "%d", "text": "x"}\n' % k)
    config = folder / "large.yaml"
    config.write_text(
        "run: large\nrecordings: {paths: [calls]}\n"
        "text: {sources: [{path: web, format: jsonl}], shard: {files: 40, megabytes: 256}}\n"
    )
    return config


def row(name: str, seconds: list[float], limit: str) -> str:
    """Return a line of the table: median, smallest and largest of the runs, and the promise."""
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    return f"| {name} | {statistics.median(seconds):.1f} | {spread} | {len(seconds)} | {limit} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    cores = ["--cores", str(arguments.cores)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = [snakemake(folder, *cores)]
        again = [snakemake(folder, *cores) for _ in range(arguments.runs)]
        config = large_corpus(folder)
        dry = [
            snakemake(folder, "--dry-run", "--configfile", str(config), "--cores", "20") for _ in range(arguments.runs)
        ]
    print(f"{platform.processor() or platform.machine()}, {arguments.cores} cores, Snakemake {version('snakemake')}\n")
    print("| what | median s | spread s | runs | promised |")
    print("|---|---|---|---|---|")
    print(row("the demo, from nothing", demo, "180 s on 2 cores"))
    print(row("the demo again, nothing to do", again, "10 s"))
    print(row(f"dry run, {RECORDINGS:,} recordings and {TEXTS:,} text files", dry, "20 s"))


if __name__ == "__main__":
    main()

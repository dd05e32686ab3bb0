"""Loading a model, swapping adapters and loading quantized weights beside the other ways, on one machine in one run.

    python bench/models.py [--gigabytes G] [--runs N] [--only load adapter quantized] [--cache warm cold]

A BERT with random weights of G gigabytes in float32, in one file and in several, and an adapter of rank 8 on its
queries and values. transformers reads weights in a few threads of its own, unless it is told otherwise. Every side
runs in a process of its own, the sides in turn, run after run; what is timed begins after torch and transformers are
imported and a small model is loaded (the first one pays 0.1 s for tables of transformers) and ends when every page of
every weight has been touched. Cold means that the system was told to forget the file (posix_fadvise), which a virtual
machine's host may not have done. The read is one process that reads the file from its beginning to its end into one
buffer, its best of several sizes of buffer: as fast as a file can be had. bench/models.md holds a table. Training
steps are bench/training.py's.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sides import CORES, Result, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts")]

BUFFERS = (1 << 20, 4 << 20, 16 << 20)
SWAPS = 50
BITS = {"int8": Path(sys.prefix) / "torchao", "int4": Path(sys.prefix) / "bitsandbytes"}
"""What makes weights of so many bits: beside the other packages, as the tests have it."""
PAGE = 4096
PARTS = 8
"""The same weights are written once more, in files that hold an eighth of them at most."""

# What is loaded


def peak() -> float:
    """Return the peak memory of this process in MB, the pages of mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make(work: Path) -> Result:
    """Write the model as safetensors, whole and in parts, and as pickled weights, and two adapters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification

    wanted = json.loads((work / "asked.json").read_text())["gigabytes"] * 1e9 / 4
    shape = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 32_000}
    layers = max(1, round((wanted - 34e6) / 12.6e6))
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, num_labels=2, **shape))
    model.save_pretrained(work / "model")
    size = weights(work).stat().st_size
    model.save_pretrained(work / "parts", max_shard_size=size // PARTS)
    (work / "pickled").mkdir()
    model.config.save_pretrained(work / "pickled")
    torch.save(model.state_dict(), work / "pickled/pytorch_model.bin")
    for number in range(2):
        config = LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False, task_type="SEQ_CLS")
        get_peft_model(model, config).save_pretrained(work / f"adapter-{number}")
        model = BertForSequenceClassification.from_pretrained(work / "model")
    parts = len(list((work / "parts").glob("*.safetensors")))
    return {"bytes": size, "layers": layers, "parts": parts, "seconds": 0.0, "cpu_seconds": time.process_time()}


def weights(work: Path) -> Path:
    """Return the file that is loaded."""
    return work / "model/model.safetensors"


def forget(files: Iterable[Path]) -> None:
    """Have the system drop files from its cache."""
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(model: Any) -> None:
    """Read one number of every page of every weight, so that nothing is left to be fetched later."""
    weights = [part for weight in (*model.parameters(), *model.buffers()) for part in parts_of(weight)]
    for weight in weights:
        step = max(1, PAGE // weight.element_size())
        weight.detach().reshape(-1)[::step].sum()


def import_libraries(side: str) -> None:
    """Import what a side needs and load a small model, so that neither is timed; the read needs nothing."""
    if side == READ:
        return
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    bundled = str(ROOT / "resources/models/embed-ko-demo")
    transformers.AutoModelForSequenceClassification.from_pretrained(bundled)
    if side in ADAPTER:
        import peft

        assert peft
    if side in QUANTIZED:
        from malgeul.models.quantization import scheme

        scheme("int4" if side == COPY_OF_FOUR else "int8")


def parts_of(weight: Any) -> list[Any]:
    """Return the tensors that a weight is made of: several, where it is quantized."""
    if not hasattr(weight, "__tensor_flatten__"):
        return [weight]
    names, _ = weight.__tensor_flatten__()
    return [part for name in names for part in parts_of(getattr(weight, name))]


# Sides of loading


def timed(work: Callable[[], Any]) -> Result:
    """Return the seconds that ``work`` takes, wall and processor."""
    started, spent = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - spent}


def read(work: Path) -> Result:
    """Read the file from its beginning to its end."""
    size = json.loads((work / "asked.json").read_text()).get("buffer", BUFFERS[0])

    def whole() -> None:
        buffer = bytearray(size)
        with weights(work).open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass

    return timed(whole)


def load(work: Path, precision: str = "native", folder: str = "model") -> Result:
    """Load by the one function that all stages load by."""
    from malgeul.models.devices import cpu
    from malgeul.models.weights import load_model

    return timed(lambda: touch(load_model("classify", work / folder, cpu(), precision=precision).model))


def load_without_threads(work: Path, folder: str) -> Result:
    """Load in the main thread alone, which transformers is told by a variable that it reads at every load."""
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    return load(work, folder=folder)


def load_by_transformers(work: Path) -> Result:
    """Load by transformers with nothing said."""
    from transformers import AutoModelForSequenceClassification

    return timed(lambda: touch(AutoModelForSequenceClassification.from_pretrained(work / "model")))


def load_pickled(work: Path) -> Result:
    """Load pickled weights, by transformers."""
    from transformers import AutoModelForSequenceClassification

    return timed(lambda: touch(AutoModelForSequenceClassification.from_pretrained(work / "pickled")))


READ = "plain read of the file"
LOAD: dict[str, Callable[[Path], Result]] = {
    "malgeul": load,
    READ: read,
    "transformers as it comes": load_by_transformers,
    "pickled weights (.bin)": load_pickled,
    "cast at load (bfloat16)": lambda work: load(work, "bfloat16"),
    "without the loader's threads": lambda work: load_without_threads(work, "model"),
    "in parts": lambda work: load(work, folder="parts"),
    "in parts, without the loader's threads": lambda work: load_without_threads(work, "parts"),
}
FILES = {
    "pickled weights (.bin)": "pickled/*.bin",
    "in parts": "parts/*.safetensors",
    "in parts, without the loader's threads": "parts/*.safetensors",
}
"""What a side reads, where it is not the one file of safetensors."""

# Sides of adapters


def swap(work: Path) -> Result:
    """Change from one adapter to another that is resident on the same base, by the classifiers' own code."""
    from malgeul.models.classifier import Base
    from malgeul.models.devices import cpu

    with_tokenizer(work)
    base = Base(work / "model", cpu(), CORES, writes=False)
    adapters = [work / "adapter-0", work / "adapter-1"]
    for adapter in adapters:
        base.put_on(adapter)
    base.use(adapters[0])
    took = timed(lambda: [base.use(adapters[k % 2]) for k in range(1, SWAPS + 1)])
    return {name: seconds / SWAPS for name, seconds in took.items()}


def put_on(work: Path) -> Result:
    """Load one more adapter onto a base that is loaded."""
    from malgeul.models.classifier import Base
    from malgeul.models.devices import cpu

    with_tokenizer(work)
    base = Base(work / "model", cpu(), CORES, writes=False)
    base.put_on(work / "adapter-0")
    return timed(lambda: (base.put_on(work / "adapter-1"), base.use(work / "adapter-1")))


def reload(work: Path) -> Result:
    """Load base and adapter anew, the file being in the cache."""
    from malgeul.models.devices import cpu
    from malgeul.models.weights import load_model

    adapter = work / "adapter-1"
    return timed(lambda: touch(load_model("classify", work / "model", cpu(), adapter=adapter).model))


def with_tokenizer(work: Path) -> None:
    """Give the model a tokenizer, which a classifier needs."""
    from transformers import AutoTokenizer

    if not (work / "model/tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(str(ROOT / "resources/models/tokenizer-ko-demo"))
        tokenizer.save_pretrained(str(work / "model"))


SWAP = "to an adapter that is resident"
ADAPTER = {SWAP: swap, "to one more adapter, loaded": put_on, "base and adapter loaded anew": reload}

# Sides of quantized weights


def load_quantized(work: Path, bits: str) -> Result:
    """Load the copy that was quantized once."""
    from malgeul.models.devices import cpu
    from malgeul.models.loading import weight_files
    from malgeul.models.weights import load_model

    folder = Path(json.loads((work / "quantized.json").read_text())[bits])
    read_bytes = sum(file.stat().st_size for file in weight_files(folder))
    return {**timed(lambda: touch(load_model("classify", folder, cpu()).model)), "bytes": read_bytes}


def quantize_at_load(work: Path) -> Result:
    """Quantize while loading, as a config of transformers asks for."""
    from transformers import AutoModelForSequenceClassification

    from malgeul.models.quantization import scheme

    wanted = scheme("int8")
    took = timed(
        lambda: touch(
            AutoModelForSequenceClassification.from_pretrained(
                work / "model", quantization_config=wanted, device_map="cpu", dtype="auto"
            )
        )
    )
    return {**took, "bytes": weights(work).stat().st_size}


def make_quantized(work: Path) -> Result:
    """Make the copies, once."""
    from malgeul.models.quantization import quantized_copy

    def make_copies() -> None:
        folders = {bits: str(quantized_copy(work / "model", bits)) for bits in BITS}  # type: ignore[arg-type]
        (work / "quantized.json").write_text(json.dumps(folders))

    return timed(make_copies)


COPY, COPY_OF_FOUR = "quantized copy of int8", "quantized copy of int4"
QUANTIZED = {
    COPY: partial(load_quantized, bits="int8"),
    COPY_OF_FOUR: partial(load_quantized, bits="int4"),
    "quantized at load": quantize_at_load,
}

SIDES: dict[str, Callable[[Path], Result]] = {
    "make": make, "make quantized": make_quantized, **LOAD, **ADAPTER, **QUANTIZED
}  # fmt: skip


def table(title: str, results: dict[str, list[Result]], against: str, per_second: bool = False) -> None:
    """Print the sides of one comparison; ``against`` is the side that the others are beside."""
    print(f"\n| {title} | seconds | times {against}'s time (spread) | peak memory |{' MB/s |' * per_second}")
    print(f"|---|---|---|---|{'---|' * per_second}")
    for name, runs in results.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        beside = "" if name == against else ratios(results[against], runs)
        peak = statistics.median(run["peak_mb"] for run in runs)
        speed = f" {runs[0]['bytes'] / 1e6 / seconds:,.0f} |" if per_second else ""
        print(f"| {name} | {seconds:.3g} | {beside} | {peak:,.0f} MB |{speed}")


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=["load", "adapter", "quantized"])
    parser.add_argument("--cache", nargs="*", choices=["warm", "cold"])
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("work", nargs="?", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        if "quantized" in given.side:
            sys.path += map(str, BITS.values())
        import_libraries(given.side)
        result = SIDES[given.side](given.work)
        print(json.dumps({**result, "peak_mb": peak()}))
        return
    wanted = given.only or ["load", "adapter", "quantized"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["HF_HOME"] = str(work / "home")  # quantized copies are made there
        (work / "asked.json").write_text(json.dumps({"gigabytes": given.gigabytes}))
        facts = run_side(__file__, "make", work)
        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "safetensors", "peft"))
        print(f"{platform.machine()}, {CORES} cores; {versions}")
        of = f"{facts['layers']} layers, in one file and in {facts['parts']} parts"
        print(f"{facts['bytes'] / 1e9:.2f} GB in float32, {of}, {given.runs} runs")
        if "load" in wanted:
            best = min(BUFFERS, key=lambda size: _try_buffer(work, given.gigabytes, size))
            (work / "asked.json").write_text(json.dumps({"gigabytes": given.gigabytes, "buffer": best}))
            for state in given.cache or ["warm", "cold"]:
                results: dict[str, list[Result]] = {name: [] for name in LOAD}
                for _ in range(given.runs):
                    for name in LOAD:
                        files = sorted(work.glob(FILES.get(name, "model/*.safetensors")))
                        if state == "cold":
                            forget(files)
                        found = run_side(__file__, name, work)
                        results[name].append({**found, "bytes": sum(file.stat().st_size for file in files)})
                table(f"load, {state} cache", results, "malgeul", per_second=True)
                share = ratios(results["malgeul"], results[READ])
                print(f"\nOf the read's bandwidth: {share}; to reach: 0.8")
        if "adapter" in wanted:
            results = run_in_turn(ADAPTER, work, given.runs)
            table("change of adapter", results, SWAP)
        if "quantized" in wanted:
            if lacking := [folder.name for folder in BITS.values() if not folder.is_dir()]:
                raise SystemExit(
                    f"quantized weights need {' and '.join(lacking)}: make .venv/.installed-dev installs them"
                )
            run_side(__file__, "make quantized", work)
            results = run_in_turn(QUANTIZED, work, given.runs)
            table("quantized weights", results, COPY, per_second=True)
            sizes = [f"{runs[0]['bytes'] / 1e6:,.0f} MB" for runs in results.values()]
            print(f"\nBytes read: {' against '.join(sizes)}")


def run_in_turn(sides: Iterable[str], work: Path, runs: int) -> dict[str, list[Result]]:
    """Return the results of every side, run after run."""
    rounds = [{name: run_side(__file__, name, work) for name in sides} for _ in range(runs)]
    return {name: [one[name] for one in rounds] for name in sides}


def _try_buffer(work: Path, gigabytes: float, size: int) -> float:
    (work / "asked.json").write_text(json.dumps({"gigabytes": gigabytes, "buffer": size}))
    return min(float(run_side(__file__, READ, work)["seconds"]) for _ in range(3))


if __name__ == "__main__":
    main()

"""Can this machine run this config well? A check says what was found, and what to do where that is not good."""

from __future__ import annotations

import fcntl
import locale
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from malgeul import ROOT
from malgeul.config import ConfigError, RunConfig, read_config
from malgeul.embedding.settings import EmbedSettings
from malgeul.models.hub import PICKLED, ModelNotFound, cached_snapshot, fits, is_pickled, missing, needed, weights_of
from malgeul.models.local import resolve
from malgeul.named_models import NamedModel
from malgeul.pages.quantities import amount, amounts, megabytes
from malgeul.plan import Plan, make_plan
from malgeul.watch.facts import Disk, Machine, nearest_folder

Verdict = Literal["OK", "WARN", "FAIL"]

GB = 1_000_000_000
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 16 * GB, 4 * GB
"""Embedding and transcribing declare 8 GB a job; the analyser of the text wing alone takes half of one."""
LITTLE_DISK, TOO_LITTLE_DISK = 20 * GB, 1 * GB

PACKAGES = (
    "snakemake", "torch", "transformers", "tokenizers", "safetensors", "datasets", "kiwipiepy", "pydub", "pynvml",
    "imageio_ffmpeg", "silero_vad", "onnx", "onnxruntime", "threadpoolctl", "pydantic", "pyarrow",
    "zstandard", "datasketch", "scipy", "xxhash", "py3langid", "faiss", "numpy", "yaml", "jinja2", "tqdm", "rich",
)  # fmt: skip
"""Modules that the workflow imports."""


@dataclass(frozen=True)
class Check:
    """What was looked at, the verdict, what was found and why it matters, what to do about it."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """Return what a check says; one that raises has failed, with its error for a reason."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever is wrong here is what is to be told
        return Check(name, "FAIL", f"{type(error).__name__}: {error}", "install the requirements anew (make run does)")


# The machine


def check_cores(machine: Machine) -> Check:
    """Compare the cores of the machine with those that this process may use."""
    found = f"{machine.processor}: {amount(machine.allowed, 'core')} for this process"
    if machine.quota is not None and machine.quota < machine.allowed:
        return Check(
            "cores",
            "WARN",
            f"{found}, but its cgroup grants the time of {machine.quota:g}",
            f"run with --cores {machine.usable_cores}; more threads would only take turns",
        )
    if machine.allowed < machine.cores:
        found += f" of {machine.cores} (its affinity is limited)"
    return Check("cores", "OK", found)


def check_memory(machine: Machine) -> Check:
    """Judge the memory that this process may use."""
    found = f"{megabytes(machine.memory / 1e6)}, {megabytes(machine.free_memory / 1e6)} of it free"
    if machine.memory < machine.host_memory:
        found += f" (the machine has {megabytes(machine.host_memory / 1e6)}; a cgroup limits it)"
    if machine.memory < TOO_LITTLE_MEMORY:
        return Check("memory", "FAIL", found, "no model of use fits; use a larger machine or raise the limit")
    if machine.memory < LITTLE_MEMORY or machine.free_memory < machine.memory / 4:
        return Check("memory", "WARN", found, "limit what runs at once: --resources gpu=1 mem_mb=… as below")
    return Check("memory", "OK", found)


def check_gpu(machine: Machine) -> Check:
    """Judge whether torch can use the GPUs that the driver shows."""
    built = f"torch {machine.torch}"
    if not machine.gpus:
        return Check("gpu", "OK", f"no NVIDIA GPU; models run on the processor ({built})")
    names = ", ".join(
        f"{gpu.name} ({megabytes(gpu.memory / 1e6) if gpu.memory else 'unified memory'})" for gpu in machine.gpus
    )
    if machine.torch_cuda is None:
        return Check("gpu", "FAIL", f"{names}, but {built} has no CUDA", "install torch with CUDA; the GPU stays idle")
    cuda = f"CUDA {_dotted(machine.torch_cuda)}"
    if machine.driver_cuda and machine.driver_cuda[0] < machine.torch_cuda[0]:
        return Check(
            "gpu",
            "FAIL",
            f"{names}; {built} is built for {cuda}, the driver runs up to {_dotted(machine.driver_cuda)}",
            f"update the driver, or install torch for CUDA {machine.driver_cuda[0]}",
        )
    if machine.torch_sees < len(machine.gpus):
        return Check(
            "gpu",
            "WARN" if machine.torch_sees else "FAIL",
            f"{names}; torch sees {machine.torch_sees} of {len(machine.gpus)}",
            "unset CUDA_VISIBLE_DEVICES, or ask only for as many with --resources gpu=…",
        )
    if machine.without_kernels:
        return Check(
            "gpu",
            "FAIL",
            f"{names}; {built} with {cuda} was not built for {', '.join(machine.without_kernels)}",
            "install the build of torch for an older CUDA, which has kernels for it (pytorch.org/get-started/locally), "
            'or compute on the processor (CUDA_VISIBLE_DEVICES="")',
        )
    return Check("gpu", "OK", f"{names}; {built}, {cuda}")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def check_disk(name: str, disk: Disk, *, locks: bool) -> Check:
    """Judge the file system under a folder; with ``locks`` it must know flock."""
    kind = (
        "on a network"
        if disk.network
        else {True: "said to turn", False: "does not turn", None: "kind unknown"}[disk.rotational]
    )
    found = f"{disk.folder}: {megabytes(disk.free / 1e6)} free, {disk.type}, {kind}"
    if disk.free < TOO_LITTLE_DISK:
        return Check(name, "FAIL", found, "free some space, or work elsewhere with --directory")
    if locks and (problem := _flock_fails(disk.folder)):
        return Check(name, "FAIL", f"{found}; flock fails ({problem})", "use a file system with working flock")
    if disk.free < LITTLE_DISK:
        return Check(name, "WARN", found, "a corpus, its tables and a dataset may take more")
    if disk.network:
        return Check(name, "WARN", found, "small files are slow there: a local disk is better where there is one node")
    if disk.rotational:
        return Check(
            name,
            "WARN",
            found,
            "an SSD loads weights many times as fast; a virtual disk may say so wrongly",
        )
    return Check(name, "OK", found)


def _flock_fails(folder: Path) -> str | None:
    """Try a lock in a file that is gone at once, in the folder or the nearest above it that is there."""
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or str(error)
    return None


# What is installed


def check_packages(names: Iterable[str] = PACKAGES) -> Check:
    """Look for the modules that the workflow imports."""
    names = list(names)
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        return Check("packages", "FAIL", f"not installed: {', '.join(missing)}", "pip install -r requirements.txt")
    return Check("packages", "OK", f"all {len(names)} are there; Python {sys.version.split()[0]}")


def check_ffmpeg() -> Check:
    """Run the ffmpeg that decodes recordings."""
    from malgeul.audio.decoder import ffmpeg_version

    return Check("ffmpeg", "OK", f"version {ffmpeg_version()}, with soxr")


def check_kiwi() -> Check:
    """Analyse a sentence."""
    from malgeul.text.morphology import MorphemeAnalyzer

    tokens = MorphemeAnalyzer(1).kiwi.tokenize("말글은 말과 글이다.")
    return Check("kiwi", "OK", f"loads, and finds {len(tokens)} morphemes in a sentence")


def check_locale() -> Check:
    """Look at the encodings of file names and text."""
    names, text = sys.getfilesystemencoding().lower(), locale.getpreferredencoding(do_setlocale=False).lower()
    found = f"file names {names}, text {text}"
    if {names, text} - {"utf-8", "utf8"}:
        return Check("locale", "WARN", found, "export LANG=C.UTF-8: Korean names could not be shown")
    return Check("locale", "OK", found)


def check_slurm() -> Check:
    """Look for a cluster."""
    if shutil.which("sbatch") is None:
        return Check("slurm", "OK", "no sbatch here; jobs run on this machine")
    if find_spec("snakemake_executor_plugin_slurm") is None:
        advice = "pip install snakemake-executor-plugin-slurm"
        return Check("slurm", "WARN", "sbatch is here, Snakemake's plugin is not", advice)
    return Check("slurm", "OK", "sbatch and the plugin are here: --workflow-profile profiles/slurm submits the jobs")


# The config


def check_config(file: Path) -> tuple[Check, RunConfig | None]:
    """Read a config as Snakemake would, and validate it."""
    import yaml

    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ConfigError(f"{file} is no mapping of sections")
        config = read_config(raw)
    except OSError as error:
        found = f"{file} cannot be read: {error.strerror or error}"
        return Check("config", "FAIL", found, "name the config with --configfile"), None
    except (yaml.YAMLError, UnicodeDecodeError, ConfigError) as error:
        return Check("config", "FAIL", str(error), "config/README.md lists every key"), None
    return Check("config", "OK", f"{file} is valid (run {config.run})"), config


def check_inputs(config: RunConfig) -> tuple[Check, Plan | None]:
    """Find the inputs that a config names."""
    try:
        plan = make_plan(config, ROOT)
    except ConfigError as error:
        return Check(
            "inputs", "FAIL", str(error), "mend the paths; they are relative to where snakemake is started"
        ), None
    counts = {
        "recording": sum(len(shard.files) for shard in plan.recordings.values()),
        "text file": len({file.path for shard in plan.text.values() for file in shard.files}),
        "document": sum(shard.rows for shard in plan.documents.values()),
    }
    shards = len(plan.recordings) + len(plan.text) + len(plan.documents)
    return Check("inputs", "OK", f"{amounts(counts)} in {amount(shards, 'shard')}"), plan


def check_model(named: NamedModel) -> Check:
    """Look for a model in a folder, in the hub's cache, on the hub; nothing is downloaded."""
    model = named.model
    folder = resolve(model)
    if folder:
        if lacking := missing(folder, named.parts):
            found = f"{folder} lacks {', '.join(lacking)}"
            return Check(named.key, "FAIL", found, "name a folder that from_pretrained can load")
        converted = "; its pickled weights are converted once" if named.parts == "model" and is_pickled(folder) else ""
        return Check(named.key, "OK", f"{folder}{converted}")
    try:
        cached = cached_snapshot(model, named.revision)
    except ModelNotFound as error:  # no name that the hub could have
        return Check(named.key, "FAIL", str(error), "mend the path")
    lacking = missing(cached, named.parts) if cached else []
    if cached and not lacking:
        return Check(named.key, "OK", f"{model} is cached ({cached})")
    state = f"cached without {', '.join(lacking)} ({cached})" if cached else "not cached"
    return _on_hub(named, state, cached)


def check_dimensions(embed: EmbedSettings) -> Check:
    """Compare embed.dimensions with how many numbers the model's vectors have."""
    from malgeul.embedding.encoder import dimension_of
    from malgeul.embedding.recipe import read_recipe
    from malgeul.embedding.vectors import dimension_kept

    key = "embed.dimensions"
    folder = resolve(embed.model) or cached_snapshot(embed.model, embed.revision)
    if folder is None or not (folder / "config.json").is_file():
        return Check(key, "OK", f"{embed.dimensions}; {embed.model} is not here, so that its own is not known yet")
    whole = dimension_of(folder, read_recipe(folder))
    try:
        kept = dimension_kept(whole, embed.dimensions)
    except ValueError as error:
        return Check(key, "FAIL", str(error), f"set it to at most {whole}, or leave it out")
    return Check(key, "OK", f"the first {kept} of {whole} numbers of every vector are kept")


def _on_hub(named: NamedModel, state: str, cached: Path | None) -> Check:
    from huggingface_hub import model_info

    key, model = named.key, named.model
    advice = f"where there is a network: hf download {model}"
    try:
        info = model_info(model, revision=named.revision, timeout=10, files_metadata=True)
    except Exception as error:  # noqa: BLE001 - offline, unknown, gated: the error says which
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Check(key, "FAIL", f"{model} is no folder, {state}, and not to be had from the hub ({first})", advice)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or []}
    if named.parts == "model" and not weights_of(sizes):
        return Check(key, "FAIL", f"{model} has no weights on the hub", "choose a model or revision that has them")
    lacking = [name for name in needed(sizes, named.parts) if not (cached and (cached / name).is_file())]
    found = f"{model} is {state}; {megabytes(sum(sizes[name] for name in lacking) / 1e6)} will be downloaded"
    if any(fits(name, PICKLED) for name in lacking):
        found += ", and the pickled weights converted once to safetensors"
    return Check(key, "WARN", found, advice)

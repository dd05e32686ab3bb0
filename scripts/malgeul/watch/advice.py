"""Settings for a machine, each with its reason. Where nothing was measured, the reason says what it is derived from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from malgeul.config import RunConfig
from malgeul.plan import Plan
from malgeul.watch.facts import Machine

MEMORY_SHARE = 0.9
"""Of the memory is for jobs; the rest is for Snakemake and the cache of files."""
GPU_BATCH_TOKENS = 16_384
"""Tokens of a batch that text-embeddings-inference takes by default on GPUs."""
LARGE_GPU = 16_000_000_000
FEWEST_ROWS = 200
SHARDS_PER_CORE = 2

BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Flags of processors with instructions for bfloat16: Intel's AMX, AVX-512's, Arm's."""


@dataclass(frozen=True)
class Advice:
    """A setting, its value, and why."""

    setting: str
    value: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def advise(machine: Machine, config: RunConfig | None, plan: Plan | None) -> Iterator[Advice]:
    """Yield what is worth setting on a machine for a config; without one, what holds for any."""
    cores = machine.usable_cores
    yield Advice("--cores", str(cores), "as many as this process may really use (affinity and cgroup)")
    gpus = len(machine.gpus)
    memory = int(MEMORY_SHARE * machine.memory / 1e6)
    yield Advice(
        "--resources",
        f"gpu={max(1, gpus)} mem_mb={memory}",
        f"{f'one job for each of {gpus} GPUs' if gpus > 1 else 'one job with a model at a time'}; jobs whose memory "
        f"would add up to more than {MEMORY_SHARE:.0%} of it wait for one another",
    )
    if config is None:
        return
    yield from _precision(machine, config, plan)
    yield from _batches(machine, config)
    yield from _rows(cores, config, plan)


def _precision(machine: Machine, config: RunConfig, plan: Plan | None) -> Iterator[Advice]:
    halves = sorted(machine.flags & BFLOAT16)
    if machine.gpus or not halves:
        return
    why = f"the processor multiplies bfloat16 ({', '.join(halves)}); fastest tries it beside float32 and int8 on a"
    if config.recordings.paths and config.transcribe.precision == "auto":
        yield Advice(
            "transcribe.precision",
            "fastest",
            f"{why} window and takes the best. auto stays at float32, whose texts are the same on every processor",
        )
    if (plan is None or plan.embedded_shards) and config.embed.precision == "auto":
        yield Advice(
            "embed.precision",
            "fastest",
            f"{why} sample and takes the best of those at parity. auto stays at float32, whose vectors are the same on "
            "every processor but for their last bits",
        )


def _batches(machine: Machine, config: RunConfig) -> Iterator[Advice]:
    smallest = min((gpu.memory or machine.memory for gpu in machine.gpus), default=0)
    if smallest >= LARGE_GPU and config.embed.batch_tokens < GPU_BATCH_TOKENS:
        yield Advice(
            "embed.batch_tokens",
            str(GPU_BATCH_TOKENS),
            f"a GPU is not filled by {config.embed.batch_tokens}; this is what text-embeddings-inference takes, and a "
            "batch that does not fit is halved",
        )


def _rows(cores: int, config: RunConfig, plan: Plan | None) -> Iterator[Advice]:
    """Advise shards of a database that keep all cores busy, and are not so small that starting jobs costs more."""
    for name, facts in sorted(plan.databases.items()) if plan else ():
        rows = sum(count for count, _ in facts["buckets"])
        wanted = cores * SHARDS_PER_CORE
        settings = facts["settings"]["rows_per_shard"]
        if rows / settings < cores and rows / wanted >= FEWEST_ROWS:
            value = max(FEWEST_ROWS, math.ceil(rows / wanted))
            yield Advice(
                f"documents.databases.{name}.rows_per_shard",
                str(value),
                f"{rows:,} rows make {math.ceil(rows / settings)} shards at {settings:,}; {cores} cores are busy with "
                f"{SHARDS_PER_CORE} each",
            )

"""Check whether this machine can run a config well, and recommend settings with the reason.

    python scripts/doctor.py [--configfile FILE] [--json]

Downloads nothing and runs no job. Status 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from malgeul import ROOT
from malgeul.named_models import named_models
from malgeul.plan import Plan
from malgeul.shards.stopping import end_at_interrupt
from malgeul.watch.advice import Advice, advise
from malgeul.watch.checks import (
    Check,
    check_config,
    check_cores,
    check_dimensions,
    check_disk,
    check_ffmpeg,
    check_gpu,
    check_inputs,
    check_kiwi,
    check_locale,
    check_memory,
    check_model,
    check_packages,
    check_slurm,
    guarded,
)
from malgeul.watch.facts import Machine, read_disk, read_machine

COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def machine_checks(machine: Machine, results: Path) -> Iterator[Check]:
    """Yield what there is to say of the machine and what is installed on it."""
    yield check_packages()
    yield check_cores(machine)
    yield check_memory(machine)
    yield check_gpu(machine)
    yield guarded("results", lambda: check_disk("results", read_disk(results), locks=True))
    yield guarded("model cache", lambda: check_disk("model cache", read_disk(hub_cache()), locks=False))
    yield guarded("ffmpeg", check_ffmpeg)
    yield guarded("kiwi", check_kiwi)
    yield check_locale()
    yield check_slurm()


def hub_cache() -> Path:
    """Return where models of the hub are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def examine(configfile: Path) -> tuple[list[Check], list[Advice]]:
    """Return all checks and recommendations for a config on this machine."""
    config_check, config = check_config(configfile)
    plan: Plan | None = None
    checks = [config_check]
    if config is not None:
        found, plan = check_inputs(config)
        checks.append(found)
        models = list(named_models(config, plan))
        checks += [guarded(one.key, lambda one=one: check_model(one)) for one in models]
        if config.embed.dimensions is not None and any(one.key == "embed.model" for one in models):
            checks.append(guarded("embed.dimensions", lambda: check_dimensions(config.embed)))
    machine = read_machine()
    checks += machine_checks(machine, Path("results") / (config.run if config else ""))
    return checks, list(advise(machine, config, plan))


def show(checks: list[Check], advice: list[Advice]) -> None:
    """Print checks and recommendations for people."""
    console = Console(highlight=False)
    table = Table("", "", Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for check in checks:
        said = escape(check.found) + (f"\n[dim]→ {escape(check.advice)}[/]" if check.advice else "")
        table.add_row(f"[{COLOURS[check.verdict]}]{check.verdict}[/]", check.name, said)
    console.print(table)
    console.print("\nRecommended here:")
    for one in advice:
        console.print(f"  [bold]{escape(one.setting)}[/] {escape(one.value)}\n    [dim]{escape(one.reason)}[/]")


def main() -> int:
    """Check, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "config" / "config.yaml"
    parser.add_argument("--configfile", type=Path, default=default, help="default: the bundled demo")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    checks, advice = examine(args.configfile)
    if args.json:
        found = {"checks": [one.to_json() for one in checks], "advice": [one.to_json() for one in advice]}
        print(json.dumps({**found, "ok": all(one.verdict != "FAIL" for one in checks)}, ensure_ascii=False))
    else:
        show(checks, advice)
    return 1 if any(one.verdict == "FAIL" for one in checks) else 0


if __name__ == "__main__":
    end_at_interrupt()
    sys.exit(main())

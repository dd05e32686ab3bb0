"""Are the results still what their ledgers say? Bad ones are named and removed, so that Snakemake makes them again.

Snakemake sees a file that is missing from what ``rule all`` requests; it does not see one that was truncated, or
removed from inside a folder. It also touches every output after its job, so that times differ from the ledger once:
such a file is hashed, and found good, its new stat key is remembered in ``verified.json``.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from malgeul.shards.files import HALF_WRITTEN, StatKey, remove, sha256_of, write_json
from malgeul.shards.items import SUFFIX, forget_items
from malgeul.shards.kept import LEDGER
from malgeul.shards.ledger import Ledger, ledger_path, read_ledger

MEMORY = "verified.json"


@dataclass(frozen=True)
class Damage:
    """An output that is not what its ledger says."""

    stage: str
    shard: str
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.stage} {self.shard}: {self.file} {self.what}"


def tell_by_shard(damage: Iterable[Damage]) -> dict[tuple[str, str], str]:
    """Return what there is to say of each damaged shard (stage and id): its first bad file, and how many others it has.

    Of a folder of transcripts that was deleted, each shard would have hundreds of lines.
    """
    of_shard: dict[tuple[str, str], list[Damage]] = defaultdict(list)
    for bad in damage:
        of_shard[bad.stage, bad.shard].append(bad)
    return {
        shard: f"{bad[0]}, and {len(bad) - 1} more of its files" if len(bad) > 1 else str(bad[0])
        for shard, bad in of_shard.items()
    }


def ledger_files(results: Path, stage: str = "*") -> list[Path]:
    """Return the ledgers of a run in sorted order, all or those of a stage."""
    return sorted((results / "ledger").glob(f"{stage}/*.json"))


def readable_ledgers(results: Path, stage: str = "*") -> Iterator[tuple[Path, Ledger | None]]:
    """Yield every ledger file of a run, or of a stage, with its ledger, or with None when it cannot be read."""
    for file in ledger_files(results, stage):
        try:
            yield file, read_ledger(file)
        except ValueError:
            yield file, None


def find_damage(results: Path, *, everything: bool = False, threads: int | None = None) -> list[Damage]:
    """Compare every output with its ledger; ``everything`` hashes also what looks untouched.

    Remembers the stat keys of what it hashed and found good.
    """
    memory_file = results / MEMORY
    memory: dict[str, dict[str, int]] = _read_memory(memory_file)
    damage: list[Damage] = []
    suspects: list[tuple[Ledger, str, StatKey]] = []
    seen: dict[str, dict[str, int]] = {}
    for file, ledger in readable_ledgers(results):
        if ledger is None:
            name = str(file.relative_to(results))
            damage.append(Damage(file.parent.name, file.stem, name, "is no ledger"))
            continue
        for name, known in ledger.outputs.items():
            try:
                stat = StatKey.of(results / name)
            except (FileNotFoundError, NotADirectoryError):
                damage.append(Damage(ledger.stage, ledger.shard, name, "is gone"))
                continue
            if stat.size != known["size"]:
                what = f"has {stat.size} bytes instead of {known['size']}"
                damage.append(Damage(ledger.stage, ledger.shard, name, what))
            elif everything or asdict(stat) not in (memory.get(name), {k: known[k] for k in asdict(stat)}):
                suspects.append((ledger, name, stat))
            else:
                seen[name] = asdict(stat)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        digests = pool.map(lambda suspect: sha256_of(results / suspect[1]), suspects)
        for (ledger, name, stat), digest in zip(suspects, digests, strict=True):
            if digest == ledger.outputs[name]["sha256"]:
                seen[name] = asdict(stat)
            else:
                damage.append(Damage(ledger.stage, ledger.shard, name, "was altered (its sha256 differs)"))
    if seen != memory and results.is_dir():
        write_json(memory_file, seen, indent=None)
    return damage


def find_stale(results: Path, states: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Return the stages and shards whose ledgers are not of the given states, which the plan knows them by now.

    Snakemake sees the same by the parameters of the jobs, as long as it remembers them and is asked to compare them;
    and it does not see that a job found a file other than the plan had. A ledger without a state stands as it is: it is
    of an earlier version.
    """
    stale: list[tuple[str, str]] = []
    for (stage, shard), state in states.items():
        try:
            ledger = read_ledger(ledger_path(results, stage, shard))
        except (FileNotFoundError, ValueError):
            continue
        if ledger.state not in (None, state):
            stale.append((stage, shard))
    return stale


def remove_ledgers(results: Path, shards: Iterable[tuple[str, str]]) -> None:
    """Remove the ledgers of shards (stage and id), so that the next run makes these again."""
    for stage, shard in shards:
        remove(ledger_path(results, stage, shard))


def bring_back_times(results: Path, began: int) -> int:
    """Bring times of files back to when the run ``began`` (ns since the epoch), where a ledger's is ahead of it.

    Returns of how many files. The clock was set back: what is made now would seem older than what was made of it
    before, and after a kill between the two Snakemake would find nothing to do. The order of all times stays as it is.
    """
    if not ahead_of(began, ledger_files(results)):
        return 0
    times = {file: file.stat().st_mtime_ns for file in results.rglob("*") if file.is_file() and not file.is_symlink()}
    last = max((time for time in times.values() if time < began), default=0)
    span = max(times.values()) - last
    count = 0
    for file, time in times.items():
        if time > began:
            brought = last + (time - last) * (began - last) // span
            with suppress(OSError):  # of another user: such a file may be read, and keeps its time
                os.utime(file, ns=(brought, brought))
                count += 1
    return count


def ahead_of(time: int, files: Iterable[Path]) -> list[Path]:
    """Return the files that were changed after a time (ns since the epoch)."""
    return [file for file in files if file.stat().st_mtime_ns > time]


def _read_memory(file: Path) -> dict[str, dict[str, int]]:
    try:
        memory: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return memory


def remove_damaged(results: Path, damage: Iterable[Damage]) -> None:
    """Remove damaged outputs, whole folders where the damage is inside one, and the ledgers that vouched for them.

    The next run makes exactly those shards again.
    """
    for bad in damage:
        remove(results / _output_of(Path(bad.file)))
        remove_ledgers(results, [(bad.stage, bad.shard)])


WHOLE_FOLDERS = frozenset({"dataset", "index"})
"""Outputs of the run as a whole that are folders."""


def _output_of(file: Path) -> Path:
    """Return the declared output that a file of the run belongs to, by its place alone: any name may be a user's.

    Results lie in ``<stage's folder>/<shard>``, which is a file or a folder; some folders are outputs as a whole.
    """
    if file.parts[0] == "ledger":
        return file
    return Path(*file.parts[: 1 if file.parts[0] in WHOLE_FOLDERS else 2])


def forget_gone_items(results: Path) -> int:
    """Remove what was finished and no ledger names any more; return how many. Not while a job may look for it."""
    named: dict[str, set[str]] = defaultdict(set)
    for file, ledger in readable_ledgers(results):
        if ledger:
            outputs = (proof["sha256"] for proof in ledger.outputs.values())
            named[file.parent.name].update(ledger.items, outputs)
    return forget_items(results, named)


OF_SHARDS = ("ledger", "kept", "journal", "profile")
"""Folders with a folder for each stage, in which everything has a shard's name."""


def prune(results: Path, wanted: dict[str, set[str]], began: float = math.inf) -> list[str]:
    """Remove the results of shards and items that no plan holds any more; ``wanted`` maps stages to shard ids.

    Also those of shards without a ledger, which goes before its job starts: what is kept names their outputs. What jobs
    had left half written when the run ``began`` (seconds since the epoch) goes in any case; what is newer may be that
    of a job beside this one. Items stay while any shard is still to be made: it may be one whose ledger went, or the
    one to which a recording has moved. Returns the shards of which something was removed.
    """
    removed: list[str] = []
    for (stage, shard), places in _places_of_shards(results):
        if shard in wanted.get(stage, set()):
            continue
        for name in _known_outputs(results, stage, shard):
            remove(results / _output_of(Path(name)))
        for place in places:
            remove(place)
        removed.append(f"{stage}/{shard}")
    for pattern in (HALF_WRITTEN, f"*/{HALF_WRITTEN}"):
        for half in results.glob(pattern):
            with suppress(FileNotFoundError):  # whole by now
                if half.lstat().st_mtime < began:
                    remove(half)
    made = {(file.parent.name, file.stem) for file in ledger_files(results)}
    if all((stage, shard) in made for stage, shards in wanted.items() for shard in shards):
        forget_gone_items(results)
    return removed


def _places_of_shards(results: Path) -> list[tuple[tuple[str, str], list[Path]]]:
    """Return the stages and shards of which there is anything, and where it is apart from their outputs."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for folder in OF_SHARDS:
        for place in sorted(results.glob(f"{folder}/*/*")):
            if place.parent.suffix != SUFFIX:
                found[place.parent.name, place.name.strip(".").partition(".")[0]].append(place)
    return sorted(found.items())


def _known_outputs(results: Path, stage: str, shard: str) -> set[str]:
    names: set[str] = set()
    for file in (ledger_path(results, stage, shard), results / "kept" / stage / shard / LEDGER):
        with suppress(FileNotFoundError, ValueError):
            names.update(read_ledger(file).outputs)
    return names

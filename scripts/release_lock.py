"""Release Snakemake's lock when the run that took it was killed: `make run` calls this first.

Snakemake leaves its lock behind when it is killed. The run's own lock (an flock) goes with its process, so that it
tells whether an owner lives: only when no run in ``results/`` has one is Snakemake's lock removed.
"""

import sys
from pathlib import Path

from malgeul.shards.locks import holder_of, try_lock
from malgeul.startup import LOCK


def release_lock(directory: Path) -> str | None:
    """Remove stale Snakemake locks under ``directory``; return what was done, or None when there was nothing to do.

    Raises SystemExit when a run is alive.
    """
    stale = sorted((directory / ".snakemake" / "locks").glob("*.lock"))
    if not stale:
        return None
    for lock in sorted((directory / "results").glob(f"*/{LOCK}")):
        held = try_lock(lock)
        if held is None:
            raise SystemExit(f"malgeul: {holder_of(lock)} is running in {lock.parent}; wait for it or end it")
        held.close()
    for file in stale:
        file.unlink()
    return f"malgeul: released {len(stale)} locks of a run that was killed"


if __name__ == "__main__":
    done = release_lock(Path.cwd())
    if done:
        print(done, file=sys.stderr)

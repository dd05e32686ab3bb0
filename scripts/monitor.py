"""Watch a run: per stage what is done, running, failed and left, how fast it goes now and how long it will take.

    python scripts/monitor.py [--run demo | --results DIR] [--once] [--json] [--interval S]

Reads what the run leaves in its results and touches none of it. Waits for a run that has not begun, ends with one that
has finished; --once looks once (status 1 when there is no such run), --json prints a line per look for other tools.
Where the output is no terminal, a screen per look is printed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from malgeul.watch.machine import load_now
from malgeul.watch.pace import PaceMeter
from malgeul.watch.run import RunReader
from malgeul.watch.screen import as_json, render


def looks(results: Path, interval: float, *, once: bool) -> Iterator[tuple[dict[str, Any], Group]]:
    """Yield what there is to see as JSON and as a screen at every look, until the run has finished."""
    reader, meter = RunReader(results), PaceMeter()
    while True:
        view = reader.read()
        paces, machine = meter.paces(view), load_now()
        yield as_json(view, paces, machine), render(view, paces, machine)
        if once or view.state == "finished":
            return
        time.sleep(interval)


def main() -> int:
    """Look until the run has finished, or once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--run", default="demo", help="name of the run: results/<run>/ (default: demo)")
    where.add_argument("--results", type=Path, help="folder of the run's results")
    parser.add_argument("--once", action="store_true", help="look once and end")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two looks (default: 2)")
    args = parser.parse_args()
    if not args.interval > 0:
        parser.error("--interval: more than 0")
    seen = looks(args.results or Path("results") / args.run, args.interval, once=args.once)
    state = "absent"
    console = Console()
    with suppress(KeyboardInterrupt):
        if args.json or args.once or not console.is_terminal:
            for line, screen in seen:
                state = line["state"]
                if args.json:
                    print(json.dumps(line, ensure_ascii=False), flush=True)
                else:
                    console.print(screen)
        else:
            with Live(console=console, auto_refresh=False) as live:
                for _, screen in seen:
                    live.update(screen, refresh=True)
    return 1 if args.once and state == "absent" else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
    sys.exit(main())

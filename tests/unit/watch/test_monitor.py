"""The monitor: a screen for people, a line for programs, patience for a run that has not begun."""

import json
import sys
import threading

import pytest
from rich.console import Console

import monitor
from malgeul.watch import machine as module
from malgeul.watch.machine import GpuLoad, MachineLoad, gpu_loads, load_now
from malgeul.watch.pace import PaceMeter
from malgeul.watch.run import RunReader
from malgeul.watch.screen import as_json, render
from unit.watch.conftest import GONE, NOW

MACHINE = MachineLoad(8, 3.5, 4_000_000_000, 16_000_000_000, (GpuLoad("H200", 93, 70_000_000_000, 140_000_000_000),))


@pytest.fixture(autouse=True)
def processes_are_old(monkeypatch):
    monkeypatch.setattr("malgeul.watch.run.started_at", lambda process: 0.0)


def call(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["monitor.py", *map(str, args)])
    code = monitor.main()
    return code, capsys.readouterr().out


def looked(small):
    view = RunReader(small.results).read(NOW)
    return view, PaceMeter().paces(view)


def shown(small, machine=MACHINE, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render(*looked(small), machine))
    return console.export_text()


def in_full_swing(small):
    small.drive(since=NOW - 100)
    small.done("export", 0, 100, given=80, started=NOW - 90, seconds=10)
    small.running("export", 1, started=NOW - 50, done=50, total=100)
    small.log("export_documents", "law-0003", "export law-0003 failed", written=NOW - 5)


def test_a_line_for_programs_holds_every_figure(small):
    in_full_swing(small)
    line = json.loads(json.dumps(as_json(*looked(small), MACHINE)))
    assert (line["state"], line["run"]) == ("running", "small")
    export = line["stages"][0]
    assert export == {
        "stage": "export",
        "shards": {"done": 1, "running": 1, "failed": 1, "left": 1},
        "unit": "row",
        "items_done": 150,
        "items_total": 400,
        "items_left": 150,
        "total_is_estimate": False,
        "items_per_second": pytest.approx(150 / 90, abs=1e-3),
        "remaining_seconds": pytest.approx(90, abs=0.1),
    }
    assert line["failures"] == [
        {"stage": "export", "shard": "law-0003", "log": str(small.results / "logs/export_documents/law-0003.log")}
    ]
    assert line["machine"]["gpus"][0] == {"name": "H200", "busy": 93, "used": 70e9, "memory": 140e9}
    assert line["remaining_is_lower_bound"] is True


def test_the_screen_says_the_same_in_words(small):
    in_full_swing(small)
    text = shown(small)
    row = next(line for line in text.splitlines() if line.startswith("Export"))
    assert "1/4" in row
    assert "150 of 400" in row
    assert "rows/s" in row
    assert "1 min 30 s" in row
    assert "failed export law-0003" in text
    assert "H200 93 % busy, 70.0 GB of 140.0 GB" in text
    assert "left: at least" in text


def test_the_screen_fits_eighty_columns(small):
    in_full_swing(small)
    assert "…" not in shown(small, width=80).partition("failed export")[0]


@pytest.mark.parametrize(("width", "there"), [(90, {"━", "rows/s"}), (72, {"rows/s"}), (60, set())])
def test_a_narrow_screen_leaves_columns_out_and_cuts_no_figure_short(small, width, there):
    in_full_swing(small)
    row = next(line for line in shown(small, width=width).splitlines() if line.startswith("Export"))
    assert {sign for sign in ("━", "rows/s") if sign in row} == there
    assert "…" not in row
    assert "150 of 400" in row
    assert "1 min 30 s" in row


def test_a_low_screen_cuts_off_no_failure(small):
    in_full_swing(small)
    lines = shown(small).splitlines()
    failed, stage = (next(n for n, line in enumerate(lines) if line.startswith(s)) for s in ("failed", "stage"))
    assert failed < stage


def test_more_may_be_runnable_than_there_are_cores(small):
    assert "load 19.2 on 2 cores" in shown(small, MachineLoad(2, 19.2, 0, 1, ()))


def test_a_gpu_that_does_not_tell_is_not_given_figures(small):
    silent = MachineLoad(8, 0.0, 0, 1, (GpuLoad("GB10", None, None, None),))
    assert "GB10 busy: not told" in shown(small, silent)
    assert "no NVIDIA GPU" in shown(small, MachineLoad(8, 0.0, 0, 1, ()))


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    from unit.watch.conftest import SmallRun

    assert "[red]" in shown(SmallRun(tmp_path / "results" / "a[red]b"))


def test_once_tells_of_a_run_that_does_not_exist(monkeypatch, capsys, tmp_path):
    code, out = call(monkeypatch, capsys, "--results", tmp_path / "none", "--once")
    assert code == 1
    assert "there is no such run yet" in out
    code, out = call(monkeypatch, capsys, "--results", tmp_path / "none", "--once", "--json")
    assert (code, json.loads(out)["state"]) == (1, "absent")


def test_a_finished_run_is_shown_and_the_monitor_ends(small, monkeypatch, capsys):
    finish(small)
    code, out = call(monkeypatch, capsys, "--results", small.results, "--json")
    assert code == 0
    (line,) = [json.loads(line) for line in out.splitlines()]
    assert (line["state"], line["remaining_seconds"]) == ("finished", 0)


def test_a_run_that_was_killed_is_told_once(small, monkeypatch, capsys):
    small.drive(since=NOW, process=GONE)
    code, out = call(monkeypatch, capsys, "--results", small.results, "--once")
    assert code == 0
    assert "not running; run the same command again" in " ".join(out.split())


def test_a_run_that_has_not_begun_is_waited_for(monkeypatch, capsys, tmp_path):
    from unit.watch.conftest import SmallRun

    begin = threading.Timer(0.4, lambda: finish(SmallRun(tmp_path / "results" / "later")))
    begin.start()
    code, out = call(monkeypatch, capsys, "--results", tmp_path / "results" / "later", "--json", "--interval", 0.05)
    begin.join()
    states = [json.loads(line)["state"] for line in out.splitlines()]
    assert code == 0
    assert states[0] == "absent"
    assert states[-1] == "finished"


def test_where_the_output_is_no_terminal_every_look_is_printed(monkeypatch, capsys, tmp_path):
    from unit.watch.conftest import SmallRun

    begin = threading.Timer(0.4, lambda: finish(SmallRun(tmp_path / "results" / "later")))
    begin.start()
    _, out = call(monkeypatch, capsys, "--results", tmp_path / "results" / "later", "--interval", 0.05)
    begin.join()
    assert "there is no such run yet" in " ".join(out.split())
    assert "finished" in out


def finish(small):
    for shard in range(4):
        for n, stage in enumerate(("export", "chunk", "embed")):
            small.done(stage, shard, 100, started=NOW - 90 + n, seconds=0.5)
    small.done("index", 0, 400, started=NOW - 20, seconds=1)


def test_an_interval_of_nothing_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, capsys, "--interval", 0)


def test_the_load_of_this_machine_is_measured():
    now = load_now()
    assert now.cores >= 1
    assert 0 < now.used < now.memory


class Nvml:
    """A driver with one device; of what is asked, ``mute`` is not supported."""

    class NVMLError(Exception):
        pass

    def __init__(self, mute=()):
        self.mute, self.open = mute, 0

    def __getattr__(self, name):
        answers = {
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda handle: "GB10",
            "nvmlDeviceGetUtilizationRates": lambda handle: type("U", (), {"gpu": 42}),
            "nvmlDeviceGetMemoryInfo": lambda handle: type("M", (), {"used": 3, "total": 8}),
            "nvmlInit": lambda: setattr(self, "open", self.open + 1),
            "nvmlShutdown": lambda: setattr(self, "open", self.open - 1),
        }
        if name in self.mute:
            return self._refuse
        return answers[name]

    def _refuse(self, *_):
        raise self.NVMLError


@pytest.mark.parametrize(
    ("mute", "expected"),
    [
        ((), (GpuLoad("GB10", 42, 3, 8),)),
        (("nvmlDeviceGetMemoryInfo",), (GpuLoad("GB10", 42, None, None),)),
        (("nvmlDeviceGetUtilizationRates",), (GpuLoad("GB10", None, 3, 8),)),
        (("nvmlInit",), ()),
        (("nvmlDeviceGetCount",), ()),
    ],
)
def test_gpus_are_asked_for_what_their_driver_supports(monkeypatch, mute, expected):
    nvml = Nvml(mute)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert module.gpu_loads() == expected
    assert nvml.open == 0, "what was opened is closed"


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_loads() == ()

"""The doctor: every check has a reason, and what fails is what would stop a run or leave a device idle."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import doctor
from malgeul import ROOT
from malgeul.config import read_config
from malgeul.embedding.settings import EmbedSettings
from malgeul.models.devices import Device
from malgeul.named_models import NamedModel, named_models
from malgeul.watch import checks as module
from malgeul.watch.advice import advise
from malgeul.watch.checks import (
    GB,
    check_config,
    check_cores,
    check_dimensions,
    check_disk,
    check_gpu,
    check_inputs,
    check_locale,
    check_memory,
    check_model,
    check_packages,
    check_slurm,
    guarded,
)
from malgeul.watch.facts import (
    Disk,
    Machine,
    cgroup_quota,
    has_kernels,
    processor_flags,
    read_disk,
    read_machine,
    rotates,
    type_of,
)

GPU = Device("cuda", "NVIDIA H200", "GPU-1", 150 * GB)
PLAIN = Machine("x86", frozenset(), 8, 8, None, 64 * GB, 64 * GB, 60 * GB, (), None, "2.13.0+cpu", None, 0)
WITH_GPU = replace(PLAIN, gpus=(GPU,), driver_cuda=(13, 0), torch="2.13.0", torch_cuda=(13, 0), torch_sees=1)
BUNDLED = str(ROOT / "resources/models/embed-ko-demo")


def verdict(check):
    assert check.advice or check.verdict == "OK", "what is not as it should be comes with advice"
    return check.verdict


def test_a_quota_of_the_cgroup_is_worth_a_warning_and_a_limited_affinity_is_told():
    assert verdict(check_cores(PLAIN)) == "OK"
    limited = check_cores(replace(PLAIN, quota=2.5))
    assert verdict(limited) == "WARN"
    assert "--cores 2" in limited.advice
    assert "of 8" in check_cores(replace(PLAIN, allowed=4)).found


@pytest.mark.parametrize(
    ("memory", "free", "expected"), [(64, 60, "OK"), (64, 10, "WARN"), (8, 7, "WARN"), (2, 2, "FAIL")]
)
def test_memory(memory, free, expected):
    machine = replace(PLAIN, memory=memory * GB, free_memory=free * GB)
    assert verdict(check_memory(machine)) == expected


def test_a_cgroups_limit_of_memory_is_told():
    assert "a cgroup limits it" in check_memory(replace(PLAIN, memory=32 * GB)).found


@pytest.mark.parametrize(
    ("machine", "expected", "said"),
    [
        (PLAIN, "OK", "no NVIDIA GPU"),
        (WITH_GPU, "OK", "CUDA 13.0"),
        (replace(WITH_GPU, driver_cuda=(12, 4)), "FAIL", "the driver runs up to 12.4"),
        (replace(WITH_GPU, torch_cuda=None, torch="2.13.0+cpu"), "FAIL", "has no CUDA"),
        (replace(WITH_GPU, torch_sees=0), "FAIL", "torch sees 0 of 1"),
        (replace(WITH_GPU, without_kernels=("V100 (sm_70)",)), "FAIL", "was not built for V100 (sm_70)"),
        (replace(WITH_GPU, gpus=(GPU, GPU)), "WARN", "torch sees 1 of 2"),
        (replace(WITH_GPU, gpus=(replace(GPU, memory=None),)), "OK", "unified memory"),
        (replace(WITH_GPU, driver_cuda=(13, 0), torch_cuda=(13, 2)), "OK", "CUDA 13.2"),
    ],
)
def test_a_gpu_that_would_stay_idle_fails(machine, expected, said):
    check = check_gpu(machine)
    assert verdict(check) == expected
    assert said in check.found


@pytest.mark.parametrize(
    ("generation", "expected"),
    [((7, 0), False), ((7, 5), True), ((8, 9), True), ((9, 0), True), ((12, 1), True), ((13, 0), False)],
)
def test_kernels_run_on_later_gpus_of_their_generation(generation, expected):
    built = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
    assert has_kernels(generation, built) == expected
    assert has_kernels(generation, [*built, "compute_120"]) == (expected or generation > (12, 0))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "OK"),
        ({"free": GB // 2}, "FAIL"),
        ({"free": 10 * GB}, "WARN"),
        ({"network": True, "type": "nfs4", "rotational": None}, "WARN"),
        ({"rotational": True}, "WARN"),
        ({"rotational": None, "type": "overlay"}, "OK"),
    ],
)
def test_disks(tmp_path, facts, expected):
    disk = replace(Disk(tmp_path, "ext4", 500 * GB, network=False, rotational=False), **facts)
    assert verdict(check_disk("results", disk, locks=True)) == expected


def test_a_file_system_without_locks_fails_where_locks_are_needed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    disk = Disk(tmp_path / "not/there/yet", "nfs", 500 * GB, network=False, rotational=False)
    check = check_disk("results", disk, locks=True)
    assert verdict(check) == "FAIL"
    assert "flock fails (Function not implemented)" in check.found
    assert check_disk("model cache", disk, locks=False).verdict == "OK"
    assert list(tmp_path.iterdir()) == [], "trying leaves nothing"


def test_what_is_not_installed_is_named():
    assert verdict(check_packages()) == "OK"
    check = check_packages(["json", "no_such_module_here"])
    assert verdict(check) == "FAIL"
    assert check.found == "not installed: no_such_module_here"


def test_an_encoding_without_korean_is_worth_a_warning(monkeypatch):
    monkeypatch.setattr(module.sys, "getfilesystemencoding", lambda: "ascii")
    assert verdict(check_locale()) == "WARN"


@pytest.mark.parametrize(
    ("sbatch", "plugin", "expected"), [(None, None, "OK"), ("/bin/sbatch", None, "WARN"), ("/bin/sbatch", "x", "OK")]
)
def test_slurm(monkeypatch, sbatch, plugin, expected):
    monkeypatch.setattr(module.shutil, "which", lambda _: sbatch)
    monkeypatch.setattr(module, "find_spec", lambda _: plugin)
    assert verdict(check_slurm()) == expected


def test_a_check_that_raises_has_failed_with_its_error():
    def broken():
        raise RuntimeError("libsomething.so is missing")

    check = guarded("kiwi", broken)
    assert verdict(check) == "FAIL"
    assert "libsomething.so" in check.found


def test_a_config_that_is_not_there_is_no_question_of_keys(tmp_path):
    check, config = check_config(tmp_path / "none.yaml")
    assert (verdict(check), config) == ("FAIL", None)
    assert "none.yaml cannot be read: No such file or directory" in check.found
    assert "--configfile" in check.advice


def test_errors_of_the_config_are_shown(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("embed: {modle: x}\n")
    check, config = check_config(file)
    assert verdict(check) == "FAIL"
    assert config is None
    assert "did you mean 'model'?" in check.found
    for text in ("- a\n", "a: [", "\tb: 1"):
        file.write_text(text)
        assert verdict(check_config(file)[0]) == "FAIL"
    assert verdict(check_config(tmp_path / "none.yaml")[0]) == "FAIL"
    assert verdict(check_config(ROOT / "config/config.yaml")[0]) == "OK"


def test_missing_inputs_are_named(tmp_path):
    check, plan = check_inputs(read_config({"recordings": {"paths": [str(tmp_path / "none")]}}))
    assert verdict(check) == "FAIL"
    assert plan is None
    assert str(tmp_path / "none") in check.found


def text_config(folder: Path, **more):
    (folder / "a.jsonl").write_text('{"id": "1", "text": "글"}\n')
    return read_config({"text": {"sources": [{"path": str(folder / "a.jsonl"), "format": "jsonl"}]}, **more})


def test_models_are_those_that_the_inputs_need(tmp_path):
    config = text_config(tmp_path)
    check, plan = check_inputs(config)
    assert check.found == "1 text file in 1 shard"
    assert [one.key for one in named_models(config, plan)] == ["embed.model", "tokenize.tokenizer"]
    assert next(named_models(config, None)).key == "transcribe.model"
    documents = text_config(tmp_path, embed={"inputs": ["documents"]})
    assert [one.key for one in named_models(documents, check_inputs(documents)[1])] == ["tokenize.tokenizer"]


def look(model, parts="model"):
    return check_model(NamedModel("embed.model", model, parts=parts))


class File:
    """A file as the hub lists it."""

    def __init__(self, rfilename, size):
        self.rfilename, self.size = rfilename, size


@pytest.fixture
def hub(monkeypatch):
    """What the hub would list, by model; it does not know others, and nothing is downloaded."""
    listed = {}

    def info(model, **_):
        if model not in listed:
            raise ConnectionError("no network")
        return type("Info", (), {"siblings": listed[model]})

    monkeypatch.setattr("huggingface_hub.model_info", info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("downloads"))
    return listed


PARTS = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The folder of a model in two parts in a cache, laid out as huggingface_hub does it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub/models--someone--large", "89abcdef" * 5
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    index = {"weight_map": dict(zip("ab", PARTS, strict=True))}
    files = {"config.json": "{}", "model.safetensors.index.json": json.dumps(index)} | dict.fromkeys(PARTS, "weights")
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, content in files.items():
        (repository / "blobs" / name).write_text(content)
        (folder / name).symlink_to(Path("../../blobs") / name)
    return folder


def test_a_model_in_a_folder_or_whole_in_the_cache_is_good(hub, cached):
    assert verdict(look(BUNDLED)) == "OK"
    assert verdict(look("someone/large")) == "OK"
    assert str(cached) in look("someone/large").found


@pytest.mark.parametrize("broken", ["a part is not there", "what a link leads to is not there"])
def test_a_model_that_is_cached_in_part_is_told_with_what_it_lacks(hub, cached, broken):
    part = cached / PARTS[1]
    (part if broken.startswith("a part") else part.resolve()).unlink()
    check = look("someone/large")
    assert verdict(check) == "FAIL"
    assert f"cached without {PARTS[1]} ({cached})" in check.found
    assert "hf download someone/large" in check.advice
    hub["someone/large"] = [File("config.json", 2), *(File(name, 3_000_000_000) for name in PARTS)]
    check = look("someone/large")
    assert verdict(check) == "WARN", "the run downloads it"
    assert "3.0 GB will be downloaded" in check.found
    assert verdict(look("someone/large", "tokenizer")) == "OK", "its tokenizer is all there"


def test_a_link_that_leads_nowhere_is_told_of_any_file_that_is_loaded(hub, cached):
    (cached / "tokenizer.json").symlink_to("../../blobs/none")
    assert "cached without tokenizer.json" in look("someone/large").found


def test_a_model_on_the_hub_is_told_with_what_will_be_downloaded(hub, cached):
    hub["someone/there"] = [File("model.safetensors", 2_300_000_000), File("model.fp32.safetensors", 4_600_000_000)]
    assert verdict(look("someone/there")) == "WARN"
    assert "not cached; 2.3 GB will be downloaded" in look("someone/there").found
    hub["someone/pickled"] = [File("pytorch_model.bin", 1)]
    assert verdict(look("someone/pickled")) == "WARN"
    assert "converted once" in look("someone/pickled").found
    hub["someone/tokenizer"] = [File("tokenizer.json", 1)]
    assert verdict(look("someone/tokenizer")) == "FAIL"
    assert verdict(look("someone/tokenizer", "tokenizer")) == "WARN"
    lost = look("someone/unknown")
    assert verdict(lost) == "FAIL"
    assert "no network" in lost.found


def test_a_folder_without_a_model_fails(hub, tmp_path):
    (tmp_path / "empty").mkdir()
    assert verdict(look(str(tmp_path / "empty"))) == "FAIL"
    (tmp_path / "empty/config.json").write_text("{}")
    assert "lacks weights" in look(str(tmp_path / "empty")).found
    (tmp_path / "empty/pytorch_model.bin").write_bytes(b"")
    assert verdict(look(str(tmp_path / "empty"))) == "OK"
    assert "converted once" in look(str(tmp_path / "empty")).found


@pytest.mark.parametrize(
    ("asked", "expected", "told"),
    [(64, "OK", "the first 64 of"), (100_000, "FAIL", "embed.dimensions is 100000, but the model's vectors have")],
)
def test_more_dimensions_than_the_model_has_are_told(asked, expected, told):
    check = check_dimensions(EmbedSettings(model=BUNDLED, dimensions=asked))
    assert verdict(check) == expected
    assert told in check.found


def test_dimensions_of_a_model_that_is_not_here_are_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    check = check_dimensions(EmbedSettings(model="someone/elsewhere", dimensions=64))
    assert verdict(check) == "OK"
    assert "not known yet" in check.found


def test_a_path_that_is_no_folder_is_no_name_of_a_model_either(tmp_path):
    assert verdict(look(str(tmp_path / "a/b/c/none"))) == "FAIL"


def test_facts_of_this_machine_are_read():
    machine = read_machine()
    assert 1 <= machine.usable_cores <= machine.allowed <= machine.cores
    assert 0 < machine.free_memory <= machine.host_memory
    assert machine.memory <= machine.host_memory
    assert machine.torch


def test_gpus_of_another_maker_are_not_asked_for_kernels(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["gfx90a"])
    machine = read_machine()
    assert (machine.torch_cuda, machine.torch_sees, machine.without_kernels) == (None, 1, ())


def test_flags_are_read_from_any_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu amx_bf16 avx2\n\nprocessor\t: 1\n")
    assert processor_flags(file) == {"fpu", "amx_bf16", "avx2"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert processor_flags(file) == {"fp", "asimd", "bf16"}
    assert processor_flags(tmp_path / "none") == frozenset()


def test_the_quota_of_both_kinds_of_cgroups_is_read(tmp_path):
    assert cgroup_quota(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cgroup_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert cgroup_quota(tmp_path) == 4


MOUNTS = [
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
    "40 22 0:40 / /data rw shared:2 - nfs4 server:/data rw",
    r"41 22 0:41 / /data/my\040disk rw - xfs /dev/sdb1 rw",
]


@pytest.mark.parametrize(
    ("place", "type_"),
    [("/home/x", "ext4"), ("/data/run", "nfs4"), ("/database", "ext4"), ("/data/my disk/results", "xfs")],
)
def test_the_file_system_is_that_of_the_nearest_mount(place, type_):
    assert type_of(Path(place), MOUNTS) == type_


def test_a_partition_turns_when_its_disk_does(tmp_path):
    (tmp_path / "sda/sda1").mkdir(parents=True)
    (tmp_path / "sda/queue").mkdir()
    (tmp_path / "sda/queue/rotational").write_text("1\n")
    assert rotates(tmp_path / "sda/sda1") is True
    (tmp_path / "sda/queue/rotational").write_text("0\n")
    assert rotates(tmp_path / "sda") is False
    assert rotates(tmp_path / "none") is None


def test_the_disk_under_a_folder_that_is_not_there_yet_is_that_above_it(tmp_path):
    disk = read_disk(tmp_path / "a/b")
    assert disk.free > 0
    assert disk.type == read_disk(tmp_path).type != "unknown"


def settings(machine, config=None, plan=None):
    found = list(advise(machine, config, plan))
    assert all(one.reason for one in found)
    return {one.setting: one.value for one in found}


def test_settings_follow_the_machine():
    assert settings(PLAIN) == {"--cores": "8", "--resources": "gpu=1 mem_mb=57600"}
    assert settings(replace(PLAIN, quota=3.9))["--cores"] == "3"
    assert settings(replace(WITH_GPU, gpus=(GPU, GPU)))["--resources"].startswith("gpu=2 ")


def test_bfloat16_is_recommended_to_processors_that_have_it_where_no_gpu_transcribes():
    config = read_config({"recordings": {"paths": ["x"]}})
    amx = replace(PLAIN, flags=frozenset({"amx_bf16"}))
    assert settings(amx, config)["transcribe.precision"] == "fastest"
    assert settings(amx, config)["embed.precision"] == "fastest"
    assert "embed.precision" not in settings(PLAIN, config)
    assert "transcribe.precision" not in settings(PLAIN, config)
    assert "transcribe.precision" not in settings(replace(amx, gpus=(GPU,)), config)
    assert "transcribe.precision" not in settings(amx, read_config({}))


def test_a_large_gpu_gets_larger_batches():
    small = read_config({"embed": {"batch_tokens": 4096}})
    assert settings(WITH_GPU, small)["embed.batch_tokens"] == "16384"
    assert "embed.batch_tokens" not in settings(PLAIN, small)
    assert "embed.batch_tokens" not in settings(WITH_GPU, read_config({}))
    assert "embed.batch_tokens" not in settings(WITH_GPU, read_config({"embed": {"batch_tokens": 32768}}))


def test_a_database_in_too_few_shards_gets_more():
    from malgeul.plan import Plan

    facts = {"law": {"buckets": [[14_000, "d"]], "settings": {"rows_per_shard": 5000}}}
    key = "documents.databases.law.rows_per_shard"
    assert settings(PLAIN, read_config({}), Plan(databases=facts))[key] == "875"
    facts["law"]["buckets"] = [[300, "d"]]
    assert key not in settings(PLAIN, read_config({}), Plan(databases=facts)), "shards would be tiny"
    facts["law"]["buckets"] = [[500_000, "d"]]
    assert key not in settings(PLAIN, read_config({}), Plan(databases=facts)), "there are enough"


def test_the_command_examines_the_demo(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["doctor.py", "--json"])
    status = doctor.main()
    found = json.loads(capsys.readouterr().out)
    names = [check["name"] for check in found["checks"]]
    assert {"config", "inputs", "embed.model", "cores", "memory", "gpu", "results", "ffmpeg", "kiwi", "locale"} <= set(
        names
    )
    assert found["ok"] is (status == 0)
    by_name = {check["name"]: check["verdict"] for check in found["checks"]}
    assert (by_name["config"], by_name["ffmpeg"], by_name["kiwi"]) == ("OK", "OK", "OK")


def test_no_path_is_cut_short_on_a_narrow_screen(monkeypatch, capsys):
    path = f"/data/{'long' * 30}/config.yaml"
    monkeypatch.setenv("COLUMNS", "60")
    doctor.show([module.Check("config", "OK", path)], [])
    assert path in "".join(capsys.readouterr().out.split())


def test_the_command_fails_where_a_check_fails_and_says_it_in_words(monkeypatch, capsys, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("embed: {modle: '[red]x'}\n")
    monkeypatch.setattr(sys, "argv", ["doctor.py", "--configfile", str(file)])
    monkeypatch.setattr(doctor, "check_kiwi", lambda: module.Check("kiwi", "OK", "not tried"))
    assert doctor.main() == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "FAIL config" in out
    assert "did you mean" in out
    assert "Recommended here:" in out

"""What a machine is: processor, memory, GPUs and what drives them, the disk under a folder. Read, not assumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from malgeul.models.devices import Device, cpu, free_memory, list_gpus, nvml
from malgeul.models.host import memory

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "beegfs", "ceph", "gpfs", "glusterfs", "9p", "fuse.sshfs", "afs"}
)
"""File systems whose files are on other machines."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Disk:
    """The file system under a folder: its type, free bytes, and whether it is on a network, turns, or neither.

    ``rotational`` is None where the kernel does not say (a network, a container's overlay).
    """

    folder: Path
    type: str
    free: int
    network: bool
    rotational: bool | None


@dataclass(frozen=True)
class Machine:
    """The machine of this process. ``quota`` is what a cgroup grants of the cores; None: all.

    ``driver_cuda`` is the newest CUDA that the driver runs, ``torch_cuda`` the one that torch was built for, as
    (major, minor); None where there is none. ``torch_sees`` is how many GPUs torch sees, ``without_kernels`` names
    those of them, each with its generation, that it was not built for.
    """

    processor: str
    flags: frozenset[str]
    cores: int
    allowed: int
    quota: float | None
    host_memory: int
    memory: int
    free_memory: int
    gpus: tuple[Device, ...]
    driver_cuda: tuple[int, int] | None
    torch: str
    torch_cuda: tuple[int, int] | None
    torch_sees: int
    without_kernels: tuple[str, ...] = ()

    @property
    def usable_cores(self) -> int:
        """Cores that jobs can really have."""
        return max(1, min(self.allowed, int(self.quota) if self.quota else self.allowed))


def read_machine() -> Machine:
    """Return what this machine is; imports torch where it is installed."""
    torch, built, seen, without_kernels = _torch()
    return Machine(
        processor=cpu().name,
        flags=processor_flags(Path("/proc/cpuinfo")),
        cores=os.cpu_count() or 1,
        allowed=len(os.sched_getaffinity(0)),
        quota=cgroup_quota(CGROUP),
        host_memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory=memory(),
        free_memory=free_memory(cpu()),
        gpus=list_gpus(),
        driver_cuda=_driver_cuda(),
        torch=torch,
        torch_cuda=built,
        torch_sees=seen,
        without_kernels=without_kernels,
    )


def _torch() -> tuple[str, tuple[int, int] | None, int, tuple[str, ...]]:
    """Return the version of torch, the CUDA it was built for, how many GPUs it sees, and which it was not built for."""
    try:
        import torch
    except ImportError:
        return "not installed", None, 0, ()
    built = torch.version.cuda
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    without_kernels = []
    for number in range(count if built else 0):  # a build for ROCm calls its GPUs so, too, but not what they are
        major, minor = torch.cuda.get_device_capability(number)
        if not has_kernels((major, minor), torch.cuda.get_arch_list()):
            without_kernels.append(f"{torch.cuda.get_device_name(number)} (sm_{major}{minor})")
    return str(torch.__version__), _version(built) if built else None, count, tuple(without_kernels)


def has_kernels(generation: tuple[int, int], built_for: Iterable[str]) -> bool:
    """Tell whether a GPU of a compute capability runs what was built for others, named as ``get_arch_list`` does.

    Kernels (sm_86) run on later ones of their major number, what is compiled when it is loaded (compute_90) on all
    later ones (CUDA C++ Programming Guide, compatibility).
    """
    major, minor = generation
    for kind, _, number in (name.partition("_") for name in built_for):
        of = int(number.rstrip("af"))  # of one generation, or of a family
        if of <= 10 * major + minor and (kind == "compute" or of // 10 == major):
            return True
    return False


def processor_flags(file: Path) -> frozenset[str]:
    """Return the instructions that the processor says it has (x86: flags, Arm: Features)."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(values.split())
    return frozenset()


def cgroup_quota(folder: Path) -> float | None:
    """Return how many cores' worth of time a cgroup grants; None where it sets no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _driver_cuda() -> tuple[int, int] | None:
    with nvml() as library:
        if library is None:
            return None
        try:
            number = int(library.nvmlSystemGetCudaDriverVersion_v2())
        except library.NVMLError:
            return None
    return number // 1000, number % 1000 // 10


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def nearest_folder(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def read_disk(folder: Path) -> Disk:
    """Return what lies under a folder, or under the nearest one above it that is there."""
    place = nearest_folder(folder)
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    type_ = type_of(place.resolve(), lines)
    device = place.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    return Disk(folder, type_, shutil.disk_usage(place).free, type_ in NETWORK, rotates(block))


def type_of(place: Path, mounts: Iterable[str]) -> str:
    """Return the type of the file system that a resolved path is on, from the lines of mountinfo (proc(5))."""
    best, type_ = "", "unknown"
    for line in mounts:
        before, _, after = line.partition(" - ")
        mounted = before.split()[4].encode().decode("unicode_escape")
        if place.is_relative_to(mounted) and len(mounted) >= len(best):
            best, type_ = mounted, after.split()[0]
    return type_


def rotates(block: Path) -> bool | None:
    """Tell whether a block device turns; of a partition its disk is asked. None where the kernel does not say."""
    try:
        real = block.resolve(strict=True)
    except OSError:
        return None
    for file in (real / "queue/rotational", real.parent / "queue/rotational"):
        if file.is_file():
            return file.read_text(encoding="ascii").strip() == "1"
    return None

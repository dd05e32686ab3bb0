"""A pynvml without a driver: a device whose figures change with every look, and which may refuse some."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace


class Refused(Exception):
    """NVML's own error."""


def fake_nvml(*, utilization=(0, 40, 80), refused=(), missing=False):
    """Return a module for ``sys.modules["pynvml"]``; ``calls`` lists what it was asked.

    ``utilization`` repeats; power is 100 W and 2 W more for each percent, the energy counter 50 J more at each look.
    """
    module = ModuleType("pynvml")
    looks = {"nvmlDeviceGetUtilizationRates": 0, "nvmlDeviceGetTotalEnergyConsumption": 0}
    calls: list[str] = []
    module.calls, module.open = calls, 0  # type: ignore[attr-defined]
    module.NVMLError = Refused  # type: ignore[attr-defined]
    for number, name in enumerate(("NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU", "nvmlMemory_v2")):
        setattr(module, name, number)
    busy = 0

    def rates(_handle):
        nonlocal busy
        busy = utilization[looks["nvmlDeviceGetUtilizationRates"] // 2 % len(utilization)]  # asked twice in a sample
        looks["nvmlDeviceGetUtilizationRates"] += 1
        return SimpleNamespace(gpu=busy, memory=busy // 2)

    def energy(_handle):
        looks["nvmlDeviceGetTotalEnergyConsumption"] += 1
        return 1_000_000 + 50_000 * looks["nvmlDeviceGetTotalEnergyConsumption"]

    def by_uuid(uuid):
        if missing:
            raise Refused("Not Found")
        return uuid

    def opened(by):
        module.open += by  # type: ignore[attr-defined]

    answers = {
        "nvmlInit": lambda: opened(1),
        "nvmlShutdown": lambda: opened(-1),
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetUtilizationRates": rates,
        "nvmlDeviceGetMemoryInfo": lambda _handle, _form=None: SimpleNamespace(used=(1 << 30) + (busy << 20)),
        "nvmlDeviceGetPowerUsage": lambda _handle: 100_000 + 2_000 * busy,
        "nvmlDeviceGetTotalEnergyConsumption": energy,
        "nvmlDeviceGetClockInfo": lambda _handle, kind: 1980 if kind == 0 else 2619,
        "nvmlDeviceGetTemperature": lambda _handle, _sensor: 40 + busy // 10,
    }

    def asked(name, answer):
        def ask(*arguments):
            calls.append(name)
            if name in refused:
                raise Refused("Not Supported")
            return answer(*arguments)

        return ask

    for name, answer in answers.items():
        setattr(module, name, asked(name, answer))
    return module

"""Numbers with units, as a reader wants them."""

from __future__ import annotations


def number(value: float) -> str:
    """Return a number with as many digits as say something: 12,345, 12.3, 0.0123."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def plural(unit: str) -> str:
    """Return the plural of a unit."""
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def amount(n: int, unit: str) -> str:
    """Return a number of things: 1 document, 1,234 documents."""
    return f"{n:,} {unit if n == 1 else plural(unit)}"


def amounts(units: dict[str, int]) -> str:
    """Return numbers of several things, the empty ones left out."""
    *most, last = [amount(n, unit) for unit, n in units.items() if n] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def duration(seconds: float) -> str:
    """Return a span of time: 0.35 s, 12.3 s, 20 s, 4 min 05 s, 2 h 05 min, 3 d 4 h."""
    if seconds < 59.95:
        digits = 0 if seconds == int(seconds) else 2 if seconds < 10 else 1
        return f"{seconds:.{digits}f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if not hours:
        return f"{minutes} min {whole % 60:02d} s"
    if not days:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def brief(seconds: float) -> str:
    """Return a short span of time: 1.23 s, 45.6 ms, 0.78 ms."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def energy(joules: float) -> str:
    """Return an energy: 950 J, 12.3 kJ, 3.6 MJ."""
    scale, unit = next(((s, u) for s, u in ((1e6, "MJ"), (1e3, "kJ")) if joules >= s), (1, "J"))
    return f"{number(joules / scale)} {unit}"


def clock(seconds: float) -> str:
    """Return a place in a recording: 0:04.2, 1:02:03.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    head = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def rate(per_second: float, unit: str) -> str:
    """Return a rate in the largest span that still says something: 1,234 documents/s, 5.2 recordings/min."""
    factor, span = next(((f, span) for f, span in ((1, "s"), (60, "min")) if per_second * f >= 1), (3600, "h"))
    figure = number(per_second * factor)
    return f"{figure} {unit if figure == '1' else plural(unit)}/{span}"


def megabytes(value: float) -> str:
    """Return a size given in MB."""
    return f"{value / 1000:.1f} GB" if value >= 1000 else f"{value:.0f} MB"


def share(part: float, whole: float) -> str:
    """Return a share in percent; what is not nothing is not shown as 0 %."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"

"""Numbers and states in the words and badges that the pages share. Pure functions."""

from __future__ import annotations

import math

import pandas as pd

from pipelines.statistics import kind, sign, unit
from pipelines.verdict import Decision
from workbench.spec import Claim

BADGES = {
    "supported": ":green-badge[:material/check_circle: supported]",
    "refuted": ":red-badge[:material/cancel: refuted]",
    "inconclusive": ":gray-badge[:material/help: inconclusive]",
}


def number(value: float) -> str:
    """Three significant digits, never in powers of ten where a reader would not expect them."""
    if not math.isfinite(value):
        return "–"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 6)}f}".replace("-", "\u2212")


def estimate(claim: Claim, decision: Decision) -> str:
    """`1.48× (1.28× to 1.70×)` for a ratio, `−0.38 (−0.43 to −0.32)` for an exponent, `0.91 (0.90 to 0.92) share` for
    a level in shares; empty without an estimate."""
    if decision.estimate is None or decision.low is None or decision.high is None:
        return ""
    middle, low, high = (
        f"{number(value)}{sign(claim.statistic)}"
        for value in (decision.estimate, decision.low, decision.high)
    )
    return f"{middle} ({low} to {high}) {unit(claim.statistic)}".rstrip()


def sureness(decision: Decision) -> str:
    """How sure an answer is, in a few words."""
    if decision.answer == "inconclusive":
        return decision.reason
    level = decision.confidence or 0.0
    shown = "over 99.9" if level > 0.999 else f"{100 * level:.1f}"
    return f"{shown} % sure"


def claimed(claim: Claim) -> str:
    """What the claim bounds: `ratio at least 1.1`, `difference at most 0.02 share`."""
    side = claim.relation.replace("_", " ")
    return f"{kind(claim.statistic)} {side} {claim.bound:g} {unit(claim.statistic)}".rstrip()


def scope_label(data: str, scale: str) -> str:
    """`fashion mnist · standard`."""
    return f"{data.replace('_', ' ')} · {scale}"


def study_title(name: str) -> str:
    """`Step sweep`."""
    return name.replace("_", " ").capitalize()


def when(moment: pd.Timestamp | None) -> str:
    """`23 Nov 2026, 13:40 UTC`."""
    return "–" if moment is None or pd.isna(moment) else f"{moment:%-d %b %Y, %H:%M} UTC"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `1 h 15 min`."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

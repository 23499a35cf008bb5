"""Conditions of a login, as options say them and as people read them."""

from __future__ import annotations

from charging.conditions import Conditions


def condition_texts(conditions: Conditions) -> list[str]:
    """A line for each that is said."""
    lines = [
        ("at", (*conditions.nas, *(f"group {name}" for name in conditions.nas_groups))),
        ("port", conditions.port_types),
        ("device", conditions.stations),
        ("hours", conditions.hours),
    ]
    found = [f"{title}: {', '.join(values)}" for title, values in lines if values]
    if conditions.learn_stations is not None:
        found.append(f"device: the first {conditions.learn_stations} to log in")
    return found

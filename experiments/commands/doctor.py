"""``doctor``: what is installed, what runs here, whether the shipped weights load."""

import json as json_format
import logging
import sys
from dataclasses import asdict
from itertools import groupby

from experiments.installed import Item, report


def doctor(json: bool = False) -> list[Item]:
    """Tell versions, devices, optional packages, whether the shipped weights load, and which services are at hand.

    Nothing is fetched or sent. It ends with status 1 where something that should work does not.

    Args:
        json: print it as JSON instead of text

    Returns:
        What was found.
    """
    # The weights' origin is not what is asked for here.
    logging.getLogger("experiments.checkpoints").setLevel(logging.WARNING)
    items = list(report())
    print(json_format.dumps([asdict(item) for item in items], indent=2) if json else _as_text(items))
    if any(item.problem for item in items):
        sys.exit(1)
    return items


def _as_text(items: list[Item]) -> str:
    wide = max(len(item.name) for item in items)
    lines: list[str] = []
    for group, of_group in groupby(items, key=lambda item: item.group):
        lines += ["", group] if lines else [group]
        for item in of_group:
            lines.append(f"  {item.name:<{wide}}  {item.found}")
            lines += [f"  {'':<{wide}}  ! {item.problem}"] if item.problem else []
    return "\n".join(lines)

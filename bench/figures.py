"""What a measurement found, for people and for programs."""

import json
import sys
from typing import Any

import click


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print figures by name; exit status 1 where the list under `wrong` has something in it."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            click.echo(f"{key.replace('_', ' '):<34} {value if value != [] else 'nothing'}")
    if found["wrong"]:
        sys.exit(1)

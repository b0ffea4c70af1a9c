"""``python -m crash``: run a campaign, print a table, exit 1 if a rule was broken."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from crash.campaign import Campaign

SHOWN = 5
"""Violations that are printed in full."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="crash", description="Kill a server under load and check what it promised.")
    parser.add_argument("--kills", type=int, default=200, help="how many times (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule and of what clients do (default: new)")
    parser.add_argument("--data", type=Path, default=None, help="an empty directory to work in (default: a new one)")
    options = parser.parse_args(arguments)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    directory = options.data or Path(tempfile.mkdtemp(prefix="trunkline-crash-"))
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        parser.error(f"{directory} is not empty")
    print(f"seed {seed}, {options.kills} kills, in {directory}", flush=True)
    begun = time.monotonic()
    campaign = Campaign(directory, seed, lambda text: print(text, flush=True))
    held = uvloop.run(campaign.run(options.kills))
    print(campaign.table())
    print(f"took                       {time.monotonic() - begun:.0f} s")
    if held:
        if options.data is None:
            shutil.rmtree(directory)
        return 0
    for violation in campaign.checker.violations[:SHOWN]:
        print(f"\nVIOLATION {violation}")
    more = len(campaign.checker.violations) - SHOWN
    print(f"\n{f'{more} more; ' if more > 0 else ''}the data directory and the log are kept in {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

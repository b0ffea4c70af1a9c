"""``python -m fuzz.guided TARGET CORPUS [options of libFuzzer]``: a target under atheris, guided by lines reached."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["trunkline.http", "trunkline.wire"]):
    from fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]

    def run(data: bytes) -> None:
        target.check(data)

    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

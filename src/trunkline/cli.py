"""Flags -> Settings -> Node; nothing else."""

from __future__ import annotations

import argparse
import os
import sys

import trunkline
from trunkline.settings import FIELDS, PREFIX, BadSetting, environment_name, flag, load, nearest


def parser() -> argparse.ArgumentParser:
    """The command line, made from the table of settings."""
    root = argparse.ArgumentParser(prog="trunkline", description="Amazon SQS on your own machine.")
    root.add_argument("--version", action="version", version=f"trunkline {trunkline.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="command")
    serve = commands.add_parser("serve", help="run the server", description="Run the server until SIGTERM or SIGINT.",
                                allow_abbrev=False)  # fmt: skip
    serve.add_argument("--config", metavar="FILE", help=f"TOML file with settings. [{PREFIX}CONFIG]")
    for name, each in FIELDS.items():
        text = f"{each.metadata['help']} [{environment_name(name)}]".replace("%", "%%")
        if isinstance(each.default, bool):
            # A value only to say no to what the environment or the file says.
            serve.add_argument(flag(name), dest=name, nargs="?", const="true", metavar="true|false", help=text)
        else:
            serve.add_argument(flag(name), dest=name, metavar=name.rsplit("_", 1)[-1].upper(), help=text)
    dump = commands.add_parser("dump", help="print a data directory's rows", description="Print every row of a data "
                               "directory as JSON lines, read-only; the server may be running.")  # fmt: skip
    dump.add_argument("directory", nargs="?", metavar="DIR", help="the data directory; without it the server's own")
    dump.add_argument("--data", metavar="DIR", help=f"the same, as serve has it [{environment_name('data')}]")
    return root


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, 1 if the server could not run, 2 for a setting that is wrong."""
    root = parser()
    given, unknown = root.parse_known_args(arguments)
    if unknown:
        flags = [flag(name) for name in FIELDS] + ["--config"] if given.command == "serve" else []
        root.error(f"{unknown[0]} is not a setting{nearest(unknown[0].partition('=')[0], flags)}")

    def warn(text: str) -> None:
        print(f"trunkline: warning: {text}", file=sys.stderr)

    from trunkline import node

    chosen = {"data": given.directory or given.data} if given.command == "dump" else vars(given)
    try:
        settings = load(chosen, os.environ, warn)
    except BadSetting as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    if given.command == "dump":
        try:
            code = node.dump(settings, sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read has seen enough (dump | head). Nothing more may be written at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code
    return node.run(settings)

"""Flags -> Settings -> Node; nothing else."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import trunkline
from trunkline.settings import FIELDS, PREFIX, BadSetting, environment_name, flag, load, nearest, shown_default


def parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The command line, made from the table of settings, and that of each command."""
    root = argparse.ArgumentParser(prog="trunkline", description="Amazon SQS on your own machine.")
    root.add_argument("--version", action="version", version=f"trunkline {trunkline.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="command")
    serve = commands.add_parser(
        "serve",
        help="run the server",
        usage="trunkline serve [--config FILE] [--SETTING VALUE ...]    (trunkline serve --help lists them)",
        description="Run the server until SIGTERM, SIGINT or SIGHUP; a second one ends it at once. With auth "
        "verify, TLS or a metrics token SIGHUP reads their files again instead.",
        allow_abbrev=False,
    )
    serve.add_argument("--config", metavar="FILE", help=f"TOML file with settings. [{PREFIX}CONFIG]")
    for name, each in FIELDS.items():
        text = _help(name).replace("%", "%%")
        if isinstance(each.default, bool):
            # A value only to say no to what the environment or the file says.
            serve.add_argument(flag(name), dest=name, nargs="?", const="true", metavar="true|false", help=text)
        else:
            serve.add_argument(flag(name), dest=name, metavar=name.rsplit("_", 1)[-1].upper(), help=text)
    dump = commands.add_parser(
        "dump",
        help="print what is in a data directory",
        usage="trunkline dump [--raw] [DIR | --data DIR]",
        description="Print every row of a data directory as JSON lines, read-only; the server may be running.",
    )
    dump.add_argument("directory", nargs="?", metavar="DIR", help="the data directory; without it the server's own")
    dump.add_argument("--data", metavar="DIR", help=f"the same, as serve has it [{environment_name('data')}]")
    dump.add_argument("--raw", action="store_true", help="keys and values as they are stored, not taken apart")
    backup = commands.add_parser(
        "backup",
        help="copy the data, also while the server runs",
        usage="trunkline backup [--data DIR] FILE",
        description="Copy the data to FILE: consistent, verified, and never over anything. The server may be running.",
    )
    backup.add_argument("file", metavar="FILE", help="the copy; it may not be there yet")
    restore = commands.add_parser(
        "restore",
        help="make a data directory of a backup",
        usage="trunkline restore [--data DIR] FILE",
        description="Make a data directory of a backup, for a server that is not running. Overwrites nothing.",
    )
    restore.add_argument("file", metavar="FILE", help="what trunkline backup has made")
    for command in (backup, restore):
        text = f"the data directory, as serve has it [{environment_name('data')}]"
        command.add_argument("--data", metavar="DIR", help=text)
    return root, {"serve": serve, "dump": dump, "backup": backup, "restore": restore}


def _help(name: str) -> str:
    each = FIELDS[name].metadata
    default = f" Default: {shown_default(name)}." if shown_default(name) else ""
    return f"{each['help']} Takes {each['convert'].__doc__}.{default} [{environment_name(name)}]"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, 1 if the server could not run, 2 for a setting that is wrong, 130 if it was interrupted."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return 130


def _main(arguments: list[str] | None) -> int:
    root, commands = parser()
    given, unknown = root.parse_known_args(arguments)
    if unknown:
        flags = [flag(name) for name in FIELDS] + ["--config"] if given.command == "serve" else []
        near = nearest(unknown[0].partition("=")[0].lstrip("-"), (each.removeprefix("--") for each in flags), "--")
        commands[given.command].error(f"{unknown[0]} is not a setting{near}")

    def warn(text: str) -> None:
        print(f"trunkline: warning: {text}", file=sys.stderr)

    if given.command == "dump":
        return _dump(commands["dump"], given, warn)
    if given.command in ("backup", "restore"):
        return _copy(given, warn)
    try:
        settings = load(vars(given), os.environ, warn)
    except BadSetting as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    from trunkline import node

    return node.run(settings)


def _copy(given: argparse.Namespace, warn: Callable[[str], None]) -> int:
    from trunkline import backup
    from trunkline.kernel.time import RealClock

    # Of the settings only the directory matters, and whether there is one.
    chosen = {"data": given.data, "host": "127.0.0.1", "memory": None if given.data is None else "false"}
    try:
        settings = load(chosen, os.environ, warn)
        if settings.memory:
            raise BadSetting(
                f"the server keeps everything in memory ({environment_name('memory')} or the file says so), where "
                f"nothing can be copied from or to; name a data directory with {flag('data')}"
            )
    except BadSetting as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    run = backup.backup if given.command == "backup" else backup.restore
    return run(settings.data, Path(given.file), sys.stdout, sys.stderr, RealClock())


def _dump(usage: argparse.ArgumentParser, given: argparse.Namespace, warn: Callable[[str], None]) -> int:
    if given.directory is not None and given.data is not None:
        usage.error(f"one directory at a time: {given.directory}, or --data {given.data}")
    from trunkline.dump import dump

    # Of the settings only the directory matters here; what the others are may not keep anybody from looking.
    chosen = {"data": given.directory or given.data, "host": "127.0.0.1", "memory": "false"}
    try:
        code = dump(load(chosen, os.environ, warn).data, sys.stdout, given.raw)
        sys.stdout.flush()
    except BadSetting as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read has seen enough (dump | head). Nothing more may be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code

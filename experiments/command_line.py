"""The command line, made of the typed functions in :mod:`experiments.commands` by jsonargparse's ``auto_cli``.

``fit``, ``validate`` and ``test`` are the Lightning CLI's. The dotted options of the others, e.g.
``--trainer.max_epochs=3``, are the Lightning CLI's too: commands that take them have ``**overrides``.
"""

import importlib
import importlib.metadata
import inspect
import io
import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser, auto_cli

from experiments.catalogue import command_modules
from experiments.errors import UsageError, nearest, option_error, told
from experiments.machine import prepare_process

LIGHTNING: Final = ("fit", "test", "validate")
_GROUPS: Final = (
    "model",
    "trainer",
    "run",
    "paths",
    "machine",
    "pretraining",
    "translation",
    "optimizer",
    "lr_scheduler",
)
"""The Lightning CLI's options that take a file or a class; ``data`` is one of our own commands' options."""

_RENAMED: Final = {"compare": "grid GRID"}
"""Commands of earlier versions, and what took their place."""
_INTERRUPTED: Final = 128 + signal.SIGINT
_TERMINATED: Final = 128 + signal.SIGTERM


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error that the user can mend ends it with one line and exit status 2.

    Args:
        arguments: the command and its options; those of the process if None.
    """
    prepare_process()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_overview())
        return
    if arguments == ["--version"]:
        print(f"warpmark {importlib.metadata.version('warpmark')}")
        return
    # Modules in the user's folder can be named by class path, as under `python -m`.
    sys.path += [] if {"", str(Path.cwd())} & set(sys.path) else [str(Path.cwd())]
    _show_log()
    try:
        _run(*map(_at_home, arguments))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        raise SystemExit(_status(end)) from end
    except Exception as error:
        said = told(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def command(name: str) -> Callable[..., Any]:
    """The function of a command.

    Raises:
        UsageError: there is no such command; the message suggests the nearest.
    """
    modules = command_modules()
    if name in _RENAMED:
        raise UsageError(f"{name!r} is no command any more: what it did, `warpmark {_RENAMED[name]}` does.")
    if name not in modules:
        raise UsageError(f"{name!r} is no command. {nearest(name, [*modules, *LIGHTNING])}")
    module = importlib.import_module(f"experiments.commands.{modules[name]}")
    function: Callable[..., Any] = getattr(module, name.replace("-", "_"))
    return function


def _run(name: str, *words: str) -> None:
    if name in LIGHTNING:
        from experiments.cli import WarpmarkCLI

        WarpmarkCLI([name, *words])
        return
    function = command(name)
    options, overrides = _split(function, list(words))

    def run(**chosen: Any) -> None:
        function(**chosen, **overrides)

    run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # as functools.wraps would
    run.__doc__ = function.__doc__
    try:
        auto_cli({name: run}, [name, *options], as_positional=False, parser_class=_with(function), prog="warpmark")
    except ArgumentError as error:
        raise option_error(str(error), _options(function), within=f"{name}.") from error


class _Parser(ArgumentParser):
    """jsonargparse's parser with flags (``--resume``), lists of words (``--rows a b``) and no abbreviations."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "exit_on_error": False, "allow_abbrev": False})

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Add an option by its type, see the class."""
        hint = getattr(options.get("action"), "_typehint", None)
        if options.get("type") is bool:
            options |= {"action": ActionYesNo, "nargs": "?"}
            del options["type"]
        elif get_origin(hint) in (list, tuple):
            # jsonargparse checks the elements in place.
            options |= {"nargs": "*", "type": get_args(hint)[0], "default": list(options.get("default") or ())}
            del options["action"]
        # `--on-error` for on_error, and `--from` for from_, which Python does not take for a name.
        typed = [name.rstrip("_").replace("_", "-") for name in names if "_" in name]
        return super().add_argument(*names, *typed, **options)


def _with(function: Callable[..., Any]) -> type[_Parser]:
    """The parser of a command, whose help ends with the examples of its docstring."""

    class Parser(_Parser):
        def format_help(self, *args: Any, **options: Any) -> str:
            return "\n".join([super().format_help(*args, **options), *_more(function)]) + "\n"

    return Parser


def _more(function: Callable[..., Any]) -> list[str]:
    """What the help of a command says at its end: where further options are from, and examples."""
    examples = (inspect.getdoc(function) or "").partition("Examples:\n")[2].splitlines()
    dotted = ["further options: those of `warpmark fit --help`, e.g. --trainer.max_epochs=3", ""]
    return [*(dotted if _takes_overrides(function) else []), *(["examples:"] if examples else []), *examples]


def _split(function: Callable[..., Any], words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate a command's own options from dotted ones; words before any option are its first parameter's."""
    first, *_ = inspect.signature(function).parameters
    leading = list(takewhile(lambda word: not word.startswith("-"), words))
    own = [f"--{first}", *leading] if leading else []
    overrides: dict[str, Any] = {}
    for option, values in _grouped(words[len(leading) :]):
        name, equals, value = option.removeprefix("--").partition("=")
        given = [value] if equals else values
        if not _takes_overrides(function) or not ("." in name or name in ("config", "print_config", *_GROUPS)):
            own += [option, *values]
        elif name == "config" or name.endswith("+"):
            overrides[name] = [*overrides.get(name, []), *given]
        elif name == "print_config":
            overrides[name] = ",".join(given)
        elif len(given) == 1:
            overrides[name] = given[0]
        else:
            raise UsageError(f"--{name}: found {len(given)} values, expected one, as in --{name}=VALUE.")
    return own, overrides


def _grouped(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option with the words that follow it."""
    while words:
        values = list(takewhile(lambda word: not word.startswith("--"), words[1:]))
        yield words[0], values
        words = words[1 + len(values) :]


def _takes_overrides(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _options(function: Callable[..., Any]) -> list[str]:
    own = [f"--{name}" for name, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_KEYWORD]
    return [*own, "--help"]


def _overview() -> str:
    ours = {name: (inspect.getdoc(command(name)) or "").splitlines()[0] for name in command_modules()}
    theirs = dict.fromkeys(LIGHTNING, "The Lightning CLI's, e.g. --config=configs/base.yaml --config=…")
    lines = [f"  {name:<19}{text}" for name, text in (ours | theirs).items()]
    head = "warpmark COMMAND [OPTIONS]   (or: python -m experiments COMMAND [OPTIONS])"
    return "\n".join([head, "", *lines, "", "Each command tells its options with --help."])


def _at_home(word: str) -> str:
    """A word of the command line with ``~/`` as the shell would have expanded it, had the word begun with it."""
    option, found, rest = re.match(r"(--[\w.+-]+=)?(~(?=/|$))?(.*)", word, re.DOTALL).groups("")  # type: ignore[union-attr]
    return f"{option}{Path.home() if found else ''}{rest}"


def _status(end: SystemExit) -> int | str | None:
    """The exit status where a process ends itself: as of other programs where a signal was the reason."""
    if type(end).__name__ == "SIGTERMException":  # Lightning's, whose import takes seconds, and which says 0
        return _TERMINATED
    return _INTERRUPTED if isinstance(end.__context__, KeyboardInterrupt) else end.code


def _show_log() -> None:
    """Print this project's log to the console; Lightning prints its own."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be UTF-8, and the terminal need not know every letter.
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for room in ("warpmark", "experiments", "prediction", "callbacks", "lightning_modules", "datamodules"):
        logger = logging.getLogger(room)
        logger.setLevel(logging.INFO)
        logger.handlers = [handler]
    # Advertisements, and devices that were not found; `WarpmarkCLI.prepare` says which one is used.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)

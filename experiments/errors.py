"""Errors that the user can mend: printed as one line, without a traceback."""

import difflib
import inspect
import pkgutil
import re
from collections.abc import Iterable


class UsageError(ValueError):
    """A command that cannot be carried out as given. The message says what to change."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, what was found and expected, and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'X'? Known: …`` for a name that is not among ``known``."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}."


def option_error(message: str, known: Iterable[str], within: str = "") -> UsageError:
    """jsonargparse's nested message about an option as one line that names the option and what was expected.

    Args:
        message: of jsonargparse's ``ArgumentError``.
        known: all options, ``--name``, from which the nearest to an unknown one is suggested.
        within: put before the names of required options by jsonargparse, e.g. ``evaluate.``.
    """
    if unknown := re.match(r"unrecognized arguments: (.*)", message, re.DOTALL):
        given = unknown[1].split()[0].partition("=")[0]
        return UsageError(f"{given} is no option. {_suggestion(given, known)}")
    if wrong := re.match(r"argument (--\w+)\S*: invalid _boolean_type value: (.*)", message):
        return UsageError(f"{wrong[1]}: found {wrong[2]}, expected true or false.")
    if missing := re.match(r"the following arguments are required: (.*)", message):
        names = [f"--{name.strip().removeprefix(within).rstrip('_')}" for name in missing[1].split(",")]
        return UsageError(f"{' and '.join(names)} must be given.")
    keys = list(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message)))
    classes = re.findall(r"Problem with given class_path '([^']+)'", message)
    option = "--" + ".init_args.".join(keys)
    if refused := re.search(r"Option '([^']+)' is not accepted", message):
        accepted = [name for name in _parameters(classes[-1]) if name not in ("self", "args", "kwargs", "options")]
        return UsageError(
            f"{option}.init_args.{refused[1]} is no option of {classes[-1].rsplit('.', 1)[-1]}. "
            f"{nearest(refused[1], accepted)}"
        )
    lines = [re.sub(r'Parser key "[^"]+"( element \d+)?:;?', "", line) for line in message.splitlines()]
    reasons = [line.strip(" -") for line in lines if not re.search(_NO_REASON, line)]
    reasons = list(dict.fromkeys(_plain(reason) for reason in reasons))
    if (null := "expected null") in reasons:
        reasons.remove(null)
        # Within a class, or where one refused its arguments, it is the class itself that could be null.
        reasons = reasons if classes or not keys else [f"{'; '.join(reasons)} or null"]
    said = "; ".join(reasons).removesuffix(".")
    if not keys:  # of a class that refused its arguments when it was made; or of something else
        return UsageError(f"{said}." if said and _ANY_OF in message else " ".join(message.split()))
    found = re.findall(rf"(?:Got value|Given value): (?!{_NO_VALUE})(.*)|val='([^']*)'", message)
    value = next((f" found {a or b!r}," for a, b in reversed(found)), "")
    return UsageError(f"{option}:{value} {said}.")


def _plain(reason: str) -> str:
    """A reason in words: ``expected int``, ``expected one of raise, skip``."""
    for pattern, words in (
        (r"\.? Got value: .*", ""),
        (r"Expected an? <class 'NoneType'>", "expected null"),
        (r"Expected an? ", "expected "),
        (r"<class '(?:\w+\.)*(\w+)'>", r"\1"),
        (r"(?:typing\.)?Literal\[(.*)\]", r"one of \1"),
    ):
        reason = re.sub(pattern, words, reason)
    return reason


_ANY_OF = "Does not validate against any of the Union subtypes"
"""jsonargparse's words where a value fits none of several types."""

_NO_VALUE = r"NestedArg|Namespace\(|\{'class_path'"
"""How values begin that are all of a class's arguments, and not the one that is wrong."""

_NO_REASON = r"^\s*$|class_path|Union subtypes|Subtypes:|Errors:|Given value|Expected a path but"
"""Lines of jsonargparse's messages that say where it looked, not what is wrong."""


def _suggestion(given: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else "--help lists the options."


def _parameters(class_path: str) -> list[str]:
    """Names of all constructor parameters of a class, its bases' included."""
    bases = inspect.getmro(pkgutil.resolve_name(class_path))
    return [
        name
        for base in bases
        if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters
    ]

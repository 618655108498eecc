"""Errors that the user can mend: printed as one line, without a traceback."""

import difflib
import errno
import inspect
import pkgutil
import re
import traceback
from collections.abc import Iterable
from typing import Final


class UsageError(ValueError):
    """A command that cannot be carried out as given. The message says what to change."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, what was found and expected, and the remedy."""


def told(error: BaseException | None) -> str | None:
    """What an error says to the user, in a line, where it is one that the user can mend; else None.

    Ours are told as they are, also where jsonargparse wrapped them while it built what the options name. Of the
    libraries' own it is those that refuse options, and files that cannot be written.
    """
    one = error
    while one is not None:
        if any(kind.__module__.partition(".")[0] in _ROOMS and kind.__name__ in _OURS for kind in type(one).__mro__):
            return str(one)
        one = one.__cause__
    return next((said for tell in (_of_library, _of_disk) if error is not None and (said := tell(error))), None)


_ROOMS: Final = ("datamodules", "lightning_modules", "prediction", "experiments", "warpmark")
_OURS: Final = ("DataError", "WeightsError", "CheckpointError", "UsageError", "DivergedError")
"""Errors of ours whose message says what to change; by name, as their modules take long to import."""
_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_KEPT: Final = "What was written before is kept: make room, or give another place, and go on with RESUME=1."


def _of_library(error: BaseException) -> str | None:
    """Lightning's and W&B's refusals."""
    said = " ".join(str(error).split())
    for kind in type(error).__mro__:
        if kind.__name__ == "MisconfigurationException":
            return f"the trainer refuses its options: {said}"
        if kind.__module__.startswith("wandb.") and kind.__name__ == "Error":
            return (
                f"Weights & Biases refuses: {said.rstrip('.')}. Log in once with `wandb login`, or keep the log on "
                "this machine with WANDB_MODE=offline, or leave WANDB out."
            )
    if not isinstance(error, ValueError | RuntimeError):
        return None
    module, line = _raised_in(error)
    if module.startswith("lightning."):
        return f"the trainer refuses its options: {said}"
    # A check of an argument, not a mistake of the program: ours say what to change, torch's what is wrong.
    checks = type(error) is ValueError and line.startswith("raise ")
    return said if checks and module.startswith((*_ROOMS, "torch.optim", "torch.utils.data")) else None


def _raised_in(error: BaseException) -> tuple[str, str]:
    """The module whose code raised an error, and the line."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = str(frames[-1].f_globals.get("__name__", "")) if frames else ""
    return module, (traceback.extract_tb(error.__traceback__)[-1].line or "") if frames else ""


def _of_disk(error: BaseException) -> str | None:
    """A file that cannot be written, whoever writes it."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return f"{error.filename or 'the output'}: cannot be written ({error.strerror}). {_KEPT}"
    if isinstance(error, RuntimeError) and ("PytorchStreamWriter" in str(error) or "inline_container" in str(error)):
        return f"a checkpoint cannot be written: the disk may be full ({str(error).splitlines()[0][:120]}). {_KEPT}"
    return None


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
    if linked := re.match(r'Linked "([^"]+)" must be given via "([^"]+)"', message):
        instead = _GIVEN_BY.get(linked[2], linked[2])
        return UsageError(f"--{linked[1]} is set by another option and cannot be given: give --{instead}.")
    if "save_dir=None" in message:
        return UsageError(NO_FOLDER)
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


NO_FOLDER: Final = (
    "--trainer.default_root_dir is null (YAML takes a name that begins with # for a comment); expected the run's "
    "folder. Leave it out and give --paths.runs, or write ./ before the name."
)
_GIVEN_BY: Final = {"model.image_size": "model.init_args.landmarker.init_args.image_size"}
"""Options by which values are set that an option is linked to and that are themselves no options."""


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

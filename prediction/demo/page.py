"""The page itself, by gradio: what is where on it, and which answer goes where. Everything comes from this machine."""

import html
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from datamodules.faces import DataError
from lightning_modules.landmarkers.fixed import not_installed
from prediction.demo.answers import Answer, Demo, Finder, Limits
from prediction.demo.drawing import COLOURS, DOUBTFUL
from prediction.demo.pictures import PAIRS, SINGLE

log = logging.getLogger(__name__)

T = TypeVar("T")

LICENCE: Final = (
    "**The shipped weights are for research use only**: they learned from 300W, which is for non-commercial research. "
    "The code is under Apache-2.0. The example faces are drawn by this program. Pictures stay on the machine that runs "
    "it, and are deleted when it ends."
)
_FIRST: Final = "Upload a picture, take one with the webcam, or choose an example."
_PAIR_FIRST: Final = "Give a photo and a drawing, or choose an example."
_ONE_AT_A_TIME: Final = {"concurrency_id": "landmarker", "concurrency_limit": 1, "api_visibility": "private"}
"""Of every event: a landmarker changes its mode while it runs, so no two use it at once."""
_FONTS: Final = ("system-ui", "sans-serif")
"""Those of the visitor's system: none is fetched."""
_STYLE: Final = """
.gradio-container { max-width: 1280px !important; }
#about h1 { margin: 0; }
#about p { margin: 0.25rem 0 0; }
#licence { font-size: 0.85rem; opacity: 0.8; }
.html-container { padding: 0 !important; }
.said { min-height: 1.5rem; }
.said .error { border-left: 4px solid #d4351c; background: rgba(212, 53, 28, 0.1); padding: 0.5rem 0.75rem; }
table.faces { width: 100%; border-collapse: collapse; font-size: 0.85rem; }
table.faces th, table.faces td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; font-weight: normal; }
table.faces td { white-space: nowrap; }
table.faces th { opacity: 0.65; border-bottom: 1px solid rgba(128, 128, 128, 0.4); }
.scale { display: flex; align-items: center; gap: 0.5rem; font-size: 0.8rem; opacity: 0.8; }
.scale .bar { flex: 0 0 8rem; height: 0.6rem; border-radius: 0.3rem; }
#pairs .table-wrap { border: none; }
#pairs table { width: auto; padding: 0; }
#pairs thead { display: none; }
#pairs tr, #pairs td { padding: 0 0.5rem 0.4rem 0; border: none; background: none !important; }
#pairs td .container, #pairs td img { width: 4rem; height: 4rem; }
"""


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: of this machine's addresses, the one that is listened on.
        port: None takes the first free one from 7860 on.
        browser: open it in the browser.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    browser: bool = False


@contextmanager
def serving(finders: Mapping[str, Finder], address: Address, limits: Limits) -> Iterator[str]:
    """Serve the page while the context lasts; all files of its visitors are deleted at its end.

    Args:
        finders: what finds faces and landmarks, by the name of its checkpoint.
        address: where.
        limits: of pictures.

    Yields:
        The page's URL.

    Raises:
        WeightsError: gradio is not installed; the message has the command that installs it.
        OSError: no port is free at that address.
    """
    with tempfile.TemporaryDirectory(prefix="warpmark-demo-") as folder, _environment(folder):
        blocks = build(Demo(finders, Path(folder), limits))
        gr = _gradio()
        try:
            _, url, _ = blocks.launch(
                server_name=address.host,
                server_port=address.port,
                inbrowser=address.browser,
                theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=("ui-monospace", "monospace")),
                css=_STYLE,
                max_file_size=int(limits.megabytes * 2**20),
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                run_history=False,
                enable_monitoring=False,
                footer_links=[],
            )
            yield str(url)
        finally:
            blocks.close(verbose=False)


def build(demo: Demo) -> Any:
    """The page as gradio's ``Blocks``.

    Raises:
        WeightsError: gradio is not installed.
    """
    gr = _gradio()
    with gr.Blocks(analytics_enabled=False, title="Warpmark", delete_cache=(600, 3600)) as blocks:
        gr.Markdown(
            "# Warpmark\n68 landmarks on photos, caricatures, cartoons and paintings of faces.", elem_id="about"
        )
        with gr.Tabs():
            with gr.Tab("Landmarks", id="landmarks"):
                _landmarks_tab(gr, demo)
            with gr.Tab("Warp a photo onto a drawing", id="warp"):
                _warp_tab(gr, demo)
        gr.Markdown(LICENCE, elem_id="licence")
    return blocks


def _landmarks_tab(gr: Any, demo: Demo) -> None:
    several = len(demo.finders) > 1
    with gr.Row():
        with gr.Column(scale=2, min_width=260):
            picture = _picture(gr, "Picture", 330, webcam=True)
            files = [[str(example.write(demo.folder))] for example in SINGLE]
            gr.Examples(files, picture, label="Drawn examples", elem_id="examples")
        with gr.Column(scale=5 if several else 3, min_width=380):
            said = _html(gr, _told(_FIRST), "said")
            with gr.Row():
                panels = [_panel(gr, name, several) for name in demo.finders]
            _html(gr, _scale(), "scale")
    outputs = [said, *(part for panel in panels for part in panel)]
    shown = [drawn for drawn, *_ in panels]
    picture.change(partial(_find, gr, demo), picture, outputs, show_progress_on=shown, **_ONE_AT_A_TIME)


def _panel(gr: Any, name: str, several: bool) -> tuple[Any, ...]:
    """What shows an :class:`Answer`: the picture, the table and the downloads."""
    with gr.Column(min_width=260):
        drawn = gr.Image(
            label=name,
            interactive=False,
            height=380 if several else 430,
            format="png",
            buttons=["download", "fullscreen"],
            elem_classes="drawn",
        )
        table = gr.HTML(elem_classes="table", padding=False, apply_default_css=False)
        with gr.Row():
            pts = gr.DownloadButton("Points as .pts (zip)", interactive=False, size="sm", elem_classes="pts")
            points = gr.DownloadButton("Points as .json", interactive=False, size="sm", elem_classes="json")
    return drawn, table, pts, points


def _warp_tab(gr: Any, demo: Demo) -> None:
    names = list(demo.finders)
    with gr.Row():
        photo, drawing = (_picture(gr, label, 240) for label in ("Photo", "Drawing"))
        with gr.Column(min_width=260):
            files = [[str(example.write(demo.folder)) for example in pair] for pair in PAIRS]
            gr.Examples(files, [photo, drawing], label="Drawn examples", elem_id="pairs")
    with gr.Row(equal_height=True):
        with gr.Column(scale=2):
            said = _html(gr, _told(_PAIR_FIRST), "warp-said")
        by = gr.Dropdown(names, value=names[0], label="Landmarks by", visible=len(names) > 1)
        smoothing = gr.Slider(0, 0.1, 0, step=0.005, label="Smoothing λ (0 meets every landmark)")
    with gr.Row():
        field = _result(gr, "Photo: landmarks, the drawing's grid")
        marked = _result(gr, "Drawing: landmarks")
        slider = gr.ImageSlider(label="Drawing | warped photo", interactive=False, max_height=330, elem_id="slider")
    # An example changes both pictures: only what is last is worth an answer.
    gr.on(
        [photo.change, drawing.change, smoothing.release, by.change],
        partial(_warp, gr, demo),
        [photo, drawing, smoothing, by],
        [said, field, marked, slider],
        show_progress_on=slider,
        trigger_mode="always_last",
        **_ONE_AT_A_TIME,
    )


def _html(gr: Any, content: str, name: str) -> Any:
    return gr.HTML(content, elem_id=name, padding=False, apply_default_css=False)


def _picture(gr: Any, label: str, height: int, webcam: bool = False) -> Any:
    """Where a picture is given; what is given on is the file as it came, whatever it is."""
    sources = ["upload", *(["webcam"] if webcam else []), "clipboard"]
    picture = gr.Image(label=label, sources=sources, type="filepath", height=height, buttons=["fullscreen"])
    decode = picture.preprocess

    def preprocess(payload: Any) -> str | None:
        # gradio's own decodes a file before we see it, and answers with its decoder's words.
        embedded = payload is None or (payload.url or "").startswith("data:")
        return decode(payload) if embedded or payload.path is None else str(payload.path)

    picture.preprocess = preprocess
    return picture


def _result(gr: Any, label: str) -> Any:
    return gr.Image(label=label, interactive=False, height=330, format="png", buttons=["download", "fullscreen"])


def _find(gr: Any, demo: Demo, path: str | None) -> list[Any]:
    """The values of the landmarks tab's parts for a picture."""
    button = gr.DownloadButton(value=None, interactive=False)
    nothing = [None, "", button, button] * len(demo.finders)
    if path is None:
        return [_told(_FIRST), *nothing]
    answers, error = _answered(partial(demo.find, path))
    if answers is None:
        return [error, *nothing]
    said = _told(" · ".join(answer.said for answer in answers))
    return [said, *(part for answer in answers for part in _shown(gr, answer))]


def _shown(gr: Any, answer: Answer) -> list[Any]:
    buttons = [gr.DownloadButton(value=str(file), interactive=True) for file in (answer.pts, answer.points)]
    return [answer.drawn, answer.table, *buttons]


def _warp(gr: Any, demo: Demo, photo: str | None, drawing: str | None, smoothing: float, checkpoint: str) -> list[Any]:
    """The values of the warp tab's parts for a pair of pictures."""
    if photo is None or drawing is None:
        wanted = "Now give a photo." if drawing else "Now give a drawing." if photo else _PAIR_FIRST
        return [_told(wanted), None, None, None]
    found, error = _answered(partial(demo.warp, photo, drawing, smoothing, checkpoint))
    if found is None:
        return [error, None, None, None]
    said = f"The field folds over {100 * found.folded:.2f} % of the crop" + (" (red)." if found.folded else ".")
    return [_told(said), found.field, found.drawing_marked, (found.drawing, found.warped)]


def _answered(ask: Callable[[], T]) -> tuple[T | None, str]:
    """An answer, or None and the error in words: on the page, where it stays until the next picture."""
    try:
        return ask(), ""
    except DataError as error:
        said = str(error)
    except Exception:
        # A visitor can do nothing about a fault of ours; whoever started the demo sees it in the terminal.
        log.exception("the page could not answer")
        said = "Something went wrong in the program; its terminal says what. Try another picture."
    return None, _told(said, "error")


def _told(text: str, kind: str = "note") -> str:
    role = "alert" if kind == "error" else "status"
    return f'<div class="said"><div class="{kind}" role="{role}">{html.escape(text)}</div></div>'


def _scale() -> str:
    """What the points' colours mean."""
    bar = ", ".join(f"rgb{colour}" for colour in COLOURS)
    return (
        f'<div class="scale">sure<span class="bar" style="background: linear-gradient(to right, {bar})"></span>'
        f"uncertain by {100 * DOUBTFUL:g} % of the distance between the outer eye corners, or more</div>"
    )


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """What gradio reads from the environment: that it asks nobody, and where it puts what visitors send."""
    values = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "True", "GRADIO_TEMP_DIR": folder}
    for name in ("NO_PROXY", "no_proxy"):
        # Its look at the page that it serves would go through a proxy, which is another machine.
        known = [host for host in os.environ.get(name, "").split(",") if host]
        values[name] = ",".join(dict.fromkeys([*known, "localhost", "127.0.0.1"]))
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise not_installed("gradio", "demo", "the page of the demo") from error
    return gradio

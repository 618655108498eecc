import csv
import json
import logging
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.faces import DataError
from prediction.outputs.tables import CsvOutput
from prediction.tracking import Tracking
from prediction.video import Video, VideoWriter, display_matrix, faces_in_video, in_thread, upright
from prediction.video_outputs import FRAME_FILES, predict_video
from tests.prediction.worlds import face_at

av = pytest.importorskip("av")


def picture(i: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A grey picture whose brightness is its number's, with a red corner at the upper left."""
    image = np.full((height, width, 3), 40 + 8 * i, dtype=np.uint8)
    image[: height // 3, : width // 3] = (230, 20, 20)
    return image


def make(
    path: Path,
    pictures: Sequence[np.ndarray],
    ticks: Sequence[int] | None = None,
    codec: str = "libx264",
    sound: bool = False,
    turn: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A video whose clock ticks 1000 times a second; by default a picture each 40 ms."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "ultrafast", "g": "1"}
        if turn:
            stream.set_display_rotation(turn)
        beep = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        if beep is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, 0
            container.mux(beep.encode(samples))
            container.mux(beep.encode(None))
        for tick, image in zip(ticks or range(0, 40 * len(pictures), 40), pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(path: Path) -> list[int]:
    """Which pictures a video shows, by their brightness."""
    with Video.open(path) as video:
        return [round((float(frame.image[-8:, -8:].mean()) - 40) / 8) for frame in video.frames()]


def times(path: Path) -> list[float]:
    with Video.open(path) as video:
        return [frame.time for frame in video.frames()]


class Nobody:
    """Finds a face in the middle of every picture."""

    def find(self, image: np.ndarray) -> list:
        from datamodules.transforms import Square
        from prediction.detection.turned import Place

        return [Place(Square(32, 24, 30), 0.8)]

    def at(self, pictures):
        for image, places in pictures:
            yield self.in_squares(image, [place.square for place in places])

    def in_squares(self, image: np.ndarray, squares: Sequence, turns: Sequence[float] | None = None) -> list:
        return [face_at(32, 24, 25) for _ in squares]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
def test_reads_frames_in_order_in_any_container(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = make(tmp_path / f"a clip ü.{suffix}", [picture(i) for i in range(6)], codec=codec, sound=suffix == "mp4")
    assert numbers(path) == list(range(6))
    if suffix != "avi":  # which has no times, but a rate
        np.testing.assert_allclose(times(path), 0.04 * np.arange(6), atol=1e-3)


def test_times_of_a_variable_frame_rate_are_true(tmp_path: Path) -> None:
    ticks = [0, 33, 50, 250, 260, 900]
    path = make(tmp_path / "clip.mkv", [picture(i) for i in range(6)], ticks)
    np.testing.assert_allclose(times(path), np.array(ticks) / 1000, atol=1e-9)


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_a_turned_video_is_seen_upright(tmp_path: Path, turn: int) -> None:
    # What a phone on its side writes: the picture is stored turned, and how to turn it back.
    path = make(tmp_path / "clip.mp4", [np.rot90(picture(3), -turn // 90)] * 2, turn=turn)
    with Video.open(path) as video:
        first, _ = video.frames()
        assert first.image.shape == (48, 64, 3)
        assert (video.width, video.height) == (64, 48)
        assert first.image[5, 5, 0] > 150 > first.image[5, 5, 1]
        assert first.image[40, 5, 0] < 100


def test_display_matrices_may_mirror() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    one = 1 << 16
    np.testing.assert_array_equal(upright(image, (one, 0, 0, one)), image)
    np.testing.assert_array_equal(upright(image, (-one, 0, 0, one)), image[:, ::-1])
    np.testing.assert_array_equal(upright(image, (0, one, one, 0)), image.transpose(1, 0, 2))
    # x' = -y, y' = x: a quarter clockwise on the screen, where y goes down.
    np.testing.assert_array_equal(upright(image, (0, one, -one, 0)), np.rot90(image, -1))


def test_frames_without_a_matrix_are_upright() -> None:
    assert display_matrix(av.VideoFrame(8, 8, "rgb24")) == (1, 0, 0, 1)


def broken(path: Path, middle: Callable[[bytes], bytes]) -> Path:
    """Change the bytes of the packet in the middle of a file of single JPEG pictures."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    packet = packets[len(packets) // 2]
    start = data.index(packet)
    path.write_bytes(data[:start] + middle(packet) + data[start + len(packet) :])
    return path


def test_a_broken_frame_is_named_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path / "clip.mkv", [picture(i) for i in range(9)], codec="mjpeg")
    broken(path, lambda packet: b"\x00" * len(packet))
    with caplog.at_level(logging.WARNING), Video.open(path) as video:
        shown = [round((float(frame.image[-8:, -8:].mean()) - 40) / 8) for frame in video.frames()]
    assert shown == [0, 1, 2, 3, 5, 6, 7, 8]
    (problem,) = video.problems
    assert "clip.mkv" in str(problem)
    assert "0.160 s" in str(problem)
    assert caplog.messages == [str(problem)]


def test_a_file_cut_off_after_its_head_is_used_up_to_there(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    path = make(tmp_path / "clip.mp4", [picture(i) for i in range(12)], options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - (len(data) - data.index(b"mdat")) // 2])
    summary = predict_video(Nobody(), path, tmp_path / "out")
    assert 2 <= summary.frames < 12
    assert any(f"{path}" in str(problem) and "12" in str(problem) for problem in summary.problems)


def audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), "s16", "mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    return path


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    whole = make(tmp_path / "whole.mp4", [picture(i) for i in range(5)]).read_bytes()
    (tmp_path / "truncated.mp4").write_bytes(whole[: len(whole) // 2])  # its head is at its end
    audio(tmp_path / "sound.wav")
    found = {
        "empty.mp4": "0 bytes",
        "text.mp4": "cannot open",
        "truncated.mp4": "cannot open",
        "sound.wav": "sound only",
        "missing.mp4": "no such file",
    }
    for name, what in found.items():
        with pytest.raises(DataError, match=rf"{name}: found .*{what}.*expected a video"):
            predict_video(Nobody(), tmp_path / name, tmp_path / "out")
    with pytest.raises(DataError, match="a folder"):
        Video.open(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_songs_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    Image.fromarray(picture(0)).save(tmp_path / "cover.png")
    with av.open(str(tmp_path / "cover.png")) as cover, av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        shown = container.add_stream_from_template(cover.streams.video[0])
        shown.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), "s16", "mono")
        samples.sample_rate = 8000
        for packet in stream.encode(samples):
            container.mux(packet)
        packet = next(cover.demux(video=0))
        packet.stream = shown
        container.mux(packet)
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="sound only"):
        Video.open(path)


def test_iterates_over_frames_with_their_faces(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [picture(i) for i in range(5)])
    frames = list(faces_in_video(Nobody(), path))
    assert [frame.index for frame in frames] == list(range(5))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert all(frame.image.shape == (48, 64, 3) for frame in frames)
    assert [[face.track for face in frame.faces] for frame in frames] == [[1]] * 5
    assert frames[2].faces[0].landmarks.shape == (68, 2)


def test_no_thread_is_left_where_a_video_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [picture(i % 20) for i in range(60)])
    before = threading.active_count()
    frames = faces_in_video(Nobody(), path)
    next(frames)
    assert threading.active_count() == before + 1
    frames.close()
    assert threading.active_count() == before


def test_what_is_raised_in_the_thread_is_raised_in_its_turn() -> None:
    def items():
        yield 1
        raise DataError("broken")

    ahead = in_thread(items())
    assert next(ahead) == 1
    with pytest.raises(DataError, match="broken"):
        next(ahead)


def test_writes_the_video_at_the_sources_times_and_tables(tmp_path: Path) -> None:
    ticks = [0, 40, 50, 200, 240]
    path = make(tmp_path / "clip.mkv", [picture(i, 64, 48) for i in range(5)], ticks)
    done: list[tuple[int, int | None]] = []
    out = tmp_path / "made" / "out"
    summary = predict_video(Nobody(), path, out, Tracking(smoothing=None), progress=lambda *n: done.append(n))
    assert (summary.frames, summary.faces, summary.without, summary.problems) == (5, 1, 0, ())
    assert [n for n, _ in done] == [1, 2, 3, 4, 5]
    assert sorted(file.name for file in out.iterdir()) == sorted(FRAME_FILES.values())
    np.testing.assert_allclose(times(out / "overlay.mp4"), np.array(ticks) / 1000, atol=1e-4)

    with (out / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time"]) for row in rows] == pytest.approx([0, 0.04, 0.05, 0.2, 0.24])
    assert [(row["frame"], row["track"]) for row in rows] == [(str(i), "1") for i in range(5)]
    face = face_at(32, 24, 25)
    assert float(rows[3]["x30"]) == pytest.approx(face.landmarks[30, 0], abs=1e-3)
    assert float(rows[3]["u67"]) == pytest.approx(face.uncertainty[67], abs=1e-3)
    assert float(rows[3]["score"]) == pytest.approx(0.9)

    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    np.testing.assert_allclose(lines[4]["faces"][0]["landmarks"], face.landmarks, atol=1e-3)
    assert lines[4]["faces"][0]["track"] == 1


def test_the_tables_columns_are_those_of_the_pictures_table(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [picture(0)])
    predict_video(Nobody(), path, tmp_path / "out", outputs=("csv",))
    CsvOutput(tmp_path).close()
    pictures = (tmp_path / "predictions.csv").read_text().splitlines()[0].split(",")
    frames = (tmp_path / "out" / "frames.csv").read_text().splitlines()[0].split(",")
    assert frames == ["frame", "time", "track", *pictures[2:]]
    assert pictures[:2] == ["file", "face"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["frames.csv"]


def test_a_frame_without_a_face_has_a_row_and_a_line(tmp_path: Path) -> None:
    class Blind(Nobody):
        def find(self, image: np.ndarray) -> list:
            return []

    path = make(tmp_path / "clip.mp4", [picture(i) for i in range(2)])
    summary = predict_video(Blind(), path, tmp_path / "out")
    assert (summary.without, summary.faces) == (2, 0)
    rows = (tmp_path / "out" / "frames.csv").read_text().splitlines()
    assert len({row.count(",") for row in rows}) == 1
    assert rows[2].startswith("1,0.04,,,")
    assert json.loads((tmp_path / "out" / "frames.jsonl").read_text().splitlines()[1])["faces"] == []


class Failing(Nobody):
    def __init__(self, error: type[BaseException]) -> None:
        self.error, self.seen = error, 0

    def in_squares(self, image: np.ndarray, squares: Sequence, turns: Sequence[float] | None = None) -> list:
        self.seen += 1
        if self.seen == 3:
            raise self.error("stop")
        return super().in_squares(image, squares, turns)


def test_an_error_leaves_no_half_file_and_what_was_there_stays(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [picture(i) for i in range(6)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frames.csv").write_text("earlier")
    with pytest.raises(RuntimeError):
        predict_video(Failing(RuntimeError), path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["frames.csv"]
    assert (tmp_path / "out" / "frames.csv").read_text() == "earlier"


def test_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [picture(i) for i in range(6)])
    with pytest.raises(KeyboardInterrupt):
        predict_video(Failing(KeyboardInterrupt), path, tmp_path / "out")
    assert len(times(tmp_path / "out" / "overlay.mp4")) == 2
    assert len((tmp_path / "out" / "frames.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("base", [Fraction(1, 90000), Fraction(1001, 30000)])
def test_writes_odd_sizes_with_either_codec(tmp_path: Path, codec: str, base: Fraction) -> None:
    path = tmp_path / "clip.mp4"
    writer = VideoWriter(path, 51, 33, base=base, codec=codec)
    shown = [round(i * base / base) * base for i in (0, 3, 7)] if base.numerator > 1 else [0, Fraction(1, 30), 1]
    for i, time in enumerate(shown):
        writer.add(picture(i, 51, 33), float(time))
    writer.add(picture(3, 102, 66), float(shown[-1]) + 1)  # another size in the middle of a stream
    writer.close()
    with Video.open(path) as video:
        frames = list(video.frames())
    assert [frame.time for frame in frames[:3]] == pytest.approx([float(time) for time in shown], abs=1e-4)
    assert {frame.image.shape for frame in frames} == {(34, 52, 3)}
    np.testing.assert_allclose(frames[1].image[20:33, 30:51].mean(), 48, atol=4)


def test_an_impossible_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"70000×2 pixels.*cannot encode"):
        VideoWriter(tmp_path / "clip.mp4", 70000, 2, codec="mpeg4")


def test_a_missing_package_is_told_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lightning_modules.weights import WeightsError

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(WeightsError, match=r"pip install .*\[video\]"):
        Video.open("clip.mp4")

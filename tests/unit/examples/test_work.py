import csv
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from demo import computing, files, outside, samples, tables, video


def test_paths_stay_in_the_demos_directory(state):
    assert files.inside("models", "a.json") == state / "models" / "a.json"
    for parts in (("..", "x"), ("models", "../../x"), ("/etc/passwd",)):
        with pytest.raises(ValueError, match="outside the demo's directory"):
            files.inside(*parts)


def test_the_first_of_several_state_directories_is_used(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert str(files.root()) == "/var/lib/a/demo-files"
    # Nobody can import what a publisher uploads.
    assert not files.root().name.isidentifier()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(state):
    target = state / "out" / "x"
    with files.replacing(target) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in target.parent.iterdir()] == ["x"]
    assert target.read_text() == "old"


def test_a_sample_has_the_same_rows_on_every_host(state):
    first = samples.dataset("samples/events-1.csv").read_bytes()
    (state / "samples" / "events-1.csv").unlink()
    assert samples.dataset("samples/events-1.csv").read_bytes() == first
    assert samples.dataset("samples/events-2.csv").read_bytes() != first


@pytest.mark.parametrize(
    "path", ["samples/other.csv", "points-1.csv", "samples/points-1.txt", "samples/x/points-1.csv"]
)
def test_only_the_demos_own_datasets_are_made(path):
    with pytest.raises(FileNotFoundError):
        samples.dataset(path)


def test_training_finds_the_line_that_separates():
    points = [(x / 10, y / 10) for x in range(-9, 10) for y in range(-9, 10) if x != y]
    labels = [float(x > y) for x, y in points]
    model = computing.train(points, labels)
    assert model["accuracy"] > 0.98
    assert model["weights"][0] > 1 > -1 > model["weights"][1]
    assert computing.train(points, labels) == model


@pytest.mark.parametrize(("score", "probability"), [(0, 0.5), (1000, 1), (-1000, 0)])
def test_logistic_never_overflows(score, probability):
    assert computing.logistic(score) == pytest.approx(probability)


def test_columns_are_described():
    columns = {"a": [1.0, 2.0, 3.0, 4.0], "b": [8.0, 6.0, 4.0, 2.0], "c": [5.0, 5.0, 5.0, 5.0]}
    described = computing.describe(columns)
    assert described["a"] == {
        "count": 4,
        "mean": 2.5,
        "deviation": pytest.approx(1.118, abs=1e-3),
        "minimum": 1,
        "median": 2.5,
        "maximum": 4,
        "correlation": {"b": pytest.approx(-1), "c": 0},
    }


def test_a_ragged_table_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="zip"):
        computing.read_columns(path)


def decompress(data, depth):
    """GIF's LZW, read as the specification tells a decoder to."""
    clear, end = 1 << depth, (1 << depth) + 1
    bits = int.from_bytes(data, "little")
    width, out, previous, codes = depth + 1, bytearray(), b"", []
    while True:
        code = bits & (1 << width) - 1
        bits >>= width
        if code == end:
            return bytes(out)
        if code == clear:
            codes = [bytes([value]) for value in range(clear)] + [b"", b""]
            width, previous = depth + 1, b""
            continue
        entry = codes[code] if code < len(codes) else previous + previous[:1]
        if previous and len(codes) < 4096:
            codes.append(previous + entry[:1])
        if len(codes) == 1 << width and width < 12:
            width += 1
        out += entry
        previous = entry


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 4096, 20_000])
@pytest.mark.parametrize("shape", ["constant", "ramp", "noise"])
def test_what_is_compressed_can_be_decompressed(length, shape):
    pixels = {
        "constant": bytes(length),
        "ramp": bytes(i % 64 for i in range(length)),
        "noise": bytes(byte % 64 for byte in hashlib.shake_256(b"seed").digest(length)),
    }
    assert decompress(video.compress(pixels[shape]), video.DEPTH) == pixels[shape]


def test_a_video_has_its_frames():
    frames = list(video.draw(seed=3, width=16, height=8, frames=5))
    encoded = video.encode(frames, width=16, height=8)
    assert encoded.startswith(b"GIF89a\x10\x00\x08\x00")
    assert encoded.endswith(b"\x00\x3b")
    assert encoded.count(b"\x2c\x00\x00\x00\x00\x10\x00\x08\x00\x00") == 5
    assert len(set(frames)) == 5


def test_events_are_added_up_per_user_within_the_range(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("day,user,amount\n2025-01-01,b,1\n2025-01-02,a,2\n2025-01-03,b,3.5\n2025-01-04,b,9\n")
    assert tables.aggregate(path, "2025-01-01", "2025-01-03") == {
        "a": {"events": 1, "amount": 2},
        "b": {"events": 2, "amount": 4.5},
    }
    with pytest.raises(ValueError, match="before it begins"):
        tables.aggregate(path, "2025-01-03", "2025-01-01")


def content(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM events ORDER BY source, line").fetchall()


def test_an_import_that_is_repeated_changes_nothing(tmp_path):
    path, database = samples.dataset("samples/events-1.csv"), tmp_path / "x.sqlite"
    assert tables.import_csv(path, database, "one", batch=30) == 80
    assert tables.import_csv(path, database, "two", batch=80) == 80
    once = content(database)
    with path.open() as stream:
        assert [row[2:4] for row in once[:80]] == [tuple(row[:2]) for row in list(csv.reader(stream))[1:]]
    assert tables.import_csv(path, database, "one", batch=30) == 80
    assert content(database) == once


def test_an_import_that_was_cut_off_is_finished_by_the_next(tmp_path):
    path, database = tmp_path / "x.csv", tmp_path / "x.sqlite"
    path.write_text("day,user,amount\n" + "2025-01-01,a,1\n" * 25 + "2025-01-01,a,broken\n")
    with pytest.raises(ValueError, match="broken"):
        tables.import_csv(path, database, "x", batch=10)
    assert len(content(database)) == 20
    path.write_text("day,user,amount\n" + "2025-01-01,a,2\n" * 15)
    assert tables.import_csv(path, database, "x", batch=10) == 15
    assert [row[4] for row in content(database)] == [2] * 15


def test_a_copy_has_the_same_content(tmp_path):
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"x" * 3_000_000)
    assert outside.copy(source, target) == hashlib.sha256(source.read_bytes()).hexdigest()
    assert target.read_bytes() == source.read_bytes()
    assert outside.copy(source, target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/x"])
def test_only_http_is_requested(url):
    with pytest.raises(ValueError, match="no http"):
        outside.request_json(url, timeout=1)


@pytest.mark.parametrize("server", ["", "host:25", "http://host"])
def test_only_smtp_is_sent_to(server):
    with pytest.raises(ValueError, match="no smtp"):
        outside.send_mail(server, outside.EmailMessage(), timeout=1)


def test_the_requirements_are_locked_with_hashes_and_without_addresses():
    lock = (Path(samples.__file__).parents[1] / "requirements.lock").read_text()
    packages = [line for line in lock.splitlines() if "==" in line]
    assert "celery==5.7.0 \\" in packages
    assert all(line.endswith("\\") for line in packages)
    assert "://" not in lock and "index" not in lock
    assert lock.count("--hash=sha256:") >= len(packages)

"""Downloads from a server of our own that is good, slow, broken or lying."""

import contextlib
import hashlib
import http.server
import socket
import threading

import pytest

import data_files as files
from vilfredo.data import fashion_mnist, locate
from vilfredo.data.dataset import DataError
from vilfredo.data.download import Remote, fetch

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Answers(http.server.BaseHTTPRequestHandler):
    """What to do is the first part of the path; `server.log` keeps the ranges asked for."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        how = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.log.append(asked)
        body = CONTENT
        if how == "missing":
            self.send_error(404)
            return
        if how == "slow":
            self.server.wake.wait(300)
            return
        if how == "corrupt":
            body = b"x" + CONTENT[1:]
        start = 0
        if asked and how != "norange":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        rest = body[start:]
        if how != "nolength":
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if how == "stalls":
            self.wfile.write(rest[:1000])
            self.server.wake.wait(300)
        elif how == "breaks" or (how == "once" and len(self.server.log) == 1):
            self.wfile.write(rest[: len(rest) // 2] if how == "once" else rest[:1000])
        else:
            self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        server.log = []
        server.wake = threading.Event()
        server.at = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.wake.set()
        server.shutdown()
        thread.join()


def remote(server, *ways, digest=DIGEST):
    return Remote("a.bin", tuple(f"{server.at}/{way}/a.bin" for way in ways), digest)


def left(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.parametrize("way", ["good", "nolength", "norange"])
def test_a_good_answer_is_put_in_place(server, tmp_path, way):
    path = fetch(remote(server, way), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert left(tmp_path / "new") == ["a.bin"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch(remote(server, "good"), tmp_path)
    fetch(remote(server, "missing"), tmp_path)
    assert server.log == [None]


def test_a_dropped_connection_is_resumed_at_once(server, tmp_path):
    assert fetch(remote(server, "once"), tmp_path).read_bytes() == CONTENT
    assert server.log == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_truncated_answer_is_kept_for_the_next_call(server, tmp_path):
    with pytest.raises(DataError, match="it broke off after 3000 of 1024000 bytes"):
        fetch(remote(server, "breaks"), tmp_path)
    assert left(tmp_path) == [".a.bin.part"]
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.log[-1] == "bytes=3000-"


@pytest.mark.parametrize("way", ["good", "norange"])
def test_a_wrong_old_half_is_thrown_away(server, tmp_path, way):
    (tmp_path / ".a.bin.part").write_bytes(b"old" * 100)
    assert fetch(remote(server, way), tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == ["a.bin"]


def test_a_whole_old_part_is_accepted(server, tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError, match="damaged or not the published one"):
        fetch(remote(server, "corrupt"), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("way", "timeout", "message"),
    [
        ("missing", 60, "404 Not Found"),
        ("slow", 0.2, "nothing came for 0.2 seconds"),
        ("stalls", 0.2, "nothing came for"),
    ],
)
def test_bad_answers_are_one_clear_sentence(server, tmp_path, way, timeout, message):
    with pytest.raises(DataError, match=message) as caught:
        fetch(remote(server, way), tmp_path, timeout=timeout)
    assert str(tmp_path / "a.bin") in str(caught.value)  # where to put it by hand
    assert not (tmp_path / "a.bin").exists()


def test_offline_says_where_to_put_the_file(tmp_path, monkeypatch):
    resolve = socket.getaddrinfo

    def known(host, *args, **options):  # some networks answer for every name, or after minutes
        if host == "no-such-host.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    nobody = Remote("a.bin", ("http://127.0.0.1:9/a.bin", "http://no-such-host.invalid/a.bin"), DIGEST)
    with pytest.raises(DataError, match="no connection") as caught:
        fetch(nobody, tmp_path, timeout=60)
    assert f"get it by hand and put it at {tmp_path / 'a.bin'}" in str(caught.value)


def test_the_second_publisher_is_tried(server, tmp_path):
    assert fetch(remote(server, "missing", "good"), tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot keep the download"):
        fetch(remote(server, "good"), tmp_path / "file" / "below")


def test_two_at_once_fetch_it_once(server, tmp_path):
    threads = [threading.Thread(target=fetch, args=(remote(server, "good"), tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.log) == 1
    assert left(tmp_path) == ["a.bin"]


def test_the_bar_on_a_terminal(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fetch(remote(server, "good"), tmp_path)
    assert "Traceback" not in capsys.readouterr().err


def test_without_a_terminal_one_line_tells_of_it(server, tmp_path, capsys):
    fetch(remote(server, "good"), tmp_path)
    assert capsys.readouterr().err == f"downloading a.bin (1.0 MB) from {server.at}/good/a.bin\n"


def test_data_is_found_in_the_order_promised(server, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("VILFREDO_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    files.write_mnist(tmp_path / "here" / "fashion_mnist", train=60)
    files.write_mnist(tmp_path / "data" / "fashion_mnist", train=70)
    files.write_mnist(tmp_path / "cache" / "fashion_mnist", train=80)
    total = {"path": 60, "env": 70, "cache": 80}

    def count(**options):
        data = fashion_mnist.load(**options)
        return len(data.train) + len(data.validation)

    assert count(path=tmp_path / "here" / "fashion_mnist") == total["path"]
    assert count() == total["env"]
    for file in (tmp_path / "data" / "fashion_mnist").iterdir():
        file.unlink()
    assert count() == total["cache"]
    monkeypatch.delenv("VILFREDO_DATA")
    assert count() == total["cache"]


def test_what_is_nowhere_is_downloaded_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("VILFREDO_DATA", raising=False)
    path = locate.find("thing", ("a.bin",), remote(server, "good"))
    assert path == tmp_path / "cache" / "thing" / "a.bin"
    assert locate.find("thing", ("a.bin",), remote(server, "missing")) == path


def test_a_wrong_vilfredo_data_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("VILFREDO_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"VILFREDO_DATA is .* which is no folder"):
        fashion_mnist.load()


def test_the_cache_is_in_the_users_cache_directory(monkeypatch, tmp_path):
    with contextlib.suppress(NotImplementedError):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert locate.cache().name == "data"
        assert "vilfredo" in locate.cache().parts

import socket
import threading
import time
import urllib.error

import pytest

from xnas_ray.errors import DataMissingError
from xnas_ray.tasks import download


def test_an_unreachable_server_is_given_up_in_time(monkeypatch):
    def be_silent(*_, **__):
        time.sleep(60)
        raise TimeoutError

    monkeypatch.setattr(download, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(download.urllib.request, "urlopen", be_silent)
    assert download._unreachable("http://localhost") == "no answer in 0.2 s"


def test_a_refusal_is_the_reason(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    assert "Name or service not known" in str(download._unreachable("http://localhost"))
    with pytest.raises(DataMissingError, match=r"Name or service not known.*copy the folder here.*Or ask"):
        download.download("MNIST", "Or ask.")


def test_a_download_that_breaks_off_says_so_and_restores_the_timeout(monkeypatch, tmp_path):
    torchvision = pytest.importorskip("torchvision")

    def break_off(*_, **__):
        assert socket.getdefaulttimeout() == download.READ_TIMEOUT_S
        raise TimeoutError("timed out")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(download, "_unreachable", lambda url: None)
    monkeypatch.setattr(torchvision.datasets, "MNIST", break_off)
    with pytest.raises(DataMissingError, match="TimeoutError: timed out"):
        download.download("MNIST", "")
    assert socket.getdefaulttimeout() is None


def test_one_process_downloads_at_a_time(tmp_path):
    order = []

    def second():
        with download.locked(tmp_path / "lock"):
            order.append("second")

    with download.locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]

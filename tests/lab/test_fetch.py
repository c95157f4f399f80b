"""Data sets are fetched whole or not at all, from a server on this machine that may misbehave."""

from __future__ import annotations

import dataclasses
import fcntl
import gzip
import hashlib
import io
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import box_data
import numpy as np
import pytest
from file_server import Served, serving
from PIL import Image

from bevel_lab.cli import main
from bevel_lab.data import fetch as module
from bevel_lab.data.fetch import Origin, Remote, fetch, from_git, git_id
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, DataSet, camvid, load
from bevel_lab.datasets._masks import paired
from bevel_lab.datasets.wmt14 import Wmt
from bevel_lab.errors import LabError
from bevel_lab.registry import Registry

CONTENT = bytes(range(256)) * 3000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as served:
        yield served


def _md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def _tar(files: dict[str, bytes], packing: str = "gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packing}") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _zip(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()


def _plain(server: Served, content: bytes = CONTENT) -> Origin:
    server.files.setdefault("numbers.bin", content)
    return Origin((Remote(f"{server.address}/numbers.bin", _md5(CONTENT)),), ("numbers.bin",), "a few")


def _names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_everything_is_unpacked_into_place_and_fetched_once(server: Served, tmp_path: Path) -> None:
    server.files = {
        "set.tar.gz": _tar({"set/a.txt": b"a", "set/deep/b.txt": b"b"}),
        "labels.gz": gzip.compress(b"1 2 3"),
        "plain.mat": b"matrix",
    }
    files = (
        Remote(f"{server.address}/set.tar.gz", _md5(server.files["set.tar.gz"])),
        Remote(f"{server.address}/labels.gz", f"sha256:{hashlib.sha256(server.files['labels.gz']).hexdigest()}", "raw"),
        Remote(f"{server.address}/plain.mat", "git:" + _blob(b"matrix")),
    )
    origin = Origin(files, ("set/a.txt", "raw/labels"), "")
    seen: list[tuple[str, int, int]] = []
    assert fetch(origin, tmp_path, progress=lambda *told: seen.append(told))
    assert _names(tmp_path) == ["plain.mat", "raw/labels", "set/a.txt", "set/deep/b.txt"]
    assert (tmp_path / "raw/labels").read_bytes() == b"1 2 3"
    assert seen[-1] == ("plain.mat", 6, 6)
    assert not fetch(origin, tmp_path)
    assert len(server.asked) == 3, "what is there is not asked for again"
    assert fetch(origin, tmp_path, again=True)
    assert len(server.asked) == 6
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.mark.parametrize("parts", [True, False])
def test_a_cut_download_goes_on_where_it_was(server: Served, tmp_path: Path, parts: bool) -> None:
    origin = _plain(server)
    server.cut, server.parts = 300_000, parts
    with pytest.raises(
        LabError, match=r"the connection ended after 300000 of 768000 bytes\); try again, which goes on"
    ):
        fetch(origin, tmp_path)
    assert not origin.is_in(tmp_path)
    server.cut = 0
    assert fetch(origin, tmp_path)
    assert server.asked[1] == ("numbers.bin", "bytes=300000-")
    assert server.given == len(CONTENT) + (0 if parts else 300_000), "a server that cannot give a part gives the whole"
    assert (tmp_path / "numbers.bin").read_bytes() == CONTENT


def test_a_damaged_file_is_deleted_and_fetched_anew(server: Served, tmp_path: Path) -> None:
    origin = _plain(server, CONTENT[:-1] + b"!")
    with pytest.raises(
        LabError, match=r"numbers.bin is damaged \(its md5 is \w{32}, not \w{32}\); it was deleted: fetch"
    ):
        fetch(origin, tmp_path)
    assert not _names(tmp_path)
    server.files["numbers.bin"] = CONTENT
    assert fetch(origin, tmp_path)


def test_a_whole_part_of_a_killed_run_is_not_read_again(server: Served, tmp_path: Path) -> None:
    (tmp_path / module.DOWNLOADS).mkdir()
    (tmp_path / module.DOWNLOADS / "numbers.bin.part").write_bytes(CONTENT)
    assert fetch(_plain(server), tmp_path)
    assert (server.given, (tmp_path / "numbers.bin").read_bytes()) == (0, CONTENT)


def test_what_is_absent_or_offline_is_one_line_with_ways_out(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = _plain(server)
    del server.files["numbers.bin"]
    ways = (
        rf"try again, .* put the file at {tmp_path}/numbers.bin, or name a copy's address with `bevel data fetch --mirr"
    )
    with pytest.raises(LabError, match=rf"could not fetch http://.*/numbers.bin \(HTTP 404: Not Found\); {ways}"):
        fetch(origin, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(LabError, match=rf"could not fetch {closed}/numbers.bin \(.*refused\); {ways}"):
        fetch(origin, tmp_path, mirror=closed)
    with pytest.raises(LabError, match=r"unknown url type"):
        fetch(origin, tmp_path, mirror="my/copies")
    server.files["numbers.bin"], server.sleep = CONTENT, 2.0
    monkeypatch.setattr(module, "WAIT", 0.2)
    with pytest.raises(LabError, match=r"numbers.bin \(timed out\); try again"):
        fetch(origin, tmp_path)


def test_other_addresses_are_tried_and_a_mirror_takes_their_place(server: Served, tmp_path: Path) -> None:
    server.files = {"good/numbers.bin": CONTENT, "mirror/raw/numbers.bin": CONTENT}
    file = Remote(f"{server.address}/gone/numbers.bin", _md5(CONTENT), "raw", (f"{server.address}/good/numbers.bin",))
    origin = Origin((file,), ("raw/numbers.bin",), "")
    assert fetch(origin, tmp_path / "a")
    assert fetch(origin, tmp_path / "b", mirror=f"{server.address}/mirror/")
    assert [path for path, _ in server.asked] == ["gone/numbers.bin", "good/numbers.bin", "mirror/raw/numbers.bin"]
    copies = tmp_path / "copies" / "raw"
    copies.mkdir(parents=True)
    (copies / "numbers.bin").write_bytes(CONTENT)
    assert fetch(origin, tmp_path / "c", mirror=f"file://{copies.parent}")
    assert (tmp_path / "c/raw/numbers.bin").read_bytes() == CONTENT


def test_an_archive_that_lies_there_is_taken_and_stays(server: Served, tmp_path: Path) -> None:
    packed = _tar({"set/a.txt": b"a"})
    origin = Origin((Remote(f"{server.address}/set.tgz", _md5(packed)),), ("set/a.txt",), "")
    (tmp_path / "set.tgz").write_bytes(packed[:-2])
    with pytest.raises(LabError, match=r"set.tgz is damaged \(.*\); delete it and fetch it again"):
        fetch(origin, tmp_path)
    (tmp_path / "set.tgz").write_bytes(packed)
    assert fetch(origin, tmp_path)
    assert (_names(tmp_path), server.asked) == (["set.tgz", "set/a.txt"], [])


@pytest.mark.parametrize("name", ["../outside.txt", "{tmp}/outside.txt", "set/../../outside.txt"])
def test_an_archive_cannot_write_beside_its_folder(server: Served, tmp_path: Path, name: str) -> None:
    name = name.format(tmp=tmp_path)
    server.files["set.tar"] = _tar({"set/a.txt": b"a", name: b"evil"}, "")
    origin = Origin((Remote(f"{server.address}/set.tar", _md5(server.files["set.tar"])),), ("set/a.txt",), "")
    if name.startswith("/"):
        fetch(origin, tmp_path / "root")  # the slash is taken off
    else:
        with pytest.raises(LabError, match=r"set\.tar is damaged"):
            fetch(origin, tmp_path / "root")
    assert not (tmp_path / "outside.txt").exists()


def test_nothing_is_in_place_before_all_is_prepared(server: Served, tmp_path: Path) -> None:
    origin = _plain(server)

    def stop(stage: Path) -> None:
        assert _names(stage) == ["numbers.bin"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(dataclasses.replace(origin, prepare=stop), tmp_path)
    assert _names(tmp_path) == [f"{module.DOWNLOADS}/numbers.bin"]
    with pytest.raises(LabError, match=r"what was fetched has no other.bin; its origin has changed"):
        fetch(dataclasses.replace(origin, makes=("other.bin",)), tmp_path)
    assert fetch(origin, tmp_path)
    assert len(server.asked) == 1


def test_two_do_not_write_one_file(server: Served, tmp_path: Path) -> None:
    part = tmp_path / module.DOWNLOADS / "numbers.bin.part"
    part.parent.mkdir()
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LabError, match=r"another process is fetching numbers.bin; wait for it"):
            fetch(_plain(server), tmp_path)


@pytest.mark.process
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not on this machine")
def test_a_folder_of_a_project_is_what_its_commit_says(server: Served, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("Data/a/1.txt", "Data/a.b/2.txt", "Data/a", "Data/ä.txt", "other.txt"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(name)

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", project, *who, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    commit, tree = git("rev-parse", "HEAD", "HEAD:Data").split()
    assert git_id(project / "Data") == tree
    packed = tmp_path / "copies" / f"project-{commit}.zip"
    packed.parent.mkdir()
    git("archive", "--format=zip", f"--prefix=project-{commit}/", "-o", str(packed), "HEAD")
    origin = from_git("somebody/project", commit, "Data", tree, ("Data/a/1.txt",), "")
    assert origin.files[0].url == f"https://github.com/somebody/project/archive/{commit}.zip"
    assert fetch(origin, tmp_path / "root", mirror=f"file://{packed.parent}")
    assert _names(tmp_path / "root") == ["Data/a.b/2.txt", "Data/a/1.txt", "Data/ä.txt"]
    wrong = from_git("somebody/project", commit, "Data", "0" * 40, ("Data/a/1.txt",), "")
    with pytest.raises(LabError, match=rf"project-{commit}.zip is damaged \(git's id of Data is {tree}, not 0{{40}}\)"):
        fetch(wrong, tmp_path / "other", mirror=f"file://{packed.parent}")
    assert not _names(tmp_path / "other")


# ---------------------------------------------------------------------------------------------- the data sets' origins


def test_checksums_and_addresses_are_those_that_packages_publish() -> None:
    import sacrebleu.dataset
    import torchvision.datasets as theirs

    def published(name: str) -> dict[str, str]:
        origin = DATASETS[name].origin
        assert isinstance(origin, Origin)
        return {url: file.digest for file in origin.files for url in (file.url, *file.mirrors)}

    for name, kind in (("mnist", theirs.MNIST), ("fashion_mnist", theirs.FashionMNIST)):
        assert published(name) == {
            f"{host}{file}": f"md5:{md5}" for host in kind.mirrors for file, md5 in kind.resources
        }
    for name, kind in (("cifar10", theirs.CIFAR10), ("cifar100", theirs.CIFAR100)):
        assert published(name) == {kind.url: f"md5:{kind.tgz_md5}"}
        ours = sys.modules[f"bevel_lab.datasets.{name}"].__dict__[name.upper()]
        assert [*ours.train.items(), *ours.test.items()] == [tuple(e) for e in (*kind.train_list, *kind.test_list)]
    parts = (theirs.SVHN.split_list[part] for part in ("train", "test"))
    assert published("svhn") == {url: f"md5:{md5}" for url, _, md5 in parts}
    archives = theirs.voc.DATASET_YEAR_DICT
    wanted = {archives[year]["url"]: f"md5:{archives[year]['md5']}" for year in ("2007", "2007-test", "2012")}
    assert wanted.items() <= published("voc0712").items()
    assert published("voc2012").keys() <= published("voc0712").keys() > published("voc2007").keys()
    for name in ("wmt13", "wmt14/full"):
        news = sacrebleu.dataset.DATASETS[name]
        (url,), (md5,) = news.data, news.md5
        assert published("wmt14")[url.replace("//statmt", "//www.statmt")] == f"md5:{md5}"


def test_every_data_set_says_where_it_comes_from() -> None:
    shipped: Registry[DataSet] = Registry("bevel_lab.datasets", "data set")  # other tests register their own
    for name, entry in shipped.items():
        if isinstance(entry, DataSet) and name != "digits" and entry.task != "pde":  # of a package, and made
            assert entry.origin, name
        if isinstance(entry, DataSet) and isinstance(entry.origin, Origin):
            assert entry.origin.about
            verified = all(file.digest for file in entry.origin.files) or "github" in entry.origin.files[0].url
            assert verified, name


def _local(name: str, server: Served, contents: dict[str, bytes]) -> Origin:
    """The origin of a data set with these contents under its files' names, which are not the originals."""
    origin = DATASETS[name].origin
    assert isinstance(origin, Origin)
    files = []
    for file in origin.files:
        place = f"{file.into}/{file.name}".lstrip("/")
        server.files[place] = contents[file.name]
        files.append(dataclasses.replace(file, digest=_md5(contents[file.name])))
    return dataclasses.replace(origin, files=tuple(files))


def test_wmt_is_made_of_its_five_archives(server: Served, tmp_path: Path) -> None:
    def texts(stem: str, count: int) -> dict[str, bytes]:
        return {f"{stem}.de-en.{end}": f"{stem} {end}\n".encode() * count for end in ("en", "de")}

    def news(*names: str) -> dict[str, bytes]:
        page = '<srcset>\n<doc docid="1">\n<seg id="1">Fish &amp; chips</seg>\n<seg id="2"> two  words </seg>\n</doc>'
        return {name: page.encode() for name in names}

    contents = {
        "training-parallel-europarl-v7.tgz": _tar(texts("training/europarl-v7", 3) | {"training/x.fr": b"x"}),
        "training-parallel-commoncrawl.tgz": _tar(texts("commoncrawl", 2) | {"other": b""}),
        "training-parallel-nc-v9.tgz": _tar(texts("training/news-commentary-v9", 1)),
        "test.tgz": _tar(news("test/newstest2013-src.en.sgm", "test/newstest2013-src.de.sgm")),
        "test-full.tgz": _tar(news("test-full/newstest2014-deen-src.en.sgm", "test-full/newstest2014-deen-ref.de.sgm")),
    }
    assert fetch(_local("wmt14", server, contents), tmp_path, mirror=server.address)
    assert _names(tmp_path) == [
        f"wmt14/{name}.{end}" for name in ("newstest2013", "newstest2014", "train") for end in ("de", "en")
    ]
    parts = (("train",), ("newstest2013",), ("newstest2014",))
    data = Wmt("wmt14", parts, 6).load(Source(tmp_path))
    assert list(data.train.target) == [
        *["training/europarl-v7 de"] * 3, *["commoncrawl de"] * 2, "training/news-commentary-v9 de"
    ]  # fmt: skip
    assert list(data.test.source) == ["Fish & chips", "two words"]


def test_boxes_come_out_of_their_archives_as_they_are_read(server: Served, tmp_path: Path) -> None:
    whole = box_data.write_coco(tmp_path / "whole")
    for part in ("train2017", "val2017"):
        (tmp_path / part).mkdir()
        shutil.copytree(whole / part, tmp_path / part / part)
    (tmp_path / "notes").mkdir()
    shutil.copytree(whole / "annotations", tmp_path / "notes" / "annotations")
    contents = {f"{part}.zip": _zip(tmp_path / part) for part in ("train2017", "val2017")}
    contents["annotations_trainval2017.zip"] = _zip(tmp_path / "notes")
    assert fetch(_local("coco", server, contents), tmp_path / "root", mirror=server.address)
    folder = tmp_path / "root" / "coco"
    assert load(f"folder_coco:{folder}", Source()).facts == load(f"folder_coco:{whole}", Source()).facts


def test_half_of_camvid_is_every_second_image_at_half_size(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 4, 6, 3), np.uint8)
    labels = draw.integers(0, 12, (6, 4, 6), np.uint8)
    for part in ("train", "val", "test"):
        for kind, pictures in ((part, pixels), (f"{part}annot", labels)):
            folder = tmp_path / "CamVid" / kind
            folder.mkdir(parents=True)
            for i, picture in enumerate(pictures):
                Image.fromarray(picture).save(folder / f"{i}.png")
    camvid.halved(tmp_path)
    half = tmp_path / "camvid_half"
    assert not (tmp_path / "CamVid").exists()
    pairs = paired(half / "train", half / "trainannot", InvalidSamples(False, half))
    assert [pair.image.stem for pair in pairs] == ["0", "2", "4"]
    means = pixels[2].reshape(2, 2, 3, 2, 3).mean((1, 3))
    assert np.array_equal(np.array(Image.open(pairs[1].image)), np.floor(means + 0.5))
    assert np.array_equal(np.array(Image.open(pairs[1].mask)), labels[2][::2, ::2])


# --------------------------------------------------------------------------------------------------- the command line


def test_the_command_line_fetches_verifies_and_says_where(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = "https://raw.githubusercontent.com/"
    assert main(["data", "list", "multi30k", "imagenet", "digits", "--root", str(tmp_path)]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["multi30k"].strip().startswith("to fetch: 1.3 MB")
    assert lines["imagenet"].strip().startswith("by hand: get ILSVRC2012_devkit_t12.tar.gz")
    origin = DATASETS["multi30k"].origin
    assert isinstance(origin, Origin)
    assert all(file.url.startswith(raw) for file in origin.files)
    for file in origin.files:
        server.files[f"multi30k/{file.name}"] = gzip.compress(b"One.\n")
    command = ["data", "fetch", "multi30k", "--root", str(tmp_path), "--mirror", server.address]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2, "how far it is, and one line"
    assert "multi30k-train.en.gz is damaged (its git is" in error[1], "a mirror cannot give other files"


def test_a_data_set_is_fetched_only_when_that_is_asked(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(source: Source) -> bytes:
        return (source.root / "numbers.bin").read_bytes()

    entry = DataSet("numbers", read, origin=_plain(server))
    monkeypatch.setattr(DATASETS, "item", lambda name: entry)
    with pytest.raises(FileNotFoundError):
        load("numbers", Source(tmp_path))
    assert not server.asked
    assert load("numbers", Source(tmp_path, download=True)) == CONTENT


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["fetch"], "name what to fetch, such as `bevel data fetch mnist`"),
        (["fetch", "imagenet"], "imagenet cannot be fetched (by hand: get ILSVRC2012_devkit"),
        (["fetch", "digits"], "digits cannot be fetched (nothing to fetch: it comes with a package or is made)"),
        (["fetch", "folder:photos"], "folder:photos cannot be fetched (your own: folder:PATH)"),
        (["fetch", "mnits"], "unknown data set 'mnits'; did you mean 'mnist'?"),
        (["get", "mnist"], "action must be one of list, fetch; got 'get'; `bevel data --help` tells more."),
    ],
)
def test_what_cannot_be_fetched_is_one_line(words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line

"""A user's own clips: ``PATH/{train,test}/CLASS/CLIP`` (or ``val``), a clip being a video file or a folder of frames.

The model sees eight frames of a clip. If the first clip has at most 64 pixels a side, all clips must have its size;
larger clips are scaled and cropped to 224×224. If invalid clips are skipped, the size that most training clips have
takes the place of the first clip's. Clips are never mirrored: a movement to the left may be another class than one to
the right.
"""

from __future__ import annotations

from pathlib import Path

from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.data.video import Clips
from bevel_lab.data.video.decode import FILES, PICTURES, frames_in_folder
from bevel_lab.data.video.from_files import ClipFiles
from bevel_lab.datasets._listing import check_classes, check_forms, inside
from bevel_lab.datasets._own import own, part_to_test
from bevel_lab.errors import LabError


def _load(path: Path, source: Source) -> Clips:
    if not (path / "train").is_dir():
        raise LabError(f"{path} has no folder train; put clips into train/CLASS and test/CLASS.")
    test = part_to_test(path)
    invalid = InvalidSamples(source.skip_invalid, path)
    classes = [folder.name for folder in inside(path / "train") if folder.is_dir()]
    check_classes(path / "train", classes)
    train, unseen = _listed(path, "train", classes, invalid), _listed(path, test, classes, invalid)
    return ClipFiles(path, {"train": train, "test": unseen}, classes, invalid)


def _listed(root: Path, part: str, classes: list[str], invalid: InvalidSamples) -> list[tuple[str, int]]:
    """(path below ``root``, class) of every clip of a part, in order."""
    found: list[tuple[str, int]] = []
    for folder in inside(root / part):
        if not folder.is_dir():
            invalid.add(f"{folder} lies beside the folders of the classes", "move it away")
            continue
        if folder.name not in classes:
            check_forms(folder, [folder.name, *classes])
            raise LabError(f"{folder} is of no class of the training part ({', '.join(classes)}); move it away.")
        for clip in inside(folder):
            if clip.is_dir() or clip.suffix.lower() in FILES:
                found.append((str(clip.relative_to(root)), classes.index(folder.name)))
                for other in frames_in_folder(clip)[1] if clip.is_dir() else ():
                    invalid.add(
                        f"{other} lies among the frames of a clip and is none ({', '.join(PICTURES)})", "move it away"
                    )
            else:
                invalid.add(f"{clip} is neither a clip ({', '.join(FILES)}) nor a folder of frames", "move it away")
    missing = sorted(set(range(len(classes))) - {label for _, label in found})
    if missing or not found:
        raise LabError(f"{root / part / classes[missing[0]] if missing else root / part} has no clip; add some.")
    return found


ENTRIES = {"folder_clips": own("folder_clips", "clips", "PATH/{train,test}/CLASS/clip.mp4", _load, "video")}

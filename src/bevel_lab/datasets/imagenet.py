"""ImageNet (ILSVRC 2012) in torchvision's layout: ``imagenet/{train,val}/WNID/*.JPEG`` and ``imagenet/meta.bin``.

torchvision unpacks the three archives into it, verified by their checksums, where they lie in the folder instead.
Without the archives or ``meta.bin``, ``folder:PATH`` reads the same pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.images import LabeledFiles, LabeledImageFiles
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_counts, check_folder
from bevel_lab.datasets._listing import files_of, in_class
from bevel_lab.datasets._origins import origin
from bevel_lab.errors import LabError, first_line

_VALIDATION = re.compile(r"ILSVRC2012_val_(\d+)")


@dataclass(frozen=True)
class ImageNet:
    """Numbers of classes and images that must be there: nothing else tells a part from the whole."""

    classes: int
    train: int
    test: int

    def load(self, source: Source) -> LabeledImageFiles:
        """List the files; raises ``LabError`` naming what is missing, empty, or of no known or of another class."""
        root = source.root / "imagenet"
        check_folder(root, "ImageNet cannot be downloaded without an account: put its archives there")
        known, truth = self._known(root)
        train, names = files_of(root / "train")
        test, others = files_of(root / "val", names)
        for name in sorted({*names, *others} - known):
            raise LabError(f"{root / 'train' / name} is of no class in {root / 'meta.bin'}; delete it.")
        for files in (train, test):
            _in_classes(files, truth)
        found = {"classes": len(names), "training images": len(train), "validation images": len(test)}
        check_counts(root, found, (self.classes, self.train, self.test), f"name the part folder:{root}")
        return LabeledImageFiles(train, test, classes=self.classes)

    def _known(self, root: Path) -> tuple[set[str], list[str]]:
        """The class names, and the class of every validation picture in the order of their numbers, from ``meta.bin``.

        torchvision unpacks what is missing.
        """
        from torchvision.datasets import imagenet

        try:
            if not (root / "meta.bin").is_file():
                imagenet.parse_devkit_archive(str(root))
            if not (root / "train").is_dir():
                imagenet.parse_train_archive(str(root))
            if not (root / "val").is_dir():
                imagenet.parse_val_archive(str(root))
            classes, truth = imagenet.load_meta_file(str(root))
            return set(classes), list(truth)
        except Exception as error:  # what torch.load raises for a damaged file is not said
            raise LabError(
                f"{root} is not in torchvision's layout ({first_line(error)}); without its archives, read it as "
                f"folder:{root}."
            ) from error


def _in_classes(files: LabeledFiles, truth: list[str]) -> None:
    """Raise where a file's name says another class than its folder: by a class's id, or a validation file's number."""
    for name in files.names:
        path = files.root / name
        wnid = Path(name).parts[0]
        in_class(path, wnid)
        numbered = _VALIDATION.match(path.name)
        if numbered and not 0 < int(numbered[1]) <= len(truth):
            raise LabError(f"{path} has no class in meta.bin, which knows {len(truth)} validation pictures; delete it.")
        if numbered and truth[int(numbered[1]) - 1] != wnid:
            right = truth[int(numbered[1]) - 1]
            raise LabError(f"{path} is of {right} by meta.bin and of {wnid} by its folder; move it, or unpack again.")


ENTRIES = {
    "imagenet": DataSet(
        "1,281,167 + 50,000 photographs at 224×224, 1,000 classes, from files; the original archives",
        ImageNet(1000, 1_281_167, 50_000).load,
        origin=origin("imagenet"),
    )
}

"""The folder of an experiment: ``experiment.json`` describes it, and TOML files keep the requests that made it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

from bevel_lab.errors import LabError
from bevel_lab.experiment.arm import DEFAULTS, Arm
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.trial import renamed
from bevel_lab.experiment.tuning import Tuning
from bevel_lab.runtime import atomic_file

FILE = "experiment.json"
FORMAT = 2


def read(folder: Path) -> Experiment | None:
    """Read the folder's experiment; return None if there is none.

    Raises:
        LabError: if the file cannot be understood.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"it is no JSON object but {data!r:.40}")
        if data.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}; use the bevel that wrote it")
        data.pop("protocol", "")  # older versions wrote the name of the protocol
        data["arms"] = tuple(Arm(**one | {"changes": renamed(one["changes"])}) for one in data["arms"])
        data["cells"] = tuple((dataset, model) for dataset, model in data["cells"])
        # an older version did not know all fields of today; their defaults are what it did
        data["recipe"] = DEFAULTS | renamed(data["recipe"])
        data["tuning"] = Tuning(**data["tuning"]) if data["tuning"] else None
        return Experiment(**data)
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise LabError(f"{path} cannot be read (it lacks {error}); move it away, or choose another folder.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LabError(f"{path} cannot be read ({error}); move it away, or choose another folder.") from error


def write(folder: Path, experiment: Experiment) -> None:
    """Write ``experiment`` into the folder."""
    data = {"format": FORMAT} | dataclasses.asdict(experiment)
    atomic_file.write(folder / FILE, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def merge(folder: Path, asked: Experiment) -> Experiment:
    """Add the arms, cells and seeds of ``asked`` to the folder's experiment. The caller must hold the folder's ledger.

    Returns:
        The folder's experiment, with what is new.

    Raises:
        LabError: if the folder's experiment has another recipe, reference, device or tuning; says what differs.
    """
    stored = read(folder)
    if stored is None:
        write(folder, asked)
        return asked
    if pairs := stored.differences(asked):
        words = "; ".join(f"{key} is {there!r} there and {here!r} here" for key, there, here in pairs)
        raise LabError(f"{folder} holds another experiment ({words}); choose another --out.")
    merged = stored.merge(asked)
    if merged != stored:
        write(folder, merged)
    return merged


def keep_request(folder: Path, text: str) -> None:
    """Write the TOML text of a request into the folder, unless the folder has the same text already."""
    kept = requests(folder)
    if text.encode() not in (path.read_bytes() for path in kept):
        atomic_file.write(folder / f"experiment{f'-{len(kept) + 1}' if kept else ''}.toml", text.encode())


def requests(folder: Path) -> list[Path]:
    """Return the TOML files of the folder's requests in order; folders of older versions have none."""
    found = [*folder.glob("experiment.toml"), *folder.glob("experiment-[0-9]*.toml")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def command(folder: Path) -> str:
    """Return the shell commands that repeat the folder's requests, a line each; "" if it has none."""
    return "\n".join(shlex.join(["bevel", "run", str(path), "--out", str(folder)]) for path in requests(folder))

"""Writes docs/evidence*.md from the records in evidence/, all but evidence-short.md: python docs/evidence_page.py"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bevel_lab.execution.results import Results
from bevel_lab.experiment import settings
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.report import Judgement, judge
from bevel_lab.report.analysis import beside
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.analysis.pairs import Pair, judge_pairs
from bevel_lab.report.statistics import comparison
from bevel_lab.report.statistics.comparison import Comparison, Verdict
from bevel_lab.report.text import findings, pairs, words
from bevel_lab.report.text.tables import escaped

COMMAND = "python docs/evidence_page.py"
RESNET, PDE, SHIPPING = "resnet8-cifar10", "pde", "smooth-to-hard"
ALTERNATIONS = ("alternation", "alternation-no-momentum")
"""Experiments on one network, which are judged together."""
CELLS = (RESNET, "lenet-fashion", "cnn-fashion", "shufflenet-cifar100")
"""Experiments whose reference is ReLU, and which make one report."""
FILES = {name: f"evidence-{name}" for name in (*CELLS[:3], *ALTERNATIONS, CELLS[3])}
FILES |= {PDE: "small-pde", SHIPPING: SHIPPING}
"""Records in evidence/ → their file in experiments/."""
SEEDS = 10
SMOOTH = (("sau:n=5", "sau"), ("gelu", "relu"), ("smooth_frelu", "frelu"))
"""Smooth activations, each with what it smooths, or with the kinked one it takes the place of."""
TURNS = (
    ("At equal epochs", "frelu@alternate=step", "frelu"),
    ("At equal epochs", "frelu@alternate=epoch", "frelu"),
    ("At equal updates of the weights", "frelu@alternate=step,epochs=12", "frelu"),
    ("At equal updates of the weights", "frelu@alternate=epoch,epochs=12", "frelu"),
    ("Lengthening alone", "frelu@epochs=12", "frelu"),
    ("At equal length, twice the epochs", "frelu@alternate=step,epochs=12", "frelu@epochs=12"),
    ("At equal length, twice the epochs", "frelu@alternate=epoch,epochs=12", "frelu@epochs=12"),
    ("Without momentum at equal epochs", "frelu@alternate=step,momentum=0", "frelu@momentum=0"),
    (
        "Without momentum at equal updates of the weights",
        "frelu@alternate=step,epochs=12,momentum=0",
        "frelu@momentum=0",
    ),
    (
        "Without momentum at equal length, twice the epochs",
        "frelu@alternate=step,epochs=12,momentum=0",
        "frelu@epochs=12,momentum=0",
    ),
    ("Momentum left out alone", "frelu@momentum=0", "frelu"),
)
WAYS = {
    "relu": "ReLU from the start",
    "silu@ship=relu": "SiLU, replaced at the end",
    "silu@ship=relu:0.25": "SiLU, replaced, the last quarter of the epochs after it",
    "gate:kernel=logistic@sharpness=1:1000,ship=harden": "a gate that grows sharp, hardened",
}
"""Arms of the experiment on shipping, in words."""


@dataclass(frozen=True)
class Found:
    """What is known of an experiment: its description, and its records so far."""

    name: str
    experiment: Experiment
    results: Results

    @property
    def command(self) -> str:
        data = " --data-root DATA" if self.name != PDE else f" --seeds {SEEDS}"
        return f"bevel run experiments/{FILES[self.name]}.toml{data}"

    @property
    def asked(self) -> int:
        return SEEDS * len(self.experiment.arms) * len(self.experiment.cells)

    @property
    def whole_seeds(self) -> int:
        """Number of seeds that all arms have in all cells."""
        counts = [sum(r.trial.seed == seed for r in self.results.records) for seed in range(SEEDS)]
        return counts.count(self.asked // SEEDS)

    @property
    def whole(self) -> bool:
        return self.whole_seeds == SEEDS


def read(root: Path) -> dict[str, Found]:
    """Read the experiments and what records there are."""
    found = {}
    for name, file in FILES.items():
        experiment = settings.resolve(settings.read(root / "experiments" / f"{file}.toml"))
        path = root / "evidence" / f"{name}.jsonl"
        found[name] = Found(name, experiment, Results.read(path) if path.is_file() else Results([]))
    return found


def judged(parts: Sequence[Found]) -> Judgement | None:
    """Judge the records of those experiments together that have all of their seeds; None where there are none.

    How many seeds an experiment has was named before it ran. A part of them would be a look ahead, and in an average
    over cells it would leave the others no more seeds than it has.
    """
    whole = [part for part in parts if part.whole]
    if not whole:
        return None
    records = [record for part in whole for record in part.results.records]
    classes = {digest: found for part in whole for digest, found in part.results.classes.items()}
    first = whole[0].experiment
    return judge(records, first.reference, first.margin, classes)


# --------------------------------------------------------------------------------------------------------- the answers


Asked = Sequence[tuple[str, str]]


def _ran(cells: Sequence[Cell], asked: Asked) -> list[tuple[str, str]]:
    """The pairs of which some cell has both."""
    there = [{arm.name for arm in cell.arms} for cell in cells]
    return [pair for pair in asked if any(set(pair) <= names for names in there)]


@dataclass(frozen=True)
class Answer:
    """A sentence, and what it rests on."""

    sentence: str
    details: list[str]


def equivalence(judgement: Judgement) -> Answer:
    asked = _ran(judgement.cells, [("sau", "prelu:init=0.15")])
    made = [pairs.answer(pair) for pair in judge_pairs(judgement.cells, asked)]
    return Answer(made[0], made[1:]) if made else Answer("One of the two has not run.", [])


def alternation(judgement: Judgement) -> Answer:
    when = {(arm, other): text for text, arm, other in TURNS}
    found = judge_pairs(judgement.cells, _ran(judgement.cells, list(when)))
    verdicts: dict[str, dict[Verdict, list[str]]] = {}
    for pair in found:
        if "alternate=" in pair.arm:
            by = verdicts.setdefault(when[pair.arm, pair.other], {}).setdefault(pair.whole.verdict, [])
            by.append(f"by {pair.arm.partition('alternate=')[2].partition(',')[0]}")
    said = [
        f"{time[0].lower()}{time[1:]} " + ", ".join(f"{verdict} ({words.listing(how)})" for verdict, how in by.items())
        for time, by in verdicts.items()
    ]
    details = [f"{when[pair.arm, pair.other]}: {pairs.answer(pair)}" for pair in found]
    return Answer(f"Alternation against none: {'; '.join(said)}.", details)


def smoothness(judgement: Judgement) -> Answer:
    """Say for each smooth arm which measures differ from those of its kinked counterpart; Holm over all of them."""
    measured = [found for cell in judgement.cells for found in beside.measures(cell)]
    made = []
    for key in dict.fromkeys(found.metric.key for found in measured):
        cells = [found for found in measured if found.metric.key == key]
        made += judge_pairs(cells, _ran(cells, SMOOTH))
    family = comparison.as_family([pair.whole for pair in made])
    known = [replace(pair, whole=whole) for pair, whole in zip(made, family, strict=True)]
    by_pair = {names: [pair for pair in known if (pair.arm, pair.other) == names] for names in SMOOTH}
    details = [_smooth(judgement, *names, found) for names, found in by_pair.items() if found]
    better, worse = (sum(c.verdict is v for c in family) for v in (Verdict.BETTER, Verdict.WORSE))
    return Answer(
        f"Of {len(family)} comparisons of a measure, smooth activations are better in {better} and worse in {worse}.",
        details,
    )


def _smooth(judgement: Judgement, arm: str, other: str, found: Sequence[Pair]) -> str:
    by = {v: [pair for pair in found if pair.whole.verdict is v] for v in Verdict}
    parts = []
    for verdict in (Verdict.BETTER, Verdict.WORSE):
        if by[verdict]:
            sizes = [f"{p.metric.name} ({words.change(p.whole.difference, p.metric)} points)" for p in by[verdict]]
            parts.append(f"{verdict} in {words.listing(sizes)}")
    rest = [pair.metric.name for pair in found if not pair.whole.verdict.differs]
    if rest:
        few = by[Verdict.TOO_FEW]
        parts.append(f"{'too few seeds' if few else 'no evidence'} in {words.listing(rest)}")
    return f"{arm} against {other}: {'; '.join(parts)}{_churn(judgement, arm, other)}."


def _churn(judgement: Judgement, arm: str, other: str) -> str:
    said = []
    for cell in judgement.cells:
        found = {one.arm: one for one in beside.churns(cell, judgement.classes or {})}
        if {arm, other} <= found.keys():
            shares = [f"{words.number(100 * found[name].share)} %{_span(found[name])}" for name in (arm, other)]
            said.append(f"; churn {shares[0]} against {shares[1]} in {cell.title}")
    return "".join(said)


def _span(churn: beside.Churn) -> str:
    low, high = (words.number(100 * value) for value in (churn.low, churn.high))
    return "" if words.NONE in (low, high) else f" ({low} to {high})"


def derivatives(judgement: Judgement) -> Answer:
    first = [cell for cell in judgement.cells if cell.dataset.endswith("_ritz")]
    second = [cell for cell in judgement.cells if cell not in first]
    parts = [(where, cells) for where, cells in (("takes second derivatives", second),
                                                 ("takes first derivatives only", first)) if cells]  # fmt: skip
    said = [f"where the loss {where}, {_gain(cells)}" for where, cells in parts]
    return Answer(
        f"{'. '.join(text.replace('where', 'Where', 1) for text in said)}.",
        [f"Where the loss {where} ({words.listing([cell.dataset for cell in cells])}): {_derivatives(cells)}"
         for where, cells in parts],
    )  # fmt: skip


def _everywhere(cells: Sequence[Cell]) -> dict[str, list[Comparison]]:
    """The comparisons of each arm that all cells have."""
    names = [arm.name for arm, _ in cells[0].others if all(arm.name in {a.name for a in cell.arms} for cell in cells)]
    return {name: [{a.name: c for a, c in cell.others}[name] for cell in cells] for name in names}


def _better(found: Sequence[Comparison]) -> bool:
    return all(c.verdict is Verdict.BETTER for c in found)


def _mean(found: Sequence[Comparison]) -> float:
    return sum(c.difference for c in found) / len(found)


def _gain(cells: Sequence[Cell]) -> str:
    """Say how many arms beat the reference in every cell, and by how much the best of them does."""
    arms, ref = _everywhere(cells), cells[0].reference.name
    gains = {name: 10 ** -_mean(found) for name, found in arms.items() if _better(found)}
    if not gains:
        return f"none of {len(arms)} arms is shown to have a lower error than {ref} in every cell"
    best = max(gains, key=lambda name: gains[name])
    return (
        f"{len(gains)} of {len(arms)} arms have a lower error than {ref} in every cell; the best, {best}, divides "
        f"it by {gains[best]:.3g} in the geometric mean"
    )


def _derivatives(cells: Sequence[Cell]) -> str:
    """Name the arms that beat the reference in every cell; say how SAU's error goes with n."""
    arms, ref = _everywhere(cells), cells[0].reference.name
    better = [name for name, found in arms.items() if _better(found)]
    others = [name for name in arms if name not in better]
    who = f"{words.listing(better)} {'have' if len(better) > 1 else 'has'}" if better else "no arm is shown to have"
    lower = f"{who} a lower error than {ref} in every cell"
    if all(c.verdict is Verdict.TOO_FEW for found in arms.values() for c in found):
        seeds = max(c.pairs for found in arms.values() for c in found)
        lower = f"{seeds} paired seeds are too few to tell any arm from {ref}"
    rest = f", {words.listing(others)} {'do' if len(others) > 1 else 'does'} not" if better and others else ""
    sizes = [
        f"{words.number(_mean(arms[name]))} at n = {name.removeprefix('sau:n=')}"
        for name in sorted((n for n in arms if n.startswith("sau:n=")), key=lambda n: float(n.removeprefix("sau:n=")))
    ]
    return f"{lower}{rest}; SAU changes the log10 of the error in the mean by {words.listing(sizes)}."


def which(judgement: Judgement) -> Answer:
    """Name the arms that beat the reference in each cell, or say that none does; name the cells where none matters."""
    better = {
        c.title: [arm.name for arm, found in c.others if found.verdict is Verdict.BETTER] for c in judgement.cells
    }
    ref = judgement.cells[0].reference.name
    said = [f"{words.listing(names)} on {title}" for title, names in better.items() if names]
    sentence = f"Better than {ref} are {'; '.join(said)}" if said else f"No arm is shown to be better than {ref}"
    verdicts = {c.title: {found.verdict for _, found in c.others} for c in judgement.cells}
    same = [title for title, found in verdicts.items() if found == {Verdict.EQUIVALENT}]
    if same:
        sentence += f"; on {words.listing(same)} the choice does not matter: all are equivalent to {ref}"
    return Answer(f"{sentence}.", [f"{cell.title}: {' '.join(findings.answer(cell))}" for cell in judgement.cells])


QUESTIONS: tuple[tuple[str, tuple[str, ...], Callable[[Judgement], Answer]], ...] = (
    ("Is SAU at n = 20000 equivalent to PReLU from 0.15, within 0.5 points?", CELLS, equivalence),
    ("Does alternation help FReLU, at equal epochs and at equal updates of the weights?", ALTERNATIONS, alternation),
    ("Does smoothness buy robustness, calibration or steadier predictions?", CELLS, smoothness),
    ("Where is smoothness needed: by second derivatives?", (PDE,), derivatives),
    ("Which activation for which kind of network?", CELLS, which),
)


def answers(found: dict[str, Found]) -> list[str]:
    """Return the questions with their answers as Markdown lines, and which experiments these still lack."""
    lines = ["## Five answers\n"]
    for number, (question, names, answer) in enumerate(QUESTIONS, start=1):
        parts = [found[name] for name in names]
        judgement = judged(parts)
        said = answer(judgement) if judgement else None
        begun = [f"{FILES[p.name]} ({p.whole_seeds} of {SEEDS} seeds)" for p in parts if p.whole_seeds and not p.whole]
        missing = [FILES[part.name] for part in parts if not part.whole_seeds]
        lines.append(f"**{number}. {question}**" + (f" {escaped(said.sentence)}\n" if said else "\n"))
        lines += [f"- {escaped(text)}" for text in (said.details if said else [])]
        lines += [f"- Begun, and judged when it is whole: {words.listing(begun)}."] if begun else []
        lines += [*([f"- Not run yet: {words.listing(missing)}."] if missing else []), ""]
    return lines


def shipped(judgement: Judgement) -> list[str]:
    """Return a table of what is shipped: accuracy in float and in eight bits, each with its verdict against ReLU."""
    lines = ["| network | trained with | float (%) | eight bits (%) |", "| :-- | :-- | :-- | :-- |"]
    for cell in judgement.cells:
        (eight,) = (found for found in beside.measures(cell) if found.metric.key == "int8_accuracy")
        for name, way in WAYS.items():
            scores = [_against(found, name) for found in (cell, eight)]
            lines.append(f"| {escaped(cell.title)} | {way} | {' | '.join(scores)} |")
    return lines


def _against(cell: Cell, name: str) -> str:
    """The mean of an arm; beside it the difference to the reference and what is known of it."""
    (arm,) = (arm for arm in cell.arms if arm.name == name)
    mean = f"{words.score(arm.summary.mean, cell.metric)} ± {words.score(arm.summary.sd, cell.metric)}"
    c = arm.comparison
    return f"{mean}; {words.change(c.difference, cell.metric)}, {words.verdict(c)}" if c else mean


def progress(found: dict[str, Found]) -> list[str]:
    """Return a table of the experiments: how far they are, and the command that runs or resumes each."""
    lines = ["## How far it is\n", "| experiment | trials done | whole seeds | command |", "| :-- | --: | --: | :-- |"]
    for part in found.values():
        count = f"{len(part.results.records)} of {part.asked}"
        lines.append(f"| {FILES[part.name]} | {count} | {part.whole_seeds} of {SEEDS} | `{part.command}` |")
    return [*lines, ""]


def write(root: Path, docs: Path) -> None:
    """Write the pages into ``docs``, from the records and notes of the repository at ``root``."""
    found = read(root)
    turns = [(arm, other) for _, arm, other in TURNS]
    notes = (root / "docs" / "evidence-notes.md").read_text(encoding="utf-8")
    head = "\n".join([*answers(found), *progress(found), notes])
    _write(docs / "evidence.md", "Evidence", judged([found[name] for name in CELLS]), head, turns)
    head = "[Evidence](evidence.md) says how far these experiments are, and what they answer."
    turned = judged([found[name] for name in ALTERNATIONS])
    _write(docs / "evidence-alternation.md", "Alternation at equal updates", turned, head, turns)
    ways = [(arm, "relu") for arm in WAYS if arm != "relu"]
    _write(docs / "evidence-smooth-to-hard.md", "Trained smooth, shipped hard", judged([found[SHIPPING]]), head, ways)


def _write(page: Path, title: str, judgement: Judgement | None, head: str, asked: Asked) -> None:
    """Write a page with the cells of a judgement, if there is one, and answers on the pairs that were asked for."""
    if judgement:
        asked = _ran(judgement.cells, asked)
        judgement.write_markdown(page, title=title, command=COMMAND, notes=head, asked=asked)
    else:
        page.write_text(f"# {title}\n\nWritten by `{COMMAND}`.\n\n{head.strip()}\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    write(here, here / "docs")

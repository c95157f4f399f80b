"""Translation: what is read, what is learnt, what is written, and how it is scored."""

from __future__ import annotations

import gzip
import itertools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHARED
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.datasets import DATASETS, Source
from bevel_lab.datasets.multi30k import Multi30k
from bevel_lab.datasets.wmt14 import Wmt
from bevel_lab.errors import LabError
from bevel_lab.models import MODELS, Model
from bevel_lab.models.transformer import Size, Transformer
from bevel_lab.running import Running
from bevel_lab.tasks.translation import Bleu, Sentences, Translation
from bevel_lab.team import Team
from bevel_lab.texts import Aligned, ParallelText
from bevel_lab.texts.decoding import beam, greedy, limits
from bevel_lab.texts.files import LONGEST, Corpus
from bevel_lab.texts.subwords import BEGIN, END, PAD, Subwords, prepare
from bevel_lab.train import run
from bevel_lab.trial import Trial

COLOURS = {"red": "rote", "black": "schwarze", "small": "kleine", "old": "alte", "wet": "nasse"}
ANIMALS = {"dog": "Hund", "bird": "Vogel", "fox": "Fuchs", "bear": "Bär", "hedgehog": "Igel"}
DEEDS = {"runs": "läuft", "sleeps": "schläft", "eats": "frisst", "drinks": "trinkt", "jumps": "springt"}
PAIRS = [
    (f"The {colour} {animal} {deed}.", f"Der {COLOURS[colour]} {ANIMALS[animal]} {DEEDS[deed]}.")
    for colour, animal, deed in itertools.product(COLOURS, ANIMALS, DEEDS)
]
PAIRS[::3] = [(f"{english} It is glad of it.", f"{german} Darüber ist er froh.") for english, german in PAIRS[::3]]
RECIPE: dict[str, Any] = {
    "model": "transformer_tiny_prenorm", "task": "translation", "epochs": 2, "batch_size": 10, "lr": 2e-3,
    "optimiser": "adam", "schedule": "inverse_sqrt", "label_smoothing": 0.1, "weight_decay": 0.0,
}  # fmt: skip


def _write(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    for language, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """125 sentences of a small grammar, in the three parts."""
    folder = tmp_path_factory.mktemp("corpus")
    shuffled = [PAIRS[i] for i in torch.randperm(125, generator=torch.Generator().manual_seed(0)).tolist()]
    for name, first, end in (("train", 0, 100), ("valid", 100, 110), ("test", 110, 125)):
        _write(folder, name, shuffled[first:end])
    return folder


def _trial(corpus: Path, spec: str = "relu", **settings: Any) -> Trial:
    return Trial(activation=bevel.canonical(spec), dataset=f"folder_text:{corpus}:en-de", **(RECIPE | settings))


def _running(corpus: Path, spec: str = "relu", **settings: Any) -> Running:
    return Running(_trial(corpus, spec, **settings), Source(), torch.device("cpu"), Team())


def _read(folder: Path, **source: bool) -> ParallelText:
    return Corpus(folder, ("en", "de")).load(Source(**source))


# ----------------------------------------------------------------------------------------------------------- the files


def test_aligned_files_are_read_as_they_are(tmp_path: Path) -> None:
    pairs = [("One\u2028line \x85 only", "Eine Zeile"), (" two ", "zwei\r"), ("drei", "drei")]
    for name in ("train", "dev"):
        _write(tmp_path, name, pairs)
    (tmp_path / "test.en").write_bytes("\ufeffone\r\ntwo".encode())
    (tmp_path / "test.de.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    data = _read(tmp_path)
    assert list(data.train.source) == ["One\u2028line \x85 only", "two", "drei"], "U+2028 and U+0085 end no line"
    assert list(data.valid.target) == ["Eine Zeile", "zwei", "drei"]
    assert (list(data.test.source), list(data.test.target)) == (["one", "two"], ["eins", "zwei"])
    counts = {key: data.facts[key] for key in ("train", "validation", "test", "languages")}
    assert counts == {"train": 3, "validation": 3, "test": 2, "languages": "en to de"}
    assert "skipped" not in data.facts
    (tmp_path / "test.en").write_bytes(b"one\nto")
    assert _read(tmp_path).facts["digest"] != data.facts["digest"]


BAD = [
    (b"caf\xe9", r"train.en, line 2 is not UTF-8 \(byte 0xe9 at position 4\); convert the file to UTF-8"),
    (b"a\0b\0", r"train.en, line 2 has a NUL character, which no text in UTF-8 has; convert the file to UTF-8"),
    (b"  ", r"train.en, line 2 is empty; delete it in both files"),
    (b"x" * (LONGEST + 1), r"train.en, line 2 has 2001 characters, more than 2000; cut it in both files"),
]


@pytest.mark.parametrize(("line", "words"), BAD)
def test_a_bad_line_is_named_or_left_out_and_counted(tmp_path: Path, line: bytes, words: str) -> None:
    for name in ("train", "valid", "test"):
        _write(tmp_path, name, PAIRS[:3])
    (tmp_path / "train.en").write_bytes(b"one\n" + line + b"\nthree\n")
    with pytest.raises(LabError, match=f"{words}, or leave it out with --skip-bad"):
        _read(tmp_path)
    with pytest.warns(UserWarning, match=r"left out as bad, 1: train.en, line 2"):
        data = _read(tmp_path, skip_bad=True)
    assert list(data.train.source) == ["one", "three"]
    assert list(data.train.target) == [PAIRS[0][1], PAIRS[2][1]]
    assert str(data.facts["skipped"]).startswith("1: train.en, line 2 ")


def test_many_bad_lines_are_counted_and_the_first_named(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        _write(tmp_path, name, [*PAIRS[:3], ("a", "")])
    _write(tmp_path, "test", [("", "b")] * 9 + [("c", "d")])
    with pytest.warns(UserWarning, match="left out as bad, 11: "):
        found = str(_read(tmp_path, skip_bad=True).facts["skipped"])
    assert found.startswith("11: train.de, line 4 is empty; valid.de, line 4 is empty; test.en, line 1 is empty")
    assert found.endswith("test.en, line 3 is empty; and 6 more")


def test_texts_that_do_not_align_are_an_error_all_the_same(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        _write(tmp_path, name, PAIRS[:3])
    (tmp_path / "valid.de").write_text("eins\n")
    with pytest.raises(LabError, match=r"valid.en has 3 lines and valid.de 1; line n of one must be the translation"):
        _read(tmp_path, skip_bad=True)
    (tmp_path / "valid.de").unlink()
    with pytest.raises(LabError, match=r"has no file valid.de or val.de or dev.de \(it may end in .gz\)"):
        _read(tmp_path)
    (tmp_path / "valid.de.gz").write_bytes(gzip.compress(b"eins\n" * 1000)[:-9])
    with pytest.raises(LabError, match=r"valid.de.gz cannot be read \(.*\); fetch it again"):
        _read(tmp_path)
    _write(tmp_path, "test", [(" ", " ")])
    (tmp_path / "valid.de").write_text("eins\nzwei\ndrei\n")
    with pytest.raises(LabError, match=r"test.en has no pair of sentences that can be used"):
        _read(tmp_path, skip_bad=True)


def test_a_folder_of_texts_says_which_languages(corpus: Path, tmp_path: Path) -> None:
    def load(name: str) -> ParallelText:
        data: ParallelText = DATASETS.item(name).load(Source())
        return data

    assert load(f"folder_text:{corpus}").languages == ("de", "en")
    assert load(f"folder_text:{corpus}:en-de").train.source[0].startswith("The ")
    with pytest.raises(LabError, match=r"there is no folder .*nowhere"):
        load(f"folder_text:{tmp_path / 'nowhere'}:en-de")
    for language in ("en", "de", "fr"):
        (tmp_path / f"train.{language}").write_text("a\n")
    with pytest.raises(LabError, match=r"has training files in 3 languages \(de, en, fr\); .*PATH:SOURCE-TARGET"):
        load(f"folder_text:{tmp_path}")


def test_a_part_of_multi30k_or_wmt_is_not_called_the_whole(tmp_path: Path) -> None:
    for name in ("multi30k", "wmt14"):
        with pytest.raises(LabError, match=f"has no folder {name}; put the corpus there"):
            DATASETS.item(name).load(Source(tmp_path))
        (tmp_path / name).mkdir()
    for name in ("train", "val", "test_2016_flickr"):
        _write(tmp_path / "multi30k", name, PAIRS[:4])
    with pytest.raises(LabError, match=r"has 4 \+ 4 \+ 4 pairs, not 29000 \+ 1014 \+ 1000; .* folder_text:.*:en-de"):
        DATASETS.item("multi30k").load(Source(tmp_path))
    assert len(Multi30k(4, 4, 4).load(Source(tmp_path)).test) == 4
    _write(tmp_path / "multi30k", "val", [*PAIRS[:3], ("", "leer")])
    with pytest.warns(UserWarning, match=r"1: val.en, line 4"):
        assert len(Multi30k(4, 4, 4).load(Source(tmp_path, skip_bad=True)).valid) == 3
    with pytest.warns(UserWarning, match="val.en"), pytest.raises(LabError, match=r"has 4 \+ 3 \+ 4 pairs, not 5"):
        Multi30k(5, 4, 4).load(Source(tmp_path, skip_bad=True))
    for name in ("train", "newstest2013", "newstest2014"):
        _write(tmp_path / "wmt14", name, PAIRS[:4])
    with pytest.raises(LabError, match="has 4 training pairs where WMT14 has more than 4000000"):
        DATASETS.item("wmt14").load(Source(tmp_path))
    parts = (("train",), ("newstest2013",), ("newstest2014",))
    assert Wmt("wmt14", parts, 4).load(Source(tmp_path)).languages == ("en", "de")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real Multi30k and the sample of WMT14."""
    packed = SHARED / "mt_en_de" / "mt_en_de.zip"
    if not packed.is_file():
        pytest.skip(f"the real data is not here: {packed} does not exist")
    root = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(packed) as content:
        content.extractall(root / "mt_en_de")
    return root


def test_the_real_corpora_are_read_whole(real: Path) -> None:
    multi30k, sample = (DATASETS.item(name).load(Source(real)) for name in ("multi30k", "wmt14_sample"))
    assert multi30k.train.source[0] == "Two young, White males are outside near many bushes."
    assert multi30k.train.target[0] == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."
    assert [len(part) for part in (sample.train, sample.valid, sample.test)] == [10_000, 3_000, 2_737]
    assert "not comparable" in sample.facts["note"]
    one = prepare(sample, 300)
    assert len(one.subwords) == 1000
    assert one.subwords.decode(one.train.target[7].tolist()) in sample.train.target


# ------------------------------------------------------------------------------------------------------------ subwords


def test_every_text_comes_back_from_its_subwords() -> None:
    subwords = Subwords([text for pair in PAIRS for text in pair], 400)
    assert 259 < len(subwords) <= 400
    odd = ["Der rote Hund läuft.", "naïve 東京 🙂", "</s> <pad> is text here", "&quot;x  y"]
    encoded = subwords.encode(odd)
    assert [subwords.decode(encoded[i].tolist()) for i in range(len(odd))] == odd
    assert all(int(encoded[i].min()) > END for i in range(len(odd))), "no text makes a mark"
    assert encoded.lengths.tolist() == [len(encoded[i]) for i in range(len(odd))]
    assert len(encoded[0]) < len(odd[0]) / 2, "frequent words are few pieces"


def test_subwords_are_the_same_every_time_and_follow_from_the_texts() -> None:
    texts = [text for pair in PAIRS for text in pair]
    digests = {Subwords(texts, 400).digest for _ in range(5)}
    assert len(digests) == 1
    assert Subwords(texts[:80], 400).digest not in digests


def test_batches_are_filled_up_and_marked() -> None:
    encoded = Subwords(["a b", "c"], 300).encode(["ab", "c", "abc"])
    rows = encoded.padded([1, 2], begin=True)
    assert rows.tolist() == [
        [BEGIN, *encoded[1].tolist(), END, *[PAD] * (len(encoded[2]) - len(encoded[1]))],
        [BEGIN, *encoded[2].tolist(), END],
    ]
    assert encoded.padded([1], begin=False).tolist() == [[*encoded[1].tolist(), END]]


def test_subwords_are_learnt_from_what_is_trained_on(corpus: Path) -> None:
    data = _read(corpus)
    all_, few = prepare(data, 0), prepare(data, 20)
    assert (len(all_.train), len(few.train)) == (100, 20)
    assert all_.subwords.digest != few.subwords.digest
    wanted = list(zip(data.train.source, data.train.target, strict=True))
    for i in range(20):
        pair = tuple(few.subwords.decode(side[i].tolist()) for side in (few.train.source, few.train.target))
        assert pair in wanted


# --------------------------------------------------------------------------------------------------------------- model


def _network(vocabulary: int = 7, *, prenorm: bool = True, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(vocabulary, Size(16, 32, 2, 2, 0.1), prenorm).eval()


@pytest.mark.parametrize("prenorm", [True, False])
def test_filling_and_the_future_change_nothing(prenorm: bool) -> None:
    model = _network(50, prenorm=prenorm)
    source, target = torch.randint(3, 50, (3, 5)), torch.randint(3, 50, (3, 6))
    plain = model(source, target)
    assert plain.shape == (3, 6, 50)
    filled = model(torch.cat((source, torch.full((3, 4), PAD)), 1), torch.cat((target, torch.full((3, 2), PAD)), 1))
    torch.testing.assert_close(filled[:, :6], plain, rtol=1e-4, atol=1e-5)
    changed = target.clone()
    changed[:, 3:] = 3 + (changed[:, 3:] - 2) % 47
    after = model(source, changed)
    torch.testing.assert_close(after[:, :3], plain[:, :3], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(after[:, 3], plain[:, 3], atol=1e-3)
    torch.testing.assert_close(model(source, target, model(source)), plain[:, -1], rtol=1e-4, atol=1e-5)


def test_order_is_seen_and_embeddings_are_shared() -> None:
    model = _network(50)
    source, target = torch.tensor([[5, 6, 7, END]]), torch.tensor([[BEGIN, 8]])
    assert not torch.allclose(model(source, target), model(source[:, [1, 0, 2, 3]], target), atol=1e-3)
    assert [n for n, p in model.named_parameters() if 50 in p.shape] == ["embedding.weight"]


@pytest.mark.parametrize("name", sorted(n for n in MODELS if n.startswith("transformer_")))
def test_models_are_for_translation_and_keep_their_own_weights(name: str) -> None:
    entry = MODELS.item(name)
    assert isinstance(entry, Model)
    assert (entry.task, entry.own_init) == ("translation", True)
    assert ("before each part" in entry.summary) == name.endswith("_prenorm")


def test_all_arms_start_from_the_same_weights_and_swap_every_unit(corpus: Path) -> None:
    arms = {spec: _running(corpus, spec, model="transformer_tiny") for spec in ("relu", "frelu", "pau")}
    own = {spec: {id(p) for p in one.activation_parameters} for spec, one in arms.items()}
    found = {s: [p for p in one.model.parameters() if id(p) not in own[s]] for s, one in arms.items()}
    for spec in ("frelu", "pau"):
        assert all(torch.equal(a, b) for a, b in zip(found["relu"], found[spec], strict=True))
    biases = [p for n, p in arms["relu"].model.named_parameters() if n.endswith("linear1.bias")]
    assert len(biases) == 4
    assert not any(bool(p.any()) for p in biases)
    layers = [p for n, p in arms["relu"].model.named_parameters() if n.endswith("linear1.weight")]
    assert not torch.equal(layers[0], layers[1]), "torch's stacks begin as copies of one layer"
    frelu = arms["frelu"]
    assert [call.channels for call in frelu.sites.values()] == [256] * 4
    assert {name.split(".")[0] for name in frelu.sites} == {"encoder", "decoder"}


@pytest.mark.parametrize("train", [True, False])
def test_every_site_runs_in_training_and_in_inference(corpus: Path, train: bool) -> None:
    """Torch's fused encoder layer would compute ReLU by itself."""
    running = _running(corpus, "frelu")
    calls: list[nn.Module] = []
    for call in running.sites.values():
        call.module.register_forward_hook(lambda module, *_: calls.append(module))
    running.model.train(train)
    with torch.no_grad():
        running.model(torch.full((2, 4), 5), torch.full((2, 3), 6))
    assert [id(m) for m in calls] == [id(call.module) for call in running.sites.values()]


# ------------------------------------------------------------------------------------------------------------ decoding


def _scored(model: nn.Module, source: Tensor, text: tuple[int, ...], penalty: float) -> float:
    """A whole translation's score, from teacher forcing."""
    with torch.no_grad():
        logits = model(source, torch.tensor([[BEGIN, *text]]))[0].clone()
    logits = logits.log_softmax(1)
    total = sum(float(logits[i, n]) for i, n in enumerate((*text, END)))
    return total / ((5 + len(text) + 1) / 6) ** penalty


LIMIT = 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all_translations(seed: int, penalty: float) -> None:
    model = _network(seed=seed)
    with torch.no_grad():
        model.embedding.weight.mul_(3)  # decided, so that translations differ in more than rounding
        source = torch.tensor([[3, 4, END], [5, END, PAD]])
        found = beam(model, source, torch.tensor([LIMIT, LIMIT]), size=100, penalty=penalty)
    every = [t for n in range(LIMIT) for t in itertools.product(range(3, 7), repeat=n)]
    for row, text in zip(source, found, strict=True):
        row = row[row != PAD][None]
        best = max(every, key=lambda t: _scored(model, row, t, penalty))
        assert _scored(model, row, tuple(text), penalty) == pytest.approx(_scored(model, row, best, penalty), abs=1e-4)


def _sources(count: int) -> Tensor:
    rows = torch.randint(3, 60, (count, 9), generator=torch.Generator().manual_seed(1))
    for i in range(count):
        rows[i, 3 + i % 6], rows[i, 4 + i % 6 :] = END, PAD
    return rows


def test_greedy_is_the_likeliest_step_by_step_and_a_beam_of_one() -> None:
    model, source = _network(60, seed=5), _sources(6)
    with torch.no_grad():
        longest = limits(source)
        found = greedy(model, source, longest)
        assert found == beam(model, source, longest, size=1, penalty=0.0)
        for row, text, most in zip(source, found, longest.tolist(), strict=True):
            logits = model(row[row != PAD][None], torch.tensor([[BEGIN, *text]]))[0]
            logits[:, [PAD, BEGIN]] = -torch.inf
            wanted = logits.argmax(1).tolist()
            assert len(text) <= most - 1
            assert text == wanted[: len(text)]
            assert len(text) == most - 1 or wanted[-1] == END
    assert len({len(text) for text in found}) > 1


@pytest.mark.parametrize("search", [greedy, beam])
def test_sentences_do_not_depend_on_their_batch(search: Any) -> None:
    model, source = _network(60, seed=5), _sources(5)
    with torch.no_grad():
        together = search(model, source, limits(source))
        alone = [search(model, row[row != PAD][None], limits(row[None]))[0] for row in source]
    assert together == alone
    assert limits(source).tolist() == [2 * int((row != PAD).sum()) + 10 for row in source]


# ----------------------------------------------------------------------------------------------------------------- task


def test_bleu_is_what_one_gets_by_hand_and_says_how() -> None:
    bleu = Bleu("de")
    assert bleu.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples are in the reference, which is as long
    by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu(["the cat sat on the mat"], ["the cat sat on a mat"]) == pytest.approx(by_hand)
    # everything matches, but 7 words stand where 9 should
    short = bleu(["a b c d", "a b c"], ["a b c d", "a b c d e"])
    assert short == pytest.approx(100 * math.exp(1 - 9 / 7))
    assert bleu(["nothing here fits"], ["ein roter Hund läuft"]) < 10


def test_the_loss_is_the_mean_over_subwords_with_smoothed_labels(corpus: Path) -> None:
    running = _running(corpus, label_smoothing=0.2)
    task, model = running.task, running.model.eval()
    assert isinstance(task, Translation)
    batch: Sentences = next(task.batches([torch.tensor([3, 50, 7])], 0, 0))
    with torch.no_grad():
        loss, means = task.loss(model, batch)
    total, right, count = 0.0, 0, 0
    for source, target in zip(batch.source, batch.target, strict=True):
        source, target = source[source != PAD][None], target[target != PAD][None]
        logits = model(source, target[:, :-1])[0].detach().log_softmax(1)
        wanted = target[0, 1:]
        total -= float(0.8 * logits.gather(1, wanted[:, None]).sum() + 0.2 * logits.mean(1).sum())
        right += int((logits.argmax(1) == wanted).sum())
        count += len(wanted)
    assert float(loss) == pytest.approx(total / count, rel=1e-5)
    assert float(means["token_accuracy"]) == pytest.approx(right / count)


def test_shares_of_a_batch_average_to_the_whole(corpus: Path) -> None:
    running = _running(corpus)
    task, model = running.task, running.model.eval()
    assert isinstance(task, Translation)
    lengths = task.pairs.train.target.lengths
    order = [torch.cat((lengths.argsort()[:3], lengths.argsort()[-2:]))]
    assert lengths.max() > 1.5 * lengths.min(), "shares of unlike length"

    def loss(*share: int) -> float:
        batch = next(task.batches(order, 0, 0, lambda count: (share[0], share[1])))
        return float(task.loss(model, batch)[0].detach())

    assert (3 * loss(0, 3) + 2 * loss(3, 5)) / 5 == pytest.approx(loss(0, 5), rel=1e-5)


def test_parts_that_do_not_fit_are_refused(corpus: Path) -> None:
    place = torch.device("cpu")
    for changes, words in (
        ({"model": "cnn"}, "model 'cnn' is for classification; choose one for translation"),
        ({"mixup": 0.2}, "mixup is for images, translation has none; leave it 0"),
    ):
        with pytest.raises(InvalidValue, match=words):
            Translation(_trial(corpus, **changes), _read(corpus), place)
    with pytest.raises(InvalidValue, match=r"takes aligned texts; data set .* is of another task"):
        Translation(_trial(corpus), "text", place)
    with pytest.raises(InvalidValue, match="as many sentences as translations"):
        Aligned(["a"], [])


class _Stop(Exception):
    """Stands for a crash."""


def test_an_interrupted_trial_ends_as_an_undisturbed_one(corpus: Path, tmp_path: Path) -> None:
    one, state = _trial(corpus, "smooth_frelu", epochs=2, train_limit=60), tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        raise _Stop

    with pytest.raises(_Stop):
        run(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == [2], "it went on, it did not start again"
    undisturbed = run(one)
    assert resumed.result == undisturbed.result
    assert set(resumed.epochs[0].train) == {"loss", "token_accuracy"}
    assert set(resumed.epochs[0].validation) == set(resumed.test) == {"loss", "token_accuracy", "bleu"}
    assert resumed.metric == "bleu"
    assert "tok:13a" in str(resumed.data["bleu_signature"])
    assert (resumed.data["trained_on"], resumed.samples) == (60, 120)
    texts = _read(corpus).test
    assert [(p.given, p.truth) for p in resumed.pictures] == [(texts.source[i], texts.target[i]) for i in (0, 3, 7, 11)]


def test_half_precision_taking_turns_and_a_moving_sharpness_work(corpus: Path) -> None:
    settings = {"precision": "bfloat16", "alternate": "step", "sharpness": "1:100", "epochs": 1, "train_limit": 40}
    record = run(_trial(corpus, "smooth_frelu", channels_last=True, tuning=True, **settings))
    assert math.isfinite(record.epochs[0].train["loss"])
    assert record.test == record.epochs[-1].validation


def test_a_diverged_model_is_scored_as_it_is(corpus: Path) -> None:
    record = run(_trial(corpus, lr=1e30, epochs=1, train_limit=40))
    assert math.isnan(record.test["loss"])
    assert 0 <= record.test["bleu"] < 20


def _trained(corpus: Path, spec: str) -> Running:
    running = _running(corpus, spec, epochs=4, lr=5e-3)
    for _ in range(4):
        running.advance()
    return running


@pytest.mark.parametrize(("spec", "hard", "foldable"), [("frelu:num_parameters=1", 0, 4), ("sau", 4, 0)])
def test_folded_and_hardened_it_scores_the_same(corpus: Path, spec: str, hard: int, foldable: int) -> None:
    running = _trained(corpus, spec)
    model, task = running.model.eval(), running.task
    example = next(task.batches([torch.arange(4)], 0, 0))
    before = running.evaluate(task.test)
    hardened = bevel.harden(model, 1e-3)
    folded = bevel.fold(hardened.model, example.source, example.target[:, :-1])
    with torch.no_grad():
        after = task.test(folded.model)
    assert sum(row.new is not None for row in hardened.rows) == hard, str(hardened)
    assert sum(row.new is not None for row in folded.rows) == foldable, str(folded)
    assert after["bleu"] == pytest.approx(before["bleu"], abs=1e-6)
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-3)


def test_fine_tuning_starts_where_pretraining_ended(corpus: Path, tmp_path: Path) -> None:
    trained = _trained(corpus, "relu")
    before = trained.evaluate(trained.task.test)
    torch.save(trained.model.state_dict(), tmp_path / "relu.pt")
    fine = _running(corpus, "frelu", weights=str(tmp_path / "relu.pt"))
    after = fine.evaluate(fine.task.test)
    assert after["bleu"] == pytest.approx(before["bleu"], abs=1e-6)
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-5)
    assert "relu.pt" in fine.loaded["weights"]


@pytest.fixture(scope="session")
def short_real(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multi30k's sentences of at most seven words: what a tiny model learns in half a minute."""
    data, folder = DATASETS.item("multi30k").load(Source(real)), tmp_path_factory.mktemp("short")

    def short(part: Aligned) -> Iterator[tuple[str, str]]:
        pairs = zip(part.source, part.target, strict=True)
        return (pair for pair in pairs if max(len(text.split()) for text in pair) <= 7)

    for name in ("train", "valid", "test"):
        _write(folder, name, list(short(getattr(data, name))))
    return folder


@pytest.mark.slow
def test_it_learns_to_translate_real_sentences(short_real: Path) -> None:
    settings = {"epochs": 4, "batch_size": 32, "lr": 5e-3, "warmup": 0.1}
    record = run(_trial(short_real, "sau:n=5", **settings))
    losses = [epoch.train["loss"] for epoch in record.epochs]
    assert losses == sorted(losses, reverse=True)
    test = _read(short_real).test
    bleu = Bleu("de")
    copied = bleu(test.source, test.target)
    untrained = _running(short_real, "sau:n=5", **settings)
    chance = untrained.evaluate(untrained.task.validate)["bleu"]
    same = max(bleu([text] * len(test), test.target) for text in ("Ein Mann in einem blauen Hemd.", "Zwei Männer."))
    assert record.test["bleu"] > 2 * max(copied, chance, same), (record.test, copied, chance, same)
    assert record.test["token_accuracy"] > 0.25
    assert len({picture.guess for picture in record.pictures}) > 1

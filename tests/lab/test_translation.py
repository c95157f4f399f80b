"""Translation: what is learnt, what is written, and how it is scored; what is read: test_texts.py."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from needs import needs
from sentence_data import sphinx_messages, write_corpus, write_part
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText, SentencePairs
from bevel_lab.data.text.from_files import Corpus
from bevel_lab.data.text.tokens import BEGIN, END, PAD
from bevel_lab.datasets import DATASETS
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Model
from bevel_lab.models.transformer import SIZES, Size, Transformer, build
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks._translation_decoding import beam, greedy, limits
from bevel_lab.tasks.translation import Batch, Bleu, Translation
from bevel_lab.training.activations import ActivationFactory
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

RECIPE: dict[str, Any] = {
    "model": "transformer_tiny_prenorm", "task": "translation", "epochs": 2, "batch_size": 10, "lr": 2e-3,
    "optimizer": "adam", "schedule": "inverse_sqrt", "label_smoothing": 0.1, "weight_decay": 0.0,
}  # fmt: skip


def _trial(corpus: Path, spec: str = "relu", **settings: Any) -> Trial:
    return Trial(activation=bevel.canonical(spec), dataset=f"folder_text:{corpus}:en-de", **(RECIPE | settings))


def _trainer(corpus: Path, spec: str = "relu", **settings: Any) -> Trainer:
    return Trainer(_trial(corpus, spec, **settings), Source(), torch.device("cpu"), ProcessGroup())


def _read(folder: Path, **source: bool) -> ParallelText:
    return Corpus(folder, ("en", "de")).load(Source(**source))


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


class _Reread(NamedTuple):
    """The state of :class:`_Rereading`: sources N×S, and what was read of N·K hypotheses."""

    source: Tensor
    read: Tensor

    def select(self, hypotheses: Tensor, sentences: Tensor | None = None) -> _Reread:
        return _Reread(self.source if sentences is None else self.source[sentences], self.read[hypotheses])


class _Rereading(nn.Module):
    """The slow twin of a decoder with a state: every step reads source and prefix again by teacher forcing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor | None = None, target: Any = None, state: Any = None) -> Any:
        if source is not None:
            return _Reread(source, torch.full((len(source), 0), BEGIN))
        read = torch.cat((state.read, target), 1)
        every = state.source.repeat_interleave(len(read) // len(state.source), 0)
        return self.model(every, read)[:, -1], _Reread(state.source, read)


class _Beside(nn.Module):
    """Steps of a model and of its slow twin, with the largest difference of their log-probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.both, self.difference, self.steps = (model, _Rereading(model)), 0.0, 0

    def forward(self, source: Tensor | None = None, target: Any = None, state: Any = None) -> Any:
        if source is not None:
            return _States(*(one(source) for one in self.both))
        (found, new), (slow, twin) = (m(target=target, state=s) for m, s in zip(self.both, state, strict=True))
        self.difference = max(self.difference, float((found.log_softmax(1) - slow.log_softmax(1)).abs().max()))
        self.steps += 1
        return found, _States(new, twin)


class _States(NamedTuple):
    fast: Any
    slow: Any

    def select(self, *rows: Tensor | None) -> _States:
        return _States(*(one.select(*rows) for one in self))


@pytest.mark.parametrize(("search", "prenorm"), [(greedy, False), (beam, True), (beam, False)])
def test_a_step_from_the_state_is_the_step_that_reads_all_again(search: Any, prenorm: bool) -> None:
    """The slopes make FReLU differ from ReLU, which a step past the swapped call would compute."""
    torch.manual_seed(3)
    activation = ActivationFactory("frelu:positive=1.3,negative=-0.4")
    model = Model("", functools.partial(build, Size(16, 32, 2, 2, 0.1), prenorm)).build(activation, 60).eval()
    source = _sources(5)
    longest = (source != PAD).sum(1) + 2
    with torch.no_grad():
        beside = _Beside(model)
        assert search(model, source, longest) == search(_Rereading(model), source, longest)
        search(beside, source, longest)
    assert beside.steps == longest.max() > longest.min(), "sentences leave the batch at different steps"
    assert beside.difference < 1e-5


@pytest.mark.parametrize("prenorm", [True, False])
def test_a_decoder_layer_trains_as_torchs_to_the_bit(prenorm: bool) -> None:
    layer = _network(prenorm=prenorm).train().decoder.layers[1]
    target, memory = torch.randn(2, 3, 16), torch.randn(2, 4, 16)
    masks = {
        "tgt_mask": torch.ones(3, 3, dtype=torch.bool).triu(1), "tgt_is_causal": True, "tgt_key_padding_mask": None,
        "memory_mask": None, "memory_key_padding_mask": torch.tensor([[False] * 4, [False] * 2 + [True] * 2]),
    }  # fmt: skip
    found = []
    for forward in (type(layer).forward, nn.TransformerDecoderLayer.forward):
        torch.manual_seed(1)  # of the dropout
        output = forward(layer, target, memory, **masks)
        found.append([output, *torch.autograd.grad(output.square().sum(), list(layer.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


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


# the paper's table 3 has 65 million for its base, of about 37,000 subwords in one embedding
@pytest.mark.parametrize(("name", "count"), [("base", 63_082_496), ("small", 15_001_600)])
@pytest.mark.parametrize("prenorm", [True, False])
def test_a_size_has_the_published_number_of_parameters(name: str, count: int, prenorm: bool) -> None:
    factory, size = ActivationFactory("relu"), SIZES[name]
    with torch.device("meta"):
        model = MODELS.item(f"transformer_{name}{'_prenorm' * prenorm}").build(factory, 37_000)
    assert len(factory.sites(model)) == 2 * size.layers
    ends = 2 * 2 * size.width if prenorm else 0  # one more norm after the encoder and after the decoder
    assert sum(p.numel() for p in model.parameters()) == count + ends


def test_all_arms_start_from_the_same_weights_and_swap_every_unit(corpus: Path) -> None:
    arms = {spec: _trainer(corpus, spec, model="transformer_tiny") for spec in ("relu", "frelu", "pau")}
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
    trainer = _trainer(corpus, "frelu")
    calls: list[nn.Module] = []
    for call in trainer.sites.values():
        call.module.register_forward_hook(lambda module, *_: calls.append(module))
    trainer.model.train(train)
    with torch.no_grad():
        trainer.model(torch.full((2, 4), 5), torch.full((2, 3), 6))
    assert [id(m) for m in calls] == [id(call.module) for call in trainer.sites.values()]


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


def test_bleu_is_sacrebleus_own_reference_value() -> None:
    """The three sentences of sacrebleu's README, whose BLEU it prints as 48.5 with two references."""
    guesses = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    one = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    two = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    theirs = pytest.importorskip("sacrebleu").corpus_bleu
    assert round(theirs(guesses, [one, two]).score, 1) == 48.5
    assert [Bleu("de")(guesses, truth) for truth in (one, two)] == [theirs(guesses, [t]).score for t in (one, two)]


def test_the_loss_is_the_mean_over_subwords_with_smoothed_labels(corpus: Path) -> None:
    trainer = _trainer(corpus, label_smoothing=0.2)
    task, model = trainer.task, trainer.model.eval()
    assert isinstance(task, Translation)
    batch: Batch = next(task.batches([torch.tensor([3, 50, 7])], 0, 0))
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


def test_an_estimate_of_decoding_comes_near_to_what_is_decoded(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that counts the rows of every call, for a model that has learnt where sentences end."""
    clock = [0.0]

    def tick(module: nn.Module, args: Any, given: dict[str, Any]) -> None:
        decoding = "state" in given or len(args) == 1
        clock[0] += decoding * len(given["target"] if "state" in given else args[0])

    monkeypatch.setattr("bevel_lab.tasks.translation.time.perf_counter", lambda: clock[0])
    new, trained = _trainer(corpus), _trained(corpus, "relu")
    for trainer in (new, trained):
        trainer.model.register_forward_pre_hook(tick, with_kwargs=True)
    estimated = new.evaluate(lambda model: new.task.evaluation_seconds(model, 0.0))
    for seconds, measure in zip(estimated, (trained.task.validate, trained.task.test), strict=True):
        began = clock[0]
        trained.evaluate(measure)
        assert 0.6 < seconds / (clock[0] - began) < 1.4


def test_shares_of_a_batch_average_to_the_whole(corpus: Path) -> None:
    trainer = _trainer(corpus)
    task, model = trainer.task, trainer.model.eval()
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
        ({"mixup": 0.2}, "mixup must be 0 for translation, got 0.2"),
    ):
        with pytest.raises(InvalidValue, match=words):
            Translation(_trial(corpus, **changes), _read(corpus), place)
    with pytest.raises(InvalidValue, match=r"takes ParallelText; data set .* gives str"):
        Translation(_trial(corpus), "text", place)
    with pytest.raises(InvalidValue, match="as many sentences as translations"):
        SentencePairs(["a"], [])


class _Stop(Exception):
    """Stands for a crash."""


def test_an_interrupted_trial_ends_as_an_undisturbed_one(corpus: Path, tmp_path: Path) -> None:
    one, state = _trial(corpus, "smooth_frelu", epochs=2, train_limit=60), tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        raise _Stop

    with pytest.raises(_Stop):
        run_trial(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run_trial(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == [2], "it went on, it did not start again"
    undisturbed = run_trial(one)
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
    record = run_trial(_trial(corpus, "smooth_frelu", channels_last=True, tuning=True, **settings))
    assert math.isfinite(record.epochs[0].train["loss"])
    assert record.test == record.epochs[-1].validation


def test_a_diverged_model_is_scored_as_it_is(corpus: Path) -> None:
    record = run_trial(_trial(corpus, lr=1e30, epochs=1, train_limit=40))
    assert math.isnan(record.test["loss"])
    assert 0 <= record.test["bleu"] < 20


def _trained(corpus: Path, spec: str) -> Trainer:
    trainer = _trainer(corpus, spec, epochs=4, lr=5e-3)
    for _ in range(4):
        trainer.advance()
    return trainer


@pytest.mark.parametrize(("spec", "hard", "foldable"), [("frelu:num_parameters=1", 0, 4), ("sau", 4, 0)])
def test_folded_and_hardened_it_scores_the_same(corpus: Path, spec: str, hard: int, foldable: int) -> None:
    trainer = _trained(corpus, spec)
    model, task = trainer.model.eval(), trainer.task
    example = next(task.batches([torch.arange(4)], 0, 0))
    before = trainer.evaluate(task.test)
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
    fine = _trainer(corpus, "frelu", weights=str(tmp_path / "relu.pt"))
    after = fine.evaluate(fine.task.test)
    assert after["bleu"] == pytest.approx(before["bleu"], abs=1e-6)
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-5)
    assert "relu.pt" in fine.facts["weights"]


@needs("sphinx", "babel", "tokenizers", "sacrebleu")
def test_it_trains_on_real_texts_that_come_with_a_package(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, sphinx_messages())
    texts = _read(folder)
    assert len(texts.train) > 100
    assert any("ü" in text for text in texts.train.target), "they are German"
    record = run_trial(_trial(folder, "sau:n=5", epochs=3, lr=5e-3))
    losses = [epoch.train["loss"] for epoch in record.epochs]
    assert losses == sorted(losses, reverse=True)
    assert 0 <= record.test["bleu"] <= 100
    assert {picture.truth for picture in record.pictures} <= set(texts.test.target)


@pytest.fixture(scope="session")
def short_real(real_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multi30k's sentences of at most seven words: what a tiny model learns in half a minute."""
    data, folder = DATASETS.item("multi30k").load(Source(real_texts)), tmp_path_factory.mktemp("short")

    def short(part: SentencePairs) -> Iterator[tuple[str, str]]:
        pairs = zip(part.source, part.target, strict=True)
        return (pair for pair in pairs if max(len(text.split()) for text in pair) <= 7)

    for name in ("train", "valid", "test"):
        write_part(folder, name, list(short(getattr(data, name))))
    return folder


@pytest.mark.network
def test_it_learns_to_translate_real_sentences(short_real: Path) -> None:
    settings = {"epochs": 4, "batch_size": 32, "lr": 5e-3, "warmup": 0.1}
    record = run_trial(_trial(short_real, "sau:n=5", **settings))
    losses = [epoch.train["loss"] for epoch in record.epochs]
    assert losses == sorted(losses, reverse=True)
    test = _read(short_real).test
    bleu = Bleu("de")
    copied = bleu(test.source, test.target)
    untrained = _trainer(short_real, "sau:n=5", **settings)
    chance = untrained.evaluate(untrained.task.validate)["bleu"]
    same = max(bleu([text] * len(test), test.target) for text in ("Ein Mann in einem blauen Hemd.", "Zwei Männer."))
    assert record.test["bleu"] > 2 * max(copied, chance, same), (record.test, copied, chance, same)
    assert record.test["token_accuracy"] > 0.25
    assert len({picture.guess for picture in record.pictures}) > 1

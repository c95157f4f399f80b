"""The 40 architectures of other libraries that surgery is tried on: random weights, small enough for a laptop.

The libraries are optional; each is imported when one of its models is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Architecture:
    """A model, and inputs to run it on.

    Attributes:
        name: ``library:name``.
        build: makes it with random weights.
        inputs: makes (positional, keyword) inputs for a run in eval mode.
        train_inputs: the same for a run in train mode; None for ``inputs``.
        traced: the same for finding the sites, where small inputs do not reach every branch; None for ``inputs``.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    train_inputs: Callable[[], Inputs] | None = None
    traced: Callable[[], Inputs] | None = None

    def model(self, seed: int = 0) -> nn.Module:
        """Make the model in eval mode, its batch norms calibrated on the inputs, so that no signal fades in them."""
        torch.manual_seed(seed)
        model = self.build()
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            args, kwargs = (self.train_inputs or self.inputs)()
            with torch.no_grad():
                model.train()(*args, **kwargs)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        return model.eval()


def _images(*shape: int) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        return (torch.randn(*shape, generator=torch.Generator().manual_seed(1)),), {}

    return inputs


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        return model

    return build


def _vision_transformer() -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=3, num_heads=3, hidden_dim=96, mlp_dim=192
    )
    return model


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, pretrained=False, **options)
        return model

    return build


def _transformers(name: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        model: nn.Module = getattr(transformers, name)(getattr(transformers, config)(**options))
        return model

    return build


def _detection(size: int) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        return ([torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))],), {}

    return inputs


def _detection_training(size: int) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        generator = torch.Generator().manual_seed(1)
        images = [torch.rand(3, size, size, generator=generator)]
        box = {"boxes": torch.tensor([[4.0, 4.0, size / 2, size / 2]]), "labels": torch.tensor([1])}
        return (images, [box]), {}

    return inputs


def _zeros(*shape: int) -> Callable[[], Inputs]:
    return lambda: ((torch.zeros(1).expand(*shape),), {})  # finding looks at shapes only: no memory


def _tokens(**more: Callable[[], Tensor]) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        ids = torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(1))
        return (), {"input_ids": ids} | {name: make() for name, make in more.items()}

    return inputs


def _ids() -> Tensor:
    return torch.randint(3, 90, (2, 5), generator=torch.Generator().manual_seed(2))


def _pixels(size: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def _pixel_values(size: int) -> Callable[[], Inputs]:
    return lambda: ((), {"pixel_values": _pixels(size)()})


def _speech() -> Inputs:
    features = torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(1))
    return (), {"input_features": features, "decoder_input_ids": _ids()}


_TORCHVISION = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 mnasnet0_5 mobilenet_v2 mobilenet_v3_small r3d_18 "
    "regnet_y_400mf resnet18 resnet50 shufflenet_v2_x0_5 squeezenet1_1 swin_t"
)
_TIMM = (
    "convnext_atto darknet53 efficientnet_lite0 ghostnet_050 hrnet_w18_small lcnet_050 poolformerv2_s12 regnetx_002 "
    "repvgg_a0 resnet26d"
)
"""Models that two images of 64×64 pixels serve, and one of clips."""

_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 99}


def _rows() -> list[Architecture]:
    small = _images(2, 3, 64, 64)
    deeplab = "deeplabv3_mobilenet_v3_large"
    clips = {"r3d_18": _images(2, 3, 4, 32, 32)}
    rows = [
        Architecture(f"torchvision:{name}", _torchvision(name), clips.get(name, small)) for name in _TORCHVISION.split()
    ]
    rows += [
        Architecture(f"torchvision:{deeplab}", _torchvision(deeplab, weights_backbone=None), small),
        Architecture("torchvision:googlenet", _torchvision("googlenet", init_weights=False), small),
        Architecture(
            "torchvision:inception_v3",
            _torchvision("inception_v3", init_weights=False, transform_input=False),
            _images(2, 3, 96, 96),
            _images(2, 3, 299, 299),
            _zeros(2, 3, 299, 299),  # the auxiliary head needs 17×17 features
        ),
        Architecture("torchvision:vit_b_16", _vision_transformer, _images(2, 3, 32, 32)),
        Architecture(
            "torchvision:ssd300_vgg16",
            _torchvision("ssd300_vgg16", weights_backbone=None, num_classes=3),
            _detection(300),
            _detection_training(300),
        ),
        Architecture(
            "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
            _torchvision(
                "fasterrcnn_mobilenet_v3_large_320_fpn",
                weights_backbone=None,
                num_classes=3,
                min_size=64,
                box_detections_per_img=10,
                rpn_pre_nms_top_n_test=50,
                rpn_post_nms_top_n_test=20,
            ),
            _detection(64),
            _detection_training(64),
        ),
    ]
    rows += [Architecture(f"timm:{name}", _timm(name), small) for name in _TIMM.split()]
    rows += [
        Architecture("timm:levit_128s", _timm("levit_128s", img_size=64), small),
        Architecture("timm:vit_tiny_patch16_224", _timm("vit_tiny_patch16_224", img_size=32), _images(2, 3, 32, 32)),
    ]
    return rows + _transformer_rows()


def _transformer_rows() -> list[Architecture]:
    vision = {**{k: v for k, v in _TINY.items() if k != "vocab_size"}, "image_size": 32, "patch_size": 16}
    whisper = {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 99,
        "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 20, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    }  # fmt: skip
    t5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": 99}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 99, "n_positions": 16}
    distilbert = {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2, "vocab_size": 99}
    return [
        Architecture("transformers:bert", _transformers("BertModel", "BertConfig", **_TINY), _tokens()),
        Architecture("transformers:gpt2", _transformers("GPT2Model", "GPT2Config", **gpt2), _tokens()),
        Architecture("transformers:llama", _transformers("LlamaModel", "LlamaConfig", **_TINY), _tokens()),
        Architecture("transformers:t5", _transformers("T5Model", "T5Config", **t5), _tokens(decoder_input_ids=_ids)),
        Architecture("transformers:vit", _transformers("ViTModel", "ViTConfig", **vision), _pixel_values(32)),
        Architecture(
            "transformers:distilbert", _transformers("DistilBertModel", "DistilBertConfig", **distilbert), _tokens()
        ),
        Architecture("transformers:whisper", _transformers("WhisperModel", "WhisperConfig", **whisper), _speech),
        Architecture(
            "transformers:clip",
            _transformers("CLIPModel", "CLIPConfig", text_config=_TINY, vision_config=vision, projection_dim=16),
            _tokens(pixel_values=_pixels(32)),
        ),
    ]


ARCHITECTURES: Mapping[str, Architecture] = {a.name: a for a in _rows()}
"""By name, e.g. ``"torchvision:resnet18"``."""

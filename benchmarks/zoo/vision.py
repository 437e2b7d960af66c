"""Networks for pictures, and CLIP's two towers."""

from __future__ import annotations

import transformers as hf
from torch import nn

from .architecture import Architecture, pictures, text

__all__ = ["VISION"]

PICTURES = pictures(32, "pixel_values")
LARGE_PICTURES = pictures(64, "pixel_values")
ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
PATCHES = ENCODER | {"image_size": 32, "patch_size": 8}


def vit() -> nn.Module:
    return hf.ViTForImageClassification(hf.ViTConfig(**PATCHES, num_labels=10))


def deit() -> nn.Module:
    return hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**PATCHES, num_labels=10))


def swin() -> nn.Module:
    """Windows of four by four patches, the second block of each stage shifted."""
    config = hf.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10
    )
    return hf.SwinForImageClassification(config)


def convnext() -> nn.Module:
    config = hf.ConvNextConfig(hidden_sizes=[16, 32, 48], depths=[1, 2, 1], num_stages=3, num_labels=10)
    return hf.ConvNextForImageClassification(config)


def resnet() -> nn.Module:
    config = hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64, 96], depths=[1, 2, 1], num_labels=10)
    return hf.ResNetForImageClassification(config)


def mobilenet_v2() -> nn.Module:
    return hf.MobileNetV2ForImageClassification(hf.MobileNetV2Config(image_size=64, depth_multiplier=0.35, num_labels=10))


def efficientnet() -> nn.Module:
    """Three stages of inverted bottlenecks with squeeze-excitation, kernels of 3 and 5."""
    config = hf.EfficientNetConfig(
        image_size=64,
        width_coefficient=0.25,
        depth_coefficient=1.0,
        kernel_sizes=[3, 3, 5],
        in_channels=[32, 16, 48],
        out_channels=[16, 48, 96],
        strides=[1, 2, 2],
        num_block_repeats=[1, 2, 2],
        expand_ratios=[1, 4, 4],
        hidden_dim=320,
        num_labels=10,
    )
    return hf.EfficientNetForImageClassification(config)


def segformer() -> nn.Module:
    """Answers per pixel (of a quarter of the sides)."""
    config = hf.SegformerConfig(
        num_encoder_blocks=3,
        depths=[1, 1, 1],
        sr_ratios=[4, 2, 1],
        hidden_sizes=[16, 32, 48],
        patch_sizes=[7, 3, 3],
        strides=[4, 2, 2],
        num_attention_heads=[1, 2, 4],
        mlp_ratios=[2, 2, 2],
        decoder_hidden_size=32,
        num_labels=5,
    )
    return hf.SegformerForSemanticSegmentation(config)


def clip_vision() -> nn.Module:
    return hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**PATCHES, projection_dim=24))


def clip_text() -> nn.Module:
    config = hf.CLIPTextConfig(
        **ENCODER,
        vocab_size=120,
        max_position_embeddings=20,
        projection_dim=24,
        bos_token_id=1,
        eos_token_id=119,
        pad_token_id=0,
    )
    return hf.CLIPTextModelWithProjection(config)


VISION = (
    Architecture("ViT", vit, PICTURES),
    Architecture("DeiT", deit, PICTURES),
    Architecture("Swin", swin, PICTURES),
    Architecture("ConvNeXt", convnext, LARGE_PICTURES),
    Architecture("ResNet", resnet, LARGE_PICTURES),
    Architecture("MobileNetV2", mobilenet_v2, LARGE_PICTURES),
    Architecture("EfficientNet", efficientnet, LARGE_PICTURES),
    Architecture("SegFormer", segformer, LARGE_PICTURES),
    Architecture("CLIP vision", clip_vision, PICTURES),
    Architecture("CLIP text", clip_text, text(16, 119, end=119)),
)

"""Networks for sound."""

from __future__ import annotations

import transformers as hf
from torch import nn

from .architecture import Architecture, noise

__all__ = ["AUDIO"]


def whisper_encoder() -> nn.Module:
    """The encoder as it classifies sound; 20 frames after its second convolution's stride."""
    config = hf.WhisperConfig(
        vocab_size=120,
        num_mel_bins=16,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_source_positions=20,
        classifier_proj_size=24,
        num_labels=5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return hf.WhisperForAudioClassification(config)


def wav2vec2() -> nn.Module:
    """Letters per frame out of raw sound: three strided convolutions, a grouped one for positions, two blocks."""
    config = hf.Wav2Vec2Config(
        vocab_size=24,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        conv_dim=(16, 16, 24),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 2, 2),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )
    return hf.Wav2Vec2ForCTC(config)


AUDIO = (
    Architecture("Whisper encoder", whisper_encoder, noise(16, 40, named="input_features")),
    Architecture("Wav2Vec2", wav2vec2, noise(400, named="input_values")),
)

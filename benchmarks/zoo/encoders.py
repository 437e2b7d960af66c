"""Encoders of text, and encoder-decoders."""

from __future__ import annotations

import transformers as hf
from torch import Tensor, nn

from .architecture import Architecture, text

__all__ = ["ENCODERS", "MeanPooled"]

LENGTH, VOCABULARY, WIDTH = 16, 120, 32
TEXT = text(LENGTH, VOCABULARY)
PAIRS = text(LENGTH, VOCABULARY, decoder_length=10)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}


class MeanPooled(nn.Module):
    """Sentence embeddings as MiniLM gives them: BERT's answers averaged over the words that are there."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=-1)


def bert() -> nn.Module:
    return hf.BertModel(hf.BertConfig(**SHAPE))


def bert_classifier() -> nn.Module:
    return hf.BertForSequenceClassification(hf.BertConfig(**SHAPE, num_labels=3))


def minilm() -> nn.Module:
    return MeanPooled(hf.BertModel(hf.BertConfig(**SHAPE | {"num_hidden_layers": 3}), add_pooling_layer=False))


def distilbert() -> nn.Module:
    config = hf.DistilBertConfig(
        vocab_size=VOCABULARY, dim=WIDTH, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=40, num_labels=3
    )
    return hf.DistilBertForSequenceClassification(config)


def roberta() -> nn.Module:
    return hf.RobertaForSequenceClassification(hf.RobertaConfig(**SHAPE, num_labels=3, pad_token_id=0))


def deberta() -> nn.Module:
    """As microsoft/deberta-v3-small is configured: positions only in the attention, keys shared."""
    config = hf.DebertaV2Config(
        **SHAPE,
        num_labels=3,
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        position_biased_input=False,
        norm_rel_ebd="layer_norm",
        pooler_hidden_size=WIDTH,
    )
    return hf.DebertaV2ForSequenceClassification(config)


def t5() -> nn.Module:
    config = hf.T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return hf.T5ForConditionalGeneration(config)


def bart() -> nn.Module:
    config = hf.BartConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_position_embeddings=40,
    )
    return hf.BartForConditionalGeneration(config)


ENCODERS = (
    Architecture("BERT", bert, TEXT),
    Architecture("BERT classifier", bert_classifier, TEXT),
    Architecture("MiniLM-like", minilm, TEXT),
    Architecture("DistilBERT", distilbert, TEXT),
    Architecture("RoBERTa", roberta, TEXT),
    Architecture("DeBERTa-v2", deberta, TEXT),
    Architecture("T5", t5, PAIRS),
    Architecture("BART", bart, PAIRS),
)

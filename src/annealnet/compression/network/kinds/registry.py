"""Which kind a module is: by its type, exactly. A subclass may compute something else, so it is not its parent's kind."""

from __future__ import annotations

from torch import Tensor, nn

from annealnet.compression.network.kinds.protocol import Kind, LayerKind

__all__ = ["bias_of", "kind_of", "layer_kind", "layer_words", "own_tensors", "register", "registered", "weight_of"]

_KINDS: dict[type[nn.Module], Kind | LayerKind] = {}


def register(*types: type[nn.Module], kind: Kind | LayerKind) -> None:
    """Makes a kind known for module types, in place of the one they had.

    Args:
        types: subclasses of ``nn.Module``; only these very classes are meant, not what is derived from them. The tracer does
            not look into them.
        kind: what is said of them.

    Raises:
        ValueError: when there is no type or one is not a module class, or the kind is not one.

    Example:
        >>> from annealnet.compression.network.kinds import Linear
        >>> class Projection(nn.Linear):
        ...     pass
        >>> register(Projection, kind=Linear("projection"))
        >>> kind_of(Projection(2, 3)).word, kind_of(nn.Softmax())
        ('projection', None)
    """
    if not isinstance(kind, Kind | LayerKind):
        raise ValueError(f"kind={kind!r} is not a Kind: derive it from LayerKind, NormKind or Kind")
    wrong = [found for found in types if not (isinstance(found, type) and issubclass(found, nn.Module))]
    if wrong or not types:
        raise ValueError(f"types={types!r}: give classes derived from nn.Module")
    _KINDS.update(dict.fromkeys(types, kind))


def registered() -> dict[type[nn.Module], Kind | LayerKind]:
    """Every module type with its kind."""
    return dict(_KINDS)


def kind_of(module: nn.Module) -> Kind | LayerKind | None:
    """The kind of a module, None where it is not known."""
    return _KINDS.get(type(module))


def layer_kind(module: nn.Module) -> LayerKind:
    """The kind of a layer whose weights go on a grid.

    Raises:
        ValueError: for any other module.

    Example:
        >>> layer_kind(nn.Linear(2, 3)).word
        'linear'
    """
    kind = kind_of(module)
    if not isinstance(kind, LayerKind):
        raise ValueError(
            f"layer={type(module).__name__} is no layer whose weights go on a grid ({layer_words()}): register a kind for it"
        )
    return kind


def layer_words() -> str:
    """The types of layer whose weights go on a grid, in words: «Linear, Conv1d or Conv2d»."""
    *most, last = [found.__name__ for found, kind in _KINDS.items() if isinstance(kind, LayerKind)]
    return f"{', '.join(most)} or {last}" if most else last


def own_tensors(name: str, module: nn.Module) -> tuple[str, str]:
    """The names of a layer's weight and bias in the state dict of a network in which it is called ``name``.

    Example:
        >>> own_tensors("head", nn.Linear(2, 3))
        ('head.weight', 'head.bias')
    """
    kind, ahead = layer_kind(module), f"{name}." if name else ""
    return f"{ahead}{kind.weight_name}", f"{ahead}{kind.bias_name}"


def weight_of(module: nn.Module) -> Tensor:
    """The weights of a layer, ``(outputs, inputs / groups, *kernel)``: the parameter itself.

    Example:
        >>> weight_of(nn.Conv1d(4, 6, 3, groups=2)).shape
        torch.Size([6, 2, 3])
    """
    return layer_kind(module).weight(module)


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias of a layer, ``(outputs,)``: the parameter itself, None where there is none.

    Example:
        >>> bias_of(nn.Linear(2, 3, bias=False)) is None
        True
    """
    return layer_kind(module).bias(module)

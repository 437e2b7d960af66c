"""Which kind a module is: by its type, or that of a parent whose forward it has.

A subclass with a forward of its own may compute something else: only the graph of operations can say what its weight is
multiplied with, so that its kind is its parent's ``inside``. Types of packages that need
not be installed go by their names. A parameter that no kind knows is a :class:`.Matrix`: a layer of its own.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn.utils import parametrize

from annealnet.compression.network.kinds.matrix import Matrix, MatrixKind
from annealnet.compression.network.kinds.protocol import Kind, LayerKind
from annealnet.compression.network.kinds.recurrent import Gates, GatesKind, is_recurrent

__all__ = [
    "bias_of",
    "kind_of",
    "layer_at",
    "layer_kind",
    "layer_words",
    "matrix_of",
    "no_layers",
    "own_tensors",
    "register",
    "register_inside",
    "register_named",
    "registered",
    "weight_of",
]

_KINDS: dict[type[nn.Module], Kind | LayerKind] = {Matrix: MatrixKind(), Gates: GatesKind()}
_NAMED: dict[str, Kind | LayerKind] = {}
_INSIDE: dict[type[nn.Module], LayerKind] = {}


def register(*types: type[nn.Module], kind: Kind | LayerKind) -> None:
    """Makes a kind known for module types, in place of the one they had.

    Args:
        types: subclasses of ``nn.Module``: these very classes are meant, and what is derived from them without a forward of
            its own. The tracer does not look into them.
        kind: what is said of them.

    Raises:
        ValueError: when there is no type or one is not a module class, or the kind is not one.

    Example:
        >>> from annealnet.compression.network.kinds import Linear
        >>> class Projection(nn.Linear):
        ...     def forward(self, input):
        ...         return super().forward(input)
        >>> kind_of(Projection(2, 3)).inside
        True
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


def register_inside(*types: type[nn.Module], kind: LayerKind) -> None:
    """Makes a kind known for subclasses that have a forward of their own around the same product."""
    _INSIDE.update(dict.fromkeys(types, replace(kind, inside=True)))


def register_named(*names: str, kind: Kind | LayerKind) -> None:
    """Makes a kind known for types of a package that need not be there: ``"package.module.Class"``."""
    _NAMED.update(dict.fromkeys(names, kind))


def registered() -> dict[type[nn.Module], Kind | LayerKind]:
    """Every module type with its kind."""
    return dict(_KINDS)


def kind_of(module: nn.Module) -> Kind | LayerKind | None:
    """The kind of a module, None where it is not known."""
    own = type(module)
    if parametrize.is_parametrized(module):  # its weight is computed
        return None
    for cls in own.__mro__:
        if cls is not own and getattr(cls, "forward", None) is not own.forward:
            break
        kind = _KINDS.get(cls) or _NAMED.get(f"{cls.__module__}.{cls.__qualname__}")
        if kind is not None:
            return kind
    parent = next((cls for cls in own.__mro__ if cls in _INSIDE), None)
    return None if parent is None else _INSIDE[parent]


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


def layer_at(model: nn.Module, name: str) -> nn.Module:
    """The layer that a network's graph calls ``name``: a module, or a parameter of one that holds several matrices.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.LSTM(3, 4))
        >>> layer_at(net, "0") is net[0], type(layer_at(net, "1.weight_hh_l0")).__name__
        (True, 'Gates')
    """
    owner, _, leaf = name.rpartition(".")
    holder = model.get_submodule(owner)
    if isinstance(holder._parameters.get(leaf), nn.Parameter):
        return matrix_of(holder, leaf)
    return model.get_submodule(name)


def matrix_of(owner: nn.Module, leaf: str) -> Matrix:
    """A parameter of a module as a layer of its own."""
    return Gates(owner, leaf) if is_recurrent(owner, leaf) else Matrix(owner, leaf)


def layer_words() -> str:
    """The types of layer whose weights go on a grid, in words: «Linear, Conv1d or Conv2d»."""
    found = [cls.__name__ for cls, kind in _KINDS.items() if isinstance(kind, LayerKind) and not issubclass(cls, Matrix)]
    *most, last = found
    return f"{', '.join(most)} or {last}" if most else last


def no_layers(work: str) -> str:
    """What is wrong with a network in which no layer was found, and what helps.

    Example:
        >>> no_layers("quantise").partition(": ")[2]
        'there is nothing to quantise; take hooks off its layers, or register a kind for a layer of your own'
    """
    return (
        f"model has no {layer_words()} layer that could be traced: there is nothing to {work}; take hooks off its layers, "
        "or register a kind for a layer of your own"
    )


def own_tensors(name: str, module: nn.Module) -> tuple[str, ...]:
    """The names of a layer's weight, and of its bias if it has one, in the state dict of a network that calls it ``name``.

    Example:
        >>> own_tensors("head", nn.Linear(2, 3))
        ('head.weight', 'head.bias')
    """
    if isinstance(module, Matrix):
        owner, bias = name.rpartition(".")[0], module.bias_leaf
        return (name,) if bias is None else (name, f"{owner}.{bias}" if owner else bias)
    kind, ahead = layer_kind(module), f"{name}." if name else ""
    weight, bias = f"{ahead}{kind.weight_name}", f"{ahead}{kind.bias_name}"
    return (weight,) if kind.bias(module) is None else (weight, bias)


def weight_of(module: nn.Module) -> Tensor:
    """The weights of a layer, ``(outputs, inputs / groups, *kernel)``: the parameter itself, or a view of it.

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

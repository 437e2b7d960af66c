"""Figures of several seeds, as every table shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev

__all__ = ["best_in_bold", "mean_and_spread", "summarise"]


def summarise(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation of a sample, over n − 1 (0 for one value).

    Example:
        >>> summarise([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    found = [float(value) for value in values]
    return mean(found), stdev(found) if len(found) > 1 else 0.0


def mean_and_spread(values: Iterable[float], shown: str = ".2f", spread_shown: str | None = None) -> str:
    """Mean ± standard deviation (:func:`summarise`), in a cell.

    Args:
        values: one per seed.
        shown: format of the mean.
        spread_shown: format of the deviation; None is the mean's.

    Example:
        >>> mean_and_spread([91.0, 92.0]), mean_and_spread([1234.0, 1236.0], ".4g", ".2g")
        ('91.50 ± 0.71', '1235 ± 1.4')
    """
    middle, spread = summarise(values)
    return f"{middle:{shown}} ± {spread:{spread_shown or shown}}"


def best_in_bold(
    cells: Sequence[str], figures: Sequence[float | None], best: Callable[[Iterable[float]], float] = max
) -> list[str]:
    """The cells of a column (or of a row) in Markdown, the best in bold; those that show the same figure tie.

    Args:
        cells: as they are shown, the figure first.
        figures: of each cell; None where there is none.
        best: ``max`` or ``min``.

    Example:
        >>> best_in_bold(["91.50 ± 0.71", "91.50 ± 0.20", "–"], [91.503, 91.498, None])
        ['**91.50 ± 0.71**', '**91.50 ± 0.20**', '–']
        >>> best_in_bold(["0.1", "0.2"], [0.1, 0.2], best=min)
        ['**0.1**', '0.2']
    """
    known = [figure for figure in figures if figure is not None]
    if not known:
        return list(cells)
    first = cells[list(figures).index(best(known))].split()[0]
    ties = [figure is not None and cell.split()[0] == first for cell, figure in zip(cells, figures, strict=True)]
    return [f"**{cell}**" if tied else cell for cell, tied in zip(cells, ties, strict=True)]

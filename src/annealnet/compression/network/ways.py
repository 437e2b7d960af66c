"""The ways into a network: how labels get onto its channels, and what each way asks of those who open it again."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Way"]


class Way(StrEnum):
    """How a network was opened.

    =============  ============================================================================================
    ``symbolic``   ``torch.fx``: cheap, and enough where the forward does not ask for shapes and masks
    ``export``     ``torch.export``: whatever PyTorch can export; what may be removed is tried (:mod:`.trial`)
    ``stream``     the same with the residual stream removable (:mod:`.stream`), where it is asked for
    ``hooks``      the modules in order of execution: everything can be rounded, nothing removed
    =============  ============================================================================================

    Example:
        >>> Way("export").keeps_sizes, Way("symbolic").needs_values
        (True, False)
    """

    SYMBOLIC = "symbolic"
    EXPORT = "export"
    STREAM = "stream"
    HOOKS = "hooks"

    def __repr__(self) -> str:
        """The word, as plans and reports say it."""
        return repr(self.value)

    @property
    def keeps_sizes(self) -> bool:
        """Whether sizes stand in its graph as numbers, so that what may be removed has to be tried."""
        return self in (Way.EXPORT, Way.STREAM)

    @property
    def needs_values(self) -> bool:
        """Whether the network is run on real numbers; else shapes alone, without memory for values, open it."""
        return self is not Way.SYMBOLIC

"""What an edit is: one named change that applies to any script with a place for it.

This file decides the form in which the catalogue's files state their edits. It refuses to know any
single edit, and whether an edit is a good idea.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from node.agent.catalogue.script import NotApplicableError, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.agent.catalogue.files import Files

OUTPUT_LAYERS: Final = '("attention.out.weight", "mlp.down.weight")'
"""Names of the matrices that write into the residual stream, as a script spells them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """One change of the catalogue.

    Attributes:
        kind: category of the change; the search learns per kind.
        change: stable name, such as `norm:rmsnorm`; peers look an edit up by it.
        title: what it does, in a few words.
        rationale: why it might help, and at what cost.
        expected_effect: what should be seen if the rationale is right.
        transform: the change itself; raises `NotApplicableError` where the script has no place
            for it or has it already.
    """

    kind: str
    change: str
    title: str
    rationale: str
    expected_effect: str
    transform: Callable[[Script], Script]

    def apply(self, script: Script | Files) -> Script:
        """Returns the changed script.

        Raises:
            NotApplicableError: the script has no place for the edit, or would stay as it is.
        """
        if not isinstance(script, Script):
            raise NotApplicableError("this edit is for one Python script")
        try:
            changed = self.transform(script)
        except RecursionError:
            raise NotApplicableError("the script is nested too deeply to edit") from None
        if changed.same_as(script):
            raise NotApplicableError("the script has this change already")
        return changed

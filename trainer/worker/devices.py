"""Which devices torch can compute on here, printed as JSON: a program of its own, run by the node.

This file decides how torch is asked. It refuses to know which device a node should use: nothing but
the in-sandbox side of the trainer imports torch, so the node has to ask in another process.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def describe(torch: Any) -> dict[str, Any]:
    """Returns what torch says of GPUs.

    Args:
        torch: the module, or something that answers like it.

    Returns:
        `cuda`: the first device's name, empty without one; `bf16`: whether it computes in bfloat16;
        `mps`: whether Apple's GPU is there; `torch`: the version.
    """
    name, bf16 = "", False
    if torch.cuda.is_available() and torch.cuda.device_count() > 0:
        name = str(torch.cuda.get_device_name(0)) or "unnamed"
        bf16 = bool(torch.cuda.is_bf16_supported())
    mps = getattr(torch.backends, "mps", None)
    return {
        "cuda": name,
        "bf16": bf16,
        "mps": bool(mps is not None and mps.is_available()),
        "torch": str(torch.__version__),
    }


def main() -> None:
    """Prints what torch says as one line of JSON."""
    import torch

    sys.stdout.write(json.dumps(describe(torch)) + "\n")


if __name__ == "__main__":
    main()

"""What no paper mentions.

A command imports this first: then a Ctrl-C is one line already while torch is imported.
"""

import sys
from pathlib import Path


def told(kind, error, trace):
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


COMMAND = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
if COMMAND.resolve().parent == Path(__file__).resolve().parent.parent:  # not of others who import
    sys.excepthook = told

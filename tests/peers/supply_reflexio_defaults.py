"""Put the module that the reflexio-client 0.2.2 wheel forgot beside it, from the server's wheel of the time.

Without it ``import reflexio`` fails for everybody. ``python supply_reflexio_defaults.py FOLDER_OF_WHEELS``, with the
Python that the client was installed for.
"""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from pathlib import Path

MODULE = "reflexio/defaults.py"


def main() -> None:
    (wheel,) = Path(sys.argv[1]).glob("reflexio_ai-*.whl")
    target = Path(sysconfig.get_paths()["purelib"]) / MODULE
    if target.exists():
        print(f"the client has its {MODULE}")
        return
    with zipfile.ZipFile(wheel) as archive:
        target.write_bytes(archive.read(MODULE))
    print(f"reflexio-client lacks {MODULE}; supplied from {wheel.name}")


main()

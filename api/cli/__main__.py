"""``python -m affidavit.api.cli`` is the ``affidavit`` command."""

from . import main

main()

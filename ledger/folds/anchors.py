"""What the log says of trusted time: which checkpoints were stamped, and by whom; a claim until it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from ..entries.entry import Entry
from ..events import AnchorRecorded

ANCHOR_STREAM = "anchors"


@dataclass(frozen=True, slots=True)
class Anchor:
    """What entry ``seq``, recorded ``at``, says: the checkpoint of ``size`` entries with ``root`` was stamped.

    ``token_sha256`` (hex) names the token; ``time`` is what the log says is in it, in the form of ``at``.
    """

    seq: int
    at: str
    size: int
    root: bytes
    token_sha256: str
    time: str
    authority: str


def fold_anchors(entries: Iterable[Entry]) -> Iterator[Anchor]:
    """The anchors that parsed entries record, in their order; those of other streams are passed over."""
    for entry in entries:
        if (entry["stream"], entry["type"]) != (ANCHOR_STREAM, AnchorRecorded.type_name):
            continue
        try:
            event = AnchorRecorded.model_validate(entry["data"])
        except ValidationError:
            continue  # it claims nothing that could be checked, and bounds nothing
        root = bytes.fromhex(event.root)
        yield Anchor(entry["seq"], entry["at"], event.size, root, event.token, event.time, event.authority)

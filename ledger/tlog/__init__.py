"""A transparency log by its public formats (C2SP, RFC 6962, RFC 3161): bytes in, bytes or one error out; no storage."""

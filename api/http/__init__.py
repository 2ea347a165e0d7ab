"""The HTTP API: the peer's endpoints, compatible, and ours beside them. ``app.create_app`` wires it."""

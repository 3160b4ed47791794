"""Starlette and Redis as a peer: `peer` starts both, `app` is the service."""

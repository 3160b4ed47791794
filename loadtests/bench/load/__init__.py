"""The generator: clients lean enough that the server is always the limit.

`http` keeps one request under way on each connection; `websocket` writes operations, or receives events
and proves that none is missing. Everything is callbacks: no task and no future per operation.
"""

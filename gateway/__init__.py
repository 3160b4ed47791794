"""The gateway room: who is asking, over which wire, how much may they ask.

Read in this order:
    protocol    what clients may send and are sent, as types
    errors      every error a client can be told, in one table
    procedures  the procedures over HTTP, and what each becomes
    rpc, orpc   HTTP to procedures, plain and in oRPC's envelope
    http        the short way from uvicorn's parser to rpc
    session     one WebSocket: what it listens to and what it says
    hub         the way of an event to all who listen
    listen      the handshake
    sockets     uvicorn's WebSocket protocol, owned by a session
    keepalive   finding dead peers
    origin      which browsers may come in
    app         the wiring of one gateway
    deploy      gateways as Ray actors
    config      the settings
    serve       `counters serve`
    cli         the command; commands and terminal are its client side

    frames, openapi, server and web/ serve the others.

Imports point down: this room knows actors, and not storage.
"""

"""The storage room: what is durable, and who may write it.

Read in this order:
    records     what crosses the door: rows and commits, frozen
    errors      what can go wrong
    tables      the shape on disk (SQLModel)
    schema      which shape a database has, and how it gets the present one (migrations)
    engine      opening a database, and what differs between one and another
    sqlite      … a file
    postgres    … a server
    holder      who keeps all others from writing a file
    store       the contract, and its keeper on SQL
    thread      where its calls run, away from the event loop
    memory      the same contract in a dict

Imports point down: this room knows nothing of actors or gateways.
"""

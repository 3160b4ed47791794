"""The actors room: what a counter is, where it lives, and how its operations become durable.

Read in this order:
    core/       the rules: pure, no waiting, no clock
    messages    what crosses a link
    activation  one counter in memory, and the bytes that are shown of it
    members     who is known to like what
    round       what a host does with a batch: prepare, apply, commit, encode, settle
    host        the loop around the rounds; ordinary Python
    queries     questions that wake nobody
    link        the stream between a gateway and a host, both ends
    placement   from a name to its host
    router      a gateway's way to the hosts, across moves and crashes
    supervisor  who is there
    directory   following the supervisor's table
    stub        the way for Ray tasks and scripts
    runtime     the one place where classes become Ray actors

    encoding, clock, errors, logs and settings serve the others.

Imports point down: this room knows storage, and nothing of gateways.
"""

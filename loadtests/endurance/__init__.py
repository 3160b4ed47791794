"""What wears a service out: readers that do not read, storms of reconnects, years of comings and goings, floods.

    python -m loadtests.endurance slow_readers|resume|leak|floods [--quick]

In reading order: `command` (start, run, print, exit code), `verdict` (figures and bars), `clients` (lean sockets that
behave), `raw` (bare ones that do not), `probe` (a client that measures what everybody else would notice); then
one module for each command.
"""

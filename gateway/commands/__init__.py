"""The client commands: `counters get|add|sub|set|reset|watch|list|ps|scale|restart-hosts`.

They talk to a running service over HTTP and WebSocket and know nothing of the rooms behind it. In reading order:
`errors` (what ends a command), `address`, `answers` (judging one; pure), `service` (asking over HTTP), then the
commands by their noun: `counters`, `watch`, `hosts`; `terminal` (what is printed) and `arguments`.
"""

"""A worker of another program: hears that a key in Redis has expired, and has the counter behind it reset.

    REDIS_URL=redis://localhost RESET_SECRET=… python examples/reset_worker.py

It knows nothing of the service but its address, the name of the key, and the secret.
"""

from __future__ import annotations

import json
import os
import urllib.request

import redis

KEY = os.environ.get("COUNTER_KEY", "contador_reset")
SERVICE = os.environ.get("COUNTERS_URL", "http://127.0.0.1:8094")

store = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
channel = store.pubsub()
channel.psubscribe("__keyevent@*__:expired")
print(f"listening for {KEY}", flush=True)
for message in channel.listen():
    if message["type"] == "pmessage" and message["data"] == KEY.encode():
        request = urllib.request.Request(f"{SERVICE}/api/reset-counter", b"{}", method="POST")
        request.add_header("content-type", "application/json")
        request.add_header("x-secret", os.environ["RESET_SECRET"])
        with urllib.request.urlopen(request, timeout=10) as response:
            print(json.dumps(json.load(response)), flush=True)

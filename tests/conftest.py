"""What all tests share."""

import os

from hypothesis import settings

# Where a run decides whether a change may land it looks at the same examples every time; elsewhere it goes on searching.
settings.register_profile("decides", derandomize=True, deadline=None)
settings.register_profile("searches", deadline=None)
settings.load_profile("decides" if os.environ.get("CI") else "searches")

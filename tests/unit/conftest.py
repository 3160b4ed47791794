"""Property tests here are about behaviour, never about speed: a busy machine must not fail them."""

import os

from hypothesis import settings

# Every run looks at other examples, except where a red build has to be somebody's fault.
settings.register_profile("steady", deadline=None, max_examples=100, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("steady")

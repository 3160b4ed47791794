"""`python -m loadtests.endurance`."""

import sys

from loadtests.endurance.command import main

sys.exit(main(sys.argv[1:]))

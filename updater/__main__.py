# SPDX-License-Identifier: Apache-2.0
"""`python -m updater`: the same as `caflip`."""

import sys

from updater.cli import main

if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`; starts itself again with sudo where it is not run by root.

Root builds the images, and puts the measured processes before those of other sessions.
"""

import os
import sys

from bench.run import main

if __name__ == "__main__":
    if os.geteuid() != 0:
        sudo = ["sudo", "--preserve-env=CAFLIP_BENCH_DIR", sys.executable, "-m", "bench"]
        os.execvp("sudo", [*sudo, *sys.argv[1:]])
    sys.exit(main())

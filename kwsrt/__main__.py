"""`python -m kwsrt` is `kwsrt`."""

import sys

from kwsrt.cli import main

if __name__ == "__main__":
    sys.exit(main())

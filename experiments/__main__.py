"""The only entry point: ``python -m experiments COMMAND``, the same as ``warpmark COMMAND``."""

import sys

from experiments.command_line import main

if __name__ == "__main__":
    main(sys.argv[1:])

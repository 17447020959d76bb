"""``python -m lakeservice`` is the command line."""

from lakeservice.cli import main

main()

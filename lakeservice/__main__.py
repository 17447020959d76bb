"""``python -m lakeservice`` is the command line."""

from lakeservice.cli import main

if __name__ == "__main__":
    main()

"""``python -m paratope``: the command line."""

from paratope.cli import main

if __name__ == "__main__":
    main()

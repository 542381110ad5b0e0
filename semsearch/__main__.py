"""`python -m semsearch` is the command line."""

from semsearch.surfaces.cli import main

if __name__ == "__main__":
    main()

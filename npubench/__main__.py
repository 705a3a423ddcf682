"""``python -m npubench``."""

from npubench.cli.app import main

if __name__ == "__main__":
    main()

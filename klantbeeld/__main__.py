"""`python -m klantbeeld`, where the command itself is not on the path."""

from klantbeeld.cli import main

if __name__ == "__main__":
    main()

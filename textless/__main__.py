"""`python -m textless`, which is also what torchrun launches."""

from textless.cli import main

if __name__ == "__main__":
    main()

"""`python -m vitascope`, which `torchrun -m vitascope` needs."""

from vitascope.cli.main import main

if __name__ == "__main__":
    main()

"""Entry point of the `datacar` command: arguments in, calls out."""


def main() -> None:
    """Run the command line."""

"""`python -m imagerepo` and the console script."""


def main() -> None:
    from imagerepo.cli import app

    app()


if __name__ == "__main__":
    main()

"""Run the command line as `python -m driftline_client`, where its script is not on the path."""

from driftline_client.cli.main import main

if __name__ == "__main__":
    main()

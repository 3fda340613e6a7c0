"""`python -m otlp_receiver`, the same as `otlp-receiver`."""

from otlp_receiver.cli.main import main

if __name__ == "__main__":
    main()

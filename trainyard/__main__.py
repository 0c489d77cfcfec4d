"""`python -m trainyard` is the command `trainyard`."""

from trainyard.main import app

if __name__ == "__main__":
    app(prog_name="trainyard")

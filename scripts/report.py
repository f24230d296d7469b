"""Write a page about a run, report.html in its folder: python scripts/report.py RUN."""
from dcgan_mx.cli.main import run_script

if __name__ == "__main__":
    run_script("report")

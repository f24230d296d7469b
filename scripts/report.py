"""Write a page about a run, report.html in its folder: python scripts/report.py RUN."""
from dcgan_mx.commands import cli
from dcgan_mx.pages import report


def main():
    parser = cli.Parser("Write report.html into a run's folder: curves, pictures over time, "
                        "settings. It is one file that needs no other and no network.")
    parser.add("run", "the folder of the run, which may still be training", metavar="RUN")
    print(report.write_report(parser.parse_args().run))


if __name__ == "__main__":
    cli.run(main)

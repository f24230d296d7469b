"""Run every command of the README, as a new user does.

    python tests/helpers/first_hour.py            in a fresh clone; 40 minutes on two cores
    python tests/helpers/first_hour.py --quick    20 steps of every training instead of an epoch

Each command must exit with its status and print its pattern. `tests/test_docs.py` compares the list
with the README.
"""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DONE = r"finished: .*; saved in runs/\S+\nto train longer: "
# Command, status, what it prints. RUN is the newest run of digits, FOLDER one of pictures.
HOUR = [
    ("make train", 0, DONE),
    ("python3 -m venv .venv && . .venv/bin/activate", 0, ""),
    ("pip install . && pip install --no-deps mxnet==1.9.1", 0, ""),
    ("dcgan-mx sample --pretrained mnist", 0, "samples.png: 64 images of step"),
    ("dcgan-mx train --dataset mnist --gpu 0 --num-epochs 1", 0, DONE),
    ("python scripts/train.py --dataset mnist --gpu 0", 0, DONE),
    ("dcgan-mx --help", 0, "train  +train a DCGAN as in the blog post"),
    ("dcgan-mx doctor", 0, "Training can start"),
    ("dcgan-mx sample RUN", 0, "samples.png: 64 images of step"),
    ("dcgan-mx sample RUN --interpolate 1 2 --steps 10", 0, "interpolation.png: 10 images"),
    ("dcgan-mx sample RUN --traverse 3 --num-images 4", 0, "sweep.png: 32 images"),
    ('dcgan-mx sample RUN --arithmetic "1,2,3 - 4,5,6 + 7,8"', 0, "arithmetic.png: 15 images"),
    ("dcgan-mx report RUN", 0, "report.html"),
    ("dcgan-mx evaluate RUN", 0, "evaluation.png: 16 images"),
    ("dcgan-mx animate RUN", 0, "gout.gif"),
    ("dcgan-mx export RUN digits.html", 0, "digits.html: G of step"),
    ("dcgan-mx train --resume --run-dir RUN", 0, "finished: .*\nto train longer: .*--resume"),
    ("dcgan-mx train --dataset folder --data-path FOLDER", 0, DONE),
    ("dcgan-mx train --dataset mnist --num-epochs 1 --cpu-devices 2", 0, DONE),
    ("dcgan-mx launch -n 2 -- dcgan-mx train --dataset mnist --num-epochs 1", 0,
     r"to train longer: dcgan-mx launch -n 2 -- dcgan-mx train --resume"),
    ("dcgan-mx walkthrough", 0, "walkthrough/index.html"),
    ("make docs", 0, "see docs/_build/html/index.html"),
    ("make test", 0, r"\d+ passed"),
    ('make test-slow ARGS="-k blogs_loop"', 0, "1 passed"),
]
# What the README names and nobody has to run in the first hour.
LATER = ("make install-gpu",)


def shorten(command, quick):
    """Let a training do 20 steps; one of digits without a limit of its own always."""
    if quick and command == "make train":
        return 'make train ARGS="--max-steps 20"'
    if quick and command == "dcgan-mx walkthrough":
        return f"{command} --quick"
    trains = re.search(r" train | scripts/train.py ", command) and "--resume" not in command
    limited = "--num-epochs" in command or "FOLDER" in command
    return f"{command} --max-steps 20" if trains and (quick or not limited) else command


def fill(command, run, folder):
    """Put real names in the place of RUN and FOLDER."""
    return command.replace("RUN", run).replace("FOLDER", str(folder))


def main():
    """Run the hour; leave at the first command that does not do what it should."""
    quick = "--quick" in sys.argv[1:]
    folder = ROOT / "runs" / "pictures"
    # What make was called with is not for the makes in here.
    environ = {name: value for name, value in os.environ.items()
               if name not in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")}
    environ["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environ['PATH']}"
    for command, status, pattern in HOUR:
        if "FOLDER" in command and not folder.exists():
            subprocess.run([ROOT / ".venv" / "bin" / "python", "-c", DRAW, folder], check=True)
        runs = sorted((ROOT / "runs").glob("mnist-*"), key=lambda path: path.stat().st_mtime)
        run = str(runs[-1].relative_to(ROOT)) if runs else ""
        line = fill(shorten(command, quick), run, folder.relative_to(ROOT))
        start = time.monotonic()
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=environ, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        good = done.returncode == status and re.search(pattern, done.stdout)
        word = "well" if good else "NOT AS IT SHOULD"
        print(f"{word}  {time.monotonic() - start:6.0f} s  {line}", flush=True)
        if not good:
            sys.exit(f"{done.stdout[-3000:]}\nstatus {done.returncode}, looked for {pattern!r}")


DRAW = """
import sys
from pathlib import Path
import cv2, numpy as np
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
rng = np.random.default_rng(0)
for i in range(80):
    image = sum(cv2.resize(rng.normal(0, 300 / n, (n, n, 3)), (300, 200)) for n in (4, 9))
    cv2.imwrite(str(folder / f"{i}.jpg"), (128 + image).clip(0, 255).astype(np.uint8))
"""

if __name__ == "__main__":
    main()

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
DONE = r"finished: .*saved in runs/\S+"
# Command, exit code, pattern of the output. RUN is the newest run on MNIST, FOLDER has images.
HOUR = [
    ("make train", 0, DONE),
    ("python3 -m venv .venv && . .venv/bin/activate", 0, ""),
    ("pip install . && pip install --no-deps mxnet==1.9.1", 0, ""),
    ("dcgan-mx sample --pretrained mnist", 0, "samples.png: 64 images of step"),
    ("dcgan-mx train --preset digits --gpu 0 --num-epochs 1", 0, DONE),
    ("python scripts/train.py --dataset mnist --gpu 0", 0, DONE),
    ("dcgan-mx doctor", 0, "Training can start"),
    ("dcgan-mx sample RUN", 0, "samples.png: 64 images of step"),
    ("dcgan-mx sample RUN --interpolate 1 2", 0, "interpolation.png: 8 images"),
    ("dcgan-mx report RUN", 0, "report.html"),
    ("dcgan-mx runs", 0, r"runs/mnist-\S+: .*\n  step "),
    ("dcgan-mx evaluate RUN", 0, "evaluation.png"),
    ("dcgan-mx animate RUN", 0, "gout.gif"),
    ("dcgan-mx export RUN digits.html", 0, "digits.html: G of step"),
    ("dcgan-mx train --resume --run-dir RUN", 0, "finished: "),
    ("dcgan-mx train --preset images --data-path FOLDER", 0, DONE),
    ("make test", 0, r"\d+ passed"),
]
# Commands of the README that need a GPU.
LATER = ("make install-gpu",)


def shorten(command, quick):
    """Limit a training to 20 steps, with `quick` or if the command has no limit of its own."""
    if quick and command == "make train":
        return 'make train ARGS="--max-steps 20"'
    trains = re.search(r" train | scripts/train.py ", command) and "--resume" not in command
    limited = "--num-epochs" in command or "FOLDER" in command
    return f"{command} --max-steps 20" if trains and (quick or not limited) else command


def main():
    """Run the commands, and stop at the first one that fails."""
    quick = "--quick" in sys.argv[1:]
    # The variables of an outer make must not reach the inner ones.
    environ = {name: value for name, value in os.environ.items()
               if name not in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")}
    environ["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environ['PATH']}"
    for command, status, pattern in HOUR:
        if "FOLDER" in command:
            subprocess.run([ROOT / ".venv" / "bin" / "python", "-c", DRAW], cwd=ROOT, check=True)
        runs = sorted((ROOT / "runs").glob("mnist-*"), key=lambda path: path.stat().st_mtime)
        line = shorten(command, quick).replace("FOLDER", "runs/images").replace(
            "RUN", f"runs/{runs[-1].name}" if runs else "")
        start = time.monotonic()
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=environ, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        good = done.returncode == status and re.search(pattern, done.stdout)
        seconds = time.monotonic() - start
        print(f"{'ok' if good else 'FAILED':6}  {seconds:6.0f} s  {line}", flush=True)
        if not good:
            sys.exit(f"{done.stdout[-3000:]}\nexit code {done.returncode}, expected {pattern!r}")


DRAW = """
import os, cv2, numpy as np
os.makedirs("runs/images", exist_ok=True)
rng = np.random.default_rng(0)
for i in range(80):
    image = sum(cv2.resize(rng.normal(0, 300 / n, (n, n, 3)), (300, 200)) for n in (4, 9))
    cv2.imwrite(f"runs/images/{i}.jpg", (128 + image).clip(0, 255).astype(np.uint8))
"""

if __name__ == "__main__":
    main()

"""Measure an animator against the source picture left as it is.

Teaches `headwarp.evaluate`: a clip's first frame is driven by every frame of the same clip, so that the
truth is known; `copy` is the floor. Where you name no clips, people that nobody is are drawn.

    python examples/10_evaluate.py --clips my_clips --animator geometry pwm --output outputs/evaluate
"""

import json
from pathlib import Path

import tyro

import headwarp
from headwarp.tools import synth
from headwarp.training.data.atomic import write_json

SHOWN = ("l1", "psnr", "ssim", "akd")


def main(
    clips: Path | None = None,
    animator: tuple[str, ...] = ("geometry", "tps"),
    output: Path = Path("outputs/examples/evaluate"),
    people: int = 2,
    frames: int = 16,
    size: int = 256,
):
    if clips is None:
        drawn = output / "drawn"
        synth.run(synth.Synth(drawn, identities=people, frames=frames, size=size, test_share=0))
        clips = drawn / "train"
    output.mkdir(parents=True, exist_ok=True)
    report = headwarp.evaluate(clips, animator, sheet=output / "sheet.png")
    write_json(output / "report.json", report)

    print(f"{'':<12}" + "".join(f"{name:>9}" for name in SHOWN))
    for name, metrics in report["metrics"].items():
        print(f"{name:<12}" + "".join(f"{metrics[key]:9.3f}" for key in SHOWN))
    for key in SHOWN:  # every number comes with what it means
        print(f"{key}: {report['definitions'][key]}")
    for clip, reason in report["failed"].items():
        print(f"not measured: {clip}: {reason}")
    print("protocol:", json.dumps(report["protocol"], default=str)[:200], "...")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

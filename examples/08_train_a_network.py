"""Train a small network on drawn people, then animate a photo with it.

Teaches `synth`, `train` and checkpoints, from Python: a command is a frozen dataclass and a function `run`.
The numbers here are for looking around; docs/training.md tells what a real run takes. Needs the extra
`train`.

    python examples/08_train_a_network.py --steps 300 --output outputs/train
"""

from pathlib import Path

import skimage.data
import tyro

import headwarp
from headwarp.tools import synth, train
from headwarp.training.data.media import write_image
from headwarp.training.data.provenance import Provenance


def main(
    output: Path = Path("outputs/examples/train"),
    steps: int = 60,
    people: int = 4,
    frames: int = 12,
    size: int = 128,
    photo: Path | None = None,
):
    clips = output / "clips"
    # Packs are what training makes of clips; a drawn person's fit and mask are exact.
    options = synth.Synth(clips, identities=people, frames=frames, size=size, kind="pack", test_share=0)
    print(synth.describe(synth.run(options)))

    chosen = train.Train(
        "pwm/residual",  # starts from geometry's picture and learns what it lacks
        (clips / "train",),
        output / "run",
        size=size,
        model_size="tiny",
        steps=steps,
        batch=2,
        frames="0:0.8",  # the last fifth of every clip measures
        warmup=min(10, steps // 2),
        log_every=max(1, steps // 10),
    )
    report = train.run(chosen)  # run again, it goes on from its last checkpoint
    print(train.describe(report))

    animator = headwarp.load_animator("pwm", report["made"])
    picture = skimage.data.astronaut() if photo is None else photo
    made = headwarp.edit(picture, headwarp.Pose(yaw=15, jaw=0.3), animator=animator, size=size)
    write_image(output / "edited.png", made, provenance=Provenance.now("pwm"))
    print(f"look into {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""Draw an image after each transform of nn-data.

    python docs/examples/augmentations.py --figure docs/figures/augmentations.png

The image is made of a few shapes, so that nothing has to be read. Each row is one transform, each
column one sample of the same batch, with other parameters.

Needs nn-data and matplotlib.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from nn_data.transforms import (
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    GaussianNoise,
    MixUp,
    RandomAffine,
    RandomApply,
    RandomCrop,
    RandomFlip,
)

SIZE, COLUMNS = 64, 6

TRANSFORMS = {
    "RandomCrop(64, padding=12)": RandomCrop(SIZE, padding=12),
    "RandomFlip()": RandomFlip(),
    "RandomAffine(degrees=30,\ntranslate=0.1, scale=0.3)": RandomAffine(
        degrees=30, translate=0.1, scale=0.3
    ),
    "Cutout(24)": Cutout(24),
    "ColorJitter(brightness=0.5,\ncontrast=0.8)": ColorJitter(brightness=0.5, contrast=0.8),
    "GaussianNoise((0, 60))": GaussianNoise((0, 60)),
    "Compose(...) of\nall of these": Compose(
        RandomCrop(SIZE, padding=6),
        RandomFlip(),
        RandomAffine(degrees=15, scale=0.15),
        ColorJitter(brightness=0.3, contrast=0.4),
        RandomApply(Cutout(20), 0.5),
        GaussianNoise((0, 20)),
    ),
}


def picture(sky, ground, wall, roof):
    """Return a house with a chimney and a sun, (3, 64, 64) bytes."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.empty((SIZE, SIZE, 3))
    image[:] = sky
    image += (y / SIZE * 60)[..., None]
    image[(x - 12) ** 2 + (y - 12) ** 2 < 49] = (255, 220, 80)
    image[y > 48 + 4 * np.sin(x / 9)] = ground
    image[(x >= 42) & (x < 47) & (y >= 12) & (y < 30)] = (110, 90, 90)
    image[(x >= 22) & (x < 50) & (y >= 28) & (y < 54)] = wall
    image[(y >= 14) & (y < 28) & (np.abs(x - 35.5) < (y - 12) * 1.3)] = roof
    image[(x >= 26) & (x < 33) & (y >= 40) & (y < 54)] = (90, 60, 40)
    image[(x >= 38) & (x < 46) & (y >= 34) & (y < 42)] = (170, 220, 240)
    return np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def rows(rng):
    """Return the images of each row, (columns, 3, 64, 64), by its title."""
    day = picture((90, 150, 220), (90, 160, 70), (240, 225, 190), (190, 60, 50))
    night = picture((20, 20, 70), (40, 60, 60), (150, 120, 170), (60, 60, 140))
    batch = np.stack([day] * COLUMNS)
    found = {"the image": batch}
    found |= {title: transform(batch, rng=rng) for title, transform in TRANSFORMS.items()}
    pair = np.stack([day, night] * (COLUMNS // 2)), np.arange(COLUMNS) % 2
    found["MixUp(2, alpha=1)"] = MixUp(2, alpha=1)(pair, rng=rng)[0].astype(np.uint8)
    found["CutMix(2)"] = CutMix(2)(pair, rng=rng)[0]
    return found


def draw(found, path):
    """Draw the rows under each other."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(found), COLUMNS, figsize=(COLUMNS * 0.8 + 2.4, len(found) * 0.82), layout="constrained"
    )
    for (title, images), line in zip(found.items(), axes, strict=True):
        for image, axis in zip(images, line, strict=True):
            axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=80)


def main(argv=None):
    """Run the example."""
    parser = argparse.ArgumentParser(prog="augmentations.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--figure", type=Path, default=Path("augmentations.png"), help="the figure (%(default)s)")
    add("--seed", type=int, default=0, help="random seed (%(default)s)")
    args = parser.parse_args(argv)
    if not args.figure.parent.is_dir():
        parser.error(f"--figure {args.figure}: no such folder")
    draw(rows(np.random.default_rng(args.seed)), args.figure)
    print(f"picture in {args.figure}")


if __name__ == "__main__":
    main()

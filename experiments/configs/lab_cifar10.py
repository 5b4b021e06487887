"""The lab report's Glow on CIFAR-10: 5 bits, 3 levels of 16 steps, width 512, 100 epochs with 10 of warm-up.

This size is made for an accelerator. A fraction that a CPU trains in minutes:

    jflows train lab_cifar10 --width 32 --num-steps 4 --batch-size 32 --epochs 0.5 --warmup-epochs 0.05

Expected: 2.030 test bits/dim (5 bits) of the fraction, in 156 s on one core.
The full size was not run: it has 22,028,112 parameters and takes 19,532 steps.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=3, num_steps=16, width=512, num_bits=5),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        epochs=100,
        batch_size=256,
        learning_rate=1e-3,
        warmup_epochs=10,
        schedule="constant",
        log_every=20,
        checkpoint_every=200,
    ),
)

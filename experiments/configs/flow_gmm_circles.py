"""FlowGMM on two circles: one flow, with one normal per circle in its latent, trained with 16 labels per class.

Data, loss and schedule are those of `vmonf_circles`.

Expected: an accuracy of about 0.98 for the restart with the highest likelihood (`--restarts 5`).
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, flow_gmm, realnvp
from jflows.train import MixtureLoss

config = Recipe(
    flow=partial(flow_gmm, num_components=2, flow=partial(realnvp, num_layers=8, hidden_sizes=(32,))),
    data=DataConfig(name="circles", num_train=1024, labels_per_class=16, labelled_share=0.2),
    loss=MixtureLoss(pretrain_steps=300, interleave_every=4),
    train=TrainConfig(
        steps=3000,
        batch_size=256,
        learning_rate=1e-3,
        warmup_steps=0,
        schedule="constant",
        clip_norm=5.0,
        ema_decay=0.99,
        init_batch=1024,
        log_every=100,
        eval_batch_size=4096,
    ),
)

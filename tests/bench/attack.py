"""What the prototypes of a v2 model tell of its patients: ``python -m tests.bench.attack``, five minutes of one core.

Training goes on for one epoch in which each prototype's owner is written down; the file that ships knows none. Then an
attacker holds the exported file and the records of the 4,000 training patients, and of 4,000 others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from torch import Tensor

from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.config import curriculum_batches
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.model.training import Trainer

from .pretrained import HOLDOUT_SEED, PATIENTS, training_cohort

KNOWN = 400  # prototypes whose owners the attacker has learnt otherwise


def with_owners(trainer: Trainer, x: Tensor, epochs: int = 1) -> tuple[Tensor, Tensor]:
    """So many epochs more: prototypes (n, Z) and the number of each one's patient, (n,), -1 where it is older."""
    config, last = trainer.config, trainer.epoch + epochs
    lengths, owner, remember = config.lengths_for(trainer.schema.length), {}, trainer.source.update
    every = [curriculum_batches(len(x), lengths, config.batch_size, config.seed, k) for k in range(trainer.epoch, last)]
    patients = (batch for batches in every for _, batch in batches)

    def update(latents: Tensor, generator: torch.Generator) -> None:
        means = latents.detach().mean(1)  # the prototypes as the buffer makes them, bit for bit
        owner.update({mean.numpy().tobytes(): int(k) for mean, k in zip(means, next(patients), strict=True)})
        remember(latents, generator)

    trainer.source.update = update
    trainer.fit(x, epochs=last, progress=False)
    del trainer.source.update
    prototypes = trainer.source.prototypes[:, 0].clone()
    return prototypes, torch.tensor([owner.get(one.numpy().tobytes(), -1) for one in prototypes])


def views(months: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Of what is known of each month (B, L, F) the means over the first months, (B, lengths, F): as prototypes are."""
    return torch.stack([months[:, :length].mean(1) for length in lengths], 1)


def features(x: Tensor, seed: int = 0) -> Tensor:
    """Channels (B, L, C) and 256 random kinks of each month, (B, L, C + 256): an encoder is nearly linear in these."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(x.shape[2], 256, generator=random) / x.shape[2] ** 0.5
    return torch.cat([x, torch.relu(x @ mix + torch.randn(256, generator=random) / 2)], -1)


def linear_map(records: Tensor, prototypes: Tensor, rounds: int = 5) -> Ridge:
    """From views of owners (n, lengths, F) to their prototypes; which length is whose is found in turn with the map."""
    everyone, length = torch.arange(len(records)), torch.full((len(records),), records.shape[1] // 2)
    for _ in range(rounds):
        found = Ridge(alpha=1e-2).fit(records[everyone, length], prototypes)
        length = (guessed(found, records) - prototypes[:, None]).norm(dim=-1).argmin(1)
    return found


def guessed(found: Ridge, records: Tensor) -> Tensor:
    """Prototypes (n, lengths, Z) as the map has them, of views (n, lengths, F)."""
    flat = found.predict(records.flatten(0, 1))
    return torch.from_numpy(flat).float().reshape(*records.shape[:2], -1)


def nearest(candidates: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Of each prototype (n, Z) the nearest candidate (B, lengths, Z); of each candidate how near a prototype is."""
    apart = torch.stack([torch.cdist(view, prototypes) for view in candidates.unbind(1)]).amin(0)  # (B, n)
    return apart.argmin(0), apart.amin(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attack", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/pretrained/v2_plus.pt"), help="of the trainer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trainer, cohort = Trainer.load(options.checkpoint, device="cpu"), training_cohort()
    x = trainer.encoder.transform(cohort)
    others = trainer.encoder.transform(simulate_cohort(PATIENTS, seed=HOLDOUT_SEED))
    prototypes, owners = with_owners(trainer, x)
    lengths = trainer.config.lengths_for(trainer.schema.length)
    prototypes, owners = prototypes[owners >= 0], owners[owners >= 0]
    print(f"{len(owners)} prototypes of {len(owners.unique())} patients, {len(x)} candidates")

    members, strangers = (views(features(one), lengths) for one in (x, others))
    found = linear_map(members[owners[:KNOWN]], prototypes[:KNOWN])
    named, _ = nearest(guessed(found, members), prototypes[KNOWN:])
    print(f"linear map from {KNOWN} known owners: {(named == owners[KNOWN:]).float().mean():.3f} of the others named")
    with torch.no_grad():
        encoded = trainer.autoencoder.encode(trainer.critic.embed(x * trainer.weights))
    named, _ = nearest(views(encoded, lengths), prototypes)
    print(f"the checkpoint's autoencoder: {(named == owners).float().mean():.3f} named, none of them known before")

    tried = torch.ones(len(x), dtype=torch.bool)
    tried[owners[:KNOWN]] = False  # whom the attacker knew before
    truth = [1] * int(tried.sum()) + [0] * len(others)
    model = trainer.synthesizer().match_margins(x)
    with TemporaryDirectory() as folder:
        for kind in ("kept", "clustered", "gaussian"):
            model.export(Path(folder) / "model.pt", prototypes=kind)
            held = Synthesizer.load(Path(folder) / "model.pt").source.prototypes[:, 0]
            near = [nearest(guessed(found, records), held)[1] for records in (members[tried], strangers)]
            print(f"{kind}: {len(held)} prototypes, members told from others with AUC", end=" ")
            print(f"{roc_auc_score(truth, -torch.cat(near)):.3f}")


if __name__ == "__main__":
    main()

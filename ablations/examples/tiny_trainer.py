"""Trains a small CTC phoneme decoder on neural activity that it makes up itself."""

import argparse
import csv
from pathlib import Path

import torch
import yaml
from torch import nn


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def draw_trials(data):
    """Each phoneme has a pattern over the channels, lasts five bins, and is buried in noise."""
    draws = torch.Generator().manual_seed(data["seed"])
    patterns = torch.randn(data["phonemes"], data["channels"], generator=draws)
    shape = (data["n_train"] + data["n_val"], data["length"])
    labels = torch.randint(data["phonemes"], shape, generator=draws)
    clean = patterns[labels].repeat_interleave(5, dim=1)  # (trials, bins, channels)
    return clean + data["noise_std"] * torch.randn(clean.shape, generator=draws), labels + 1


class Decoder(nn.Module):
    def __init__(self, channels, phonemes, units, dropout):
        super().__init__()
        self.gru = nn.GRU(channels, units, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(units, phonemes + 1)

    def forward(self, activity):
        return self.out(self.dropout(self.gru(activity)[0])).log_softmax(-1)

    @torch.no_grad()
    def phoneme_error_rate(self, activity, labels):
        self.eval()
        paths = [path.unique_consecutive() for path in self(activity).argmax(-1)]
        self.train()
        decoded = [path[path > 0].tolist() for path in paths]
        return sum(map(edit_distance, decoded, labels.tolist())) / labels.numel()


parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()
config = yaml.safe_load(args.config.read_text())
data, optim, out = config["data"], config["optim"], Path(config["output_dir"])
out.mkdir(parents=True, exist_ok=True)
activity, labels = draw_trials(data)
train, val = slice(data["n_train"]), slice(data["n_train"], None)

torch.manual_seed(config["seed"])
model = Decoder(data["channels"], data["phonemes"], **config["model"])
optimizer = torch.optim.Adam(model.parameters(), lr=optim["lr"])
done = 0
if args.resume and (out / "checkpoint.pt").exists():
    state = torch.load(out / "checkpoint.pt")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    done = state["step"]

with (out / "metrics.csv").open("a" if done else "w", buffering=1) as file:
    log = csv.writer(file)
    if not done:
        log.writerow(["step", "train_loss", "val_per"])
    for step in range(done + 1, optim["steps"] + 1):
        chosen = torch.randint(data["n_train"], (optim["batch_size"],))
        noisy = activity[train][chosen]
        noisy = noisy + config["augment"]["noise_std"] * torch.randn(noisy.shape)
        scores = model(noisy).transpose(0, 1)  # (bins, batch, classes)
        n_bins = [len(scores)] * len(chosen)
        loss = nn.functional.ctc_loss(
            scores, labels[train][chosen], n_bins, [data["length"]] * len(chosen)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % config["eval_every"] == 0 or step == optim["steps"]:
            per = model.phoneme_error_rate(activity[val], labels[val])
            log.writerow([step, loss.item(), per])
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"rng": torch.get_rng_state(), "step": step}, out / "checkpoint.pt")

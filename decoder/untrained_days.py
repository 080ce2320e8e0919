"""What a pack trains on, and the day layers of sessions that it does not train on.

A session that trains nothing has no day layer of its own. It is evaluated, and its weights are
kept, with a layer that comes from those of the trained sessions.

Dimensions: R runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decoder.breakdown import Breakdown
from decoder.config import DecoderConfig
from decoder.data.shares import Nearest, held_out_days, nearest_trained
from decoder.data.trials import Trials
from decoder.model.decoder import PackedDecoder
from decoder.pack import HeldOutSession


@dataclass(frozen=True)
class TrainedOn:
    """What a pack trains on.

    Attributes:
        trained: indices of the sessions with training trials, ascending.
        held_out: indices of the sessions held out.
        nearest: session without training trials → the trained one that is nearest; empty unless
            the configuration leaves sessions out.
        n_trials: training trials.
    """

    trained: tuple[int, ...]
    held_out: frozenset[int]
    nearest: Mapping[int, Nearest]
    n_trials: int

    @classmethod
    def of(cls, trials: Trials) -> "TrainedOn":
        """What the trials of a pack are."""
        data, dataset = trials.config.data, trials.dataset
        trained = [int(dataset.train.day[of_day[0]]) for of_day in trials.train_by_day]
        others = sorted(set(range(len(dataset.sessions))) - set(trained))
        return cls(
            tuple(trained),
            held_out_days(dataset.sessions, data),
            nearest_trained(dataset.sessions, trained, others) if data.leaves_sessions_out else {},
            sum(len(of_day) for of_day in trials.train_by_day),
        )

    def lend_day_layers(self, model: PackedDecoder, configs: Sequence[DecoderConfig]) -> None:
        """Give each session that trains nothing a layer, as ``data.untrained_day_layer`` says.

        The layers of trained sessions stay as they are. Others get new tensors, so that whoever
        holds the tensors from before can put them back.

        Args:
            model: R decoders.
            configs: R configurations.
        """
        layers = model.day_layer
        if not self.nearest or layers is None or model.config.day_layer != "per_day":
            return
        n_features = layers.biases[0].shape[-1]
        own = (layers.weights, torch.eye(n_features)), (layers.biases, torch.zeros(n_features))
        for parameters, initial in own:
            trained = {day: parameters[day].data for day in self.trained}
            mean = torch.stack(list(trained.values())).mean(0)
            for day, nearest in self.nearest.items():
                lent = trained[nearest.day].clone()  # (R, F, F) or (R, 1, F)
                for row, config in enumerate(configs):
                    if config.data.untrained_day_layer == "mean":
                        lent[row] = mean[row]
                    elif config.data.untrained_day_layer == "identity":
                        lent[row] = initial
                parameters[day].data = lent

    def facts(self, sessions: Sequence[str], breakdown: Breakdown | None) -> dict[str, Any]:
        """The fields of a run's result that say what it trained on, and its errors elsewhere.

        Args:
            sessions: names in day order.
            breakdown: of the run's last evaluation; None if it ended before it.
        """
        held_out = {}
        if breakdown is not None and (apart := breakdown.held_out) is not None:
            held_out = {
                sessions[day]: HeldOutSession(
                    n_edits=apart.edits[day],
                    n_reference=apart.reference[day],
                    days=self.nearest[day].days,
                )
                for day in sorted(apart.reference)
            }
        return {
            "n_train_trials": self.n_trials,
            "n_train_sessions": len(self.trained),
            "held_out": held_out,
        }

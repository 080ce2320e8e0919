"""The combinations of values, each allowed by itself, from which no run can be made."""

from typing import TYPE_CHECKING

from decoder.extensions import check_parts
from decoder.parameters import MOST_PARAMETERS, count_parameters
from decoder.training_sections import TO_LR_MIN

if TYPE_CHECKING:
    from decoder.config import DecoderConfig

MOST_EVALUATIONS = 1_000_000  # of a run; the official trainers make 60


def check_combinations(config: "DecoderConfig") -> None:
    """Refuse values that do not go together.

    Raises:
        ValueError: the first pair that does not.
    """
    if config.data.sampling == "days" and config.data.days_per_batch > config.data.batch_size:
        raise ValueError(
            f"data.days_per_batch ({config.data.days_per_batch}) must not exceed "
            f"data.batch_size ({config.data.batch_size})"
        )
    if config.data.untrained_day_layer != "nearest" and not config.data.leaves_sessions_out:
        raise ValueError(
            f"data.untrained_day_layer ({config.data.untrained_day_layer}) is for sessions that "
            "train nothing, but every session trains; set data.held_out_sessions, or "
            "data.train_sessions_share below 1"
        )
    if config.loss.focal_gamma and config.loss.label_prior_weight:
        raise ValueError(
            "loss.focal_gamma weights trials by their posterior, which is not known with "
            "loss.label_prior_weight; set one of them to 0"
        )
    layers = config.model.inter_ctc_layers
    if layers and not (sorted(set(layers)) == list(layers) and layers[-1] < config.model.n_layers):
        raise ValueError(
            f"model.inter_ctc_layers ({list(layers)}) must ascend and stay below "
            f"model.n_layers ({config.model.n_layers}), whose output the last head reads"
        )
    words = config.evaluation.words
    if words.decoder == "command" and not words.command:
        raise ValueError(
            "evaluation.words.decoder is 'command', but evaluation.words.command is empty; give "
            "the program and its arguments, for example [python, decode.py, '{logits}', "
            "'{sentences}']"
        )
    if problems := check_parts(config):
        raise ValueError(problems[0])
    if config.optim.algorithm == "sgd" and config.optim.nesterov and not config.optim.momentum:
        raise ValueError(
            "optim.nesterov needs momentum, but optim.momentum is 0; set optim.momentum above "
            "0, or optim.nesterov to false"
        )
    parts = {"day"} if config.model.day_layer != "none" else set()
    frozen = set(config.optim.frozen)
    if frozen and {*parts, "layers", "head"} <= frozen:
        raise ValueError(
            f"optim.frozen ({list(config.optim.frozen)}) leaves nothing to train; take out a part"
        )
    if "day" in frozen - parts:
        raise ValueError("optim.frozen names day, but model.day_layer is none; take it out")
    if config.train.start_from is not None and config.model.blank_bias:
        raise ValueError(
            f"model.blank_bias ({config.model.blank_bias}) changes initial weights, but "
            "train.start_from replaces them; set it to 0"
        )
    n_evaluations = -(-config.train.n_steps // config.train.eval_every_steps)
    if n_evaluations > MOST_EVALUATIONS:
        raise ValueError(
            f"train.eval_every_steps ({config.train.eval_every_steps}) asks for "
            f"{n_evaluations:,} evaluations in {config.train.n_steps:,} steps, but at most "
            f"{MOST_EVALUATIONS:,} are recorded; evaluate less often"
        )
    n_parameters = count_parameters(config.model, n_features=1, n_classes=2, n_days=1)
    if n_parameters > MOST_PARAMETERS:
        raise ValueError(
            f"model: has more than {n_parameters:.2g} parameters ("
            f"model.n_units {config.model.n_units}, model.n_layers {config.model.n_layers}), but "
            f"at most {MOST_PARAMETERS:.0e} fit into the memory of a GPU; make it smaller"
        )
    schedules = {
        "": config.optim.schedule,
        "_day": config.optim.schedule_day or config.optim.schedule,
    }
    for day, schedule in schedules.items():
        low, high = (
            getattr(config.optim, name) if value is None else value
            for name in ("lr_min", "lr_max")
            for value in [getattr(config.optim, name + day)]
        )
        has_layers = not day or config.model.day_layer != "none"
        if schedule in TO_LR_MIN and low > high and has_layers:
            raise ValueError(
                f"optim.lr_min{day} ({low}) must not exceed optim.lr_max{day} ({high})"
                + ("; null means the value of the rest of the model" if day else "")
            )

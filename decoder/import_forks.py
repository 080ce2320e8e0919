"""Tables of how forks of the official codebases spell our fields, and of their on/off switches."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from decoder.import_tables import (
    SCHEDULES,
    Effect,
    Flat,
    Rule,
    clip,
    converted,
    elsewhere,
    squeeze,
)
from decoder.phonemes import N_CLASSES

_ALGORITHMS = {"adam": "adam", "adamw": "adamw", "sgd": "sgd"}
_PRECISIONS = {
    **dict.fromkeys(("bf16", "bfloat16", "torchbfloat16", "bf16mixed"), "bfloat16"),
    **dict.fromkeys(("fp32", "float32", "torchfloat32", "32", "32true", "no", "none"), "float32"),
    "true": "bfloat16",
    "false": "float32",
}


def _named(names: Mapping[str, str]) -> Callable[[Any], Any]:
    return lambda value: names[squeeze(str(value))]


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "optim.algorithm": _named(_ALGORITHMS),
    "optim.schedule": _named(SCHEDULES),
    "optim.grad_clip": clip,
    "train.precision": _named(_PRECISIONS),
}

# Our field → the spellings of forks, without case and separators. Our own names need no entry.
_SPELLINGS = {
    "data.batch_size": "batchsize bs trainbatchsize",
    "augment.white_noise_std": "whitenoisesd whitenoise whitenoisestd noisestd",
    "augment.constant_offset_std": "constantoffsetsd constantoffset offsetstd",
    "augment.smooth_std_bins": "gaussiansmoothwidth smoothkernelstd smoothsigma "
    "smoothstd smoothingstd smoothingsigma",
    "augment.smooth_causal": "causalsmoothing causalsmooth",
    "augment.speckle_rate": "speckle speckleprob specklerate",
    "augment.time_warp_bins": "timewarp timewarpbins timewarpparam timewarpw",
    "model.layer_norm": "uselayernorm layernorm layernormalization useln",
    "model.n_units": "nunits hiddendim hiddensize rnnunits gruunits",
    "model.n_layers": "nlayers numlayers layerdim rnnlayers grulayers numrnnlayers",
    "model.patch_size": "kernellen patchsize",
    "model.patch_stride": "stridelen patchstride",
    "model.rnn_dropout": "dropout rnndropout dropoutrate dropoutp",
    "model.input_dropout": "inputdropout inputlayerdropout",
    "model.bidirectional": "bidirectional bidir isbidirectional",
    "model.post_rnn_layers": "postrnnlayers numpostrnnlayers",
    "model.blank_bias": "blankbias blankbiasinit",
    "loss.label_smoothing": "labelsmoothing ctclabelsmoothing labelsmooth labelsmoothingepsilon "
    "labelsmoothingeps labelsmoothingvalue labelsmoothingalpha",
    "loss.focal_gamma": "focalgamma focalctcgamma",
    "loss.inter_ctc_weight": "interctcweight interctc",
    "loss.ctc_reduction": "ctcreduction",
    "optim.algorithm": "optimizer optimizertype optim optname optimizername optimtype optimname",
    "optim.schedule": "scheduler schedulertype schedulername scheduletype lrscheduler "
    "lrschedulertype lrschedulername lrschedule lrscheduletype lrschedulename",
    "optim.lr_max": "lr learningrate lrstart maxlr peaklr baselr initiallr",
    "optim.lr_min": "minlr lrend etamin lretamin finallr schedulermin schedulerminlr",
    "optim.lr_max_day": "lrday daylr dayslr daylearningrate",
    "optim.lr_decay_steps": "decaysteps",
    "optim.step_every_steps": "stepsize lrstepsize schedulerstepsize lrschedulerstepsize",
    "optim.step_factor": "lrgamma lrstepgamma schedulergamma lrschedulergamma stepgamma "
    "lrdecayfactor lrstepfactor",
    "optim.plateau_factor": "lrfactor plateaufactor schedulerfactor lrschedulerfactor",
    "optim.plateau_patience": "lrpatience plateaupatience schedulerpatience lrschedulerpatience",
    "optim.momentum": "sgdmomentum optimizermomentum",
    "optim.nesterov": "usenesterov sgdnesterov",
    "optim.lr_warmup_steps": "warmupsteps numwarmupsteps warmup",
    "optim.epsilon": "eps adameps adamepsilon optimepsilon optimizereps",
    "optim.weight_decay": "l2decay weightdecay wd",
    "optim.grad_clip": "gradclip gradientclip gradientclipping gradientclipval gradclipnorm "
    "gradnormclip gradnormclipvalue maxgradnorm clipgrad clipgradnorm gradclipvalue clipnorm "
    "gradclipmaxnorm gradientclipnorm gradientclippingmaxnorm gradclippingmaxnorm "
    "gradientclippingnorm gradientclippingvalue gradclippingnorm gradclippingvalue",
    "optim.ema_decay": "emadecay ema",
    "optim.accumulation_steps": "gradaccumsteps gradaccumulation accumulationsteps "
    "gradientaccumulationsteps gradaccumulationsteps",
    "train.n_steps": "nsteps maxsteps nbatch numtrainingbatches",
    "train.precision": "precision useamp amp usebf16 dtype mixedprecision",
    "train.eval_every_steps": "evalevery valevery batchespervalstep evalsteps",
    "evaluation.use_beam_search": "usebeamsearch beamsearch",
    "evaluation.beam_width": "beamwidth beamsize",
}


# ------------------------------------------------------- keys that need more than another spelling

_RECURRENT = re.compile(
    r"(uni(?:directional)?|bi(?:directional)?|)(gru|lstm)(?:decoder|model|net|network|ctc|rnn|baseline)*"
)


def _architecture(value: Any, _: Flat) -> Effect:
    """GRU and LSTM in any spelling; other layers of forks are not those of ours."""
    found = _RECURRENT.fullmatch(squeeze(str(value)))
    if not found:
        note = "of the layers of forks only GRU and LSTM are known here"
        if "transformer" in squeeze(str(value)):
            note += (
                "; the transformer here is that of transformers_with_dietcorp: to take it, set "
                "model.architecture and the fields it reads"
            )
        return Effect("unsupported", {}, note)
    fields: dict[str, Any] = {"model.architecture": found[2]}
    if found[1]:
        fields["model.bidirectional"] = found[1].startswith("bi")
    return Effect("mapped", fields)


def _model_name(value: Any, file: Flat) -> Effect:
    """The name of a model, which may name its layers, or only label the run."""
    effect = _architecture(value, file)
    is_label = not re.search(
        r"former|mamba|lstm|gru|rnn|cnn|conv|tcn|s4|wav2vec", str(value).lower()
    )
    if effect.outcome == "unsupported" and is_label:
        return Effect("no effect", {}, "a label")
    return effect


def _betas(value: Any, _: Flat) -> Effect:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return Effect("unsupported", {}, "beta1 and beta2 are two numbers")
    return Effect("mapped", {"optim.beta1": value[0], "optim.beta2": value[1]})


def _look_ahead(value: Any, _: Flat) -> Effect:
    """Bins after the one that is smoothed: none is causal, no limit is a whole Gaussian."""
    if value is None or (value == 0 and not isinstance(value, bool)):
        return Effect("mapped", {"augment.smooth_causal": value is not None})
    return Effect("unsupported", {}, "smoothing here is causal, or has all bins after it")


def _classes(value: Any, _: Flat) -> Effect:
    """The number of classes, with or without the blank."""
    if value in (N_CLASSES, N_CLASSES - 1):
        return Effect("no effect", {}, f"{N_CLASSES} here, with the blank")
    return Effect("unsupported", {}, f"a decoder here has {N_CLASSES} classes")


def _neutral_only(note: str) -> Rule:
    """A key that is known, and that nothing here can express unless it is off."""
    return lambda value, _: (
        Effect("unsupported", {}, note) if value else Effect("no effect", {}, "off")
    )


_RESTARTS = _neutral_only("a cosine here falls once, without restarts")
_COSINE_STEPS = _neutral_only(
    "it names no schedule, and counts from the end of warm-up: set optim.schedule, and "
    "optim.lr_decay_steps to the step at which the decay ends"
)
_POST_GRU = _neutral_only(
    "these layers have a ReLU and the width of the recurrent ones; those of model.post_rnn_layers "
    "have a GELU and model.post_rnn_units"
)
_SPECKLE = _neutral_only(
    "it hides values of the patches and does not rescale the others; augment.speckle_rate hides "
    "values of the input and does"
)
_COORDINATED = _neutral_only(
    "forks hide features of a whole batch by it, or single values, and rescale the others or not; "
    "augment.speckle_rate hides single values and rescales the others"
)
_SPECIAL: dict[Rule, str] = {
    _architecture: "rnntype modeltype celltype architecture arch decodertype encodertype backbone "
    "modelarch networktype modelclass modelarchitecture decoderarchitecture",
    _model_name: "modelname",
    _betas: "betas adambetas adamwbetas optimizerbetas",
    _look_ahead: "smoothlookahead smoothinglookahead smoothkernellookahead",
    _RESTARTS: "cosinet0 t0 tmult cosinetmult numcycles ncycles sgdrt0 sgdrtmult",
    _COSINE_STEPS: "tmax cosinetmax cosinesteps",
    _POST_GRU: "postgrulayers postgrunumlayers",
    _SPECKLE: "inputspecklep inputspeckleprob inputspeckle",
    _COORDINATED: "coordinateddropout coordinateddropoutrate coordinateddropoutp "
    "coordinateddropoutprob",
    _classes: "nclasses numclasses nphonemes numphonemes",
    elsewhere("an ablation's seeds"): "seed randomseed rngseed torchseed manualseed globalseed "
    "modelseed dataseed datasetseed splitseed samplerseed",
    elsewhere("the recordings decide it"): "ndays nsessions inputdim neuraldim ninputfeatures",
}

# Masks: what they hide → how forks call it; what a key says of them → its words after, and before.
_MASKED = {
    "time": "timemask temporalmask",
    "feature": "featuremask freqmask frequencymask channelmask",
}
_OF_A_MASK = {
    "probability": ("prob p probability", ""),
    "width": ("width maxwidth param maxlen len length size maxsize", ""),
    "max_count": ("max num n count number maxmasks nummasks nmasks maxnum maxcount", "num n max"),
}


def _masks() -> dict[str, str]:
    """Spelling → field, of the time and feature masks."""
    found: dict[str, str] = {}
    for hidden, names in _MASKED.items():
        for name in names.split():
            for role, (after, before) in _OF_A_MASK.items():
                unit = "_bins" if (hidden, role) == ("time", "width") else ""
                path = f"augment.{hidden}_mask_{role}{unit}"
                found |= {f"{name}{word}": path for word in after.split()}
                if role == "max_count":
                    found |= {f"{word}{name}s": path for word in before.split()}
    return found


_FIELDS = {name: path for path, names in _SPELLINGS.items() for name in names.split()} | _masks()
FORKS: dict[str, Rule] = {
    **{name: converted(p, _CONVERT.get(p, lambda value: value)) for name, p in _FIELDS.items()},
    **{name: rule for rule, names in _SPECIAL.items() for name in names.split()},
}

# What a fork turns on and off → the fields that its switch turns off, whatever other keys say.
_MASKS = {"augment.time_mask_probability": 0.0, "augment.feature_mask_probability": 0.0}
_NOISE = {
    "augment.white_noise_std": 0.0,
    "augment.constant_offset_std": 0.0,
    "augment.random_walk_std": 0.0,
    "augment.static_gain_std": 0.0,
    "augment.random_cut": 0,
    "augment.time_warp_bins": 0,
    "augment.speckle_rate": 0.0,
}
_FEATURES: dict[str, Flat] = {
    "whitenoise": {"augment.white_noise_std": 0.0},
    "constantoffset": {"augment.constant_offset_std": 0.0},
    "randomwalk": {"augment.random_walk_std": 0.0},
    "staticgain": {"augment.static_gain_std": 0.0},
    "randomcut": {"augment.random_cut": 0},
    "timewarp": {"augment.time_warp_bins": 0},
    "speckle": {"augment.speckle_rate": 0.0},
    "coordinateddropout": {"augment.speckle_rate": 0.0},
    **dict.fromkeys(("timemask", "temporalmask"), {"augment.time_mask_probability": 0.0}),
    **dict.fromkeys(
        ("featuremask", "freqmask", "frequencymask", "channelmask"),
        {"augment.feature_mask_probability": 0.0},
    ),
    **dict.fromkeys(("specaugment", "specaug"), _MASKS),
    **dict.fromkeys(
        ("augmentation", "augmentations", "augment", "dataaugmentation"), {**_NOISE, **_MASKS}
    ),
    **dict.fromkeys(("smoothing", "smooth", "gaussiansmoothing"), {"augment.smooth": False}),
    **dict.fromkeys(
        ("gradclip", "gradientclipping", "gradclipping", "gradientclip"), {"optim.grad_clip": None}
    ),
    "ema": {"optim.ema_decay": 0.0},
    "labelsmoothing": {"loss.label_smoothing": 0.0},
    **dict.fromkeys(("focalloss", "focalctc", "focal"), {"loss.focal_gamma": 0.0}),
    **dict.fromkeys(("interctc", "intermediatectc"), {"loss.inter_ctc_weight": 0.0}),
}
_SWITCH = re.compile(r"(?:use|enable|apply|do|with)?(.+?)(?:enabled?|active)?")


def switch_of(squeezed: str, value: Any) -> Flat | None:
    """The fields that a switch turns off; None for a key that is none.

    Args:
        squeezed: the key, see `decoder.import_tables.squeeze`; false turns the fields off, true
            leaves them to the other keys.
        value: of the key; only true and false make a switch.
    """
    found = _SWITCH.fullmatch(squeezed)
    if not isinstance(value, bool) or found is None:
        return None
    return _FEATURES.get(squeezed) or _FEATURES.get(found[1])

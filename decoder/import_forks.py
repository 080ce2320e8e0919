"""Tables of how forks of the official codebases spell our fields, and of their on/off switches."""

from collections.abc import Callable, Mapping
from typing import Any

from decoder.import_tables import Flat, Rule, clip, converted, squeeze

_ALGORITHMS = {"adam": "adam", "adamw": "adamw", "sgd": "sgd"}
_SCHEDULES = {
    "cosine": "warmup_cosine",
    "warmupcosine": "warmup_cosine",
    "constant": "constant",
    "none": "constant",
    "linear": "linear",
    "linearlr": "linear",
    "onecycle": "one_cycle",
    "onecyclelr": "one_cycle",
    "step": "step",
    "steplr": "step",
    "plateau": "plateau",
    "reducelronplateau": "plateau",
}
_PRECISIONS = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "float32": "float32",
    "true": "bfloat16",
    "false": "float32",
}


def _named(names: Mapping[str, str]) -> Callable[[Any], Any]:
    return lambda value: names[squeeze(str(value))]


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "optim.algorithm": _named(_ALGORITHMS),
    "optim.schedule": _named(_SCHEDULES),
    "optim.grad_clip": clip,
    "train.precision": _named(_PRECISIONS),
    "model.architecture": _named({"gru": "gru", "lstm": "lstm", "transformer": "transformer"}),
}

# Our field → the spellings of forks, without case and separators. Our own names need no entry.
_SPELLINGS = {
    "data.batch_size": "batchsize bs",
    "augment.white_noise_std": "whitenoisesd whitenoise",
    "augment.constant_offset_std": "constantoffsetsd constantoffset",
    "augment.smooth_std_bins": "gaussiansmoothwidth smoothkernelstd smoothsigma",
    "augment.smooth_causal": "causalsmoothing causalsmooth",
    "augment.time_mask_probability": "timemaskprob timemaskp timemaskingprob",
    "augment.time_mask_width_bins": "timemaskwidth timemaskmaxwidth timemaskparam timemaskmaxlen "
    "timemasklen timemasksize",
    "augment.time_mask_max_count": "timemaskmax timemasknum numtimemasks ntimemasks maxtimemasks "
    "timemaskcount timemaskmaxmasks timemaskmaxnum",
    "augment.feature_mask_probability": "featuremaskprob freqmaskprob freqmaskp "
    "freqmaskprobability frequencymaskprob frequencymaskprobability channelmaskprob channelmaskp "
    "frequencymaskp",
    "augment.feature_mask_width": "freqmaskwidth freqmaskmaxwidth freqmaskparam frequencymaskwidth "
    "channelmaskwidth freqmasksize featuremaskmaxwidth frequencymaskmaxwidth",
    "augment.feature_mask_max_count": "freqmaskmax freqmasknum numfreqmasks nfreqmasks "
    "maxfreqmasks freqmaskcount frequencymaskmax numfrequencymasks featuremaskmax freqmaskmaxcount "
    "numchannelmasks channelmaskmax frequencymaskmaxcount",
    "augment.speckle_rate": "speckle speckleprob specklerate coordinateddropout",
    "augment.time_warp_bins": "timewarp timewarpbins timewarpparam timewarpw",
    "model.architecture": "rnntype modeltype celltype architecture",
    "model.layer_norm": "uselayernorm layernorm layernormalization useln",
    "model.n_units": "nunits hiddendim hiddensize",
    "model.n_layers": "nlayers numlayers layerdim",
    "model.patch_size": "kernellen patchsize",
    "model.patch_stride": "stridelen patchstride",
    "model.rnn_dropout": "dropout rnndropout",
    "model.input_dropout": "inputdropout inputlayerdropout",
    "model.bidirectional": "bidirectional bidir",
    "model.post_rnn_layers": "postrnnlayers numpostrnnlayers",
    "model.blank_bias": "blankbias blankbiasinit",
    "loss.label_smoothing": "labelsmoothing ctclabelsmoothing labelsmooth",
    "loss.focal_gamma": "focalgamma focalctcgamma",
    "loss.inter_ctc_weight": "interctcweight interctc",
    "loss.ctc_reduction": "ctcreduction",
    "optim.algorithm": "optimizer optimizertype optim optname",
    "optim.schedule": "scheduler schedulertype lrschedulertype lrschedule lrscheduler",
    "optim.lr_max": "lr learningrate lrstart",
    "optim.lr_min": "minlr lrend",
    "optim.lr_warmup_steps": "warmupsteps numwarmupsteps warmup",
    "optim.epsilon": "eps adameps adamepsilon optimepsilon",
    "optim.weight_decay": "l2decay weightdecay wd",
    "optim.grad_clip": "gradclip gradientclip gradientclipping gradientclipval gradclipnorm "
    "gradnormclip gradnormclipvalue maxgradnorm clipgrad clipgradnorm gradclipvalue clipnorm "
    "gradclipmaxnorm gradientclipnorm",
    "optim.ema_decay": "emadecay ema",
    "optim.accumulation_steps": "gradaccumsteps gradaccumulation accumulationsteps "
    "gradientaccumulationsteps gradaccumulationsteps",
    "train.n_steps": "nsteps maxsteps nbatch numtrainingbatches",
    "train.precision": "precision useamp amp usebf16 dtype mixedprecision",
    "train.eval_every_steps": "evalevery valevery batchespervalstep evalsteps",
    "evaluation.use_beam_search": "usebeamsearch beamsearch",
    "evaluation.beam_width": "beamwidth beamsize",
}
FORKS: dict[str, Rule] = {
    name: converted(path, _CONVERT.get(path, lambda value: value))
    for path, names in _SPELLINGS.items()
    for name in names.split()
}

# Switches of forks: false turns these fields off, true leaves them to the other keys.
_MASKS = {"augment.time_mask_probability": 0.0, "augment.feature_mask_probability": 0.0}
SWITCHES: dict[str, Flat] = {
    "usespecaugment": _MASKS,
    "specaugment": _MASKS,
    "specaug": _MASKS,
    "usespecaug": _MASKS,
    "specaugmentenabled": _MASKS,
    "usetimemask": {"augment.time_mask_probability": 0.0},
    "usefreqmask": {"augment.feature_mask_probability": 0.0},
    "usegradclip": {"optim.grad_clip": None},
    "usegradientclipping": {"optim.grad_clip": None},
    "useema": {"optim.ema_decay": 0.0},
}

"""Settings that cannot change the result of a training, by their names: folders, labels."""

import re

from decoder.import_tables import squeeze


def _squeezed(names: str) -> frozenset[str]:
    return frozenset(squeeze(name) for name in names.split())


# By the last part of their names, in the spellings of both official trainers and of common
# frameworks.
_NAMES = _squeezed(
    "output_dir out_dir checkpoint_dir ckpt_dir save_dir log_dir results_dir work_dir run_dir "
    "exp_dir root_dir base_dir model_dir model_path tensorboard_dir checkpoint_path save_path "
    "cache_dir default_root_dir dirpath scratch_dir tmp_dir ausgabe gpu_number gpu gpus gpu_id "
    "gpu_ids device devices cuda use_gpu accelerator local_rank world_size num_workers "
    "num_dataloader_workers n_workers workers pin_memory prefetch_factor persistent_workers "
    "n_threads num_threads batches_per_train_log batches_per_save verbose log_interval log_every "
    "log_freq log_steps logging_steps log_level log_every_n_steps print_every print_freq "
    "print_interval report_every log_individual_day_val_PER log_val_skip_logs progress_bar "
    "run_name exp_name experiment_name run_id project entity tags comment comments description "
    "author username hostname timestamp created_at start_time job_id slurm_job_id use_wandb "
    "use_tensorboard success_criteria version_note run_number run_purpose run_title run_notes "
    "project_name output_folder output_path log_path log_file save_folder model_save_path "
    "wandb_project wandb_entity wandb_run_name wandb_mode num_gpus n_gpus multi_gpu logs_dir "
    "loader_num_workers dataloader_workers save_every save_interval checkpoint_every "
    "save_best_checkpoint save_all_val_steps save_final_model save_val_metrics save_val_logits "
    "save_val_data profiler torch_compile use_torch_compile compile use_compile compile_model "
    "fused use_fused_adamw cudnn_benchmark plot_interval gradient_checkpointing "
    "use_gradient_checkpointing activation_checkpointing"
)
# At the top level only: `optimizer.name` counts.
_ON_TOP = _squeezed(
    "name title experiment group notes note desc user host date time created purpose changes cmd "
    "command cwd python mode slurm tensorboard dry_run wandb"
)
# What only says which run it is, where it writes, and what someone noted, by the last part.
_OF_THE_RUN = re.compile(
    r"(run|exp|experiment|job|sweep|wandb|mlflow)(number|no|nr|num|idx|index|id|name|label|tags?"
    r"|title|purpose|goal|aim|notes?|comments?|remarks?|desc|description|message|hypothesis|owner"
    r"|date|time|timestamp|suffix|prefix|group|project|count|version)"
    r"|(out|output|save|saved|log|logs|logging|ckpt|checkpoint|checkpoints|result|results|work|run"
    r"|runs|exp|experiment|trained|models?|pred|predictions|figures?|plots?|cache|tmp|temp|scratch"
    r"|artifacts?|metrics)\w*(dir|directory|folder|path|root|file|filename)"
    r"|notes?|remarks?|purpose|rationale|hypothesis|todo|changelog|owner|datetime"
    r"|(start|end|run|launch|creation|created|training|train|finish)(ed)?(date|datetime|timestamp|at)"
)
_BLOCKS = re.compile(
    r"(^|\.)(wandb|hydra|logging|logger|slurm|tensorboard|mlflow|comet|neptune)(\.|_|$)"
    r"|(^|\.)(save|plot|print)_\w+$",
    re.IGNORECASE,
)


def is_neutral(key: str) -> bool:
    """Whether a setting cannot change a result, by its dotted name."""
    last = squeeze(key.rpartition(".")[2])
    return (
        ("." not in key and last in _ON_TOP)
        or last in _NAMES
        or bool(_OF_THE_RUN.fullmatch(last))
        or bool(_BLOCKS.search(key))
    )

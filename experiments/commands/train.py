"""A whole experiment from names."""

import logging
from pathlib import Path
from typing import Any

from callbacks.nme_table import print_scores
from experiments.cli import WarpmarkCLI
from experiments.compose import Choices
from experiments.scoring import score, scores_dict
from experiments.values.plain_json import as_json

log = logging.getLogger(__name__)


def train(
    setting: str = "gzsl_artiface",
    method: str = "",
    landmarker: str = "",
    profile: str = "quick",
    data: str = "",
    source: str = "",
    target: str = "",
    test: str = "",
    seed: int = 0,
    resume: bool = False,
    ema: bool = False,
    wandb: bool = False,
    **overrides: Any,
) -> Path:
    """Pretrain if needed, adapt, test: a whole experiment from names; takes all options of fit as well.

    The options of ``fit`` are the Lightning CLI's, e.g. ``--trainer.max_epochs=3``. In Python: ``train("own",
    source="photos", target="drawings", **{"trainer.max_epochs": 3})``.

    Args:
        setting: which data is source, target and tested
        method: how it learns (default: face_warping; oracle: supervised; own: stylize)
        landmarker: what learns (default: slpt; own: integral)
        profile: how long: quick (minutes on two CPU cores), thorough (the strongest recipe for two CPU cores, for
            method stylize and landmarker integral), gpu (bf16, full landmarkers) or paper (the published program)
        data: folder with the published data sets, or 'synthetic' for drawn faces
        source: labelled photos (setting own)
        target: stylised faces (setting own)
        test: labelled faces to score (setting own; default: those of the target)
        seed: random seed
        resume: go on with an earlier, unfinished run
        ema: test and save a moving average of the weights
        wandb: also log to Weights & Biases
        overrides: dotted options of the Lightning CLI; and ``config``: YAML files, or their contents, laid over the
            choices before them

    Returns:
        The run's folder.

    Raises:
        UsageError: the command cannot be carried out as given.
        DataError: bad input files.
        CheckpointError: a checkpoint that cannot be used.

    Examples:
        warpmark train --setting own --source photos --target drawings
        warpmark train --setting gzsl_artiface --method stylize --data ROOT --trainer.max_epochs=8
    """
    config = overrides.pop("config", ())
    layers = [config] if isinstance(config, str) else config
    choices = Choices(
        setting, method, landmarker, profile, data, source, target, test, seed, ema, wandb, layers, overrides
    )
    cli = WarpmarkCLI(choices.arguments(), run=False)
    folder = Path(cli.trainer.default_root_dir)
    last = folder / "checkpoints" / "last.ckpt"
    resumed = last if resume and last.exists() else None
    if resume and resumed is None:
        log.warning("RESUME=1, but %s does not exist: starting from the beginning", last)
    try:
        cli.prepare(resumed, keep_folder=resume)
        source_only = _score_start(cli)
        cli.trainer.fit(cli.method, datamodule=cli.data, ckpt_path=resumed, weights_only=True)
        cli.trainer.test(cli.method, datamodule=cli.data, verbose=False)
        if cli.trainer.is_global_zero:
            _write_metrics(cli, folder, source_only)
            _tell_next(folder)
    finally:
        cli.folder.release()
    return folder


def _score_start(cli: WarpmarkCLI) -> dict[str, Any] | None:
    """The scores of the pretrained start, before it is adapted (by the first process; the others need none)."""
    if cli.start is None or not cli.trainer.is_global_zero:
        return None
    data, device = cli.data, cli.trainer.strategy.root_device
    scores = score(cli.method.landmarker, data.test_sets, data.eval_batch_size, data.num_workers, device)
    print_scores(scores.subsets, scores.average_nme, "source only (the pretrained start)", data)
    cli.method.landmarker.train()
    return scores.as_dict()


def _write_metrics(cli: WarpmarkCLI, folder: Path, source_only: dict[str, Any] | None) -> None:
    run = cli.options.run
    metrics = {
        "setting": run.setting,
        "method": run.method,
        "landmarker": run.landmarker,
        "profile": run.profile,
        "seed": cli.options.seed_everything,
        "data": cli.data.data_kind,
        **scores_dict(cli.method.scores, cli.method.average_nme),
        "source_only": source_only,
    }
    path = folder / "metrics.json"
    # It is the mark of done: a kill must not leave half of one.
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(as_json(metrics))
    unfinished.replace(path)
    print_scores(cli.method.scores, cli.method.average_nme, "tested, last epoch", cli.data)
    log.info("wrote %s", path)


def _tell_next(folder: Path) -> None:
    """Log where the run's outputs are, and what one may do with them."""
    last = folder / "checkpoints" / "last.ckpt"
    log.info("the run is in %s: metrics.json, nme.csv, config.yaml, pictures/, checkpoints/", folder)
    log.info("next: make predict CKPT=%s INPUT=pictures   finds landmarks with it", last)
    log.info("      make evaluate CKPT=%s TEST=faces      scores it on labelled faces", last)
    log.info("      make curves RUNS=%s                   draws NME over the epochs", folder)

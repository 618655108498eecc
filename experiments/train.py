"""``python -m experiments train``: a whole experiment from names, as ``make train`` runs it."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from callbacks.nme_table import print_scores
from experiments.catalogue import CONFIGS, config_files
from experiments.cli import WarpmarkCLI
from experiments.errors import UsageError
from experiments.scoring import score, scores_dict

log = logging.getLogger(__name__)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The named choices, and what is left for the Lightning CLI."""
    parser = argparse.ArgumentParser("python -m experiments train", description=__doc__, allow_abbrev=False)
    parser.add_argument("--setting", default="gzsl_artiface", help="which data is source, target and tested")
    parser.add_argument("--method", default="", help="how it learns (default: face_warping; oracle: supervised)")
    parser.add_argument("--landmarker", default="slpt", help="what learns")
    parser.add_argument("--profile", default="quick", help="quick (minutes on two CPU cores) or paper")
    parser.add_argument("--data", default="", help="folder with the published data sets, or 'synthetic'")
    parser.add_argument("--source", default="", help="labelled photos (setting own)")
    parser.add_argument("--target", default="", help="stylised faces (setting own)")
    parser.add_argument("--test", default="", help="labelled faces to score (setting own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with an earlier, unfinished run")
    parser.add_argument("--ema", action="store_true", help="test and save a moving average of the weights")
    parser.add_argument("--wandb", action="store_true", help="also log to Weights & Biases")
    return parser.parse_known_args(arguments)


def compose(options: argparse.Namespace) -> list[str]:
    """The Lightning CLI's arguments for the named choices.

    Raises:
        UsageError: an unknown name, or folders that do not go with the setting.
    """
    folders = {name: getattr(options, name) for name in ("source", "target", "test")}
    given = [name.upper() for name, folder in folders.items() if folder]
    if options.setting == "own":
        if missing := [name.upper() for name in ("source", "target") if not folders[name]]:
            raise UsageError(
                f"SETTING=own needs {' and '.join(missing)}. Give SOURCE=folder of labelled photos and TARGET=folder "
                "of stylised faces (and TEST=folder of labelled faces to score, if they are not in TARGET)."
            )
        if options.data:
            raise UsageError(
                f"DATA={options.data} given with SETTING=own, whose data is SOURCE, TARGET and TEST. Leave DATA out."
            )
    elif given:
        raise UsageError(f"{', '.join(given)} given with SETTING={options.setting}. Your own folders need SETTING=own.")
    method = options.method or ("supervised" if options.setting == "oracle" else "face_warping")
    files = config_files(options.setting, method, options.landmarker, options.profile)
    if options.ema:
        files.append(CONFIGS / "ema.yaml")
    if options.wandb:
        files.append(CONFIGS / "wandb.yaml")
    arguments = [f"--config={file}" for file in files]
    arguments += [f"--seed_everything={options.seed}"]
    if options.data:
        arguments.append(f"--paths.data={options.data}")
    return arguments + [f"--paths.{name}={folder}" for name, folder in folders.items() if folder]


def train(arguments: list[str]) -> Path:
    """Pretrain if needed, adapt, test; returns the run's folder.

    Raises:
        UsageError: the command cannot be carried out as given.
        DataError: bad input files.
        CheckpointError: a checkpoint that cannot be used.
    """
    options, rest = parse(arguments)
    cli = WarpmarkCLI([*compose(options), *rest], run=False)
    folder = Path(cli.trainer.default_root_dir)
    last = folder / "checkpoints" / "last.ckpt"
    resumed = last if options.resume and last.exists() else None
    if options.resume and resumed is None:
        log.warning("RESUME=1, but %s does not exist: starting from the beginning", last)
    cli.prepare(resumed, keep_folder=options.resume)
    source_only = _score_start(cli)
    cli.trainer.fit(cli.method, datamodule=cli.data, ckpt_path=resumed, weights_only=True)
    cli.trainer.test(cli.method, datamodule=cli.data, verbose=False)
    if cli.trainer.is_global_zero:
        _write_metrics(cli, folder, source_only)
    return folder


def _score_start(cli: WarpmarkCLI) -> dict[str, Any] | None:
    """The figures of the pretrained start, before it is adapted (by the first process; the others need none)."""
    if cli.start is None or not cli.trainer.is_global_zero:
        return None
    data = cli.data
    device = cli.trainer.strategy.root_device
    scores = score(cli.method.landmarker, data.test_sets, data.eval_batch_size, data.num_workers, device)
    print_scores(scores.figures, scores.average_nme, "source only (the pretrained start)", data)
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
    path.write_text(json.dumps(metrics, indent=2) + "\n")
    print_scores(cli.method.scores, cli.method.average_nme, "tested, last epoch", cli.data)
    log.info("wrote %s", path)

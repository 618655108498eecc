"""The Lightning command line: ``python -m experiments fit --config …``."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override

from callbacks.stopping import ToldWhenStopped
from datamodules.faces import DataError
from datamodules.setting import SettingDataModule
from experiments.artifacts import Pretraining, RunContext, Translation, pretrained_start, trained_translator
from experiments.artifacts.pictures import NOTE, PictureContents
from experiments.artifacts.roles import faces_by_role
from experiments.artifacts.translators import load_translator_weights
from experiments.checkpoints import landmarker_spec, load_start, load_weights, own_error, read_checkpoint
from experiments.detectors import TargetDetection
from experiments.errors import CheckpointError, UsageError, option_error
from experiments.run.account import require_account
from experiments.run.folder import RunFolder, require_named, require_own_places
from experiments.run.resuming import check_resumed
from experiments.run.saving import RunParser, SaveRunConfig
from experiments.values.numbers import in_full, require_numbers
from lightning_modules.methods.base import FaceMethod
from lightning_modules.translation import Translator
from lightning_modules.weights import WeightsError

log = logging.getLogger(__name__)

_HARMLESS: Final = (
    "LightningCLI's args parameter is intended",  # `train` composes the CLI's arguments, on purpose
    ".*does not have many workers",  # on two cores they would take the training's place
    ".*exists and is not empty",  # a run's folder holds its configuration before its checkpoints
    ".*smaller than the logging interval",
    ".*your dataloader is not resumable",  # a batch depends on seed and step alone
    ".*It is recommended to use `self.log.*sync_dist=True",  # scores are the same on all processes already
    r".*isinstance\(treespec, LeafSpec\)",  # between Lightning and torch
)
"""Warnings of Lightning that say nothing about a run of ours."""
_OF_LIGHTNING: Final = ("last", "best", "hpc", "registry")
"""What Lightning takes for ``ckpt_path`` beside a file."""
_PARSER: Final = {"parser_mode": "omegaconf+", "exit_on_error": False, "allow_abbrev": False}


@dataclass
class Run:
    """Names of a run; they only name its folder and appear in ``metrics.json``.

    Args:
        setting: which data is source, target and tested.
        method: how it learns.
        landmarker: what learns.
        profile: how long.
        forms: the profile whose deltas (``NAME.FORMS.yaml``) stand in for those that this one does not have.
    """

    setting: str = "custom"
    method: str = "custom"
    landmarker: str = "custom"
    profile: str = "custom"
    forms: str = ""


@dataclass
class Machine:
    """How the machine computes.

    Args:
        float32_matmul_precision: of matrix products in float32, see ``torch.set_float32_matmul_precision``: on a GPU,
            ``high`` multiplies in TF32. Coordinates are always computed in ``highest``.
        cuda_graphs: on one GPU, record the landmarker's training passes and replay them, see :class:`Passes`.
    """

    float32_matmul_precision: Literal["highest", "high", "medium"] = "highest"
    cuda_graphs: bool = False


@dataclass
class Paths:
    """Where things are.

    Args:
        data: folder with the published data sets, or ``synthetic`` for stand-in faces.
        source: the user's labelled photos (setting ``own``).
        target: the user's stylised faces (setting ``own``).
        test: a labelled folder to test on (setting ``own``); by default the target's labelled faces.
        runs: where runs are written.
    """

    data: str = "synthetic"
    source: str = ""
    target: str = ""
    test: str = ""
    runs: str = "runs"


class WarpmarkCLI(LightningCLI):
    """The Lightning CLI with a setting as data, a method as model, and a pretrained start where the method needs one.

    Besides ``trainer``, ``model`` and ``data`` it knows ``run`` (names), ``paths``, ``machine``, ``pretraining`` and
    ``translation``. Configuration files are merged in order, and ``${…}`` is resolved across files and overrides.
    """

    def __init__(self, args: list[str], run: bool = True) -> None:
        self.start: Path | None = None
        for message in _HARMLESS:
            warnings.filterwarnings("ignore", message=message)
        super().__init__(
            model_class=FaceMethod,
            datamodule_class=SettingDataModule,
            subclass_mode_model=True,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_class=RunParser,
            parser_kwargs=_PARSER | dict.fromkeys(self.subcommands(), _PARSER),
            seed_everything_default=0,
            args=args,
            run=run,
        )

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Run, "run")
        parser.add_class_arguments(Paths, "paths")
        parser.add_class_arguments(Machine, "machine")
        parser.add_class_arguments(Pretraining, "pretraining")
        parser.add_class_arguments(Translation, "translation")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("paths.data", "data.root")
        parser.link_arguments("model.image_size", "data.image_size", apply_on="instantiate")

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        # ${…} counts from the root of what is parsed, so a subcommand's options are parsed by themselves.
        parsers = getattr(self, "_subcommand_parsers", {})
        name, rest = (args[0], args[1:]) if args and args[0] in parsers else (None, args)
        parser = parsers.get(name, parser)
        printing = [word for word in rest if word.partition("=")[0] == "--print_config"]
        rest = [word for word in rest if word not in printing]
        try:
            options = parser.parse_args(rest)
        except ArgumentError as error:
            known = [option for action in parser._actions for option in action.option_strings]
            raise option_error(str(error), known) from error
        if printing:
            # jsonargparse prints it only where it parses the whole command line at once.
            print(parser.dump(options, skip_none=False, skip_default="skip_default" in printing[0]))
            raise SystemExit(0)
        require_numbers(options.as_dict())
        self.config = Namespace(subcommand=name, **{name: options}) if name else options  # type: ignore[no-untyped-call]
        path = options.get("ckpt_path")
        if path and str(path) not in _OF_LIGHTNING and "://" not in str(path):
            if not Path(path).is_file():
                raise UsageError(
                    f"--ckpt_path: found no file {path} (looked from {Path.cwd()}); expected a run's checkpoint, e.g. "
                    "runs/SETTING/METHOD-LANDMARKER/seed0/checkpoints/last.ckpt, or last."
                )
            read_checkpoint(path)

    @property
    def options(self) -> Any:
        """The configuration of the subcommand (or of the run), with classes instantiated."""
        return self.config_init.get(str(self.subcommand), self.config_init)

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, MisconfigurationException) as error:
            raise UsageError(f"the trainer refuses its options: {error}") from error

    @override
    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (DataError, CheckpointError, UsageError, WeightsError):
            raise
        except (ArgumentError, ValueError) as error:  # a class refused its arguments, by name
            if isinstance(cause := own_error(error), WeightsError):
                raise cause from None
            options = self.config.get(str(self.subcommand), self.config)
            raise UsageError(in_full(str(option_error(str(cause), ())), options.as_dict())) from error

    @override
    def before_instantiate_classes(self) -> None:
        options = self.config.get(str(self.subcommand), self.config)
        torch.set_float32_matmul_precision(options.machine.float32_matmul_precision)
        trainer = options.trainer
        require_named(trainer.default_root_dir, options.paths.runs)
        if trainer.accelerator == "auto" and torch.backends.mps.is_available():
            # Splines are solved and errors measured in float64, which Apple's GPUs do not have.
            trainer.accelerator = "cpu"
        averages = [c for c in trainer.callbacks or [] if c.class_path.endswith("WeightAverage")]
        if len(averages) > 1:
            raise UsageError(
                f"{len(averages)} averages of the weights were asked for; expected one at most. "
                "PROFILE=thorough and thorough_gpu have one already: leave EMA out."
            )
        if trainer.enable_progress_bar is False:
            # Lightning refuses a bar that is given and switched off.
            trainer.callbacks = [c for c in trainer.callbacks or [] if not c.class_path.endswith("ProgressBar")]

    @override
    def after_instantiate_classes(self) -> None:
        self.method = cast(FaceMethod, self.model)
        self.data = cast(SettingDataModule, self.datamodule)
        self.data.detect = self.target_detection = TargetDetection()
        config = yaml.safe_load(self.parser.dump(self.config, skip_link_targets=False, skip_none=False))
        config = config.get(str(self.subcommand), config)
        self.trainer_config = config["trainer"]
        self.landmarker_config = config["model"]["init_args"]["landmarker"]
        self.translator_config = config["model"]["init_args"].get("translator")
        self.method.landmarker_spec = landmarker_spec(self.landmarker_config)
        self.method.cuda_graphs = config["machine"]["cuda_graphs"]
        self.configuration = config
        last = Path(self.trainer.default_root_dir) / "checkpoints/last.ckpt"
        how = "RESUME=1 (--resume)" if self.subcommand is None else f"{self.subcommand} … --ckpt_path={last}"
        cast(Any, self.trainer).callbacks.append(ToldWhenStopped(last, f"{how} goes on from there."))
        self.folder = RunFolder(Path(self.trainer.default_root_dir))
        self.contents = PictureContents(Path(self.options.paths.runs) / NOTE)

    def after_fit(self) -> None:
        """Let other runs have the folder."""
        self.folder.release()

    def before_fit(self) -> None:
        """Check folder, files and checkpoint before any training time is spent, then provide the pretrained start."""
        self.prepare(self.options.get("ckpt_path"))

    def prepare(self, ckpt_path: str | Path | None, keep_folder: bool = False) -> None:
        """What comes before fitting.

        Args:
            ckpt_path: the checkpoint to resume from, if any.
            keep_folder: go on in the run's folder even if there is no checkpoint yet.
        """
        folder = Path(self.trainer.default_root_dir)
        last = folder / "checkpoints/last.ckpt"
        if str(ckpt_path) in _OF_LIGHTNING[1:]:
            raise UsageError(
                f"--ckpt_path={ckpt_path}: training goes on from a file, or from the last checkpoint (last)."
            )
        if str(ckpt_path) == "last":  # Lightning looks for it in the run's folder
            ckpt_path, keep_folder = last if last.exists() else None, True
        # Going on from a checkpoint of elsewhere is another run.
        resume = keep_folder or bool(ckpt_path and Path(ckpt_path).resolve().is_relative_to(folder.resolve()))
        log.info("device: %s × %d", type(self.trainer.accelerator).__name__, self.trainer.num_devices)
        # All that can be wrong is found before an earlier run is moved aside and any time is spent.
        self._check(ckpt_path, resume)
        if self.trainer.is_global_zero:
            self.folder.take(resume)
            if self.target_detection.found is not None:
                self.target_detection.found.write(folder / "target_boxes.csv")
        self.start = self.provide_start()
        # A checkpoint of the run holds its translator too.
        if self.method.needs_translator and not ckpt_path:
            how = self.options.translation
            trained_translator(self.translator, self.data, how, self.translator_config, self.context)

    @property
    def translator(self) -> Translator:
        """The method's, for methods that need one."""
        return cast(Translator, self.method.translator)

    @property
    def context(self) -> RunContext:
        """What making the run's artifacts takes from it."""
        runs, seed = Path(self.options.paths.runs), self.options.seed_everything
        return RunContext(runs, seed, self.trainer_config, self.trainer.strategy, self.contents)

    def provide_start(self) -> Path | None:
        """Give the landmarker its pretrained start; returns its file, or None if the method needs none."""
        how = self.options.pretraining
        return pretrained_start(self.method, self.data, how, self.landmarker_config, self.context)

    def _check(self, ckpt_path: str | Path | None, resume: bool) -> None:
        """Refuse a trainer, places, files and checkpoints that do not go with the method or with each other."""
        require_own_places(self.trainer)
        require_account(self.trainer.loggers)
        method, options = self.method, self.options
        try:
            method.check_trainer(self.trainer)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.data.setup()
        method.faces = faces_by_role(self.data, self.contents)
        if (method.needs_target or method.needs_translator) and self.data.target_faces is None:
            raise UsageError(
                f"{type(method).__name__} learns from unlabelled stylised faces, and the setting has no target. "
                "Give `data.target`, or choose METHOD=supervised."
            )
        if not (ckpt_path or options.pretraining.checkpoint):
            self._require_learned_layers()
        if ckpt_path:
            checkpoint = read_checkpoint(ckpt_path)
            load_weights(method.landmarker, checkpoint, ckpt_path)
            if resume:
                check_resumed(Path(self.trainer.default_root_dir), self.configuration, checkpoint, method.faces)
        elif method.needs_translator and options.translation.checkpoint:
            load_translator_weights(self.translator, options.translation.checkpoint)
        if options.pretraining.checkpoint and self.trainer.is_global_zero:
            self._check_start(Path(options.pretraining.checkpoint), resume)

    def _require_learned_layers(self) -> None:
        """Refuse a landmarker that would keep layers as they were drawn at random."""
        arguments = self.landmarker_config.get("init_args") or {}
        kept = sum(not parameter.requires_grad for parameter in self.method.landmarker.parameters())
        if kept and not any(arguments.get(name) for name in ("pretrained", "weights")):
            option = "--model.init_args.landmarker.init_args"
            raise UsageError(
                f"{self.landmarker_config['class_path']}: found {kept} tensors that are not trained, and neither "
                f"pretrained weights nor a start; expected learned ones where layers stay as they are. Give "
                f"{option}.pretrained=package or {option}.weights=FILE, or {option}.frozen_stride=0."
            )

    def _check_start(self, checkpoint: Path, resume: bool) -> None:
        load_start(self.method.landmarker, self.landmarker_config, checkpoint)
        folder = Path(self.trainer.default_root_dir).resolve()
        if not resume and checkpoint.resolve().is_relative_to(folder):
            raise UsageError(
                f"{checkpoint}: lies in the folder of this very run, which would be moved aside. Copy it to another "
                "place, or give the new run another SEED or --paths.runs."
            )
